"""The yardstick of the response model: gradient boosting stops where the network does, on the validation slice."""

from __future__ import annotations

import numpy as np

from recenv.response.rows import SPLITS, TrainingRows
from recenv.scripts.bench_response import Boosting, gradient_boosting


def made(flip: bool, n: int = 4000) -> TrainingRows:
    """Clicks that follow a feature; in the validation slice the other way round where `flip`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    split = rng.integers(0, 3, n).astype(np.int8)
    sign = np.where(flip & (split == SPLITS.index("validation")), -1.0, 1.0)
    click = (rng.random(n) < 1 / (1 + np.exp(-2 * sign * x[:, 0]))).astype(np.float32)
    none, ones = np.full(n, np.nan, np.float32), np.ones(n, np.float32)
    count, user = np.arange(n, dtype=np.int32), rng.integers(0, 90, n).astype(np.int32)
    empty = np.zeros((n, 1), np.float32)
    return TrainingRows(
        x, count, np.zeros(n, np.int32), np.zeros(n, np.float32), empty, np.ones((n, 1), np.float32), click, none, none,
        ones, split, user, np.zeros(n, np.int64),
    )  # fmt: skip


def test_boosting_stops_on_the_validation_slice() -> None:
    spread = []
    for flip in (False, True):
        rows = made(flip)
        item = np.zeros((len(rows), 1), np.float32)
        test = rows.of("validation")
        p = gradient_boosting(rows, item, test, item[: len(test)], "click", Boosting(iterations=60, leaf=20), 0)
        spread.append(len(np.unique(np.round(p, 6))))
    assert spread[1] < spread[0] / 2  # one that stopped on its own training rows would not notice: it learns the same
