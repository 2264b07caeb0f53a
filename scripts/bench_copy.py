"""Copy generators side by side: held-out perplexity, best of 8 against one sample, novelty, likeness, slots, speed.

    python scripts/bench_copy.py --out runs/copy --seeds 3

The transformer generator (a mixture with n-grams) trains on the training lines of the seed corpus less a tenth that
stops it; `transformer-alone` is the first of them without its n-grams. Templates write training lines alone. Perplexity
is on the corpus's held-out tenth, in the transformer's own tokens for every model (`recenv.generators.held_out`); words
that no training line has are one unknown token, whose probability every model must give (second column: left out). A
line is new where it is neither in the corpus nor a training line turned round. One sample and the best of 8 are of the
same draws: the one is each of the 8 in turn, from list to list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.generators.base import GENERATORS, Generator, Row, load_generator, make_generator, requests_for
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.guard import guard_reasons
from recenv.generators.guardrails import write_copies
from recenv.generators.held_out import Scored, differences, score_all
from recenv.generators.quality import bleu, novelty, self_bleu, slot_error, unique_rate
from recenv.generators.transformer_data import turned

ITEM: Row = {
    "item_id": "0", "text": "Bananas", "brand": "Acme", "size": "a bunch", "price": 1.5, "was_price": 2.0,
    "category": "Fruit", "often_bought": True, "bought_again": True, "offer_ends": "2030-01-01", "low_stock": True,
}  # fmt: skip
"""An item with every fact and all evidence, for which sampled lines are checked."""
SLOTS = ("product", "size", "price", "was_price")


@dataclass(frozen=True)
class BenchCopyConfig:
    """Compare copy generators."""

    out: Path = Path("runs/copy")
    """Folder for `copy.json` and `copy.md`; must be new."""
    generators: tuple[str, ...] = ("templates", "transformer")
    """Names of generators; those that can be fitted are."""
    lines: int = 60
    """Lines sampled a style."""
    products: int = 1000
    """Products of the timing."""
    variants: int = 5
    """Lines asked for each product of the timing."""
    temperature: float = 1.0
    """Of sampling."""
    seed: int = 0
    """Of training and sampling; the first one of the transformer's."""
    seeds: int = 3
    """Transformers trained, with seeds from `seed` on."""
    models: Path | None = None
    """Folder of trained transformers (fit0, fit1, ...): read where there, else written; OUT if not given."""


def run(config: BenchCopyConfig) -> dict[str, Any]:
    """Fit, measure, write and return the tables."""
    check_seed(config.seed)
    for name in ("lines", "products", "variants"):
        check_whole(name, getattr(config, name))
    check_whole("seeds", config.seeds)
    config.out.mkdir(parents=True, exist_ok=False)
    train, held_out = read_corpus().split()
    result: dict[str, Any] = {
        "config": {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in asdict(config).items()},
        "lines": len(train),
        "held_out": len(held_out),
        "perplexity": {},
        "differences": {},
        "generators": {},
    }
    scores: list[dict[str, Scored]] = []
    for name in config.generators:
        if name not in GENERATORS:
            raise InputError("option generators", f"unknown name {name!r}", f"Choose among {sorted(GENERATORS)}")
        for seed in range(config.seed, config.seed + (config.seeds if name == "transformer" else 1)):
            began = time.process_time()
            generator, report = _fitted(name, seed, train, config)
            ways = {name: generator}
            if name == "transformer":
                scores.append(score_all(generator, held_out))
                result["perplexity"][str(seed)] = {model: x.table() for model, x in scores[-1].items()}
                result["differences"] = differences(scores)
                if seed == config.seed:
                    ways["transformer-alone"] = generator.alone()
            for way, each in ways.items():
                entry: dict[str, Any] = {"fit": report, "sampled": _sampled(each, train, held_out, seed, config)}
                if seed == config.seed:
                    entry["speed"] = _speed(each, config)
                result["generators"][f"{way} {seed}"] = entry
            (config.out / "copy.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(f"{name} {seed}: {time.process_time() - began:.0f} CPU-seconds", flush=True)
    text = markdown(result)
    (config.out / "copy.md").write_text(text, encoding="utf-8")
    print(text)
    return result


def _fitted(name: str, seed: int, train: Sequence[Line], config: BenchCopyConfig) -> tuple[Any, dict[str, Any]]:
    generator = make_generator(name, SLOTS)
    if not hasattr(generator, "fitted"):
        return generator, generator.fit(train, (), seed)
    folder = (config.models or config.out) / f"{'fit' if name == 'transformer' else name}{seed}"
    if (folder / "generator.json").is_file():
        return load_generator(name, folder), {}
    began = time.process_time()
    report = generator.fit(train, (), seed)
    generator.save(folder)
    return generator, report | {"cpu_seconds": time.process_time() - began}


def _sampled(
    generator: Any, train: Sequence[Line], held_out: Sequence[Line], seed: int, config: BenchCopyConfig
) -> dict[str, dict[str, float]]:
    """Way of sampling -> measures of its lines."""
    if not hasattr(generator, "draw"):
        items = [{**ITEM, "item_id": str(k)} for k in range(config.lines)]
        lines = [
            Line(v.style, v.text)
            for style in generator.styles
            for v in generator.generate(requests_for(items, (style,)), 1, seed, config.temperature)
        ]
        return {"as offered": _measures(lines, train, held_out)}
    free = _draws(generator, config, seed, 8, False)
    bound = _draws(generator, config, seed, 8, True)
    offered = [
        Line(style, line.text)
        for style in generator.styles
        for line in generator.draw(style, 8 * config.lines, seed, config.temperature, verified=True)
    ]
    return {
        "one sample, unconstrained": _measures(_one(free), train, held_out),
        "best of 8, unconstrained": _measures(_best(generator, free), train, held_out),
        "one sample, constrained": _measures(_one(bound), train, held_out),
        "best of 8, constrained": _measures(_best(generator, bound), train, held_out),
        "as offered (verified)": _measures(offered, train, held_out)
        | {"offered_share": len(offered) / (8 * config.lines * len(generator.styles))},
    }


def _draws(generator: Any, config: BenchCopyConfig, seed: int, of: int, constrained: bool) -> list[list[Line]]:
    """For each style `lines` lists of `of` samples."""
    made = []
    for style in generator.styles:
        drawn = generator.draw(style, of * config.lines, seed, config.temperature, constrained)
        # Neighbours come from one batch of one kind of evidence; strides mix the kinds.
        made += [[Line(style, x.text) for x in drawn[k :: config.lines]][:of] for k in range(config.lines)]
    return made


def _one(draws: list[list[Line]]) -> list[Line]:
    """One of each list: the first of the first, the second of the second ..., so that all kinds of evidence come."""
    return [lines[k % len(lines)] for k, lines in enumerate(draws)]


def _best(generator: Any, draws: list[list[Line]]) -> list[Line]:
    """Of each list the likeliest line a token among those with right slots; the first where none has."""
    flat = [line for lines in draws for line in lines]
    lengths = np.array([len(generator.codec.encode(line.text)) + 1 for line in flat])
    logs = iter(generator.log_prob(flat) / lengths)
    best = []
    for lines in draws:
        scored = [(float(next(logs)), line) for line in lines]
        right = [pair for pair in scored if not slot_error([pair[1].text], SLOTS)]
        best.append(max(right, key=lambda pair: pair[0])[1] if right else lines[0])
    return best


def _measures(lines: Sequence[Line], train: Sequence[Line], held_out: Sequence[Line]) -> dict[str, float]:
    texts = [line.text for line in lines]
    corpus = [line.text for line in read_corpus().lines] + [turned(line.text) for line in train]
    if len(texts) < 2:
        return {"lines": len(texts)}
    refused = [bool(guard_reasons(line.text, ITEM, line.style, "description", "USD")) for line in lines]
    return {
        "lines": len(texts),
        "slot_error": slot_error(texts, SLOTS),
        "refused": float(np.mean(refused)),
        "unique": unique_rate(texts),
        "novelty": novelty(texts, corpus),
        "distinct_novelty": novelty(sorted(set(texts)), corpus),
        "self_bleu": self_bleu(texts),
        "self_bleu_distinct": self_bleu(sorted(set(texts))) if len(set(texts)) > 1 else 1.0,
        "bleu_held_out": bleu(texts, [line.text for line in held_out]),
    }


def _speed(generator: Generator, config: BenchCopyConfig) -> dict[str, float]:
    names = ("Bananas", "Cat litter", "AA batteries", "Soft drink, 2 liter bottle", "Greeting card")
    items = [
        {
            "item_id": f"{k:05d}",
            "text": names[k % 5],
            "size": "a box" if k % 3 else None,
            "price": 1.0 + k % 7 if k % 4 else None,
            "was_price": 9.0 if k % 8 == 1 else None,
            "often_bought": k % 6 == 0,
        }
        for k in range(config.products)
    ]
    wall, cpu = time.monotonic(), time.process_time()
    made = write_copies(generator, items, config.variants, config.seed, "USD", temperature=config.temperature)
    return {
        "products": config.products,
        "kept": len(made.kept),
        "distinct": len({v.text for v in made.kept}),
        "rejected": len(made.rejected),
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.monotonic() - wall,
    }


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    rows = [
        "| model | perplexity a token | without unknown words | nats a line | mixture less it, 95 % | chosen |",
        "|---" * 6 + "|",
    ]
    seeds = list(result["perplexity"].values())
    for name in seeds[0] if seeds else ():
        each = [p[name] for p in seeds]
        cells = [_mean([e[k] for e in each]) for k in ("all", "known", "nats_a_line")]
        d = result["differences"].get(name)
        cells.append(f"{d['difference']:.2f} [{d['low']:.2f}, {d['high']:.2f}]" if d else "")
        rows.append(f"| {name} | {' | '.join(cells)} | {'; '.join(sorted({e['choice'] for e in each}))} |")
    names = ("lines", "slot_error", "refused", "unique", "novelty", "distinct_novelty", "self_bleu",
             "self_bleu_distinct", "bleu_held_out")  # fmt: skip
    rows += ["", f"| generator | lines drawn | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for kind in dict.fromkeys(key.split()[0] for key in result["generators"]):
        entries = [e["sampled"] for key, e in result["generators"].items() if key.split()[0] == kind]
        for way in entries[0]:
            cells = [_mean([e[way][n] for e in entries if n in e[way]]) for n in names]
            rows.append(f"| {kind} | {way} | {' | '.join(cells)} |")
    rows += ["", "| generator | products | lines kept | distinct | refused | CPU s | wall s |", "|---" * 7 + "|"]
    for key, entry in result["generators"].items():
        if s := entry.get("speed"):
            cells = [f"{s[n]:.0f}" for n in ("products", "kept", "distinct", "rejected", "cpu_seconds", "wall_seconds")]
            rows.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _mean(values: Sequence[float]) -> str:
    """Mean over seeds, with the lowest and the highest where they differ."""
    if not values:
        return ""
    digits = 0 if min(values) >= 100 else 2 if min(values) > 2 else 3
    mean = f"{np.mean(values):.{digits}f}"
    return mean if max(values) == min(values) else f"{mean} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchCopyConfig))
