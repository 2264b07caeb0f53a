"""Text as the guardrails read it: one canonical form behind all spellings of the same words."""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"\{\w+\}|\w+(?:'\w+)*")
_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")


def canonical(text: str) -> str:
    """Lower-case words and slots with one space before, between and after: " half price : {product} " without marks.

    NFKC (full-width letters become plain ones), accents and format characters removed, hyphens cut.
    """
    folded = unicodedata.normalize("NFKD", text).translate(_APOSTROPHES).casefold()
    kept = "".join(c for c in folded if unicodedata.category(c) not in ("Mn", "Cf"))
    return " " + " ".join(_TOKEN.findall(kept)) + " "
