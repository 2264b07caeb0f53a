"""What off-policy evaluation takes in: logged decisions and the policy to be valued; checked, never mended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MIN_PROPENSITY = 1e-6
"""Smallest propensity that passes unless another floor is asked for: a weight of a million is no evidence."""
_SUM_TOLERANCE = 1e-4  # published action distributions are rounded to 6 digits; 80 of them add up to 1 +- 4e-5


@dataclass(frozen=True)
class LoggedBandit:
    """n logged decisions of one logging policy: one row is one action shown, at one position.

    `check()` gives the same log with arrays of the dtypes below, or raises a named error; `evaluate` and `audit` call
    it.
    """

    action: Array
    """(n,) int64 in [0, n_actions): what was shown."""
    reward: Array
    """(n,) float64, finite: what came of it."""
    propensity: Array
    """(n,) float64 in (0, 1]: probability, under the logging policy, of the logged action at its position."""
    user: Array
    """(n,) int64: cluster of each row; rows of one user are not independent. `np.arange(n)` where users are unknown."""
    n_actions: int
    """A: number of actions."""
    position: Array | None = None
    """(n,) int64 >= 0: place in the slate; None: all 0."""
    weight: Array | None = None
    """(n,) float64 > 0: 1 / sampling rate of the row; None: all 1."""
    behaviour: Array | None = None
    """(n, A) float64: the whole logging distribution of each row, where known: tells which actions lack support."""

    def __len__(self) -> int:
        return len(self.action)

    def check(self, min_propensity: float = MIN_PROPENSITY) -> LoggedBandit:
        """The log with float64 and int64 arrays and no None but `behaviour`.

        Raises:
            InputError: empty, non-numeric, ragged or of unequal length; NaN or infinite; an action, propensity,
                position or weight out of its range; a propensity below `min_propensity` (see `clipped`).
        """
        scalar("min_propensity", min_propensity, 0.0, 1.0)
        count = _count(self.n_actions)
        action = whole("action", self.action)
        n = len(action)
        if n == 0:
            raise InputError("action", "no rows", "Give at least one logged decision.")
        reward = numbers("reward", self.reward, (n,))
        propensity = numbers("propensity", self.propensity, (n,))
        _within("action", action, 0, count - 1)
        _propensities(propensity, min_propensity)
        user = whole("user", self.user, n)
        position = np.zeros(n, np.int64) if self.position is None else whole("position", self.position, n)
        _within("position", position, 0, np.iinfo(np.int64).max)
        weight = np.ones(n) if self.weight is None else numbers("weight", self.weight, (n,))
        if (weight <= 0).any():
            raise InputError(_row("weight", weight <= 0), f"{weight.min():g} is not above 0", "Leave such rows out.")
        behaviour = None if self.behaviour is None else distribution("behaviour", self.behaviour, (n, count))
        if behaviour is not None:
            apart = np.abs(behaviour[np.arange(n), action] - propensity) > 1e-6 + 1e-4 * propensity
            if apart.any():
                what = "the table's probability of the logged action is not its propensity"
                raise InputError(_row("behaviour", apart), what, "Give the table and the propensities of one policy.")
        return replace(self, action=action, reward=reward, propensity=propensity, user=user, n_actions=count,
                       position=position, weight=weight, behaviour=behaviour)  # fmt: skip

    def clipped(self, floor: float) -> LoggedBandit:
        """The log with propensities in (0, floor) raised to `floor`: less variance, and a bias towards 0.

        Raises:
            InputError: `floor` outside (0, 1].
        """
        scalar("floor", floor, 0.0, 1.0, open_low=True)
        p = numbers("propensity", self.propensity, (len(self.action),))
        return replace(self, propensity=np.where(p > 0, np.maximum(p, floor), p))

    def rows(self, index: Array) -> LoggedBandit:
        """Some of the rows: boolean (n,) or row numbers."""
        picked: dict[str, Any] = {
            name: None if (a := getattr(self, name)) is None else np.asarray(a)[index] for name in _ROW_FIELDS
        }
        return replace(self, **picked)


_ROW_FIELDS = ("action", "reward", "propensity", "user", "position", "weight", "behaviour")


@dataclass(frozen=True)
class Target:
    """The policy to be valued, pi_e, on the same n rows; and a reward model q, where there is one.

    Either `probability` or `chosen`. With `probability` q may be the table `q`; without it, `q_logged` and `q_target`.
    """

    probability: Array | None = None
    """(n, A) float64: pi_e(a | x_i, position_i); rows sum to 1 (within 1e-4)."""
    chosen: Array | None = None
    """(n,) float64: pi_e(logged action | x_i) alone, where a full table is too large."""
    q: Array | None = None
    """(n, A) float64: estimated reward of each action, from a model that has not seen the row's user (`crossfit`)."""
    q_logged: Array | None = None
    """(n,) float64: q of the logged action."""
    q_target: Array | None = None
    """(n,) float64: sum_a pi_e(a | x) q(x, a)."""
    groups: Array | None = None
    """(A,) int64 >= 0: group of each action, for `mips` (see `group_actions`)."""

    @property
    def has_q(self) -> bool:
        """Whether a reward model was given."""
        return self.q is not None or self.q_target is not None

    def check(self, log: LoggedBandit) -> CheckedTarget:
        """What the estimators need, from a log already checked.

        Raises:
            InputError: neither or both of `probability` and `chosen`; a q given in both forms, in half of one, or a
                table without `probability`; wrong shapes, non-numbers, NaN; negative probabilities; rows off sum one.
        """
        n, count = len(log.action), log.n_actions
        index = np.arange(n)
        if (self.probability is None) == (self.chosen is None):
            what = "needs `probability` or `chosen`, one of the two"
            raise InputError("target", what, "Give the (n, A) table if you can.")
        table: Floats | None = None
        if self.probability is not None:
            table = distribution("probability", self.probability, (n, count))
            chosen = table[index, log.action]
        else:
            chosen = numbers("chosen", self.chosen, (n,))
            _within("chosen", chosen, 0.0, 1.0)
        groups = None if self.groups is None else whole("groups", self.groups, count)
        if groups is not None:
            _within("groups", groups, 0, count - 1)
        return CheckedTarget(chosen, table, *self._model(log, table), groups)

    def _model(self, log: LoggedBandit, table: Floats | None) -> tuple[Floats | None, Floats | None]:
        n = len(log.action)
        if self.q is not None:
            if self.q_logged is not None or self.q_target is not None:
                raise InputError("q", "given both as a table and as q_logged / q_target", "Give one of them.")
            if table is None:
                raise InputError("q", "a table of q needs the target's `probability`", "Give q_logged and q_target.")
            q = numbers("q", self.q, (n, log.n_actions))
            # divided by the sum, as rounded distributions do not add up to 1
            return q[np.arange(n), log.action], (table * q).sum(axis=1) / table.sum(axis=1)
        if (self.q_logged is None) != (self.q_target is None):
            raise InputError("q_logged, q_target", "only one of the two was given", "Give both, or neither.")
        if self.q_logged is None:
            return None, None
        return numbers("q_logged", self.q_logged, (n,)), numbers("q_target", self.q_target, (n,))

    def rows(self, index: Array) -> Target:
        """The same rows as `LoggedBandit.rows(index)`."""
        names = ("probability", "chosen", "q", "q_logged", "q_target")
        return replace(
            self, **{name: None if (a := getattr(self, name)) is None else np.asarray(a)[index] for name in names}
        )


@dataclass(frozen=True)
class CheckedTarget:
    """A target after its checks, reduced to what estimators use."""

    chosen: Floats
    """(n,) pi_e(logged action)."""
    table: Floats | None
    """(n, A) pi_e, or None."""
    q_logged: Floats | None
    """(n,) or None."""
    q_target: Floats | None
    """(n,) or None."""
    groups: Ints | None
    """(A,) or None."""


def numbers(name: str, values: Any, shape: tuple[int, ...] | None = None) -> Floats:
    """`values` as a finite float64 array (of `shape`, where given).

    Raises:
        InputError: not numbers, ragged, of another shape, NaN or infinite.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(name, "is ragged", "Give an array of equal rows.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(name, f"holds {array.dtype}, not numbers", "Give whole or real numbers.")
    if shape is not None and array.shape != shape:
        raise InputError(name, f"has shape {array.shape}", f"Give {shape}: one entry for each logged row.")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(_row(name, ~np.isfinite(array)), "NaN or infinite", "Leave such rows out or mend them.")
    return array


def whole(name: str, values: Any, n: int | None = None) -> Ints:
    """`values` as a one-dimensional int64 array (of length n, where given).

    Raises:
        InputError: not numbers, not whole, of another shape or length.
    """
    array = numbers(name, values, None if n is None else (n,))
    if array.ndim != 1:
        raise InputError(name, f"has shape {array.shape}", "Give one number for each logged row.")
    if np.asarray(values).dtype.kind == "f" and (array != np.floor(array)).any():
        raise InputError(_row(name, array != np.floor(array)), "not a whole number", "Give indices.")
    return np.asarray(values).astype(np.int64)


def distribution(name: str, values: Any, shape: tuple[int, int]) -> Floats:
    """`values` as an (n, A) table of probabilities whose rows sum to 1 within 1e-4.

    Raises:
        InputError: see `numbers`; negative, above 1, or a sum off one.
    """
    table = numbers(name, values, shape)
    if (table < 0).any():
        raise InputError(_row(name, table < 0), f"negative probability {table.min():g}", "Give values in [0, 1].")
    total = table.sum(axis=1)
    off = np.abs(total - 1.0) > _SUM_TOLERANCE
    if off.any():
        raise InputError(_row(name, off), f"sums to {total[off][0]:g}, not 1", "Normalise over the eligible actions.")
    return table


def scalar(name: str, value: Any, low: float, high: float, open_low: bool = False, open_high: bool = False) -> float:
    """`value` as a float within its range.

    Raises:
        InputError: not a number, NaN, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputError(name, f"{value!r} is not a number", "Give a number.")
    number = float(value)
    inside = (number > low if open_low else number >= low) and (number < high if open_high else number <= high)
    if not inside:  # NaN too
        bounds = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise InputError(name, f"{number:g} lies outside {bounds}", "Give a value within it.")
    return number


def _count(n_actions: Any) -> int:
    if isinstance(n_actions, bool) or not isinstance(n_actions, (int, np.integer)) or n_actions < 1:
        raise InputError("n_actions", f"{n_actions!r}", "Give the number of actions, at least 1.")
    return int(n_actions)


def _propensities(p: Floats, floor: float) -> None:
    bad = (p <= 0) | (p > 1)
    if bad.any():
        raise InputError(
            _row("propensity", bad), f"{p[bad][0]:g} lies outside (0, 1]", "A logged action had some probability."
        )
    if (p < floor).any():
        what = f"{p.min():g} is below {floor:g} in {(p < floor).sum()} rows"
        raise InputError(_row("propensity", p < floor), what, "Check the log; or use log.clipped(floor), and say so.")


def _within(name: str, values: Array, low: float, high: float) -> None:
    bad = (values < low) | (values > high)
    if bad.any():
        raise InputError(_row(name, bad), f"{values[bad][0]:g} is not in [{low:g}, {high:g}]", "Check the indices.")


def _row(name: str, bad: Array) -> str:
    """`name` with the first bad row."""
    return f"{name}, row {int(np.argwhere(bad)[0][0])}" if np.ndim(bad) else name
