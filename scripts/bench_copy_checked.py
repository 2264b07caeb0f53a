"""Thousands of transformer lines before a second opinion whose word lists are not the guard's.

    python scripts/bench_copy_checked.py --checkpoint runs/copy/fit0 --lines 10000

Lines are drawn under the constraints, in equal shares over styles and kinds of evidence, for a product that has just
the evidence that the line was asked to rest on. Counted are lines with a fact outside slots (digit, currency, percent,
amount in words), with a claim that nothing supports, with a wrong, missing or repeated slot: as drawn, among those that
the generator offers, and among those that the guard then lets through. The checker lives with the tests.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.generators.base import load_generator
from recenv.generators.guard import guard_reasons
from recenv.generators.tuning import Guard, own_guard

Problems = Callable[[str, Mapping[str, Any]], list[str]]

ROUNDS = 20
"""At most so many rounds of drawing."""
CHECKER = Path(__file__).resolve().parents[1] / "tests" / "independent_checker.py"
PRODUCT = {"item_id": "0", "text": "Bananas", "size": "a bunch", "price": 1.5, "category": "Fruit"}
EVIDENCE = {"price": 1.5, "was_price": 2.0, "offer_ends": "2030-01-01"}
"""Values of evidence columns; the others are true."""


@dataclass(frozen=True)
class CheckedConfig:
    """Check many generated lines."""

    checkpoint: Path
    """Folder of a saved transformer."""
    lines: int = 10_000
    """Lines that have to pass the guard; as many are drawn, in rounds of so many, as that takes."""
    temperature: float = 1.0
    """Of sampling."""
    seed: int = 0
    """Of sampling."""
    checker: Path = CHECKER
    """File with `problems(text, item) -> list[str]`."""
    out: Path | None = None
    """JSON file for the counts."""


def run(config: CheckedConfig) -> dict[str, Any]:
    """Draw, check, count; at most three examples of each kind of problem."""
    check_seed(config.seed)
    check_whole("lines", config.lines)
    generator: Any = load_generator("transformer", config.checkpoint)
    problems, offered = read_checker(config.checker), own_guard(generator)
    counts: dict[str, Counter[str]] = {way: Counter() for way in ("drawn", "offered", "passed the guard")}
    texts: set[str] = set()
    examples: dict[str, list[str]] = {}
    for k in range(ROUNDS):
        if counts["passed the guard"]["lines"] >= config.lines:
            break
        for style, text, needs, good in _draw(generator, offered, config, config.seed + k):
            item = PRODUCT | {need: EVIDENCE.get(need, True) for need in needs}
            kinds = {kind_of(p) for p in problems(text, item)}
            ways = ["drawn"] + ["offered"] * good
            ways += ["passed the guard"] * (good and not guard_reasons(text, item, style, currency="USD"))
            texts.update([text] * (len(ways) == 3))
            for way in ways:
                counts[way].update(["lines", *kinds])
                for kind in kinds:
                    examples.setdefault(f"{way}: {kind}", []).append(f"[{style}] {text}")
    result = {
        "counts": {way: dict(sorted(c.items())) for way, c in counts.items()},
        "distinct": len(texts),
        "examples": {kind: some[:3] for kind, some in sorted(examples.items())},
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if config.out is not None:
        config.out.write_text(text + "\n", encoding="utf-8")
    return result


def _draw(
    generator: Any, offered: Guard, config: CheckedConfig, seed: int
) -> list[tuple[str, str, tuple[str, ...], bool]]:
    """(style, text, evidence, whether the generator would offer it) of one round."""
    made = []
    for k, style in enumerate(generator.styles):
        share = (config.lines - k + len(generator.styles) - 1) // len(generator.styles)
        drawn = generator.draw(style, share, seed, config.temperature)
        made += [(style, line.text, line.needs, bool(x)) for line, x in zip(drawn, offered(drawn))]
    return made


def kind_of(problem: str) -> str:
    """`claim`, `slot` or `fact` for a problem of the checker."""
    if problem.startswith("claim"):
        return "claim"
    return "slot" if any(w in problem for w in ("slot", "product", "earlier price")) else "fact"


def read_checker(path: Path) -> Problems:
    """The function `problems` of a Python file.

    Raises:
        InputError: there is no such file, or it has no such function.
    """
    spec = importlib.util.spec_from_file_location("independent_checker", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"checker {path}", "is no Python file", "Run from a checkout, or name the file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Problems | None = getattr(module, "problems", None)
    if found is None:
        raise InputError(f"checker {path}", "has no function problems", "Name the file of the checker")
    return found


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CheckedConfig))
