"""Replays logs through the state rule and writes down what the model may know before each logged response.

All rows of one (session, timestamp) are scored from the state before them; then they move it on, in (kind, item) order.
Users do not touch each other, so they are replayed side by side, each at its own next moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.progress import Bar, bar
from recenv.observation import layout, observe
from recenv.response.features import N_CROSS, cross_features
from recenv.response.log import Log
from recenv.response.recent import Recent
from recenv.response.rows import TrainingRows
from recenv.start import concatenate_packed, pack, take_packed
from recenv.state import StateSpec, UserState, apply, begin_session, new_state

_USERS_AT_ONCE = 4096


@dataclass
class Replayed:
    """What a replay saw.

    Args:
        rows: the scored rows, in the order of the log. row: (n,) their places in the log.
        packed: states of the sessions asked for, just before they began. session: (m,) their numbers.
    """

    rows: TrainingRows
    row: NDArray[np.int64]
    packed: dict[str, NDArray[Any]] | None
    session: NDArray[np.int64]


def replay(
    spec: StateSpec,
    log: Log,
    profile: NDArray[np.float32],
    score: NDArray[np.bool_],
    snapshot: NDArray[np.int64],
    progress: bool = True,
    label: str = "replay",
    recent: bool = False,
) -> Replayed:
    """Replay a log.

    Args:
        spec: the state rule's settings. log: events of the users concerned, sorted by (user, time, session).
        profile: (n_users, P) float32. score: (n,) rows to write features for. snapshot: numbers of the sessions whose
        start state is wanted. progress: show a bar. recent: also write down each visit's last events, which history
        encoders read (576 bytes a visit at 64 events).
    """
    moments = _Moments(log, score, snapshot)
    parts: list[_Part] = []
    shown = bar(label, len(moments.user), "moment", progress, leave=False)
    for users in _chunks(log.n_users):
        parts.append(_replay_users(spec, log, profile, moments, users, shown, recent))
    shown.close()
    return _join(spec, log, moments, parts, recent)


class _Moments:
    """Runs of rows with one (user, session, time), and the state events that follow from each."""

    def __init__(self, log: Log, score: NDArray[np.bool_], snapshot: NDArray[np.int64]) -> None:
        n = len(log.user)
        fresh = np.ones(n, bool)
        fresh[1:] = (
            (log.user[1:] != log.user[:-1]) | (log.session[1:] != log.session[:-1]) | (log.time[1:] != log.time[:-1])
        )
        start = np.flatnonzero(fresh)
        of_row = np.cumsum(fresh) - 1
        self.user, self.time, self.session = log.user[start], log.time[start], log.session[start]
        self.context = log.context[start]
        first_of_user = np.searchsorted(self.user, self.user)
        self.ordinal = np.arange(len(start)) - first_of_user
        previous = np.concatenate([[-1], self.session[:-1]])
        self.begins = (self.ordinal == 0) | (self.session != previous)
        self.wanted = self.begins & np.isin(self.session, snapshot)
        self.rows = np.flatnonzero(score)
        self.row_ptr = np.searchsorted(of_row[self.rows], np.arange(len(start) + 1))
        event_row, self.event_kind = log.state_events()
        moment = of_row[event_row]
        order = np.lexsort((log.item[event_row], self.event_kind, moment))
        self.event_kind = self.event_kind[order]
        self.event_item, self.event_copy = log.item[event_row][order], log.copy[event_row][order]
        self.event_ptr = np.searchsorted(moment[order], np.arange(len(start) + 1))


@dataclass
class _Part:
    """Result of one chunk of users."""

    place: list[NDArray[np.int64]]
    visit: list[NDArray[np.int64]]
    visit_obs: list[NDArray[np.float32]]
    cross: list[NDArray[np.float32]]
    packed: list[dict[str, NDArray[Any]]]
    session: list[NDArray[np.int64]]
    recent: list[Recent] | None
    n_visits: int = 0


def _chunks(n_users: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n_users, _USERS_AT_ONCE):
        yield np.arange(start, min(start + _USERS_AT_ONCE, n_users))


def _replay_users(
    spec: StateSpec,
    log: Log,
    profile: NDArray[np.float32],
    moments: _Moments,
    users: NDArray[np.int64],
    shown: Bar,
    recent: bool,
) -> _Part:
    state = new_state(spec, profile[users])
    low, high = np.searchsorted(moments.user, [users[0], users[-1] + 1])
    mine = np.arange(low, high)
    mine = mine[np.argsort(moments.ordinal[mine], kind="stable")]
    ends = np.searchsorted(moments.ordinal[mine], np.arange(int(moments.ordinal[mine].max(initial=-1)) + 2))
    part = _Part([], [], [], [], [], [], [] if recent else None)
    for start, stop in pairwise(ends.tolist()):
        now = mine[start:stop]
        rows = moments.user[now] - users[0]
        _snapshot(state, moments, now, rows, part)
        begun = moments.begins[now]
        begin_session(state, rows[begun], moments.time[now][begun])
        _score(spec, state, log, moments, now, rows, part)
        _move_on(spec, state, moments, now, rows)
        shown.update(len(now))
    return part


def _snapshot(
    state: UserState, moments: _Moments, now: NDArray[np.int64], rows: NDArray[np.int64], part: _Part
) -> None:
    wanted = moments.wanted[now]
    if wanted.any():
        part.packed.append(pack(state.take(rows[wanted])))
        part.session.append(moments.session[now][wanted])


def _score(
    spec: StateSpec,
    state: UserState,
    log: Log,
    moments: _Moments,
    now: NDArray[np.int64],
    rows: NDArray[np.int64],
    part: _Part,
) -> None:
    count = moments.row_ptr[now + 1] - moments.row_ptr[now]
    now, rows, count = now[count > 0], rows[count > 0], count[count > 0]
    if not len(now):
        return
    visit = np.repeat(np.arange(len(now)), count)
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    place = np.repeat(moments.row_ptr[now], count) + offset
    time = moments.time[now]
    if part.recent is not None:
        part.recent.append(Recent.of_state(spec, state, rows, time))
    part.visit_obs.append(observe(spec, state, rows, time, moments.context[now]))
    part.cross.append(cross_features(spec, state, rows[visit], time[visit], log.item[moments.rows[place]]))
    part.place.append(place)
    part.visit.append(visit + part.n_visits)
    part.n_visits += len(now)


def _move_on(
    spec: StateSpec, state: UserState, moments: _Moments, now: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    first = moments.event_ptr[now]
    count = moments.event_ptr[now + 1] - first
    for j in range(int(count.max(initial=0))):
        some = count > j
        e = first[some] + j
        time = moments.time[now[some]]
        apply(spec, state, rows[some], moments.event_item[e], moments.event_kind[e], time, moments.event_copy[e])


def _join(spec: StateSpec, log: Log, moments: _Moments, parts: list[_Part], recent: bool) -> Replayed:
    n = len(moments.rows)
    cross, visit = np.empty((n, N_CROSS), np.float32), np.empty(n, np.int32)
    visits: list[NDArray[np.float32]] = []
    base = 0
    for part in parts:
        for place, rows, number in zip(part.place, part.cross, part.visit):
            cross[place], visit[place] = rows, base + number
        base += part.n_visits
        visits += part.visit_obs
        part.cross.clear()
    width = max(stop for _, stop in layout(spec, "summary").values())
    row = moments.rows
    made = TrainingRows(
        visit_obs=np.concatenate(visits) if visits else np.zeros((0, width), np.float32),
        visit=visit,
        item=log.item[row].astype(np.int32),
        offset=np.zeros(n, np.float32),
        cross=cross,
        treat=log.treat[row],
        click=log.click[row],
        purchase=log.purchase[row],
        leave=log.leave[row],
        weight=log.weight[row],
        split=log.split[row],
        user=log.user[row],
        time=log.time[row],
        recent=Recent.joined(spec, [r for part in parts for r in part.recent or []]) if recent else None,
    )
    packed = [p for part in parts for p in part.packed]
    session = [s for part in parts for s in part.session]
    if not packed:
        return Replayed(made, row, None, np.zeros(0, np.int64))
    numbers = np.concatenate(session)
    order = np.argsort(numbers, kind="stable")
    return Replayed(made, row, take_packed(concatenate_packed(packed), order), numbers[order])
