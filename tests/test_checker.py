"""Ten thousand lines before a second opinion, and the second opinion before lines that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from independent_checker import problems
from red_team import read_cases

from recenv.generators.base import make_generator
from recenv.generators.guardrails import write_copies

ITEM: dict[str, Any] = {"item_id": "1", "text": "Bananas", "price": 2.0, "size": "1 lb"}
SLOTS = ("product", "brand", "size", "price", "was_price", "category")


def products(n: int) -> list[dict[str, Any]]:
    """A catalogue in which each column and each kind of evidence is there for some products."""
    rng, names = (
        np.random.default_rng(5),
        ["Bananas", "Cat litter", "Soft drink, 2 liter bottle", "Rum", "AA batteries"],
    )
    made = []
    for i in range(n):
        has = rng.random(8) < 0.4
        row = {"item_id": f"{i:04d}", "text": names[i % 5], "price": 2.5 if has[0] else None, "category": "Grocery"}
        row |= {"size": "12 oz" if has[1] else "", "brand": "Acme" if has[2] else None}
        row |= {"was_price": 3.5 if has[3] else 1.5, "often_bought": bool(has[4]), "bought_again": bool(has[5])}
        made.append(row | {"low_stock": int(has[6]), "offer_ends": "2030-01-01" if has[7] else ""})
    return made


def test_ten_thousand_lines_have_nothing_against_them() -> None:
    items = products(1000)
    made = write_copies(make_generator("templates", SLOTS), items, 10, 3, "USD")
    by_id = {item["item_id"]: item for item in items}
    assert len(made.kept) >= 9_900
    wrong = {v.text: problems(v.text, by_id[v.item_id]) for v in made.kept if problems(v.text, by_id[v.item_id])}
    assert wrong == {}


@pytest.mark.parametrize(
    "text",
    [
        "{product} for 3", "{product}, $", "{product} %", "{product}, {brand}", "{product} {product}", "{colour}",
        "For the week.", "{product} {", "The best: {product}", "Free: {product}", "Popular: {product}",
        "Few left: {product}",
        "The offer ends soon: {product}", "Reduced: {product}", "Organic: {product}", "Two for one: {product}",
        "{product}, was {was_price}", "Guaranteed: {product}", "Safe for all: {product}", "Hurry: {product}",
    ],
)  # fmt: skip
def test_the_checker_finds_what_is_wrong(text: str) -> None:
    assert problems(text, ITEM)
    assert problems("For the week ahead: {product}, {price}.", ITEM) == []


def test_the_checker_agrees_with_the_labels_where_it_looks() -> None:
    looked_at = {"absolute", "free", "guarantee", "number", "evidence"}
    unsafe = [c for c in read_cases() if not c.safe and c.group in looked_at]
    assert sum(bool(problems(c.text, c.item)) for c in unsafe) / len(unsafe) >= 0.6
