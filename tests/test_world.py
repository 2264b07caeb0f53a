"""Worlds on disk: whole, hashed, the same for the same seed, and on users of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import small_fit

from recenv.core.errors import ArtefactError, InputError
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import RawTables
from recenv.env.shop import RecEnv
from recenv.response import fit
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.shared import Shared
from recenv.response.train import TrainConfig
from recenv.variants import action_table, add_copies, with_copies
from recenv.world import FILES, World, judge_path, tiny_world_path


@pytest.fixture
def world(small_shop: Path) -> World:
    return World.load(small_shop / "world")


def copy_of(world: World, folder: Path) -> Path:
    path = world.save(folder / "copy")
    return path


def test_the_packaged_world_loads_and_is_small() -> None:
    world = World.load(tiny_world_path())
    assert world.n_items == 20
    assert world.n_copies == 40
    assert world.n_actions == 41
    assert sum(f.stat().st_size for f in tiny_world_path().iterdir()) < 300_000
    assert "assumed" in world.describe()
    assert world.meta["copy_label"] == "assumed"


def test_a_world_is_the_same_after_a_round_trip(world: World, tmp_path: Path, small_shop: Path) -> None:
    path = copy_of(world, tmp_path)
    for name in (*FILES, "world.json"):
        assert (path / name).read_bytes() == (small_shop / "world" / name).read_bytes(), name


def test_same_seed_same_bytes(small_shop: Path, tmp_path: Path) -> None:
    fit_worlds(small_shop / "data", tmp_path / "world", small_fit(), progress=False)
    for folder in ("world", "world-judge"):
        for name in (*FILES, "world.json", "fidelity.json"):
            assert (tmp_path / folder / name).read_bytes() == (small_shop / folder / name).read_bytes(), name


def test_world_and_judge_share_the_catalogue_but_no_user(small_shop: Path) -> None:
    world, judge = (World.load(p) for p in (small_shop / "world", judge_path(small_shop / "world")))
    mine, theirs = (set(w.users["user_id"].to_pylist()) for w in (world, judge))
    assert mine
    assert theirs
    assert not mine & theirs
    np.testing.assert_array_equal(world.spec.item_vectors, judge.spec.item_vectors)
    np.testing.assert_array_equal(world.action_item, judge.action_item)
    assert set(world.start.user_id) <= mine
    assert not np.array_equal(world.item_rate, judge.item_rate)


def test_start_states_hold_what_the_world_says(world: World) -> None:
    start = world.start
    assert len(start.of_split("train"))
    assert len(start.of_split("validation"))
    state = start.state(world.spec, np.arange(len(start)))
    assert (state.last_time.max(1) <= start.clock).all()
    ids = np.array(world.users["user_id"].to_pylist())
    assert (ids[start.user] == start.user_id).all()
    with pytest.raises(InputError, match="test"):
        start.of_split("test")


def test_fit_does_not_read_the_test_slice(small_shop: Path) -> None:
    meta = json.loads((small_shop / "data" / "meta.json").read_text())
    assert meta["test_reads"] == 0


@pytest.mark.parametrize("name", [*FILES, "world.json"])
def test_a_changed_byte_is_noticed(world: World, tmp_path: Path, name: str) -> None:
    path = copy_of(world, tmp_path)
    content = (path / name).read_bytes()
    middle = len(content) // 2
    changed = content.replace(b'"horizon": 10', b'"horizon": 11')
    if name != "world.json":
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    assert changed != content
    (path / name).write_bytes(changed)
    with pytest.raises(ArtefactError, match=name):
        World.load(path)


@pytest.mark.parametrize("name", [*FILES, "world.json"])
def test_a_missing_file_is_named(world: World, tmp_path: Path, name: str) -> None:
    path = copy_of(world, tmp_path)
    (path / name).unlink()
    with pytest.raises(ArtefactError, match=name):
        World.load(path)


def test_another_schema_version_is_refused(world: World, tmp_path: Path) -> None:
    path = copy_of(world, tmp_path)
    meta = json.loads((path / "world.json").read_text())
    (path / "world.json").write_text(json.dumps(meta | {"schema_version": 99}))
    with pytest.raises(ArtefactError, match="99"):
        World.load(path)


def test_a_broken_world_json_is_named(world: World, tmp_path: Path) -> None:
    path = copy_of(world, tmp_path)
    (path / "world.json").write_text("{")
    with pytest.raises(ArtefactError, match="JSON"):
        World.load(path)


def test_a_world_is_never_written_over(world: World, small_shop: Path) -> None:
    with pytest.raises(InputError, match="not an empty folder"):
        world.save(small_shop / "world")
    with pytest.raises(InputError, match="not an empty folder"):
        fit_worlds(small_shop / "data", small_shop / "world", small_fit(), progress=False)


def test_an_interrupted_fit_leaves_nothing_behind(
    small_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_one = fit._fit_one

    def interrupted(shared: Shared, log: object, role: str, *rest: object) -> object:
        if role == "judge":
            raise KeyboardInterrupt
        return fit_one(shared, log, role, *rest)

    monkeypatch.setattr(fit, "_fit_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_worlds(small_shop / "data", tmp_path / "w", small_fit(), progress=False)
    assert not list(tmp_path.iterdir())


def test_the_action_table_is_contiguous_by_item() -> None:
    item, copy = action_table(3, np.array([0, 2, -1, 0], np.int32))
    assert item.tolist() == [-1, 0, 0, 0, 1, 2, 2]
    assert copy.tolist() == [-1, 0, 3, 2, 2, 1, 2]


def copies(item_ids: list[str]) -> pa.Table:
    n = len(item_ids)
    texts = {
        "copy_id": [f"c{i}" for i in range(n)],
        "style": ["plain", "playful"] * (n // 2),
        "text": [f"t{i}" for i in range(n)],
        "status": ["approved"] * n,
    }
    return pa.table({"item_id": item_ids, **texts})


def test_copies_join_the_actions_of_world_and_judge_with_their_own_unknowns(small_shop: Path, tmp_path: Path) -> None:
    world = World.load(small_shop / "world")
    table = copies(world.items["item_id"].to_pylist()[:2] * 2)
    add_copies(small_shop / "world", table, tmp_path / "copied")
    made, judge = World.load(tmp_path / "copied"), World.load(judge_path(tmp_path / "copied"))
    assert made.n_actions == 1 + 4 + (world.n_items - 2)
    assert made.copy_effect is not None
    assert judge.copy_effect is not None
    np.testing.assert_array_equal(made.copy_effect.segment_style, judge.copy_effect.segment_style)
    assert not np.array_equal(made.copy_effect.base, judge.copy_effect.base)
    assert any(line.startswith("copy effect") for line in made.meta["assumed"])


def test_a_copy_of_an_unknown_item_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="nowhere"):
        with_copies(world, copies(["nowhere", "nowhere"]), 0, 0)


def logged_copies(folder: Path) -> Path:
    """A log with a copy on every impression, each of one item; prepared and fitted."""
    rng = np.random.default_rng(0)
    n = 4000
    item, style = rng.integers(0, 6, n), rng.integers(0, 3, n)
    frame = {
        "user_id": [f"u{i}" for i in rng.integers(0, 150, n)],
        "item_id": [f"i{i}" for i in item],
        "copy_id": [f"i{i}-{s}" for i, s in zip(item, style)],
        "timestamp": pd.to_datetime(1_600_000_000 + np.sort(rng.integers(0, 9_000_000, n)), unit="s", utc=True),
        "kind": "impression",
        "click": (rng.random(n) < 0.2).astype(float),
    }
    build(RawTables(pd.DataFrame(frame), attributed=True), BuildOptions(progress=False)).save(folder / "data")
    fit_worlds(folder / "data", folder / "world", small_fit(), progress=False)
    return folder / "world"


def test_copies_join_those_that_the_logs_hold(tmp_path: Path) -> None:
    """Histories name copies by their row: new ones are appended, and logged ones stay with their own item."""
    path = logged_copies(tmp_path)
    world = World.load(path)
    assert world.n_copies == 18
    assert world.n_actions == 1 + 18
    names = np.array(world.copies["copy_id"].to_pylist())
    items = np.array(world.items["item_id"].to_pylist())
    for action in range(1, world.n_actions):
        assert names[world.action_copy[action]].startswith(items[world.action_item[action]])
    add_copies(path, copies(["i0", "i1"]), tmp_path / "copied")
    made = World.load(tmp_path / "copied")
    assert made.copies["copy_id"].to_pylist() == [*names, "c0", "c1"]
    env = RecEnv(world=made, observation="full")
    for seed in range(10):
        env.reset(seed=seed)
        env.step(int(env.action_masks().nonzero()[0][-1]))


def test_noise_is_not_learned_from_its_own_item_rates(tmp_path: Path) -> None:
    """Many items, few rows each, responses by chance: what an input counts must leave out the row that it is for."""
    rng = np.random.default_rng(1)
    n = 9000
    frame = {
        "user_id": [f"u{i}" for i in rng.integers(0, 3000, n)],
        "item_id": [f"i{i:04d}" for i in rng.integers(0, 1500, n)],
        "timestamp": pd.to_datetime(1_600_000_000 + np.sort(rng.integers(0, 9_000_000, n)), unit="s", utc=True),
        "kind": "impression",
        "click": (rng.random(n) < 0.15).astype(float),
    }
    build(RawTables(pd.DataFrame(frame), attributed=True), BuildOptions(progress=False)).save(tmp_path / "data")
    options = FitOptions(start_states=20, vector_dim=8, training=TrainConfig(epochs=6, patience=6, threads=1))
    world, _ = fit_worlds(tmp_path / "data", tmp_path / "world", options, progress=False)
    history = world.response.config["history"]
    assert history[-1]["validation"] < 1.1 * history[0]["validation"]
