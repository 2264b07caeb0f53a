"""The user state and the one rule that moves it on by one event.

`fit` replays logs through it, the simulator moves simulated users with it, and a served bundle rebuilds a live user
with it, so that training, simulation and serving see equal observations, bit for bit. Everything here is element-wise
or a comparison on numpy arrays: no result depends on how many users are handled together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError

KINDS: tuple[str, ...] = ("view", "cart", "exposure", "click", "purchase")
VIEW, CART, EXPOSURE, CLICK, PURCHASE = range(5)
N_KINDS = len(KINDS)
NEVER = np.int64(-(2**62))
"""Time stamp of what has not happened."""

MAX_AGE = 12.0
"""Cap of an age feature, log(1 + hours); about 18 years, and the value of 'never'."""
MAX_COUNT = 10_000.0
"""Cap of a count in an observation."""
MAX_CATEGORIES = 1024
"""Categories above this number are hashed into as many buckets."""

_STEPS = 64
_DECAY = np.exp2(-np.arange(_STEPS) / _STEPS).astype(np.float32)

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class StateSpec:
    """What the state rule needs to know of a world.

    Args:
        item_vectors: (n_items, D) float32, D <= 64, frozen at fit; rows of norm at most 1.
        item_category: (n_items,) int32, index of each item's category (already hashed where there are too many).
        n_categories: number of categories.
        profile_dim: length of a user's encoded static features.
        context_dim: number of `ctx_*` columns.
        half_life: seconds in which the decayed sums lose half their mass.
        exposures_count: whether exposures enter sums, totals and counts. False where exposures are derived (nobody
            knows that they were seen): a simulated or served one then stands in `recent` alone, a logged one nowhere.
        calendar: whether time is UTC seconds (then hour and weekday are observed) or a mere order.
        memory: number of distinct items remembered per user.
        recent: length of the ring buffer of last events.
    """

    item_vectors: Floats
    item_category: NDArray[np.int32]
    n_categories: int
    profile_dim: int
    context_dim: int = 0
    half_life: int = 30 * 86_400
    exposures_count: bool = True
    calendar: bool = True
    memory: int = 256
    recent: int = 64

    def __post_init__(self) -> None:
        if self.item_vectors.dtype != np.float32 or self.item_vectors.ndim != 2 or self.item_vectors.shape[1] > 64:
            raise InputError(
                "item_vectors",
                f"{self.item_vectors.dtype} {self.item_vectors.shape}",
                "Give float32 (n_items, D), D <= 64.",
            )
        if self.n_categories > MAX_CATEGORIES:
            raise InputError("n_categories", str(self.n_categories), f"Hash categories into {MAX_CATEGORIES} buckets.")

    @property
    def n_items(self) -> int:
        return len(self.item_vectors)

    @property
    def vector_dim(self) -> int:
        return int(self.item_vectors.shape[1])


@dataclass
class UserState:
    """State of N users; every array has N rows.

    profile (N, P) float32; sums (N, 5, D) and mass (N, 5) float32, decayed to time `decayed_at` (N,) int64;
    totals (N, 5) float32; last_time (N, 5) int64;
    memory_item (N, M) int32 (-1 empty), memory_counts (N, M, 5) float32, memory_time (N, M) int64;
    category_counts (N, C, 5) float32, category_time (N, C) int64;
    recent_item, recent_kind, recent_copy (N, R) int32, recent_time (N, R) int64: a ring written at recent_n % R;
    session_mark (N,): the value of recent_n when the session began; session_start, previous_end (N,) int64;
    sessions, step (N,) int32: sessions begun, exposures in this one.
    """

    profile: Floats
    sums: Floats
    mass: Floats
    decayed_at: NDArray[np.int64]
    totals: Floats
    last_time: NDArray[np.int64]
    memory_item: NDArray[np.int32]
    memory_counts: Floats
    memory_time: NDArray[np.int64]
    category_counts: Floats
    category_time: NDArray[np.int64]
    recent_item: NDArray[np.int32]
    recent_kind: NDArray[np.int32]
    recent_copy: NDArray[np.int32]
    recent_time: NDArray[np.int64]
    recent_n: NDArray[np.int64]
    session_mark: NDArray[np.int64]
    session_start: NDArray[np.int64]
    previous_end: NDArray[np.int64]
    sessions: NDArray[np.int32]
    step: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.profile)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Names and arrays, in the order of declaration."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    def put(self, rows: Ints, other: UserState) -> None:
        """Overwrite `rows` with the users of `other`, in order."""
        for name, array in self.arrays():
            array[rows] = getattr(other, name)

    def take(self, rows: Ints) -> UserState:
        """A copy of the given users."""
        return UserState(**{name: array[rows] for name, array in self.arrays()})


def new_state(spec: StateSpec, profile: Floats) -> UserState:
    """Users without any history.

    Args:
        spec: the world's specification.
        profile: (N, P) float32, encoded static features.
    """
    profile = np.ascontiguousarray(profile, np.float32)
    if profile.ndim != 2 or profile.shape[1] != spec.profile_dim:
        raise InputError("profile", f"shape {profile.shape}", f"Give (N, {spec.profile_dim}).")
    n, m, r, c, d = len(profile), spec.memory, spec.recent, spec.n_categories, spec.vector_dim

    def floats(*shape: int) -> Floats:
        return np.zeros((n, *shape), np.float32)

    def times(*shape: int) -> NDArray[np.int64]:
        return np.full((n, *shape), NEVER, np.int64)

    def indices(*shape: int) -> NDArray[np.int32]:
        return np.full((n, *shape), -1, np.int32)

    counters = np.zeros((4, n), np.int64)
    return UserState(
        profile=profile,
        sums=floats(N_KINDS, d),
        mass=floats(N_KINDS),
        decayed_at=times(),
        totals=floats(N_KINDS),
        last_time=times(N_KINDS),
        memory_item=indices(m),
        memory_counts=floats(m, N_KINDS),
        memory_time=times(m),
        category_counts=floats(c, N_KINDS),
        category_time=times(c),
        recent_item=indices(r),
        recent_kind=indices(r),
        recent_copy=indices(r),
        recent_time=times(r),
        recent_n=counters[0].copy(),
        session_mark=counters[1].copy(),
        session_start=times(),
        previous_end=times(),
        sessions=counters[2].astype(np.int32),
        step=counters[3].astype(np.int32),
    )


def decay(spec: StateSpec, since: NDArray[np.int64], now: NDArray[np.int64]) -> Floats:
    """Factor 2^-((now - since) / half_life), in steps of 1/64 half-life.

    The steps lie on the absolute time axis, so that factors over adjacent intervals multiply to the factor over their
    union, however densely events come. Integer arithmetic and a table: equal on every machine. `since` = NEVER gives 0.
    """
    steps = now * _STEPS // spec.half_life - np.where(since == NEVER, 0, since) * _STEPS // spec.half_life
    steps = np.maximum(steps, 0)
    factor = np.ldexp(_DECAY[steps % _STEPS], -np.minimum(steps // _STEPS, 140).astype(np.int32))
    return np.where(since == NEVER, np.float32(0.0), factor).astype(np.float32)


def begin_session(state: UserState, rows: Ints, time: NDArray[np.int64]) -> None:
    """Start a new session of each user in `rows` (distinct) at `time` (seconds)."""
    state.previous_end[rows] = state.last_time[rows].max(axis=1)
    state.session_start[rows] = time
    state.session_mark[rows] = state.recent_n[rows]
    state.sessions[rows] += 1
    state.step[rows] = 0


def apply(
    spec: StateSpec,
    state: UserState,
    rows: Ints,
    item: Ints,
    kind: Ints,
    time: NDArray[np.int64],
    copy: Ints | None = None,
) -> None:
    """Move each user of `rows` on by one event, in place: the one transition rule.

    Args:
        rows: (n,) distinct users. item: (n,) catalogue index. kind: (n,) index into `KINDS`. time: (n,) int64 seconds.
        copy: (n,) index of the copy shown, -1 or None where there was none.
    """
    rows, item, kind = np.asarray(rows), np.asarray(item), np.asarray(kind)
    time = np.asarray(time, np.int64)
    _push_recent(spec, state, rows, item, kind, time, copy)
    shown = kind == EXPOSURE
    state.step[rows[shown]] += 1
    if not spec.exposures_count:
        rows, item, kind, time = (a[~shown] for a in (rows, item, kind, time))
    if not len(rows):
        return
    factor = decay(spec, state.decayed_at[rows], time)
    state.sums[rows] *= factor[:, None, None]
    state.mass[rows] *= factor[:, None]
    state.decayed_at[rows] = np.maximum(state.decayed_at[rows], time)
    state.sums[rows, kind] += spec.item_vectors[item]
    state.mass[rows, kind] += np.float32(1.0)
    state.totals[rows, kind] += np.float32(1.0)
    state.last_time[rows, kind] = time
    category = spec.item_category[item]
    state.category_counts[rows, category, kind] += np.float32(1.0)
    acted = kind != EXPOSURE
    state.category_time[rows[acted], category[acted]] = time[acted]
    _remember(state, rows, item, kind, time)


def _push_recent(
    spec: StateSpec, state: UserState, rows: Ints, item: Ints, kind: Ints, time: NDArray[np.int64], copy: Ints | None
) -> None:
    slot = state.recent_n[rows] % spec.recent
    state.recent_item[rows, slot] = item
    state.recent_kind[rows, slot] = kind
    state.recent_copy[rows, slot] = -1 if copy is None else copy
    state.recent_time[rows, slot] = time
    state.recent_n[rows] += 1


def _remember(state: UserState, rows: Ints, item: Ints, kind: Ints, time: NDArray[np.int64]) -> None:
    """Acts enter the memory, in place of the item touched longest ago where it is full; exposures only count."""
    match = state.memory_item[rows] == item[:, None]
    slot = match.argmax(axis=1)
    known = match[np.arange(len(rows)), slot]
    fresh = ~known & (kind != EXPOSURE)
    if fresh.any():
        new = rows[fresh]
        # Empty slots carry NEVER, so the oldest slot is an empty one while there is any.
        oldest = state.memory_time[new].argmin(axis=1)
        slot[fresh] = oldest
        state.memory_item[new, oldest] = item[fresh]
        state.memory_counts[new, oldest] = 0.0
    counted = known | fresh
    rows, slot, kind, time = rows[counted], slot[counted], kind[counted], time[counted]
    state.memory_counts[rows, slot, kind] += np.float32(1.0)
    acted = kind != EXPOSURE
    state.memory_time[rows[acted], slot[acted]] = time[acted]
