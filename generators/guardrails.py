"""Generate, check, keep: fewer lines rather than unsafe ones, plain templates where nothing else is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

import pyarrow as pa
from rapidfuzz import fuzz

from recenv.core.errors import InputError
from recenv.core.evidence import running, vouched
from recenv.core.render import SLOT_COLUMNS
from recenv.core.wording import canonical
from recenv.generators.base import Generator, Request, Row, Variant, check_asked, digest, requests_for, rows
from recenv.generators.channels import channel_named
from recenv.generators.corpus import read_corpus
from recenv.generators.guard import check, guard_reasons
from recenv.generators.templates import FALLBACK_TEXT

ALIKE = 90.0
"""Likeness in percent (rapidfuzz `token_sort_ratio` of delexicalised lines) from which on two lines say the same."""
_SLOT_DIGITS = {f"{{{slot}}}": str(digit) for digit, slot in enumerate(SLOT_COLUMNS)}
ROUNDS = 4
"""How often items that are short of lines are asked for again, each time for twice as many."""

__all__ = ["CopySet", "check", "guard_reasons", "near_duplicate", "write_copies"]


@dataclass(frozen=True)
class CopySet:
    """What a generator's proposals came to.

    Attributes:
        kept: lines that may enter a world. Items for which there is none have a plain line `needs review` here too.
        waiting: lines that need review. rejected: lines refused, with their reasons in `checks`.
        counts: reason (without detail) -> lines rejected or waiting for it.
    """

    kept: tuple[Variant, ...]
    rejected: tuple[Variant, ...]
    counts: dict[str, int]
    waiting: tuple[Variant, ...] = ()


def near_duplicate(text: str, others: Iterable[str]) -> str:
    """The first of `others` that says nearly the same as `text` (both delexicalised), or ""."""
    mine = _bare(text)
    return next((other for other in others if fuzz.token_sort_ratio(mine, _bare(other)) >= ALIKE), "")


def write_copies(
    generator: Generator | Sequence[Generator],
    items: pa.Table | Sequence[Row],
    n: int,
    seed: int,
    currency: str = "",
    styles: Sequence[str] = (),
    channel: str = "description",
    temperature: float = 1.0,
    gap: Generator | None = None,
    at: datetime | None = None,
    settled: Collection[str] = (),
) -> CopySet:
    """Up to `n` checked lines for every item, no two of an item nearly the same (`near_duplicate`).

    Items left short by rejections get more proposals until they have `n`, the generator has no more, or ROUNDS are
    over; what is still missing comes from `gap`, where given. Several generators share the `n` lines of an item evenly
    in their order; what one could not fill, the next ones fill. An item with nothing passed gets the plain line
    `{product}`; where that too has something against it (a name that is too long by itself, say) its state is
    `needs review`, with the reasons in `checks`. `at`: when the lines are to be true; an offer that is over then counts
    as none. Without it every `offer_ends` that is a moment counts. `settled`: copy ids that a person refused or
    retired (`recenv.generators.review.settled`); their lines are not proposed again, the plain line included.

    Raises:
        InputError: items without id or text, an item's `claims` of another form, n below 1, a seed or temperature
            that is none, an unknown style or channel.
    """
    check_asked(n, seed, temperature)
    channel_named(channel)
    check_styles(styles)
    catalogue = {str(x["item_id"]): x if at is None else running(x, at) for x in rows(items)}
    for item in catalogue.values():
        vouched(item)
    judged: dict[str, list[Variant]] = {item_id: [] for item_id in catalogue}
    generators = list(generator) if isinstance(generator, Sequence) else [generator]
    if not generators:
        raise InputError("generator", "none is given", "Name at least one")
    goals = [-(-n * (k + 1) // len(generators)) for k in range(len(generators))]
    sources = [*zip(generators, goals, strict=True), *([(gap, n)] if gap is not None else [])]
    for source, goal in sources:
        before, pending = dict(judged), [i for i in catalogue if len(_passed(judged[i])) < goal]
        told = dict.fromkeys(catalogue, 0)
        for turn in range(ROUNDS):
            requests = requests_for([catalogue[i] for i in pending], styles, channel)
            proposals = _proposals(source, requests, goal * 2**turn, seed, temperature, settled)
            more = [i for i, lines in proposals.items() if len(lines) > told[i]]
            for item_id in more:
                told[item_id] = len(proposals[item_id])
                judged[item_id] = _judge(before[item_id], proposals[item_id], catalogue[item_id], currency, channel)
            pending = [i for i in more if len(_passed(judged[i])) < goal]
        judged = {i: _upto(lines, goal) for i, lines in judged.items()}
    return _copy_set(judged, catalogue, sources[-1][0], n, seed, currency, channel, settled)


def _proposals(
    source: Generator, requests: Sequence[Request], n: int, seed: int, temperature: float, settled: Collection[str]
) -> dict[str, list[Variant]]:
    """Item -> up to `n` lines of a generator, those left out that a person refused or retired."""
    found: dict[str, list[Variant]] = {request.item_id: [] for request in requests}
    for variant in source.generate(requests, n, seed, temperature) if requests else ():
        if variant.copy_id not in settled:
            found[variant.item_id].append(variant)
    return found


def check_styles(styles: Sequence[str]) -> None:
    """Raises InputError where a style is none of the seed corpus."""
    known = read_corpus().styles
    unknown = sorted(set(styles) - set(known))
    if unknown:
        raise InputError("styles", f"unknown style {', '.join(unknown)}", f"Choose among {', '.join(known)}")


def _judge(
    before: Sequence[Variant], lines: Sequence[Variant], item: Row, currency: str, channel: str
) -> list[Variant]:
    """Lines judged before, then `lines` checked; one that says what another said is `near_duplicate:COPY_ID`.

    A line whose id was judged before is that line: it is judged once, whoever proposes it again. Of two that say the
    same, one that passed stands before one that waits for a person, whichever came first.
    """
    judged = {v.copy_id: v for v in before}
    for line in lines:
        if line.copy_id in judged:
            continue
        checked = check(line, item, currency, channel)
        passed = {v.text: v for v in judged.values() if v.status == "auto-passed"}
        waiting = {v.text: v for v in judged.values() if v.status == "needs review"}
        if checked.status != "rejected":
            others = passed if checked.status == "auto-passed" else passed | waiting
            twin = near_duplicate(checked.text, others)
            checked = _twin_of(checked, others[twin]) if twin else checked
        if checked.status == "auto-passed":
            said = near_duplicate(checked.text, waiting)
            judged |= {waiting[said].copy_id: _twin_of(waiting[said], checked)} if said else {}
        judged[checked.copy_id] = checked
    return list(judged.values())


def _twin_of(line: Variant, other: Variant) -> Variant:
    return replace(line, status="rejected", checks=(*line.checks, f"near_duplicate:{other.copy_id}"))


def _copy_set(
    judged: dict[str, list[Variant]],
    catalogue: dict[str, Row],
    generator: Generator,
    n: int,
    seed: int,
    currency: str,
    channel: str,
    settled: Collection[str],
) -> CopySet:
    kept: list[Variant] = []
    for item_id, lines in judged.items():
        own = _passed(lines)[:n]
        plain_line = _fallback(generator, catalogue[item_id], seed, currency, channel)
        kept += own or ([plain_line] if plain_line.copy_id not in settled else [])
    every = [v for lines in judged.values() for v in lines]
    plain = {v.copy_id for v in kept}
    waiting = tuple(v for v in every if v.status == "needs review" and v.copy_id not in plain)
    rejected = tuple(v for v in every if v.status == "rejected" and v.copy_id not in plain)
    counts = Counter(name for v in (*rejected, *waiting) for name in {r.partition(":")[0] for r in v.checks})
    return CopySet(tuple(kept), rejected, dict(sorted(counts.items())), waiting)


def _upto(lines: Sequence[Variant], n: int) -> list[Variant]:
    """The lines without those that passed after the n-th one, and without those refused for saying the same."""
    extra = {v.copy_id for v in _passed(lines)[n:]}
    said = {f"near_duplicate:{copy_id}" for copy_id in extra}
    return [v for v in lines if v.copy_id not in extra and not said.intersection(v.checks)]


def _passed(lines: Sequence[Variant]) -> list[Variant]:
    return [v for v in lines if v.status == "auto-passed"]


def _fallback(generator: Generator, item: Row, seed: int, currency: str, channel: str) -> Variant:
    template = f"plain-{digest(FALLBACK_TEXT)[:8]}"
    found = guard_reasons(FALLBACK_TEXT, item, "plain", channel, currency)
    status = "needs review" if found else "auto-passed"
    return Variant(
        str(item["item_id"]), "plain", template, FALLBACK_TEXT, generator.name, generator.hash, seed, status, found,
        channel=channel,
    )  # fmt: skip


@lru_cache(maxsize=65_536)
def _bare(text: str) -> str:
    """Words of a line with each slot as one digit, so that long slot names do not make all lines alike."""
    return " ".join(_SLOT_DIGITS.get(w, w) for w in canonical(text).split())
