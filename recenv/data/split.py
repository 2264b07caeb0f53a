"""Sessions from gaps of inactivity, and splits at session borders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.core.rng import uniform
from recenv.data.columns import SPLITS
from recenv.data.options import BuildOptions

_SPLIT_STREAM = 101


@dataclass(frozen=True)
class Split:
    """Split of each row (int64 index into SPLITS), the cut times, and the end of each row's split (inf: none)."""

    code: NDArray[np.int64]
    times: list[int]
    until: NDArray[np.float64]


def sessions_by_gap(user: NDArray[np.int64], time: NDArray[np.int64], gap: float) -> NDArray[np.int64]:
    """Number of each row's session within its user, from 0. Inputs and output have shape (rows,)."""
    order = np.lexsort((time, user))
    u, t = user[order], time[order]
    fresh_user = np.r_[True, u[1:] != u[:-1]]
    fresh = fresh_user | np.r_[True, np.diff(t) > gap]
    number = np.cumsum(fresh)
    number -= np.maximum.accumulate(np.where(fresh_user, number, 0))
    result = np.empty_like(number)
    result[order] = number
    return result


def split_rows(
    mode: str,
    session: NDArray[np.int64],
    user: NDArray[np.int64],
    time: NDArray[np.int64],
    given: pd.Series | None,
    cuts: tuple[int, ...],
    options: BuildOptions,
) -> Split:
    """Split the rows. `session`, `user` are codes from 0, `time` whole seconds or order numbers, shape (rows,).

    Raises:
        InputError: a session in two given splits, cut times out of order, or too few session starts to cut.
    """
    nowhere = np.full(len(time), np.inf)
    if mode == "given" and given is not None:
        code = pd.Categorical(given, categories=list(SPLITS)).codes.astype(np.int64)
        _check_given(session, code)
        times = _ordered_ranges(code, time)
        return Split(code, times, _until(code, time, user, times))
    if mode == "user":
        edges = np.cumsum(options.fractions)[:-1]
        draw = uniform(options.seed, _SPLIT_STREAM, np.arange(int(user.max()) + 1))
        return Split(np.searchsorted(edges, draw, side="right")[user].astype(np.int64), [], nowhere)
    start = np.full(int(session.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(start, session, time)
    times = list(cuts) or _cuts(start, np.bincount(session), options)
    if any(b < a for a, b in pairwise(times)):
        raise InputError("option 'split_times'", f"{times} are not in order", "Give three rising times.")
    code = np.searchsorted(np.asarray(times), start, side="right")[session].astype(np.int64)
    # a cut after the last session's start parts nothing
    ends = np.asarray([*(t if t <= start.max() else np.inf for t in times), np.inf], dtype=np.float64)
    return Split(code, times, ends[code])


def _cuts(start: NDArray[np.int64], rows: NDArray[np.int64], options: BuildOptions) -> list[int]:
    """Times such that the sessions that start before them hold the wanted shares of the rows."""
    moments, which = np.unique(start, return_inverse=True)
    wanted = sum(f > 0 for f in options.fractions)
    if len(moments) < wanted:
        what = f"{len(moments)} different session starts cannot be cut into {wanted} splits"
        raise InputError("events", what, "Split by 'user', give a split column, or set fractions to 1 0 0 0.")
    share = np.cumsum(np.bincount(which, weights=rows))
    share = share / share[-1]
    edges = np.cumsum(options.fractions)[:-1]
    index = np.searchsorted(share, edges - 1e-12, side="left") + 1
    after = int(moments[-1]) + 1
    return [int(moments[i]) if i < len(moments) else after for i in index]


def _check_given(session: NDArray[np.int64], code: NDArray[np.int64]) -> None:
    low = np.full(int(session.max()) + 1, len(SPLITS))
    high = np.full(int(session.max()) + 1, -1)
    np.minimum.at(low, session, code)
    np.maximum.at(high, session, code)
    if (low != high).any():
        what = f"{int((low != high).sum())} sessions lie in two of the given splits"
        raise InputError("events column 'split'", what, "Give each session one split.")


def _ordered_ranges(code: NDArray[np.int64], time: NDArray[np.int64]) -> list[int]:
    """The first time of each later split, if the given splits follow one another in time; else empty."""
    present = [k for k in range(len(SPLITS)) if (code == k).any()]
    low = [int(time[code == k].min()) for k in present]
    high = [int(time[code == k].max()) for k in present]
    return low[1:] if all(h < b for h, b in zip(high, low[1:])) else []


def _until(
    code: NDArray[np.int64], time: NDArray[np.int64], user: NDArray[np.int64], times: list[int]
) -> NDArray[np.float64]:
    """End of each row's split: the next cut; none where users are disjoint; not a number where neither holds."""
    if times:
        ends = np.asarray([*times, np.inf], dtype=np.float64)
        return ends[np.searchsorted(np.asarray(times), time, side="right")]
    low = np.full(int(user.max()) + 1, len(SPLITS))
    high = np.full(int(user.max()) + 1, -1)
    np.minimum.at(low, user, code)
    np.maximum.at(high, user, code)
    return np.full(len(time), np.inf if (low == high).all() else np.nan)
