"""The state before each of some moments: the users' logs replayed through the one state rule, observed in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.observation import layout, observe
from recenv.response.log import Log
from recenv.state import apply, begin_session, new_state
from recenv.world import World

Ints = NDArray[np.int64]
_USERS_AT_ONCE = 2048


def states_before(world: World, log: Log, profile: NDArray[np.float32], key: Ints) -> tuple[NDArray[np.float32], Ints]:
    """Full observation before each moment (user, session, time) of `key` (3, m), and its number in its session."""
    change = (log.user[1:] != log.user[:-1]) | (log.session[1:] != log.session[:-1]) | (log.time[1:] != log.time[:-1])
    fresh = np.concatenate([[True], change])
    start = np.flatnonzero(fresh)
    of_row = np.cumsum(fresh) - 1
    user, session, time = log.user[start].astype(np.int64), log.session[start], log.time[start]
    wanted = _places(np.stack([user, session, time]), key)
    ordinal = np.arange(len(start)) - np.searchsorted(user, user)
    begins = (ordinal == 0) | (session != np.concatenate([[-1], session[:-1]]))
    event_row, kind = log.state_events()
    order = np.lexsort((log.item[event_row], kind, of_row[event_row]))
    event_row, kind = event_row[order], kind[order]
    ptr = np.searchsorted(of_row[event_row], np.arange(len(start) + 1))
    width = max(stop for _, stop in layout(world.spec, "full").values())
    obs = np.zeros((key.shape[1], width), np.float32)
    of_moment = np.full(len(start), -1, np.int64)
    of_moment[wanted] = np.arange(key.shape[1])
    for now, rows, state in _walk(world, profile, user, ordinal):
        begin_session(state, rows[begins[now]], time[now][begins[now]])
        seen = of_moment[now] >= 0
        if seen.any():
            context = log.context[start[now[seen]]]
            obs[of_moment[now[seen]]] = observe(world.spec, state, rows[seen], time[now[seen]], context, "full")
        count = ptr[now + 1] - ptr[now]
        for j in range(int(count.max(initial=0))):
            some = count > j
            e = event_row[ptr[now[some]] + j]
            what = kind[ptr[now[some]] + j]
            apply(world.spec, state, rows[some], log.item[e], what, time[now[some]], log.copy[e])
    step = numbered(key)
    return obs, step


def _walk(world: World, profile: NDArray[np.float32], user: Ints, ordinal: Ints) -> Iterator[tuple[Ints, Ints, Any]]:
    """Moments, users side by side, each at its next one: (moments, rows of the state, state)."""
    for first in range(0, len(profile), _USERS_AT_ONCE):
        last = min(first + _USERS_AT_ONCE, len(profile))
        mine = np.arange(*np.searchsorted(user, [first, last]))
        mine = mine[np.argsort(ordinal[mine], kind="stable")]
        state = new_state(world.spec, profile[first:last])
        ends = np.searchsorted(ordinal[mine], np.arange(int(ordinal[mine].max(initial=-1)) + 2))
        for a, b in zip(ends[:-1].tolist(), ends[1:].tolist()):
            now = mine[a:b]
            yield now, user[now] - first, state


def _places(table: Ints, key: Ints) -> Ints:
    """Column of `table` (3, k) equal to each column of `key` (3, m)."""
    joined = np.concatenate([table, key], axis=1)
    _, code = np.unique(joined, axis=1, return_inverse=True)
    code = code.reshape(-1)
    place = np.full(int(code.max()) + 1, -1, np.int64)
    place[code[: table.shape[1]]] = np.arange(table.shape[1])
    return place[code[table.shape[1] :]]


def numbered(key: Ints) -> Ints:
    """(m,) number of each moment in its session; `key` is sorted by user, session, time."""
    begins = np.ones(key.shape[1], bool)
    begins[1:] = (key[:2, 1:] != key[:2, :-1]).any(axis=0)
    return np.arange(key.shape[1]) - np.maximum.accumulate(np.where(begins, np.arange(key.shape[1]), 0))
