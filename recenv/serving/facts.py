"""What may be said of each product now: the catalogue's facts, and which lines they bear out at a moment.

The facts are the bundle's until a live catalogue replaces them (`recenv.serving.live`). Which lines they bear out is
worked out once for each catalogue, as a span of time for each action; a request only compares its moment with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.core.evidence import ALWAYS, Clauses, Window, line_window
from recenv.core.render import SLOT_COLUMNS, slot_value, slots

if TYPE_CHECKING:
    from recenv.serving.bundle import Bundle

Bools = NDArray[np.bool_]
Seconds = NDArray[np.int64]

FIRST, END = math.floor(ALWAYS[0].timestamp()), math.ceil(ALWAYS[1].timestamp())
"""[FIRST, END): the seconds since 1970 that a date can name; moments beyond them count as the nearest within."""
_NEVER = (END, FIRST)


@dataclass(frozen=True)
class Standing:
    """Which actions stand from second `since` until before second `until`.

    Args:
        allowed: (A,) bool, actions that may be shown: the line holds, or `bare`; the first (nothing) always.
        bare: (A,) bool, the one action of an item none of whose lines holds: it shows the item's plain name.
        stale: (A,) bool, listed items' actions whose line does not hold.
    """

    allowed: Bools
    bare: Bools
    stale: Bools
    since: int
    until: int


@dataclass
class Facts:
    """Facts of one catalogue. What they say never changes after they are made, so that a request sees one catalogue
    throughout; `_held` alone does, a memory of the last `at`, replaced whole, so that threads may ask at once.

    Args:
        rows: catalogue rows in the bundle's index order. listed: (n_items,) bool, whether the catalogue holds the item.
        since, until: (A,) int64, the seconds in which each action's line holds.
        actions: (n_items + 1,) int64, where each item's actions begin. item: (A,) int32, -1 for nothing.
        report: where the facts come from, and counts, for `/healthz`.
    """

    rows: list[dict[str, Any]]
    listed: Bools
    since: Seconds
    until: Seconds
    actions: NDArray[np.int64]
    item: NDArray[np.int32]
    report: dict[str, Any]
    _held: Standing | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        edges = np.unique(np.concatenate([self.since, self.until]))
        self._edges = edges[(edges > FIRST) & (edges < END)]

    def at(self, now: int) -> Standing:
        """What stands at a second since 1970; kept until a request comes for a time at which another line holds."""
        now, held = min(max(now, FIRST), END - 1), self._held
        if held is None or not held.since <= now < held.until:
            held = self._held = self._standing(now)
        return held

    def summary(self, now: int) -> dict[str, Any]:
        """`report`, and how many copies do not hold now and how many items show their plain name for it."""
        standing = self.at(now)
        stale, bare = int(np.count_nonzero(standing.stale)), int(np.count_nonzero(standing.bare & standing.allowed))
        return self.report | {"stale_copies": stale, "shown_by_name": bare}

    def _standing(self, now: int) -> Standing:
        holds = (self.since <= now) & (now < self.until)
        before = np.concatenate([[0], np.cumsum(holds)])
        first, end = self.actions[:-1], self.actions[1:]
        without = (before[end] == before[first]) & (end > first)
        bare = np.zeros(len(holds), bool)
        bare[first[without]] = True
        listed = np.append(self.listed, True)[self.item]  # -1, nothing, is the last
        at = int(np.searchsorted(self._edges, now, "right"))
        return Standing(
            allowed=(holds | bare) & listed,
            bare=bare,
            stale=~holds & listed,
            since=int(self._edges[at - 1]) if at else FIRST,
            until=int(self._edges[at]) if at < len(self._edges) else END,
        )


def facts_of(bundle: Bundle, rows: list[dict[str, Any]], listed: Bools, report: dict[str, Any]) -> Facts:
    """The facts of catalogue rows: when the line of each action holds.

    A line holds while each of its slots can be filled (`recenv.core.render.slot_value`) and the row carries each clause
    that it needs (`recenv.core.evidence.line_window`). A copy of which the bundle does not say what it needs is held to
    its slots alone, and counted as `unchecked_copies`.

    Args:
        bundle: whose copies and actions. rows: (n_items,) as in `Facts`. listed: as in `Facts`. report: likewise.
    """
    found = np.full((bundle.n_actions, 2), (FIRST, END), np.int64)
    groups: dict[tuple[tuple[str, ...], Clauses], list[int]] = {}
    keys = [(slots(str(line["text"])), _needs(line)) for line in bundle.copies]
    for action in np.flatnonzero(bundle.action_copy >= 0).tolist():
        groups.setdefault(keys[bundle.action_copy[action]], []).append(action)
    fills = _per_item(rows, lambda slot, row: _fills(slot, row, str(bundle.manifest.get("currency", ""))))
    windows = _per_item(rows, lambda clause, row: _seconds(line_window(row, [clause])))
    for (asked, needs), actions in groups.items():
        item = bundle.action_item[actions]
        spans = [fills(slot, item) for slot in asked] + [windows(clause, item) for clause in needs]
        for span in spans:
            found[actions, 0] = np.maximum(found[actions, 0], span[:, 0])
            found[actions, 1] = np.minimum(found[actions, 1], span[:, 1])
    start = np.searchsorted(bundle.action_item, np.arange(len(rows) + 1))
    unchecked = sum(line.get("needs") is None for line in bundle.copies)
    report = report | ({"unchecked_copies": unchecked} if unchecked else {})
    return Facts(rows, listed, found[:, 0].copy(), found[:, 1].copy(), start, bundle.action_item, report)


def _per_item(
    rows: list[dict[str, Any]], span: Callable[[Any, dict[str, Any]], tuple[int, int]]
) -> Callable[[Any, NDArray[np.int32]], Seconds]:
    """(key, items (n,)) -> (n, 2) int64 spans; each (key, item) is worked out once."""
    known: dict[Any, dict[int, tuple[int, int]]] = {}

    def look_up(key: Any, items: NDArray[np.int32]) -> Seconds:
        of = known.setdefault(key, {})
        for item in items.tolist():
            if item not in of:
                of[item] = span(key, rows[item])
        return np.array([of[item] for item in items.tolist()], np.int64).reshape(-1, 2)

    return look_up


def _needs(line: dict[str, Any]) -> Clauses:
    needs: Sequence[Sequence[str]] = line.get("needs") or ()
    return tuple(tuple(clause) for clause in needs)


def _fills(slot: str, row: dict[str, Any], currency: str) -> tuple[int, int]:
    try:
        filled = slot in SLOT_COLUMNS and bool(slot_value(slot, row, currency))
    except InputError:  # a price that is none, or an earlier one that is not above it: the line cannot be shown
        filled = False
    return (FIRST, END) if filled else _NEVER


def _seconds(window: Window | None) -> tuple[int, int]:
    """Whole seconds [since, until) that lie in a window: `since <= now < until` is then the same question."""
    return _NEVER if window is None else (_ceil(window[0]), _ceil(window[1]))


def _ceil(moment: datetime) -> int:
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole + (moment.microsecond > 0)
