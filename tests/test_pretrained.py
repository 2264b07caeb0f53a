"""Pretrained checkpoints: a tiny one made here, plain and with LoRA, saved and loaded; what is none is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from helpers_pretrained import write_checkpoint

from recenv.core.errors import ArtefactError, InputError
from recenv.core.render import SLOT_COLUMNS
from recenv.generators import pretrained_checkpoint as module
from recenv.generators.base import make_generator, requests_for
from recenv.generators.corpus import read_corpus
from recenv.generators.pretrained import PretrainedGenerator
from recenv.generators.pretrained_checkpoint import read_checkpoint
from recenv.generators.pretrained_config import PretrainedConfig
from recenv.generators.pretrained_prompt import after_prompt
from recenv.generators.quality import slot_error
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Examples
from recenv.generators.transformer_fit import _batches, token_logs_of
from recenv.generators.vocabulary import Condition

TRAIN, HELD = ([x for x in part if x.style in ("plain", "price")] for part in read_corpus().split())
OPTIONS = TransformerConfig(pool=24, blocks=1, epochs=2, batch=16, learning_rate=5e-3, max_tokens=16)
ITEM = {"item_id": "a", "text": "Bananas", "size": "a bunch", "price": 1.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of random weights with a tokenizer of its own, as `save_pretrained` writes it."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), TRAIN)


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> PretrainedGenerator:
    made = PretrainedGenerator(config=OPTIONS, pretrained=PretrainedConfig(str(checkpoint), shown=3))
    made.fit(TRAIN, HELD, progress=False)
    return made


def test_a_plain_checkpoint_proposes_under_the_constraints(plain: PretrainedGenerator) -> None:
    for style in ("plain", "price"):
        texts = [line.text for line in plain.draw(style, 24, seed=1, temperature=0.7)]
        assert len(texts) == 24
        assert not any(c.isnumeric() or c in "$€£%{}" for t in texts for c in t.replace("{", "").replace("}", "") if c)
        assert slot_error([t for t in texts if "{product}" in t], plain.slots) == 0.0
    made = plain.generate(requests_for([ITEM]), 2, seed=0)
    assert {v.generator for v in made} <= {f"pretrained:{plain.pretrained.label}:none"}


def test_the_prompt_shows_lines_of_the_style_and_slots_are_ordinary_tokens(plain: PretrainedGenerator) -> None:
    prompt = plain.codec.prompt(Condition("plain"))  # type: ignore[attr-defined]
    assert prompt.startswith("Short shop lines, style plain:\n- ")
    assert prompt.count("\n- ") == 3
    for slot, number in plain.codec.slots.items():
        assert plain.codec.encode(f"{{{slot}}}")[-1] == number
        assert f"{{{slot}}}" in plain.codec.decode([number])
    assert set(plain.codec.slots) == set(SLOT_COLUMNS)


def test_what_is_saved_writes_the_same(plain: PretrainedGenerator, tmp_path: Path) -> None:
    plain.save(tmp_path)
    loaded = PretrainedGenerator.load(tmp_path)
    assert loaded.hash == plain.hash
    assert loaded.draw("plain", 8, seed=3) == plain.draw("plain", 8, seed=3)
    assert np.array_equal(loaded.log_prob(HELD), plain.log_prob(HELD))
    settings = json.loads((tmp_path / "generator.json").read_text())
    assert "/" not in settings["pretrained"]["checkpoint"]
    for change in (
        {"model": {"model_type": "nothing"}},
        {"model": 3},
        {"pretrained": {"colour": 1}},
        {"pretrained": None},
        {"vocabulary": {"tokenizer": "{"}},
        {"config": {"colour": 1}},
    ):
        (tmp_path / "generator.json").write_text(json.dumps(settings | change))
        with pytest.raises(ArtefactError, match="settings cannot be read"):
            PretrainedGenerator.load(tmp_path)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_lora_learns_the_lines(checkpoint: Path) -> None:
    tuned = PretrainedGenerator(config=OPTIONS, pretrained=PretrainedConfig(str(checkpoint), tune="lora", rank=4))
    before = torch.random.get_rng_state()
    report = tuned.fit(TRAIN, HELD, seed=0, progress=False)
    assert report["history"][-1]["validation"] < report["history"][0]["validation"]
    assert report["epochs"] == 2
    assert torch.equal(before, torch.random.get_rng_state())
    assert "lora" not in " ".join(tuned.model.state_dict())


def test_a_bare_folder_loads_as_a_generator(checkpoint: Path) -> None:
    made = PretrainedGenerator.load(checkpoint)
    assert made.fitted
    assert "playful" in made.styles


def test_a_hub_id_goes_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str, **options: Any) -> None:
        asked.append((name, options["trust_remote_code"]))
        raise OSError("no network here")

    monkeypatch.setattr(module.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(ArtefactError, match="no network here"):
        read_checkpoint("owner/model")
    assert asked == [("owner/model", False)]


def test_what_is_no_checkpoint_is_named(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((checkpoint / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    (tmp_path / "noise.gguf").write_bytes(bytes(range(200)))
    (tmp_path / "hollow.gguf").touch()
    (tmp_path / "words.txt").write_text("x")
    # Whether the package is here or not: loading what is no GGUF fails by name either way.
    monkeypatch.setattr("recenv.generators.pretrained_config.find_spec", lambda name: name)
    cases = {
        str(tmp_path / "words.txt"): "no GGUF file",
        str(tmp_path / "nowhere"): "no such folder",
        str(tmp_path / "none.gguf"): "no such file",
        str(tmp_path / "empty"): "no config.json",
        str(bare): "no safetensors",
        str(pickled): "no safetensors",
        str(tmp_path / "broken.gguf"): "cannot be loaded",
        str(tmp_path / "noise.gguf"): "is no GGUF file: it begins with",
        str(tmp_path / "hollow.gguf"): "is no GGUF file: it begins with b''",
        "a/b/c": "no such folder",
    }
    for name, what in cases.items():
        with pytest.raises(ArtefactError, match=what):
            read_checkpoint(name)
    with pytest.raises(InputError, match="option pretrained: is missing"):
        PretrainedGenerator().fit(TRAIN, HELD)
    with pytest.raises(InputError, match="shown"):
        PretrainedGenerator(pretrained=PretrainedConfig(str(checkpoint), shown=60)).fit(TRAIN, HELD)


def test_missing_packages_are_named_before_anything_is_loaded(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recenv.generators.pretrained_config.find_spec", lambda name: None)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    for name, tune, what in ((checkpoint, "lora", "peft"), (tmp_path / "a.gguf", "none", "gguf")):
        with pytest.raises(InputError, match=rf"needs .*{what}.*pip install 'recenv\[llm\]'"):
            make_generator("pretrained", pretrained=PretrainedConfig(str(name), tune))
    (tmp_path / "noise.gguf").write_bytes(b"noise")
    with pytest.raises(ArtefactError, match="is no GGUF file"):  # no package would help
        make_generator("pretrained", pretrained=PretrainedConfig(str(tmp_path / "noise.gguf")))
    with pytest.raises(InputError, match="option pretrained"):
        make_generator("transformer", pretrained=PretrainedConfig(str(checkpoint)))
    with pytest.raises(InputError, match="option pretrained: is missing"):
        make_generator("pretrained")


def test_a_prompt_read_once_gives_what_it_gives_before_each_line(plain: PretrainedGenerator) -> None:
    examples = Examples(HELD, plain.codec, plain.config)
    assert len({*(len(plain.codec.prefix(Condition.of(x))) for x in HELD)}) > 1
    with torch_session(0):
        one_by_one = token_logs_of(plain.model, examples)
    together = plain.token_logs(HELD)
    assert [len(x) for x in together] == [len(plain.codec.encode(x.text)) + 1 for x in HELD]
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(one_by_one), atol=1e-4)
    prompt = plain.codec.prefix(Condition("plain"))
    past = after_prompt(plain.model, prompt, 2)
    with torch.no_grad():
        whole = plain.model(input_ids=torch.tensor([prompt])).logits[0, -1]
        last = plain.model(input_ids=torch.tensor([prompt[-1:]] * 2), past_key_values=past).logits[:, -1]
    assert torch.allclose(last, whole.expand(2, -1), atol=1e-4)
    assert after_prompt(plain.model, prompt[:1], 2) is None


def test_lines_of_one_length_are_trained_on_together_and_all_once(plain: PretrainedGenerator) -> None:
    examples = Examples(TRAIN, plain.codec, plain.config)
    lengths = np.array([examples.length(i) for i in range(len(TRAIN))])
    spread = {}
    for alike in (False, True):
        parts = _batches(examples, 8, np.random.default_rng(0), alike)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(TRAIN)))
        assert max(map(len, parts)) == 8
        spread[alike] = sum(len(part) * int(lengths[part].max()) for part in parts)
    assert 0 <= spread[True] - lengths.sum() < 0.3 * (spread[False] - lengths.sum())


def test_provenance_names_checkpoint_and_tuning(checkpoint: Path, tmp_path: Path) -> None:
    names = {
        str(checkpoint): checkpoint.name,
        "owner/model": "owner/model",
        "some/where/Model.Q4.gguf": "Model.Q4.gguf",
        "./a": "a",
    }
    for name, label in names.items():
        assert PretrainedConfig(name, "lora").provenance == f"pretrained:{label}:lora"
    same = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, same)
    assert PretrainedConfig(str(same)).digest() == PretrainedConfig(str(checkpoint)).digest()
    (same / "config.json").write_text((same / "config.json").read_text() + " ")
    assert PretrainedConfig(str(same)).digest() != PretrainedConfig(str(checkpoint)).digest()
    assert PretrainedConfig("owner/model").digest() != PretrainedConfig("owner/other").digest()


@pytest.mark.parametrize("options", [{"tune": "full"}, {"shown": -1}, {"rank": 0}, {"alpha": 0}])
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        PretrainedConfig(**options)
