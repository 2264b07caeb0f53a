"""The seed corpus: lines without facts, their styles, the evidence that a style or line needs, and a held-out tenth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.core.evidence import EVIDENCE, has_evidence
from recenv.core.render import slots as slots_in
from recenv.generators.base import Row, digest
from recenv.generators.seeds import read_seeds

HELD_OUT = 10
"""One line in so many is kept from every generator, by the hash of its text: for perplexity and novelty."""


@dataclass(frozen=True)
class Line:
    """One delexicalised line.

    Attributes:
        style: name of its style. text: with slots. needs: columns of EVIDENCE that the product must have.
        category, segment, channel: what it was written for; "" for any.
    """

    style: str
    text: str
    needs: tuple[str, ...] = ()
    category: str = ""
    segment: str = ""
    channel: str = ""

    @property
    def line_id(self) -> str:
        """Stable id: style and hash of the text."""
        return f"{self.style}-{digest(self.text)[:8]}"

    @property
    def slots(self) -> frozenset[str]:
        """Slots that it asks for."""
        return frozenset(slots_in(self.text))

    @property
    def held_out(self) -> bool:
        """Whether no generator may train on it: a fixed draw by its text, independent of order and of other lines."""
        return bool(rng.bits(0, [rng.word(self.text)])[0] % HELD_OUT == 0)


@dataclass(frozen=True)
class Corpus:
    """Lines with distinct texts, in file order; `hash` names the file's content."""

    lines: tuple[Line, ...]
    hash: str

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles, in order of first use."""
        return tuple(dict.fromkeys(line.style for line in self.lines))

    def split(self) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
        """(training lines, held-out lines)."""
        train = tuple(line for line in self.lines if not line.held_out)
        return train, tuple(line for line in self.lines if line.held_out)


def read_corpus(document: dict[str, Any] | None = None) -> Corpus:
    """The packaged corpus, or a parsed document `{"styles": {style: [{"needs": [...], "lines": [...]}, ...]}}`.

    Raises:
        InputError: the document has another form, an unknown evidence column, or a text twice.
    """
    source, raw = (document, repr(document).encode()) if document is not None else read_seeds()
    lines: list[Line] = []
    for style, groups in _styles(source).items():
        for group in groups:
            needs = tuple(group.get("needs", ()))
            for need in needs:
                if need not in EVIDENCE:
                    raise InputError(f"style {style!r}", f"unknown evidence {need!r}", f"Use {', '.join(EVIDENCE)}")
            lines += [Line(style, text, needs) for text in group["lines"]]
    texts = [line.text for line in lines]
    if len(set(texts)) < len(texts):
        twice = next(t for t in texts if texts.count(t) > 1)
        raise InputError("seed corpus", f"the line {twice!r} stands twice", "Remove one")
    return Corpus(tuple(lines), digest(raw)[:16])


_KEYS: tuple[tuple[str, Any], ...] = (("lines", None), ("needs", []))
"""Keys of a group of lines, and what stands there if not given."""


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _styles(source: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    styles = source.get("styles")
    if not isinstance(styles, dict) or not all(
        isinstance(groups, list)
        and all(isinstance(g, dict) and all(_texts(g.get(key, default)) for key, default in _KEYS) for g in groups)
        for groups in styles.values()
    ):
        what = "no mapping of styles to groups of lines"
        raise InputError("seed corpus", what, 'Write {"styles": {"plain": [{"needs": [], "lines": ["{product}"]}]}}')
    return styles


def fits(line: Line, item: Row, slots: frozenset[str]) -> bool:
    """Whether a line may be used for an item whose fillable slots are `slots`."""
    return line.slots <= slots and all(has_evidence(item, need) for need in line.needs)
