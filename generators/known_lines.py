"""What the training lines tell of lines to come: who may say what, and which tokens stand side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from recenv.core.errors import InputError
from recenv.core.evidence import has_evidence
from recenv.generators.base import Row
from recenv.generators.corpus import Line
from recenv.generators.transformer_data import turned
from recenv.generators.vocabulary import cut

_EDGE = "|"
_MARKS = frozenset(",:;.(?!|")
_ENDS = frozenset(".:?!;()|")


@dataclass(frozen=True)
class Group:
    """Lines of one style on the same evidence.

    Attributes:
        style, needs: theirs. always: slots that each of them has. words: pieces (lower case) that lines may hold which
            rest on no other evidence than `needs`. own: pieces of lines with exactly these needs.
    """

    style: str
    needs: tuple[str, ...]
    always: frozenset[str]
    words: frozenset[str]
    own: frozenset[str]

    def open_to(self, item: Row, slots: frozenset[str]) -> bool:
        """Whether an item has the evidence, and can fill the slots without which the lines would make no sense."""
        return self.always <= slots and all(has_evidence(item, need) for need in self.needs)


class Known:
    """What the training lines tell of lines to come: groups, and which tokens stand side by side.

    Raises:
        InputError: no line.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        if not lines:
            raise InputError("corpus", "no line to train on", "Give the lines of the corpus")
        self.lines = tuple(lines)
        self.styles = tuple(dict.fromkeys(line.style for line in lines))
        texts = [(line, turned(line.text)) for line in lines]
        self.bare = {(line.style, _facts(line.text)) for line in lines if not _wording(line.text)}
        self.asking = {s for s in self.styles if all("?" in line.text for line in lines if line.style == s)}
        self.wordings: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
        for line in lines:
            self.wordings[_wording(line.text)].add(line.style)
        both = [text for line, other in texts for text in (line.text, other)]
        self.runs = {run for text in both for n in (2, 3, 4) for run in _runs(text, n)}
        self.openings = {opening for text in both for opening in _openings(text)}

    @cached_property
    def groups(self) -> dict[str, tuple[Group, ...]]:
        """Style -> its groups."""
        keys = dict.fromkeys((line.style, tuple(sorted(line.needs))) for line in self.lines)
        made = [self._group(style, needs) for style, needs in keys]
        return {style: tuple(g for g in made if g.style == style) for style in self.styles}

    def _group(self, style: str, needs: tuple[str, ...]) -> Group:
        own = [x for x in self.lines if x.style == style and set(x.needs) == set(needs)]
        return Group(
            style,
            needs,
            frozenset.intersection(*(x.slots for x in own)),
            _words(x for x in self.lines if set(x.needs) <= set(needs)),
            _words(x for x in self.lines if set(x.needs) == set(needs)),
        )

    def unseen(self, text: str) -> int:
        """Runs of two to four tokens, edges counted as tokens, that no training line has, turned or not: a sign of bad
        grammar. New runs of three are free where they hold a slot after a mark ("bunch, {price}."), of four where they
        hold a slot: that is how a line gets a price or size that had none, and clauses of two lines come together.
        A clause counts, too, whose first two tokens open none that ends like it, asking or not ("Do you need it.").
        """
        new = [run for n in (2, 3, 4) for run in _runs(text, n) if run not in self.runs]
        return sum(not _free(run) for run in new) + sum(opening not in self.openings for opening in _openings(text))

    def off_style(self, text: str, style: str) -> bool:
        """Whether it reads as of another style. Of a style whose lines all ask: it does not ask. Of others: its words,
        without slots and marks, are those of lines of other styles alone; or it has none, and no line of its style as
        few facts.
        """
        if style in self.asking:
            return "?" not in text
        words = _wording(text)
        if not words:
            return not any(s == style and facts <= _facts(text) for s, facts in self.bare)
        found = self.wordings.get(words)
        return found is not None and style not in found


def _wording(text: str) -> tuple[str, ...]:
    return tuple(p.lower() for p in cut(text) if p[0].isalnum())


def _facts(text: str) -> frozenset[str]:
    return frozenset(p for p in cut(text) if p[0] == "{")


def _free(run: tuple[str, ...]) -> bool:
    if len(run) == 4:
        return any(piece[0] == "{" for piece in run)
    return len(run) == 3 and any(b[0] == "{" and (a in _MARKS or a[0] == "{") for a, b in pairwise(run))


def _words(lines: Iterable[Line]) -> frozenset[str]:
    return frozenset(piece.lower() for line in lines for piece in cut(line.text) if piece[0] != "{")


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    pieces = [_EDGE, *(p.lower() for p in cut(text)), _EDGE]
    return [tuple(pieces[i : i + n]) for i in range(len(pieces) - n + 1)]


def _openings(text: str) -> list[tuple[str, str, bool]]:
    """Of each clause its first two pieces, facts alike, and whether it asks."""
    found, clause = [], list[str]()
    for piece in (*(p.lower() for p in cut(text)), _EDGE):
        if piece in _ENDS:
            if clause:
                found.append((clause[0], clause[1] if clause[1:] else _EDGE, piece == "?"))
            clause = []
        else:
            clause.append("{}" if piece[0] == "{" and piece != "{product}" else piece)
    return found
