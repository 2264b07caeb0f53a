"""What a line of copy may rest on, and whether a product has it: one rule for writing lines and for showing them.

A line needs *clauses*, all of them; a clause is a tuple of alternatives, any one of which will do:

| alternative | holds |
|---|---|
| a column of EVIDENCE | where the product's row carries it (`has_evidence`) |
| `says:WORDS` | where one of the product's ATTRIBUTES says these words (canonical, whole) |
| `claims:ENTRY` | where the shop vouches for this class or wording in the product's column `claims` |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

from recenv.core.errors import InputError
from recenv.core.render import clean
from recenv.core.wording import canonical, whole

Row = Mapping[str, Any]
Clauses = tuple[tuple[str, ...], ...]
Window = tuple[datetime, datetime]
"""[since, until), both in UTC."""

ENDS_SOON_DAYS = 14
"""`offer_ends` is evidence in so many days before the end: of an offer that ends in years nobody says that it ends."""

EVIDENCE: dict[str, str] = {
    "price": "a price: a finite number above 0",
    "was_price": "an earlier price above the present one",
    "often_bought": "true where the logs show that many shoppers buy it",
    "bought_again": "true where the logs show that many shoppers buy it more than once",
    "offer_ends": f"the moment, at most {ENDS_SOON_DAYS} days ahead, at which a running offer ends: ISO 8601 or a date",
    "low_stock": "true while few are left",
}
"""Columns of `items.parquet` on which a line may rest -> what they must hold."""

FLAGS = ("often_bought", "bought_again", "low_stock")
"""Evidence that is true or not there."""

ATTRIBUTES = ("text", "brand", "category", "size", "department")
"""Columns of `items.parquet` whose words a line may repeat."""

ALWAYS: Window = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
"""Of evidence that holds as long as the row says what it says."""

_SAYS, _CLAIMS = "says:", "claims:"


def has_evidence(item: Row, need: str, at: datetime | None = None) -> bool:
    """Whether a catalogue row carries an alternative of a clause, at a moment (`evidence_window`).

    Nobody's clock is read: who gives no `at` vouches that the catalogue lists running offers only (`running` takes
    others out).
    """
    window = evidence_window(item, need)
    return window is not None and (at is None or window[0] <= at < window[1])


def evidence_window(item: Row, need: str) -> Window | None:
    """When a catalogue row carries an alternative of a clause; None for never.

    A flag counts where it is true (or 1), an amount where it is a finite number above 0, `was_price` where it is above
    `price` besides, `offer_ends` where it is a moment (`moment`), in the ENDS_SOON_DAYS before it. An unknown name is
    carried by none.

    Raises:
        InputError: the column `claims`, if it is asked, has another form (`vouched`).
    """
    if need == "offer_ends":
        return _before(moment(item.get(need)))
    return ALWAYS if _carries(item, need) else None


def line_window(item: Row, needs: Iterable[Sequence[str]]) -> Window | None:
    """When a catalogue row carries one alternative of every clause; None for never.

    Of two alternatives that both have an end the one that lasts longer counts; today one column alone has one.
    """
    since, until = ALWAYS
    for clause in needs:
        open_at = [w for need in clause if (w := evidence_window(item, need)) is not None]
        if not open_at:
            return None
        longest = max(open_at, key=lambda w: w[1] - w[0])
        since, until = max(since, longest[0]), min(until, longest[1])
    return (since, until) if since < until else None


def running(item: Row, at: datetime) -> Row:
    """The catalogue row without an `offer_ends` that is no evidence at that moment: over, far ahead, or no moment."""
    if item.get("offer_ends") is None or has_evidence(item, "offer_ends", at):
        return item
    return {name: value for name, value in item.items() if name != "offer_ends"}


def moment(value: object) -> datetime | None:
    """A moment in UTC from ISO 8601 text or a date type; None where it is none ("0", "soon", a number).

    Without an offset it counts as UTC; a date without a time as the start of that day, so that an offer counts as over
    rather too soon than too late.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime) or value != value:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # the year 1 or 9999, moved by an offset
        return None


def vouched(item: Row) -> tuple[str, ...]:
    """Entries of the item's column `claims`, canonical: classes ("social proof") or wordings ("gluten free").

    Raises:
        InputError: the column holds neither a list of texts nor one text with entries cut by ";".
    """
    value = item.get("claims")
    if value is None or (isinstance(value, float) and value != value):
        return ()
    entries = value.split(";") if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(e, str) for e in entries):
        mend = "Give a list of texts: a class of claims, such as environment, or the wording of a claim"
        raise InputError(f"item {item.get('item_id')!r}, column 'claims'", f"{value!r} is no list of texts", mend)
    return tuple(words for e in entries if (words := canonical(e.replace("_", " ")).strip()))


def says(words: str) -> str:
    """The alternative that one of the product's attributes says these canonical words."""
    return f"{_SAYS}{words}"


def claims(entry: str) -> str:
    """The alternative that the shop vouches for this class, or canonical wording."""
    return f"{_CLAIMS}{entry.replace('_', ' ')}"


def _carries(item: Row, need: str) -> bool:
    if need.startswith(_SAYS):
        pattern = whole(need.removeprefix(_SAYS))
        return any(pattern.search(canonical(clean(item.get(column)))) for column in ATTRIBUTES)
    if need.startswith(_CLAIMS):
        return need.removeprefix(_CLAIMS) in vouched(item)
    value = item.get(need)
    if need in FLAGS:
        return value is True or (isinstance(value, Real) and value == 1)
    if need in ("price", "was_price"):
        amount, price = _amount(value), _amount(item.get("price"))
        return amount > 0 if need == "price" else amount > price > 0
    return False


def _before(ends: datetime | None) -> Window | None:
    if ends is None:
        return None
    days = timedelta(days=ENDS_SOON_DAYS)
    return (ends - days if ends - ALWAYS[0] > days else ALWAYS[0]), ends


def _amount(value: object) -> float:
    """A number that may be money, else 0."""
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)) or not math.isfinite(value):
        return 0.0
    return float(value)
