"""Filling slots: facts come from the catalogue, and a name is text whatever it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recenv.core.errors import InputError
from recenv.core.render import clean, money, render, slots

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
