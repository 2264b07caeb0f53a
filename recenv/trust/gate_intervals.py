"""Simultaneous intervals clustered by user, from the influence of each user on each figure.

A figure is a smooth function of sums over users, f = g(sum_u s_u). Its influence values psi_u = g'(S) . s_u sum to 0,
and Var(f) = U / (U - 1) sum_u psi_u^2 (the cluster-robust delta method; Cameron and Miller, "A practitioner's guide to
cluster-robust inference", J. Human Resources 2015, section II). For m figures at once the critical value is the
quantile of max_j |Z_j| at the level, Z ~ N(0, R), with R the correlation of the influence values: the Gaussian
multiplier bootstrap of the largest t (Chernozhukov, Chetverikov and Kato, Annals of Statistics 2013). Why not
resampling of users: the family of all gates asks for the 99.7 % point of each, and percentiles out there need tens of
thousands of draws. Why not Bonferroni within a gate: its lines are correlated; the narrower of the two is taken. Each
figure's tails follow Student's t with the degrees of freedom that its own influence values support (Satterthwaite):
few users, or a few who dominate, widen the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

Floats = NDArray[np.float64]

_DRAWS = 20_000
_LEAST_FREEDOM = 4.0


def numbered(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(k,) distinct ids in rising order, and the place (n,) of each id in them; no sort where ids are compact."""
    if ids.dtype.kind in "iu" and len(ids) and ids.min() >= 0 and ids.max() < 4 * len(ids):
        there = np.zeros(int(ids.max()) + 1, bool)
        there[ids] = True
        return np.flatnonzero(there), (np.cumsum(there) - 1)[ids]
    known, place = np.unique(ids, return_inverse=True)
    return known, place.astype(np.int64)


@dataclass(frozen=True)
class Clusters:
    """Rows grouped by user.

    Args:
        index: (n,) int64, number of the user of each row, from 0. size: number of users.
    """

    index: NDArray[np.int64]
    size: int

    @classmethod
    def of(cls, user: NDArray[Any]) -> Clusters:
        """Group rows by user (n,)."""
        distinct, index = numbered(user)
        return cls(index, len(distinct))

    def sums(self, *rows: NDArray[Any]) -> Floats:
        """(U, k) sums by user of k row quantities (n,)."""
        return np.stack([np.bincount(self.index, np.asarray(r, np.float64), self.size) for r in rows], axis=1)

    def table(self, group: NDArray[Any], groups: int, row: NDArray[Any]) -> Floats:
        """(U, groups) sums by user and group of one row quantity (n,); group (n,) in 0..groups - 1."""
        flat = self.index * groups + group
        sums = np.bincount(flat, np.asarray(row, np.float64), self.size * groups)
        return sums.astype(np.float64).reshape(self.size, groups)


@dataclass(frozen=True)
class Bands:
    """m figures with simultaneous intervals.

    Args:
        value, se, low, high: (m,) float64; NaN where a figure cannot be had. freedom: (m,) degrees of freedom.
        critical: (m,) multiples of the standard error.
    """

    value: Floats
    se: Floats
    low: Floats
    high: Floats
    freedom: Floats
    critical: Floats

    def exp(self) -> Bands:
        """The same bands of log figures, on the scale of the figures."""
        return Bands(np.exp(self.value), self.se, np.exp(self.low), np.exp(self.high), self.freedom, self.critical)


def simultaneous(value: Floats, influence: Floats, level: float, seed: int = 0) -> Bands:
    """Intervals of m figures that hold together with probability `level`.

    Args:
        value: (m,) figures. influence: (U, m) float64, each user's influence on each figure.
        level: in (0, 1). seed: of the normal draws for the critical value.
    """
    value = np.asarray(value, np.float64)
    users = len(influence)
    sound = np.isfinite(value) & np.isfinite(influence).all(axis=0) & (users > 1)
    psi = np.where(sound, influence, 0.0)
    square = (psi**2).sum(axis=0)
    se = np.sqrt(square * users / max(users - 1, 1))
    freedom = _freedom(psi, square, users)
    tail = _tail(psi, square, level, seed)
    critical = -stdtrit(freedom, np.full(len(value), tail / 2))
    sound &= freedom >= _LEAST_FREEDOM
    half = np.where(sound, critical * se, np.nan)
    return Bands(value, np.where(sound, se, np.nan), value - half, value + half, freedom, critical)


def _freedom(psi: Floats, square: Floats, users: int) -> Floats:
    """(m,) 2 V^2 / Var(V) of V = sum psi^2, at most U - 1."""
    spread = (psi**4).sum(axis=0) - square**2 / users
    most = float(max(users - 1, 1))
    return np.minimum(np.divide(2 * square**2, spread, out=np.full(len(square), most), where=spread > 0), most)


def _tail(psi: Floats, square: Floats, level: float, seed: int) -> float:
    """Two-sided tail of a single figure such that max |Z| of all stays within with probability `level`."""
    used = square > 0
    m = int(used.sum())
    if m <= 1:
        return 1.0 - level
    unit = psi[:, used] / np.sqrt(square[used])
    spectrum, axes = np.linalg.eigh(unit.T @ unit)
    root = axes * np.sqrt(np.maximum(spectrum, 0.0))
    largest = np.zeros(_DRAWS)
    rng = np.random.default_rng(seed)
    for start in range(0, _DRAWS, 4000):
        z = rng.standard_normal((4000, m)) @ root.T
        largest[start : start + 4000] = np.abs(z).max(axis=1)
    quantile = float(np.quantile(largest, level))
    bonferroni = float(-ndtri((1.0 - level) / (2 * m)))
    return float(2 * ndtr(-min(quantile, bonferroni)))


def log_ratio(top: Floats, bottom: Floats) -> tuple[Floats, Floats]:
    """log(sum_u top / sum_u bottom) for m pairs (U, m), and its influence (U, m); NaN where a sum is not above 0."""
    a, b = top.sum(axis=0), bottom.sum(axis=0)
    sound = (a > 0) & (b > 0)
    a, b = np.where(sound, a, np.nan), np.where(sound, b, np.nan)
    return np.log(a / b), top / a - bottom / b


def mean_of(total: Floats, mass: Floats) -> tuple[Floats, Floats]:
    """sum_u total / sum_u mass for m pairs (U, m), and its influence (U, m); NaN where the mass is 0."""
    m = mass.sum(axis=0)
    m = np.where(m > 0, m, np.nan)
    value = total.sum(axis=0) / m
    return value, (total - mass * value) / m
