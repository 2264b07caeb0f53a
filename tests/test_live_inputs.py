"""Live catalogues as files and rows: what is read, what is refused, and what is counted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers_live import ENDS, rows, shared_live_bundle, written
from helpers_serving import NOW

from recenv.core.errors import InputError
from recenv.core.render import money
from recenv.serving import live as live_module
from recenv.serving.bundle import Bundle
from recenv.serving.recommender import Recommender


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return shared_live_bundle(tmp_path_factory)


@pytest.fixture
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle)


def test_a_column_that_the_live_catalogue_lacks_stays_as_exported(
    recommender: Recommender, bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "live.csv"
    file.write_text("item_id,price,colour\n" + "".join(f"{row['item_id']},5,red\n" for row in bundle.items), "utf-8")
    status = recommender.refresh(file)
    kept = set(status["kept_columns"])
    assert {"text", "low_stock"} <= kept
    assert "price" not in kept
    assert recommender.facts.rows[3]["low_stock"] is True


def test_an_earlier_price_and_an_offer_go_with_the_price_that_they_were_said_of(
    recommender: Recommender, bundle: Bundle
) -> None:
    live = [{"item_id": row["item_id"], "price": 9.0} for row in bundle.items]
    status = recommender.refresh(live)
    assert status["dropped_columns"] == ["offer_ends", "was_price"]
    assert not {"price", "offer_ends", "was_price"} & set(status["kept_columns"])
    name, ends = recommender.facts.rows[1]["text"], f"The offer ends soon: {recommender.facts.rows[2]['text']}."
    assert shown(recommender, "i0001") == {name}, "nobody said that $9.00 came down from $9.99"
    assert ends not in shown(recommender, "i0002")
    status = recommender.refresh([row | {"was_price": 12.0} for row in live])
    assert status["dropped_columns"] == ["offer_ends"]
    assert f"Down from $12.00 to $9.00: {name}." in shown(recommender, "i0001")
    status = recommender.refresh([{"item_id": row["item_id"], "low_stock": True} for row in bundle.items])
    assert status["dropped_columns"] == []
    assert len(shown(recommender, "i0001")) == 2
    assert ends in shown(recommender, "i0002")


def test_rows_of_different_columns_are_refused(recommender: Recommender) -> None:
    live = [{"item_id": "i0000", "price": 9.0, "was_price": 12.0}, {"item_id": "i0001"}]
    with pytest.raises(InputError, match="column 'price' is in some rows and not in others") as caught:
        recommender.refresh(live)
    assert "row 2" in caught.value.where
    recommender.refresh([*live[:1], {"item_id": "i0001", "price": None, "was_price": None, "colour": "red"}])


def test_moments_without_a_zone_are_utc_and_counted_and_not_mixed(recommender: Recommender, bundle: Bundle) -> None:
    def offers(*ends: Any) -> list[dict[str, Any]]:
        return [{"item_id": f"i000{i}", "offer_ends": end} for i, end in enumerate(ends)]

    assert "times_taken_as_utc" not in recommender.refresh(rows(bundle))
    status = recommender.refresh(offers("2023-11-16T22:13:20", date(2023, 11, 20), None, " "))
    assert status["times_taken_as_utc"] == 2
    assert recommender.facts.rows[0]["offer_ends"] == ENDS
    facts = recommender.facts
    for mixed in (offers(ENDS, "2023-11-20"), offers("2023-11-20T00:00:00Z", None, ENDS.replace(tzinfo=None))):
        with pytest.raises(InputError, match="names no zone while another row does") as caught:
            recommender.refresh(mixed)
        assert "column 'offer_ends'" in caught.value.where
    assert recommender.facts is facts


@pytest.mark.parametrize("text", [None, "", " ", "\u200b", "\u200d", "\ufeff\u2060", "\u3164", "\ufe0f"])
def test_an_item_without_a_name_is_not_listed(recommender: Recommender, bundle: Bundle, text: str | None) -> None:
    status = recommender.refresh(rows(bundle, i0000={"text": text}))
    assert (status["nameless"], status["delisted"], status["listed"]) == (1, 1, len(bundle.items) - 1)
    (row,) = recommender.recommend({}, now=NOW, eligible=["i0000"])
    assert row["item_id"] == "__none__"
    with pytest.raises(InputError, match="is in the bundle and has a name"):
        recommender.refresh([{"item_id": "i0000", "text": text}])
    assert "nameless" not in recommender.refresh(rows(bundle, i0000={"text": "茶 4"}))


def test_a_catalogue_that_lists_less_than_half_says_so(recommender: Recommender, bundle: Bundle) -> None:
    half = (len(bundle.items) + 1) // 2
    assert "note" not in recommender.refresh(rows(bundle)[:half])
    assert recommender.refresh(rows(bundle)[: half - 1])["note"] == live_module.FEW


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"price": "3,49"}, "price"),
        ({"price": "$3.49"}, "price"),
        ({"price": "1_000"}, "price"),
        ({"price": "1e3"}, "price"),
        ({"price": -1.0}, "price"),
        ({"price": float("inf")}, "price"),
        ({"price": "nan"}, "price"),
        ({"price": True}, "price"),
        ({"price": 1e30}, "price"),
        ({"price": "9" * 29}, "price"),
        ({"price": Decimal("1E+40")}, "price"),
        ({"was_price": "9" * 400}, "was_price"),
        ({"was_price": Decimal("-2")}, "was_price"),
        ({"low_stock": "maybe"}, "low_stock"),
        ({"low_stock": 2}, "low_stock"),
        ({"often_bought": [1]}, "often_bought"),
        ({"offer_ends": "soon"}, "offer_ends"),
        ({"offer_ends": 1_700_000_000}, "offer_ends"),
        ({"text": ["Tea"]}, "text"),
        ({"text": "x" * 10_001}, "text"),
        ({"category": "x" * 10_001}, "category"),
        ({"claims": "x;" * 5_001}, "claims"),
        ({"claims": 7}, "claims"),
        ({"item_id": None}, "item_id"),
        ({"item_id": 3}, "item_id"),
        ({"item_id": "i0002"}, "item_id"),
    ],
    ids=lambda cells: str(cells)[:40],
)
def test_a_bad_cell_is_named_and_changes_nothing(
    recommender: Recommender, bundle: Bundle, cells: dict[str, Any], column: str
) -> None:
    facts = recommender.facts
    listed = rows(bundle, i0003={"price": 77.0})
    listed[7] |= cells
    with pytest.raises(InputError) as caught:
        recommender.refresh(listed)
    assert f"column {column!r}" in caught.value.where
    assert "row 8" in caught.value.where
    assert caught.value.mend
    assert len(str(caught.value)) < 400
    assert recommender.facts is facts
    assert recommender.status()["refused"] == str(caught.value)
    recommender.refresh(rows(bundle))
    assert "refused" not in recommender.status()


@pytest.mark.parametrize("cells", [{"price": 10**5000}, {"text": 10**5000}], ids=["price", "text"])
def test_a_whole_number_too_long_to_be_written_is_named(
    recommender: Recommender, bundle: Bundle, cells: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=next(iter(cells))):
        recommender.refresh(rows(bundle, i0003=cells))


@pytest.mark.parametrize("locale", ["", "de_DE"])
@pytest.mark.parametrize("amount", [1e30, "9" * 29, Decimal("1E+30"), Decimal("1E+999999")])
def test_money_of_too_many_digits_is_a_named_error(amount: Any, locale: str) -> None:
    with pytest.raises(InputError, match="not an amount of money"):
        money(amount, "EUR", locale)


def test_good_cells_of_every_form(recommender: Recommender, bundle: Bundle, tmp_path: Path) -> None:
    cells = {"price": Decimal("2.50"), "was_price": 3, "low_stock": 1, "offer_ends": date(2023, 11, 20), "brand": 7}
    live = [{"brand": None} | row for row in rows(bundle, i0002={"offer_ends": None}, i0003=cells)]
    recommender.refresh(live)
    row = recommender.facts.rows[3]
    assert (row["price"], row["was_price"], row["low_stock"], row["brand"]) == (2.5, 3.0, True, "7")
    assert row["offer_ends"] == datetime(2023, 11, 20, tzinfo=UTC)
    file = tmp_path / "live.csv"
    file.write_bytes(
        b"\xef\xbb\xbfitem_id,price,low_stock,offer_ends,claims,text\r\n"
        b'i0003, 2.5 ,TRUE,2023-11-20T01:00:00+01:00,gluten free;environment,"Tea, green"\r\ni0004,,,,,Tea\r\n'
    )
    recommender.refresh(file)
    row = recommender.facts.rows[3]
    assert (row["price"], row["low_stock"], row["text"]) == (2.5, True, "Tea, green")
    assert row["offer_ends"] == datetime(2023, 11, 20, tzinfo=UTC)
    assert recommender.facts.rows[4]["price"] is None


@pytest.mark.parametrize(
    ("file", "content", "match"),
    [
        ("none.csv", None, "no such file"),
        ("live.txt", b"item_id\ni0000\n", "neither .csv nor .parquet"),
        ("live.csv", b"", "cannot be read"),
        ("live.csv", b"item_id,price\n", "holds no row"),
        ("live.csv", b"sku,price\ni0000,1\n", "no column 'item_id' among sku, price"),
        ("live.csv", b"item_id,price,price\ni0000,1,2\n", "two columns 'price'"),
        ("live.csv", b"item_id,price\ni0000,1,2\n", "cannot be read"),
        ("live.csv", b"item_id,text\ni0000,\xff\xfe\n", "cannot be read"),
        ("live.csv", b"item_id,price\nother,1\n", "none of its 1 items is in the bundle"),
        ("live.csv", b"item_id,price\ni0000,1\n,2\n", "row 2, column 'item_id'"),
        ("live.parquet", b"PAR1", "cannot be read"),
        ("live.csv", b'item_id,text\ni0000,A\ni0001,"Tea\ni0002,B\ni0003,C\n', "a quote that is never closed"),
    ],
)
def test_a_bad_file_is_named(
    recommender: Recommender, tmp_path: Path, file: str, content: bytes | None, match: str
) -> None:
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        recommender.refresh(path)
    assert str(path) in caught.value.where


def test_a_quote_that_is_part_of_a_cell_and_a_suffix_in_capitals_are_read(
    recommender: Recommender, bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "LIVE.CSV"
    file.write_bytes(b'item_id,text\ni0000,7" pan\ni0001,"a ""b"", c"\ni0002,B')
    recommender.refresh(file)
    assert [row["text"] for row in recommender.facts.rows[:3]] == ['7" pan', 'a "b", c', "B"]
    assert recommender.refresh(written(tmp_path / "LIVE.PARQUET", rows(bundle)))["delisted"] == 0


@pytest.mark.parametrize(
    "cell",
    [pa.array([2**31 - 1], pa.date32()), pa.array([2**62], pa.duration("s")), pa.array([2**62], pa.timestamp("us"))],
    ids=["date32", "duration", "timestamp"],
)
def test_a_parquet_value_that_no_date_can_hold_is_named(
    recommender: Recommender, tmp_path: Path, cell: pa.Array
) -> None:
    pq.write_table(pa.table({"item_id": ["i0000"], "offer_ends": cell}), tmp_path / "live.parquet")
    with pytest.raises(InputError) as caught:
        recommender.refresh(tmp_path / "live.parquet")
    assert "live.parquet" in caught.value.where


def shown(recommender: Recommender, item: str) -> set[str]:
    """What is shown of an item, whatever the draw among its lines."""
    return {recommender.recommend({}, now=NOW, eligible=[item], seed=s)[0]["text"] for s in range(8)}
