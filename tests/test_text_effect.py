"""What wording does to clicks: recovered from planted tests, honest about new ones, the same from disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recenv.core.errors import ArtefactError, InputError
from recenv.response.text_effect import (
    Arms,
    TextEffect,
    fit,
    folds,
    held_out_scores,
    shipped,
    slope_and_noise,
    spread,
)
from recenv.response.text_features import BUCKETS, FORM, form_features, ngram_features, without_slots
from recenv.response.text_metrics import figures, pairs

WORDS = (
    "river", "stone", "cloud", "window", "table", "garden", "engine", "letter", "music", "winter", "orange", "paper",
    "bridge", "candle", "forest", "silver",
)  # fmt: skip


def planted(effect: float, noise: float, tests: int = 300, seed: int = 0) -> Arms:
    """Tests of four arms; the word "winter" adds `effect` to the log odds, each test has its own level."""
    rng = np.random.default_rng(seed)
    texts = tuple(" ".join(rng.choice(WORDS, 5, replace=False)) for _ in range(4 * tests))
    test = np.repeat(np.arange(tests), 4)
    odds = -3.5 + rng.normal(0, 0.5, tests)[test] + noise * rng.normal(size=len(test))
    odds += effect * np.array(["winter" in t for t in texts])
    shown = np.full(len(test), 4000.0)
    return Arms(texts, rng.binomial(4000, 1 / (1 + np.exp(-odds))).astype(float), shown, test, test)


def test_slots_are_no_part_of_the_text() -> None:
    assert without_slots("For {product}, at {price}.") == "For , at ."
    same = ngram_features(["Look: {product}.", "Look: {brand}."])
    assert (same[0] != same[1]).nnz == 0
    np.testing.assert_array_equal(form_features(["{product}"]), form_features([""]))


def test_rows_have_length_one_in_each_family() -> None:
    table = ngram_features(["one two two", "x"])
    assert table.shape == (2, 2 * BUCKETS)
    squared = table.multiply(table)
    np.testing.assert_allclose(squared[:, :BUCKETS].sum(axis=1), 1.0)
    np.testing.assert_allclose(squared[:, BUCKETS:].sum(axis=1), 1.0)
    assert ngram_features([]).shape == (0, 2 * BUCKETS)
    assert form_features(["Who, ME? “Yes” - 3..."]).shape == (1, len(FORM))


def test_a_planted_word_is_found_on_tests_never_seen() -> None:
    arms = planted(effect=0.5, noise=0.1)
    score = held_out_scores(arms, ridge=30.0, k=5, seed=0)
    slope, noise = slope_and_noise(arms, score)
    assert 0.7 < slope < 1.8
    assert noise < 0.2
    found = figures(arms, slope * score, n_boot=200)
    accuracy, low, _ = found["significant_pair_accuracy"]
    assert accuracy > 0.75
    assert low > 0.65
    assert found["lift_of_chosen"][1] > 1.05


def test_where_wording_does_nothing_the_slope_is_nothing() -> None:
    arms = planted(effect=0.0, noise=0.3)
    score = held_out_scores(arms, ridge=30.0, k=5, seed=0)
    slope, noise = slope_and_noise(arms, score)
    assert abs(slope) < 0.5
    assert noise == pytest.approx(0.3, abs=0.06)
    low, high = figures(arms, score, n_boot=200)["pair_accuracy"][1:]
    assert low < 0.5 < high


def test_tests_are_held_out_whole() -> None:
    test = np.repeat(np.arange(50), 3)
    fold = folds(test, 5, seed=1)
    assert all(len(set(fold[test == t])) == 1 for t in range(50))
    assert np.bincount(fold).tolist() == [30] * 5


def test_pairs_worked_out_by_hand() -> None:
    arms = Arms(
        ("a", "b", "c", "d"), np.array([10.0, 30, 10, 5]), np.full(4, 1000.0), np.array([0, 0, 0, 1]), np.zeros(4, int)
    )
    found = pairs(arms, np.array([0.0, 1.0, 0.0, 9.0]))
    assert found["correct"].tolist() == [1.0, 1.0]  # a and c are equal, d has no other arm
    expected = (np.log(30.5 / 970.5) - np.log(10.5 / 990.5)) / np.sqrt(1 / 30.5 + 1 / 970.5 + 1 / 10.5 + 1 / 990.5)
    np.testing.assert_allclose(found["z"], expected)


def test_the_weights_come_back_from_disk(tmp_path: Path) -> None:
    made = replace(fit(planted(0.5, 0.1), 30.0), slope=0.8, center=0.1, noise_sd=0.2, shop_scale=0.5)
    made.save(tmp_path, "w")
    import json

    card = json.loads((tmp_path / "w.json").read_text())
    back = TextEffect.from_bytes((tmp_path / "w.safetensors").read_bytes(), card)
    texts = ["winter river", "stone"]
    np.testing.assert_allclose(back.score(texts), made.score(texts), atol=2e-3)
    np.testing.assert_allclose(back.for_shop(texts), 0.5 * back.score(texts), rtol=1e-6)
    with pytest.raises(ArtefactError, match="text effect"):
        TextEffect.from_bytes((tmp_path / "w.safetensors").read_bytes(), card | {"slope": None})
    with pytest.raises(ArtefactError, match="other features"):
        TextEffect.from_bytes((tmp_path / "w.safetensors").read_bytes(), card | {"form": []})


def test_the_shipped_weights_say_what_they_are_and_move_shop_lines_no_more_than_headlines() -> None:
    from recenv.generators.corpus import read_corpus

    made = shipped()
    assert made.card["label"] == "transferred"
    assert "CC BY 4.0" in made.card["attribution"]
    assert made.card["held_out"]["pair_accuracy"][0] >= 0.58
    assert made.card["held_out"]["significant_pair_accuracy"][0] >= 0.65
    assert made.card["held_out"]["lift_of_chosen"][1] > 1.0
    score = made.for_shop([line.text for line in read_corpus().lines])
    assert score.std() == pytest.approx(made.card["held_out"]["score_sd"], rel=0.1)
    assert abs(float(score.mean())) < 0.02


def test_held_out_figures_are_those_of_the_data(shared_data: Path) -> None:
    """A quarter of the tests, scored by weights fitted on the others: not those of the card, but like them."""
    from recenv.data.sources.upworthy import TEST
    from recenv.data.sources.upworthy_arms import arms_table

    table, _ = arms_table(shared_data / "upworthy")
    test = np.unique(table[TEST].to_numpy(str), return_inverse=True)[1].astype(np.int64)
    numbers = (table[name].to_numpy(float) for name in ("clicks", "impressions"))
    arms = Arms(tuple(table["headline"].astype(str)), *numbers, table["group"].to_numpy(np.int64), test)
    fold = folds(test, 4, seed=3)
    held = arms.take(np.flatnonzero(fold == 0))
    score = fit(arms.take(np.flatnonzero(fold != 0)), 100.0).of_features(*held.features)
    found = figures(held, score, n_boot=200)
    assert found["pair_accuracy"][1] > 0.53
    assert found["significant_pair_accuracy"][1] > 0.57
    assert spread(held, score) > 0.02


@pytest.mark.parametrize(
    "change",
    [{"clicks": np.array([5.0, np.nan])}, {"clicks": np.array([5.0, 200.0])}, {"group": np.zeros(3, int)}],
)
def test_bad_arms_are_named_errors(change: dict[str, np.ndarray]) -> None:
    good = {
        "clicks": np.array([5.0, 6]), "impressions": np.full(2, 100.0), "group": np.zeros(2, int),
        "test": np.zeros(2, int),
    }  # fmt: skip
    with pytest.raises(InputError, match="arms"):
        Arms(("a", "b"), **(good | change))
