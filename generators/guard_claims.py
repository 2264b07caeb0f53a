"""Claims by class, and what on the product unlocks each: a claim without evidence never passes.

The lists are plain data (`seeds/claims.json`): classes of groups, a group being words and phrases that rest on the same
evidence. A claim is unlocked by one of the group's evidence columns; by the column `claims` of the product, in which
the shop vouches for whole classes ("environment") or for wordings ("gluten free"); and, in groups that describe
(`from_item`), by the product's own name or attributes saying the same words. Groups marked `phrase_only` (cures and
diseases) are never unlocked by their class, only by their wording.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from recenv.core.errors import InputError
from recenv.core.evidence import claims, has_evidence, says, vouched
from recenv.core.wording import whole
from recenv.generators.base import Row
from recenv.generators.guard_phrases import Phrases
from recenv.generators.seeds import read_seeds


@dataclass(frozen=True)
class ClaimGroup:
    """Words and phrases of one claim class that rest on the same evidence.

    Attributes:
        name: the class. needs: evidence columns, any one of which unlocks it. from_item: whether the product's own
            words unlock it. phrase_only: whether `claims` must hold the wording, not just the class.
        words: its single words, lower case. phrases: finds words and phrases.
    """

    name: str
    needs: tuple[str, ...]
    from_item: bool
    phrase_only: bool
    words: frozenset[str]
    phrases: Phrases


@dataclass(frozen=True)
class Claim:
    """One claim found: its group, its words, and where it stands in the canonical text."""

    group: ClaimGroup
    words: str
    start: int
    end: int


@lru_cache(maxsize=1)
def claim_groups() -> tuple[ClaimGroup, ...]:
    """All groups of `seeds/claims.json`, in file order."""
    classes = read_seeds("claims.json")[0]["classes"]
    return tuple(_group(name, entry) for name, groups in classes.items() for entry in groups)


@lru_cache(maxsize=1)
def claim_classes() -> tuple[str, ...]:
    """Names of the claim classes."""
    return tuple(dict.fromkeys(group.name for group in claim_groups()))


def claim_words(item: Row | None = None) -> frozenset[str]:
    """Single words (lower case, as cut by `recenv.generators.quality.tokens`) that are claims by themselves.

    With an item: those that its evidence does not unlock. Claims of several words ("no risk") are not here: the guard
    finds them. A few words stand in harmless wordings too ("feel free"); a generator loses little by leaving them out.
    """
    return frozenset(w for group in claim_groups() if item is None or not _open(group, item) for w in group.words)


@lru_cache(maxsize=65_536)
def find_claims(text: str) -> tuple[Claim, ...]:
    """Every claim in a canonical text, whatever could unlock it."""
    return tuple(
        Claim(group, words, start, end) for group in claim_groups() for words, (start, end) in group.phrases.find(text)
    )


def unlocked(claim: Claim, text: str, item: Row) -> bool:
    """Whether the item carries what a claim found in `text` (canonical) rests on."""
    return any(has_evidence(item, need) for need in alternatives(claim, text, item))


def alternatives(claim: Claim, text: str, item: Row) -> tuple[str, ...]:
    """What unlocks a claim found in `text` (canonical), any one of it: a clause of `recenv.core.evidence`.

    Of the wordings that the shop may vouch for, those that it vouches for on this item.
    """
    classes = {name.replace("_", " ") for name in claim_classes()}
    wordings = [w for w in vouched(item) if w not in classes]
    covering = [w for w in wordings if any(_covers(m.span(), claim) for m in whole(w).finditer(text))]
    own = (says(claim.words),) if claim.group.from_item else ()
    return (*_keys(claim.group), *map(claims, covering), *own)


def _covers(span: tuple[int, int], claim: Claim) -> bool:
    return span[0] <= claim.start and claim.end <= span[1]


def claim_reasons(text: str, item: Row) -> list[str]:
    """`claim:CLASS:WORDS` for every claim in a canonical text that the item does not unlock."""
    return [f"claim:{c.group.name}:{c.words}" for c in find_claims(text) if not unlocked(c, text, item)]


def judged(text: str, item: Row) -> str:
    """A canonical text without the words that the claim lists know as a claim, as harmless, or as vouched for."""
    wordings = [m.span() for w in vouched(item) for m in whole(w).finditer(text)]
    spans = sorted({*_known_spans(text), *wordings}, reverse=True)
    for start, end in spans:
        text = f"{text[:start]}{'.' * (end - start)}{text[end:]}"
    return f" {' '.join(w for w in text.split() if w.strip('.'))} "


@lru_cache(maxsize=65_536)
def _known_spans(text: str) -> tuple[tuple[int, int], ...]:
    harmless = {span for group in claim_groups() for span in group.phrases.harmless(text)}
    return tuple(harmless | {(claim.start, claim.end) for claim in find_claims(text)})


def _open(group: ClaimGroup, item: Row) -> bool:
    return any(has_evidence(item, need) for need in _keys(group))


def _keys(group: ClaimGroup) -> tuple[str, ...]:
    """What unlocks every claim of a group: its columns, and its class in the column `claims`."""
    return group.needs if group.phrase_only else (*group.needs, claims(group.name))


def _group(name: str, entry: dict[str, Any]) -> ClaimGroup:
    words, phrases, exceptions = (_texts(entry, key) for key in ("words", "phrases", "except"))
    return ClaimGroup(
        name,
        _texts(entry, "needs"),
        entry.get("from_item") is True,
        entry.get("phrase_only") is True,
        frozenset(words),
        Phrases((*phrases, *words), exceptions),
    )


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(x, str) and x for x in value):
        raise InputError("seeds/claims.json", f"{key!r} is {value!r}", "Write a list of texts")
    return tuple(value)
