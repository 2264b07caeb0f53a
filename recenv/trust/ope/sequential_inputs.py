"""Logged sessions and an evaluated policy for sequential off-policy evaluation, and the checks on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError

Array = NDArray[Any]
SUM_TOLERANCE = 1e-6
WHERE = "sequential log"
MEND_SHAPE = "Give arrays of one shape: sessions by steps."


@dataclass(frozen=True)
class LoggedTrajectories:
    """n logged sessions of at most H steps; a session of fewer ends early, what lies behind its end is ignored.

    Args:
        action: (n, H) int64, number of the action shown. reward: (n, H) float64.
        propensity: (n, H) float64 in (0, 1], of the logged action given all that came before; None = not recorded.
        user: (n,) int64, user of each session: the cluster of the intervals.
        n_actions: number of actions A. length: (n,) int64 steps of each session, H if None.
        state: (n, H) int64 number of the state before each step, or None; for the tabular estimators.
    """

    action: Array
    reward: Array
    propensity: Array | None
    user: Array
    n_actions: int
    length: Array | None = None
    state: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(sessions n, steps H)."""
        return self.action.shape[0], self.action.shape[1]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(n, H) steps that took place."""
        n, horizon = self.shape
        lengths = np.full(n, horizon) if self.length is None else np.asarray(self.length)
        return np.arange(horizon)[None] < lengths[:, None]

    def check(self, min_propensity: float = 1e-6) -> None:
        """Raises InputError at the first thing wrong with the arrays."""
        if self.action.ndim != 2 or 0 in self.action.shape:
            raise InputError(WHERE, f"action has shape {self.action.shape}", MEND_SHAPE)
        _whole("action", self.action)
        _shape("reward", self.reward, self.shape)
        _shape("user", self.user, self.shape[:1])
        _whole("user", self.user)
        if isinstance(self.n_actions, bool) or not isinstance(self.n_actions, int) or self.n_actions < 1:
            raise InputError(WHERE, f"n_actions is {self.n_actions!r}", "Give the number of actions.")
        self._check_length()
        alive = self.alive
        _inside("action", self.action, alive, 0, self.n_actions - 1, "Actions are numbered from 0 to n_actions - 1.")
        _finite("reward", self.reward, alive, "Leave out sessions whose reward is not known.")
        if self.propensity is not None:
            _shape("propensity", self.propensity, self.shape)
            _finite("propensity", self.propensity, alive, "Give None where propensities were not recorded.")
            mend = f"Give probabilities in (0, 1], at least {min_propensity:g}; check which policy wrote them."
            _inside("propensity", self.propensity, alive, min_propensity, 1.0, mend)
        if self.state is not None:
            _shape("state", self.state, self.shape)
            _whole("state", self.state)
            _inside("state", self.state, alive, 0, 2**31, "States are numbered from 0.")

    def _check_length(self) -> None:
        if self.length is None:
            return
        _shape("length", self.length, self.shape[:1])
        _whole("length", self.length)
        bad = (self.length < 1) | (self.length > self.shape[1])
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            what = f"length of session {row} is {self.length[row]}"
            raise InputError(WHERE, what, f"Give 1 to {self.shape[1]} steps.")

    @classmethod
    def from_rows(
        cls,
        session: Array,
        step: Array,
        action: Array,
        reward: Array,
        propensity: Array | None,
        user: Array,
        n_actions: int,
        state: Array | None = None,
    ) -> LoggedTrajectories:
        """Sessions from one row a step; all (m,): session, step (0, 1, ... within the session), action, ...

        Raises:
            InputError: shapes apart, a step missing or twice, a session with two users.
        """
        parts = {"step": step, "action": action, "reward": reward, "user": user}
        parts |= {name: v for name, v in (("propensity", propensity), ("state", state)) if v is not None}
        if np.ndim(session) != 1 or len(session) == 0:
            raise InputError(WHERE, f"session has shape {np.shape(session)}", "Give one number a row.")
        for name, values in parts.items():
            _shape(name, values, np.shape(session))
        order = np.lexsort((step, session))
        _, start, length = np.unique(np.asarray(session)[order], return_index=True, return_counts=True)
        row = np.repeat(np.arange(len(length)), length)
        column = np.arange(len(order)) - np.repeat(start, length)
        if not (np.asarray(step)[order] == column).all():
            at = int(np.asarray(session)[order][np.flatnonzero(np.asarray(step)[order] != column)[0]])
            raise InputError(WHERE, f"the steps of session {at} are not 0, 1, 2, ...", "Number them, each once.")
        who = np.asarray(user)[order][start]
        if (np.asarray(user)[order] != who[row]).any():
            raise InputError(WHERE, "a session has rows of two users", "Give each session one user.")

        def wide(values: Array, fill: float) -> Array:
            out = np.full((len(length), int(length.max())), fill, np.asarray(values).dtype)
            out[row, column] = np.asarray(values)[order]
            return out

        return cls(
            action=wide(action, 0),
            reward=wide(reward, 0.0),
            propensity=None if propensity is None else wide(propensity, 1.0),
            user=who,
            n_actions=n_actions,
            length=length,
            state=None if state is None else wide(state, 0),
        )


@dataclass(frozen=True)
class SequentialTarget:
    """The evaluated policy on the steps of a log.

    Args:
        probability: (n, H, A) float64, pi_e(a | what came before step t); rows sum to 1.
        q: (n, H, A) float64 or None: predicted value to go, discounted from step t on, of doing a at step t and
            following pi_e from there; from a model that has not seen the session (`sequential_fqe.crossfit`).
        marginal: (n, H) float64 or None: ratio of the marginal probabilities of (state, action) at step t under
            pi_e and under the logging policy (`sequential_marginal.tabular_weights`); behind a session's end: of
            having ended by then (1 where all sessions are of one length).
    """

    probability: Array
    q: Array | None = None
    marginal: Array | None = None

    def check(self, log: LoggedTrajectories) -> None:
        """Raises InputError at the first thing wrong, or not fitting the log."""
        full = (*log.shape, log.n_actions)
        alive = log.alive
        _shape("probability", self.probability, full)
        _finite("probability", self.probability, alive, "Give the policy's probabilities.")
        low, off = self.probability.min(axis=2), np.abs(self.probability.sum(axis=2) - 1.0)
        if (low[alive] < 0).any():
            raise InputError("target probability", f"{low[alive].min():.6g} is negative", "Give probabilities.")
        if (off[alive] > SUM_TOLERANCE).any():
            row, step = np.argwhere(alive & (off > SUM_TOLERANCE))[0]
            what = f"session {row} step {step} sums to {self.probability[row, step].sum():.6g}"
            raise InputError(
                "target probability", what, "Give every step's probabilities of all actions: they sum to 1."
            )
        if self.q is not None:
            _shape("q", self.q, full)
            _finite("q", self.q, alive, "Give a prediction for every action.")
        if self.marginal is not None:
            _shape("marginal", self.marginal, log.shape)
            _finite("marginal", self.marginal, np.ones(log.shape, bool), "Give a ratio for every step.")
            if (self.marginal < 0).any():
                raise InputError("target marginal", "a ratio is negative", "Ratios of probabilities are at least 0.")


def chosen(log: LoggedTrajectories, table: Array) -> NDArray[np.float64]:
    """(n, H): the entry of the logged action in a table (n, H, A)."""
    action = np.where(log.alive, log.action, 0)
    return np.take_along_axis(np.asarray(table, np.float64), action[..., None], axis=2)[..., 0]


def discounts(discount: float, horizon: int) -> NDArray[np.float64]:
    """(H,) 1, g, g^2, ...; raises InputError unless 0 <= g <= 1."""
    if not isinstance(discount, (int, float)) or isinstance(discount, bool) or not 0.0 <= discount <= 1.0:
        raise InputError("option discount", f"{discount!r}", "Give a number from 0 to 1.")
    return np.asarray(float(discount) ** np.arange(horizon))


def _shape(name: str, values: Any, shape: tuple[int, ...]) -> None:
    if np.shape(values) != tuple(shape):
        raise InputError(WHERE, f"{name} has shape {np.shape(values)}, expected {tuple(shape)}", MEND_SHAPE)


def _whole(name: str, values: Array) -> None:
    if not np.issubdtype(np.asarray(values).dtype, np.integer):
        raise InputError(WHERE, f"{name} is of type {np.asarray(values).dtype}", "Give whole numbers.")


def _finite(name: str, values: Array, alive: Array, mend: str) -> None:
    if not np.issubdtype(np.asarray(values).dtype, np.number):
        raise InputError(WHERE, f"{name} is of type {np.asarray(values).dtype}", "Give numbers.")
    if not np.isfinite(values[alive]).all():
        place = np.argwhere(alive.reshape(alive.shape + (1,) * (values.ndim - 2)) & ~np.isfinite(values))[0]
        raise InputError(WHERE, f"{name} of session {place[0]} step {place[1]} is {values[tuple(place)]}", mend)


def _inside(name: str, values: Array, alive: Array, low: float, high: float, mend: str) -> None:
    bad = alive & ((values < low) | (values > high))
    if bad.any():
        row, step = np.argwhere(bad)[0]
        raise InputError(WHERE, f"{name} of session {row} step {step} is {values[row, step]:.6g}", mend)
