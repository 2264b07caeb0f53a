"""Walks users through held-out sessions: as the log has them, or with what they do simulated.

Moment by moment (`recenv.trust.tracks`) the pairs on offer are scored from the state before; then the logged events
move the state on, in (kind, item) order, as in a replay. With `simulate`, responses to what was shown are the world's
instead of the log's; all else stays as logged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.env.learned import LearnedResponse
from recenv.observation import observe
from recenv.response.frailty import conditional, draw
from recenv.state import CLICK, PURCHASE, UserState, apply, begin_session
from recenv.trust.held_out import HeldOut
from recenv.trust.tracks import Plan, Tracks
from recenv.world import World

STEPS = (1, 5, 10)
"""Slots (or visits) after which the state is compared."""
_ROOT, _REST, _EFFECT = 51, 52, 53  # streams of random numbers
Floats64 = NDArray[np.float64]


@dataclass
class Walked:
    """What a walk saw.

    Args:
        p, rest: (P,) by pair, root probability and P(purchase | root), 1 where purchases are the root. known: (P,)
            whether the user had responded to the item before. joint, alone: (P,) root responses drawn with the session
            effect and without it. bought: (P,) purchases drawn with it.
        drift: step -> name -> (T,) by track, NaN where the walk was over before.
    """

    p: Floats64
    rest: Floats64
    known: NDArray[np.bool_]
    joint: NDArray[np.bool_]
    alone: NDArray[np.bool_]
    bought: NDArray[np.bool_]
    drift: dict[int, dict[str, Floats64]] = field(default_factory=dict)

    @classmethod
    def empty(cls, n: int) -> Walked:
        """Nothing seen yet of n pairs."""
        known, joint, alone, bought = np.zeros((4, n), bool)
        return cls(np.zeros(n), np.ones(n), known, joint, alone, bought, {step: {} for step in STEPS})

    def first(self, pairs: int, tracks: int) -> Walked:
        """What the first tracks left in a longer walk; drift that none of them reached is left out."""
        cut = {step: {k: v[:tracks] for k, v in found.items()} for step, found in self.drift.items()}
        kept = {s: {k: v for k, v in f.items() if not np.isnan(v).all()} for s, f in cut.items()}
        p, rest = self.p[:pairs], self.rest[:pairs]
        marks = (self.known[:pairs], self.joint[:pairs], self.alone[:pairs], self.bought[:pairs])
        return Walked(p, rest, marks[0], marks[1], marks[2], marks[3], kept)

    def digest(self) -> bytes:
        """The walk as bytes."""
        parts = [self.p, self.joint, self.alone, self.bought]
        parts += [values for step in sorted(self.drift) for _, values in sorted(self.drift[step].items())]
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def walk(world: World, held: HeldOut, tracks: Tracks, way: Plan, simulate: bool, seed: int) -> Walked:
    """Walk all tracks; draws are keyed by (seed, session, item), so that a track's do not depend on the others."""
    spec = world.spec
    state = held.start.state(spec, tracks.start)
    origin = held.start.state(spec, tracks.start)
    response = LearnedResponse(world, len(tracks.start))
    response.segment[:] = held.segment[held.start.user[tracks.start]]
    out = Walked.empty(len(way.item))
    order = np.argsort(way.ordinal, kind="stable")
    ends = np.searchsorted(way.ordinal[order], np.arange(int(way.ordinal.max(initial=-1)) + 2))
    for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist()):
        now = order[start:stop]
        begun = now[way.begins[now]]
        begin_session(state, way.track[begun], way.time[begun])
        pair, owner = _csr(way.pair_ptr, now)
        if len(pair):
            _score(world, response, state, way, now, pair, owner, out, seed)
        _move(world, state, way, now, pair, owner, out if simulate else None)
        for step in STEPS:
            here = now[way.slot[now] == step]
            if len(here):
                _note(world, out, state, origin, way.track[here], step)
    return out


def _csr(ptr: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Elements of the given rows of a CSR, and which of `rows` each belongs to."""
    count = ptr[rows + 1] - ptr[rows]
    owner = np.repeat(np.arange(len(rows)), count)
    return np.arange(count.sum()) + np.repeat(ptr[rows] - np.cumsum(count) + count, count), owner


def _score(
    world: World,
    response: LearnedResponse,
    state: UserState,
    way: Plan,
    now: NDArray[np.int64],
    pair: NDArray[np.int64],
    owner: NDArray[np.int64],
    out: Walked,
    seed: int,
) -> None:
    rows, time = way.track[now], way.time[now]
    obs = observe(world.spec, state, rows, time, way.context[now])
    item = way.item[pair]
    first = np.ones(len(pair), np.int64)
    told = response.predict(state, rows[owner], time[owner], obs[owner], item, way.copy[pair], way.treat[pair], first)
    root = told.purchase if told.click is None else told.click
    rest = told.purchase if told.click is not None else None
    assert root is not None
    out.p[pair] = root
    if rest is not None:
        out.rest[pair] = rest
    kind = PURCHASE if told.click is None else CLICK
    out.known[pair] = responded_before(state, rows[owner], item, kind)
    session = way.session[now][owner]
    drawn = responses(world, out.p[pair], out.rest[pair], session, item, seed)
    out.joint[pair], out.alone[pair], out.bought[pair] = drawn


def responses(
    world: World, p: Floats64, rest: Floats64, session: NDArray[np.int64], item: NDArray[Any], seed: int, again: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Root responses (n,) with the session effect and without it, and purchases with it; `again` counts draws."""
    u = rng.uniform(seed, _ROOT, session, item, again)
    effect = draw(world.frailty, rng.uniform(seed, _EFFECT, session, again)) if world.frailty else 1.0
    joint = u < conditional(p, world.frailty, np.asarray(effect))
    bought = joint & (rng.uniform(seed, _REST, session, item, again) < rest) & ("purchase" in world.responses)
    return joint, u < p, bought


def responded_before(
    state: UserState, rows: NDArray[Any], item: NDArray[Any], kind: int, block: int = 65_536
) -> NDArray[np.bool_]:
    """(n,) whether each user's memory holds an event of `kind` on the item."""
    known = np.zeros(len(rows), bool)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        hit = state.memory_item[rows[part]] == item[part, None]
        slot = hit.argmax(axis=1)
        known[part] = hit.any(axis=1) & (state.memory_counts[rows[part], slot, kind] > 0)
    return known


def _move(
    world: World,
    state: UserState,
    way: Plan,
    now: NDArray[np.int64],
    pair: NDArray[np.int64],
    owner: NDArray[np.int64],
    simulated: Walked | None,
) -> None:
    """Apply this moment's events: the log's, or the log's own acts and the simulated responses."""
    event, of = _csr(way.event_ptr, now)
    parts: list[tuple[NDArray[Any], ...]] = [(of, way.event_item[event], way.event_kind[event], way.event_copy[event])]
    if simulated is not None:
        kept = ~way.event_response[event]
        parts = [(of[kept], *(part[kept] for part in parts[0][1:]))]
        heads = ((CLICK, simulated.joint),) if "click" in world.responses else ()
        for kind, drawn in (*heads, (PURCHASE, simulated.bought)):
            hit = drawn[pair]
            kinds = np.full(int(hit.sum()), kind, np.int8)
            parts.append((owner[hit], way.item[pair[hit]], kinds, way.copy[pair[hit]]))
    who, item, what, copy = (np.concatenate([part[k] for part in parts]) for k in range(4))
    order = np.lexsort((item, what, who))
    who, item, what, copy = who[order], item[order], what[order], copy[order]
    rank = np.arange(len(who)) - np.searchsorted(who, who)
    for j in range(int(rank.max(initial=-1)) + 1):
        e = rank == j
        apply(world.spec, state, way.track[now[who[e]]], item[e], what[e], way.time[now[who[e]]], copy[e])


def _note(world: World, out: Walked, state: UserState, origin: UserState, tracks: NDArray[Any], step: int) -> None:
    for name, values in drift_features(world, state.take(tracks), origin.take(tracks)).items():
        out.drift[step].setdefault(name, np.full(len(state), np.nan))[tracks] = values


def drift_features(world: World, now: UserState, then: UserState) -> dict[str, Floats64]:
    """How far N states have moved since their start: events counted, items that entered the memory, interests turned.

    `interest` is 1 - cos of the decayed sums of what the root response touched, 0 where there was none.
    """
    root = CLICK if "click" in world.responses else PURCHASE
    found = {"clicks": now.totals[:, CLICK] - then.totals[:, CLICK]} if root == CLICK else {}
    if "purchase" in world.responses:
        found["purchases"] = now.totals[:, PURCHASE] - then.totals[:, PURCHASE]
    found["items"] = (now.memory_item >= 0).sum(axis=1) - (then.memory_item >= 0).sum(axis=1)
    a, b = now.sums[:, root].astype(np.float64), then.sums[:, root].astype(np.float64)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.divide((a * b).sum(axis=1), norm, out=np.ones(len(a)), where=norm > 0)
    found["interest"] = 1.0 - np.clip(cosine, -1.0, 1.0)
    return {name: np.asarray(values, np.float64) for name, values in found.items()}
