"""Words: amounts written out, and a closed vocabulary beyond which a person has to look.

A line may use the words of the seed corpus, the everyday words of `seeds/words.json`, and the words of the product's
own attributes. Any other word is no lie by itself, but nobody has said that it is none: `word:WORD` sends the line to
`needs review`, never into a world unseen.
"""

from __future__ import annotations

from functools import lru_cache

from recenv.core.evidence import ATTRIBUTES
from recenv.core.render import clean
from recenv.core.wording import canonical
from recenv.generators.base import Row
from recenv.generators.corpus import read_corpus
from recenv.generators.guard_claims import judged
from recenv.generators.guard_phrases import Phrases
from recenv.generators.seeds import read_seeds

_ENDINGS = ("'s", "s'", "s", "es", "ed", "d", "ing", "ly")


@lru_cache(maxsize=1)
def lexicon() -> frozenset[str]:
    """Words that any line may use: those of the seed corpus and of `seeds/words.json`, lower case."""
    listed = {w for words in read_seeds("words.json")[0]["groups"].values() for w in words}
    written = {w for line in read_corpus().lines for w in canonical(line.text).split() if w[0] != "{"}
    numbers = set(read_seeds("guard.json")[0]["number_words"])  # `amount_reasons` says where they may stand
    return frozenset(listed | written | numbers)


@lru_cache(maxsize=65_536)
def unknown_words(text: str) -> tuple[str, ...]:
    """Words of a canonical text outside the lexicon, regular endings (s, ed, ing, ly) taken off."""
    return tuple(w for w in dict.fromkeys(text.split()) if w[0] != "{" and not w.isdigit() and not _known(w))


def word_reasons(text: str, item: Row) -> list[str]:
    """`word:WORD` for every word of a canonical text that neither the lexicon nor the item's attributes hold.

    What the claim lists know is left to them: an unlocked claim is no unknown word.
    """
    strange = unknown_words(text) and unknown_words(judged(text, item))
    own = attribute_words(item) if strange else frozenset()
    return [f"word:{w}" for w in strange if w not in own]


@lru_cache(maxsize=65_536)
def amount_reasons(text: str) -> tuple[str, ...]:
    """Amounts in words: `number_word:WORDS`, `currency_word:WORDS`, `percent_word:WORDS`, in a canonical text."""
    return tuple(f"{kind}_word:{words}" for kind, phrases in _amounts() for words, _ in phrases.find(text))


def attribute_words(item: Row) -> frozenset[str]:
    """Words of the item's name, brand, category, size and department, canonical."""
    return _split(" ".join(clean(item.get(column)) for column in ATTRIBUTES))


@lru_cache(maxsize=65_536)
def _split(text: str) -> frozenset[str]:
    return frozenset(canonical(text).split())


@lru_cache(maxsize=1)
def _amounts() -> tuple[tuple[str, Phrases], ...]:
    data = read_seeds("guard.json")[0]
    return (
        ("number", Phrases(data["number_words"], data["number_except"])),
        ("currency", Phrases(data["currency_words"], data["currency_except"])),
        ("percent", Phrases((*data["percent_words"], *data["percent_phrases"]))),
    )


def _known(word: str) -> bool:
    known = lexicon()
    return word in known or any(word.endswith(e) and _stem_known(word[: -len(e)], known) for e in _ENDINGS)


def _stem_known(stem: str, known: frozenset[str]) -> bool:
    doubled = len(stem) > 3 and stem[-1] == stem[-2] and stem[:-1] in known
    return len(stem) > 2 and (stem in known or f"{stem}e" in known or doubled)
