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
from recenv.core.render import clean
from recenv.generators.base import Row
from recenv.generators.corpus import has_evidence
from recenv.generators.guard_phrases import Phrases, whole
from recenv.generators.guard_text import canonical
from recenv.generators.seeds import read_seeds

ATTRIBUTES = ("text", "brand", "category", "size", "department")
"""Columns of `items.parquet` whose words a line may repeat."""


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


def vouched(item: Row) -> tuple[str, ...]:
    """Entries of the item's column `claims`, canonical: classes or wordings that the shop vouches for.

    Raises:
        InputError: the column holds neither a list of texts nor one text with entries cut by ";".
    """
    value = item.get("claims")
    if value is None or (isinstance(value, float) and value != value):
        return ()
    entries = value.split(";") if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(e, str) for e in entries):
        mend = f"Give a list of texts: a class ({', '.join(claim_classes())}) or the wording of a claim"
        raise InputError(f"item {item.get('item_id')!r}, column 'claims'", f"{value!r} is no list of texts", mend)
    return tuple(_class_name(e) or canonical(e).strip() for e in entries if e.strip())


@lru_cache(maxsize=65_536)
def find_claims(text: str) -> tuple[Claim, ...]:
    """Every claim in a canonical text, whatever could unlock it."""
    return tuple(
        Claim(group, words, start, end) for group in claim_groups() for words, (start, end) in group.phrases.find(text)
    )


def unlocked(claim: Claim, text: str, item: Row) -> bool:
    """Whether the item carries what a claim found in `text` (canonical) rests on."""
    if _open(claim.group, item):
        return True
    wordings = [w for w in vouched(item) if w not in claim_classes()]
    spans = (m.span() for w in wordings for m in whole(w).finditer(text))
    if any(start <= claim.start and claim.end <= end for start, end in spans):
        return True
    return claim.group.from_item and any(whole(claim.words).search(canonical(clean(item.get(a)))) for a in ATTRIBUTES)


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
    if any(has_evidence(item, need) for need in group.needs):
        return True
    return not group.phrase_only and group.name in vouched(item)


def _class_name(entry: str) -> str:
    name = entry.strip().casefold().replace(" ", "_")
    return name if name in claim_classes() else ""


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
