"""Altering the future of a log must not move what was predicted before; planted leaks must be seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers_visits import visits_shop

from recenv.core.errors import InputError
from recenv.data.schema import Dataset
from recenv.response import log as logs
from recenv.response.replay import Replayed, replay
from recenv.trust import altered as module
from recenv.trust import held_out
from recenv.trust.altered import Altered, altered_future
from recenv.trust.assess import AssessOptions, assess
from recenv.trust.fidelity import item_rate_baseline
from recenv.trust.gates import leaked_future
from recenv.trust.held_out import HeldOut, read_held_out
from recenv.trust.measure import Replay, prediction_slices
from recenv.trust.tolerances import Tolerances
from recenv.world import World


def _shares(world: World, held: HeldOut, most: int = 60, seed: int = 0) -> dict[str, float]:
    """Share of compared predictions that moved, by slice."""
    base = item_rate_baseline(held.before, world.response.heads, world.n_items)
    found = altered_future(world, held, base, most, seed)
    assert isinstance(found, Altered)
    assert found.rows > found.users > 10
    slices = prediction_slices(world.response, Replay(held.rows, held.session, held.segment), base, "test")
    shares = {}
    for s in slices:
        known = ~np.isnan(found.changed[s.head])
        assert 0 < known.sum() < len(s) or len(s) < 10
        shares[s.head] = float((found.changed[s.head][known] != s.p[known]).mean()) if known.any() else 0.0
    return shares


@pytest.fixture(scope="module")
def grocer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return visits_shop(tmp_path_factory.mktemp("grocer"), users=200, visits=12)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_moves_in_an_honest_replay(small_shop: Path, grocer: Path, seed: int) -> None:
    for shop in (small_shop, grocer):
        world = World.load(shop / "world")
        shares = _shares(world, read_held_out(world, shop / "data", 100, 0), seed=seed)
        assert set(shares.values()) == {0.0}, shares


def _knows_its_response(done: Replayed, log: logs.Log) -> None:
    done.rows.cross[:, 0] += np.nan_to_num(log.purchase[done.row])


def _knows_how_long_it_lasts(done: Replayed, log: logs.Log) -> None:
    slots = np.bincount(log.session[log.scored])
    done.rows.cross[:, 0] += slots[log.session[done.row]]


def _knows_what_comes_next(done: Replayed, log: logs.Log) -> None:
    done.rows.cross[:, 0] += log.item[np.minimum(done.row + 1, len(log.item) - 1)]


LEAKS: dict[str, Callable[[Replayed, logs.Log], None]] = {
    "own response": _knows_its_response,
    "length of the session": _knows_how_long_it_lasts,
    "next row": _knows_what_comes_next,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_replay_that_looks_ahead_fails(leak: str, small_shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(spec: Any, log: logs.Log, *rest: Any, **options: Any) -> Replayed:
        done = replay(spec, log, *rest, **options)
        LEAKS[leak](done, log)
        return done

    for place in (held_out, module):
        monkeypatch.setattr(place, "replay", leaking)
    world = World.load(small_shop / "world")
    assert max(_shares(world, read_held_out(world, small_shop / "data", 100, 0)).values()) > 0.01


def test_a_late_response_that_counts_at_once_is_seen(small_shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Dataset.load

    def a_day_late(path: Path, splits: Sequence[str]) -> Dataset:
        dataset = load(path, splits)
        clicked = dataset.events["click"] == 1.0
        dataset.events["click_delay"] = np.where(clicked, np.float32(100_000), np.float32(np.nan))
        return dataset

    monkeypatch.setattr(held_out.Dataset, "load", a_day_late)
    world = World.load(small_shop / "world")
    assert _shares(world, read_held_out(world, small_shop / "data", 100, 0), most=400)["click"] == 0.0
    monkeypatch.setattr(logs, "_late", lambda events, name: np.zeros(len(events), np.int64))
    assert _shares(world, read_held_out(world, small_shop / "data", 100, 0), most=400)["click"] > 0.01


def test_a_response_put_after_the_moment_stays_after_it_however_long_the_delay() -> None:
    since = -np.arange(1, 60_000_000, 7_654_321)
    events = pd.DataFrame({"click": np.zeros(len(since), np.float32), "click_delay": np.float32(np.nan)})
    made = module._response(events, "click", since, np.zeros(len(since)))
    assert (made["y"] == 1).all()
    assert (since + made["delay"].astype(np.int64) > 0).all()


def test_rows_that_no_longer_match_are_an_error(small_shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.load(small_shop / "world")
    held = read_held_out(world, small_shop / "data", 100, 0)
    held.rows.item[:] = 0
    with pytest.raises(InputError, match="not those of the log"):
        _shares(world, held)


def test_users_of_two_sessions_at_one_moment_are_left_out(small_shop: Path) -> None:
    world = World.load(small_shop / "world")
    held = read_held_out(world, small_shop / "data", 100, 0)
    base = item_rate_baseline(held.before, world.response.heads, world.n_items)
    held.log = replace(held.log, time=np.zeros_like(held.log.time))
    found = altered_future(world, held, base, 50, 0)
    assert isinstance(found, str)
    assert "two sessions at one moment" in found


def test_the_report_carries_both_tests(small_shop: Path, tmp_path: Path) -> None:
    for name in ("data", "world"):
        shutil.copytree(small_shop / name, tmp_path / name)
    report = assess(tmp_path / "world", tmp_path / "data", AssessOptions(bootstraps=5, sessions=300, altered_users=40))
    gate = next(x for x in report["gates"] if x["name"] == "leaked_future")
    labels = [line["label"] for line in gate["lines"]]
    assert labels == ["share of predictions moved by an altered future", "gain claimed in replay less in roll-outs"]
    assert gate["lines"][0]["verdict"] == "PASS"
    assert gate["lines"][0]["weight"] > 50
    assert "40 users' future were altered" in gate["detail"]


def test_one_moved_prediction_fails_the_gate(small_shop: Path) -> None:
    world = World.load(small_shop / "world")
    held = read_held_out(world, small_shop / "data", 100, 0)
    base = item_rate_baseline(held.before, world.response.heads, world.n_items)
    s = next(
        x
        for x in prediction_slices(world.response, Replay(held.rows, held.session, held.segment), base, "test")
        if x.head == "click"
    )
    changed = s.p.copy()
    assert leaked_future(s, Tolerances(), changed=changed).verdict == "PASS"
    changed[7] += 0.01
    assert leaked_future(s, Tolerances(), changed=changed).verdict == "FAIL"
