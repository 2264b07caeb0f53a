"""Members of an ensemble: the response model refitted on bootstraps of users.

A member is trained on the rows of users drawn with replacement (as many as there are; Efron 1979), with another start
of the network: its rows' weights times how often their user was drawn, nothing replayed. What members disagree on is
what these users do not tell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recenv.response.forward import ResponseForward
from recenv.response.rows import TrainingRows
from recenv.response.train import Folds, TrainConfig, train

Features = Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Draws of each user (U,) -> item features (n_items, Fi), and those of each fold (F, n_items, Fi)."""


def fit_members(
    rows: TrainingRows,
    owner: NDArray[np.int64],
    item_vectors: NDArray[np.float32],
    features: Features,
    fold: NDArray[np.int64],
    config: TrainConfig,
    seed: int,
    members: int,
    progress: bool = True,
    unseen: NDArray[np.float32] | None = None,
) -> tuple[ResponseForward, ...]:
    """Models refitted on bootstraps of users, each calibrated on its own users' calibration slice.

    Args:
        rows: n training rows of all splits. owner: (n,) user of each row, 0 .. U - 1. item_vectors: (n_items, D).
        features: item features as the drawn users have them. fold: (n,) fold of each row's user.
        config: of the training. seed: of users and networks. members: how many. unseen: see `Folds`.
    """
    users = int(owner.max()) + 1
    made = []
    for m in tqdm(range(members), desc="ensemble", unit="member", disable=not progress or not members):
        times = np.random.default_rng([seed, 41, m]).multinomial(users, np.full(users, 1.0 / users))
        drawn = times[owner]
        part = rows.select(drawn > 0)
        part.weight = (part.weight * drawn[drawn > 0]).astype(np.float32)
        own, held_out = features(times)
        folds = Folds(held_out, fold[drawn > 0], unseen)
        made.append(train(part, item_vectors, own, config, seed + 1000 * (m + 1), False, folds))
    return tuple(made)
