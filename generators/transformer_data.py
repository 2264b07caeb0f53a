"""What a transformer learns from lines of the corpus: examples with hidden controls, and batches of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from recenv.core.errors import InputError
from recenv.generators.base import digest
from recenv.generators.corpus import HELD_OUT, Line, read_corpus
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.vocabulary import Condition

IGNORED = -100
"""Target of a position whose loss is not counted."""

_AHEAD = re.compile(r"([^{}.:?!]+): \{product\}\.")
_BEHIND = re.compile(r"\{product\}\. ([^{}.:?!]+)\.")


class Codec(Protocol):
    """Text to token ids and back: `Vocabulary`, or a pretrained checkpoint's tokenizer.

    Attributes:
        end, pad, unknown: ids; `unknown` is -1 where there is none. slots: name -> id. texts: id -> text.
        controls: ids that are no part of a line. closed: whether its words are those of the corpus alone.
    """

    end: int
    pad: int
    unknown: int
    slots: dict[str, int]
    texts: dict[int, str]
    controls: frozenset[int]
    closed: bool

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...

    def prefix(self, condition: Condition) -> list[int]: ...

    def to_json(self) -> dict[str, Any]: ...


def turned(text: str) -> str:
    """ "X: {product}." as "{product}. X." and the other way round; other lines as they are."""
    if found := _AHEAD.fullmatch(text):
        return f"{{product}}. {found[1]}."
    found = _BEHIND.fullmatch(text)
    return f"{found[1]}: {{product}}." if found else text


@lru_cache(maxsize=1)
def held_out_texts() -> frozenset[str]:
    """Texts of the packaged corpus that no generator may train on."""
    return frozenset(line.text for line in read_corpus().split()[1])


def set_aside(rows: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """(training, validation): a fixed tenth by the hash of the text, for a fit that was given no validation lines."""
    aside = [int(digest(f"validation {line.text}")[:8], 16) % HELD_OUT == 0 for line in rows]
    return [x for x, a in zip(rows, aside) if not a], [x for x, a in zip(rows, aside) if a]


def lines_to_fit(name: str, rows: Sequence[Line], validation: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """(training lines, lines to stop by): as given, or a tenth set aside where there are none to stop by.

    Raises:
        InputError: no line, or fewer than 20 to set a tenth of aside.
    """
    lines, held = (list(rows), list(validation)) if validation else set_aside(rows)
    if not lines or not held or (not validation and len(rows) < 20):
        what = f"{len(rows)} lines to train on, {len(validation)} to stop by"
        raise InputError(f"{name} fit", what, "Give at least 20 lines, or lines of both")
    return lines, held


@dataclass(frozen=True)
class Batch:
    """Token ids and targets, (B, T) int64 each, and the attention mask, (B, T) int64."""

    ids: Tensor
    targets: Tensor
    mask: Tensor

    @classmethod
    def of(
        cls, prefixes: Sequence[list[int]], inputs: Sequence[list[int]], targets: Sequence[list[int]], pad: int
    ) -> Batch:
        """Rows padded on the right; the prefix is no target."""
        longest = max(len(p) + len(x) for p, x in zip(prefixes, inputs))

        def padded(row: list[int], value: int) -> list[int]:
            return row + [value] * (longest - len(row))

        ids = [padded(p + x, pad) for p, x in zip(prefixes, inputs)]
        goal = [padded([IGNORED] * len(p) + y, IGNORED) for p, y in zip(prefixes, targets)]
        mask = [padded([1] * (len(p) + len(x)), 0) for p, x in zip(prefixes, inputs)]
        return cls(torch.tensor(ids), torch.tensor(goal), torch.tensor(mask))


class Examples:
    """Training lines with the noise that keeps a model from learning a few hundred lines by heart.

    A line whose turn is a held-out line of the corpus, or one of `keep_out` (the lines that stop a training), is never
    turned: else the turn would show what is to be foretold.
    """

    def __init__(
        self, lines: Sequence[Line], codec: Codec, config: TransformerConfig, keep_out: Sequence[Line] = ()
    ) -> None:
        self.lines, self.codec, self.config = list(lines), codec, config
        unseen = held_out_texts() | {line.text for line in keep_out}
        turns = {line.text: turned(line.text) for line in self.lines}
        self.turns = {text: text if turn in unseen else turn for text, turn in turns.items()}
        self.ids = {text: codec.encode(text) for text in sorted({*self.turns, *self.turns.values()})}
        counts = Counter(n for line in lines for n in self.ids[line.text])
        self.rare = {n for n, c in counts.items() if c == 1} if codec.unknown >= 0 else set()

    def length(self, position: int) -> int:
        """Tokens of a line and of its condition."""
        line = self.lines[position]
        return len(self.codec.prefix(Condition.of(line))) + len(self.ids[line.text]) + 1

    def batch(self, index: Iterable[int], noise: np.random.Generator | None) -> Batch:
        """Lines by position; with `noise` controls are hidden and words dropped, without they are as they are."""
        chosen = [self._one(self.lines[i], noise) for i in index]
        return Batch.of([c[0] for c in chosen], [c[1] for c in chosen], [c[2] for c in chosen], self.codec.pad)

    def _one(self, line: Line, noise: np.random.Generator | None) -> tuple[list[int], list[int], list[int]]:
        codec, config = self.codec, self.config
        if noise is None:
            ids = [*self.ids[line.text], codec.end]
            return codec.prefix(Condition.of(line)), ids, ids
        text = self.turns[line.text] if noise.random() < config.turn else line.text
        hidden: dict[str, Any] = {
            f.name: f.default
            for f in fields(Condition)
            if noise.random() < (config.style_drop if f.name == "style" else config.control_drop)
        }
        ids = [*self.ids[text], codec.end]
        if codec.unknown >= 0:
            drawn = noise.random((2, len(ids)))
            ids = [codec.unknown if n in self.rare and u < config.rare_drop else n for n, u in zip(ids, drawn[0])]
            inputs = [codec.unknown if u < config.word_drop else n for n, u in zip(ids, drawn[1])]
        else:
            inputs = ids
        return codec.prefix(replace(Condition.of(line), **hidden)), inputs, ids
