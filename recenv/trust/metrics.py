"""Weighted metrics of predicted probabilities, and bootstrap intervals clustered by user.

Throughout: p (n,) predicted probability, y (n,) 0 or 1, w (n,) positive weight (1 / sampling rate of the row).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.enough import MIN_USERS
from recenv.core.errors import InputError

Array = NDArray[Any]
_TINY = 1e-7


def row_losses(p: Array, y: Array) -> NDArray[np.float64]:
    """(n,) -y log p - (1 - y) log(1 - p), with p kept within [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(p, np.float64), _TINY, 1.0 - _TINY)
    return -np.where(np.asarray(y) > 0.5, np.log(p), np.log1p(-p))


def log_loss(p: Array, y: Array, w: Array) -> float:
    """Weighted mean log-loss: sum_i w_i l_i / sum_i w_i."""
    return float(np.average(row_losses(p, y), weights=np.asarray(w, np.float64)))


def entropy(rate: Array | float) -> Any:
    """Log-loss of predicting `rate` for everybody where `rate` is also what happens: -r log r - (1-r) log(1-r)."""
    r = np.clip(rate, _TINY, 1.0 - _TINY)
    return -r * np.log(r) - (1.0 - r) * np.log1p(-r)


def own_entropy(hits: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-loss of a slice's own rate, summed: mass H(hits / mass); NaN where all or none respond: nothing to gain."""
    return np.where((hits > 0) & (hits < mass), mass * entropy(hits / mass), np.nan)


def gain(loss: Any, reference: Any) -> Any:
    """Log-loss gain 1 - LL / LL_reference: the share of the reference's log-loss that the model saves."""
    return 1.0 - loss / reference


def auc(p: Array, y: Array, w: Array) -> float:
    """Weighted area under the ROC curve, exact with ties.

    sum_{i pos, j neg} w_i w_j (1[p_i > p_j] + 1/2 1[p_i = p_j]) / (W_pos W_neg); NaN where a class is missing.
    """
    return float(Ranking.of(p, y).auc(np.asarray(w, np.float64)[None])[0])


@dataclass(frozen=True)
class Ranking:
    """Rows sorted by prediction, so that AUCs under many weightings cost one sort.

    Args:
        order: (n,) rows by rising prediction. start: (g,) where each group of ties begins. positive: (n,) in `order`.
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, p: Array, y: Array) -> Ranking:
        """Rank predictions p (n,) with responses y (n,)."""
        order = np.argsort(p, kind="stable")
        ranked = np.asarray(p)[order]
        fresh = np.ones(len(order), bool)
        fresh[1:] = ranked[1:] != ranked[:-1]
        return cls(order, np.flatnonzero(fresh), np.asarray(y)[order] > 0.5)

    def auc(self, weights: Array) -> NDArray[np.float64]:
        """(b,) AUC under each of b weightings (b, n)."""
        w = weights[:, self.order]
        if not len(self.order):
            return np.full(len(w), np.nan)
        pos = np.add.reduceat(np.where(self.positive, w, 0.0), self.start, axis=1)
        neg = np.add.reduceat(np.where(self.positive, 0.0, w), self.start, axis=1)
        below = np.cumsum(neg, axis=1) - 0.5 * neg
        mass = pos.sum(axis=1) * neg.sum(axis=1)
        return np.divide((pos * below).sum(axis=1), mass, out=np.full(len(w), np.nan), where=mass > 0)


def quantile_bins(p: Array, w: Array, bins: int) -> NDArray[np.int64]:
    """(n,) number of the bin of each row; bins of equal weight by rising prediction, ties never split."""
    _, group, counts = np.unique(p, return_inverse=True, return_counts=True)
    mass = np.bincount(group, np.asarray(w, np.float64), minlength=len(counts))
    middle = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[group]


def calibration_error(p: Array, y: Array, w: Array, bins: int = 10) -> float:
    """Expected calibration error: sum_b (W_b / W) |mean_b p - mean_b y| over bins of equal weight.

    (Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.)
    """
    w = np.asarray(w, np.float64)
    bin_ = quantile_bins(p, w, bins)
    gap = np.bincount(bin_, w * (np.asarray(p, np.float64) - y), minlength=bins)
    return float(np.abs(gap).sum() / w.sum())


class UserBootstrap:
    """Draws of users with replacement: rows of one user come and go together.

    Each draw gives every user a count c_u (multinomial over users, total = number of users); a statistic of sums is
    taken over sum_u c_u s_u. (Field and Welsh, "Bootstrapping clustered data", JRSS B 2007: the cluster bootstrap.)

    From fewer than 20 users there are no draws, and so no intervals: what they would show is chance.

    Args:
        user: (n,) user of each row. n_boot: draws. seed: of the draws. telling: (n,) bool, the rows that a figure rests
            on (those with a response, say), whose users must be as many; all if None.
    """

    def __init__(self, user: Array, n_boot: int, seed: int, telling: Array | None = None) -> None:
        if n_boot < 1:
            raise InputError("n_boot", str(n_boot), "Give at least 1 draw.")
        distinct, self.user = np.unique(user, return_inverse=True)
        n = len(distinct)
        behind = n if telling is None else len(np.unique(self.user[np.asarray(telling)]))
        n_boot = n_boot if behind >= MIN_USERS else 0
        rng = np.random.default_rng(seed)
        self.counts = rng.multinomial(n, np.full(n, 1.0 / n), size=n_boot).astype(np.float64)

    def sums(self, *rows: Array) -> NDArray[np.float64]:
        """(k, 1 + b) sums of k row quantities (n,): first as they are, then under each draw."""
        n = self.counts.shape[1]
        by_user = np.stack([np.bincount(self.user, np.asarray(r, np.float64), minlength=n) for r in rows])
        return np.concatenate([by_user.sum(axis=1, keepdims=True), by_user @ self.counts.T], axis=1)

    def weights(self, w: Array, block: int = 8) -> Iterator[NDArray[np.float64]]:
        """Row weights under the draws, some draws at a time: first (1, n) as they are."""
        w = np.asarray(w, np.float64)
        yield w[None]
        for start in range(0, len(self.counts), block):
            yield self.counts[start : start + block][:, self.user] * w

    def auc(self, p: Array, y: Array, w: Array) -> NDArray[np.float64]:
        """(1 + b,) AUC as it is, then under each draw."""
        ranking = Ranking.of(p, y)
        return np.concatenate([ranking.auc(weights) for weights in self.weights(w)])


def interval(values: Array, level: float = 0.95) -> dict[str, float | None]:
    """{value, low, high} from (1 + b,): the statistic, then its bootstrap draws (percentile interval).

    Without draws, low and high are None.
    """
    if not np.isfinite(values[0]):
        return {"value": None, "low": None, "high": None}
    draws = values[1:][np.isfinite(values[1:])]
    if not len(draws):
        return {"value": float(values[0]), "low": None, "high": None}
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def divide(a: Array, b: Array) -> NDArray[np.float64]:
    """a / b, NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.broadcast_shapes(np.shape(a), np.shape(b)), np.nan), where=np.asarray(b) != 0)
