"""Facts that change after the export: what a real server shows then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers_live import DAY, ENDS, NAME0, name, older, rows, shared_live_bundle, texts, written
from helpers_serving import NOW, policy, tiny_world

from recenv.agents.export import export_bundle
from recenv.core.errors import InputError
from recenv.serving.app import background
from recenv.serving.bundle import Bundle
from recenv.serving.facts import END, FIRST
from recenv.serving.live import OLD_BUNDLE
from recenv.serving.recommender import Recommender


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return shared_live_bundle(tmp_path_factory)


@pytest.fixture
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle)


@pytest.fixture
def url(recommender: Recommender) -> Iterator[str]:
    with background(recommender) as base:
        yield base


def ask(base: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{base}/recommend", json={"now": NOW} | body, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


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


def test_requests_see_one_catalogue_while_another_thread_refreshes(recommender: Recommender, bundle: Bundle) -> None:
    one = rows(bundle, i0000={"price": 41.0, "text": "One"})
    two = rows(bundle, i0000={"price": None, "text": "Two"})
    over = threading.Event()

    def turn() -> None:
        try:
            for _ in range(20):
                recommender.refresh(one)
                recommender.refresh(two)
        finally:
            over.set()

    thread, seen = threading.Thread(target=turn), set()
    recommender.refresh(one)
    thread.start()
    while not over.is_set():
        seen.add(recommender.recommend({}, now=NOW, eligible=["i0000"])[0]["text"])
        assert recommender.status()["listed"] == len(bundle.items)
    thread.join()
    assert seen <= {"Just $41.00: One.", "One. Plain and simple.", "Two. Plain and simple."}
    assert len(seen) > 1


def test_refreshes_take_turns_so_that_the_later_catalogue_wins(recommender: Recommender, bundle: Bundle) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[dict[str, Any]]:
        reading.set()
        assert go_on.wait(20)
        yield from rows(bundle, i0000={"price": 41.0})

    first = threading.Thread(target=recommender.refresh, args=(slow(),))
    second = threading.Thread(target=recommender.refresh, args=(rows(bundle, i0000={"price": 42.0}),))
    first.start()
    assert reading.wait(20)
    second.start()
    second.join(0.5)  # without turns it is done here, and the first then puts its older prices over it
    go_on.set()
    first.join(20)
    second.join(20)
    assert recommender.facts.rows[0]["price"] == 42.0
