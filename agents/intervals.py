"""95 % intervals of means: over seeds, over episodes clustered by user, over worlds that might as well have judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recenv.core.enough import MIN_SEEDS, MIN_USERS, no_spread
from recenv.core.errors import InputError


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; low and high are None where too little stands behind one (`recenv.core.enough`)."""

    mean: float
    low: float | None
    high: float | None

    def as_list(self) -> list[float | None]:
        """[mean, low, high], for JSON."""
        return [self.mean, self.low, self.high]

    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low is not None and self.low > 0


def t_interval(values: NDArray[Any]) -> Interval:
    """mean +- t(.975, K - 1) s / sqrt(K) over K independent values (K,), one number a seed.

    Of one value, or of values that are all the same, the mean alone: they do not tell how others would differ.

    Raises:
        InputError: no value.
    """
    x = np.asarray(values, np.float64)
    if not len(x):
        raise InputError("interval", "no values", "Give at least one.")
    mean = float(x.mean())
    if len(x) < MIN_SEEDS:
        return Interval(mean, None, None)
    deviation = float(x.std(ddof=1) / np.sqrt(len(x)))
    if no_spread(deviation, mean):
        return Interval(mean, None, None)
    half = float(stats.t.ppf(0.975, len(x) - 1)) * deviation
    return Interval(mean, mean - half, mean + half)


def clustered_interval(values: NDArray[Any], cluster: NDArray[Any]) -> Interval:
    """Interval of the mean of episodes (n,) that fall in clusters (n,): the same user's episodes are not independent.

    Variance of the mean = G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2, G clusters, t with G - 1 degrees of
    freedom. Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 1986, for a mean.
    Of fewer than 20 clusters, or of clusters that all brought the same, the mean alone.

    Raises:
        InputError: no value, or arrays of unequal length.
    """
    x = np.asarray(values, np.float64)
    if not len(x) or len(x) != len(cluster):
        raise InputError("interval", f"{len(x)} values, {len(cluster)} clusters", "Give as many of each, at least one.")
    mean = float(x.mean())
    _, group = np.unique(cluster, return_inverse=True)
    sums = np.bincount(group, weights=x - mean)
    g = len(sums)
    if g < MIN_USERS:
        return Interval(mean, None, None)
    deviation = float(np.sqrt(g / (g - 1) * (sums**2).sum()) / len(x))
    if no_spread(deviation, mean):
        return Interval(mean, None, None)
    half = float(stats.t.ppf(0.975, g - 1)) * deviation
    return Interval(mean, mean - half, mean + half)


def paired_interval(a: NDArray[Any], b: NDArray[Any], cluster: NDArray[Any]) -> Interval:
    """Interval of the mean of a - b, values (n,) of two policies in the same episodes; see `clustered_interval`.

    Two policies that choose alike meet the same draws, so that all their episodes are equal and their difference is
    exactly 0: it has the interval [0, 0]. Taken so only where the values themselves differ between users: where every
    user brought the same, equal values do not tell that the choices were.
    """
    if np.array_equal(a, b) and clustered_interval(a, cluster).low is not None:
        return Interval(0.0, 0.0, 0.0)
    return clustered_interval(np.asarray(a, np.float64) - np.asarray(b, np.float64), cluster)


def wider(seeds: Interval, episodes: Interval) -> Interval:
    """The wider of two intervals of the same mean; that over episodes where seeds give none (one seed, or all alike);
    none of too few users.

    Seeds that all draw from the same users tell nothing of others: what varies over seeds is training and chance. What
    varies over users is in the interval over episodes, which in turn takes the trained policies as given.
    """
    if episodes.low is None or episodes.high is None or seeds.low is None or seeds.high is None:
        return episodes
    return seeds if seeds.high - seeds.low >= episodes.high - episodes.low else episodes


def with_outer(inner: Interval, outer: NDArray[Any]) -> Interval:
    """The interval that also holds what the judge's own users leave open.

    By the law of total variance, Var(value) = E[Var(value | judge)] + Var(E[value | judge]). The first is in `inner`;
    the second is the variance of the values `outer` (K,) over K judges refitted on bootstraps of users: their spread,
    not that of their mean, stands for the judge's own error. Half-widths add in quadrature, t with K - 1 degrees of
    freedom for the second. With K below 2, or without an inner interval, `inner` as it is.
    """
    x = np.asarray(outer, np.float64)
    if len(x) < 2 or inner.low is None or inner.high is None:
        return inner
    half = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1))
    low = inner.mean - float(np.hypot(inner.mean - inner.low, half))
    return Interval(inner.mean, low, inner.mean + float(np.hypot(inner.high - inner.mean, half)))


def widest(intervals: Mapping[str, Any]) -> list[float | None]:
    """[mean, low, high] for tables: `total`, with the spread over the judge's members, where there is one."""
    found: list[float | None] = intervals.get("total", intervals["wider"])
    return found
