"""A folder that is not free says what it holds: what an interrupted command left, what is missing, how to go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_logs import attributed
from helpers_world import small_world

import recenv.agents.contest
from recenv.agents.benchmark import BenchmarkSettings
from recenv.agents.contest import benchmark
from recenv.agents.export import export_bundle
from recenv.agents.jobs import Contestant, Job, JobResult, run_job
from recenv.agents.training import TrainSettings, make_policy
from recenv.core.errors import InputError
from recenv.core.free import OPTIONAL, PARTS, require_free, unfinished
from recenv.data.logs import build
from recenv.env.options import EnvOptions
from recenv.scripts.make_copy import CopyConfig
from recenv.scripts.make_copy import run as copy
from recenv.scripts.prepare import PrepareConfig
from recenv.scripts.prepare import run as prepare
from recenv.world import World, tiny_world_path


def refused(folder: Path) -> str:
    with pytest.raises(InputError, match="exists and is not an empty folder") as caught:
        require_free(folder)
    return str(caught.value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished folder of each kind that is written file by file."""
    base = tmp_path_factory.mktemp("free")
    world = World.load(tiny_world_path())
    replace(world, path=None).save(base / "world")
    build(attributed()).save(base / "data")
    export_bundle(make_policy("popular", world, EnvOptions(), {}, 0), world, base / "bundle")
    return {name: base / name for name in ("world", "data", "bundle")}


@pytest.mark.parametrize("kind", ["world", "data", "bundle"])
def test_what_was_never_finished_is_named_file_by_file(folders: dict[str, Path], kind: str, tmp_path: Path) -> None:
    names = [name for name in PARTS[kind] if (folders[kind] / name).exists()]
    assert {p.name for p in folders[kind].iterdir()} == set(names) == set(PARTS[kind]) - set(OPTIONAL)
    assert "it holds a finished" in refused(folders[kind])
    for count in range(1, len(names)):
        part = tmp_path / str(count)
        part.mkdir()
        for name in names[:count]:
            (part / name).write_bytes((folders[kind] / name).read_bytes())
        found = unfinished(part)
        assert found is not None
        assert (found.kind, found.there, found.missing) == (kind, names[:count], names[count:])
    said = refused(part)
    assert f"missing: {names[-1]})" in said
    assert "if it is that and nothing writes it now, remove it and start again" in said
    (part / "mine.txt").write_text("precious")
    assert unfinished(part) is None, "what holds other files may be anybody's"
    assert "remove" not in refused(part)


def test_the_order_of_writing_is_that_of_the_parts(folders: dict[str, Path]) -> None:
    for kind, folder in folders.items():
        names = [name for name in PARTS[kind] if (folder / name).exists()]
        times = [(folder / name).stat().st_mtime_ns for name in names]
        assert times[0] == min(times), kind
        assert times[-1] == max(times), kind


def test_a_killed_benchmark_says_what_is_there_and_what_it_is_good_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("w", 0), ("w-judge", 1)):
        small_world(seed, n_items=6, n_starts=40, copies=0, leave=False).save(tmp_path / name)
    settings = BenchmarkSettings((Contestant("popular"),), seeds=2, episodes=8, training=TrainSettings(steps=10))

    def dies(job: Job) -> JobResult:
        if job.contestant.name == "popular":
            raise KeyboardInterrupt
        return run_job(job)

    monkeypatch.setattr("recenv.agents.benchmark.run_job", dies)
    with pytest.raises(KeyboardInterrupt):
        benchmark(tmp_path / "w", tmp_path / "w-judge", tmp_path / "b", settings, bar=False)
    with pytest.raises(InputError) as caught:
        benchmark(tmp_path / "w", tmp_path / "w-judge", tmp_path / "b", settings, bar=False)
    said = str(caught.value)
    assert "it holds an unfinished benchmark" in said
    assert "runs/ with 4 finished runs of 6" in said
    assert "missing: benchmark.json, benchmark.md, benchmark.html" in said
    assert str(tmp_path / "b" / "runs" / "logged-seed0") in said
    assert recenv.agents.contest.EVENTS == "runs"
    manifest = tmp_path / "b" / "runs" / "logged-seed0" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"complete": False}))
    assert "unfinished run," in refused(manifest.parent)
    assert "runs/ with 3 finished runs" in refused(tmp_path / "b")


def test_an_interrupted_copy_leaves_no_world_without_its_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("w", 0), ("w-judge", 1)):
        small_world(seed, n_items=6, n_starts=40, copies=0, leave=False).save(tmp_path / name)
    config = CopyConfig(tmp_path / "w", variants=1, out=tmp_path / "new")
    real = World.load.__func__

    def dies(cls: type[World], path: Path, verify: bool = True) -> World:
        if Path(path).name == "w-judge":
            raise KeyboardInterrupt
        return real(cls, path, verify)

    with monkeypatch.context() as patched:
        patched.setattr(World, "load", classmethod(dies))
        with pytest.raises(KeyboardInterrupt):
            copy(config)
    assert not (tmp_path / "new").exists()
    # Told before a line is written, for the judge's folder too.
    (tmp_path / "new-judge").mkdir()
    (tmp_path / "new-judge" / "items.parquet").write_bytes((tmp_path / "w" / "items.parquet").read_bytes())
    monkeypatch.setattr("recenv.scripts.make_copy.write_copies", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(InputError, match=r"new-judge: .*unfinished world.*missing: users\.parquet"):
        copy(config)
    assert not (tmp_path / "new").exists()


def test_raw_logs_that_look_like_tables_are_not_overwritten(tmp_path: Path) -> None:
    """A shop's own events.parquet is no half-written data set to be cleared away."""
    build(attributed()).save(tmp_path / "data")
    (tmp_path / "data" / "meta.json").unlink()
    config = PrepareConfig("synthetic", tmp_path / "data", users=30, items=6, progress=False)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"what looks like an unfinished folder of prepared data.*meta\.json\)"):
            prepare(PrepareConfig(**{**vars(config), "overwrite": overwrite}))
    assert (tmp_path / "data" / "events.parquet").is_file()
