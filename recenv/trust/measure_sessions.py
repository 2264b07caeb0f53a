"""Roll-outs where a session has several slots: the simulator runs from held-out start states under logged behaviour.

Each slot shows what the log showed in it; where a simulated user stays longer than the real one did, items are drawn
from the world's logged rates within what is allowed. A session ends when the simulated user leaves, or at the longest
length in the logs; where leaving is not known, when the log's slots end. The state's drift is compared without what
users do of their own accord within a session: worlds assume that there is none, and the report says what it would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.features import CROSS
from recenv.response.log import slots
from recenv.start import SPLITS as START_SPLITS
from recenv.state import CLICK, PURCHASE, UserState
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
from recenv.trust.tracks import Tracks, plan
from recenv.trust.walk import STEPS, drift_features, responded_before, walk
from recenv.world import World

Sampler = Callable[[Simulator, int], NDArray[np.int64]]
"""(simulator, slot number from 0) -> (N, k) actions where the log shows nothing any more."""
_CHOICE = 54  # stream of random numbers
_APART = 7_919  # between the seeds of repeats


@dataclass
class _Logged:
    """Sessions as logged: items (S, L, k) and copies, -1 where nothing; length (S,)."""

    items: NDArray[np.int64]
    copies: NDArray[np.int64]
    length: NDArray[np.int64]


@dataclass
class _Ran:
    """A roll-out: responses by (session, slot, place), and the walk's end; `expected` (session, slot): root responses
    expected in a slot that shows what the log showed, NaN elsewhere."""

    length: NDArray[np.float64]
    hit: NDArray[np.bool_]
    bought: NDArray[np.bool_]
    item: NDArray[np.int64]
    known: NDArray[np.bool_]
    expected: NDArray[np.float64]
    drift: dict[int, dict[str, NDArray[np.float64]]]

    def digest(self) -> bytes:
        parts = [self.length, self.hit, self.bought, self.item, self.expected]
        parts += [values for step in sorted(self.drift) for _, values in sorted(self.drift[step].items())]
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def sessions(world: World, held: HeldOut, seed: int, sampler: Sampler | None = None) -> Rollout | str:
    """Roll out the held-out sessions; a word on why not, where the logs cannot support it."""
    rows = np.flatnonzero(held.log.shown & np.isin(held.log.session, held.start_session))
    if (held.log.weight[rows] != 1.0).any():
        return "the logs keep a sample of what was shown"
    logged = _logged(held, rows)
    runs = [_simulate(world, held, logged, seed + _APART * k, sampler) for k in range(REPEATS)]
    again = _simulate(world, held, logged, seed, sampler)
    bare = _without_effect(world)
    alone = (
        [_simulate(bare, held, logged, seed + _APART * k, sampler) for k in range(REPEATS)] if world.frailty else runs
    )
    n = len(held.start)
    real, simulated = _real_side(world, held, logged, rows), stacked([_side(world, ran, n) for ran in runs])
    top = top_categories(world, real)
    names = features(world, real, top)[1]
    reached, ran = (
        {s: np.where(length >= s, np.arange(len(length)), -1) for s in STEPS}
        for length in (logged.length, np.concatenate([r.length for r in runs]))
    )
    drift = {s: {k: np.concatenate([r.drift[s][k] for r in runs]) for k in runs[0].drift[s]} for s in STEPS}
    user = held.start.user.astype(np.int64)
    stats = joined(
        with_drift(statistics(world, real, top), _real_drift(world, held, seed, False), reached, n),
        with_drift(statistics(world, simulated, top), drift, ran, simulated.n),
        user,
        np.tile(user, REPEATS),
    )
    return Rollout(
        how="the simulator from held-out start states, showing what was logged, then what is usually shown",
        stats=stats,
        independent=np.concatenate([r.hit.sum(axis=(1, 2)) for r in alone]).astype(np.float64),
        real_features=features(world, real, top)[0],
        simulated_features=features(world, simulated, top)[0],
        feature_names=names,
        simulated=_slice(world, held, logged, runs[0]) if logged.items.shape[2] == 1 else None,
        bytes=(runs[0].digest(), again.digest()),
        left_out=_left_out(world, held, seed),
    )


def _logged(held: HeldOut, rows: NDArray[np.int64]) -> _Logged:
    log = held.log
    first, _, number = slots(log)
    at = np.searchsorted(first, rows, side="right") - 1
    session = np.searchsorted(held.start_session, log.session[rows])
    place = rows - first[at]
    # Rows of a moment stand side by side, impressions first: the distance to the slot's first row is the place.
    key = at * (int(place.max(initial=0)) + 1) + place
    if len(np.unique(key)) < len(key):
        raise InputError("sessions", "two rows of one slot stand in one place", "Report this")
    slot, width = number[at], int(place.max(initial=0)) + 1
    length = np.zeros(len(held.start), np.int64)
    np.maximum.at(length, session, slot + 1)
    items = np.full((len(held.start), int(length.max()), width), -1, np.int64)
    copies = items.copy()
    items[session, slot, place], copies[session, slot, place] = log.item[rows], log.copy[rows]
    return _Logged(items, copies, length)


def _simulate(world: World, held: HeldOut, logged: _Logged, seed: int, sampler: Sampler | None) -> _Ran:
    n, most, k = logged.items.shape
    longest = int(slots(held.log)[2].max()) + 1
    # The environment knows no test split: within this copy of the world, held-out states stand as validation.
    start = replace(held.start, split=np.full(n, START_SPLITS.index("validation"), np.int8))
    copy = replace(world, start=start)
    slots_run = longest if world.leave_known else most
    options = EnvOptions(split="validation", reward="gross", slate=k, horizon=slots_run)
    sim = Simulator(copy, n, options)
    sim.reset(seed=seed, start_rows=np.arange(n))
    origin = sim.state.take(np.arange(n))
    draw = sampler or _usual(copy, seed)
    root = CLICK if "click" in world.responses else PURCHASE
    ran = _empty(n, slots_run, k)
    alive = np.ones(n, bool)
    for t in range(slots_run):
        here = alive & (t < logged.length) if not world.leave_known else alive
        action = np.where(here[:, None], _actions(world, sim, logged, t, draw), 0)
        told = sim.respond(action)
        ran.known[:, t] = _known(sim, told.items, root)
        as_logged = here & (t < logged.length) & told.shown.any(axis=1)
        amount = told.amounts["expected_click" if root == CLICK else "expected_purchase"]
        ran.expected[:, t] = np.where(as_logged, amount, np.nan)
        done = sim.step(action)
        ran.item[:, t], ran.bought[:, t] = told.items, told.purchase & here[:, None]
        ran.hit[:, t] = (told.click if root == CLICK else told.purchase) & here[:, None]
        ran.length += here
        _note(world, ran, sim, origin, t + 1, here)
        alive = here & ~done.info["left"]
    return ran


def _known(sim: Simulator, items: NDArray[np.int32], root: int) -> NDArray[np.bool_]:
    rows = np.repeat(sim.rows, items.shape[1])
    return responded_before(sim.state, rows, items.reshape(-1), root).reshape(items.shape) & (items >= 0)


def _empty(n: int, slots_run: int, k: int) -> _Ran:
    shape = (n, slots_run, k)
    none = [np.zeros(shape, bool) for _ in range(3)]
    drift: dict[int, dict[str, NDArray[np.float64]]] = {step: {} for step in STEPS}
    expected = np.full((n, slots_run), np.nan)
    return _Ran(np.zeros(n), none[0], none[1], np.full(shape, -1, np.int64), none[2], expected, drift)


def _note(world: World, ran: _Ran, sim: Simulator, origin: UserState, step: int, here: NDArray[np.bool_]) -> None:
    if step not in STEPS:
        return
    for name, values in drift_features(world, sim.state, origin).items():
        ran.drift[step][name] = np.where(here, values, np.nan)


def _actions(world: World, sim: Simulator, logged: _Logged, t: int, draw: Sampler) -> NDArray[np.int64]:
    """(N, k) actions of slot t: as logged, else drawn."""
    drawn = draw(sim, t)
    if t >= logged.items.shape[1]:
        return drawn
    item, copy = logged.items[:, t], logged.copies[:, t]
    actions = _action_of(world, item, copy)
    return np.where((t < logged.length)[:, None], actions, drawn)


def _action_of(world: World, item: NDArray[np.int64], copy: NDArray[np.int64]) -> NDArray[np.int64]:
    """Actions that show `item` with `copy`; the item's first where it has no such copy; 0 for no item."""
    first = world.item_action_start[np.maximum(item, 0)]
    last = world.item_action_start[np.maximum(item, 0) + 1]
    found = first.copy()
    for j in range(int((last - first).max(initial=1))):
        at = np.minimum(first + j, last - 1)
        found = np.where((world.action_copy[at] == copy) & (copy >= 0), at, found)
    return np.where(item >= 0, found, 0)


def _usual(world: World, seed: int) -> Sampler:
    """Items drawn from the logged rates of the user's segment, within what is allowed and not yet on the slate."""
    segment = world.segment_of(world.start.packed["profile"])

    def draw(sim: Simulator, t: int) -> NDArray[np.int64]:
        first = world.item_action_start[:-1]
        allowed = sim.masks()[:, first]
        weight = world.logged_rates[segment[sim.start_row]].astype(np.float64) * allowed
        actions = np.zeros((sim.n, sim.options.slate), np.int64)
        for j in range(sim.options.slate):
            total = np.cumsum(weight, axis=1)
            u = rng.uniform(seed, _CHOICE, sim.start_row, t, j) * total[:, -1]
            item = np.minimum((total <= u[:, None]).sum(axis=1), weight.shape[1] - 1)
            some = total[:, -1] > 0
            actions[:, j] = np.where(some, first[item], 0)
            weight[np.arange(sim.n), item] = 0.0
        return actions

    return draw


def _without_effect(world: World) -> World:
    config = {k: v for k, v in world.response.config.items() if k != "frailty"}
    return replace(world, response=type(world.response).from_arrays(world.response.to_arrays(), config))


def _side(world: World, ran: _Ran, n: int) -> Responses:
    session, slot, place = np.nonzero(ran.hit)
    item = ran.item[session, slot, place]
    purchases = ran.bought.sum(axis=(1, 2)).astype(np.float64) if _both(world) else None
    length = ran.length if world.leave_known else None
    return Responses(n, session, item, ran.known[session, slot, place], purchases, length)


def _slice(world: World, held: HeldOut, logged: _Logged, ran: _Ran) -> PredictionSlice:
    """What the world predicts of itself where its sessions show what was logged, one item a slot.

    Only such slots are compared with the replay: what is drawn later is another choice of items.
    """
    root = "click" if "click" in world.responses else "purchase"
    session, slot = np.nonzero(~np.isnan(ran.expected))
    p = ran.expected[session, slot]
    user = held.start.user[session].astype(np.int64)
    return PredictionSlice(
        head=root,
        p=p,
        y=ran.hit[session, slot, 0].astype(np.float64),
        w=np.ones(len(p)),
        user=user,
        item=logged.items[session, slot, 0],
        session=held.start_session[session].astype(np.int64),
        time=held.start.clock[session].astype(np.int64),
        segment=held.segment[user].astype(np.int64),
        item_rate=np.full(len(p), np.clip(p.mean() if len(p) else 0.5, 1e-7, 1 - 1e-7)),
    )


def _both(world: World) -> bool:
    return "click" in world.responses and "purchase" in world.responses


def _real_side(world: World, held: HeldOut, logged: _Logged, rows: NDArray[np.int64]) -> Responses:
    log, n = held.log, len(held.start)
    session = np.searchsorted(held.start_session, log.session[rows])
    click, purchase = log.click[rows] == 1.0, log.purchase[rows] == 1.0
    hit = click | purchase if "click" in world.responses else purchase
    name = "item_click" if "click" in world.responses else "item_purchase"
    # The features of the replay say whether the user had responded to the item before.
    before = np.zeros(len(log.user), bool)
    before[held.row] = held.rows.cross[:, CROSS.index(name)] > 0
    purchases = np.bincount(session[purchase], minlength=n).astype(np.float64) if _both(world) else None
    length = logged.length.astype(np.float64) if world.leave_known else None
    return Responses(n, session[hit], log.item[rows[hit]].astype(np.int64), before[rows[hit]], purchases, length)


def _left_out(world: World, held: HeldOut, seed: int) -> str:
    """In words, what users' own acts within a session, which no world simulates, do to the state."""
    full, bare = (_real_drift(world, held, seed, acts) for acts in (True, False))
    step = max(s for s in STEPS if bare[s])
    parts = []
    for name in bare[step]:
        a, b = (float(np.nanmean(side[step][name])) for side in (full, bare))
        if abs(a - b) > 0.05 * max(abs(a), abs(b)):
            parts.append(f"{name} {a:.2f} instead of {b:.2f}")
    if not parts:
        return ""
    return (
        "Left out on both sides, since no world simulates it (an assumption): what users do of their own accord within "
        f"a session. With it the real state after {step} slots would show {', '.join(parts)}."
    )


def _real_drift(world: World, held: HeldOut, seed: int, acts: bool) -> dict[int, dict[str, NDArray[np.float64]]]:
    log = held.log
    mine = np.flatnonzero(np.isin(log.session, held.start_session))
    order = np.argsort(log.session[mine], kind="stable")
    row = mine[order]
    ptr = np.searchsorted(log.session[row], held.start_session)
    tracks = Tracks(np.arange(len(held.start)), row, np.append(ptr, len(row)).astype(np.int64))
    return walk(world, held, tracks, plan(world, held, tracks, False, acts), False, seed).drift
