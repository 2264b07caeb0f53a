"""One small transformer on the seed corpus, fitted once a process: most of what a test of copy costs is fitting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from recenv.generators.corpus import Line, read_corpus
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_config import TransformerConfig

TINY = TransformerConfig(
    width=48, layers=1, heads=2, dropout=0.05, word_drop=0.02, rare_drop=0.1, learning_rate=6e-3, epochs=22, slack=2.0,
    pool=48, blocks=3,
)  # fmt: skip


def _first(lines: Iterable[Line], count: int = 45) -> tuple[Line, ...]:
    """The first lines of each style and evidence: some hundreds teach what is tested here."""
    seen: Counter[tuple[str, tuple[str, ...]]] = Counter()
    kept = []
    for line in lines:
        seen[(line.style, line.needs)] += 1
        kept += [line] if seen[(line.style, line.needs)] <= count else []
    return tuple(kept)


_CORPUS = replace(read_corpus(), lines=_first(read_corpus().lines))
TRAIN, HELD = _CORPUS.split()


@lru_cache(maxsize=1)
def fitted() -> TransformerGenerator:
    """With all styles and the slots that most shops have; not to be changed."""
    made = TransformerGenerator(slots=("product", "size", "price", "was_price"), config=TINY)
    made.fit(TRAIN, HELD, seed=1, progress=False)
    return made
