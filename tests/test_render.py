"""Filling slots: facts come from the catalogue, and a name is text whatever it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recenv.core.errors import InputError
from recenv.core.render import clean, measure, money, render, slots

ITEM: dict[str, Any] = {
    "item_id": "00017",
    "text": "Soft drink",
    "brand": "Acme",
    "size": "2 L",
    "price": 3.49,
    "category": "Drinks",
}


def test_every_slot_is_filled_from_its_column() -> None:
    template = "{category}: {product} by {brand}, {size}, {price}."
    assert render(template, ITEM, "USD") == "Drinks: Soft drink by Acme, 2 L, $3.49."
    assert slots("{size} {product} {size}") == ("size", "product")


@pytest.mark.parametrize("name", ["{price}", "{", "}{", "{0}", "{product.__class__}", r"\g<0>\1", "%s", "a {brand} b"])
def test_braces_in_a_name_are_text(name: str) -> None:
    assert render("See: {product}.", {**ITEM, "text": name}, "USD") == f"See: {name}."


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_name_comes_out_as_cleaned(name: str) -> None:
    cleaned = clean(name)
    assert clean(cleaned) == cleaned
    if cleaned:
        assert render("<{product}>", {**ITEM, "text": name}, "USD") == f"<{cleaned}>"


@pytest.mark.parametrize(
    "template", ["{colour}", "{}", "{product} {", "}", "{Product}", "{product!r}", "{product.real}", "{{product}}"]
)
def test_unknown_slots_and_lone_braces_are_named_errors(template: str) -> None:
    with pytest.raises(InputError, match="unknown slot"):
        render(template, ITEM, "USD")


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), "", " \t", "\u200e"])
def test_a_missing_value_is_a_named_error(value: object) -> None:
    with pytest.raises(InputError, match=r"no value for slot \{size\}") as caught:
        render("{product}, {size}", {**ITEM, "size": value}, "USD")
    assert "00017" in caught.value.where
    with pytest.raises(InputError, match=r"no value for slot \{brand\}"):
        render("{brand}", {"item_id": "1", "text": "x"}, "USD")


def test_a_name_is_shown_cleanly() -> None:
    assert clean("  Milk\r\n 1\u00a0gal\x00\u202e ") == "Milk 1 gal"
    assert clean("Cafe\u0301") == "Caf\u00e9"
    assert clean(0) == "0"


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (3.49, "USD", "$3.49"),
        (np.float32(3.49), "USD", "$3.49"),
        (1, "EUR", "€1.00"),
        (2.675, "USD", "$2.68"),
        (1234567.5, "GBP", "£1,234,567.50"),
        (199.5, "JPY", "¥200"),
        (3.49, "SEK", "3.49 SEK"),
        (3.49, "$", "$3.49"),
        (3.49, "", "3.49"),
        (0, "USD", "$0.00"),
    ],
)
def test_money(amount: float, currency: str, shown: str) -> None:
    assert money(amount, currency) == shown


@pytest.mark.parametrize("amount", [-1, float("inf"), float("nan"), "cheap", None, True])
def test_what_is_no_amount_is_refused(amount: object) -> None:
    with pytest.raises(InputError, match="not an amount"):
        money(amount, "USD")


def test_a_price_that_changed_is_shown_as_it_is_now() -> None:
    line = "{product} at {price}."
    assert render(line, ITEM, "USD") == "Soft drink at $3.49."
    assert render(line, {**ITEM, "price": 2.99}, "USD") == "Soft drink at $2.99."


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "shown"),
    [
        (1234.5, "EUR", "de_DE", "1.234,50\xa0€"),
        (3.49, "USD", "en_US", "$3.49"),
        (3.49, "$", "en-US", "$3.49"),
        (199.5, "JPY", "ja_JP", "￥200"),
        (2.675, "EUR", "en_IE", "€2.68"),
        (3.49, "SEK", "sv_SE", "3,49\xa0kr"),
    ],
)
def test_money_is_written_as_in_the_locale(amount: float, currency: str, locale: str, shown: str) -> None:
    pytest.importorskip("babel")
    assert money(amount, currency, locale) == shown


def test_sizes_are_written_as_in_the_locale_and_never_converted() -> None:
    pytest.importorskip("babel")
    assert measure("1.5 L", "de_DE") == "1,5 l"
    assert measure("12 oz", "en_US") == "12 oz"
    assert measure("family pack", "de_DE") == "family pack"
    assert measure("12 x 330 ml", "de_DE") == "12 x 330 ml"
    shown = render("{product}, {size}, {price}", {**ITEM, "size": "1.5 L"}, "EUR", "fr_FR")
    assert shown == "Soft drink, 1,5\u202fl, 3,49\xa0€"


@pytest.mark.parametrize(("was", "price"), [(3.0, 3.0), (2.0, 3.0), (3.0, None), (3.0, "cheap"), ("old", 2.0), (-1, 2)])
def test_an_earlier_price_is_shown_only_above_the_present_one(was: object, price: object) -> None:
    line = "{product}, was {was_price}."
    assert render(line, {**ITEM, "was_price": 4.0}, "USD") == "Soft drink, was $4.00."
    with pytest.raises(InputError, match=r"price"):
        render(line, {**ITEM, "was_price": was, "price": price}, "USD")
    assert render("{product}.", {**ITEM, "was_price": was, "price": price}, "USD") == "Soft drink."


@pytest.mark.parametrize(
    ("currency", "locale"), [("EUR", "xx_YY"), ("EUR", "nowhere"), ("XXQ", "de_DE"), ("", "de_DE")]
)
def test_unknown_locales_and_currencies_are_named_errors(currency: str, locale: str) -> None:
    pytest.importorskip("babel")
    with pytest.raises(InputError, match=r"unknown locale|no currency code"):
        money(1, currency, locale)
