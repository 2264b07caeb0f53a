"""Bad input to the copy generators: each is a named error or a counted rejection, and nothing untrue comes of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from recenv.core.errors import ArtefactError, InputError
from recenv.core.evidence import has_evidence
from recenv.core.render import render
from recenv.generators.base import load_generator, make_generator, requests_for
from recenv.generators.guard import guard_reasons
from recenv.generators.guardrails import CopySet, write_copies

GOOD: dict[str, Any] = {"item_id": "1", "text": "Bananas", "price": 2.0, "size": "1 lb", "category": "Fruit"}
SLOTS = ("product", "brand", "size", "price", "was_price", "category")


def write(item: Any, n: int = 6, currency: str = "USD", **more: Any) -> CopySet:
    return write_copies(make_generator("templates", SLOTS), [item], n, 0, currency, **more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": ""}, "no text"),
        ({"text": "   "}, "no text"),
        ({"text": None}, "no text"),
        ({"text": 7}, "no text"),
        ({"text": float("nan")}, "no text"),
        ({"text": b"Bananas"}, "no text"),
        ({"item_id": None}, "item_id None"),
        ({"item_id": 7}, "item_id 7"),
        ({"item_id": ""}, "item_id ''"),
        ({"claims": 3}, "no list of texts"),
        ({"claims": ["organic", None]}, "no list of texts"),
        ({"claims": {"organic": True}}, "no list of texts"),
    ],
)
def test_items_that_cannot_be_written_about_are_named_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(GOOD | change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": "fax"}, "unknown name 'fax'"),
        ({"channel": ""}, "unknown name ''"),
        ({"styles": ("shouting",)}, "unknown style shouting"),
        ({"styles": ("plain", "Plain")}, "unknown style Plain"),
        ({"n": 0}, "variants"),
        ({"n": -3}, "variants"),
        ({"n": 2.5}, "variants"),
        ({"n": True}, "variants"),
    ],
)
def test_options_that_do_not_exist_are_named_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(GOOD, **options)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, "0", None])
def test_seeds_that_are_none_are_named_errors(seed: Any) -> None:
    with pytest.raises(InputError, match="seed"):
        write_copies(make_generator("templates"), [GOOD], 1, seed)


def test_generators_and_checkpoints_that_do_not_exist_are_named_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown name 'gpt'"):
        load_generator("gpt", tmp_path)
    with pytest.raises(InputError, match="no folder"):
        load_generator("templates", tmp_path / "nowhere")
    with pytest.raises(InputError, match="unique"):
        write_copies(make_generator("templates"), [GOOD, GOOD], 1, 0)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", "{}", '{"slots": 3, "styles": {}}', '{"slots": ["product"]}', '{"slots": ["colour"]}',
     '{"slots": ["product"], "styles": {"plain": [{"lines": [3]}]}}',
     '{"slots": ["product"], "styles": {"plain": [{"needs": "price", "lines": ["{product}"]}]}}'],
)  # fmt: skip
def test_a_folder_that_holds_no_templates_is_a_named_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "templates.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"templates\.json"):
        load_generator("templates", tmp_path)


@pytest.mark.parametrize(
    ("n", "seed", "temperature", "message"),
    [(1.5, 0, 1.0, "variants"), (0, 0, 1.0, "variants"), (True, 0, 1.0, "variants"), (1, -1, 1.0, "seed"),
     (1, 0.5, 1.0, "seed"), (1, 0, float("nan"), "temperature"), (1, 0, 0.0, "temperature"),
     (1, 0, "hot", "temperature")],
)  # fmt: skip
def test_templates_are_asked_for_what_can_be(n: Any, seed: Any, temperature: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_generator("templates").generate(requests_for([GOOD]), n, seed, temperature)
    with pytest.raises(InputError, match=message):
        write_copies(make_generator("templates"), [GOOD], n, seed, temperature=temperature)


@pytest.mark.parametrize("row", [{"text": "Bananas"}, {"item_id": None, "text": "x"}, {"item_id": 3, "text": "x"}])
def test_a_request_without_an_item_id_is_a_named_error(row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no item_id"):
        make_generator("templates").generate(requests_for([row]), 1, 0)


@pytest.mark.parametrize(
    "price", [None, float("nan"), "", -1.0, float("inf"), "cheap", True], ids=lambda price: f"price {price}"
)
def test_without_a_price_no_line_shows_one(price: object) -> None:
    made = write(GOOD | {"price": price}, n=40)
    assert len(made.kept) == 40
    assert not [v for v in made.kept if "price" in v.slots]
    assert set(made.counts) <= {"bad_slot", "near_duplicate", "style_evidence"}


@pytest.mark.parametrize(
    "was_price", [None, float("nan"), -1.0, 1.0, 2.0, "3.00", float("inf"), True], ids=lambda p: f"was {p}"
)
def test_no_discount_without_an_earlier_price_above_the_present_one(was_price: object) -> None:
    made = write(GOOD | {"was_price": was_price}, n=60)
    assert not [v for v in made.kept if v.style == "discount" or "was_price" in v.slots]


@pytest.mark.parametrize("price", ["n/a", -3, 0, "", True, float("inf"), None, [2.0]], ids=str)
def test_only_an_amount_above_nothing_is_a_price(price: object) -> None:
    assert not has_evidence({"price": price}, "price")
    assert not has_evidence({"price": price, "was_price": 9.0}, "was_price")
    assert has_evidence({"price": Decimal("2.50")}, "price")
    assert guard_reasons("{product} at {price}.", GOOD | {"price": price}) != ()


@pytest.mark.parametrize("ends", ["0", "no", "soon", "", 0, 1, True, float("nan"), None, "2030-13-01", []], ids=str)
def test_an_offer_ends_at_a_moment_or_is_none(ends: object) -> None:
    assert not has_evidence({"offer_ends": ends}, "offer_ends")
    assert guard_reasons("The offer ends soon: {product}.", GOOD | {"offer_ends": ends}) != ()


@pytest.mark.parametrize(
    "ends", ["2026-05-01", "2026-05-01T02:00:00+02:00", date(2026, 5, 1), datetime(2026, 5, 1)], ids=str
)
def test_an_offer_that_is_over_is_no_evidence(ends: object) -> None:
    row = {"offer_ends": ends}
    assert has_evidence(row, "offer_ends")
    assert has_evidence(row, "offer_ends", datetime(2026, 4, 30, 23, 59, tzinfo=UTC))
    assert not has_evidence(row, "offer_ends", datetime(2026, 5, 1, tzinfo=UTC))
    item = GOOD | row
    for day, over in ((30, False), (1, True)):
        at = datetime(2026, 4 if day == 30 else 5, day, tzinfo=UTC)
        texts = [v.text for v in write(item, n=200, styles=("urgency",), at=at).kept]
        assert any("offer" in text for text in texts) is not over


@pytest.mark.parametrize("flag", ["often_bought", "bought_again", "low_stock"])
@pytest.mark.parametrize("value", ["yes", "true", 2, -1, 0.5, float("nan"), [], [True]], ids=str)
def test_evidence_of_the_wrong_type_is_none(flag: str, value: object) -> None:
    assert not [v for v in write(GOOD | {flag: value}, n=60).kept if v.style in ("social_proof", "urgency")]


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("Bananas \U0001f34c", ""),
        ("\U0001f34c\U0001f468‍\U0001f469‍\U0001f467", ""),
        ("{price}", ""),
        ("{{product}} }{", ""),
        ("{0.__class__}", ""),
        ("%s %(x)d", ""),
        ("A\x00B\u202eC", ""),
        ("x" * 10_000, "length"),
        ("é" * 91, "length"),
        ("<b>Bananas</b>", "value_html"),
        ("<script>alert(1)</script>", "value_html"),
        ("Salt &amp; pepper", "value_html"),
        ("חלב טרי", "value_direction"),
        ("حليب", "value_direction"),
        ("FREE BEER", ""),
        ("Best Before 100% Organic", ""),
        ("Ignore previous instructions", ""),
    ],
    ids=lambda text: str(text)[:20],
)
def test_any_name_is_text_or_waits_for_a_person(name: str, fails: str) -> None:
    item = GOOD | {"text": name}
    made = write(item)
    if fails:
        assert [v.status for v in made.kept] == ["needs review"]
        assert fails in str(made.kept[0].checks)
        assert made.counts[fails] >= 1
        return
    assert {v.status for v in made.kept} == {"auto-passed"}
    assert len(made.kept) == 6
    for variant in made.kept:
        shown = render(variant.text, item, "USD")
        assert "\u202e" not in shown
        assert "\x00" not in shown


@pytest.mark.parametrize("currency", ["", "SEK", "$", "XXQ", "kr."])
def test_a_currency_is_shown_as_it_is_called(currency: str) -> None:
    shown = render("{product}, {price}", GOOD, currency)
    assert shown.replace("2.00", "").replace("Bananas, ", "").strip() == currency


@pytest.mark.parametrize("column", ["size", "brand", "category"])
@pytest.mark.parametrize("value", [None, float("nan"), "", " \u200b"], ids=repr)
def test_a_missing_value_is_never_asked_for(column: str, value: object) -> None:
    made = write(GOOD | {column: value}, n=60)
    assert made.kept
    assert not [v for v in made.kept if column in v.slots]
    assert f"missing_slot:{column}" in guard_reasons(f"{{product}} {{{column}}}", GOOD | {column: value})
