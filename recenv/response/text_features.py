"""What a text looks like to the copy-effect model: hashed n-grams and its form. Needs no download.

Slots (`{product}`) are no part of the text: what an item is belongs to the item, not to its copy.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack

BUCKETS = 1 << 14
"""Buckets of each family of n-grams (words, characters)."""
CHARACTERS = (2, 3, 4, 5)
_SLOT = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[?!\"“”]|\.\.\.|…")

FORM = (
    "characters", "words", "mean word length", "question marks", "exclamation marks", "full stops", "commas",
    "quotation marks", "colons", "ellipses", "any digit", "words in capitals", "apostrophes", "any hyphen",
    "share of lower-case words", "begins with a quotation", "ends with a mark", "words squared",
)  # fmt: skip
"""Names of the form features, in order."""


def without_slots(text: str) -> str:
    """The text with its slots, and the spaces around them, taken out."""
    return " ".join(_SLOT.sub(" ", text).split())


def ngram_features(texts: Sequence[str]) -> csr_matrix:
    """(n, 2 BUCKETS) float64: words and pairs of words, then 2 to 5 characters within a word.

    A count c enters as 1 + log c at the bucket CRC-32 mod BUCKETS; each family's row has Euclidean length 1.
    """
    return csr_matrix(hstack([_hashed([_words(t) for t in texts]), _hashed([_characters(t) for t in texts])]))


def form_features(texts: Sequence[str]) -> NDArray[np.float64]:
    """(n, len(FORM)) float64: length, punctuation, capitals; see `FORM`."""
    return np.array([_form(without_slots(t)) for t in texts], np.float64).reshape(len(texts), len(FORM))


def _tokens(text: str) -> list[str]:
    return [found.lower() for found in _TOKEN.findall(without_slots(text))]


def _words(text: str) -> Iterator[str]:
    found = _tokens(text)
    yield from (f"w{token}" for token in found)
    yield from (f"b{a} {b}" for a, b in pairwise(found))


def _characters(text: str) -> Iterator[str]:
    for token in _tokens(text):
        padded = f" {token} "
        for n in CHARACTERS:
            yield from (f"c{padded[i : i + n]}" for i in range(len(padded) - n + 1))


def _hashed(grams: Sequence[Iterator[str]]) -> csr_matrix:
    pointer, index, value = [0], [], []
    for line in grams:
        counts = Counter(zlib.crc32(gram.encode("utf-8", "surrogatepass")) % BUCKETS for gram in line)
        index += list(counts)
        value += [1.0 + np.log(c) for c in counts.values()]
        pointer.append(len(index))
    shape = (len(grams), BUCKETS)
    table = csr_matrix((np.array(value, np.float64), np.array(index, np.int64), np.array(pointer)), shape=shape)
    length = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    return csr_matrix(diags(1.0 / np.maximum(length, 1e-12)) @ table)


def _form(text: str) -> list[float]:
    words = _WORD.findall(text)
    n = max(len(words), 1)
    return [
        len(text),
        len(words),
        sum(map(len, words)) / n,
        text.count("?"),
        text.count("!"),
        text.count("."),
        text.count(","),
        text.count('"') + text.count("“"),
        text.count(":"),
        text.count("...") + text.count("…"),
        any(c.isdigit() for c in text),
        sum(w.isupper() and len(w) > 1 for w in words),
        text.count("'"),
        "-" in text,
        sum(w[0].islower() for w in words) / n,
        text.startswith(('"', "“")),
        text.endswith((".", "?", "!")),
        len(words) ** 2 / 100,
    ]
