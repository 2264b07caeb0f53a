"""Generate, check, keep: a line reaches the catalogue only if it states no fact of its own and renders cleanly."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from recenv.core.errors import InputError
from recenv.core.render import SLOT_COLUMNS, render, slot_value, slots
from recenv.generators.base import Generator, Row, Variant, digest, requests_for, rows
from recenv.generators.templates import FALLBACK_TEXT

MAX_GRAPHEMES = 90
"""Length limit of the channel "description", counted on the rendered line."""

_PERCENT = frozenset("%‰‱٪％")


@dataclass(frozen=True)
class CopySet:
    """What came through (`kept`), what did not (`rejected`), and how often for which reason."""

    kept: tuple[Variant, ...]
    rejected: tuple[Variant, ...]
    counts: dict[str, int]


def graphemes(text: str) -> int:
    """Visible characters: code points that are neither marks, joiners nor joined to the one before by U+200D."""
    total, joined = 0, False
    for c in unicodedata.normalize("NFC", text):
        extends = unicodedata.category(c) in ("Mn", "Me", "Cf") or "\U0001f3fb" <= c <= "\U0001f3ff"
        total += not (extends or joined)
        joined = c == "\u200d"
    return total


def text_reasons(text: str) -> list[str]:
    """What a line must not hold outside its slots: `digit`, `currency`, `percent`, `control`, `unknown_slot:NAME`."""
    named = slots(text)
    outside = text
    for slot in named:
        outside = outside.replace(f"{{{slot}}}", "")
    kinds = {unicodedata.category(c) for c in outside}
    found = {
        "empty": not text.strip(),
        "digit": any(kind.startswith("N") for kind in kinds),
        "currency": "Sc" in kinds,
        "percent": any(c in _PERCENT for c in outside),
        "control": bool(kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}),
    }
    return [name for name, bad in found.items() if bad] + [
        f"unknown_slot:{slot}" for slot in named if slot not in SLOT_COLUMNS
    ]


def reasons(text: str, item: Row, currency: str = "", limit: int = MAX_GRAPHEMES) -> tuple[str, ...]:
    """Every reason against a line for an item, empty if none.

    Besides `text_reasons`: `missing_slot:NAME` (the item has no such value), `bad_slot:NAME` (its value cannot be
    shown) and `length:COUNT` (rendered, above `limit` graphemes).
    """
    found = text_reasons(text)
    for slot in (s for s in slots(text) if s in SLOT_COLUMNS):
        try:
            if not slot_value(slot, item, currency):
                found.append(f"missing_slot:{slot}")
        except InputError:
            found.append(f"bad_slot:{slot}")
    if not any(reason.partition(":")[0] in ("unknown_slot", "missing_slot", "bad_slot") for reason in found):
        length = graphemes(render(text, item, currency))
        if length > limit:
            found.append(f"length:{length}")
    return tuple(found)


def check(variant: Variant, item: Row, currency: str = "", limit: int = MAX_GRAPHEMES) -> Variant:
    """The variant marked `auto-passed`, or `rejected` with its reasons."""
    found = reasons(variant.text, item, currency, limit)
    return replace(variant, status="rejected" if found else "auto-passed", checks=found)


def write_copies(
    generator: Generator,
    items: pa.Table | Sequence[Row],
    n: int,
    seed: int,
    currency: str = "",
    limit: int = MAX_GRAPHEMES,
) -> CopySet:
    """Up to `n` checked lines for every item.

    Items left short by rejections get more proposals until they have `n` or the generator has no more. An item with
    nothing passed gets the plain line `{product}`; where that too has something against it (a name that is too long by
    itself, say) its state is `needs review`, with the reasons in `checks`.

    Raises:
        InputError: items without id or text, or n below 1.
    """
    pending = rows(items)
    kept: dict[str, list[Variant]] = {str(item["item_id"]): [] for item in pending}
    rejected: dict[str, list[Variant]] = {item_id: [] for item_id in kept}
    catalogue = {str(item["item_id"]): item for item in pending}
    ask, offered = n, dict.fromkeys(kept, 0)
    while pending:
        proposals: dict[str, list[Variant]] = {str(item["item_id"]): [] for item in pending}
        for variant in generator.generate(requests_for(pending), ask, seed):
            proposals[variant.item_id].append(variant)
        for item_id, lines in proposals.items():
            checked = [check(v, catalogue[item_id], currency, limit) for v in lines]
            kept[item_id] = [v for v in checked if v.status == "auto-passed"][:n]
            rejected[item_id] = [v for v in checked if v.status == "rejected"]
        more = [i for i, lines in proposals.items() if len(kept[i]) < n and len(lines) > offered[i]]
        offered.update({i: len(lines) for i, lines in proposals.items()})
        pending, ask = [catalogue[i] for i in more], 2 * ask
    for item_id, lines in kept.items():
        if not lines:
            lines.append(_fallback(generator, catalogue[item_id], seed, currency, limit))
    refused = tuple(v for lines in rejected.values() for v in lines)
    counts = Counter(reason.partition(":")[0] for v in refused for reason in v.checks)
    return CopySet(tuple(v for lines in kept.values() for v in lines), refused, dict(sorted(counts.items())))


def _fallback(generator: Generator, item: Row, seed: int, currency: str, limit: int) -> Variant:
    template = f"plain-{digest(FALLBACK_TEXT)[:8]}"
    found = reasons(FALLBACK_TEXT, item, currency, limit)
    status = "needs review" if found else "auto-passed"
    return Variant(
        str(item["item_id"]), "plain", template, FALLBACK_TEXT, generator.name, generator.hash, seed, status, found
    )
