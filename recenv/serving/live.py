"""The shop's live catalogue: rows from a CSV or Parquet file, each cell checked, laid over the bundle's own.

A live catalogue replaces what a customer reads and what a line may rest on (COLUMNS), nothing else: item vectors, the
items' index and category index stay as exported, so observation and policy see the same products as in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recenv.core.errors import InputError
from recenv.serving.bundle import Bundle, rows_of
from recenv.serving.cells import COLUMNS, Row, count_as_utc, empty, named, read_cells, repeated
from recenv.serving.facts import Facts, facts_of

Source = str | Path | Iterable[Row]

OF_A_PRICE = ("was_price", "offer_ends")
"""What is said of a price: it goes when another price comes, unless the live catalogue says it anew."""
OLD_BUNDLE = "an older recenv wrote this bundle: it does not say which evidence its copies need. Export it anew"
"""Note in the facts' report where no copy says what it needs."""
FEW = "more than half of the bundle's items are not listed: is the live catalogue whole?"
"""Note where the live catalogue leaves out so many."""
_CHUNK = 1 << 24


def read_items(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a live catalogue, by the columns that it has among `item_id` and COLUMNS; others are not read.

    CSV is read as UTF-8 with a header and commas, all cells as text, an empty one as missing.

    Raises:
        InputError: no such file, neither `.csv` nor `.parquet`, not to be read, no column `item_id`, a column twice, a
            quote that is never closed, a value that no Python type holds (a date in the year 5,881,580), or no row.
    """
    file = Path(path)
    try:
        found = rows_of(_read(file))
    except InputError:
        raise
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
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

    A column that the catalogue lacks keeps its exported values (`kept_columns`), but for OF_A_PRICE where it gives
    `price`: an earlier price, or an offer's end, is said of the exported price and goes with it (`dropped_columns`). A
    cell that is there and empty takes the fact away. An item that it lacks is not listed (`delisted`): it is shown no
    more; nor is one whose cell `text` shows nothing (`nameless`, among `delisted`). One that the bundle lacks is
    counted (`unknown`) and not read further. An `offer_ends` that names no zone is UTC and counted
    (`times_taken_as_utc`). Copies that do not hold for the new facts are withheld, see `facts_of`.

    Args:
        source: a file as `read_items` reads it, or rows by column name.

    Raises:
        InputError: as `read_items` does; a row without its id, an item twice, rows of different columns, none of the
            bundle's items, zones on some moments only, or a cell of another form than COLUMNS asks. Nothing is
            replaced then.
    """
    name = str(source) if isinstance(source, (str, Path)) else "items"
    given = read_items(source) if isinstance(source, (str, Path)) else source
    rows, listed = list(bundle.items), np.zeros(len(bundle.items), bool)
    unknown, nameless, seen, moments = 0, 0, set[str](), list[tuple[str, Any]]()
    columns: frozenset[str] | None = None
    for number, row in enumerate(given, 1):
        item_id = _id(row, f"{name}, row {number}", seen)
        index = bundle.item_index.get(item_id)
        if index is None:
            unknown += 1
            continue
        where = f"{name}, row {number} (item {repeated(item_id)})"
        cells = read_cells(row, where)
        columns = _same(columns, frozenset(cells), where)
        if not empty(row.get("offer_ends")):
            moments.append((where, row["offer_ends"]))
        gone = OF_A_PRICE if "price" in cells else ()
        rows[index] = {**bundle.items[index], **dict.fromkeys(gone), **cells}
        listed[index] = "text" not in cells or named(cells["text"])
        nameless += not listed[index]
    if not listed.any():
        what = f"none of its {len(seen)} items is in the bundle" + (" and has a name" if nameless else "")
        raise InputError(name, what, "Give the catalogue of the shop that the bundle was made for, with the same ids")
    counts = {"nameless": nameless, "times_taken_as_utc": count_as_utc(moments)}
    report = {
        "source": name,
        "read": datetime.now(UTC).isoformat(timespec="seconds"),
        "listed": int(listed.sum()),
        "delisted": int((~listed).sum()),
        "unknown": unknown,
        **_not_given(bundle, columns or frozenset()),
        **{what: count for what, count in counts.items() if count},
    }
    return facts_of(bundle, rows, listed, _note(bundle, report))


def _not_given(bundle: Bundle, columns: frozenset[str]) -> dict[str, list[str]]:
    """The bundle's columns that the live catalogue lacks: which keep their exported values, and which go."""
    lacking = {column for column in COLUMNS if column in bundle.items[0]} - columns
    dropped = lacking & set(OF_A_PRICE) if "price" in columns else set()
    return {"kept_columns": sorted(lacking - dropped), "dropped_columns": sorted(dropped)}


def _note(bundle: Bundle, report: dict[str, Any]) -> dict[str, Any]:
    notes = [OLD_BUNDLE] if bundle.copies and "needs" not in bundle.copies[0] else []
    notes += [FEW] if 2 * report.get("delisted", 0) > len(bundle.items) else []
    return report | ({"note": "; ".join(notes)} if notes else {})


def _read(file: Path) -> pa.Table:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        with pq.ParquetFile(file) as parquet:
            names = _checked(file, parquet.schema_arrow.names)
            return parquet.read(columns=names)
    if suffix != ".csv":
        raise InputError(str(file), "is neither .csv nor .parquet", "Give one of the two")
    parse = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(file, parse_options=parse) as reader:
        names = _checked(file, reader.schema.names)
    text = pacsv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
    table = pacsv.read_csv(file, parse_options=parse, convert_options=text)
    _check_quotes(file, table.num_rows)
    return table


def _check_quotes(file: Path, rows: int) -> None:
    """Refuse a quote that is never closed, by the rule of `recenv prepare`: all lines below it are one cell."""
    lines, quotes, last = 0, 0, b""
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            lines, quotes, last = lines + chunk.count(b"\n"), quotes + chunk.count(b'"'), chunk[-1:]
    lines += last != b"\n"
    if quotes % 2 and rows + 1 < lines:
        what = f"a quote that is never closed: {lines} lines made {rows} rows"
        raise InputError(str(file), what, "Close it, or double it if it is part of a cell")


def _checked(file: Path, names: list[str]) -> list[str]:
    known = [name for name in names if name == "item_id" or name in COLUMNS]
    if "item_id" not in known:
        raise InputError(str(file), f"no column 'item_id' among {', '.join(names)}", "Name the column of the ids so")
    twice = [name for name in known if known.count(name) > 1]
    if twice:
        raise InputError(str(file), f"two columns {twice[0]!r}", "Leave one of them out")
    return known


def _same(columns: frozenset[str] | None, found: frozenset[str], where: str) -> frozenset[str]:
    """The columns of all rows so far: one that is here and not there would be kept for some items, unsaid."""
    if columns is not None and found != columns:
        what = f"column {min(found ^ columns)!r} is in some rows and not in others"
        raise InputError(where, what, "Give every row the same columns, None where an item lacks the fact")
    return found


def _id(row: Row, where: str, seen: set[str]) -> str:
    if not isinstance(row, Mapping):
        raise InputError(where, f"a {type(row).__name__}", "Give a mapping by column name")
    item_id = row.get("item_id")
    if not isinstance(item_id, str) or not item_id:
        raise InputError(f"{where}, column 'item_id'", repeated(item_id), "Give each row its id as text")
    if item_id in seen:
        raise InputError(f"{where}, column 'item_id'", f"{repeated(item_id)} stands twice", "Give one row an item")
    seen.add(item_id)
    return item_id
