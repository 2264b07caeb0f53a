"""How well scores of texts tell which arm of a test does better: pair accuracy and the lift of the chosen arm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.response.text_effect import Arms

SIGNIFICANT = 1.959964
"""|z| from which a pair of arms counts as truly different (two-sided 5 %)."""


def pairs(arms: Arms, score: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """All pairs of arms of one group whose click rates differ: test, correct (1, 0, or 1/2 on a tie), |z|."""
    order = np.argsort(arms.group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(arms.group[order]) != 0])
    y, variance = arms.log_odds, arms.variance
    left, right = [], []
    for rows in np.split(order, starts[1:]):
        a, b = np.triu_indices(len(rows), 1)
        left.append(rows[a])
        right.append(rows[b])
    i, j = np.concatenate(left), np.concatenate(right)
    differ = y[i] != y[j]
    i, j = i[differ], j[differ]
    correct = 0.5 + 0.5 * np.sign(score[i] - score[j]) * np.sign(y[i] - y[j])
    return {"test": arms.test[i], "correct": correct, "z": np.abs(y[i] - y[j]) / np.sqrt(variance[i] + variance[j])}


def chosen_lift(arms: Arms, score: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per group with any click: its test, and the click rate of the arm with the highest score over the mean rate."""
    rate = arms.clicks / arms.impressions
    tests, lifts = [], []
    for g in np.unique(arms.group):
        rows = np.flatnonzero(arms.group == g)
        if rate[rows].any():
            tests.append(arms.test[rows[0]])
            lifts.append(rate[rows[np.argmax(score[rows])]] / rate[rows].mean())
    return np.array(tests, np.int64), np.array(lifts)


def figures(arms: Arms, score: NDArray[np.float64], n_boot: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Pair accuracy (all, significant) and mean lift of the chosen arm; 95 % intervals from a bootstrap of tests.

    Raises:
        InputError: no pair of arms differs.
    """
    found = pairs(arms, score)
    if not len(found["z"]):
        raise InputError("arms", "no pair of arms with different click rates", "Give tests with two arms or more.")
    strong = found["z"] > SIGNIFICANT
    tests, lift = chosen_lift(arms, score)
    draw = _Tests(arms.test, n_boot, seed)
    return {
        "tests": len(np.unique(arms.test)),
        "groups": len(np.unique(arms.group)),
        "arms": len(arms.texts),
        "pairs": len(strong),
        "significant_pairs": int(strong.sum()),
        "pair_accuracy": draw.mean(found["test"], found["correct"]),
        "significant_pair_accuracy": draw.mean(found["test"][strong], found["correct"][strong]),
        "lift_of_chosen": draw.mean(tests, lift),
    }


class _Tests:
    """Bootstrap of whole tests."""

    def __init__(self, test: NDArray[np.int64], n_boot: int, seed: int) -> None:
        self.tests = np.unique(test)
        n = len(self.tests)
        self.counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=n_boot)

    def mean(self, test: NDArray[np.int64], value: NDArray[np.float64]) -> list[float | None]:
        """[mean, low, high] of values of rows, whose tests come and go together."""
        if not len(value):
            return [None, None, None]
        row = np.searchsorted(self.tests, test)
        total = np.bincount(row, value, minlength=len(self.tests))
        count = np.bincount(row, minlength=len(self.tests))
        hits, size = self.counts @ total, self.counts @ count
        low, high = np.quantile(hits[size > 0] / size[size > 0], [0.025, 0.975])
        return [float(value.mean()), float(low), float(high)]
