"""Reads columns of CSV and Parquet files as they stand: text stays text, ids are never turned into numbers."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from recenv.core.errors import InputError
from recenv.data.checks import shorten
from recenv.data.columns import QUARANTINE_COLUMNS
from recenv.data.quarantine import ROW, SOURCE
from recenv.data.unreadable import check_delimiter, check_encoding, check_magic

_CHUNK = 1 << 24
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8"))


def resolve(root: Path, name: str) -> Path:
    """The file `name` below the folder `root`.

    Raises:
        InputError: the name is absolute or leaves `root` (`../`), or there is no such file.
    """
    path = (root / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
        raise InputError(f"mapping path {name!r}", f"leaves the folder {root}", "Set --path to the folder of the data.")
    if not path.is_file():
        raise InputError(f"mapping path {name!r}", f"there is no file {path}", "Mend the name, or set --path.")
    return path


def read_table(
    path: Path,
    columns: Iterable[str],
    delimiter: str | None = None,
    encoding: str | None = None,
    missing: Iterable[str] = ("",),
    table: str = "events",
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The named columns of a file, with `__source__` and `__row__` (0-based data row), and the rows that are ragged.

    CSV cells are text, missing where they equal one of `missing`. Parquet columns keep their types.

    Raises:
        InputError: an empty or unreadable file, an encoding that is not the file's, a NUL byte, a column that is
            missing or twice there.
    """
    wanted = sorted(set(columns))
    with path.open("rb") as stream:
        head = stream.read(4)
    if not head:
        raise InputError(str(path), "the file is empty", "Give a file with a header and rows.")
    if head == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path, wanted), None
    check_magic(path, head)
    return _read_csv(path, wanted, delimiter, encoding, list(missing), table)


def _read_parquet(path: Path, wanted: list[str]) -> pd.DataFrame:
    try:
        file = pq.ParquetFile(path)
        _check_header(path, file.schema_arrow.names, wanted)
        frame = file.read(columns=wanted).to_pandas(types_mapper=_nullable)
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(path), f"is no readable Parquet file ({error})", "Write it again.") from error
    return _placed(frame, path, np.arange(file.metadata.num_rows))


def _nullable(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """Whole numbers with gaps must not become floats: ids would lose digits."""
    if not pa.types.is_integer(kind):
        return None
    return pd.UInt64Dtype() if pa.types.is_unsigned_integer(kind) else pd.Int64Dtype()


def _read_csv(
    path: Path, wanted: list[str], delimiter: str | None, encoding: str | None, missing: list[str], table: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    encoding, lines, quotes = _scan(path, encoding)
    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    header = _header(path, encoding, delimiter)
    check_delimiter(path, header, delimiter, wanted)
    _check_header(path, header, wanted)
    ragged: list[pc.InvalidRow] = []

    def set_aside(row: pc.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    names = wanted or header[:1]
    try:
        read = pc.read_csv(
            path,
            read_options=pc.ReadOptions(use_threads=False, encoding=encoding, block_size=_CHUNK),
            parse_options=pc.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside, ignore_empty_lines=True
            ),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                include_columns=names,
                null_values=missing,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeError, OSError) as error:
        check_encoding(path, encoding, header, delimiter)
        mend = f"Check the quotes and the encoding (now {encoding}); the mapping can set 'encoding' and 'delimiter'."
        raise InputError(str(path), f"cannot be read as CSV ({shorten(str(error), 200)})", mend) from error
    if quotes % 2 and read.num_rows + len(ragged) + 1 < lines:
        what = f"a quote that is never closed: {lines} lines made {read.num_rows + len(ragged)} rows"
        raise InputError(str(path), what, "Close it, or double it if it is part of a cell.")
    lost = np.array([int(row.number) - 2 for row in ragged], dtype=np.int64)
    rows = np.setdiff1d(np.arange(read.num_rows + len(lost)), lost)
    return _placed(read.to_pandas(), path, rows), _ragged(ragged, lost, path, table)


def _ragged(rows: list[pc.InvalidRow], numbers: np.ndarray, path: Path, table: str) -> pd.DataFrame | None:
    if not rows:
        return None
    found = [{"cells": r.actual_columns, "expected": r.expected_columns, "text": r.text} for r in rows]
    lines = [json.dumps(f, ensure_ascii=False) for f in found]
    columns = {"table": table, "reason": "ragged_row", "source": path.name, "row": numbers, "record": lines}
    return pd.DataFrame({name: columns[name] for name in QUARANTINE_COLUMNS})


def _placed(frame: pd.DataFrame, path: Path, rows: np.ndarray) -> pd.DataFrame:
    frame[SOURCE] = pd.Categorical.from_codes(np.zeros(len(frame), np.int8), categories=[path.name])
    frame[ROW] = rows
    return frame


def _scan(path: Path, declared: str | None) -> tuple[str, int, int]:
    """The file's encoding (its byte order mark's, else the declared, else UTF-8), its lines and its quotes.

    Lines and quotes are 0 where a character takes more than one byte. Raises InputError at a NUL byte.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
        marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
        encoding = marked or declared or "utf-8"
        if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
            return encoding, 0, 0
        stream.seek(0)
        lines, quotes, last = 0, 0, b""
        while chunk := stream.read(_CHUNK):
            place = chunk.find(b"\0")
            if place >= 0:
                line = lines + chunk.count(b"\n", 0, place) + 1
                hint = 'It looks like UTF-16 without a mark: set "encoding": "utf-16-le".' if 0 in head else ""
                raise InputError(f"{path} line {line}", "holds a NUL byte", hint or "Remove it or export again.")
            lines += chunk.count(b"\n")
            quotes += chunk.count(b'"')
            last = chunk[-1:]
        lines += last != b"\n"
    return encoding, lines, quotes


def _header(path: Path, encoding: str, delimiter: str) -> list[str]:
    try:
        cells = _first_cells(path, encoding, delimiter, "strict")
    except UnicodeError as error:  # anywhere in the first block that is read
        check_encoding(path, encoding, _first_cells(path, encoding, delimiter, "replace"), delimiter)
        raise InputError(str(path), f"is not {encoding} ({error})", 'Set "encoding" in the mapping.') from error
    except csv.Error as error:
        raise InputError(f"{path} line 1", f"is no header ({error})", "Give a CSV file; check its quotes.") from error
    if not cells:
        raise InputError(str(path), "has no header", "Give a first line with the columns' names.")
    return cells


def _first_cells(path: Path, encoding: str, delimiter: str, errors: str) -> list[str]:
    """Cells of the first line that is not empty; `errors` as in `open`."""
    codec = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    with path.open(encoding=codec, errors=errors, newline="") as stream:
        text = next((line for line in iter(stream.readline, "") if line.strip()), "")
        while text.count('"') % 2:
            more = stream.readline()
            if not more:
                break
            text += more
    return next(csv.reader(io.StringIO(text), delimiter=delimiter), [])


def _check_header(path: Path, header: list[str], wanted: list[str]) -> None:
    for name in wanted:
        if header.count(name) > 1:
            raise InputError(f"{path} column {name!r}", "occurs twice in the header", "Rename one of them.")
        if name not in header:
            close = difflib.get_close_matches(name, header, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            listed = shorten(", ".join(header), 200)
            raise InputError(f"{path} column {name!r}", "is missing", f"{hint}The file has {listed}.")
