"""The shop's live catalogue: rows from a CSV or Parquet file, each cell checked, laid over the bundle's own.

A live catalogue replaces what a customer reads and what a line may rest on (COLUMNS), nothing else: item vectors, the
items' index and category index stay as exported, so observation and policy see the same products as in training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recenv.core.errors import InputError
from recenv.core.evidence import ATTRIBUTES, FLAGS, moment, vouched
from recenv.core.render import money
from recenv.serving.bundle import Bundle, rows_of
from recenv.serving.facts import Facts, facts_of

Row = Mapping[str, Any]
Source = str | Path | Iterable[Row]

_NUMBER = re.compile(r"\d+(\.\d+)?")
_TRUE, _FALSE = ("true", "1"), ("false", "0")
OLD_BUNDLE = "an older recenv wrote this bundle: it does not say which evidence its copies need. Export it anew"
"""Note in the facts' report where no copy says what it needs."""


def read_items(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a live catalogue, by the columns that it has among `item_id` and COLUMNS; others are not read.

    CSV is read as UTF-8 with a header and commas, all cells as text, an empty one as missing.

    Raises:
        InputError: no such file, neither `.csv` nor `.parquet`, not to be read, no column `item_id`, a column twice, or
            no row.
    """
    file = Path(path)
    try:
        found = rows_of(_read(file))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise InputError(str(file), what, "Give a CSV or Parquet file with one row an item") from error
    if not found:
        raise InputError(str(file), "holds no row", "Give one row for each item on sale")
    return found


def frozen(bundle: Bundle) -> Facts:
    """The facts as exported: every item listed."""
    return facts_of(bundle, bundle.items, np.ones(len(bundle.items), bool), _note(bundle, {"source": "bundle"}))


def live(bundle: Bundle, source: Source) -> Facts:
    """The facts of a live catalogue, over those as exported.

    A column that the catalogue lacks keeps its exported values (`kept_columns`); a cell that is there and empty takes
    the fact away. An item that it lacks is not listed (`delisted`): it is shown no more. One that the bundle lacks is
    counted (`unknown`) and not read further. Copies that do not hold for the new facts are withheld, see `facts_of`.

    Args:
        source: a file as `read_items` reads it, or rows by column name.

    Raises:
        InputError: as `read_items` does; a row without its id, an item twice, none of the bundle's items, or a cell of
            another form than COLUMNS asks. Nothing is replaced then.
    """
    name = str(source) if isinstance(source, (str, Path)) else "items"
    given = read_items(source) if isinstance(source, (str, Path)) else source
    rows, listed = list(bundle.items), np.zeros(len(bundle.items), bool)
    unknown, seen, columns = 0, set[str](), set[str]()
    for number, row in enumerate(given, 1):
        item_id = _id(row, f"{name}, row {number}", seen)
        index = bundle.item_index.get(item_id)
        if index is None:
            unknown += 1
            continue
        cells = _cells(row, f"{name}, row {number} (item {item_id!r})")
        columns |= cells.keys()
        rows[index], listed[index] = {**bundle.items[index], **cells}, True
    if not listed.any():
        what = f"none of its {len(seen)} items is in the bundle"
        raise InputError(name, what, "Give the catalogue of the shop that the bundle was made for, with the same ids")
    report = {
        "source": name,
        "read": datetime.now(UTC).isoformat(timespec="seconds"),
        "listed": int(listed.sum()),
        "delisted": int((~listed).sum()),
        "unknown": unknown,
        "kept_columns": sorted(c for c in COLUMNS if c in bundle.items[0] and c not in columns),
    }
    return facts_of(bundle, rows, listed, _note(bundle, report))


def _note(bundle: Bundle, report: dict[str, Any]) -> dict[str, Any]:
    old = bool(bundle.copies) and "needs" not in bundle.copies[0]
    return report | ({"note": OLD_BUNDLE} if old else {})


def _read(file: Path) -> pa.Table:
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as parquet:
            names = _checked(file, parquet.schema_arrow.names)
            return parquet.read(columns=names)
    if file.suffix != ".csv":
        raise InputError(str(file), "is neither .csv nor .parquet", "Give one of the two")
    parse = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(file, parse_options=parse) as reader:
        names = _checked(file, reader.schema.names)
    text = pacsv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
    return pacsv.read_csv(file, parse_options=parse, convert_options=text)


def _checked(file: Path, names: list[str]) -> list[str]:
    known = [name for name in names if name == "item_id" or name in COLUMNS]
    if "item_id" not in known:
        raise InputError(str(file), f"no column 'item_id' among {', '.join(names)}", "Name the column of the ids so")
    twice = [name for name in known if known.count(name) > 1]
    if twice:
        raise InputError(str(file), f"two columns {twice[0]!r}", "Leave one of them out")
    return known


def _id(row: Row, where: str, seen: set[str]) -> str:
    if not isinstance(row, Mapping):
        raise InputError(where, f"a {type(row).__name__}", "Give a mapping by column name")
    item_id = row.get("item_id")
    if not isinstance(item_id, str) or not item_id:
        raise InputError(f"{where}, column 'item_id'", f"{item_id!r}", "Give each row its id as text")
    if item_id in seen:
        raise InputError(f"{where}, column 'item_id'", f"{item_id!r} stands twice", "Give one row an item")
    seen.add(item_id)
    return item_id


def _cells(row: Row, where: str) -> dict[str, Any]:
    """The row's cells among COLUMNS, each of its form, None where empty."""
    cells = {}
    for name, read in COLUMNS.items():
        if name not in row:
            continue
        value = row[name]
        empty = value is None or (isinstance(value, str) and not value.strip()) or _nan(value)
        try:
            cells[name] = None if empty else read(value)
        except ValueError as error:
            what = f"{value!r} is {error.args[0]}" if not isinstance(error, InputError) else error.what
            raise InputError(f"{where}, column {name!r}", what, _MENDS[read]) from error
    return cells


def _nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("no text")
    return str(value)


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
