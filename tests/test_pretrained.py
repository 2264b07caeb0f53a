"""Pretrained checkpoints: a tiny one made here, plain and with LoRA, saved and loaded; what is none is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recenv.core.errors import ArtefactError, InputError
from recenv.core.render import SLOT_COLUMNS
from recenv.generators import pretrained as module
from recenv.generators.base import requests_for
from recenv.generators.corpus import read_corpus
from recenv.generators.pretrained import PretrainedConfig, PretrainedGenerator, read_checkpoint
from recenv.generators.quality import slot_error
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.vocabulary import Condition

TRAIN, HELD = ([x for x in part if x.style in ("plain", "price")] for part in read_corpus().split())
OPTIONS = TransformerConfig(pool=24, blocks=1, epochs=2, batch=16, learning_rate=5e-3, max_tokens=16)
ITEM = {"item_id": "a", "text": "Bananas", "size": "a bunch", "price": 1.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of random weights with a tokenizer of its own, as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([x.text for x in TRAIN], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(folder)
    with torch_session(0):
        config = LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=0, pad_token_id=None,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> PretrainedGenerator:
    made = PretrainedGenerator(config=OPTIONS, pretrained=PretrainedConfig(str(checkpoint), shown=3))
    made.fit(TRAIN, HELD, progress=False)
    return made


def test_a_plain_checkpoint_proposes_under_the_constraints(plain: PretrainedGenerator) -> None:
    for style in ("plain", "price"):
        texts = plain.draw(style, 24, seed=1, temperature=0.7)
        assert len(texts) == 24
        assert not any(c.isnumeric() or c in "$€£%{}" for t in texts for c in t.replace("{", "").replace("}", "") if c)
        assert slot_error([t for t in texts if "{product}" in t], plain.slots) == 0.0
    made = plain.generate(requests_for([ITEM]), 2, seed=0)
    assert {v.generator for v in made} <= {"pretrained"}


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


def test_what_is_no_checkpoint_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((checkpoint / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    cases = {
        str(tmp_path / "nowhere"): "no such folder",
        str(tmp_path / "none.gguf"): "no such file",
        str(tmp_path / "empty"): "no config.json",
        str(bare): "no safetensors",
        str(pickled): "no safetensors",
        str(tmp_path / "broken.gguf"): "cannot be loaded",
        "a/b/c": "no such folder",
    }
    for name, what in cases.items():
        with pytest.raises(ArtefactError, match=what):
            read_checkpoint(name)
    with pytest.raises(InputError, match="checkpoint"):
        PretrainedGenerator().fit(TRAIN, HELD)
    with pytest.raises(InputError, match="shown"):
        PretrainedGenerator(pretrained=PretrainedConfig(str(checkpoint), shown=60)).fit(TRAIN, HELD)


@pytest.mark.parametrize("options", [{"tune": "full"}, {"shown": -1}, {"rank": 0}, {"alpha": 0}])
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        PretrainedConfig(**options)
