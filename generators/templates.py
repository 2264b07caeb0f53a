"""Copy from hand-written templates: every item gets variants of different styles, each a pure function of its key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.core.render import SLOT_COLUMNS, clean
from recenv.core.render import slots as slots_in
from recenv.generators.base import Row, Variant, digest
from recenv.generators.seeds import read_seeds

FALLBACK_TEXT = "{product}"
"""The line that is left when every other one fails; always among the templates of the style "plain"."""


@dataclass(frozen=True)
class Template:
    """One template: style, text with slots, stable id, the slots it needs, and its 63-bit random key."""

    style: str
    text: str

    @property
    def template_id(self) -> str:
        return f"{self.style}-{digest(self.text)[:8]}"

    @property
    def slots(self) -> frozenset[str]:
        return frozenset(slots_in(self.text))

    @property
    def key(self) -> int:
        return word(self.text)


def word(text: str) -> int:
    """A stable 63-bit whole number for a text: a word of a random key."""
    return int(digest(text)[:16], 16) >> 1


def usable_slots(item: Row) -> frozenset[str]:
    """Slots that can be filled for an item and read well.

    A name with a digit in it states its size itself ("Soft drink, 2 liter bottle"), so `{size}` would say it twice.
    """
    filled = {slot for slot, column in SLOT_COLUMNS.items() if clean(item.get(column))}
    if any(c.isdigit() for c in str(item.get("text"))):
        filled.discard("size")
    return frozenset(filled)


class TemplateGenerator:
    """Picks templates for each item.

    An item's styles are taken in the order of uniform draws keyed by (seed, item, style), so each style is equally
    likely to come first and, over the catalogue, styles are spread evenly; within a style templates are ordered
    likewise. Variant k has the (k mod S)-th style, so up to S variants (S styles) never share one. Adding items
    changes no other item's lines.

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
        self.slots = frozenset(slots)
        unknown = self.slots - set(SLOT_COLUMNS)
        if unknown or "product" not in self.slots:
            raise InputError(
                "slots", f"{sorted(self.slots)}", f"Choose from {sorted(SLOT_COLUMNS)}; 'product' must be among them"
            )
        source, raw = (document, repr(document).encode()) if document is not None else read_seeds()
        self.templates = tuple(
            Template(style, text) for style, texts in source["styles"].items() for text in dict.fromkeys(texts)
        )
        self.styles = tuple(source["styles"])
        self.hash = digest(raw + repr(sorted(self.slots)).encode())[:16]
        self._by_style = {s: [t for t in self.templates if t.style == s] for s in self.styles}
        self._style_keys = np.array([word(s) for s in self.styles], np.int64)
        self._keys = {s: np.array([t.key for t in ts], np.int64) for s, ts in self._by_style.items()}
        self._needs = {t: t.slots for t in self.templates}

    def generate(self, items: Sequence[Row], n: int, seed: int) -> list[Variant]:
        """Up to `n` distinct lines for each item (fewer when the templates that fit the item run out).

        Raises:
            InputError: n is below 1.
        """
        if n < 1:
            raise InputError("variants", f"{n}", "Ask for at least 1 variant per item")
        return [
            Variant(str(item["item_id"]), t.style, t.template_id, t.text, self.name, self.hash, seed)
            for item in items
            for t in self._choose(item, n, seed)
        ]

    def _choose(self, item: Row, n: int, seed: int) -> list[Template]:
        key = word(str(item["item_id"]))
        allowed = usable_slots(item) & self.slots
        order = np.argsort(rng.uniform(seed, key, self._style_keys), kind="stable")
        queues = [self._ranked(self.styles[s], key, allowed, n, seed) for s in order]
        longest = max((len(q) for q in queues), default=0)
        return [q[turn] for turn in range(longest) for q in queues if turn < len(q)][:n]

    def _ranked(self, style: str, key: int, allowed: frozenset[str], n: int, seed: int) -> list[Template]:
        templates = self._by_style[style]
        order = np.argsort(rng.uniform(seed, key, self._keys[style]), kind="stable")
        fitting = (templates[i] for i in order if self._needs[templates[i]] <= allowed)
        return [t for t, _ in zip(fitting, range(n))]
