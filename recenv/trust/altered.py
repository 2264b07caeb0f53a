"""The altered future: logs in which everything after some moment is changed, replayed and scored again.

Each of some held-out users gets a moment T of his own, drawn among those of his that are scored. In a copy of the
tables, before anything is encoded, every row of his after T is altered (item, kind, copy, response, treatment, context,
session, time), the responses of his rows at T are flipped, and responses to earlier rows that came after T are taken
away or, where there was none, put there. What was known at T is untouched, so predictions of his rows up to and at T
must come out the same to the last bit: one that moves has seen the future. Tables are altered, not arrays, so that the
encoding (late responses, sessions, leaving) is tested with the replay and the features.

What it cannot see: a leak in the raw rows themselves (see `recenv.trust.gate_knowledge.leaked_future`), and one in the
item vectors, which are fixed at fit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.data.columns import NONE_ITEM
from recenv.data.schema import Dataset, clock, conform_events
from recenv.response.log import LATE_CLICK, encode_log
from recenv.response.replay import replay
from recenv.response.rows import SPLITS, TrainingRows
from recenv.trust.fidelity import ItemRates
from recenv.trust.held_out import HeldOut, profiles
from recenv.trust.measure import Replay, prediction_slices
from recenv.world import World

Ints = NDArray[np.int64]
_WHO, _MOMENT, _ITEM, _KIND, _LATE = 57, 58, 59, 60, 61  # streams of random numbers
_LATER = 9_000_000
"""By so much (seconds, or places in an order) the future is put off: other weeks, another season."""


@dataclass(frozen=True)
class Altered:
    """Predictions of the test slice after the future was altered.

    Args:
        changed: name of a slice -> (n,) predictions of `prediction_slices(..., "test")`, NaN where not compared.
        users: users compared. rows: rows of their tables that were altered.
    """

    changed: dict[str, NDArray[np.float64]]
    users: int
    rows: int


def altered_future(world: World, held: HeldOut, item_rates: ItemRates, most: int, seed: int) -> Altered | str:
    """Alter the future of at most `most` held-out users, drawn by key, and score again; a word on why not."""
    user, moment = _moments(held, most, seed)
    if not len(user):
        return "every held-out user has two sessions at one moment: there is no saying what came later"
    ids = held.log.user_id[user]
    dataset, rows = _altered(held.dataset, world, ids, moment, seed)
    log = encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())
    scored = log.scored & (log.time <= moment[log.user])
    again = replay(
        world.spec, log, profiles(world, held.dataset, ids), scored, np.zeros(0, np.int64), False,
        recent=held.rows.recent is not None,
    )  # fmt: skip
    of_user = np.full(held.log.n_users, -1, np.int64)
    of_user[user] = np.arange(len(user))
    mine = of_user[held.rows.user]
    compared = np.flatnonzero((mine >= 0) & (held.rows.time <= moment[mine]))
    # The new replay also scored earlier splits, which the held-out rows leave out: of each user the last ones remain.
    found = again.rows.select(np.isin(again.rows.split, np.unique(held.rows.split)))
    if not _alike(held, compared, found, user):
        raise InputError("altered future", "rows before the moment are not those of the log", "Report this")
    marks = np.zeros(len(held.rows), np.int64)
    marks[compared] = 1
    replayed = Replay(_with_features(held.rows, compared, found), marks, held.segment)
    changed = {
        s.head: np.where(s.session == 1, s.p, np.nan)
        for s in prediction_slices(world.response, replayed, item_rates, "test")
    }
    return Altered(changed, len(user), rows)


def _moments(held: HeldOut, most: int, seed: int) -> tuple[Ints, Ints]:
    """Users (rising), and a moment of each: of one of his scored rows in the test slice.

    Users with two sessions at one moment are left out: which of them came first is not known.
    """
    log = held.log
    raw = np.flatnonzero(log.kind < LATE_CLICK)
    twice = (log.user[raw][1:] == log.user[raw][:-1]) & (log.time[raw][1:] == log.time[raw][:-1])
    twice &= log.session[raw][1:] != log.session[raw][:-1]
    test = held.rows.split == SPLITS.index("test")
    users = np.setdiff1d(np.unique(held.rows.user[test]), np.unique(log.user[raw][1:][twice])).astype(np.int64)
    users = np.sort(users[np.argsort(rng.bits(seed, _WHO, users), kind="stable")[:most]])
    key = np.unique(np.stack([held.rows.user[test].astype(np.int64), held.rows.time[test]]), axis=1)
    first, last = (np.searchsorted(key[0], users, side=side) for side in ("left", "right"))
    drawn = first + (rng.uniform(seed, _MOMENT, users) * (last - first)).astype(np.int64)
    return users, key[1][drawn]


def _altered(dataset: Dataset, world: World, ids: NDArray[np.str_], moment: Ints, seed: int) -> tuple[Dataset, int]:
    """The tables of users `ids` with the future after `moment` altered, and how many rows that changed."""
    events = dataset.events
    # The rows of showing nothing are encoded by their place in the table: then no row may be left out.
    if not (events["item_id"] == NONE_ITEM).any():
        events = events[events["user_id"].isin(ids.tolist())]
    user = events["user_id"].to_numpy(object).astype(np.str_)
    mine = np.isin(user, ids)
    until = np.where(mine, moment[np.minimum(np.searchsorted(ids, user), len(ids) - 1)], np.iinfo(np.int64).max)
    time = clock(events, dataset.meta)
    after, at = time > until, time == until
    scored = events["kind"].isin(["impression", "opportunity"]).to_numpy()
    made: dict[str, Any] = {}
    touched = after.copy()
    for stream, name in enumerate(("click", "purchase")):
        moved = _response(
            events, name, np.where(scored, time - until, 1), rng.uniform(seed, _LATE, stream, time, until)
        )
        touched |= moved["moved"]
        made |= {name: moved["y"], f"{name}_delay": moved["delay"]}
    own = at & ~scored
    made["item_id"] = _other_items(events, after | own, world, seed)
    viewed = after & (rng.uniform(seed, _KIND, np.arange(len(events))) < 1 / 3)
    made["kind"] = np.where(viewed, "view", events["kind"].to_numpy(object))
    for name in ("copy_id", "position", *(c for c in events.columns if c.startswith(("exp_", "ctx_")))):
        values = events[name].to_numpy(object).copy()
        values[after] = np.roll(values[after][::-1], 1)
        made[name] = values
    session = events["session_id"].to_numpy(object).copy()
    session[after] = [f"{name}~" for name in session[after]]
    unit = 1 if dataset.meta["time"] == "order" else np.timedelta64(1, "s")
    made["timestamp"] = events["timestamp"].where(~after, events["timestamp"] + _LATER * unit)
    altered = conform_events(events.assign(session_id=session, **made))
    return replace(dataset, events=altered), int((touched | own).sum())


def _response(events: Any, name: str, since: Ints, u: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Response and delay with what was not known at the moment altered; `since` (n,) is time after the moment.

    From the moment on: flipped. Before it: taken away where it came after, and put there, to come after, for a tenth of
    those that had none.
    """
    y = events[name].to_numpy(np.float32).copy()
    delay = np.nan_to_num(events[f"{name}_delay"].to_numpy(np.float64))
    known = ~np.isnan(y)
    later = known & (since >= 0)
    came = known & (since < 0) & (y == 1) & (since + delay > 0)
    comes = known & (since < 0) & (y == 0) & (u < 0.1)
    y[later] = 1 - y[later]
    y[came], y[comes] = 0.0, 1.0
    delay[later | came] = 0.0
    # Well after the moment: delays are stored in 24 bits, so that one second more could round to none.
    delay[comes] = 60.0 - 1.001 * since[comes]
    return {"y": y, "delay": delay.astype(np.float32), "moved": later | came | comes}


def _other_items(events: Any, which: NDArray[np.bool_], world: World, seed: int) -> NDArray[np.object_]:
    """(n,) item ids, another one of the catalogue in the rows `which`."""
    names = np.array(world.items["item_id"].to_pylist(), object)
    item = events["item_id"].to_numpy(object).copy()
    rows = np.flatnonzero(which)
    place = {name: k for k, name in enumerate(names)}
    now = np.array([place.get(name, 0) for name in item[rows]], np.int64)
    step = 1 + (rng.uniform(seed, _ITEM, rows) * (len(names) - 1)).astype(np.int64)
    item[rows] = names[(now + step) % len(names)]
    return item


def _alike(held: HeldOut, compared: Ints, found: TrainingRows, users: Ints) -> bool:
    """Whether the rows scored again are the compared ones, in their order, with their items and times."""
    rows = held.rows.select(compared)
    pairs = ((rows.item, found.item), (rows.time, found.time), (rows.user, users[found.user]))
    return all(np.array_equal(a, b) for a, b in pairs)


def _with_features(rows: TrainingRows, compared: Ints, found: TrainingRows) -> TrainingRows:
    """`rows` with the features of the compared ones as found again; all arrays keep their shapes, so that no product of
    matrices rounds otherwise."""
    obs, cross, treat = rows.visit_obs.copy(), rows.cross.copy(), rows.treat.copy()
    obs[rows.visit[compared]] = found.visit_obs[found.visit]
    cross[compared], treat[compared] = found.cross, found.treat
    recent = rows.recent
    if recent is not None and found.recent is not None:
        recent = recent.take(np.arange(len(recent)))
        for f in fields(recent):
            getattr(recent, f.name)[rows.visit[compared]] = getattr(found.recent, f.name)[found.visit]
    return replace(rows, visit_obs=obs, cross=cross, treat=treat, recent=recent)
