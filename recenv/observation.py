"""What an agent and the response model see of a user state: named slices of one float32 vector.

`summary` is what an ordinary MLP wants and is also the user's side of the response model's input; `full` appends
memory, categories and recent events, so that a policy can know all that the response model knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.state import EXPOSURE, KINDS, MAX_AGE, MAX_COUNT, N_KINDS, NEVER, Floats, Ints, StateSpec, UserState, decay

MODES = ("summary", "full")
SESSION_FEATURES = (
    "step",
    "sessions",
    "since_previous",
    "since_start",
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
)
FEATURE_BOUND = 20.0
"""Bound of profile, context and other unscaled summary features."""


def age(now: NDArray[np.int64], then: NDArray[np.int64]) -> Floats:
    """log(1 + hours since `then`), at most `MAX_AGE`; `MAX_AGE` for what never happened."""
    hours = np.maximum(now - np.where(then == NEVER, now, then), 0) / 3600.0
    value = np.minimum(np.log1p(np.ascontiguousarray(hours)), MAX_AGE)
    return np.where(then == NEVER, MAX_AGE, value).astype(np.float32)


def log_count(count: NDArray[Any]) -> Floats:
    """log(1 + count) as float32, rounded once from float64."""
    return np.log1p(np.ascontiguousarray(count, np.float64)).astype(np.float32)


def layout(spec: StateSpec, mode: str = "summary") -> dict[str, tuple[int, int]]:
    """Name -> (start, stop) of each slice of the observation vector.

    Raises:
        InputError: on a mode other than `summary` or `full`.
    """
    if mode not in MODES:
        raise InputError("observation", f"{mode!r}", f"Choose one of {', '.join(MODES)}.")
    sizes = {
        "profile": spec.profile_dim,
        "context": spec.context_dim,
        "session": len(SESSION_FEATURES),
        "mass": N_KINDS,
        "totals": N_KINDS,
        "ages": N_KINDS,
        "interest": N_KINDS * spec.vector_dim,
    }
    if mode == "full":
        m, c, r = spec.memory, spec.n_categories, spec.recent
        sizes |= {"memory_item": m, "memory_counts": m * N_KINDS, "memory_age": m}
        sizes |= {"category_counts": c * N_KINDS, "category_age": c}
        sizes |= {"recent_item": r, "recent_kind": r, "recent_copy": r, "recent_age": r, "recent_in_session": r}
    result, start = {}, 0
    for name, size in sizes.items():
        result[name] = (start, start + size)
        start += size
    return result


def bounds(spec: StateSpec, n_copies: int, mode: str = "summary") -> tuple[Floats, Floats]:
    """Finite lower and upper bounds of the observation, each (size,) float32; values are clipped to them."""
    limits: dict[str, tuple[float, float]] = {
        "mass": (0.0, 10.0),
        "totals": (0.0, 20.0),
        "ages": (0.0, MAX_AGE),
        "interest": (-1.0, 1.0),
        "memory_item": (-1.0, float(max(spec.n_items - 1, 0))),
        "memory_counts": (0.0, MAX_COUNT),
        "memory_age": (0.0, MAX_AGE),
        "category_counts": (0.0, MAX_COUNT),
        "category_age": (0.0, MAX_AGE),
        "recent_item": (-1.0, float(max(spec.n_items - 1, 0))),
        "recent_kind": (-1.0, float(len(KINDS) - 1)),
        "recent_copy": (-1.0, float(max(n_copies - 1, 0))),
        "recent_age": (0.0, MAX_AGE),
        "recent_in_session": (0.0, 1.0),
    }
    slices = layout(spec, mode)
    size = max((stop for _, stop in slices.values()), default=0)
    low, high = np.empty(size, np.float32), np.empty(size, np.float32)
    for name, (start, stop) in slices.items():
        low[start:stop], high[start:stop] = limits.get(name, (-FEATURE_BOUND, FEATURE_BOUND))
    return low, high


def observe(
    spec: StateSpec,
    state: UserState,
    rows: Ints,
    now: NDArray[np.int64],
    context: Floats | None = None,
    mode: str = "summary",
    out: Floats | None = None,
) -> Floats:
    """Observations of the users in `rows` at time `now`; not clipped to the bounds.

    Args:
        rows: (n,) users. now: (n,) int64 seconds. context: (n, context_dim) float32, zeros where None.
        out: (n, size) float32 to write into.

    Returns:
        (n, size) float32 laid out as `layout(spec, mode)` says.
    """
    slices = layout(spec, mode)
    rows, now = np.asarray(rows), np.asarray(now, np.int64)
    n, size = len(rows), max(stop for _, stop in slices.values())
    result = np.empty((n, size), np.float32) if out is None else out
    for name, value in _values(spec, state, rows, now, context, mode).items():
        start, stop = slices[name]
        result[:, start:stop] = value.reshape(n, stop - start)
    return result


def _values(
    spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64], context: Floats | None, mode: str
) -> dict[str, NDArray[Any]]:
    mass, interest = decayed(spec, state, rows, now)
    values: dict[str, NDArray[Any]] = {
        "profile": state.profile[rows],
        "context": np.zeros((len(rows), spec.context_dim), np.float32)
        if context is None
        else np.asarray(context, np.float32),
        "session": _session(spec, state, rows, now),
        "mass": log_count(mass),
        "totals": log_count(state.totals[rows]),
        "ages": age(now[:, None], state.last_time[rows]),
        "interest": interest,
    }
    return values if mode == "summary" else values | _memories(spec, state, rows, now)


def decayed(spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mass (n, 5) and interest (n, 5, D) at `now`: each kind's mean item vector, shrunk to 0 by one event's weight."""
    factor = decay(spec, state.decayed_at[rows], now)
    mass = state.mass[rows] * factor[:, None]
    interest = state.sums[rows] * factor[:, None, None] / (np.float32(1.0) + mass)[:, :, None]
    return mass, interest


def _session(spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64]) -> Floats:
    values = np.zeros((len(rows), len(SESSION_FEATURES)), np.float32)
    values[:, 0] = log_count(state.step[rows])
    values[:, 1] = log_count(state.sessions[rows])
    values[:, 2] = age(state.session_start[rows], state.previous_end[rows])
    values[:, 3] = age(now, state.session_start[rows])
    if spec.calendar:
        # The session's clock, not the slot's: all slots of one visit see one hour and weekday.
        start = np.where(state.session_start[rows] == NEVER, now, state.session_start[rows])
        hour = 2 * np.pi * (start % 86_400) / 86_400
        weekday = 2 * np.pi * ((start // 86_400) % 7) / 7
        values[:, 4], values[:, 5] = np.sin(hour), np.cos(hour)
        values[:, 6], values[:, 7] = np.sin(weekday), np.cos(weekday)
    return values


def _memories(spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    recent = recent_order(spec, state, rows)
    take = (rows[:, None], recent)
    known = state.recent_item[take] >= 0
    position = state.recent_n[rows][:, None] - 1 - np.arange(spec.recent)
    return {
        "memory_item": state.memory_item[rows],
        "memory_counts": state.memory_counts[rows],
        "memory_age": age(now[:, None], state.memory_time[rows]),
        "category_counts": state.category_counts[rows],
        "category_age": age(now[:, None], state.category_time[rows]),
        "recent_item": state.recent_item[take],
        "recent_kind": state.recent_kind[take],
        "recent_copy": state.recent_copy[take],
        "recent_age": age(now[:, None], state.recent_time[take]),
        "recent_in_session": known & (position >= state.session_mark[rows][:, None]),
    }


def recent_order(spec: StateSpec, state: UserState, rows: Ints) -> NDArray[np.int64]:
    """(n, R) ring slots of each user's last events, newest first."""
    return (state.recent_n[rows][:, None] - 1 - np.arange(spec.recent)) % spec.recent


def shown_in_session(spec: StateSpec, state: UserState, rows: Ints) -> NDArray[np.bool_]:
    """(n, R) marks, in ring order, of the ring entries that are exposures of the current session."""
    slot = np.arange(spec.recent)
    last = state.recent_n[rows][:, None] - 1
    position = last - (last - slot) % spec.recent
    return (position >= state.session_mark[rows][:, None]) & (state.recent_kind[rows] == EXPOSURE)
