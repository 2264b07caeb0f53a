"""A second opinion on generated copy: word lists and rules of its own, written apart from the guard's, sharing no code.

It reads a delexicalised line and what its product is known to have, and says what is wrong: a digit, currency or number
outside the slots, a claim that nothing on the product supports, a slot that is wrong, missing or repeated. It is blunt
on purpose: it looks for parts of words wherever they stand, and knows a short list of harmless uses.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SLOTS = {"product": "text", "brand": "brand", "size": "size", "price": "price", "was_price": "was_price",
         "category": "category"}  # fmt: skip
_SLOT = re.compile(r"\{([a-z_]+)\}")

_LISTS = json.loads((Path(__file__).parent / "redteam" / "checker.json").read_text(encoding="utf-8"))
# Roots of words, looked for at the start of any word: `never` is supported by nothing on a product of these tests, each
# entry of `if` by any of its columns.


def problems(text: str, item: Mapping[str, Any]) -> list[str]:
    """What is wrong with a line for an item; empty if nothing is."""
    named = _SLOT.findall(text)
    outside = " " + re.sub(r"\s+", " ", _SLOT.sub(" . ", text)).casefold().replace("’", "'").strip() + " "
    found = []
    found += [f"wrong slot {s}" for s in named if s not in SLOTS]
    found += ["a brace outside slots"] * any(c in "{}" for c in _SLOT.sub("", text))
    found += ["no product"] * ("product" not in named)
    found += [f"slot {s} twice" for s in set(named) if named.count(s) > 1]
    found += [f"nothing for slot {s}" for s in named if s in SLOTS and _missing(item.get(SLOTS[s]))]
    if "was_price" in named and not _has(item, "was_price"):
        found.append("an earlier price that is not above the present one")
    kinds = {unicodedata.category(c) for c in outside}
    found += ["a digit"] * any(k in ("Nd", "No", "Nl") for k in kinds)
    found += ["a currency sign"] * ("Sc" in kinds) + ["a percent sign"] * ("%" in outside)
    return found + _amounts(outside) + _claims(outside, item) + _denied(outside) + _swapped(text, item)


def _amounts(outside: str) -> list[str]:
    for fine in _LISTS["amounts_fine"]:
        outside = outside.replace(fine, " ")
    return [f"amount {w}" for w in re.findall(r"[a-z']+", outside) if w in _LISTS["amounts"]]


def _claims(outside: str, item: Mapping[str, Any]) -> list[str]:
    bare = outside
    for fine in _LISTS["harmless"]:
        bare = bare.replace(fine, " ")
    found = [f"claim {root}" for root in _LISTS["never"] if re.search(rf"(?<![a-z]){re.escape(root)}", bare)]
    bare = outside
    for fine in _LISTS["fine"]:
        bare = bare.replace(fine, " ")
    for rule in _LISTS["if"]:
        columns = rule["any_of"]
        if not any(_has(item, column) for column in columns):
            found += [
                f"claim {root} without {columns}" for root in rule["roots"] if re.search(rf"(?<![a-z]){root}", bare)
            ]
    return found


def _denied(outside: str) -> list[str]:
    """What no product that is sold can have said of it."""
    for fine in _LISTS["denied_fine"]:
        outside = outside.replace(fine, " ")
    return [f"claim against the product: {words}" for words in _LISTS["denied"] if words in outside]


def _swapped(text: str, item: Mapping[str, Any]) -> list[str]:
    """A present price right behind words for the earlier one, or "now" with a price that was never another."""
    bare = re.sub(r"\{was_price\},? (?:is |on the )?(?:crossed out|old tag|old label)", " ", text.casefold())
    wrong = [w for w in _LISTS["was"] if re.search(rf"{w}[^a-z{{]*\{{price\}}", bare)]
    found = [f"wrong slot price behind {words!r}" for words in wrong]
    reduced = any(_has(item, column) for column in ("was_price", "offer_ends"))
    if not reduced and re.search(r"(?<![a-z])now[ ,:]+\{price\}|\{price\} now(?! you)", bare):
        found.append("claim of a new price without an earlier one")
    return found


def _missing(value: Any) -> bool:
    return value is None or value != value or not str(value).strip()


def _has(item: Mapping[str, Any], column: str) -> bool:
    value = item.get(column)
    if _missing(value) or value is False:
        return False
    if column == "was_price":
        price = item.get("price")
        return not _missing(price) and price < value < float("inf")
    return True
