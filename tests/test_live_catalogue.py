"""Facts that change after the export: what is shown then, over HTTP, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from helpers_serving import NOW, policy, tiny_world

from recenv.agents.export import export_bundle
from recenv.core.errors import InputError
from recenv.generators.needs import needs_of
from recenv.serving.app import background
from recenv.serving.bundle import Bundle, seal
from recenv.serving.facts import END, FIRST
from recenv.serving.follow import follow
from recenv.serving.live import OLD_BUNDLE
from recenv.serving.recommender import Recommender
from recenv.world import World

DAY = 86_400
NAME0 = "quiet kitchen set 0000"
ENDS = datetime.fromtimestamp(NOW + 2 * DAY, UTC)
LINES = {
    "i0000": [("price", "Just {price}: {product}."), ("plain", "{product}. Plain and simple.")],
    "i0001": [("discount", "Reduced: {product}."), ("discount", "Down from {was_price} to {price}: {product}.")],
    "i0002": [("urgency", "The offer ends soon: {product}."), ("plain", "For the list: {product}.")],
    "i0003": [("urgency", "Only a few left: {product}."), ("social_proof", "Many carts have this: {product}.")],
    "i0004": [("benefit", "An organic choice: {product}."), ("benefit", "A certified choice: {product}.")],
}
"""Two lines of each of these items; the others keep theirs."""
FACTS: dict[str, dict[str, Any]] = {
    "i0001": {"was_price": 9.99},
    "i0002": {"offer_ends": ENDS},
    "i0003": {"low_stock": True, "often_bought": True},
    "i0004": {"text": "Organic tea", "claims": "certified"},
}


def shop() -> World:
    """The bundled world with these lines and facts."""
    world = tiny_world()
    items, copies = world.items.to_pylist(), world.copies.to_pylist()
    for row in items:
        row |= dict.fromkeys(("was_price", "offer_ends", "low_stock", "often_bought", "claims"))
        row |= FACTS.get(row["item_id"], {})
    for item_id, lines in LINES.items():
        own = [row for row in copies if row["item_id"] == item_id]
        for row, (style, text) in zip(own, lines, strict=True):
            row |= {"style": style, "text": text}
    return replace(world, items=pa.Table.from_pylist(items), copies=pa.Table.from_pylist(copies), path=None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    world, folder = shop(), tmp_path_factory.mktemp("live") / "b"
    needs = needs_of(world.copies.to_pylist(), world.items.to_pylist())
    export_bundle(policy("popular", world), world, folder, needs=needs)
    return Bundle.load(folder)


@pytest.fixture
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle)


@pytest.fixture
def url(recommender: Recommender) -> Iterator[str]:
    with background(recommender) as base:
        yield base


def rows(bundle: Bundle, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The bundle's catalogue as a live one, some items' cells changed."""
    kept = [{n: v for n, v in row.items() if n != "category_index"} for row in bundle.items]
    return [row | changes.get(row["item_id"], {}) for row in kept]


def written(path: Path, listed: list[dict[str, Any]]) -> Path:
    """The rows as CSV or Parquet."""
    table = pa.Table.from_pylist(listed)
    if path.suffix == ".csv":
        pacsv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def older(bundle: Bundle, folder: Path) -> Path:
    """The bundle as recenv wrote it before it knew of evidence."""
    shutil.copytree(bundle.path, folder)
    catalogue, copies = (pq.read_table(folder / f"{table}.parquet") for table in ("catalogue", "copies"))
    pq.write_table(
        catalogue.select(["item_id", "text", "price", "was_price", "category"]), folder / "catalogue.parquet"
    )
    pq.write_table(copies.drop(["needs"]), folder / "copies.parquet")
    sealed = {key: value for key, value in bundle.manifest.items() if key not in ("hashes", "manifest_hash")}
    seal(folder, sealed)
    return folder


def texts(base: str, item: str, now: int = NOW) -> set[str]:
    """What the server shows of an item, whatever the draw among its lines."""
    shown = set()
    for seed in range(8):
        body = {"eligible": [item], "now": now, "seed": seed}
        answer = httpx.post(f"{base}/recommend", json=body, timeout=30).json()["items"][0]
        shown.add(answer["text"] if answer["item_id"] == item else answer["item_id"])
    return shown


def ask(base: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{base}/recommend", json={"now": NOW} | body, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def name(bundle: Bundle, item: str) -> str:
    return str(bundle.items[bundle.item_index[item]]["text"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_new_price_is_the_one_shown(
    url: str, recommender: Recommender, bundle: Bundle, tmp_path: Path, ending: str
) -> None:
    assert texts(url, "i0000") == {f"Just $28.70: {NAME0}.", f"{NAME0}. Plain and simple."}
    before = recommender.request({}, now=NOW)
    live = rows(bundle, i0000={"price": 31.5, "text": "Renamed, “quoted”\nand broken"})
    recommender.refresh(written(tmp_path / f"live.{ending}", live))
    renamed = "Renamed, “quoted” and broken"
    assert texts(url, "i0000") == {f"Just $31.50: {renamed}.", f"{renamed}. Plain and simple."}
    after = recommender.request({}, now=NOW)
    np.testing.assert_array_equal(after.observation, before.observation)
    assert after.mask.tolist() == before.mask.tolist()
    health = httpx.get(f"{url}/healthz", timeout=30).json()["items"]
    assert (health["listed"], health["delisted"], health["unknown"]) == (len(bundle.items), 0, 0)
    assert health["kept_columns"] == []


def test_an_offer_that_is_over_takes_its_line_away_without_any_refresh(url: str, bundle: Bundle) -> None:
    ends, plain = f"The offer ends soon: {name(bundle, 'i0002')}.", f"For the list: {name(bundle, 'i0002')}."
    end = NOW + 2 * DAY
    assert texts(url, "i0002") == {ends, plain}
    assert texts(url, "i0002", end - 1) == {ends, plain}
    assert texts(url, "i0002", end) == {plain}
    assert texts(url, "i0002", end - 14 * DAY) == {ends, plain}
    assert texts(url, "i0002", end - 14 * DAY - 1) == {plain}, "the end is too far ahead to be said"
    assert ask(url, eligible=["i0002"])["notes"] == {}
    assert ask(url, eligible=["i0002"], now=end)["notes"] == {"stale_copies": 1}
    assert httpx.get(f"{url}/healthz", timeout=30).json()["items"]["stale_copies"] == 1, "it is over by the clock"


def test_an_item_without_a_line_that_holds_comes_with_its_plain_name(
    url: str, recommender: Recommender, bundle: Bundle
) -> None:
    assert len(texts(url, "i0001")) == 2
    for risen in ({"price": 9.99}, {"was_price": None}, {"price": None}):
        recommender.refresh(rows(bundle, i0001=risen))
        answer = ask(url, eligible=["i0001"])
        (row,) = answer["items"]
        assert (row["item_id"], row["text"]) == ("i0001", name(bundle, "i0001"))
        assert (row["copy_id"], row["style"], row["propensity"]) == (None, None, 1.0)
        assert answer["notes"] == {"stale_copies": 2}
        assert recommender.status()["shown_by_name"] == 1
    recommender.refresh(rows(bundle))
    assert len(texts(url, "i0001")) == 2


@pytest.mark.parametrize("gone", [None, False, 0, "false"])
def test_a_flag_that_is_gone_takes_its_own_line_alone(
    url: str, recommender: Recommender, bundle: Bundle, gone: Any
) -> None:
    few, many = f"Only a few left: {name(bundle, 'i0003')}.", f"Many carts have this: {name(bundle, 'i0003')}."
    assert texts(url, "i0003") == {few, many}
    recommender.refresh(rows(bundle, i0003={"low_stock": gone}))
    assert texts(url, "i0003") == {many}
    recommender.refresh(rows(bundle, i0003={"low_stock": gone, "offer_ends": ENDS}))
    assert texts(url, "i0003") == {many}, "an offer that ends is no evidence for few being left"


def test_a_claim_goes_with_the_name_or_the_entry_that_said_it(
    url: str, recommender: Recommender, bundle: Bundle
) -> None:
    organic, certified = "An organic choice: Organic tea.", "A certified choice: Organic tea."
    assert texts(url, "i0004") == {organic, certified}
    recommender.refresh(rows(bundle, i0004={"claims": ""}))
    assert texts(url, "i0004") == {organic}
    recommender.refresh(rows(bundle, i0004={"text": "Tea"}))
    assert texts(url, "i0004") == {"A certified choice: Tea."}


def test_an_item_off_the_list_is_not_shown(url: str, recommender: Recommender, bundle: Bundle, tmp_path: Path) -> None:
    best = ask(url)["items"][0]["item_id"]
    live = [row for row in rows(bundle) if row["item_id"] != best] + [{"item_id": "new", "price": 1.0}]
    recommender.refresh(written(tmp_path / "live.csv", live))
    answer = ask(url, k=100)
    assert best not in {row["item_id"] for row in answer["items"]}
    assert len(answer["items"]) == len(bundle.items) - 1
    assert answer["notes"] == {"delisted": 1}
    assert texts(url, best) == {"__none__"}
    status = recommender.status()
    assert (status["delisted"], status["unknown"], status["listed"]) == (1, 1, len(bundle.items) - 1)


def test_a_column_that_the_live_catalogue_lacks_stays_as_exported(
    recommender: Recommender, bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "live.csv"
    file.write_text("item_id,price,colour\n" + "".join(f"{row['item_id']},5,red\n" for row in bundle.items), "utf-8")
    status = recommender.refresh(file)
    kept = set(status["kept_columns"])
    assert {"text", "was_price", "offer_ends", "low_stock"} <= kept
    assert "price" not in kept
    shown = {recommender.recommend({}, now=NOW, eligible=["i0001"], seed=s)[0]["text"] for s in range(8)}
    assert any("9.99" in text and "5.00" in text for text in shown)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"price": "3,49"}, "price"),
        ({"price": "$3.49"}, "price"),
        ({"price": -1.0}, "price"),
        ({"price": float("inf")}, "price"),
        ({"price": "nan"}, "price"),
        ({"price": True}, "price"),
        ({"was_price": Decimal("-2")}, "was_price"),
        ({"low_stock": "maybe"}, "low_stock"),
        ({"low_stock": 2}, "low_stock"),
        ({"often_bought": [1]}, "often_bought"),
        ({"offer_ends": "soon"}, "offer_ends"),
        ({"offer_ends": 1_700_000_000}, "offer_ends"),
        ({"text": ["Tea"]}, "text"),
        ({"brand": 1.5}, "brand"),
        ({"claims": 7}, "claims"),
        ({"item_id": None}, "item_id"),
        ({"item_id": 3}, "item_id"),
        ({"item_id": "i0002"}, "item_id"),
    ],
    ids=str,
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
    assert recommender.facts is facts
    assert recommender.status()["refused"] == str(caught.value)
    recommender.refresh(rows(bundle))
    assert "refused" not in recommender.status()


def test_good_cells_of_every_form(recommender: Recommender, bundle: Bundle, tmp_path: Path) -> None:
    cells = {"price": Decimal("2.50"), "was_price": 3, "low_stock": 1, "offer_ends": date(2023, 11, 20), "brand": 7}
    recommender.refresh(rows(bundle, i0003=cells))
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


def test_a_bundle_that_does_not_say_what_its_lines_need_is_served_and_says_so(tmp_path: Path, bundle: Bundle) -> None:
    old = Recommender.load(older(bundle, tmp_path / "old"), items=rows(bundle, i0001={"was_price": None}))
    with background(old) as base:
        health = httpx.get(f"{base}/healthz", timeout=30).json()["items"]
        assert health["note"] == OLD_BUNDLE
        assert health["unchecked_copies"] == len(bundle.copies)
        assert texts(base, "i0001") == {f"Reduced: {name(bundle, 'i0001')}."}, "its slots are all that is checked"
        assert len(texts(base, "i0003")) == 2
        old.refresh(rows(bundle, i0000={"price": None}))
        assert texts(base, "i0000") == {f"{NAME0}. Plain and simple."}


def test_needs_of_another_number_than_the_copies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 entries"):
        export_bundle(policy("popular"), tiny_world(), tmp_path / "b", needs=[()])
    assert not (tmp_path / "b").exists()


def test_the_bundle_says_what_each_line_needs(bundle: Bundle) -> None:
    by_text = {line["text"]: line["needs"] for line in bundle.copies}
    assert by_text["{product}. Plain and simple."] == []
    assert ["was_price"] in by_text["Reduced: {product}."]
    assert ["offer_ends"] in by_text["The offer ends soon: {product}."]
    assert any("says:organic" in clause for clause in by_text["An organic choice: {product}."])
    assert {"was_price", "offer_ends", "low_stock", "often_bought", "claims"} <= set(bundle.items[0])


def test_standing_is_the_rule_at_every_moment_and_kept_between_its_edges(recommender: Recommender) -> None:
    facts = recommender.facts
    first = facts.at(NOW)
    assert facts.at(NOW + 1) is first
    assert (first.since, first.until) == (NOW + 2 * DAY - 14 * DAY, NOW + 2 * DAY)
    for now in (FIRST - 5, -1, NOW - 20 * DAY, first.since - 1, first.since, NOW, first.until - 1, first.until, 2**53):
        standing, inside = facts.at(now), min(max(now, FIRST), END - 1)
        holds = (facts.since <= inside) & (inside < facts.until)
        assert standing.since <= inside < standing.until
        np.testing.assert_array_equal(standing.stale, ~holds)
        np.testing.assert_array_equal(standing.allowed, holds | standing.bare)
        shown = np.unique(recommender.bundle.action_item[standing.allowed])
        assert len(shown) == len(recommender.bundle.items) + 1, "every item can be shown somehow"


def test_propensities_count_the_lines_that_are_left(recommender: Recommender, bundle: Bundle) -> None:
    explored = Recommender(bundle, explore=0.5)
    (full,) = explored.recommend({}, now=NOW, eligible=["i0002"], seed=1)
    (left,) = explored.recommend({}, now=NOW + 3 * DAY, eligible=["i0002"], seed=1)
    assert (full["propensity"], left["propensity"]) == (0.5, 1.0)


def test_a_request_under_way_keeps_the_facts_it_began_with(recommender: Recommender, bundle: Bundle) -> None:
    request = recommender.request({}, now=NOW, eligible=["i0000"])
    recommender.refresh(rows(bundle, i0000={"text": "Renamed"}))
    action = int(np.flatnonzero(request.mask[0])[1])
    assert "Renamed" not in recommender._describe(action, request)["text"]


def test_the_follower_takes_a_new_file_and_keeps_the_facts_of_a_bad_one(
    recommender: Recommender, bundle: Bundle, tmp_path: Path
) -> None:
    file = written(tmp_path / "live.csv", rows(bundle))
    with follow(recommender, file, 0.02):
        for price, ending in ((41.0, "41.00"), (42.0, "42.00")):
            os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": price})), file)
            assert _until(lambda price=price: recommender.facts.rows[0]["price"] == price)
            shown = {recommender.recommend({}, now=NOW, eligible=["i0000"], seed=s)[0]["text"] for s in range(8)}
            assert any(ending in text for text in shown)
        (tmp_path / "next.csv").write_text("item_id,price\ni0000,free\n", "utf-8")
        os.replace(tmp_path / "next.csv", file)
        assert _until(lambda: "refused" in recommender.status())
        assert recommender.facts.rows[0]["price"] == 42.0
        file.unlink()
        assert _until(lambda: "no such file" in recommender.refused)
    assert not [thread for thread in threading.enumerate() if thread.name == "live catalogue"]
    with pytest.raises(InputError, match="reload"), follow(recommender, file, 0.0):
        pass


def test_the_command_serves_a_live_catalogue(bundle: Bundle, tmp_path: Path) -> None:
    file = written(tmp_path / "live.csv", rows(bundle, i0000={"price": 41.0})[:-1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "recenv.scripts.cli", "serve", "--bundle", str(bundle.path), "--port", port]
    command += ["--items", str(file), "--reload", "0.05"]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert _until(lambda: _answers(base) or process.poll() is not None, 90)
            assert any("41.00" in text for text in texts(base, "i0000"))
            os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": 43.0})), file)
            assert _until(lambda: httpx.get(f"{base}/healthz", timeout=5).json()["items"]["delisted"] == 0)
            assert any("43.00" in text for text in texts(base, "i0000"))
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "1 items not listed and not shown" in out
    file.write_text("item_id,price\ni0000,free\n", "utf-8")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 2
    assert "column 'price'" in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_a_live_catalogue_needs_neither_torch_nor_pandas(bundle: Bundle, tmp_path: Path) -> None:
    file = written(tmp_path / "live.csv", rows(bundle))
    code = (
        "import sys\nfrom recenv.serving.recommender import Recommender\n"
        f"Recommender.load({str(bundle.path)!r}, items={str(file)!r}).recommend({{}})\n"
        "print([m for m in ('torch', 'pandas', 'scipy', 'numba') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _until(done: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(0.02)
    return False
