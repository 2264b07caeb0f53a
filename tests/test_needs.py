"""What a line needs of its product: the guard that judged it and the server that shows it must agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recenv.core.errors import InputError
from recenv.core.evidence import ENDS_SOON_DAYS, has_evidence, line_window, running
from recenv.core.render import slot_value, slots
from recenv.generators.corpus import read_corpus
from recenv.generators.guard import guard_reasons
from recenv.generators.guardrails import write_copies
from recenv.generators.needs import needed, needs_of, style_clauses
from recenv.generators.templates import TemplateGenerator

BARE: dict[str, Any] = {"item_id": "i", "text": "Bananas", "price": 1.5, "size": "a bunch", "brand": "Acme"}
FULL: dict[str, Any] = {
    "was_price": 3.0, "often_bought": True, "bought_again": True, "offer_ends": "2030-01-01", "low_stock": True,
}  # fmt: skip
ITEMS: list[dict[str, Any]] = [
    BARE,
    *({**BARE, name: value} for name, value in FULL.items()),
    BARE | FULL,
    BARE | FULL | {"price": 4.0},
    BARE | FULL | {"price": None},
    BARE | {"claims": ["discount", "Social proof", "fair trade"]},
    BARE | {"text": "Organic bananas", "claims": "gluten free"},
]
"""A product with no evidence, with each, with all, and with what the shop or its own name vouches for."""
FACTUAL = ("claim", "style_evidence", "missing_slot", "bad_slot")
"""Reasons of the guard that rest on the product's facts."""
LINES = [
    ("benefit", "An organic choice: {product}."),
    ("benefit", "Gluten free: {product}."),
    ("benefit", "Fair trade: {product}."),
    ("plain", "The best: {product}."),
    ("plain", "A deal on {product}."),
    ("plain", "Bought again and again: {product}."),
]


def holds(text: str, item: dict[str, Any], needs: Any) -> bool:
    try:
        return all(slot_value(slot, item, "USD") for slot in slots(text)) and line_window(item, needs) is not None
    except InputError:
        return False


def test_a_line_may_be_shown_where_the_guard_would_let_it_pass() -> None:
    lines = LINES + [(line.style, line.text) for line in read_corpus().lines[::9]]
    # Ended otherwise, a seed line is no longer known by heart: the guard's own rule is all that it rests on.
    lines += [(style, f"{text.rstrip('.?!')}!") for style, text in lines]
    known = {line.text for line in read_corpus().lines}
    agreed = {True: 0, False: 0}
    for style, text in lines:
        for item in ITEMS:
            passes = not [r for r in guard_reasons(text, item, style, "sms") if r.partition(":")[0] in FACTUAL]
            shown = holds(text, item, needed(text, item, style))
            assert passes or not shown, (style, text, item)
            assert shown == passes or text in known, (style, text, item)
            agreed[shown] += 1
    assert min(agreed.values()) > 300, "both answers were met"


def test_a_seed_line_needs_the_evidence_that_it_stands_with() -> None:
    for line in read_corpus().lines:
        found = needed(line.text, BARE | FULL, line.style)
        assert {(need,) for need in line.needs} <= set(found), line.text
        assert line_window(BARE | FULL, found) is not None, line.text
        for need in line.needs:
            without = {name: value for name, value in (BARE | FULL).items() if name != need}
            assert line_window(without, found) is None, line.text


def test_styles_as_clauses() -> None:
    assert style_clauses()["urgency"] == (("low_stock", "offer_ends"),)
    assert style_clauses()["discount"] == (("was_price",),)
    assert style_clauses()["plain"] == ()


def test_words_that_only_the_product_says() -> None:
    item = BARE | {"text": "Rambutan", "claims": ["shade grown"]}
    assert ("says:rambutan",) in needed("A rambutan by name: {product}.", item)
    clauses = needed("Shade grown: {product}.", item)
    assert line_window(item, clauses) is not None
    assert line_window(item | {"claims": None}, clauses) is None
    assert needed("Frobnicated: {product}.", item) == (), "a word that a person let through rests on nothing"


def test_logged_lines_keep_what_their_product_carries() -> None:
    items = [BARE | {"low_stock": True}]
    text = "Only a few left, marked down: {product}."
    line = {"item_id": "i", "style": "", "text": text, "status": "logged"}
    own, guarded, shared, every = needs_of(
        [line, line | {"status": "approved"}, line | {"item_id": None}, line | {"item_id": None, "status": "approved"}],
        items,
    )
    assert own is not None
    assert guarded is not None
    assert line_window(items[0], own) is not None
    assert line_window(BARE, own) is None, "few were left once: the line goes with that"
    assert line_window(items[0], guarded) is None
    assert shared is None
    assert every == guarded


@pytest.mark.parametrize("ends", ["2099-01-01", "9999-12-31", "0001-01-05"])
def test_an_end_is_said_in_the_days_before_it_alone(ends: str) -> None:
    item, end = BARE | {"offer_ends": ends}, datetime.fromisoformat(ends).replace(tzinfo=UTC)
    soon = timedelta(days=ENDS_SOON_DAYS)
    assert has_evidence(item, "offer_ends"), "without a moment nobody can say that it is far"
    assert not has_evidence(item, "offer_ends", datetime(2026, 1, 1, tzinfo=UTC))
    assert not has_evidence(item, "offer_ends", end)
    assert has_evidence(item, "offer_ends", end - timedelta(seconds=1))
    if ends > "0002":
        assert has_evidence(item, "offer_ends", end - soon)
        assert not has_evidence(item, "offer_ends", end - soon - timedelta(seconds=1))
    assert running(item, end - timedelta(days=1)) is item
    assert "offer_ends" not in running(item, datetime(2026, 1, 1, tzinfo=UTC))


def test_no_line_is_written_about_an_end_far_ahead() -> None:
    item = BARE | {"offer_ends": "2099-01-01"}
    for at, urgent in ((datetime(2026, 1, 1, tzinfo=UTC), 0), (datetime(2098, 12, 25, tzinfo=UTC), 5)):
        made = write_copies(TemplateGenerator(), [item], 5, 0, styles=("urgency",), at=at)
        assert sum(line.style == "urgency" for line in made.kept) == urgent
