"""Logs that can be read and are still wrong, or are no logs at all: what is probably the matter is said."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pytest
from test_bad_tables import GOOD, HEADER, NAMES, prepare

from recenv.core.errors import InputError

LINES = "\n".join([HEADER, *GOOD]) + "\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(LINES.encode()), ["no CSV file but compressed by gzip", "gunzip log.csv"]),
        (b"PK\x03\x04" + bytes(range(200)), ["a zip archive, as spreadsheets", "Save the sheet as CSV"]),
        (bz2.compress(LINES.encode()), ["no CSV file but compressed by bzip2", "bunzip2 log.csv"]),
        (b"sep=;\n" + LINES.encode(), ["line 1", "'sep=;'", "Remove the line"]),
        (b"\x80\r\x81,x\n", ["line 1", "0x80"]),
        (b'"' + b"a" * 200_000 + b'",b\n1,2\n', ["line 1", "no header"]),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        prepare(tmp_path, content=content)
    for word in words:
        assert word in str(caught.value)


def test_a_header_that_begins_as_bzip2_does_is_read(tmp_path: Path) -> None:
    lines = "\n".join(f"{first},{line}" for first, line in zip(["BZhnr", "1", "2", "3"], [HEADER, *GOOD], strict=True))
    assert len(prepare(tmp_path, content=lines.encode()).events) == 3


@pytest.mark.parametrize("wide", [",".join(f"column{k}" for k in range(16_000)), '"two\nlines"'])
def test_a_header_that_no_other_separator_can_read_is_named(tmp_path: Path, wide: str) -> None:
    with pytest.raises(InputError, match=r"column 'item'.*is missing"):
        prepare(tmp_path, content=f"user,{wide},kind,when,click,propensity,revenue\n".encode())


@pytest.mark.parametrize("cell", ["1,234.50", "9,90", "EUR 9.90", "NULL"])
def test_a_number_that_is_none_says_how_to_write_it(tmp_path: Path, cell: str) -> None:
    with pytest.raises(InputError, match=r"row 4 column 'revenue'.*Write it as 1234\.50.*`missing` of the mapping"):
        prepare(tmp_path, [f'u3,007,impression,2024-03-02T10:00:00Z,0,0.5,"{cell}"'])


def test_numbers_beyond_32_bits_are_set_aside_not_made_infinite(tmp_path: Path) -> None:
    lines = [f"u{k},007,impression,2024-03-0{k}T10:00:00Z,0,0.5,{paid}" for k, paid in ((3, 1e300), (4, 3e38))]
    data = prepare(tmp_path, lines)
    assert data.meta["quarantined"] == {"revenue_not_finite": 1}
    assert data.events["revenue"].max() == pytest.approx(3e38, rel=1e-6)


@pytest.mark.parametrize(
    ("item", "key", "words"),
    [
        ("7", "item_id", "Events name item_id '007', the table '7'"),
        ("007", "user_id", "Events name user_id 'u1', the table '007'"),
    ],
)
def test_ids_that_no_table_holds_are_shown_side_by_side(tmp_path: Path, item: str, key: str, words: str) -> None:
    (tmp_path / "side.csv").write_text(f"id\n{item}\n")
    table = {"path": "side.csv", "columns": {key: "id"}}
    with pytest.raises(InputError, match=words):
        prepare(tmp_path, **{"items" if key == "item_id" else "users": table})


def test_the_id_shown_is_one_that_its_table_lacks(tmp_path: Path) -> None:
    (tmp_path / "side.csv").write_text("id\n007\n")
    lines = ["u1,007,impression,2090-03-01T10:00:00Z,0,0.5,", *(line.replace(",00", ",A") for line in GOOD)]
    table = {"path": "side.csv", "columns": {"item_id": "id"}}
    with pytest.raises(InputError, match="Events name item_id 'A7', the table '007'"):
        prepare(tmp_path, content="\n".join([HEADER, *lines]).encode(), items=table)


def test_a_log_wholly_in_the_future_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="future_timestamp: later than the present: check time_unit"):
        prepare(tmp_path, content=LINES.replace("2024", "2090").encode())


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        (["nan,007,impression,2024-03-02T10:00:00Z,0,0.5,"], "user_id 'nan' is taken for an id"),
        (["u3,NULL,impression,2024-03-02T10:00:00Z,0,0.5,"], "item_id 'NULL' is taken for an id"),
        (["u1.0,007,impression,2024-03-02T10:00:00Z,0,0.5,"], "'u1.0' and 'u1' say"),
        (["u3,007,impression,1970-01-19T10:00:00Z,0,0.5,"], "times run from 1970-01-19 to 2024-03-02: is `time_unit`"),
        (["nana,none2,impression,2024-03-02T10:00:00Z,0,0.5,", "u10,7.05,view,2024-03-02T11:00:00Z,,,"], ""),
    ],
)
def test_odd_ids_and_times_are_warned_of(tmp_path: Path, lines: list[str], warned: str) -> None:
    found = [w for w in prepare(tmp_path, lines).meta["warnings"] if "split" not in w]
    assert (warned in " ".join(found)) if warned else not any("id" in w or "times" in w for w in found)


def test_milliseconds_declared_of_seconds_are_warned_of(tmp_path: Path) -> None:
    lines = [",".join([*line.split(",")[:3], str(1_709_287_200 + 60 * k), "0,0.5,"]) for k, line in enumerate(GOOD)]
    events: dict[str, Any] = {"columns": NAMES, "time_unit": "ms"}
    data = prepare(tmp_path, content="\n".join([HEADER, *lines]).encode(), events=events)
    assert any("1970-01-20" in warning and "time_unit" in warning for warning in data.meta["warnings"])


@pytest.mark.parametrize(("heaviest", "warned"), [(1e30, True), (40, True), (20, False)])
def test_a_row_that_outweighs_all_others_is_warned_of(tmp_path: Path, heaviest: float, warned: bool) -> None:
    log = [f"u{k},{k % 2},impression,2024-03-01T10:{k:02d}:00Z,0,{1 if k else heaviest}," for k in range(30)]
    columns = {name: theirs for name, theirs in NAMES.items() if name != "propensity"} | {"weight": "propensity"}
    data = prepare(tmp_path, content="\n".join([HEADER, *log]).encode(), events={"columns": columns})
    assert any("one impression of 30 carries" in warning for warning in data.meta["warnings"]) == warned


def test_a_catalogue_mostly_never_shown_is_warned_of(tmp_path: Path) -> None:
    for others, warned in ((2, False), (3, True)):
        ids = ["007", "008", *(f"new{k}" for k in range(others))]
        folder = tmp_path / str(others)
        folder.mkdir()
        (folder / "items.csv").write_text("id\n" + "\n".join(ids) + "\n")
        data = prepare(folder, items={"path": "items.csv", "columns": {"item_id": "id"}})
        assert any("3 of 5 items were never shown" in warning for warning in data.meta["warnings"]) == warned


def test_a_window_in_an_order_is_told_in_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = [f"u{k % 3},{k % 2},{'purchase' if k % 5 == 4 else 'impression'},{k},,," for k in range(400)]
    mapping = {"purchase_window_days": 0.0001, "split": {"by": "user"}}
    columns = {name: theirs for name, theirs in NAMES.items() if name != "click"} | {"session_id": "user"}
    events = {"columns": columns, "time_unit": "order"}
    prepare(tmp_path, content="\n".join([HEADER, *log]).encode(), events=events, **mapping)
    assert "shorten purchase_window_days (0.0001), which in an order is 9 places, of the" in capsys.readouterr().out
