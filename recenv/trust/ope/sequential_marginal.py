"""Marginal ratios for sequential off-policy evaluation where the state is one of a few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.trust.ope.sequential_inputs import Array, LoggedTrajectories, SequentialTarget, chosen


def tabular_weights(log: LoggedTrajectories, probability: Array) -> NDArray[np.float64]:
    """(n, H) m_t = w_t(s_t) rho_t, with w_t(s) estimating P(s_t = s) under pi_e over that under the log's policy.

        w_0 = 1,  w_t(s) = mean of w_{t-1}(s_{t-1}) rho_{t-1} over the sessions with s_t = s

    A session that has ended is in a state of its own. Holds only if the state is Markov: it must tell all that the
    policies and the shop's answers depend on. (Xie, Ma and Wang, NeurIPS 2019, section 3.)

    Args:
        log: with `state` and `propensity`. probability: (n, H, A) float64 of the evaluated policy.

    Raises:
        InputError: states or propensities are missing, or an array is wrong.
    """
    log.check()
    SequentialTarget(probability).check(log)
    if log.state is None or log.propensity is None:
        missing = "state" if log.state is None else "propensities"
        raise InputError("sequential log", f"holds no {missing}", "Marginal ratios need both states and propensities.")
    alive = log.alive
    state = np.where(alive, log.state, np.max(log.state[alive]) + 1)
    ratio = np.where(alive, chosen(log, probability) / np.where(alive, log.propensity, 1.0), 1.0)
    out = np.empty(log.shape)
    carried = np.ones(log.shape[0])
    for t in range(log.shape[1]):
        _, group, count = np.unique(state[:, t], return_inverse=True, return_counts=True)
        weight = (np.bincount(group, carried) / count)[group] if t else carried
        carried = out[:, t] = weight * ratio[:, t]
    return out
