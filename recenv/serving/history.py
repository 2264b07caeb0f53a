"""A live user's recent events as arrays, and the state that they lead to: the same as a replay of the logs gives.

Sessions begin where the log's would; all events of one (session, timestamp) are applied in (kind, item) order, as
`recenv.response.replay` does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.state import (
    CART,
    CLICK,
    EXPOSURE,
    PURCHASE,
    VIEW,
    Floats,
    StateSpec,
    UserState,
    apply,
    begin_session,
    new_state,
)

STATE_KINDS: dict[str, int] = {
    "impression": EXPOSURE,
    "view": VIEW,
    "cart": CART,
    "click": CLICK,
    "purchase": PURCHASE,
}
FIELDS = ("item_id", "kind", "timestamp", "session_id", "copy_id", "click", "purchase")
_LATEST = 2**53
"""Whole numbers up to here are exact as float64."""


@dataclass(frozen=True)
class Event:
    """One event as sent. `click` and `purchase` are the response to an impression; sent so, they count as events of the
    impression's moment and must not be sent again as events of their own."""

    item_id: str
    kind: str
    time: int
    session_id: str | None
    copy_id: str | None
    responses: tuple[int, ...]


@dataclass
class History:
    """State events of one user in the order of application.

    Args:
        item, kind, copy: (n,) int64; an item of -1 is unknown (it may begin a session, nothing more); `kind` indexes
            `recenv.state.KINDS`. time: (n,) int64. session: (n,) int64, counted from 0.
        last_session_id: id of the last session, if ids were sent. notes: what was left out, counted.
    """

    item: NDArray[np.int64]
    kind: NDArray[np.int64]
    copy: NDArray[np.int64]
    time: NDArray[np.int64]
    session: NDArray[np.int64]
    last_session_id: str | None = None
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def last_session(self) -> int:
        """Number of the last session; -1 without events."""
        return int(self.session[-1]) if len(self.session) else -1

    def shown_in(self, session: int) -> NDArray[np.int64]:
        """Items shown in a session."""
        return np.unique(self.item[(self.kind == EXPOSURE) & (self.session == session) & (self.item >= 0)])


def read_time(value: Any, where: str, calendar: bool) -> int:
    """Whole seconds (or an order number) of a time stamp. A text that names no zone is UTC, as `recenv prepare` has it.

    Args:
        value: seconds since 1970 as a finite number, or ISO 8601; a whole number where `calendar` is False.

    Raises:
        InputError: anything else.
    """
    if isinstance(value, str) and calendar:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError as error:
            raise InputError(where, f"{value!r} is no ISO 8601 time", "Give 2024-05-01T12:00:00Z, say.") from error
        return math.floor((parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed).timestamp())
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        mend = "Give seconds since 1970 or an ISO 8601 time." if calendar else "Give a whole order number."
        raise InputError(where, f"{value!r} is no time", mend)
    if not finite(value) or (not calendar and value != math.floor(float(value))):
        what = f"{float(value)!r}" if isinstance(value, float) else "a number out of range or not whole"
        raise InputError(where, f"{what} is no time", "Give whole seconds since 1970 (or the order).")
    return math.floor(float(value))


def zoneless(times: Sequence[Any]) -> int:
    """How many of a request's times, read by `read_time` before, name no zone: those are taken as UTC.

    Raises:
        InputError: some texts name a zone and some do not, as in a log file: then one of them is probably local time.
    """
    texts = {i: value for i, value in enumerate(times) if isinstance(value, str)}
    bare = [i for i, value in texts.items() if datetime.fromisoformat(value).tzinfo is None]
    zoned = sorted(set(texts) - set(bare))
    if bare and zoned:
        what = f"{texts[bare[0]]!r} names no zone while history[{zoned[0]}] does ({texts[zoned[0]]!r})"
        raise InputError(f"history[{bare[0]}].timestamp", what, "Give every time a zone, or none (then they are UTC).")
    return len(bare)


def finite(value: Any) -> bool:
    """Whether a number is neither NaN nor infinite, nor too large to be told from its neighbours."""
    return bool(abs(value) <= _LATEST)


def read_event(row: Any, where: str, calendar: bool) -> Event:
    """One event from a mapping with the keys `FIELDS`; item_id, kind and timestamp are needed.

    Raises:
        InputError: a key is unknown or missing, or a value of the wrong type.
    """
    if not isinstance(row, Mapping):
        raise InputError(where, f"a {type(row).__name__}", f"Give a mapping with {', '.join(FIELDS)}.")
    unknown = sorted(set(row) - set(FIELDS))
    if unknown:
        raise InputError(f"{where}.{unknown[0]}", "unknown field", f"Known: {', '.join(FIELDS)}.")
    for name in ("item_id", "session_id", "copy_id"):
        value = row.get(name)
        if not isinstance(value, str) and not (value is None and name != "item_id"):
            raise InputError(f"{where}.{name}", f"{value!r} is no string", "Give ids as strings.")
    kind = row.get("kind")
    if kind not in STATE_KINDS:
        raise InputError(f"{where}.kind", f"{kind!r}", f"Choose one of {', '.join(STATE_KINDS)}.")
    time = read_time(row.get("timestamp"), f"{where}.timestamp", calendar)
    responses = _responses(row, where)
    return Event(row["item_id"], kind, time, row.get("session_id"), row.get("copy_id"), responses)


def _responses(row: Mapping[str, Any], where: str) -> tuple[int, ...]:
    found = []
    for name, kind in (("click", CLICK), ("purchase", PURCHASE)):
        value = row.get(name)
        if value is None:
            continue
        if row["kind"] != "impression":
            raise InputError(f"{where}.{name}", "set on an event that is no impression", "Send it as its own kind.")
        if not isinstance(value, (bool, int, float)) or value not in (0, 1):
            raise InputError(f"{where}.{name}", f"{value!r}", "Give true, false or nothing.")
        if value:
            found.append(kind)
    return tuple(found)


def read_history(
    history: Sequence[Any],
    items: Mapping[str, int],
    copies: Mapping[str, int],
    now: int,
    calendar: bool,
    gap: int,
) -> History:
    """Events as state events, sorted and cut into sessions.

    Args:
        history: events in any order. items, copies: id -> index. now: no event may be later. calendar: whether times
            are seconds. gap: seconds without an event after which a session is over, used where no session_id is sent.

    Returns:
        the history; an event of an item that the catalogue does not hold is left out and counted in `notes`
        (`unknown_items`), an unknown copy counts as none (`unknown_copies`), a time that names no zone is UTC and
        counted too (`times_taken_as_utc`).

    Raises:
        InputError: a malformed event, one after `now`, zones on some times only, or session ids on some events only (on
            none, without a clock).
    """
    if isinstance(history, (str, bytes, Mapping)) or not isinstance(history, Sequence):
        raise InputError("history", f"a {type(history).__name__}", "Give a list of events.")
    events = [read_event(row, f"history[{i}]", calendar) for i, row in enumerate(history)]
    stamps = [row["timestamp"] for row in history]
    as_utc = zoneless(stamps) if calendar else 0
    for i, event in enumerate(events):
        if event.time > now:
            local = " A time that names no zone is UTC: add the zone if it is not." if as_utc else ""
            what = f"{stamps[i]!r} is after now, {_readable(now, calendar)}"
            raise InputError(f"history[{i}].timestamp", what, f"Send past events only.{local}")
    named = {event.session_id is not None for event in events}
    if len(named) > 1:
        raise InputError("history", "session_id on some events only", "Send it on all of them or on none.")
    if named == {False} and not calendar:
        raise InputError("history", "no session_id, and an order has no gaps of inactivity", "Send session_id.")
    order, session = _sessions(events, gap)
    found = _expand([events[i] for i in order], session, items, copies)
    found.notes += Counter(times_taken_as_utc=as_utc)
    return found


def _readable(now: int, calendar: bool) -> str:
    """A time as people read it; the number where it is none that a calendar has."""
    try:
        return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if calendar else str(now)
    except (OverflowError, ValueError, OSError):
        return str(now)


def _sessions(events: list[Event], gap: int) -> tuple[list[int], list[int]]:
    """Order of the events by (time, session as first met), and the session number of each in that order."""
    by_time = sorted(range(len(events)), key=lambda i: events[i].time)
    first: dict[str | None, int] = {}
    for i in by_time:
        first.setdefault(events[i].session_id, len(first))
    order = sorted(by_time, key=lambda i: (events[i].time, first[events[i].session_id]))
    numbers: list[int] = []
    for at, i in enumerate(order):
        if at == 0:
            numbers.append(0)
            continue
        event, before = events[i], events[order[at - 1]]
        by_gap = event.session_id is None and event.time - before.time > gap
        numbers.append(numbers[-1] + (by_gap or event.session_id != before.session_id))
    return order, numbers


def _expand(events: list[Event], session: list[int], items: Mapping[str, int], copies: Mapping[str, int]) -> History:
    rows: list[tuple[int, int, int, int, int]] = []
    notes: Counter[str] = Counter()
    for event, number in zip(events, session):
        item = items.get(event.item_id, -1)
        notes["unknown_items"] += item < 0
        copy = -1 if event.copy_id is None else copies.get(event.copy_id, -1)
        notes["unknown_copies"] += event.copy_id is not None and copy < 0
        for kind in (STATE_KINDS[event.kind], *event.responses):
            rows.append((number, event.time, kind, item, copy))
    # One moment is one (session, time): moments stay in their order, events within one go by kind, then item.
    table = np.array(rows, np.int64).reshape(-1, 5)
    table = table[np.lexsort((table[:, 3], table[:, 2], table[:, 1], table[:, 0]))]
    return History(
        item=table[:, 3],
        kind=table[:, 2],
        copy=table[:, 4],
        time=table[:, 1],
        session=table[:, 0],
        last_session_id=events[-1].session_id if events else None,
        notes=+notes,
    )


def rebuild(spec: StateSpec, profile: Floats, history: History) -> UserState:
    """State (of one user) after the history; the last session is still open.

    Args:
        spec: the state rule's settings. profile: (1, P) float32.
    """
    state, row = new_state(spec, profile), np.zeros(1, np.int64)
    before = -1
    for i in range(len(history.item)):
        part = slice(i, i + 1)
        if history.session[i] != before:
            begin_session(state, row, history.time[part])
            before = history.session[i]
        if history.item[i] < 0:
            continue
        apply(spec, state, row, history.item[part], history.kind[part], history.time[part], history.copy[part])
    return state
