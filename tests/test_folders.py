"""A folder of the wrong kind: the error says what it is, what is wanted, and what to give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_world import small_world

from recenv.agents.export_run import policy_of_run
from recenv.core.errors import ArtefactError
from recenv.core.folders import KINDS, kind_of, wrong_folder
from recenv.core.runs import read_run
from recenv.data.schema import Dataset
from recenv.env.prepared import load_world
from recenv.scripts.train import TrainConfig
from recenv.scripts.train import run as train
from recenv.serving.bundle import Bundle
from recenv.world import World

FILES = {
    "data": ("meta.json", "items.parquet"),
    "benchmark": ("benchmark.json", "config.json", "manifest.json"),
    "bundle": ("manifest.json", "policy.onnx"),
    "logs": ("mapping.json", "events.csv"),
    "empty": (),
    "other": ("notes.txt",),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each kind; world, run and the policy in it are real, the others hold a kind's files."""
    base = tmp_path_factory.mktemp("folders")
    small_world(0, n_items=6, n_starts=30, copies=0, leave=False).save(base / "world")
    train(TrainConfig("popular", base / "world", base / "benchmark" / "runs" / "dqn-seed0", steps=10, episodes=4))
    for name, files in FILES.items():
        (base / name).mkdir(exist_ok=True)
        for file in files:
            (base / name / file).write_text("{}" if file.endswith(".json") else "x")
    (base / "benchmark" / "config.json").write_text(json.dumps({"world": "worlds/here"}))
    return base


RUN = "benchmark/runs/dqn-seed0"


def test_each_kind_is_known_by_its_files(folders: Path) -> None:
    found = {name: kind_of(folders / name) for name in ("world", *FILES, RUN, f"{RUN}/policy", "benchmark/runs", "x")}
    assert found == {
        "world": "world", "data": "data", "benchmark": "benchmark", "bundle": "bundle", "logs": "logs", "empty": "",
        "other": "", RUN: "run", f"{RUN}/policy": "policy", "benchmark/runs": "runs", "x": "",
    }  # fmt: skip


OPEN: dict[str, Callable[[Path], object]] = {
    "world": World.load,
    "world, shared": load_world,
    "data": Dataset.load,
    "run": policy_of_run,
    "run, its settings": read_run,
    "bundle": Bundle.load,
}
WORDS = {
    "world": "it is a world",
    "data": "it is a folder of prepared data",
    "benchmark": "it is a benchmark",
    "bundle": "it is an exported bundle",
    "logs": "it is a folder of raw logs",
    "empty": "it is empty",
    "other": "it has no ",
    RUN: "it is a run",
    f"{RUN}/policy": "it is a policy, a part of a run",
    "benchmark/runs": "it is a folder of several runs",
    "nowhere": "there is no such folder",
    "other/notes.txt": "it is a file",
}


@pytest.mark.parametrize("given", WORDS)
@pytest.mark.parametrize("opened", OPEN)
def test_what_a_folder_is_and_what_is_wanted_is_said(folders: Path, opened: str, given: str) -> None:
    wanted = opened.partition(",")[0]
    if kind_of(folders / given) == wanted or (opened, given) == ("run, its settings", "benchmark"):
        return
    with pytest.raises(ArtefactError) as caught:
        OPEN[opened](folders / given)
    assert caught.value.where == str(folders / given)
    assert caught.value.what.startswith(f"is no {KINDS[wanted].name}: {WORDS[given]}")
    assert "Give" in caught.value.mend or "Make" in caught.value.mend or "Prepare" in caught.value.mend


@pytest.mark.parametrize(
    ("given", "wanted", "hint"),
    [
        ("benchmark", "run", r"Give one of its runs, .*benchmark/runs/dqn-seed0 say\."),
        ("benchmark/runs", "run", r"Give one of them, .*benchmark/runs/dqn-seed0 say\."),
        ("benchmark", "bundle", r"`recenv export --run .*benchmark/runs/dqn-seed0 --out bundles/benchmark`"),
        (f"{RUN}/policy", "run", r"Give the run's folder around it, .*dqn-seed0\."),
        ("benchmark", "world", r"Give the world that it was made in, worlds/here\."),
        ("data", "world", r"`recenv fit --data .*data --out worlds/data`"),
        ("logs", "data", r"`recenv prepare csv --path .*logs --out data/logs`"),
        ("bundle", "world", r"Give a folder that `recenv fit` or `recenv copy` wrote, worlds/shop say\."),
    ],
)
def test_the_way_from_one_kind_to_another_is_told(folders: Path, given: str, wanted: str, hint: str) -> None:
    assert re.search(hint, wrong_folder(folders / given, wanted).mend)


def test_a_damaged_run_is_not_taken_for_something_else(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"manifest\.json: is missing"):
        read_run(tmp_path)


def test_a_world_that_keeps_its_options_is_not_taken_for_a_run(tmp_path: Path) -> None:
    for name in ("world.json", "config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ArtefactError, match=r"`recenv train dqn --world"):
        policy_of_run(tmp_path)
