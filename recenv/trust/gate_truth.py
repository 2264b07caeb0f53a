"""A small shop whose truth is known, and simulators of it that are right or wrong in one known way.

It exists to judge the gates: logs and roll-outs cost milliseconds, so that error rates over hundreds of seeds can be
had. For user u, item i of category c(i), in each slot of a session:

    logit p_ui = base + item_i + taste_{u,c(i)} + level_u        expected response
    P(y = 1 | g) from p and the session's hidden g               recenv.response.frailty, variance THETA
    P(leave after the slot) = LEAVE

Leaving does not depend on y: where it does, sessions with a high g end early (or late), the rows that are left are a
selection on g, and their rate is no longer p. The logging policy is a softmax of popularity and taste, a second one is
uniform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.response.frailty import conditional
from recenv.trust.gate_groups import WEEK
from recenv.trust.slices import PredictionSlice, SessionStats

Floats = NDArray[np.float64]

ITEMS, CATEGORIES, SEGMENTS, SLOTS, WEEKS = 120, 6, 6, 12, 8
BASE, THETA, LEAVE = -2.6, 1.2, 0.12
STEPS = (1, 5, 10)


@dataclass(frozen=True)
class GateShop:
    """What is true, U users by I items.

    Args:
        p: (U, I) float64, expected response. cdf: (U, I) float64, of the logging policy. logged: (U, I) its
            probabilities. segment: (U,) int64. category: (I,) int64. visits: (U,) int64, sessions of each user.
    """

    p: Floats
    cdf: Floats
    logged: Floats
    segment: NDArray[np.int64]
    category: NDArray[np.int64]
    visits: NDArray[np.int64]

    @classmethod
    def make(cls, users: int, visits: float, rng: np.random.Generator, base: float = BASE) -> GateShop:
        """A shop of so many users, `visits` sessions each on average (at least 1); `base`: logit of the base rate."""
        category = np.arange(ITEMS) % CATEGORIES
        item = 0.6 * rng.standard_normal(ITEMS)
        taste = 0.7 * rng.standard_normal((users, CATEGORIES))
        logit = base + item + taste[:, category] + 0.4 * rng.standard_normal((users, 1))
        score = np.exp(0.6 * item + 0.5 * taste[:, category])
        logged = score / score.sum(axis=1, keepdims=True)
        count = 1 + rng.poisson(rng.gamma(2.0, max(visits - 1, 0) / 2.0, users))
        segment = rng.integers(0, SEGMENTS, users)
        return cls(1 / (1 + np.exp(-logit)), np.cumsum(logged, axis=1), logged, segment, category, count)

    @property
    def users(self) -> int:
        return len(self.segment)


@dataclass(frozen=True)
class Model:
    """A simulator: how it predicts and how it runs sessions.

    Args:
        p: (U, I) float64, predicted response. leave: factor on the chance to leave. theta: of its session effect.
    """

    p: Floats
    leave: float = 1.0
    theta: float = THETA


@dataclass(frozen=True)
class Sessions:
    """S sessions of at most SLOTS slots.

    Args:
        user: (S,) int64. time: (S,) int64, seconds. item: (S, SLOTS) int64. alive, y: (S, SLOTS) bool.
    """

    user: NDArray[np.int64]
    time: NDArray[np.int64]
    item: NDArray[np.int64]
    alive: NDArray[np.bool_]
    y: NDArray[np.bool_]


def run_sessions(shop: GateShop, model: Model, rng: np.random.Generator, uniform_policy: bool = False) -> Sessions:
    """As many sessions of each user as `shop.visits` says, under the logging policy or the uniform one."""
    user = np.repeat(np.arange(shop.users), shop.visits)
    n = len(user)
    if uniform_policy:
        item = rng.integers(0, ITEMS, (n, SLOTS))
    else:
        flat = (shop.cdf + np.arange(shop.users)[:, None]).reshape(-1)
        drawn = np.searchsorted(flat, user[:, None] + rng.random((n, SLOTS)) * (1 - 1e-9), side="right")
        item = np.minimum(drawn - user[:, None] * ITEMS, ITEMS - 1)
    g = rng.gamma(1 / model.theta, model.theta, (n, 1)) if model.theta else np.ones((n, 1))
    y = rng.random((n, SLOTS)) < conditional(model.p[user[:, None], item], model.theta, g)
    left = rng.random((n, SLOTS)) < min(model.leave * LEAVE, 1.0)
    alive = np.ones((n, SLOTS), bool)
    alive[:, 1:] = np.cumsum(left, axis=1)[:, :-1] == 0
    return Sessions(user, rng.integers(0, WEEKS * WEEK, n), item, alive, y & alive)


def to_slice(shop: GateShop, sessions: Sessions, p: Floats, item_rate: Floats) -> PredictionSlice:
    """The rows of sessions with predictions p (U, I) and the item-rate baseline (I,)."""
    row, slot = np.nonzero(sessions.alive)
    user, item = sessions.user[row], sessions.item[row, slot]
    y = sessions.y[row, slot].astype(np.float64)
    return PredictionSlice(
        "click", p[user, item], y, np.ones(len(y)), user, item, row, sessions.time[row] + slot, shop.segment[user],
        item_rate[item],
    )  # fmt: skip


def to_stats(shop: GateShop, real: Sessions, simulated: Sessions) -> SessionStats:
    """Session statistics of both sides."""
    return SessionStats(_stats(shop, real), real.user, _stats(shop, simulated), simulated.user)


def _stats(shop: GateShop, s: Sessions) -> dict[str, Floats]:
    length = s.alive.sum(axis=1).astype(np.float64)
    stats: dict[str, Any] = {"length": length, "responses": s.y.sum(axis=1).astype(np.float64)}
    again = np.zeros(s.item.shape, bool)
    for k in range(1, SLOTS):
        again[:, k] = (s.item[:, :k] == s.item[:, k : k + 1]).any(axis=1)
    stats["repeat_share"] = (again & s.alive).sum(axis=1) / length
    category = shop.category[s.item]
    for c in range(CATEGORIES):
        stats[f"category_{c}"] = ((category == c) & s.alive).sum(axis=1) / length
    so_far = np.cumsum(s.y, axis=1)
    for step in STEPS:
        stats[f"drift_{step}_responses"] = np.where(s.alive[:, step - 1], so_far[:, step - 1], np.nan)
    return stats


def features(stats: dict[str, Floats]) -> tuple[Floats, tuple[str, ...]]:
    """(S, d) what the two-sample classifier sees: every statistic known of all sessions."""
    names = tuple(name for name in stats if not name.startswith("drift_"))
    return np.stack([stats[name] for name in names], axis=1), names


def expected_item_rate(sessions: Sessions, p: Floats, rng: np.random.Generator) -> Floats:
    """(I,) each item's mean true response among those to whom it was shown, known to 5 %."""
    row, slot = np.nonzero(sessions.alive)
    user, item = sessions.user[row], sessions.item[row, slot]
    shown = np.bincount(item, minlength=ITEMS)
    rate = np.bincount(item, p[user, item], ITEMS) / np.maximum(shown, 1)
    return np.clip(np.where(shown > 0, rate, 0.1) * np.exp(0.05 * rng.standard_normal(ITEMS)), 1e-6, 1 - 1e-6)
