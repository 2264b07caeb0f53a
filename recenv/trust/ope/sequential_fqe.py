"""Fitted Q evaluation: the value to go of a policy, by regression from the last step back, cross-fitted by user.

    q_{H-1}(x, a) = E[r],  q_t(x, a) = E[r_t + g sum_b pi_e(b | x_{t+1}) q_{t+1}(x_{t+1}, b) | x_t = x, a_t = a]

(Le, Voloshin and Yue, "Batch policy learning under constraints", ICML 2019; finite horizon, one function a step.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.trust.ope.sequential_inputs import Array, LoggedTrajectories, SequentialTarget, discounts

Floats = NDArray[np.float64]


class Predictor(Protocol):
    """A fitted q function of one step."""

    def predict(self, x: Array) -> Floats:
        """(m, A) predictions from features x (m, d)."""


class Regressor(Protocol):
    """What fits a q function: any regression of y on features and action."""

    def fit(self, x: Array, action: Array, y: Array, n_actions: int) -> Predictor:
        """Fit y (m,) on x (m, d) and action (m,) int."""


@dataclass(frozen=True)
class Tabular:
    """Means by (state, action), x (m, 1) being the state's number.

    Args:
        prior: rows' worth of the action's own mean (over all states) mixed into each cell; an action never seen takes
            the overall mean.
    """

    prior: float = 1.0

    def fit(self, x: Array, action: Array, y: Array, n_actions: int) -> Predictor:
        """q(s, a) = (sum of y + prior * mean_a) / (count + prior)."""
        _not_negative("prior", self.prior)
        states, row = np.unique(np.asarray(x)[:, 0], return_inverse=True)
        overall = float(y.mean())
        of_action = np.bincount(action, minlength=n_actions)
        mean = (np.bincount(action, y, n_actions) + overall) / (of_action + 1.0)
        shape = (len(states), n_actions)
        cell = row * n_actions + action
        count = np.bincount(cell, minlength=len(states) * n_actions).reshape(shape)
        total = np.bincount(cell, y, len(states) * n_actions).reshape(shape)
        weight = count + self.prior
        seen = np.divide(total + self.prior * mean, weight, out=np.tile(mean, (len(states), 1)), where=weight > 0)
        return _Table(states, seen, mean)


@dataclass(frozen=True)
class _Table:
    states: Array
    q: Floats
    other: Floats

    def predict(self, x: Array) -> Floats:
        wanted = np.asarray(x)[:, 0]
        place = np.minimum(np.searchsorted(self.states, wanted), len(self.states) - 1)
        known = self.states[place] == wanted
        return np.where(known[:, None], self.q[place], self.other)


@dataclass(frozen=True)
class Linear:
    """Ridge regression on [1, x]: one for all actions, and one a action on what that leaves over.

    Args:
        ridge: penalty on each coefficient (features brought to mean 0, deviation 1), in rows.
    """

    ridge: float = 1.0

    def fit(self, x: Array, action: Array, y: Array, n_actions: int) -> Predictor:
        """Closed form; actions with few rows stay near the common fit."""
        _not_negative("ridge", self.ridge)
        x = np.asarray(x, np.float64)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        design = _design((x - mean) / scale)
        common = _solve(design, y, self.ridge, free=1)
        left = y - design @ common
        own = np.zeros((n_actions, design.shape[1]))
        for a in np.unique(action):
            mine = action == a
            own[a] = _solve(design[mine], left[mine], self.ridge, free=0)
        return _LinearFit(mean, scale, common + own)


@dataclass(frozen=True)
class _LinearFit:
    mean: Floats
    scale: Floats
    coefficients: Floats

    def predict(self, x: Array) -> Floats:
        return np.asarray(_design((np.asarray(x, np.float64) - self.mean) / self.scale) @ self.coefficients.T)


def fit_q(
    log: LoggedTrajectories, probability: Array, features: Array, regressor: Regressor, discount: float, use: Array
) -> list[Predictor]:
    """One predictor a step, fitted on the sessions marked in use (n,) bool.

    Raises:
        InputError: no session in use reaches some step.
    """
    g = discounts(discount, 2)[1]
    alive = log.alive & use[:, None]
    later = np.zeros(log.shape[0])
    out: list[Predictor] = []
    for t in range(log.shape[1] - 1, -1, -1):
        rows = np.flatnonzero(alive[:, t])
        if not len(rows):
            raise InputError("fitted Q", f"no session to fit on reaches step {t}", "Cut the sessions shorter.")
        y = np.asarray(log.reward[rows, t], np.float64) + g * later[rows]
        fitted = regressor.fit(features[rows, t], log.action[rows, t], y, log.n_actions)
        later = np.zeros(log.shape[0])
        later[rows] = (probability[rows, t] * fitted.predict(features[rows, t])).sum(axis=1)
        out.append(fitted)
    return out[::-1]


def crossfit(
    log: LoggedTrajectories,
    probability: Array,
    features: Array,
    regressor: Regressor,
    discount: float = 1.0,
    folds: int = 5,
    seed: int = 0,
) -> Floats:
    """(n, H, A) q of every step, by functions fitted on the sessions of OTHER users.

    Args:
        log: sessions. probability: (n, H, A) of the evaluated policy. features: (n, H, d) float64 of the state before
            each step. regressor: `Tabular()`, `Linear()` or anything with their `fit`. folds: groups of users.

    Raises:
        InputError: bad arrays, fewer users than folds, or predictions that are not finite.
    """
    log.check()
    SequentialTarget(probability).check(log)
    check_whole("folds", folds, 2, 100)
    check_seed(seed)
    if features.ndim != 3 or features.shape[:2] != log.shape:
        raise InputError("features", f"have shape {features.shape}", f"Give {log.shape} steps by features.")
    if not np.isfinite(features[log.alive]).all():
        raise InputError("features", "hold a value that is not finite", "Fill or leave out what is missing.")
    users, who = np.unique(log.user, return_inverse=True)
    if len(users) < folds:
        raise InputError("option folds", f"is {folds}, with {len(users)} users", "Take fewer folds.")
    fold = np.random.default_rng(seed).permutation(len(users))[who] % folds
    out = np.zeros((*log.shape, log.n_actions))
    for k in range(folds):
        mine = fold == k
        for t, fitted in enumerate(fit_q(log, probability, features, regressor, discount, ~mine)):
            rows = np.flatnonzero(mine & log.alive[:, t])
            if len(rows):
                out[rows, t] = _predicted(fitted, features[rows, t], log.n_actions)
    return out


def _predicted(fitted: Predictor, x: Array, n_actions: int) -> Floats:
    q = np.asarray(fitted.predict(x), np.float64)
    if q.shape != (len(x), n_actions) or not np.isfinite(q).all():
        what = f"predicts shape {q.shape}, {np.sum(~np.isfinite(q))} values not finite"
        raise InputError("regressor", what, f"It must give finite numbers, rows by {n_actions} actions.")
    return q


def _design(x: Floats) -> Floats:
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def _solve(design: Floats, y: Array, ridge: float, free: int) -> Floats:
    """Ridge coefficients; the first `free` are not shrunk. The least-norm solution where columns depend."""
    penalty = np.full(design.shape[1], ridge)
    penalty[:free] = 0.0
    return np.asarray(np.linalg.lstsq(design.T @ design + np.diag(penalty), design.T @ y, rcond=None)[0])


def _not_negative(name: str, value: float) -> None:
    if not np.isfinite(value) or value < 0:
        raise InputError(f"option {name}", f"{value!r}", "Give a number of at least 0.")
