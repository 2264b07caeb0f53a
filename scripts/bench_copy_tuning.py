"""Reward tuning of the transformer, by two methods, with the gate's verdict.

    python scripts/bench_copy_tuning.py --checkpoint runs/copy/fit0

The pass rate is the guard's, which knows nothing of grammar. Tuned is the transformer alone, without its n-grams.
The reward is what the shipped model of wording a(text), fitted on news headline tests, expects of a line: the log of
the factor by which it lifts the click rate. It stands in for a shop's own copy effect. A third row has a reward that
invites cheating (short lines) without a leash: the gate has to refuse it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_seed
from recenv.core.evidence import EVIDENCE
from recenv.generators.base import load_generator
from recenv.generators.corpus import Line
from recenv.generators.guard import guard_reasons
from recenv.generators.tuning import Gate, Measured, TuningConfig, reinforce_tune, rejection_tune
from recenv.response.text_effect import shipped
from recenv.scripts.bench_copy import ITEM


@dataclass(frozen=True)
class BenchTuningConfig:
    """Compare methods of reward tuning."""

    checkpoint: Path
    """Folder of a saved transformer."""
    out: Path | None = None
    """JSON file for the table."""
    seed: int = 0
    """Of sampling."""
    only: str = ""
    """Only methods whose name begins like this."""
    judged: int = 60
    """Lines a style on which the gate measures."""


def wording(lines: Sequence[Line]) -> NDArray[np.float64]:
    """(n,) what the shipped a(text) says of each line, at the spread of real headlines (`TextEffect.for_shop`)."""
    return np.asarray(shipped().for_shop([line.text for line in lines]), np.float64)


def short(lines: Sequence[Line]) -> NDArray[np.float64]:
    """(n,) minus the number of characters; far below for a line without the product."""
    return np.array([-len(x.text) if x.text.count("{product}") == 1 else -200.0 for x in lines], np.float64)


def guarded(lines: Sequence[Line]) -> NDArray[np.bool_]:
    """(n,) whether the guard has no reason against each, for an item with every fact and just the line's evidence."""
    evidence = {*EVIDENCE} - {"price"}
    bare = {k: v for k, v in ITEM.items() if k not in evidence}
    items = [bare | {need: ITEM[need] for need in line.needs} for line in lines]
    return np.array([not guard_reasons(x.text, item, x.style, currency="USD") for x, item in zip(lines, items)], bool)


def run(config: BenchTuningConfig) -> dict[str, Any]:
    """Tune, measure, print the table."""
    check_seed(config.seed)
    base: Any = load_generator("transformer", config.checkpoint)
    options = {"judged": config.judged}
    tries: list[tuple[str, Any]] = [
        ("rejection, a(text)", lambda: rejection_tune(base, wording, TuningConfig(**options), config.seed, guarded)),
        (
            "gentle rejection, a(text)",
            lambda: rejection_tune(
                base,
                wording,
                TuningConfig(rounds=1, epochs=2, fresh=0.2, learning_rate=1e-4, **options),
                config.seed,
                guarded,
            ),
        ),
        (
            "REINFORCE, a(text), leash .1",
            lambda: reinforce_tune(base, wording, TuningConfig(rounds=12, **options), config.seed, guarded),
        ),
        (
            "REINFORCE, shortness, no leash",
            lambda: reinforce_tune(
                base, short, TuningConfig(rounds=12, leash=0.0, learning_rate=3e-3, **options), config.seed, guarded
            ),
        ),
    ]
    table: dict[str, Any] = {}
    print("| method | reward | guard pass rate | self-BLEU | unique | verdict |\n" + "|---" * 6 + "|")
    for name, tune in tries:
        if not name.startswith(config.only):
            continue
        gate: Gate = tune()[1]
        table[name] = asdict(gate) | {"accepted": gate.accepted}
        print(row(name, gate.before, gate.after, gate.reasons), flush=True)
        if config.out is not None:
            config.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return table


def row(name: str, before: Measured, after: Measured, reasons: Sequence[str]) -> str:
    """One line of the table."""
    pairs = [("reward", 4), ("passed", 3), ("self_bleu", 3), ("unique", 3)]
    cells = [f"{getattr(before, k):.{d}f} -> {getattr(after, k):.{d}f}" for k, d in pairs]
    return f"| {name} | {' | '.join(cells)} | {'refused: ' + '; '.join(reasons) if reasons else 'accepted'} |"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchTuningConfig))
