"""The form of a text in which words are looked for, and looking for them: lists and products speak the same way."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORDS = re.compile(r"\{\w+\}|\w+(?:'\w+)*")
_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")


def canonical(text: str) -> str:
    """Lower-case words and slots with one space before, between and after: " half price {product} ".

    NFKD (full-width letters become plain ones), accents, format characters and punctuation removed, hyphens cut.
    """
    folded = unicodedata.normalize("NFKD", text).translate(_APOSTROPHES).casefold()
    kept = "".join(c for c in folded if unicodedata.category(c) not in ("Mn", "Cf"))
    return " " + " ".join(_WORDS.findall(kept)) + " "


@lru_cache(maxsize=4096)
def whole(words: str) -> re.Pattern[str]:
    """Matches exactly these canonical words where they stand whole in a canonical text."""
    return re.compile(rf"(?<= ){re.escape(words)}(?= )")
