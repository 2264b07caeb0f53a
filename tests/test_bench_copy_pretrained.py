"""The study of pretrained checkpoints: figures that do not hang on how a model cuts lines; a tiny one measured."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from helpers_pretrained import write_checkpoint

from recenv.core.errors import ArtefactError, InputError
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.held_out import MIXTURE
from recenv.generators.pretrained import PretrainedGenerator
from recenv.generators.pretrained_config import PretrainedConfig
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.vocabulary import Vocabulary
from recenv.scripts.bench_copy_pretrained import (
    BenchPretrainedConfig,
    apart,
    drawn,
    fitted,
    held_out_table,
    markdown,
    run,
    spelling,
)  # fmt: skip

TRAIN = [
    Line("plain", text) for text in ("{product}.", "Here: {product}.", "On the list: {product}.", "Hot {product}.")
]
HELD = [Line("plain", "Here: {product}."), Line("plain", "The shelf: {product}.")]


def small() -> SimpleNamespace:
    return SimpleNamespace(codec=Vocabulary.train(TRAIN), known=SimpleNamespace(lines=tuple(TRAIN)))


def test_an_unknown_word_is_paid_for_letter_by_letter() -> None:
    found = spelling(TRAIN, [[], ["shelf"], ["shelf", "hot"], ["toh"]])
    assert found[0] == 0.0
    assert found[2] < found[1] < 0.0
    assert found[1] < math.log(1e-3)
    assert spelling(TRAIN, [["hot"]])[0] > found[3]


def test_models_are_compared_by_the_line_and_the_word() -> None:
    table = held_out_table({MIXTURE: np.array([-3.0, -9.0]), "lora": np.array([-4.0, -8.0])}, HELD, small(), ("lora",))
    assert (table["lines"], table["known_lines"], table["unknown_words"], table["words"]) == (2, 1, 1, 5 + 6)
    mixture, tuned = table["models"][MIXTURE], table["models"]["lora"]
    assert mixture["nats"] == tuned["nats"] == 6.0
    assert mixture["word"] == pytest.approx(math.exp(12 / 11))
    assert mixture["spelled"] == pytest.approx(6.0 - spelling(TRAIN, [["shelf"]])[0] / 2)
    assert tuned["spelled"] == tuned["nats"]
    assert (mixture["known"], tuned["known"]) == (3.0, 4.0)
    assert tuned["less_mixture"]["nats"] == [0.0, -1.0, 1.0]
    assert tuned["less_mixture"]["spelled"][0] < 0.0
    assert mixture["less_mixture"] == {}
    gap = apart(np.full(50, -2.0), np.full(50, -3.0))
    assert gap == [-1.0, -1.0, -1.0]
    with pytest.raises(InputError, match="none to compare"):
        apart(np.zeros(0), np.zeros(0))


def test_what_is_drawn_is_measured_and_written(tmp_path: Path) -> None:
    lines = [x for x in read_corpus().split()[0] if x.style == "plain" and not x.needs][:40]
    checkpoint = write_checkpoint(tmp_path / "tiny", lines, width=48, epochs=16)
    config = BenchPretrainedConfig(str(checkpoint), tmp_path / "out", ("none",), lines=24)
    made = PretrainedGenerator(config=TransformerConfig(max_tokens=16), pretrained=PretrainedConfig(str(checkpoint)))
    made.fit(lines, lines[:4], progress=False)
    made.save(tmp_path / "out" / "none0")
    read, report = fitted("pretrained", "none", PretrainedConfig(str(checkpoint)), lines, config)
    assert (read.hash, report) == (made.hash, {})
    rows, texts = drawn(read, lines, config)
    assert [row["lines"] for row in rows] == ["as drawn", "offered"]
    assert rows[0]["number"] == len(texts["drawn"]) == 24
    assert rows[1]["number"] == len(texts["offered"]) == round(24 * rows[1]["share"])
    assert rows[1]["slot_error"] == 0.0
    assert rows[0]["passed"] == sum(not why for *_, why in texts["drawn"]) / 24
    held = held_out_table({MIXTURE: np.array([-3.0, -9.0]), "none": np.array([-4.0, -8.0])}, HELD, small(), ("none",))
    shown = markdown({"held_out": held, "drawn": [{"model": "none"} | row for row in rows]})
    assert "| none | offered |" in shown
    assert "none less mixture, nats: +0.00 [-1.00, +1.00] nats a line" in shown


def test_a_study_of_nothing_is_named_before_anything_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such folder"):
        run(BenchPretrainedConfig(str(tmp_path / "nowhere"), tmp_path / "out"))
    with pytest.raises(InputError, match="option tune"):
        run(BenchPretrainedConfig(str(tmp_path), tmp_path / "out", ("all",)))
    assert not (tmp_path / "out").exists()
