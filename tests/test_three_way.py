"""One state, three uses: fit's replay, the simulator and the served bundle see the same user, bit for bit."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from helpers_world import DAY, small_world, with_encoder
from numpy.typing import NDArray

from recenv.core.encoding import ProfileEncoder
from recenv.data.columns import EVENT_KINDS
from recenv.data.logs import build
from recenv.data.synthetic import SyntheticOptions, load
from recenv.env.kernels_recent import RowEncoder
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.observation import bounds, layout, observe
from recenv.response.features import cross_features
from recenv.response.fit import FitOptions
from recenv.response.log import Log
from recenv.response.recent import Recent
from recenv.response.replay import replay
from recenv.response.shared import prepare, users_of
from recenv.serving.bundle import Bundle
from recenv.serving.history import read_history, rebuild
from recenv.serving.recommender import Recommender
from recenv.start import StartStates
from recenv.state import StateSpec, begin_session
from recenv.world import World

USERS, SLOTS, SLOT = 14, 6, 60
GAP = 1800
CONTEXT = 30.0
"""Beyond the observation's bounds, so that it has to be clipped."""
IMPRESSION = EVENT_KINDS.index("impression")


@pytest.fixture(scope="module")
def world() -> World:
    made = small_world(copies=2, offers_known=False)
    ages = [float(20 + 3 * i) for i in range(USERS)]
    made.meta["profile"] = ProfileEncoder.fit({"age": ages, "club": ["gold"] * USERS}).to_json()
    return made


@pytest.fixture(scope="module")
def log(world: World) -> Log:
    """Sessions of own acts and impressions, several events at one moment, then one session of slots a minute apart."""
    rng = np.random.default_rng(3)
    rows: list[tuple[Any, ...]] = []
    session = 0
    for user in range(USERS):
        time = 1_500_000_000 + int(rng.integers(0, DAY))
        for _ in range(user % 5):
            session, time = session + 1, time + GAP + 1 + int(rng.integers(0, 9 * DAY))
            for _ in range(int(rng.integers(1, 8))):
                time += int(rng.choice([0, 7, GAP]))
                rows.append((user, session, time, int(rng.choice([0, 2, 3, 4])), *_shown(rng, world)))
        session, time = session + 1, time + GAP + 1 + int(rng.integers(0, 9 * DAY))
        rows += [(user, session, time + SLOT * j, IMPRESSION, *_shown(rng, world)) for j in range(SLOTS)]
    return _log(rows, world.spec)


def _shown(rng: np.random.Generator, world: World) -> tuple[int, int, float, float]:
    action = int(rng.integers(1, world.n_actions))
    click = float(rng.random() < 0.5)
    return int(world.action_item[action]), int(world.action_copy[action]), click, click * float(rng.random() < 0.5)


def _log(rows: list[tuple[Any, ...]], spec: StateSpec) -> Log:
    table = np.array(sorted(rows, key=lambda r: (r[0], r[2], r[1], r[3], r[4])), np.float64)
    n, shown = len(table), table[:, 3] == IMPRESSION
    nothing = np.full(n, np.nan, np.float32)
    return Log(
        user=table[:, 0].astype(np.int32),
        item=table[:, 4].astype(np.int32),
        kind=table[:, 3].astype(np.int8),
        time=table[:, 2].astype(np.int64),
        session=table[:, 1].astype(np.int64),
        copy=np.where(shown, table[:, 5], -1).astype(np.int32),
        click=np.where(shown, table[:, 6], np.nan).astype(np.float32),
        purchase=np.where(shown, table[:, 7], np.nan).astype(np.float32),
        click_now=shown & (table[:, 6] == 1),
        purchase_now=shown & (table[:, 7] == 1),
        leave=nothing,
        revenue=nothing,
        weight=np.ones(n, np.float32),
        split=np.zeros(n, np.int8),
        treat=np.ones((n, 3), np.float32),
        context=np.full((n, spec.context_dim), CONTEXT, np.float32),
        user_id=np.array([f"u{i}" for i in range(USERS)]),
        observed=True,
    )


def _profile(world: World) -> NDArray[np.float32]:
    return world.profile_encoder.encode({"age": [float(18 + i) for i in range(USERS)], "club": ["gold"] * USERS}, USERS)


def _recommender(world: World) -> Recommender:
    manifest = {"session_gap": GAP, "context_columns": ["ctx_0"], "repeats": "forbid", "exclude": [], "policy": {}}
    return Recommender(
        Bundle(
            path=None,  # type: ignore[arg-type]
            manifest=manifest,
            spec=world.spec,
            encoder=world.profile_encoder,
            items=world.items.to_pylist(),
            copies=world.copies.to_pylist(),
            action_item=world.action_item,
            action_copy=world.action_copy,
            item_rate=world.item_rate,
            policy=None,  # type: ignore[arg-type]
        )
    )


def _events(log: Log, rows: NDArray[np.int64], item_ids: list[str], copy_ids: list[str]) -> list[dict[str, Any]]:
    """Rows of a log as a shop would send them; an opportunity's response is an act of the user's own."""
    events = []
    for r in rows:
        base = {"item_id": item_ids[log.item[r]], "timestamp": int(log.time[r]), "session_id": str(log.session[r])}
        kind = EVENT_KINDS[log.kind[r]]
        if kind == "opportunity":
            acts = [name for name in ("click", "purchase") if getattr(log, name)[r] == 1.0]
            events += [base | {"kind": name} for name in acts]
            continue
        event = base | {"kind": kind}
        if kind == "impression":
            event |= {name: bool(getattr(log, name)[r] == 1.0) for name in ("click", "purchase")}
            event |= {"copy_id": copy_ids[log.copy[r]]} if log.copy[r] >= 0 else {}
        events.append(event)
    return events


def test_replay_simulator_and_bundle_see_the_same_user(world: World, log: Log) -> None:
    profile = _profile(world)
    final = np.array([log.session[log.user == u].max() for u in range(USERS)])
    replayed = replay(world.spec, log, profile, log.scored, final, progress=False, recent=True)
    encoders = [RowEncoder(with_encoder(world, name).response.encoder) for name in ("gru", "attention")]
    row_of = {int(r): i for i, r in enumerate(replayed.row)}

    world = replace(world, start=_start(world, log, replayed.packed or {}, final))
    options = EnvOptions(
        observation="full",
        horizon=99,
        candidates="all",
        repeats="allow",
        leave="never",
        seconds_per_slot=SLOT,
        split="train",
    )
    simulator = Simulator(world, USERS, options)
    simulator.reset(seed=0, start_rows=np.arange(USERS))
    served, low_high = _recommender(world), bounds(world.spec, world.n_copies, "full")
    items, copies = world.items["item_id"].to_pylist(), world.copies["copy_id"].to_pylist()
    features = [{"age": float(18 + u), "club": "gold"} for u in range(USERS)]
    slots = np.stack([np.flatnonzero(log.session == s) for s in final])  # (USERS, SLOTS)
    for j in range(SLOTS):
        now = slots[:, j]
        simulated = simulator.observations()
        cross = cross_features(world.spec, simulator.state, np.arange(USERS), simulator.now, log.item[now])
        for u, r in enumerate(now):
            before = np.flatnonzero((log.user == u) & (np.arange(len(log.user)) < r))
            events = _events(log, before, items, copies)
            request = served.request(
                features[u], events, now=int(log.time[r]), session_id=str(log.session[r]), context={"ctx_0": CONTEXT}
            )
            np.testing.assert_array_equal(request.observation[0], simulated[u])
            seen = replayed.rows.visit_obs[replayed.rows.visit[row_of[int(r)]]]
            width = len(seen)
            np.testing.assert_array_equal(np.clip(seen, low_high[0][:width], low_high[1][:width]), simulated[u, :width])
            np.testing.assert_array_equal(replayed.rows.cross[row_of[int(r)]], cross[u])
            visit = replayed.rows.visit[row_of[int(r)]]
            views = (
                replayed.rows.recent.take(np.array([visit])),
                Recent.of_state(world.spec, simulator.state, np.array([u]), simulator.now[[u]]),
                Recent.of_full(world.spec, request.observation),
            )
            _same_histories(views, encoders)
            # The bundle forbids what this session has shown.
            allowed = np.unique(world.action_item[1:][request.mask[0, 1:]])
            shown = log.item[slots[u, :j]]
            assert not np.isin(shown, allowed).any()
            assert len(allowed) == world.n_items - len(np.unique(shown))
        simulator.advance(
            log.item[now][:, None],
            log.copy[now][:, None],
            (log.click[now] == 1)[:, None],
            (log.purchase[now] == 1)[:, None],
        )
    # All of it would hold of empty histories too.
    assert (simulated[:, slice(*layout(world.spec, "full")["totals"])] > 0).any(axis=1).all()


def _same_histories(views: tuple[Recent, ...], encoders: list[RowEncoder]) -> None:
    """What encoders read in replay, simulator and bundle, and what they make of it, bit for bit."""
    for view in views[1:]:
        for field in fields(Recent):
            np.testing.assert_array_equal(getattr(view, field.name), getattr(views[0], field.name))
    for encoder in encoders:
        encodings = [encoder.encode(view) for view in views]
        assert (encodings[0] != 0).any() or (views[0].item < 0).all()
        for encoding in encodings[1:]:
            np.testing.assert_array_equal(encoding, encodings[0])


def _start(world: World, log: Log, packed: dict[str, Any], final: NDArray[np.int64]) -> StartStates:
    first = np.searchsorted(log.session, final)
    none = np.zeros(0, np.int32)
    return StartStates(
        user_id=log.user_id,
        user=np.arange(USERS, dtype=np.int32),
        split=np.zeros(USERS, np.int8),
        clock=log.time[first],
        context=log.context[first],
        offer_ptr=np.zeros(USERS + 1, np.int64),
        offer_item=none,
        offer_exp=none,
        exp_table=np.zeros((0, 2), np.float32),
        packed=packed,
    )


def test_a_synthetic_log_rebuilds_in_service_as_it_replays_in_fit() -> None:
    raw = load(None, SyntheticOptions(items=15, users=40, sessions=6, seed=1))
    dataset = build(raw, replace(raw.options, seed=1, progress=False))
    shared = prepare(dataset, FitOptions())
    log, spec = shared.logs[0], shared.spec
    profile = shared.profile[users_of(shared, log)]
    replayed = replay(spec, log, profile, log.scored, np.zeros(0, np.int64), progress=False)
    items = shared.items["item_id"].tolist()
    index = {item: i for i, item in enumerate(items)}
    _, first = np.unique(replayed.rows.visit, return_index=True)
    compared = 0
    for i in first[:: max(1, len(first) // 60)]:
        r = int(replayed.row[i])
        moment = (log.user == log.user[r]) & (log.time == log.time[r]) & (log.session == log.session[r])
        before = np.flatnonzero((log.user == log.user[r]) & (np.arange(len(log.user)) < np.flatnonzero(moment)[0]))
        now = np.array([log.time[r]])
        events = read_history(_events(log, before, items, []), index, {}, int(now[0]), spec.calendar, GAP)
        state = rebuild(spec, profile[log.user[r]][None], events)
        if events.last_session_id != str(log.session[r]):
            begin_session(state, np.zeros(1, np.int64), now)
        row = np.zeros(1, np.int64)
        seen = observe(spec, state, row, now, log.context[r][None])[0]
        np.testing.assert_array_equal(seen, replayed.rows.visit_obs[replayed.rows.visit[i]])
        cross = cross_features(spec, state, row, now, log.item[r : r + 1])[0]
        np.testing.assert_array_equal(cross, replayed.rows.cross[i])
        compared += len(events.item)
    assert compared > 200
