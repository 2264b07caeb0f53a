"""What is probably wrong with a CSV file that cannot be read, another separator or encoding: named, never guessed."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recenv.core.errors import InputError
from recenv.data.checks import shorten

SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'", ",": "','"}
"""Separators that are looked for, and how they are written for people."""
_CHUNK = 1 << 20


MAGIC = {
    rb"PK\x03\x04": ("a zip archive, as spreadsheets (.xlsx) are", "Save the sheet as CSV, or unpack the archive."),
    rb"\xd0\xcf\x11\xe0": ("an old spreadsheet (.xls)", "Save the sheet as CSV."),
    rb"\x1f\x8b": ("compressed by gzip", "Unpack it: gunzip FILE."),
    rb"BZh[1-9]": ("compressed by bzip2", "Unpack it: bunzip2 FILE."),
    rb"\x28\xb5\x2f\xfd": ("compressed by Zstandard", "Unpack it: unzstd FILE."),
}
"""First bytes of files that are no text, as regular expressions: what they are, what to do."""


def check_magic(path: Path, head: bytes) -> None:
    """Refuse a file that begins like an archive or a spreadsheet; `head`: its first bytes.

    Raises:
        InputError: it does.
    """
    for magic, (what, mend) in MAGIC.items():
        if re.match(magic, head):
            raise InputError(str(path), f"is no CSV file but {what}", mend.replace("FILE", path.name))


def check_delimiter(path: Path, header: Sequence[str], delimiter: str, wanted: Sequence[str]) -> None:
    """Refuse a header that lacks wanted columns with `delimiter`: one that has them with another separator, and the
    line `sep=;` that a spreadsheet writes before the header.

    Raises:
        InputError: it is such; both separators and the mapping's key are named.
    """
    if all(name in header for name in wanted):
        return
    if header[0].startswith("sep="):
        mend = 'Remove the line; the mapping\'s "delimiter" says what parts the cells.'
        raise InputError(f"{path} line 1", f"is no header but a spreadsheet's {shorten(delimiter.join(header))}", mend)
    line = delimiter.join(header)
    for other, name in SEPARATORS.items():
        cells = _cells(line, other)
        found = sum(column in cells for column in wanted)
        if other != delimiter and len(cells) > len(header) and (found == len(wanted) or (len(header) == 1 and found)):
            now = SEPARATORS.get(delimiter, repr(delimiter))
            key = "\\t" if other == "\t" else other
            what = f"the header makes {len(header)} column(s) parted by {now}, but {len(cells)} parted by {name}"
            mend = (
                f'The separator seems to be {name}: set "delimiter": "{key}" beside the file\'s "path" in the mapping.'
            )
            raise InputError(f"{path} line 1", f"{what} ({shorten(line, 80)})", mend)


def check_encoding(path: Path, encoding: str, header: Sequence[str], delimiter: str) -> None:
    """Look for the first byte that `encoding` cannot read; silent where there is none.

    Raises:
        InputError: there is one; line, byte in the line and, where it can be told, the column are named.
    """
    found = _first_bad(path, encoding)
    if found is None:
        return
    column = "" if found.quoted else _column(found.start.decode(encoding, errors="replace"), header, delimiter)
    where = f"{path} line {found.line}" + (f" column {column!r}" if column else "")
    windows = 0x80 <= found.byte < 0xA0 and codecs.lookup(encoding).name != "cp1252"
    likely = "cp1252" if windows else "latin-1"
    mend = (
        f'If the file is in another encoding, set "encoding": "{likely}", say, beside its "path" in the mapping, or '
        f"write it anew: iconv -f {likely} -t utf-8 {path.name} > new.csv."
    )
    what = f"byte {len(found.start) + 1} of the line, 0x{found.byte:02x}, is no {encoding}"
    raise InputError(where, what, mend)


@dataclass(frozen=True)
class _Bad:
    """An unreadable byte: its line (1 is the header), the line's bytes before it, the byte, and whether the line begins
    inside a quoted cell."""

    line: int
    start: bytes
    byte: int
    quoted: bool


def _first_bad(path: Path, encoding: str) -> _Bad | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    last, lines, quotes = b"", 0, 0
    with path.open("rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            held = decoder.getstate()[0]  # of a character cut by the chunk's end; it stands at the end of `last`
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                whole = held + chunk
                at = min(error.start, len(whole) - 1)
                before = last[: len(last) - len(held)] + whole[:at]
                cut = before.rfind(b"\n") + 1
                quoted = bool((quotes + before.count(b'"', 0, cut)) % 2)
                return _Bad(lines + before.count(b"\n") + 1, before[cut:], whole[at], quoted)
            if not chunk:
                return None
            last += chunk
            cut = last.rfind(b"\n") + 1
            lines += last.count(b"\n", 0, cut)
            quotes += last.count(b'"', 0, cut)
            last = last[cut:]


def _column(before: str, header: Sequence[str], delimiter: str) -> str:
    """The column in which a line that goes on after `before` is; "" where the line has more cells than the header."""
    cells = _cells(before + ('x"' if before.count('"') % 2 else "x"), delimiter)
    return header[len(cells) - 1] if 0 < len(cells) <= len(header) else ""


def _cells(line: str, delimiter: str) -> list[str]:
    """Cells of a line; none where it is no line of a table (a cell beyond `csv.field_size_limit`, a bare newline)."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
