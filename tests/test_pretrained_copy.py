"""`recenv copy --generator pretrained`: a tiny checkpoint writes lines of a world and is kept beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from helpers_pretrained import write_checkpoint
from helpers_world import small_world

from recenv.core.errors import ArtefactError, InputError
from recenv.generators import pretrained
from recenv.generators.corpus import read_corpus
from recenv.generators.quality import slot_error
from recenv.scripts.cli import main
from recenv.scripts.make_copy import CopyConfig, run
from recenv.world import World

LINES = [x for x in read_corpus().split()[0] if x.style == "plain" and not x.needs][:40]
OPTIONS = replace(pretrained.OPTIONS, pool=24, blocks=1, epochs=1, batch=256, max_tokens=16, learning_rate=2e-2)
Copy = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned forty plain lines by heart."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), LINES, width=48, epochs=24)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """Runs the command on a world of four products, with the checkpoint, in a folder of the given name."""
    monkeypatch.setattr(pretrained, "OPTIONS", OPTIONS)
    small_world(copies=0, n_items=4).save(tmp_path / "w")

    def made(out: str, **options: Any) -> dict[str, Any]:
        given = {"generator": ("pretrained",), "pretrained": str(checkpoint), "styles": ("plain",), "variants": 2}
        return run(CopyConfig(world=tmp_path / "w", out=tmp_path / out, model=tmp_path / "kept", **given | options))

    return made


def lines_of(world: str) -> list[dict[str, Any]]:
    return World.load(Path(world)).copies.to_pylist()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("tune", ["none", "lora"])
def test_a_checkpoint_writes_lines_is_kept_and_read_again(
    copy: Copy, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tune: str
) -> None:
    first = copy("a", tune=tune)
    assert f"fitting pretrained:{checkpoint.name}:{tune} to" in capsys.readouterr().out
    lines = lines_of(first["world"])
    own = [x for x in lines if x["generator"] == f"pretrained:{checkpoint.name}:{tune}"]
    assert own
    assert {x["generator"] for x in lines} <= {own[0]["generator"], "templates"}
    assert {x["status"] for x in lines} <= {"auto-passed"}
    assert slot_error([x["text"] for x in lines], ("product", "size", "price")) == 0
    assert all("generator_hash" not in x or len(x["generator_hash"]) == 16 for x in own)
    kept = tmp_path / "kept" / "pretrained"
    assert {p.name for p in kept.iterdir()} == {"fit.json", "generator.json", "model.safetensors"}
    note = json.loads((kept / "fit.json").read_text())
    assert str(checkpoint.parent) not in json.dumps(note)
    assert checkpoint.name in note["trained"]["source"]
    assert note["report"]["epochs"] == (1 if tune == "lora" else 0)
    weights = (kept / "model.safetensors").read_bytes()
    copy("b", tune=tune)
    assert f"pretrained:{checkpoint.name}:{tune} as trained before" in capsys.readouterr().out
    assert (tmp_path / "a" / "copies.parquet").read_bytes() == (tmp_path / "b" / "copies.parquet").read_bytes()
    run(CopyConfig(tmp_path / "w", ("pretrained",), str(checkpoint), tune, model=tmp_path / "anew", variants=2,
                   styles=("plain",), out=tmp_path / "c"))  # fmt: skip
    assert (tmp_path / "anew" / "pretrained" / "model.safetensors").read_bytes() == weights
    assert lines_of(str(tmp_path / "c")) == lines


def test_another_tuning_slot_or_content_is_fitted_anew(
    copy: Copy, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy("a")
    other = write_checkpoint(tmp_path / checkpoint.name, LINES)
    for out, options in (("b", {"slots": ("product",)}), ("c", {"pretrained": str(other)}), ("d", {"seed": 1})):
        capsys.readouterr()
        copy(out, **options)
        assert "fitting pretrained:" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "d" / "copies.parquet").num_rows == 8


def test_templates_fill_what_a_checkpoint_leaves_open_and_it_shares_with_others(copy: Copy, checkpoint: Path) -> None:
    name = f"pretrained:{checkpoint.name}:none"
    made = copy("a", variants=12)
    assert set(made["generators"]) == {name, "templates"}
    assert made["copies"] == 48
    shared = copy("b", generator=("templates", "pretrained"), variants=2)
    assert shared["generators"] == {name: 4, "templates": 4}
    saved = copy("c", pretrained="", checkpoint=Path(made["world"]).parent / "kept" / "pretrained")
    assert name in saved["generators"]


def test_what_is_wrong_is_named(copy: Copy, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("x")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"pretrained": ""}, "option pretrained: is missing"),
        ({"pretrained": "", "tune": "lora"}, "option pretrained: is missing"),
        ({"generator": ("templates",)}, "without its generator"),
        ({"generator": ("templates",), "pretrained": "", "tune": "lora"}, "without its generator"),
        ({"checkpoint": checkpoint}, "with --checkpoint"),
        ({"tune": "full"}, "option tune: 'full'"),
        ({"pretrained": str(tmp_path / "nowhere")}, "no such folder"),
        ({"pretrained": str(tmp_path / "none.gguf")}, "no such file"),
        ({"pretrained": str(tmp_path / "words.txt")}, "no GGUF file"),
        ({"pretrained": str(tmp_path / "empty")}, r"no config\.json"),
        ({"generator": ("transformer", "pretrained"), "pretrained": str(tmp_path / "empty")}, r"no config\.json"),
    ]
    for options, what in cases:
        with pytest.raises((InputError, ArtefactError), match=what):
            copy("never", **options)
    assert not (tmp_path / "never").exists()
    assert not (tmp_path / "kept").exists()


def test_the_command_line_names_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_world(copies=0, n_items=4).save(tmp_path / "w")
    words = ["copy", "--world", str(tmp_path / "w"), "--generator", "pretrained"]
    for more, what in (([], "option pretrained: is missing"), (["--pretrained", "no.gguf"], "there is no such file")):
        with pytest.raises(SystemExit) as stopped:
            main([*words, *more])
        assert stopped.value.code == 2
        assert what in capsys.readouterr().err
