"""Roll-outs where a session is one moment: held-out visits replayed, responses to all on offer drawn by the world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.trust.held_out import HeldOut
from recenv.trust.measure_stats import (
    REPEATS,
    Responses,
    features,
    joined,
    stacked,
    statistics,
    top_categories,
    with_drift,
)
from recenv.trust.rollout import Rollout
from recenv.trust.slices import PredictionSlice
from recenv.trust.tracks import Plan, Tracks, plan
from recenv.trust.walk import STEPS, Walked, responses, walk
from recenv.world import World

HOW = (
    "visits of held-out users drawn by lot; everything on offer is scored one visit ahead, from the state that the log "
    "left before the visit. Only the drift of the state and what the world claims of itself come from visits simulated "
    "one after another"
)
_DRAW = 62  # stream of random numbers
_AGAIN = 40
"""Tracks walked a second time, on their own: their bytes must be those of the first walk."""


def visits(world: World, held: HeldOut, most: int, seed: int) -> Rollout | str:
    """Roll out at most about `most` visits of held-out users; a word on why not, where the logs cannot support it."""
    why = _cannot(held)
    if why:
        return why
    tracks = _tracks(held, most, seed)
    way = plan(world, held, tracks, pairs=True)
    logged = walk(world, held, tracks, way, False, seed)
    simulated = walk(world, held, tracks, way, True, seed)
    few = _first(tracks, _AGAIN)
    again = walk(world, held, few, plan(world, held, few, pairs=True), True, seed)
    slot = np.cumsum(way.slot > 0) - 1  # session number of each moment with a slot
    owner = slot[_owners(way)]
    n = int((way.slot > 0).sum())
    real = _side(way, logged.known, owner, way.root, way.purchase, n)
    draws = [
        responses(world, logged.p, logged.rest, way.session[_owners(way)], way.item, seed, k) for k in range(REPEATS)
    ]
    drawn = stacked([_side(way, logged.known, owner, joint, bought, n) for joint, _, bought in draws])
    top = top_categories(world, real)
    rows = {step: _rows_at(way, slot, step, len(tracks.start)) for step in STEPS}
    user = held.start.user[tracks.start[way.track[way.slot > 0]]].astype(np.int64)
    stats = joined(
        with_drift(statistics(world, real, top), logged.drift, rows, n),
        with_drift(statistics(world, drawn, top), simulated.drift, rows, drawn.n),
        user,
        np.tile(user, REPEATS),
    )
    return Rollout(
        how=HOW + _copies(way),
        stats=stats,
        independent=np.concatenate([_count(owner, alone, n) for _, alone, _ in draws]),
        real_features=features(world, real, top)[0],
        simulated_features=features(world, drawn, top)[0],
        feature_names=features(world, real, top)[1],
        simulated=_slice(world, held, way, simulated, user[owner]),
        bytes=(_part(simulated, way, len(few.start)), again.digest()),
    )


def _cannot(held: HeldOut) -> str:
    log, shown = held.log, held.test_shown
    responded = shown & ((log.click == 1.0) | (log.purchase == 1.0))
    if (log.weight[responded] != 1.0).any():
        return "a row of the logs stands for several responses: sessions cannot be counted"
    if len(held.offer_item):
        return ""
    if (log.weight[shown] != 1.0).any():
        return "the logs keep a sample of what was shown and do not tell all that was on offer"
    return ""


def _tracks(held: HeldOut, most: int, seed: int) -> Tracks:
    """Users' rows from their first held-out visit on, users drawn by key, until `most` visits."""
    log, start = held.log, held.start
    first_row = {int(s): int(r) for s, r in zip(*np.unique(log.session, return_index=True))}
    ends = np.searchsorted(log.user, np.arange(log.n_users) + 1)
    begins = np.array([first_row[int(s)] for s in held.start_session])
    stop = ends[start.user]
    slots = np.array([len(np.unique(log.time[a:b][log.shown[a:b]])) for a, b in zip(begins, stop)])
    order = np.argsort(rng.bits(seed, _DRAW, start.user.astype(np.int64)), kind="stable")
    kept = order[np.cumsum(slots[order]) - slots[order] < most]
    row = np.concatenate([np.arange(begins[k], stop[k]) for k in kept])
    ptr = np.concatenate([[0], np.cumsum(stop[kept] - begins[kept])])
    return Tracks(kept.astype(np.int64), row.astype(np.int64), ptr.astype(np.int64))


def _copies(way: Plan) -> str:
    """In words, which copies stood beside the items; nothing where the log holds none."""
    if not (way.copy >= 0).any():
        return ""
    return f". With the logged copy where the log has one ({float((way.copy >= 0).mean()):.0%} of what was on offer)"


def _first(tracks: Tracks, most: int) -> Tracks:
    k = min(most, len(tracks.start))
    return Tracks(tracks.start[:k], tracks.row[: tracks.ptr[k]], tracks.ptr[: k + 1])


def _owners(way: Plan) -> NDArray[np.int64]:
    """(P,) moment of each pair."""
    return np.repeat(np.arange(len(way.slot)), np.diff(way.pair_ptr))


def _side(
    way: Plan,
    known: NDArray[np.bool_],
    owner: NDArray[np.int64],
    root: NDArray[np.bool_],
    purchase: NDArray[np.bool_],
    n: int,
) -> Responses:
    purchases = None if np.array_equal(way.root, way.purchase) else _count(owner, purchase, n)
    return Responses(n, owner[root], way.item[root].astype(np.int64), known[root], purchases)


def _count(owner: NDArray[np.int64], marks: NDArray[np.bool_], n: int) -> NDArray[np.float64]:
    return np.bincount(owner[marks], minlength=n).astype(np.float64)


def _rows_at(way: Plan, slot: NDArray[np.int64], step: int, tracks: int) -> NDArray[np.int64]:
    rows = np.full(tracks, -1, np.int64)
    here = way.slot == step
    rows[way.track[here]] = slot[here]
    return rows


def _slice(world: World, held: HeldOut, way: Plan, seen: Walked, user: NDArray[np.int64]) -> PredictionSlice:
    """The world's own sessions as a slice: what it predicts of itself."""
    owner = _owners(way)
    head = "click" if "click" in world.responses else "purchase"
    return PredictionSlice(
        head=head,
        p=seen.p,
        y=seen.joint.astype(np.float64),
        w=np.ones(len(seen.p)),
        user=user,
        item=way.item.astype(np.int64),
        session=way.session[owner],
        time=way.time[owner],
        segment=held.segment[user].astype(np.int64),
        item_rate=np.full(len(seen.p), max(float(seen.p.mean()), 1e-7)),
    )


def _part(seen: Walked, way: Plan, tracks: int) -> bytes:
    """The bytes that the first tracks left in a longer walk."""
    pairs = int(way.pair_ptr[np.searchsorted(way.track, tracks)])
    return seen.first(pairs, tracks).digest()
