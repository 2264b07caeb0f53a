"""What can be said of a story and its headlines without reading them: their outer form and the words they share."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_SHORT = 4
"""Shorter words are left out of a story's text: they are mostly function words."""


def headline_form(text: str) -> str:
    """ "question", "quote", "number", "exclamation", "several" (sentences) or "plain": the first that fits."""
    bare = text.strip()
    if bare.endswith("?"):
        return "question"
    if bare[:1] in "\"'“‘" and bare[:1]:
        return "quote"
    if any(c.isdigit() for c in bare):
        return "number"
    if bare.endswith("!"):
        return "exclamation"
    return "several" if re.search(r"[.?!…] +\S", bare) else "plain"


def shared_words(headlines: Sequence[str]) -> str:
    """Words of four letters or more that at least half of the headlines hold, in order of first use; else "story"."""
    order: dict[str, str] = {}
    counts: dict[str, int] = {}
    for headline in headlines:
        words = [word for word in _WORD.findall(headline) if len(word) >= _SHORT]
        for key in dict.fromkeys(word.lower() for word in words):
            counts[key] = counts.get(key, 0) + 1
        for word in words:
            order.setdefault(word.lower(), word)
    kept = [word for key, word in order.items() if 2 * counts[key] >= len(headlines)]
    return " ".join(kept) or "story"
