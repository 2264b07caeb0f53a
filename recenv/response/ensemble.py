"""Members of an ensemble: the response model refitted on bootstraps of users.

A member is trained on the rows of users drawn with replacement (as many as there are; Efron 1979), with another start
of the network: its rows' weights times how often their user was drawn, nothing replayed. What members disagree on is
what these users do not tell.

Where there is nothing to draw from, bootstraps agree: all of them say the same of an item that was never shown. So each
member also draws an effect of its own on each item's log odds, from what the logs leave open of it (a random effect's
posterior variance; compare the randomised priors of Osband, Aslanides and Cassirer, NeurIPS 2018).

Members still agree about an item for users to whom it was never shown, where a model takes it to do as well as with
those to whom it was. `segment_variance` says how much that leaves open; no member draws it, pessimism reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from recenv.core.progress import through
from recenv.response.forward import HEADS, ResponseForward
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
    moves = _balanced(members, len(item_vectors), len(HEADS), np.random.default_rng([seed, 47]))
    made = []
    for m in through(range(members), "ensemble", unit="member", show=progress and members > 0):
        times = np.random.default_rng([seed, 41, m]).multinomial(users, np.full(users, 1.0 / users))
        drawn = times[owner]
        part = rows.select(drawn > 0)
        part.weight = (part.weight * drawn[drawn > 0]).astype(np.float32)
        own, held_out = features(times)
        folds = Folds(held_out, fold[drawn > 0], unseen)
        fitted = train(part, item_vectors, own, config, seed + 1000 * (m + 1), False, folds)
        made.append(_with_item_effects(fitted, part.of("train"), moves[m]))
    return tuple(made)


def _balanced(members: int, n_items: int, heads: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(K, n_items, heads) normal scores, dealt to the members in random order for each item and head.

    Over the members each has mean 0 and variance 1 exactly: drawn freely, ten numbers' spread is off by a fifth.
    """
    score = np.asarray(ndtri((np.arange(members) + 0.5) / members))
    score /= score.std(ddof=1)
    dealt = rng.permuted(np.broadcast_to(score, (n_items * heads, members)), axis=1)
    return np.asarray(dealt.T.reshape(members, n_items, heads))


def _with_item_effects(forward: ResponseForward, rows: TrainingRows, moves: NDArray[np.float64]) -> ResponseForward:
    """The model with log odds of each item moved by u_i ~ N(-v_i / 2, v_i): odds stay as they are on average."""
    skip = forward.to_arrays()["item_skip"].astype(np.float64)
    for k, head in enumerate(forward.heads):
        variance = open_variance(rows, head, len(skip))
        if head != "leave":
            skip[:, k] += np.sqrt(variance) * moves[:, HEADS.index(head)] - variance / 2
    return ResponseForward(forward.to_arrays() | {"item_skip": skip.astype(np.float32)}, forward.config)


def open_variance(rows: TrainingRows, head: str, n_items: int) -> NDArray[np.float64]:
    """(n_items,) v_i = 1 / (1 / tau^2 + n_i r (1 - r)): what n_i shown rows leave open of an item's log odds.

    tau^2 is the variance of log odds between items: that of the rates, less what chance adds, over (r (1 - r))^2, r the
    overall rate. The model knows more of an item than that it is one (category, text, price), so v_i errs upwards; the
    factor of `calibrate_disagreement` takes care of the level.
    """
    y = rows.response(head)
    use = rows.shown & ~np.isnan(y)
    w = rows.weight[use].astype(np.float64)
    mass = np.bincount(rows.item[use], w, n_items)
    hits = np.bincount(rows.item[use], w * y[use], n_items)
    rate = hits.sum() / max(mass.sum(), 1e-12)
    noise = rate * (1 - rate)
    if noise <= 0:
        return np.zeros(n_items)
    seen = mass > 0
    spread = np.average((hits[seen] / mass[seen] - rate) ** 2 - noise / mass[seen], weights=mass[seen])
    between = max(float(spread), 0.0) / noise**2
    return np.asarray(between / (1.0 + between * mass * noise))


def segment_variance(
    rows: TrainingRows, segment: NDArray[np.integer[Any]], shape: tuple[int, int], heads: Sequence[str], sd: float
) -> NDArray[np.float32] | None:
    """(n_segments, n_items, heads) variance that the logs leave open of an item's log odds in a segment; None for sd 0.

    v_gi = 1 / (1 / sd^2 + n_gi r (1 - r)): n_gi weighted rows that showed item i to segment g (for a purchase after a
    click: that were clicked), r the head's overall rate, and sd the prior standard deviation of what an item's log odds
    in a segment differ by from the model's. The prior is assumed: a log that shows items only where they do well cannot
    tell it, and no held-out rows of such a log can. 0 for the head `leave`.

    Args:
        rows: those that the model was trained on. segment: (users,) of each user. shape: (n_segments, n_items).
    """
    if not sd:
        return None
    found = np.zeros((*shape, len(heads)), np.float32)
    cell = np.asarray(segment, np.int64)[rows.user] * shape[1] + rows.item
    for k, head in enumerate(heads):
        y = rows.response(head)
        use = rows.shown & ~np.isnan(y)
        if head == "leave" or not use.any():
            continue
        w = rows.weight[use].astype(np.float64)
        rate = float(w @ y[use]) / max(float(w.sum()), 1e-12)
        mass = np.bincount(cell[use], w, shape[0] * shape[1]).reshape(shape)
        found[..., k] = 1.0 / (1.0 / sd**2 + mass * rate * (1.0 - rate))
    return found
