"""Copy from hand-written lines: every item gets variants of different styles, each a pure function of its key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import ArtefactError, InputError
from recenv.core.render import SLOT_COLUMNS, clean
from recenv.generators.base import Request, Row, Variant, check_asked, digest
from recenv.generators.corpus import Line, fits, read_corpus

FALLBACK_TEXT = "{product}"
"""The line that is left when every other one fails; always among the lines of the style "plain"."""


def usable_slots(item: Row) -> frozenset[str]:
    """Slots that can be filled for an item and read well.

    A name with a digit in it states its size itself ("Soft drink, 2 liter bottle"), so `{size}` would say it twice.
    """
    filled = {slot for slot, column in SLOT_COLUMNS.items() if clean(item.get(column))}
    if any(c.isdigit() for c in str(item.get("text"))):
        filled.discard("size")
    return frozenset(filled)


def check_slots(slots: Iterable[str]) -> frozenset[str]:
    """The slots as a set.

    Raises:
        InputError: unknown slot, or `product` not among the slots.
    """
    wanted = frozenset(slots)
    if wanted - set(SLOT_COLUMNS) or "product" not in wanted:
        mend = f"Choose from {sorted(SLOT_COLUMNS)}; 'product' must be among them"
        raise InputError("slots", f"{sorted(wanted)}", mend)
    return wanted


class TemplateGenerator:
    """Picks lines of the seed corpus for each item.

    An item's styles are taken in the order of uniform draws keyed by (seed, item, style), so each style is equally
    likely to come first and, over the catalogue, styles are spread evenly; within a style lines are ordered likewise.
    Variant k has the (k mod S)-th style, so up to S variants (S styles) never share one. Adding items changes no other
    item's lines. Only lines whose evidence the item has are taken.

    Args:
        slots: facts that lines may ask for. `brand` and `category` are off unless asked for: in many catalogues they
            hold codes that do not read well.
        document: parsed seed file; the packaged one if None.

    Raises:
        InputError: unknown slot, or `product` not among the slots.
    """

    name = "templates"

    def __init__(
        self, slots: Iterable[str] = ("product", "size", "price"), document: dict[str, Any] | None = None
    ) -> None:
        self.slots = check_slots(slots)
        corpus = read_corpus(document)
        self._settle(corpus.lines, corpus.hash)

    def _settle(self, lines: Sequence[Line], source: str) -> None:
        self.lines = tuple(lines)
        self._styles = tuple(dict.fromkeys(line.style for line in lines))
        self.hash = digest(source + repr(sorted(self.slots)))[:16]
        self._by_style = {s: [line for line in lines if line.style == s] for s in self._styles}
        self._style_keys = {s: rng.word(s) for s in self._styles}
        self._keys = {s: np.array([rng.word(t.text) for t in ts], np.int64) for s, ts in self._by_style.items()}

    @property
    def styles(self) -> tuple[str, ...]:
        return self._styles

    def fit(self, rows: Sequence[Line], validation: Sequence[Line], seed: int = 0) -> dict[str, Any]:
        """Take these lines for those of the corpus: nothing is learned. The report counts them."""
        del validation, seed
        self._settle(rows, digest(repr([(line.style, line.text, line.needs) for line in rows])))
        return {"lines": len(rows), "styles": {s: len(lines) for s, lines in self._by_style.items()}}

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        """Up to `n` distinct lines for each item (fewer when the lines that fit the item run out).

        `temperature` has no effect: all lines of a style are equally likely.

        Raises:
            InputError: n is below 1, seed or temperature are none, or a style asked for is unknown.
        """
        check_asked(n, seed, temperature)
        return [self._variant(request, line, seed) for request in requests for line in self._choose(request, n, seed)]

    def log_prob(self, lines: Sequence[Line]) -> NDArray[np.float64]:
        """(n,) log(1 / lines of the style) where the line is one of them, else -inf."""
        own = {(line.style, line.text) for line in self.lines}
        found = [-np.log(len(self._by_style[x.style])) if (x.style, x.text) in own else -np.inf for x in lines]
        return np.array(found, np.float64)

    def save(self, directory: Path) -> None:
        """Write `templates.json`: lines and slots."""
        directory.mkdir(parents=True, exist_ok=True)
        saved = {
            "slots": sorted(self.slots),
            "styles": {
                style: [{"needs": list(line.needs), "lines": [line.text]} for line in lines]
                for style, lines in self._by_style.items()
            },
        }
        text = json.dumps(saved, indent=1, ensure_ascii=False) + "\n"
        (directory / "templates.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> TemplateGenerator:
        """The inverse of `save`.

        Raises:
            ArtefactError: the file is missing, or holds no slots and lines.
        """
        file = directory / "templates.json"
        mend = "Give the folder that `templates` was saved in, or save it again"
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtefactError(str(file), f"cannot be read ({error})", mend) from error
        slots = saved.get("slots") if isinstance(saved, dict) else None
        if not isinstance(slots, list) or not all(isinstance(slot, str) for slot in slots):
            raise ArtefactError(str(file), "no list of slots", mend)
        try:
            return cls(slots, saved)
        except InputError as error:
            raise ArtefactError(str(file), str(error), mend) from error

    def _variant(self, request: Request, line: Line, seed: int) -> Variant:
        return Variant(
            item_id=request.item_id,
            style=line.style,
            template=line.line_id,
            text=line.text,
            generator=self.name,
            generator_hash=self.hash,
            seed=seed,
            log_prob=-float(np.log(len(self._by_style[line.style]))),
            channel=request.channel,
            segment=request.segment,
        )

    def _choose(self, request: Request, n: int, seed: int) -> list[Line]:
        unknown = sorted(set(request.styles) - set(self.styles))
        if unknown:
            raise InputError("styles", f"unknown style {', '.join(unknown)}", f"Choose among {', '.join(self.styles)}")
        styles = [s for s in self.styles if not request.styles or s in request.styles]
        key = rng.word(request.item_id)
        allowed = usable_slots(request.item) & self.slots
        order = np.argsort(rng.uniform(seed, key, np.array([self._style_keys[s] for s in styles])), kind="stable")
        queues = [self._ranked(styles[s], request.item, key, allowed, n, seed) for s in order]
        longest = max((len(q) for q in queues), default=0)
        return [q[turn] for turn in range(longest) for q in queues if turn < len(q)][:n]

    def _ranked(self, style: str, item: Row, key: int, allowed: frozenset[str], n: int, seed: int) -> list[Line]:
        lines = self._by_style[style]
        order = np.argsort(rng.uniform(seed, key, self._keys[style]), kind="stable")
        fitting = (lines[i] for i in order if fits(lines[i], item, allowed))
        return [line for line, _ in zip(fitting, range(n))]
