"""Word lists as patterns: words and phrases looked for in a canonical text, with wordings in which they count not.

Notation of a phrase: words with one space between; `a|b` is a choice between words, `_` any one word, `{}` any slot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SLOT = r"\{\w+\}"
Span = tuple[int, int]


class Phrases:
    """Words and phrases, found where they stand whole in a canonical text (`guard_text.canonical`).

    A hit counts as harmless only where it lies wholly inside one of the `exceptions`.
    """

    def __init__(self, phrases: Iterable[str], exceptions: Iterable[str] = ()) -> None:
        self._pattern = _any_of(phrases)
        self._exceptions = _any_of(exceptions)

    def find(self, text: str) -> Iterator[tuple[str, Span]]:
        """(words as they stand, (start, end)) of every hit, left to right."""
        harmless: list[Span] | None = None
        for match in self._pattern.finditer(text) if self._pattern else ():
            if harmless is None:
                harmless = self.harmless(text)
            start, end = match.span(1)
            if not any(a <= start and end <= b for a, b in harmless):
                yield match.group(1), (start, end)

    def harmless(self, text: str) -> list[Span]:
        """(start, end) of every wording in which a word of the list counts not."""
        return [m.span(1) for m in self._exceptions.finditer(text)] if self._exceptions else []

    def first(self, text: str) -> str | None:
        """The first hit's words, or None."""
        return next((words for words, _ in self.find(text)), None)


def _any_of(phrases: Iterable[str]) -> re.Pattern[str] | None:
    # Longest first, so that a wording is reported whole; a look-ahead, so that hits may share words.
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(f"(?= ({'|'.join(_expression(p) for p in ordered)}) )") if ordered else None


def _expression(phrase: str) -> str:
    return " ".join(_token(token) for token in phrase.split())


def _token(token: str) -> str:
    if token == "_":
        return r"\S+"
    if token == "{}":
        return _SLOT
    return "(?:" + "|".join(re.escape(part) for part in token.split("|")) + ")"
