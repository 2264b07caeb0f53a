"""Progress: a bar on a terminal, a few lines in a redirected log, and one place that decides."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tqdm import tqdm

from recenv.core import progress
from recenv.core.progress import Lines, bar, through

ROOT = Path(__file__).resolve().parents[1]


def test_a_log_gets_a_line_at_either_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(through(range(10_000), "count", unit="number")) == sum(range(10_000))
    with bar("train", 500, "epoch") as shown:
        for k in range(300):  # stopped early
            shown.update()
            shown.set_postfix(loss=f"{k:.1f}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "count: 10,000 numbers",
        "count: 10,000 of 10,000 numbers, 0 s",
        "train: 500 epochs",
        "train: 300 of 500 epochs, 0 s, loss 299.0",
    ]


def test_a_long_run_tells_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        return now

    monkeypatch.setattr(progress.time, "monotonic", clock)
    shown = bar("train", 1, "file", leave=False)
    for _ in range(1000):
        now += 0.5
        shown.update(0)
    shown.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 0 of 1 file, 60 s"
    assert len(lines) == 8, "one a minute; one that is wiped out when done says nothing at its ends"


def test_what_is_gone_through_may_be_of_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(through((k for k in "abc"), "read", unit="line")) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == ["read: lines", "read: 3 lines, 0 s"]


def test_nothing_is_written_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(through([1, 2], "quiet", show=False)) == [1, 2]
    with bar("quiet", 2, show=False) as shown:
        shown.update()
        shown.set_postfix(a=1)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_on_terminal", lambda: True)
    for shown in (bar("train", 3), through([1], "read")):
        assert isinstance(shown, tqdm)
        shown.close()
    assert "\r" in capsys.readouterr().err
    monkeypatch.undo()
    assert isinstance(bar("train", 3), Lines)


def test_every_bar_comes_from_one_place() -> None:
    found = []
    for folder in ("recenv", "agents", "generators", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                if any(name.split(".")[0] == "tqdm" for name in names):
                    found.append(path.relative_to(ROOT).as_posix())
    assert found == ["recenv/core/progress.py"]
