"""Run folders and TensorBoard tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from recenv.core.errors import ArtefactError, InputError
from recenv.core.runs import Run, read_progress, read_run
from recenv.core.tags import TAGS, check_tag


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    Run(tmp_path / "r", {"steps": 1})
    before = (tmp_path / "r" / "config.json").read_bytes()
    with pytest.raises(InputError, match="not an empty folder"):
        Run(tmp_path / "r", {"steps": 2})
    assert (tmp_path / "r" / "config.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="not an empty folder"):
        Run(tmp_path / "file", {})


def test_manifest_says_what_the_run_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "world.json").write_text("{}")
    run = Run(tmp_path / "r", {"agent": "x"}, [3, 4], {"world": tmp_path / "world"})
    config, manifest = read_run(run.path)
    assert config == {"agent": "x"}
    assert manifest["seeds"] == [3, 4]
    assert not manifest["complete"]
    assert manifest["versions"]["numpy"]
    first = manifest["inputs"]["world"]["sha256"]
    assert len(first) == 64
    run.finish(agent="x")
    assert read_run(run.path)[1]["complete"]
    (tmp_path / "world" / "world.json").write_text("{ }")
    again = Run(tmp_path / "r2", {}, [], {"world": tmp_path / "world"})
    assert again.manifest["inputs"]["world"]["sha256"] != first


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        Run(tmp_path / "r", {}, [], {"world": tmp_path / "nowhere"})
    with pytest.raises(ArtefactError, match="is no run"):
        read_run(tmp_path / "elsewhere")


def test_progress_reads_back_exactly(tmp_path: Path) -> None:
    run = Run(tmp_path / "r", {})
    run.progress(10, {"shop/ctr": 0.1 + 0.2, "train/loss": 1e-9})
    run.progress(20, {"shop/ctr": 0.5})
    expected = [(10, "shop/ctr", 0.1 + 0.2), (10, "train/loss", 1e-9), (20, "shop/ctr", 0.5)]
    assert read_progress(run.path) == expected


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Run(tmp_path / "r", {}).write_json("x.json", {"a": float("nan")})


def test_unlisted_tag_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path / "r", {})
    with pytest.raises(InputError, match="shop/crt"):
        run.progress(0, {"shop/crt": 1.0})
    assert check_tag("shop/ctr") == "shop/ctr"


def test_every_tag_has_meaning_and_unit() -> None:
    for name, tag in TAGS.items():
        assert name.count("/") == 1
        assert tag.meaning
        assert tag.unit
