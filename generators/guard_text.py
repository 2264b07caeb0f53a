"""Characters: what a line may be written with, and the forms of it in which words are looked for.

Outside its slots a line is English in plain Latin letters and everyday punctuation. Everything else is named: digits,
currency and percent signs, control and direction marks, letters of other scripts, look-alikes, broken encodings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from recenv.core.render import SLOT_COLUMNS, slots
from recenv.core.wording import canonical

_PERCENT = frozenset("%‰‱٪％")
_PUNCTUATION = frozenset(" .,:;?!'’‘\"“”-–—()&…{}")
_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g",
                       "@": "a", "$": "s", "€": "e", "£": "l", "|": ""})  # fmt: skip
_LOOKALIKES = str.maketrans("аеорсухкмтвнһіјѕԁɡʙᴇꜱᴛαεοιντκρυχ", "aeopcyxkmtbhhijsdgbestaeointkpux")
_SPACED = re.compile(r"(?<= )\w(?: \w){2,}(?= )")
_STRETCHED = re.compile(r"(\w)\1{2,}")
_INNER_MARKS = re.compile(r"(?<=[^\W_])[*_.|·]+(?=[^\W_])")


def disguised(text: str) -> tuple[str, ...]:
    """Canonical forms of a line as a reader sees it, where they differ from `canonical` ("fr33", "f r e e")."""
    shown = _INNER_MARKS.sub("", text.casefold().translate(_LOOKALIKES))
    decoded = canonical(_outside_slots(shown, lambda part: part.translate(_LEET)))
    joined = _SPACED.sub(lambda m: m.group().replace(" ", ""), decoded)
    forms = (decoded, joined, _STRETCHED.sub(r"\1\1", joined), _STRETCHED.sub(r"\1", joined))
    plain = canonical(text)
    return tuple(form for form in dict.fromkeys(forms) if form != plain)


def text_reasons(text: str) -> list[str]:
    """What the characters of a line hold against it.

    `empty`, `digit`, `currency`, `percent`, `control`, `unknown_slot:NAME`, `script:HEX` (a letter that is not Latin),
    `character:HEX` (another sign outside everyday punctuation), `emoji`, `encoding` (mojibake), `not_nfc`,
    `spaced_letters`, `stretched_letters`.
    """
    named = slots(text)
    outside = text
    for slot in named:
        outside = outside.replace(f"{{{slot}}}", " ")
    kinds = {unicodedata.category(c) for c in outside}
    found = {
        "empty": not text.strip(),
        "digit": any(kind.startswith("N") for kind in kinds),
        "currency": "Sc" in kinds,
        "percent": any(c in _PERCENT for c in outside),
        "control": bool(kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}),
        "not_nfc": not unicodedata.is_normalized("NFC", text),
        "encoding": _broken(text),
        "spaced_letters": bool(_SPACED.search(canonical(outside))),
        "stretched_letters": bool(_STRETCHED.search(outside)),
    }
    reasons = [name for name, bad in found.items() if bad]
    reasons += [f"unknown_slot:{slot}" for slot in named if slot not in SLOT_COLUMNS]
    return reasons + list(dict.fromkeys(r for r in map(_character, outside) if r))


def _character(c: str) -> str:
    kind = unicodedata.category(c)
    if c in _PUNCTUATION or c in _PERCENT or kind[0] == "N" or kind in ("Sc", "Cc", "Cf", "Cs", "Zl", "Zp"):
        return ""
    if kind[0] in "LM":
        return "" if c <= "\u017f" else f"script:{ord(c):04X}"
    return "emoji" if ord(c) >= 0x1F000 or "\u2600" <= c <= "\u27bf" else f"character:{ord(c):04X}"


def _broken(text: str) -> bool:
    """Whether the text is another encoding's bytes read wrongly ("CafÃ©")."""
    if text.isascii():
        return False
    import ftfy

    return bool(ftfy.fix_encoding(text) != text)


def _outside_slots(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(\{[^{}]*\})", text)
    return "".join(part if part[:1] == "{" else change(part) for part in parts)
