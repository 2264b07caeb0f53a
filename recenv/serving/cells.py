"""Cells of a live catalogue: which columns it may replace, and how each cell is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from recenv.core.errors import InputError
from recenv.core.evidence import ATTRIBUTES, FLAGS, moment, vouched
from recenv.core.render import clean, money

Row = Mapping[str, Any]

MAX_TEXT = 10_000
"""Characters that a cell of text may have: no product's name has more, a file with its quotes astray has."""

_NUMBER = re.compile(r"\d+(\.\d+)?")
_TRUE, _FALSE = ("true", "1"), ("false", "0")
_SHOWN = 100
"""Characters of a value that a message repeats."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that show nothing: the Hangul fillers and the empty Braille pattern."""


def read_cells(row: Row, where: str) -> dict[str, Any]:
    """The row's cells among COLUMNS, each of its form, None where empty.

    Raises:
        InputError: a cell of another form.
    """
    cells = {}
    for name, read in COLUMNS.items():
        if name not in row:
            continue
        value = row[name]
        try:
            cells[name] = None if empty(value) else read(value)
        except InputError as error:
            raise InputError(f"{where}, column {name!r}", shown(error.what), _MENDS[read]) from error
        except ValueError as error:
            what = f"{repeated(value)} is {error.args[0]}"
            raise InputError(f"{where}, column {name!r}", what, _MENDS[read]) from error
    return cells


def empty(value: Any) -> bool:
    """Whether a cell is there and says nothing."""
    return value is None or (isinstance(value, str) and not value.strip()) or _nan(value)


def named(text: Any) -> bool:
    """Whether a product's name has a character to be seen; white space, joiners and marks alone are none."""
    return any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in clean(text))


def count_as_utc(moments: list[tuple[str, Any]]) -> int:
    """How many of a catalogue's (where, moment) cells, read before, name no zone: those are taken as UTC.

    Raises:
        InputError: some name a zone and some do not, as in a log file: then one of them is probably local time.
    """
    bare = [(where, value) for where, value in moments if not _zoned(value)]
    zoned = [value for _, value in moments if _zoned(value)]
    if bare and zoned:
        where, value = bare[0]
        what = f"{str(value)!r} names no zone while another row does ({str(zoned[0])!r})"
        raise InputError(f"{where}, column 'offer_ends'", what, "Give every moment a zone, or none (then they are UTC)")
    return len(bare)


def repeated(value: Any) -> str:
    """A value as a message repeats it: not all of it where it is long."""
    try:
        return shown(repr(value))
    except ValueError:  # a whole number of more digits than Python writes
        return f"a {type(value).__name__}"


def shown(text: str) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _zoned(value: Any) -> bool:
    found = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    return getattr(found, "tzinfo", None) is not None


def _nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("no text")
    try:
        text = str(value)
    except ValueError:  # a whole number of more digits than Python writes
        raise ValueError("no text") from None
    if len(text) > MAX_TEXT:
        raise ValueError(f"{len(text):,} characters long, more than {MAX_TEXT:,}")
    return text


def _amount(value: Any) -> float:
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise ValueError("no amount of money")
    if not isinstance(value, (str, int, float, Decimal)):
        raise ValueError("no amount of money")
    money(value.strip() if isinstance(value, str) else value, "")
    return float(value)


def _flag(value: Any) -> bool:
    word = value.strip().casefold() if isinstance(value, str) else str(int(value)) if value in (0, 1) else ""
    if word not in (*_TRUE, *_FALSE):
        raise ValueError("neither true nor false")
    return word in _TRUE


def _moment(value: Any) -> datetime:
    found = moment(value)
    if found is None:
        raise ValueError("no moment")
    return found


def _claims(value: Any) -> Any:
    if isinstance(value, str):
        _text(value)
    vouched({"claims": value})
    return value


COLUMNS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(ATTRIBUTES, _text),
    **dict.fromkeys(("price", "was_price"), _amount),
    **dict.fromkeys(FLAGS, _flag),
    "offer_ends": _moment,
    "claims": _claims,
}
"""Columns that a live catalogue may replace -> how a cell is read: what `render` fills in and lines rest on."""

_MENDS: dict[Callable[[Any], Any], str] = {
    _text: "Give a text, or nothing",
    _amount: "Give a number of 0 or more such as 3.49, without sign, currency or thousands, or nothing",
    _flag: "Give true or false, or nothing",
    _moment: "Give ISO 8601 such as 2026-05-01 or 2026-05-01T12:00:00+02:00, or nothing",
    _claims: "Give a list of texts, or one text with entries cut by ';', or nothing",
}
