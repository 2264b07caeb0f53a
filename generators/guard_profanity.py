"""Profanity: the list of `glin-profanity` and our own, with what shops sell taken out.

Food has names that such lists hold for rude (rum, loin, breast): `profanity_allow` in `seeds/guard.json` and the words
of the product itself are never profane. Obfuscated spellings are read by the library and by `guard_text.disguised`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from recenv.core.wording import canonical
from recenv.generators.base import Row
from recenv.generators.guard_phrases import Phrases
from recenv.generators.guard_text import disguised
from recenv.generators.guard_voice import read_guard
from recenv.generators.guard_words import attribute_words


def profanity_reasons(text: str, item: Row) -> list[str]:
    """`profanity:WORD` for each profane word of a line that is none of the product's own.

    Raises:
        ModuleNotFoundError: `glin-profanity` (extra `copy`) is not installed.
    """
    found = _profane(text)
    own = attribute_words(item) if found else frozenset()
    return [f"profanity:{w}" for w in found if w not in own]


@lru_cache(maxsize=65_536)
def _profane(text: str) -> tuple[str, ...]:
    forms = (canonical(text), *disguised(text))
    words = [w for form in forms for w, _ in _own_list().find(form)]
    result = _filter().check_profanity(text)
    words += [str(w).casefold() for w in result["profane_words"]]
    return tuple(w for w in dict.fromkeys(words) if w not in read_guard()["profanity_allow"])


@lru_cache(maxsize=1)
def _own_list() -> Phrases:
    return Phrases(read_guard()["profanity_more"])


@lru_cache(maxsize=1)
def _filter() -> Any:
    from glin_profanity import Filter

    # The library's own leetspeak pass reads "price" and slots as words of its own: ours is `disguised`.
    return Filter({"languages": ["english"], "word_boundaries": True})
