"""Claims by class, and what on the product unlocks each: a claim without evidence never passes.

The lists are plain data (`seeds/claims.json`): classes of groups, a group being words and phrases that rest on the same
evidence. A claim is unlocked by one of the group's evidence columns; by the column `claims` of the product, in which
the shop vouches for whole classes ("environment") or for wordings ("gluten free"); and, in groups that describe
(`from_item`), by the product's own name or attributes saying the same words. Groups marked `phrase_only` (cures and
diseases) are never unlocked by their class, only by their wording.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from recenv.core.errors import InputError
from recenv.core.render import clean
from recenv.generators.base import Row
from recenv.generators.corpus import has_evidence
from recenv.generators.guard_text import canonical
from recenv.generators.seeds import read_seeds

SLOT = r"\{\w+\}"
ATTRIBUTES = ("text", "brand", "category", "size", "department")
"""Columns of `items.parquet` whose words a line may repeat."""


@dataclass(frozen=True)
class ClaimGroup:
    """Words and phrases of one claim class that rest on the same evidence.

    Attributes:
        name: the class. needs: evidence columns, any one of which unlocks it. from_item: whether the product's own
            words unlock it. phrase_only: whether `claims` must hold the wording, not just the class.
        words: its single words, lower case. pattern: matches words and phrases in a canonical text.
        exceptions: matches wordings in which they claim nothing; None where there are none.
    """

    name: str
    needs: tuple[str, ...]
    from_item: bool
    phrase_only: bool
    words: frozenset[str]
    pattern: re.Pattern[str]
    exceptions: re.Pattern[str] | None


@dataclass(frozen=True)
class Claim:
    """One claim found in a text: its group, its words, and where it stands in the canonical text."""

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

    With an item: those that its evidence does not unlock. Claims of several words ("no risk") are not here: `check`
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
    return tuple(e.strip().casefold().replace(" ", "_") if _is_class(e) else canonical(e).strip() for e in entries if e)


@lru_cache(maxsize=65_536)
def find_claims(text: str) -> tuple[Claim, ...]:
    """Every claim in a canonical text (`guard_text.canonical`), whatever could unlock it."""
    found = []
    for group in claim_groups():
        spans = [m.span(1) for m in group.exceptions.finditer(text)] if group.exceptions else []
        for match in group.pattern.finditer(text):
            start, end = match.span(1)
            if not any(a <= start and end <= b for a, b in spans):
                found.append(Claim(group, match.group(1), start, end))
    return tuple(found)


def unlocked(claim: Claim, text: str, item: Row) -> bool:
    """Whether the item carries what a claim found in `text` (canonical) rests on."""
    if _open(claim.group, item):
        return True
    wordings = [w for w in vouched(item) if w not in claim_classes()]
    if any(
        a <= claim.start and claim.end <= b for a, b in (m.span() for w in wordings for m in _whole(w).finditer(text))
    ):
        return True
    return claim.group.from_item and any(_whole(claim.words).search(canonical(clean(item.get(a)))) for a in ATTRIBUTES)


def _open(group: ClaimGroup, item: Row) -> bool:
    if any(has_evidence(item, need) for need in group.needs):
        return True
    return not group.phrase_only and group.name in vouched(item)


def _is_class(entry: str) -> bool:
    return entry.strip().casefold().replace(" ", "_") in claim_classes()


def _group(name: str, entry: dict[str, object]) -> ClaimGroup:
    words, phrases, exceptions = (_texts(entry, key) for key in ("words", "phrases", "except"))
    return ClaimGroup(
        name,
        _texts(entry, "needs"),
        entry.get("from_item") is True,
        entry.get("phrase_only") is True,
        frozenset(words),
        _any_of((*phrases, *words)),
        _any_of(exceptions) if exceptions else None,
    )


def _texts(entry: dict[str, object], key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(x, str) and x for x in value):
        raise InputError("seeds/claims.json", f"{key!r} is {value!r}", "Write a list of texts")
    return tuple(value)


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    # Longest first, so that a wording is reported whole.
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(f"(?= ({'|'.join(_expression(p) for p in ordered)}) )")


def _expression(phrase: str) -> str:
    return " ".join(_token(token) for token in phrase.split())


def _token(token: str) -> str:
    if token == "_":
        return r"\S+"
    if token == "{}":
        return SLOT
    return "(?:" + "|".join(re.escape(part) for part in token.split("|")) + ")"


@lru_cache(maxsize=4096)
def _whole(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<= ){re.escape(words)}(?= )")
