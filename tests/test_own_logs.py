"""Logs of other shapes become worlds without any code: e-mail test, event stream, flat files."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from conftest import small_fit
from helpers_logs import write_mapping
from test_csv_source import EMAIL, write_email

import recenv
from recenv.core.errors import InputError
from recenv.data import sources
from recenv.data.logs import build
from recenv.response.fit import fit_worlds
from recenv.scripts.prepare import PrepareConfig
from recenv.scripts.prepare import run as prepare
from recenv.world import World

assert recenv.__version__


def fitted(folder: Path) -> World:
    prepare(PrepareConfig(source="csv", path=str(folder), out=folder / "out", progress=False))
    world, _ = fit_worlds(folder / "out", folder / "world", small_fit(), progress=False)
    return world


def test_an_email_test_knows_what_people_do_when_nothing_is_sent(tmp_path: Path) -> None:
    source = write_email(tmp_path, rows=20_000)
    columns = {k: v for k, v in EMAIL["events"]["columns"].items() if k != "copy_id"}
    arms = {"Mens E-Mail": "mens", "Womens E-Mail": "womens", "No E-Mail": "__none__"}
    events = EMAIL["events"] | {"columns": columns, "values": {"item_id": arms}}
    mapping = {k: v for k, v in EMAIL.items() if k != "copies"} | {"events": events}
    (tmp_path / "items.csv").write_text("id,price\nmens,0\nwomens,0\n")
    write_mapping(tmp_path, mapping)
    world = fitted(tmp_path)
    assert world.has_unshown
    assert world.meta["one_shot"]
    env = gym.make("recenv/World-v0", world=str(tmp_path / "world"))
    shown, unshown = [], []
    for seed in range(150):
        env.reset(seed=seed)
        _, _, terminated, truncated, info = env.step(1)
        assert terminated
        assert not truncated
        shown.append(info["expected_click"])
        unshown.append(info["unshown_click"])
    rate = source.groupby("segment")["visit"].mean()
    assert np.mean(shown) == pytest.approx(rate["Mens E-Mail"], abs=0.05)
    assert np.mean(unshown) == pytest.approx(rate["No E-Mail"], abs=0.05)


def test_an_event_stream_becomes_a_world(tmp_path: Path) -> None:
    write_mapping(tmp_path, stream(tmp_path))
    world = fitted(tmp_path)
    assert world.responses == ("click", "purchase", "revenue")
    assert not world.has_unshown
    env = gym.make("recenv/World-v0", world=str(tmp_path / "world"))
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    _, reward, *_ = env.step(2)
    assert np.isfinite(reward)


def stream(folder: Path) -> dict[str, object]:
    """People browse, are recommended something, sometimes view it within minutes and buy it within days."""
    rng = np.random.default_rng(4)
    rows = []
    for user in range(60):
        now = 1.6e9 + float(rng.integers(0, 200 * 86_400))
        for _ in range(int(rng.integers(5, 12))):
            now += float(rng.integers(1, 4)) * 86_400
            rows.append((f"{user:03d}", f"{rng.integers(0, 8):04d}", now, "view", ""))
            for slot in range(int(rng.integers(1, 4))):
                item = f"{rng.integers(0, 8):04d}"
                rows.append((f"{user:03d}", item, now + 60 * slot + 30, "reco", ""))
                if rng.random() < 0.3:
                    rows.append((f"{user:03d}", item, now + 60 * slot + 45, "view", ""))
                    if rng.random() < 0.3:
                        rows.append((f"{user:03d}", item, now + 60 * slot + 7200, "transaction", "9.90"))
    frame = pd.DataFrame(rows, columns=["visitorid", "itemid", "timestamp", "event", "paid"])
    frame["timestamp"] = frame["timestamp"].astype("int64")
    frame.sample(frac=1, random_state=0).to_csv(folder / "events.csv", index=False)
    columns = {
        "user_id": "visitorid",
        "item_id": "itemid",
        "timestamp": "timestamp",
        "kind": "event",
        "revenue": "paid",
    }
    kinds = {"transaction": "purchase", "reco": "impression"}
    events = {"path": "events.csv", "columns": columns, "kinds": kinds, "time_unit": "s"}
    return {"events": events, "click_kinds": ["click", "view"]}


def test_flat_files_without_users_or_time_become_a_world(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, rows in (("train", 3000), ("val", 600), ("test", 600)):
        item = rng.integers(0, 30, rows)
        clicked = rng.random(rows) < np.where(item < 15, 0.35, 0.05)
        frame = {"item_id": [f"{i:05d}" for i in item], "category": [f"c{i % 4}" for i in item],
                 "brand": [f"b{i % 7}" for i in item], "price": item + 0.5, "rating": (item % 5) + 1,
                 "clicked": clicked.astype(int)}  # fmt: skip
        pd.DataFrame(frame).to_csv(tmp_path / f"{name}.csv", index=False)
    table = {"columns": {"user_id": None, "item_id": "item_id", "click": "clicked"}}
    events = [
        table | {"path": f"{name}.csv", "constants": {"kind": "impression", "split": split}}
        for name, split in (("train", "train"), ("val", "validation"), ("test", "test"))
    ]
    names = ("item_id", "category", "brand", "price", "rating")
    write_mapping(tmp_path, {"events": events, "items": {"from_events": True, "columns": {n: n for n in names}}})
    world = fitted(tmp_path)
    assert world.responses == ("click",)
    env = gym.make("recenv/World-v0", world=str(tmp_path / "world"))
    env.reset(seed=0)
    found = []
    for action in (3, 25):
        env.reset(seed=0)
        found.append(env.step(action)[4]["expected_click"])
    assert found[0] > 2 * found[1]


@pytest.mark.parametrize(("clicks", "word"), [(0.0, "positive"), (1.0, "positive")])
def test_fit_refuses_logs_that_teach_nothing(tmp_path: Path, clicks: float, word: str) -> None:
    rows = {"user_id": ["a", "b"] * 50, "item_id": ["x", "y"] * 50, "clicked": [clicks] * 100}
    pd.DataFrame(rows).to_csv(tmp_path / "e.csv", index=False)
    columns = {"user_id": "user_id", "item_id": "item_id", "click": "clicked", "timestamp": None}
    events = {"path": "e.csv", "columns": columns, "constants": {"kind": "impression"}}
    write_mapping(tmp_path, {"events": events})
    build(sources.load("csv", str(tmp_path), sources.options_type("csv")())).save(tmp_path / "data")
    with pytest.raises(InputError, match=word):
        fit_worlds(tmp_path / "data", tmp_path / "world", small_fit(), progress=False)
