"""Every fault of a log, table or mapping ends in a named error or a counted quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers_logs import ALL_TRAIN, attributed, moment, stream, write_mapping

from recenv.core.errors import InputError
from recenv.data.logs import BuildOptions, build
from recenv.data.schema import Dataset, RawTables
from recenv.scripts.prepare import PrepareConfig, run

HEADER = "user,item,kind,when,click,propensity,revenue"
GOOD = ["u1,007,impression,2024-03-01T10:00:00Z,1,0.5,", "u1,008,impression,2024-03-01T10:05:00Z,0,0.5,",
        "u2,007,impression,2024-03-02T10:00:00Z,0,0.25,"]  # fmt: skip
NAMES = {"user_id": "user", "item_id": "item", "kind": "kind", "timestamp": "when", "click": "click",
         "propensity": "propensity", "revenue": "revenue"}  # fmt: skip


def prepare(folder: Path, lines: list[str] | None = None, header: str = HEADER, content: bytes | None = None,
            events: dict[str, Any] | None = None, **keys: Any) -> Dataset:  # fmt: skip
    """Prepare a small CSV log; `lines` follow three good rows."""
    data = content if content is not None else "\n".join([header, *GOOD, *(lines or [])]).encode() + b"\n"
    (folder / "log.csv").write_bytes(data)
    table = {"path": "log.csv", "columns": NAMES} | (events or {})
    mapping = {"events": table, "split": {"fractions": [1.0, 0.0, 0.0, 0.0]}, **keys}
    run(PrepareConfig("csv", folder / "out", mapping=str(write_mapping(folder, mapping)), progress=False))
    return Dataset.load(folder / "out")


def test_the_good_log_is_good(tmp_path: Path) -> None:
    data = prepare(tmp_path)
    assert data.meta["quarantined"] == {}
    assert len(data.events) == 3
    assert data.items["item_id"].tolist() == ["007", "008"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u3,,impression,2024-03-02T10:00:00Z,0,0.5,", "item_missing"),
        ("u3,,purchase,2024-03-02T10:00:00Z,,,3", "purchase_without_item"),
        (",007,impression,2024-03-02T10:00:00Z,0,0.5,", "user_missing"),
        ("u3,007,,2024-03-02T10:00:00Z,0,0.5,", "kind_missing"),
        ("u3,007,impression,,0,0.5,", "timestamp_missing"),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,0,", "propensity_out_of_range"),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,-0.1,", "propensity_out_of_range"),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,1.7,", "propensity_out_of_range"),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,0.5,-4", "negative_revenue"),
        ("u3,007,click,2024-03-02T10:00:00Z,,,", "click_without_impression"),
        ("u3,007,impression,2094-03-02T10:00:00Z,0,0.5,", "future_timestamp"),
        (GOOD[0], "duplicate_event"),
        ("u3,007,impression", "ragged_row"),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,0.5,,,9", "ragged_row"),
        (f"u3,{'x' * 10_000},impression,2024-03-02T10:00:00Z,0,0.5,", "id_too_long"),
    ],
)
def test_a_bad_row_is_set_aside_and_counted(tmp_path: Path, line: str, reason: str) -> None:
    data = prepare(tmp_path, [line, "u9,008,impression,2024-03-02T11:00:00Z,0,0.5,"])
    assert data.meta["quarantined"] == {reason: 1}
    assert data.quarantine[["table", "reason", "source", "row"]].to_numpy().tolist() == [
        ["events", reason, "log.csv", 3]
    ]
    assert "u9" in data.events["user_id"].tolist()
    record = json.loads(data.quarantine["record"][0])
    assert record.get("text", "") or record["item_id"] in (None, "007", "x" * 10_000)
    assert "u3" not in data.events["user_id"].tolist()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("u3,007,impression,2024-03-02T10:00:00Z,0,nan,", ["log.csv row 4", "'propensity'", "'nan'", "finite"]),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,inf,", ["log.csv row 4", "'inf'", "finite"]),
        ("u3,007,impression,2024-03-02T10:00:00Z,0,0.5,dear", ["row 4", "'revenue'", "'dear'"]),
        ("u3,007,impression,2024-03-02T10:00:00Z,maybe,0.5,", ["row 4", "'click'", "'maybe'", "0 or 1"]),
        ("u3,007,impression,yesterday,0,0.5,", ["row 4", "'when'", "'yesterday'", "ISO 8601"]),
        ("u3,007,impression,1709287200,0,0.5,", ["row 4", "'when'", "time_unit"]),
        ("u3,007,impression,2024-03-02T10:00:00,0,0.5,", ["row 4", "no zone", "row 1"]),
        ("u3,007,shown,2024-03-02T10:00:00Z,0,0.5,", ["'kind'", "'shown'", "impression"]),
    ],
)
def test_a_cell_of_a_wrong_type_is_named(tmp_path: Path, line: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        prepare(tmp_path, [line])
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (HEADER.replace("item,", "itm,"), ["'item'", "missing", "did you mean 'itm'"]),
        (HEADER.replace("revenue", "click"), ["'click'", "twice"]),
        (HEADER.replace(",", ";"), ["line 1", "parted by ';'", '"delimiter": ";"']),
        (HEADER.replace(",", "\t"), ["line 1", "a tab", '"delimiter": "\\t"']),
        (HEADER.replace(",", "|").replace("item|", "itm|"), ["'|'", '"delimiter": "|"']),
        (HEADER.replace("item,", "it;em,"), ["'item'", "missing", "The file has"]),
    ],
)
def test_missing_renamed_and_duplicate_columns(tmp_path: Path, header: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        prepare(tmp_path, header=header)
    for word in words:
        assert word in str(caught.value)


def body() -> str:
    return "\n".join([HEADER, *GOOD, "ü4,Größe-日本-🛒,impression,2024-03-03T10:00:00+09:00,0,0.5,"]) + "\n"


@pytest.mark.parametrize(
    ("content", "table"),
    [
        (body().encode("utf-8-sig"), {}),
        (body().encode("utf-16"), {}),
        (body().encode("utf-16-le"), {"encoding": "utf-16-le"}),
        (body().replace("\n", "\r\n").encode(), {}),
        (body().replace(",", "\t").encode(), {"delimiter": "\t"}),
        (body().replace("日本-🛒", "").encode("latin-1"), {"encoding": "latin-1"}),
    ],
    ids=["bom", "utf-16", "utf-16-le", "crlf", "tabs", "latin-1"],
)
def test_encodings_that_are_read(tmp_path: Path, content: bytes, table: dict[str, Any]) -> None:
    data = prepare(tmp_path, content=content, events=table)
    last = data.events.iloc[-1]
    assert last["user_id"] == "ü4"
    assert last["item_id"].startswith("Größe-")
    assert last["timestamp"] == pd.Timestamp("2024-03-03T01:00:00Z")


def _with_byte(byte: int, row: int, quote: bool = False) -> bytes:
    """A file whose data row `row` (from 1) has this byte in its item, after a quoted cell with a comma if so asked."""
    line = b"u3,007" + bytes([byte]) + b",impression,2024-03-02T10:00:00Z,0,0.5,"
    user = b'"u,\xc3\xbc3",007' if quote else b"u3,007"
    lines = [HEADER.encode(), *[GOOD[0].encode()] * (row - 1), line.replace(b"u3,007", user, 1), GOOD[1].encode()]
    return b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (HEADER.encode() + b"\n", ["no rows"]),
        (b"\n\n", ["no header"]),
        (body().encode("utf-16-le"), ["NUL byte", "utf-16-le"]),
        (f"{HEADER}\n{GOOD[0]}\nu\0,1,view,2024-03-01T10:00:00Z,,,\n".encode(), ["line 3", "NUL byte"]),
        (
            (HEADER + "\n" + GOOD[0].replace("u1", "ü1") + "\n").encode("latin-1"),
            ["log.csv line 2 column 'user'", "byte 1 of the line, 0xfc", "latin-1", "iconv"],
        ),
        (_with_byte(0x96, 3), ["log.csv line 4 column 'item'", "byte 7 of the line, 0x96", "cp1252"]),
        (_with_byte(0xFC, 3, quote=True), ["log.csv line 4 column 'item'", "byte 12 of the line"]),
        (_with_byte(0xFC, 60_000), ["log.csv line 60001 column 'item'", "byte 7"]),
        ("\n".join([HEADER, 'u3,"007' + GOOD[0][6:], *GOOD, *GOOD]).encode(), ["never closed", "8 lines"]),
        (b"PAR1 not really", ["no readable Parquet"]),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        prepare(tmp_path, content=content)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"path": "none.csv"}, ["there is no file", "none.csv"]),
        ({"path": "../log.csv"}, ["leaves the folder"]),
        ({"path": "/etc/hostname"}, ["leaves the folder"]),
    ],
)
def test_mapping_that_names_a_missing_or_foreign_file(tmp_path: Path, table: dict, words: list[str]) -> None:
    (tmp_path / "log.csv").write_text("a\n")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "in", events=table)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "..", "a\\b", "x" * 200])
def test_a_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a folder"):
        prepare(tmp_path, name=name)


def test_unknown_items_users_and_copies_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,price\n007,3\n")
    items = {"path": "items.csv", "columns": {"item_id": "id", "price": "price"}}
    data = prepare(tmp_path, items=items)
    assert data.meta["quarantined"] == {"unknown_item": 1}
    log = attributed()
    users = pd.DataFrame({"user_id": sorted(set(log.events["user_id"]))[1:]})
    log.events["copy_id"] = ["A"] * 399 + ["B"]
    built = build(RawTables(log.events, users=users, copies=pd.DataFrame({"copy_id": ["A"]}), attributed=True))
    assert set(built.meta["quarantined"]) == {"unknown_user", "unknown_copy"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("007,-3\n", ["items", "price", "-3"]),
        ("007,\n", ["row 1", "'price'", "missing", "allow_missing"]),
        ("007,inf\n", ["row 1", "'inf'"]),
        ("007,3\n007,4\n", ["'007'", "twice"]),
        ("__none__,0\n", ["reserved"]),
    ],
)
def test_bad_catalogue(tmp_path: Path, rows: str, words: list[str]) -> None:
    (tmp_path / "items.csv").write_text("id,price\n" + rows)
    with pytest.raises(InputError) as caught:
        prepare(tmp_path, items={"path": "items.csv", "columns": {"item_id": "id", "price": "price"}})
    for word in words:
        assert word in str(caught.value)


def test_price_may_be_missing_where_said_and_equal_rows_are_one(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,price\n007,\n008,2\n008,2\n")
    columns = {"item_id": "id", "price": "price"}
    data = prepare(tmp_path, items={"path": "items.csv", "columns": columns, "allow_missing": ["price"]})
    assert data.items["price"].isna().tolist() == [True, False]
    assert data.meta["missing_allowed"] == {"items": ["price"]}
    assert data.meta["quarantined"] == {"duplicate_row": 1}


def test_ids_keep_their_zeros_and_floats_are_refused(tmp_path: Path) -> None:
    assert prepare(tmp_path).events["item_id"].tolist() == ["007", "008", "007"]
    (tmp_path / "other").mkdir()
    rows = [row.replace("007", "7.0").replace("008", "8.0") for row in GOOD]
    with pytest.raises(InputError, match="looks like a float"):
        prepare(tmp_path / "other", content="\n".join([HEADER, *rows]).encode())


def test_float_and_integer_ids_of_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": [12.0, None], "item": [2**60 + 1, 5], "when": pd.to_datetime(["2024-03-01"] * 2)})
    frame.to_parquet(tmp_path / "log.parquet")
    columns = {"user_id": "user", "item_id": "item", "timestamp": "when"}
    table = {"path": "log.parquet", "columns": columns, "constants": {"kind": "view"}}
    mapping = {"events": table, "split": {"fractions": [1.0, 0.0, 0.0, 0.0]}}
    file = write_mapping(tmp_path, mapping)
    with pytest.raises(InputError, match=r"'user_id'.*read as floats \(12\.0\)"):
        run(PrepareConfig("csv", tmp_path / "out", mapping=str(file), progress=False))
    frame.assign(user=pd.array([12, None], dtype="Int64")).to_parquet(tmp_path / "log.parquet")
    result = run(PrepareConfig("csv", tmp_path / "out", mapping=str(file), progress=False))
    assert result["quarantined"] == {"user_missing": 1}
    events = Dataset.load(tmp_path / "out").events
    assert events[["user_id", "item_id"]].to_numpy().tolist() == [["12", str(2**60 + 1)]]


def test_time_units_agree_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    expected = prepare(tmp_path).events["timestamp"]
    seconds = [int(t.timestamp()) for t in expected]
    for unit, scale in (("s", 1), ("ms", 1000)):
        rows = [g.replace(g.split(",")[3], str(s * scale)) for g, s in zip(GOOD, seconds)]
        folder = tmp_path / unit
        folder.mkdir()
        content = "\n".join([HEADER, *rows]).encode()
        found = prepare(folder, content=content, events={"time_unit": unit}).events["timestamp"]
        pd.testing.assert_series_equal(found, expected)
        wrong = tmp_path / f"{unit}-wrong"
        wrong.mkdir()
        if unit == "ms":
            with pytest.raises(InputError, match="is not a time in s since 1970"):
                prepare(wrong, content=content, events={"time_unit": "s"})


def test_unsorted_events_give_the_same_tables() -> None:
    log = attributed()
    shuffled = log.events.sample(frac=1, random_state=np.random.default_rng(3)).reset_index(drop=True)
    other = RawTables(shuffled, meta=log.meta, attributed=True)
    pd.testing.assert_frame_equal(build(log).events, build(other).events)


def test_infinite_numbers_and_bad_weights_in_frames_are_set_aside() -> None:
    log = attributed()
    n = len(log.events)
    log.events["weight"] = [np.inf, 0.0, *[1.0] * (n - 2)]
    log.events["exp_mail"] = [1.0, 1.0, np.nan, np.inf, *[0.0] * (n - 4)]
    log.events["position"] = [1, 1, 1, 1, 0, 1.5, *[2] * (n - 6)]
    log.events.loc[6, "click"] = 0.5
    log.events.loc[7, "propensity"] = np.nan
    found = build(log).meta["quarantined"]
    assert found == {"weight_not_finite": 1, "weight_out_of_range": 1, "exp_mail_missing": 1, "exp_mail_not_finite": 1,
                     "position_out_of_range": 2, "click_not_binary": 1, "propensity_missing": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda e: e.drop(columns="item_id"), "'item_id' is missing"),
        (lambda e: e.rename(columns={"item_id": "item"}), "Is it 'item'"),
        (lambda e: pd.concat([e, e[["kind"]]], axis=1), "'kind' occurs twice"),
        (lambda e: e.assign(clik=1), "did you mean 'click'"),
        (lambda e: e.assign(user_id=1.5), "read as floats"),
        (lambda e: e.assign(user_id=True), "type bool"),
        (lambda e: e.assign(item_id=[b"x"] * len(e)), "type bytes"),
        (lambda e: e.assign(click="yes"), "Make it numeric"),
        (lambda e: e.assign(timestamp=e["timestamp"].dt.tz_localize(None)), "Give UTC times"),
        (lambda e: e.assign(timestamp=1.5), "type float64"),
        (lambda e: e.assign(kind="seen"), "unknown value 'seen'"),
        (lambda e: e.iloc[:0], "no rows"),
        (lambda e: e.assign(propensity=7.0), "no row is left"),
        (lambda e: e.assign(timestamp=moment(0)), "cannot be cut"),
    ],
)
def test_bad_frames_are_named(spoil: Callable[[pd.DataFrame], pd.DataFrame], words: str) -> None:
    log = attributed()
    with pytest.raises(InputError, match=words):
        build(RawTables(spoil(log.events), meta=log.meta, attributed=True))


def test_ids_with_nul_are_set_aside() -> None:
    log = stream([("a", "view", "i", 0), ("a", "view", "i\0j", 1)])
    assert build(log, ALL_TRAIN).meta["quarantined"] == {"id_with_nul": 1}


@pytest.mark.parametrize(
    "options",
    [{"click_window": 0}, {"session_gap": float("nan")}, {"split_by": "luck"}, {"fractions": (0.5, 0.1, 0.1, 0.1)},
     {"split_times": ("2024-01-01T00:00:00Z",)}, {"click_kinds": ("purchase",)}],
)  # fmt: skip
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        BuildOptions(**options)


@pytest.mark.parametrize(
    ("cuts", "words"),
    [
        (("2024-03-30T00:00:00Z", "2024-03-10T00:00:00Z", "2024-04-01T00:00:00Z"), "not in order"),
        (("soon", "later", "then"), "is no time"),
    ],
)
def test_bad_split_times_are_named(cuts: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(attributed(), BuildOptions(split_times=cuts))
