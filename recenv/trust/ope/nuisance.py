"""Cross-fitted reward models and propensities: no row is judged by a model that has seen its user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.trust.ope.inputs import Array, Floats, Ints, LoggedBandit, numbers, scalar, whole

FitPredict = Callable[[Ints, Ints], Any]
"""(train rows, test rows) -> predictions (n_test, ...): fits on the first, predicts for the second."""


def folds_by_user(user: Array, n_folds: int = 3, seed: int = 0) -> Ints:
    """(n,) fold of each row: users dealt out at random, all rows of a user into one fold.

    Raises:
        InputError: fewer than 2 folds, or fewer users than folds.
    """
    distinct, group = np.unique(whole("user", user), return_inverse=True)
    if isinstance(n_folds, bool) or not isinstance(n_folds, (int, np.integer)) or not 2 <= n_folds <= len(distinct):
        raise InputError("n_folds", f"{n_folds!r} for {len(distinct)} users", "Give 2 to the number of users.")
    deal = np.random.default_rng(seed).permutation(len(distinct)) % n_folds
    return deal[group].astype(np.int64)


def crossfit(fit_predict: FitPredict, user: Array, n_folds: int = 3, seed: int = 0) -> Floats:
    """(n, ...) float64 predictions: each fold's by a model fitted on the others.

    Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 2018, section 3, with users in place
    of rows.

    Raises:
        InputError: bad folds (see `folds_by_user`); predictions that are no numbers, NaN, or not one for each test row.
    """
    fold = folds_by_user(user, n_folds, seed)
    result: NDArray[np.float64] | None = None
    for k in range(n_folds):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        part = numbers(f"predictions of fold {k}", fit_predict(train, test))
        if part.shape[:1] != (len(test),) or (result is not None and part.shape[1:] != result.shape[1:]):
            raise InputError(f"predictions of fold {k}", f"have shape {part.shape}", f"Give ({len(test)}, ...).")
        if result is None:
            result = np.empty((len(fold), *part.shape[1:]))
        result[test] = part
    if result is None:
        raise InputError("user", "no rows", "Give at least one.")
    return result


def shrunk_rates(log: LoggedBandit, strength: float = 100.0, train: Array | None = None) -> Floats:
    """(positions, A) rewards by position and action, shrunk to the mean: (sum s r + k m) / (sum s + k), k = strength.

    The plainest reward model; index it by `log.position`. `train`: rows to learn from, None: all.

    Raises:
        InputError: strength below 0 or infinite, bad arrays.
    """
    strength = scalar("strength", strength, 0.0, 1e300)
    log = log.check()
    positions = int(np.max(log.position)) + 1 if log.position is not None else 1
    part = log if train is None else log.rows(train).check()
    assert part.position is not None
    assert part.weight is not None
    cell = part.position * log.n_actions + part.action
    size = positions * log.n_actions
    mean = float(np.average(part.reward, weights=part.weight))
    weight = np.bincount(cell, part.weight, minlength=size)
    total = np.bincount(cell, part.weight * part.reward, minlength=size)
    rate = np.divide(total + strength * mean, weight + strength, out=np.full(size, mean), where=weight + strength > 0)
    return rate.reshape(positions, log.n_actions)


def crossfitted_rates(log: LoggedBandit, strength: float = 100.0, n_folds: int = 3, seed: int = 0) -> Floats:
    """(n, A) `shrunk_rates` at each row's position, from other users only: a reward model for `Target.q`."""
    position = np.zeros(len(log), np.int64) if log.position is None else whole("position", log.position)
    return crossfit(lambda tr, te: shrunk_rates(log, strength, tr)[position[te]], log.user, n_folds, seed)
