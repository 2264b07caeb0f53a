"""`--config`: what a folder was made with makes it again; options given beside it win; bad files are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers_world import small_world

from recenv.agents.base import REGISTRY
from recenv.core.runs import CONFIG, read_progress
from recenv.scripts.cli import REPLAYED, main

FAST = ("--steps", "640", "--episodes", "8")


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def config_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return found


def policy_bytes(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((run / "policy").iterdir())}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world, its judge, a run in it and a benchmark."""
    folder = tmp_path_factory.mktemp("replay")
    for name, seed in (("world", 0), ("world-judge", 1)):
        small_world(seed, n_items=9, n_starts=60, copies=1).save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = call("train", "linucb:alpha=0.7,k=6", "--world", "world", "--out", "run", "--seed", "4",
                    "--cost", "0.01", "--horizon", "3", "--evaluations", "2", *FAST)  # fmt: skip
        assert made == 0
        made = call("benchmark", "--world", "world", "--out", "bench", "--agents", "popular", "linucb:k=5", "--seeds",
                    "2", "--seed", "3", "--steps", "640", "--episodes", "30", "--evaluations", "1", "--cost", "0.02",
                    "--outer-episodes", "10")  # fmt: skip
        assert made == 0
    return folder


def test_a_run_is_made_again_from_anywhere(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("train", "--config", base / "run" / CONFIG, "--out", "again") == 0
    assert policy_bytes(tmp_path / "again") == policy_bytes(base / "run")
    assert config_of(tmp_path / "again") == config_of(base / "run")
    assert (tmp_path / "again" / "eval.json").read_bytes() == (base / "run" / "eval.json").read_bytes()
    curves = [[row for row in read_progress(run) if row[1] != "time/fps"] for run in (base / "run", Path("again"))]
    assert curves[0] == curves[1]
    assert len(curves[0]) > 20


def test_what_is_given_beside_it_wins(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "other"
    words = ("train", f"--config={base / 'run'}", "--out", out, "--seed", "9", "--horizon", "None")
    assert call(*words) == 0
    changed = {**config_of(base / "run"), "seed": 9}
    changed["env"] = {**changed["env"], "horizon": None}
    assert config_of(out) == changed
    assert policy_bytes(out) != policy_bytes(base / "run")
    assert call("train", "popular", "--config", base / "run", "--out", tmp_path / "popular", "--steps", "10") == 0
    assert config_of(tmp_path / "popular")["agent"] == "popular"
    assert config_of(tmp_path / "popular")["config"] == {}


def test_a_learner_of_torch_is_made_again(base: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    words = ("sb3-maskable-ppo:k=12,lr=0.002", "--world", base / "world", "--seed", "2")
    assert call("train", *words, "--out", first, "--steps", "1100", "--episodes", "8") == 0
    assert call("train", "--config", first / CONFIG, "--out", again) == 0
    assert policy_bytes(again) == policy_bytes(first)
    assert "sb3.safetensors" in policy_bytes(again)


def test_a_benchmark_is_made_again(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("benchmark", "--config", base / "bench" / CONFIG, "--out", "again") == 0
    first, again = (json.loads((f / "benchmark.json").read_text()) for f in (base / "bench", tmp_path / "again"))
    for rows in (first["rows"], again["rows"]):
        for row in rows:
            del row["seconds"]
    assert again == first
    assert config_of(tmp_path / "again") == config_of(base / "bench")


def test_one_run_of_a_benchmark_trains_again(base: Path, tmp_path: Path) -> None:
    run = next((base / "bench" / "runs").glob("linucb*seed4"))
    assert call("train", "--config", run / CONFIG, "--out", tmp_path / "alone", "--episodes", "8") == 0
    assert policy_bytes(tmp_path / "alone") == policy_bytes(run)


def test_tables_and_worlds_keep_what_makes_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("prepare", "synthetic", "--users", "120", "--items", "12", "--seed", "3", "--out", "data/a") == 0
    assert call("prepare", "--config", "data/a/config.json", "--out", "again/a") == 0
    assert call("fit", "--data", "data/a", "--out", "worlds/a", "--start-states", "40", "--epochs", "1") == 0
    assert call("fit", "--config", "worlds/a", "--out", "again/worlds/a") == 0
    assert call("copy", "--world", "worlds/a", "--variants", "1", "--slots", "product", "--out", "worlds/b") == 0
    assert call("copy", "--config", "worlds/b", "--out", "again/worlds/b") == 0
    for folder, other in (("data/a", "again/a"), ("worlds/a", "again/worlds/a"), ("worlds/b", "again/worlds/b")):
        first, second = ({f.name: f.read_bytes() for f in Path(at).iterdir()} for at in (folder, other))
        assert first == second
    assert config_of(Path("worlds/b"))["world"] == str(tmp_path / "worlds" / "a")
    assert not Path("worlds/a-judge", CONFIG).exists()
    assert call("prepare", "--config", "data/a", "--out", "data/a") == 2, "not replaced without being told"
    assert call("prepare", "--config", "data/a", "--out", "data/a", "--overwrite") == 0


def _changed(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda found: {**found, **values}


def _in(group: str, **values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda found: {**found, group: {**found[group], **values}}


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown key": (_changed(stepz=5), "stepz"),
    "unknown key of the environment": (_in("env", pesimism=1.0), "env.pesimism"),
    "text for a number": (_changed(steps="many"), "option steps: 'many'"),
    "number with a fraction": (_changed(steps=1.5), "option steps: 1.5"),
    "truth for a number": (_changed(seed=True), "option seed: True"),
    "text for a number of the environment": (_in("env", cost="dear"), "option cost: 'dear'"),
    "not finite": (_in("env", cost=float("nan")), "option cost: nan"),
    "number for a path": (_changed(world=3), "option world: 3"),
    "nothing for a number": (_changed(steps=None), "option steps: None"),
    "no group": (_changed(env=3), "env: 3"),
    "twice": (_changed(cost=0.5), "env.cost"),
    "without a name on the command line": (_in("env", slate=3), "env.slate"),
    "of another command": (_changed(command="benchmark"), "recenv benchmark --config"),
    "of no command": (lambda found: {k: v for k, v in found.items() if k != "command"}, "names no command"),
    "of a command of nobody": (_changed(command="fly"), "'fly'"),
    "a list": (lambda found: [found], "no JSON object"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(case: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, named = BAD[case]
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(change(config_of(base / "run"))), encoding="utf-8")
    assert call("train", "--config", file, "--out", tmp_path / "r") == 2
    told = capsys.readouterr().err
    assert named in told
    assert "changed.json" in told
    assert "Traceback" not in told
    assert not (tmp_path / "r").exists()


BAD_BENCHMARKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "envs": (_changed(envs=7), "envs"),
    "episodes of a training": (_in("training", episodes=7), "training.episodes"),
    "training": (_changed(training=[]), "training: []"),
    "sampled": (lambda found: _in("training", env={**found["training"]["env"], "reward_mode": "sampled"})(found),
                "env.reward_mode"),
    "agents": (_changed(agents="dqn"), "option agents: 'dqn'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BENCHMARKS)
def test_bad_files_of_a_benchmark_are_named(
    case: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, named = BAD_BENCHMARKS[case]
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(change(config_of(base / "bench"))), encoding="utf-8")
    assert call("benchmark", "--config", file, "--out", tmp_path / "r") == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--config",), "names no file"),
        (("--config", "--out", "r"), "names no file"),
        (("--config=",), "names no file"),
        (("--config", "a.json", "--config", "b.json"), "twice"),
        (("--config", "nowhere.json", "--out", "r"), "nowhere.json"),
        (("--config", "broken.json", "--out", "r"), "broken.json"),
        (("--config", "here", "--out", "r"), "here/config.json"),
    ],
)
def test_bad_words_are_named(
    words: tuple[str, ...],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{", encoding="utf-8")
    Path("here").mkdir()
    assert call("train", *words) == 2
    told = capsys.readouterr().err
    assert named in told
    assert "Traceback" not in told


def test_a_folder_to_write_is_asked_for(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "--config", base / "run" / CONFIG) == 2
    assert "--out" in capsys.readouterr().err


def test_a_file_written_by_hand_may_leave_options_out(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    mine = {"command": "train", "agent": "popular", "world": str(base / "world"), "steps": 10, "cost": 0.25}
    file.write_text(json.dumps(mine), encoding="utf-8")
    assert call("train", "--config", file, "--out", tmp_path / "r", "--episodes", "4") == 0
    kept = config_of(tmp_path / "r")
    assert (kept["agent"], kept["steps"], kept["env"]["cost"], kept["seed"]) == ("popular", 10, 0.25, 0)


@pytest.mark.parametrize("command", REPLAYED)
def test_help_tells_of_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    assert "--config FILE" in " ".join(capsys.readouterr().out.split())
    assert call("evaluate", "--config", "x") == 2


def test_every_agent_is_written_as_the_command_line_takes_it() -> None:
    from recenv.agents.jobs import Contestant

    for name in REGISTRY:
        who = Contestant(name, {"k": 3, "lr": 1e-05, "flag": True, "none": None, "word": "a b"})
        assert Contestant.parse(str(who)) == who
