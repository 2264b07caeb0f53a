"""How good generated lines are: diversity, likeness to references, novelty, slot errors. Plain functions on texts.

Texts are cut into tokens by `tokens`: a slot is one token, words are lower-cased, punctuation marks stand alone. All
functions take 10,000 lines in seconds: counts of n-grams are made once and shared.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from recenv.core.errors import InputError
from recenv.core.render import SLOT_COLUMNS
from recenv.core.render import slots as slots_in

Tokens = tuple[str, ...]
_TOKEN = re.compile(r"\{[^{}]*\}|\w+(?:['’]\w+)*|[^\w\s]")


def tokens(text: str) -> Tokens:
    """Words (lower case), slots and punctuation marks of a text, in order."""
    return tuple(found if found[0] == "{" else found.lower() for found in _TOKEN.findall(text))


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Distinct n-grams over all n-grams of all texts; 0 where there is none.

    (Li et al., "A diversity-promoting objective function for neural conversation models", NAACL 2016, section 5.)
    It rises on word salad: read it beside `bleu`.
    """
    _positive("n", n)
    counts: Counter[Tokens] = Counter()
    for text in texts:
        counts.update(_grams(tokens(text), n))
    total = sum(counts.values())
    return len(counts) / total if total else 0.0


def unique_rate(texts: Sequence[str]) -> float:
    """Distinct texts over texts; 0 where there is none."""
    return len(set(texts)) / len(texts) if texts else 0.0


def novelty(texts: Sequence[str], corpus: Iterable[str]) -> float:
    """Share of texts whose tokens are those of no line of the corpus; 0 where there is no text."""
    known = {tokens(line) for line in corpus}
    return sum(tokens(text) not in known for text in texts) / len(texts) if texts else 0.0


def slot_error(texts: Sequence[str], allowed: Iterable[str] = tuple(SLOT_COLUMNS)) -> float:
    """Share of texts with a wrong slot (unknown, not allowed, lone brace), a slot twice, or without `{product}`."""
    known = frozenset(allowed)

    def wrong(text: str) -> bool:
        found = slots_in(text)
        twice = any(text.count(f"{{{slot}}}") > 1 for slot in found)
        return "product" not in found or not known.issuperset(found) or twice

    return sum(map(wrong, texts)) / len(texts) if texts else 0.0


def bleu(texts: Sequence[str], references: Sequence[str], order: int = 4) -> float:
    """Mean sentence BLEU of each text against all references, in [0, 1].

    BLEU = BP exp(mean_n log p_n), n = 1 .. min(order, length); p_n is the clipped n-gram precision, where a count of 0
    is replaced by 0.1 (Chen and Cherry, "A systematic comparison of smoothing techniques for sentence-level BLEU",
    WMT 2014, method 1); BP is the brevity penalty against the reference of the nearest length (Papineni et al.,
    ACL 2002).

    Raises:
        InputError: no text, no reference, or an order below 1.
    """
    _positive("order", order)
    if not texts or not references:
        raise InputError("bleu", f"{len(texts)} texts, {len(references)} references", "Give at least one of each")
    table = _Table([tokens(r) for r in references], order)
    return float(np.mean([table.score(tokens(text), None) for text in texts]))


def self_bleu(texts: Sequence[str], order: int = 4) -> float:
    """Mean sentence BLEU of each text against all the others, in [0, 1]: high where all say the same.

    (Zhu et al., "Texygen: a benchmarking platform for text generation models", SIGIR 2018.) Exact and linear in the
    number of tokens: of every n-gram the two highest counts and the holder of the first suffice to leave one text out.

    Raises:
        InputError: fewer than two texts, or an order below 1.
    """
    _positive("order", order)
    if len(texts) < 2:
        raise InputError("self_bleu", f"{len(texts)} text", "Give at least two")
    cut = [tokens(text) for text in texts]
    table = _Table(cut, order)
    return float(np.mean([table.score(line, i) for i, line in enumerate(cut)]))


class _Table:
    """Of every n-gram the highest count in a reference, its holder, and the highest count in any other reference."""

    def __init__(self, references: Sequence[Tokens], order: int) -> None:
        self.order = order
        self.top: dict[Tokens, tuple[int, int, int]] = {}
        self.lengths: defaultdict[int, int] = defaultdict(int)
        for holder, line in enumerate(references):
            self.lengths[len(line)] += 1
            for n in range(1, order + 1):
                for gram, count in Counter(_grams(line, n)).items():
                    self._add(gram, count, holder)

    def _add(self, gram: Tokens, count: int, holder: int) -> None:
        first, owner, second = self.top.get(gram, (0, -1, 0))
        if count > first:
            self.top[gram] = (count, holder, first)
        elif count > second:
            self.top[gram] = (first, owner, count)

    def score(self, line: Tokens, out: int | None) -> float:
        """Sentence BLEU of a line against all references, or all but number `out`."""
        if not line:
            return 0.0
        orders = range(1, min(self.order, len(line)) + 1)
        logs = [math.log(self._precision(line, n, out)) for n in orders]
        return self._brevity(len(line), out is not None) * math.exp(sum(logs) / len(logs))

    def _precision(self, line: Tokens, n: int, out: int | None) -> float:
        counts = Counter(_grams(line, n))
        hits = 0
        for gram, count in counts.items():
            first, owner, second = self.top.get(gram, (0, -1, 0))
            hits += min(count, second if out is not None and owner == out else first)
        return (hits or 0.1) / sum(counts.values())

    def _brevity(self, length: int, leave_out: bool) -> float:
        others = [k for k, count in self.lengths.items() if count > (leave_out and k == length)]
        nearest = min(others, key=lambda k: (abs(k - length), k))
        return 1.0 if length >= nearest else math.exp(1.0 - nearest / length)


def _grams(line: Tokens, n: int) -> Iterable[Tokens]:
    return (line[i : i + n] for i in range(len(line) - n + 1))


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise InputError(name, f"{value}", "Give 1 or more")
