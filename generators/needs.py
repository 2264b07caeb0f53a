"""What a line rests on, read from its text and style: the clauses that whoever shows it has to check again and again.

The guard asks the same rule (`recenv.core.evidence`) once, when the line is written; a shop's facts change afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product

from recenv.core.evidence import Clauses, claims, has_evidence, line_window, says, vouched
from recenv.core.render import slots
from recenv.core.wording import canonical
from recenv.generators.base import Row
from recenv.generators.corpus import read_corpus
from recenv.generators.guard_claims import alternatives, find_claims
from recenv.generators.guard_text import disguised
from recenv.generators.guard_words import unknown_words

LOGGED = "logged"
"""State of a line that came with the logs: the shop wrote it and showed it, no guard judged it."""


def needed(text: str, item: Row, style: str = "") -> Clauses:
    """The clauses that a line needs of its product, without doubles, in the order in which they are found.

    Its price slots; what its style rests on; where it is a line of the seed corpus, the evidence that it stands with
    there; what each claim in it rests on; and words that no list holds but the product's own attributes or `claims`.

    Args:
        text: the line, slots unfilled. item: the catalogue row that it was written for. style: "" for none.

    Raises:
        InputError: the item's column `claims` has another form.
    """
    found: list[tuple[str, ...]] = [(slot,) for slot in slots(text) if slot in ("price", "was_price")]
    found += style_clauses().get(style, ())
    found += [(need,) for need in _corpus_needs().get(text, ())]
    for form in (canonical(text), *disguised(text)):
        found += [alternatives(claim, form, item) for claim in find_claims(form)]
    found += _own_words(canonical(text), item)
    return tuple(clause for clause in dict.fromkeys(found) if clause)


def needs_of(copies: Iterable[Mapping[str, object]], items: Sequence[Row]) -> list[Clauses | None]:
    """What each copy of a world needs; None where nobody can tell.

    A logged line keeps what its product carries in the catalogue (at some time): what it says beyond that the shop has
    shown without such a column, and vouches for. Of a logged line for every product nobody can tell.

    Args:
        copies: rows of `copies.parquet` with their `item_id`, `style`, `text` and `status`. items: catalogue rows.
    """
    by_id = {row["item_id"]: row for row in items}
    found: list[Clauses | None] = []
    for line in copies:
        item, logged = by_id.get(line.get("item_id")), line.get("status") == LOGGED
        if item is None:
            found.append(None if logged else needed(str(line["text"]), {}, str(line.get("style") or "")))
            continue
        clauses = needed(str(line["text"]), item, str(line.get("style") or ""))
        found.append(tuple(c for c in clauses if line_window(item, [c])) if logged else clauses)
    return found


@lru_cache(maxsize=1)
def style_clauses() -> dict[str, Clauses]:
    """Style -> what it rests on: one whole group of evidence of its lines in the seed corpus, as clauses.

    ("a" and "b") or "c" is ("a" or "c") and ("b" or "c").
    """
    groups: dict[str, set[tuple[str, ...]]] = {}
    for line in read_corpus().lines:
        groups.setdefault(line.style, set()).add(line.needs)
    return {
        style: tuple(dict.fromkeys(tuple(dict.fromkeys(c)) for c in product(*sorted(needs))))
        for style, needs in groups.items()
    }


@lru_cache(maxsize=1)
def _corpus_needs() -> dict[str, tuple[str, ...]]:
    return {line.text: line.needs for line in read_corpus().lines}


def _own_words(text: str, item: Row) -> list[tuple[str, ...]]:
    """Clauses of the words of a canonical text that only the product's attributes or `claims` hold."""
    wordings = vouched(item)
    open_to = [(says(w), *(claims(v) for v in wordings if w in v.split())) for w in unknown_words(text)]
    return [needs for needs in open_to if any(has_evidence(item, need) for need in needs)]
