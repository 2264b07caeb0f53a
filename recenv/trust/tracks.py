"""Held-out sessions as tracks of moments: what happened in each, and what was on offer.

A track is a start state and the log's rows that follow it; a moment is its rows of one session and second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.state import CLICK, EXPOSURE, PURCHASE
from recenv.trust.held_out import HeldOut
from recenv.world import World


@dataclass(frozen=True)
class Tracks:
    """T walks: `start` (T,) rows of the held-out start states, `row` (R,) places in the log, CSR by `ptr` (T + 1,)."""

    start: NDArray[np.int64]
    row: NDArray[np.int64]
    ptr: NDArray[np.int64]


@dataclass
class Plan:
    """The moments of T tracks, in the tracks' order.

    Args:
        track, session, time, ordinal: (M,); ordinal counts a track's moments. begins: (M,) a session begins.
        slot: (M,) number of the slot from 1, 0 where nothing was shown. event_*: CSR, see `_events`.
        pair_ptr: (M + 1,) CSR of what was on offer: item (P,), copy (P,) that the log showed it with (-1: none, or not
            shown), treat (P, 1 + E); root (click, or purchase where clicks are unknown) and purchase (P,) as logged.
    """

    track: NDArray[np.int64]
    session: NDArray[np.int64]
    time: NDArray[np.int64]
    context: NDArray[np.float32]
    ordinal: NDArray[np.int64]
    begins: NDArray[np.bool_]
    slot: NDArray[np.int64]
    event_ptr: NDArray[np.int64]
    event_item: NDArray[np.int32]
    event_kind: NDArray[np.int8]
    event_copy: NDArray[np.int32]
    event_response: NDArray[np.bool_]
    pair_ptr: NDArray[np.int64]
    item: NDArray[np.int32]
    copy: NDArray[np.int32]
    treat: NDArray[np.float32]
    root: NDArray[np.bool_]
    purchase: NDArray[np.bool_]


def plan(world: World, held: HeldOut, tracks: Tracks, pairs: bool, acts: bool = True) -> Plan:
    """Moments, events and (with `pairs`) what was on offer in each slot.

    Without `acts` the state events are exposures and responses to them alone, as the simulator has them: what users do
    of their own accord, and responses to what was not shown, are left out.
    """
    log, row = held.log, tracks.row
    track = np.repeat(np.arange(len(tracks.start)), np.diff(tracks.ptr))
    fresh = np.ones(len(row), bool)
    fresh[1:] = _changes(track) | _changes(log.session[row]) | _changes(log.time[row])
    first, of_row = np.flatnonzero(fresh), np.cumsum(fresh) - 1
    own, session = track[first], log.session[row[first]]
    ordinal = np.arange(len(first)) - np.searchsorted(own, own)
    begins = np.ones(len(first), bool)
    begins[1:] = _changes(session)
    begins |= ordinal == 0
    shown = np.bincount(of_row[log.shown[row]], minlength=len(first)) > 0
    before: NDArray[np.int64] = np.cumsum(shown) - shown
    slot = np.where(shown, before - before[np.searchsorted(own, own)] + 1, 0)
    events = _events(held, row, of_row, len(first), acts)
    offered = _offered(world, held, row, of_row, session, slot, pairs)
    return Plan(own, session, log.time[row[first]], log.context[row[first]], ordinal, begins, slot, *events, *offered)


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(values[1:] != values[:-1])


def _events(
    held: HeldOut, row: NDArray[np.int64], of_row: NDArray[np.int64], n: int, acts: bool
) -> tuple[NDArray[Any], ...]:
    """CSR by moment of the state events that the log holds: item, kind, copy, and whether a response to an exposure."""
    log = held.log
    place = np.full(len(log.user), -1, np.int64)
    place[row] = np.arange(len(row))
    source, kind = log.state_events()
    response = (log.treat[source, 0] > 0.5) & ((kind == CLICK) | (kind == PURCHASE))
    mine = (place[source] >= 0) & (acts | response | (kind == EXPOSURE))
    source, kind, response = source[mine], kind[mine], response[mine]
    moment = of_row[place[source]]
    order = np.lexsort((log.item[source], kind, moment))
    source, kind, moment, response = source[order], kind[order], moment[order], response[order]
    ptr = np.searchsorted(moment, np.arange(n + 1))
    return ptr, log.item[source], kind, log.copy[source], response


def _offered(
    world: World,
    held: HeldOut,
    row: NDArray[np.int64],
    of_row: NDArray[np.int64],
    session: NDArray[np.int64],
    slot: NDArray[np.int64],
    pairs: bool,
) -> tuple[NDArray[Any], ...]:
    """CSR by moment of the pairs on offer, with what the log says came of them."""
    log, n = held.log, len(session)
    impression = np.flatnonzero(log.shown[row])
    if not pairs:
        none = np.zeros(0, bool)
        empty = np.zeros(0, np.int32)
        return np.zeros(n + 1, np.int64), empty, empty, np.zeros((0, 1), np.float32), none, none
    if len(held.offer_item):
        number = np.where(slot > 0, np.searchsorted(held.offer_session, session), 0)
        count = np.where(slot > 0, np.diff(held.offer_ptr)[number], 0)
        ptr = np.concatenate([[0], np.cumsum(count)])
        take = np.repeat(held.offer_ptr[number], count) + np.arange(ptr[-1]) - np.repeat(ptr[:-1], count)
        item, exp = held.offer_item[take], held.offer_exp[take]
        treat = np.concatenate([np.ones((len(item), 1), np.float32), exp], axis=1)
    else:
        ptr = np.searchsorted(of_row[impression], np.arange(n + 1))
        item, treat = log.item[row[impression]], log.treat[row[impression]]
    key = np.repeat(np.arange(n), np.diff(ptr)) * world.n_items + item
    order = np.argsort(key, kind="stable")

    def places(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pair of each impression (numbers in `row`), and whether it is there."""
        if not len(key):
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        wanted = of_row[rows] * world.n_items + log.item[row[rows]]
        at = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(key) - 1)]
        return at, key[at] == wanted

    at, there = places(impression)
    copy = np.full(len(key), -1, np.int32)
    copy[at[there]] = log.copy[row[impression[there]]]
    found = []
    for response in (log.click, log.purchase):
        at, there = places(impression[response[row[impression]] == 1.0])
        marks = np.zeros(len(key), bool)
        marks[at[there]] = True
        found.append(marks)
    click, purchase = found
    # A purchase without a click counts as clicked, as in training.
    return ptr, item, copy, treat, click | purchase if "click" in world.responses else purchase, purchase
