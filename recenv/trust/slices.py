"""What the gates look at: predictions beside held-out responses, and sessions of the log beside simulated ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

RATIO_STATS: tuple[str, ...] = ("length", "responses")
"""Statistics of a session that are compared as ratios of means; the others are shares or standardised features."""


@dataclass(frozen=True)
class PredictionSlice:
    """Predictions of one head beside what happened, n rows in any order.

    Args:
        head: the response, for instance "purchase".
        p: (n,) float64 in [0, 1], predicted probability, without any hidden session effect.
        y: (n,) float64, 0 or 1. w: (n,) float64 > 0, 1 / sampling rate of the row.
        user, item, session: (n,) int, whose, of what, in which session. time: (n,) int64, seconds.
        segment: (n,) int, the user's segment.
        item_rate: (n,) float64 in [0, 1], what the item-rate baseline predicts for the row.
    """

    head: str
    p: Floats
    y: Floats
    w: Floats
    user: Ints
    item: Ints
    session: Ints
    time: NDArray[np.int64]
    segment: Ints
    item_rate: Floats

    def __len__(self) -> int:
        return len(self.p)

    @property
    def positives(self) -> int:
        """Rows with a response."""
        return int((self.y > 0.5).sum())

    def check(self) -> PredictionSlice:
        """This slice, if it is sound.

        Raises:
            InputError: no rows, arrays of unequal length or not flat, NaN or infinite values, probabilities outside
                [0, 1], responses other than 0 and 1, weights that are not positive, ids that are not whole numbers.
        """
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "head"}
        _same_length(f"slice of {self.head}", arrays)
        for name in ("p", "item_rate"):
            check_probability(name, arrays[name])
        check_finite("y", self.y)
        wrong = np.flatnonzero((self.y != 0) & (self.y != 1))
        if len(wrong):
            raise InputError(f"y[{wrong[0]}]", f"is {self.y[wrong[0]]!r}", "A response is 0 or 1.")
        check_finite("w", self.w)
        wrong = np.flatnonzero(self.w <= 0)
        if len(wrong):
            raise InputError(f"w[{wrong[0]}]", f"is {self.w[wrong[0]]!r}", "A weight is 1 / sampling rate: above 0.")
        for name in ("user", "item", "session", "time", "segment"):
            check_ids(name, arrays[name])
        return self

    def select(self, rows: NDArray[Any]) -> PredictionSlice:
        """The rows given by a mask (n,) or by numbers (k,)."""
        parts = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "head"}
        return PredictionSlice(self.head, **parts)


@dataclass(frozen=True)
class SessionStats:
    """Statistics of sessions in the log and of sessions simulated under the same (logged) policy.

    Names: "length" (slots), "responses" (basket size), "repeat_share", "category_<k>" (shares of responses),
    "drift_<step>_<feature>" (a state feature at that step; NaN where the session was over before).

    Args:
        real: name -> (n,) float64. real_user: (n,) int. simulated: name -> (m,) float64. simulated_user: (m,) int, in
            the numbering of `real_user` (simulated sessions that start from a logged user's state carry his number).
    """

    real: dict[str, Floats]
    real_user: Ints
    simulated: dict[str, Floats]
    simulated_user: Ints

    def check(self) -> SessionStats:
        """These statistics, if they are sound.

        Raises:
            InputError: no sessions or no statistics, a name on one side only, arrays of unequal length, infinite
                values, NaN outside the drift statistics, ids that are not whole numbers.
        """
        if not self.real or not self.simulated:
            side = "real" if not self.real else "simulated"
            raise InputError(f"session statistics, {side}", "there are none", "Give at least length and responses.")
        apart = sorted(set(self.real) ^ set(self.simulated))
        if apart:
            raise InputError("session statistics", f"{apart[0]!r} is on one side only", "Give the same names on both.")
        for side, values, user in (
            ("real", self.real, self.real_user),
            ("simulated", self.simulated, self.simulated_user),
        ):
            _same_length(f"session statistics, {side}", {f"{side}_user": user, **values})
            check_ids(f"{side}_user", user)
            for name, value in values.items():
                check_finite(f"{side} {name}", value, nan_allowed=name.startswith("drift_"))
        return self


def _same_length(where: str, arrays: dict[str, Any]) -> None:
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray) or value.ndim != 1:
            shape = getattr(value, "shape", type(value).__name__)
            raise InputError(f"{where}: {name}", f"is not a flat array ({shape})", "Give arrays of shape (n,).")
    lengths = {name: len(value) for name, value in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(where, f"arrays of unequal length {lengths}", "Give one value a row in each.")
    if not next(iter(lengths.values())):
        raise InputError(where, "no rows", "Give a slice with rows, or leave the gate out.")


def check_finite(name: str, values: NDArray[Any], nan_allowed: bool = False) -> None:
    """Raises InputError unless all values are finite numbers (NaN too where it is allowed)."""
    if values.dtype.kind not in "fiub":
        raise InputError(name, f"has type {values.dtype}", "Give numbers.")
    bad = ~np.isfinite(values) & ~(np.isnan(values) if nan_allowed else False)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"{name}[{row}]", f"is {values[row]}", "Give finite numbers; drop or mend the row.")


def check_probability(name: str, values: NDArray[Any]) -> None:
    """Raises InputError unless all values are in [0, 1]."""
    check_finite(name, values)
    bad = np.flatnonzero((values < 0) | (values > 1))
    if len(bad):
        raise InputError(f"{name}[{bad[0]}]", f"is {values[bad[0]]}", "A probability is in [0, 1].")


def check_ids(name: str, values: NDArray[Any]) -> None:
    """Raises InputError unless the values are whole numbers (users, items, sessions, times)."""
    if values.dtype.kind not in "iu":
        raise InputError(name, f"has type {values.dtype}", "Give whole numbers; number the ids first (np.unique).")
