"""Metrics of generated copy: hand-computed values, a plain reference, and 10,000 lines in seconds."""

from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
import pytest

from recenv.core.errors import InputError
from recenv.generators.corpus import read_corpus
from recenv.generators.quality import bleu, distinct_n, novelty, self_bleu, slot_error, tokens, unique_rate


def plain_bleu(line: tuple[str, ...], references: list[tuple[str, ...]], order: int = 4) -> float:
    """BLEU straight from its definition."""
    logs = []
    for n in range(1, min(order, len(line)) + 1):
        own = Counter(line[i : i + n] for i in range(len(line) - n + 1))
        hits = 0
        for gram, count in own.items():
            most = max(sum(r[i : i + n] == gram for i in range(len(r) - n + 1)) for r in references)
            hits += min(count, most)
        logs.append(math.log((hits or 0.1) / sum(own.values())))
    nearest = min((abs(len(r) - len(line)), len(r)) for r in references)[1]
    penalty = 1.0 if len(line) >= nearest else math.exp(1 - nearest / len(line))
    return penalty * math.exp(sum(logs) / len(logs))


def test_tokens_keep_slots_whole() -> None:
    assert tokens("You'll like it: {product}, {was_price}!") == (
        "you'll", "like", "it", ":", "{product}", ",", "{was_price}", "!",
    )  # fmt: skip


def test_values_worked_out_by_hand() -> None:
    texts = ["a b a b", "a b", "a b"]
    assert distinct_n(texts, 1) == pytest.approx(2 / 8)
    assert distinct_n(texts, 2) == pytest.approx(2 / 5)
    assert unique_rate(texts) == pytest.approx(2 / 3)
    assert novelty(["A B", "b a"], ["a b"]) == 0.5
    assert bleu(["a b c d"], ["a b c d"]) == 1.0
    assert bleu(["a b"], ["a b c d"]) == pytest.approx(math.exp(1 - 4 / 2))
    assert self_bleu(["a b c d", "a b c d"]) == 1.0
    assert self_bleu(["a b c d", "e f g h"]) == pytest.approx(
        math.exp(np.mean(np.log([0.1 / k for k in (4, 3, 2, 1)])))
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{product}.", 0.0),
        ("Here.", 1.0),
        ("{product} and {product}", 1.0),
        ("{product}, {colour}", 1.0),
        ("{product} {", 1.0),
        ("{product}, {price}", 0.0),
    ],
)
def test_slot_errors(text: str, wrong: float) -> None:
    assert slot_error([text]) == wrong


def test_slots_that_were_not_allowed_are_errors() -> None:
    assert slot_error(["{product}, {price}"], allowed=("product",)) == 1.0


def test_bleu_and_self_bleu_equal_their_definitions() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcde"), rng.integers(1, 9))) for _ in range(40)]
    cut = [tokens(t) for t in texts]
    expected = np.mean([plain_bleu(line, cut[:i] + cut[i + 1 :]) for i, line in enumerate(cut)])
    assert self_bleu(texts) == pytest.approx(expected, rel=1e-12)
    assert bleu(texts[:20], texts[20:]) == pytest.approx(
        np.mean([plain_bleu(x, cut[20:]) for x in cut[:20]]), rel=1e-12
    )


def test_ten_thousand_lines_take_seconds() -> None:
    lines = [line.text for line in read_corpus().lines]
    rng = np.random.default_rng(0)
    texts = [f"{a} {b}" for a, b in zip(rng.choice(lines, 10_000), rng.choice(lines, 10_000))]
    began = time.process_time()
    values = [self_bleu(texts), bleu(texts, lines), distinct_n(texts), novelty(texts, lines), slot_error(texts)]
    assert time.process_time() - began < 30
    assert all(0 <= value <= 1 for value in values)


def test_too_little_to_measure_is_a_named_error() -> None:
    with pytest.raises(InputError, match="at least two"):
        self_bleu(["a"])
    with pytest.raises(InputError, match="at least one"):
        bleu([], ["a"])
    with pytest.raises(InputError, match="n: 0"):
        distinct_n(["a"], 0)
    assert (unique_rate([]), novelty([], ["a"]), slot_error([]), distinct_n([], 1)) == (0.0, 0.0, 0.0, 0.0)
