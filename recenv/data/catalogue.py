"""Display names for catalogues whose text is coded: upper case, abbreviated, cut at a field's width.

A source brings two tables of its own: whole codes with their names, and abbreviations with the words they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

_BRACKETS = re.compile(r"\([^)]*\)?")
_TOKEN = re.compile(r"[A-Z0-9][A-Z0-9%.'#]*")
_JOINT = re.compile(r"\s*[/&]+\s*")
_BREAK = re.compile(r"\s*(?::|\s-\s|-(?=\s|$)|,)\s*")
_SIZE = re.compile(r"(\d+ \d+/\d+|\d+-\d+|\d*\.\d+|\d+)?\s*([A-Z][A-Z ]*)$")
_UNITS: dict[str, tuple[str, str]] = {
    "OZ": ("oz", "oz"),
    "OZS": ("oz", "oz"),
    "LB": ("lb", "lb"),
    "LB BAG": ("lb bag", "lb bag"),
    "OZ CAN": ("oz can", "oz can"),
    "L": ("liter", "liter"),
    "ML": ("ml", "ml"),
    "GA": ("gallon", "gallons"),
    "GAL": ("gallon", "gallons"),
    "QT": ("quart", "quarts"),
    "PT": ("pint", "pints"),
    "CT": ("count", "count"),
    "PK": ("pack", "pack"),
    "DZ": ("dozen", "dozen"),
    "DOZ": ("dozen", "dozen"),
    "FT": ("ft", "ft"),
    "SQ FT": ("sq ft", "sq ft"),
    "IN": ("in", "in"),
    "YD": ("yd", "yd"),
    "PC": ("piece", "pieces"),
    "LD": ("load", "loads"),
    "STEM": ("stem", "stems"),
    "CTN": ("carton", "cartons"),
}


@dataclass(frozen=True)
class Lexicon:
    """How to read the codes of one catalogue.

    Args:
        names: whole code -> display name; a code that means different things in different categories has the key
            `CATEGORY|CODE`.
        words: one coded word -> the words it stands for ("" drops it).
        width: codes of this many characters were cut by the source: a last word that `words` does not know is dropped.
    """

    names: Mapping[str, str]
    words: Mapping[str, str] = field(default_factory=dict)
    width: int = 0


def parse_table(text: str) -> dict[str, str]:
    """Read `CODE=name; CODE=name; ...`; line ends count as blanks.

    Raises:
        ValueError: an entry without `=`, or a code given twice.
    """
    table: dict[str, str] = {}
    for entry in filter(None, (" ".join(part.split()) for part in text.split(";"))):
        code, equals, name = entry.partition("=")
        if not equals or code in table:
            raise ValueError(f"table entry {entry!r} has no '=' or occurs twice")
        table[code] = name
    return table


def readable(code: str, lexicon: Lexicon) -> str:
    """The display name of a code by rule alone: brackets dropped, abbreviations written out, sentence case."""
    plain = _BRACKETS.sub(" ", code).upper()
    if lexicon.width and len(code) >= lexicon.width and plain.strip() == code.strip():
        head, _, last = plain.strip().rpartition(" ")
        plain = plain if last in lexicon.words or not head else head
    parts = []
    for part in _BREAK.split(_JOINT.sub(" AND ", plain)):
        words = [lexicon.words.get(token, token.lower()) for token in _TOKEN.findall(part)]
        parts.append(re.sub(r"(^and | and$)", "", " ".join(filter(None, words))))
    return sentence(", ".join(filter(None, parts)))


def display_name(code: str | None, lexicon: Lexicon, category: str | None = None, missing: str = "Other") -> str:
    """The display name of a code: by `CATEGORY|CODE`, by the code, else by rule; `missing` where there is no code."""
    if not isinstance(code, str) or not code.strip():
        return missing
    key = " ".join(code.split())
    for name in (f"{category}|{key}", key):
        if name in lexicon.names:
            return sentence(lexicon.names[name])
    return readable(key, lexicon) or missing


def sentence(text: str) -> str:
    """The text with its first letter raised; the others as they are."""
    return text[:1].upper() + text[1:]


def size_text(code: str | None) -> str:
    """A package size as people write it: `L    8 OZ` -> `8 oz`, `10/6.75 OZ` -> `10 x 6.75 oz`, `1 DZ` -> `1 dozen`.

    Leading shelf-tag letters, bracketed case codes and article numbers are dropped; an unknown unit gives "".
    """
    if not isinstance(code, str):
        return ""
    plain = re.sub(r"\([^)]*\)|^[A-Z]\s+(?=[\d.])", " ", code.upper()).strip()
    several = re.fullmatch(r"(\d+)(?:\s*PK)?/(.+)", plain) if not re.match(r"\d+ \d+/", plain) else None
    if several:
        each = size_text(several[2])
        return f"{several[1]} x {each}" if each else ""
    reverse = re.fullmatch(r"([^/]+ OZ)/(\d+) PK", plain)
    if reverse:
        return f"{reverse[2]} x {size_text(reverse[1])}"
    return _one_size(plain)


def size_amount(text: str) -> tuple[float, str]:
    """Number and unit of a `size_text` of one package; (0, "") where it has none or several."""
    match = re.fullmatch(r"(?:\d+-)?(\d+(?:\.\d+)?) (\D+)", text)
    return (float(match[1]), match[2]) if match and " x " not in text else (0.0, "")


def _one_size(plain: str) -> str:
    match = _SIZE.fullmatch(plain)
    unit = _UNITS.get(" ".join(match[2].split())) if match else None
    if match is None or unit is None:
        return ""
    amount = match[1] or "1"
    if "-" in amount:
        return f"{amount} {unit[1]}"
    number = float(sum(Fraction(part) for part in amount.split()))
    if number > 5000:  # an article number, not an amount
        amount, number = "1", 1.0
    return f"{number:g} {unit[0] if number == 1 else unit[1]}"
