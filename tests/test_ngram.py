"""Baselines of perplexity: proper distributions, hand-counted values, named errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recenv.core.errors import InputError
from recenv.generators.ngram import GroupedKneserNey, KneserNey, TemplateFrequency, perplexity

END, UNKNOWN, SIZE = 0, 1, 6
LINES = [[2, 3, 4], [2, 3, 5], [3, 4], [2, 4, 3]]
STYLES = ["a", "a", "b", "b"]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_of_all_tokens_sum_to_one_after_any_history(order: int) -> None:
    model = KneserNey(order, SIZE, END, UNKNOWN).fit(LINES)
    for history in itertools.product(range(-1, SIZE), repeat=order - 1):
        assert math.isclose(sum(model.probability(history, token) for token in range(SIZE)), 1.0, abs_tol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_whole_distribution_is_that_of_single_tokens(order: int) -> None:
    model = KneserNey(order, SIZE, END, UNKNOWN).fit(LINES)
    mixed = GroupedKneserNey(order, SIZE, END, UNKNOWN, share=0.3).fit(LINES, STYLES)
    for history in itertools.product(range(-1, SIZE), repeat=order - 1):
        whole = model.distribution(history)
        assert whole == pytest.approx([model.probability(history, token) for token in range(SIZE)], abs=1e-12)
        assert np.array_equal(model.distribution(model.known(history)), whole)
        own = [mixed.each["b"].probability(history, token) for token in range(SIZE)]
        assert mixed.distribution(history, "b") == pytest.approx(0.3 * np.array(own) + 0.7 * whole, abs=1e-12)
        assert np.array_equal(mixed.distribution(history, "c"), whole)


def test_a_bigram_by_hand() -> None:
    model = KneserNey(2, SIZE, END, UNKNOWN).fit([[2, 3], [2, 3], [2, 4]])
    # Bigrams: S2 x3, 23 x2, 3E x2, 24 x1, 4E x1; n1 = 2, n2 = 2: D = 2 / 6. Left neighbours: 2: 1, 3: 1, 4: 1, E: 2;
    # all counts 1 but one 2: D = 3 / 5. One token of six occurs once: the unknown token has 1 / 6.
    low = ((1 - 3 / 5) / 5 + 3 / 5 * 4 / 5 / (SIZE - 1)) * (1 - 1 / 6)
    assert math.isclose(model.probability((2,), 3), (2 - 1 / 3) / 3 + (1 / 3) * 2 / 3 * low)
    assert math.isclose(model.probability((5,), UNKNOWN), 1 / 6)
    assert model.unseen == 1 / 6


def test_a_token_met_once_keeps_a_probability_where_every_token_was_met_once() -> None:
    model = KneserNey(2, SIZE, END, UNKNOWN).fit([[2, 3, 4]])
    assert model.unseen == 2 / 3
    assert np.isfinite(model.token_log_probs([2, 3, 4])).all()
    assert math.isclose(sum(model.probability((2,), token) for token in range(SIZE)), 1.0)


def test_token_log_probabilities_are_those_of_the_line_under_the_template_mixture() -> None:
    model = TemplateFrequency(SIZE, END, UNKNOWN, share=0.5).fit(LINES, STYLES)
    single = model.tokens.token_log_probs(LINES[0]).sum()
    assert math.isclose(model.token_log_probs(LINES[0], "a").sum(), math.log(0.5 / 2 + 0.5 * math.exp(single)))
    assert math.isclose(
        model.token_log_probs([5, 5, 5], "a").sum(), math.log(0.5) + model.tokens.token_log_probs([5, 5, 5]).sum()
    )


def test_groups_help_where_styles_differ_and_unknown_groups_fall_back() -> None:
    lines = [[2, 3]] * 5 + [[4, 5]] * 5
    model = GroupedKneserNey(2, SIZE, END, UNKNOWN).fit(lines, ["a"] * 5 + ["b"] * 5)
    assert perplexity(model, [[2, 3]], ["a"]) < perplexity(model, [[2, 3]], ["b"])
    assert np.array_equal(model.token_log_probs([2, 3], "c"), model.all.token_log_probs([2, 3]))
    everywhere = KneserNey(1, SIZE, END, UNKNOWN).fit(lines)
    assert perplexity(everywhere, [[2, UNKNOWN]], skip=UNKNOWN) < perplexity(everywhere, [[2, UNKNOWN]])


def test_bad_inputs_are_named() -> None:
    for call in (
        lambda: KneserNey(0, SIZE, END, UNKNOWN),
        lambda: KneserNey(2, 1, END, UNKNOWN),
        lambda: KneserNey(2, SIZE, END, UNKNOWN).fit([]),
        lambda: GroupedKneserNey(2, SIZE, END, UNKNOWN, share=1.0),
        lambda: TemplateFrequency(SIZE, END, UNKNOWN, share=-0.1),
        lambda: perplexity(KneserNey(1, SIZE, END, UNKNOWN).fit(LINES), []),
    ):
        with pytest.raises(InputError):
            call()
