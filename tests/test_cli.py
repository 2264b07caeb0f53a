"""The command line: exit codes, named errors, one JSON object as the last line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers_world import small_world

from recenv.scripts.cli import COMMANDS, main
from recenv.world import tiny_world_path


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    assert f"recenv {name}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("fly",), ("fit",), ("fit", "--data", "x", "--out", "y", "--speed", "9")])
def test_bad_usage_exits_with_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("prepare", "moon", "--out", "d"), "moon"),
        (("prepare", "csv", "--path", "nowhere", "--out", "d"), "nowhere"),
        (("fit", "--data", "nowhere", "--out", "w"), "nowhere"),
        (("copy", "--world", "nowhere"), "nowhere"),
        (("train", "dqn", "--world", "nowhere", "--out", "r"), "nowhere"),
        (("benchmark", "--world", "nowhere", "--out", "b"), "nowhere"),
        (("fidelity", "--world", "nowhere", "--data", "d"), "nowhere"),
        (("export", "--run", "nowhere", "--out", "b"), "nowhere"),
        (("export", "--out", "b"), "--run or --policy"),
        (("serve", "--bundle", "nowhere"), "nowhere"),
        (("check", "--env", "No/Such-v0"), "No/Such"),
        (("check", "--kwargs", "[]"), "--kwargs"),
        (("fit", "--data", "d", "--out", "w", "--seed", "-1"), "seed"),
        (("fit", "--data", "d", "--out", "w", "--threads", "0"), "threads"),
        (("fit", "--data", "d", "--out", "w", "--horizon", "-1"), "horizon"),
        (("copy", "--world", "w", "--variants", "0"), "variants"),
        (("train", "dqn", "--world", str(tiny_world_path()), "--out", "r", "--seed", "-1"), "seed"),
        (("train", "dqn:lr=abc", "--world", str(tiny_world_path()), "--out", "r"), "lr"),
        (("train", "dqn:lr=NaN", "--world", str(tiny_world_path()), "--out", "r"), "lr"),
        (("train", "popular", "--world", str(tiny_world_path()), "--out", "/proc/r"), "/proc/r"),
        (("benchmark", "--world", str(tiny_world_path()), "--judge", str(tiny_world_path()), "--out", "b"), "--judge"),
    ],
)
def test_bad_input_is_named_and_exits_with_2(
    words: tuple[str, ...],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert not (tmp_path / "r").exists()
    assert not (tmp_path / "b").exists()
    assert "Traceback" not in captured.err


def test_demo_refuses_a_folder_that_is_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert call("demo", "--out", str(tmp_path)) == 2
    assert (tmp_path / "mine.txt").read_text() == "keep me"
    assert str(tmp_path) in capsys.readouterr().err


def test_the_last_line_is_one_json_object(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recenv.scripts.cli", "prepare", "synthetic", "--users", "60", "--items", "15",
               "--out", "d", "--json"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ})
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["counts"]["items"] == 15
    assert (tmp_path / "d" / "events.parquet").is_file()


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_every_script_runs_by_its_path(path: Path) -> None:
    """`python scripts/x.py` does something: each file ends by calling its `run` (or `main`)."""
    if path.stem == "__init__":
        return
    tail = path.read_text(encoding="utf-8").rsplit('if __name__ == "__main__":', 1)
    assert len(tail) == 2
    assert "run(" in tail[1] or "main(" in tail[1]


def test_a_reader_that_has_seen_enough_gets_no_word_and_a_code_of_its_own() -> None:
    command = [sys.executable, "-m", "recenv.scripts.cli", "evaluate", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(120) == 141


def test_what_fails_while_an_interrupt_unwinds_is_the_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Torch's settings are put back when an interrupt leaves them: in a package half imported that fails in turn."""

    failures: list[Exception] = [AttributeError("module 'sympy' has no attribute 'core'"), OSError("gone")]

    def fails(*_: object) -> dict[str, object]:
        try:
            raise KeyboardInterrupt
        finally:
            raise failures.pop()

    monkeypatch.setattr("recenv.scripts.cli._call", fails)
    while failures:
        assert call("fit", "--data", "d", "--out", "w") == 130
        assert capsys.readouterr().err == "recenv fit: interrupted\n"
    monkeypatch.setattr("recenv.scripts.cli._call", lambda *_: {}["key"])
    with pytest.raises(KeyError):
        main(("fit", "--data", "d", "--out", "w"))


@contextmanager
def _long_benchmark(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A benchmark with two workers that would go on for long, in a process group of its own."""
    for name, seed in (("w", 0), ("w-judge", 1)):
        small_world(seed, n_items=6, n_starts=40, copies=0, leave=False).save(folder / name)
    words = ["benchmark", "--world", "w", "--out", "b", "--agents", "dqn", "--steps", "500000", "--workers", "2"]
    command = [sys.executable, "-m", "recenv.scripts.cli", *words]
    kept = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    # Shells begin background jobs with the interrupt ignored; from a terminal it is not.
    heard = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(command, text=True, start_new_session=True, **kept)
    finally:
        signal.signal(signal.SIGINT, heard)
    with process:
        yield process


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it told."""
    assert process.stderr is not None
    told = process.stderr.read()
    return process.wait(60), told


def test_an_interrupted_benchmark_says_so_once_whatever_its_workers_do(tmp_path: Path) -> None:
    with _long_benchmark(tmp_path) as process:
        begun = time.monotonic()
        while not (tmp_path / "b" / "config.json").exists() and time.monotonic() < begun + 60:
            time.sleep(0.05)
        time.sleep(2.0)  # the workers are importing
        os.killpg(process.pid, signal.SIGINT)  # to the whole group, as from a terminal
        code, told = _end(process)
    assert code == 130, told
    assert told.splitlines()[-1] == "recenv benchmark: interrupted"
    assert "Traceback" not in told


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the worker in /proc")
def test_a_worker_that_is_killed_is_told_of_without_a_traceback(tmp_path: Path) -> None:
    with _long_benchmark(tmp_path) as process:
        begun, children = time.monotonic(), Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers: list[int] = []
        while not workers and time.monotonic() < begun + 60:
            time.sleep(0.1)
            found = [int(pid) for pid in children.read_text().split()]
            workers = [pid for pid in found if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(workers[-1], signal.SIGKILL)
        code, told = _end(process)
    assert code == 2, told
    assert told.splitlines()[-1].startswith("recenv benchmark: benchmark: a worker process ended by itself")
    assert "Traceback" not in told


def test_an_interrupt_of_the_first_import_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gymnasium.py").write_text("raise KeyboardInterrupt\n")
    code = "import sys; sys.argv[0] = {name!r}; import recenv"
    for name, status, said in (("/usr/bin/recenv", 130, "recenv: interrupted\n"), ("train.py", -2, "Traceback")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name=name)],
            env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status
        assert done.stderr == said or (status == -2 and done.stderr.startswith(said)), "a script of one's own sees it"
