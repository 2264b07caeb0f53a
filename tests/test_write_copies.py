"""Checked lines for every item: distinct, evenly styled, refused ones counted and replaced, generators in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from helpers_catalogue import catalogue

from recenv.core.errors import InputError
from recenv.generators.base import Request, Variant, digest, make_generator
from recenv.generators.guardrails import near_duplicate, write_copies
from recenv.generators.templates import FALLBACK_TEXT


def test_every_item_gets_distinct_lines_of_distinct_styles() -> None:
    items = catalogue(300)
    made = write_copies(make_generator("templates"), items, n=4, seed=3, currency="USD")
    by_item: dict[str, list[Variant]] = {}
    for variant in made.kept:
        by_item.setdefault(variant.item_id, []).append(variant)
    assert list(by_item) == [item["item_id"] for item in items]
    for lines in by_item.values():
        assert len({v.text for v in lines}) == len({v.style for v in lines}) == 4
    spread = Counter(v.style for v in made.kept)
    assert len(spread) == 7  # half of the items have a price, none has other evidence
    assert min(count for style, count in spread.items() if style != "price") >= 0.8 * 300 * 4 / 6.5
    assert len({v.copy_id for v in made.kept}) == 1200
    assert not made.rejected
    assert made.counts == {}


def test_rejected_lines_are_kept_counted_and_replaced() -> None:
    item = {"item_id": "1", "text": "x" * 68}
    made = write_copies(make_generator("templates"), [item], n=12, seed=0)
    assert made.counts == {"length": len(made.rejected)}
    assert made.counts["length"] > 0
    assert all(v.checks[0].startswith("length:") for v in made.rejected)
    assert len({v.text for v in made.kept}) == 12
    assert {v.status for v in made.kept} == {"auto-passed"}


class OnlyPrices:
    """A generator whose every line states a price."""

    name, hash = "only-prices", "0"

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        return [
            Variant(request.item_id, "loud", f"t{k}", f"{{product}} for {k}", self.name, self.hash, seed)
            for request in requests
            for k in range(min(n, 5))
        ]


def test_the_plain_line_fills_where_every_other_fails() -> None:
    made = write_copies(OnlyPrices(), catalogue(2), n=2, seed=0)
    assert [(v.item_id, v.text, v.status) for v in made.kept] == [
        ("0000", FALLBACK_TEXT, "auto-passed"),
        ("0001", FALLBACK_TEXT, "auto-passed"),
    ]
    assert made.counts == {"digit": 10}
    long_name = write_copies(make_generator("templates"), [{"item_id": "1", "text": "y" * 200}], n=2, seed=0)
    assert [(v.status, v.checks) for v in long_name.kept] == [("needs review", ("length:200",))]


class OneLine:
    """A generator that has one line."""

    name, hash = "one-line", "0"

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        text = "Have a look at this one: {product}."
        return [Variant(r.item_id, "plain", "one", text, self.name, self.hash, seed) for r in requests]


def test_generators_share_the_lines_of_an_item() -> None:
    templates, only = make_generator("templates"), OnlyPrices()
    made = write_copies([templates, only], catalogue(3), n=3, seed=0)
    by_item = Counter(v.item_id for v in made.kept)
    assert by_item == {"0000": 2, "0001": 2, "0002": 2}
    assert {v.generator for v in made.kept} == {"templates"}
    both = write_copies([templates, OneLine()], catalogue(3), n=3, seed=0)
    assert Counter(v.generator for v in both.kept) == {"templates": 6, "one-line": 3}
    filled = write_copies([only, OneLine()], catalogue(3), n=3, seed=0, gap=templates)
    assert Counter(v.generator for v in filled.kept) == {"one-line": 3, "templates": 6}
    with pytest.raises(InputError, match="none is given"):
        write_copies([], catalogue(1), n=1, seed=0)


def test_a_line_proposed_again_is_judged_once() -> None:
    templates = make_generator("templates")
    for sources in ([templates, templates], [OneLine(), templates, OneLine()], [OnlyPrices(), OnlyPrices()]):
        made = write_copies(sources, catalogue(3), n=5, seed=0)
        every = [v.copy_id for v in (*made.kept, *made.waiting, *made.rejected)]
        assert len(set(every)) == len(every)
        assert {v.status for v in made.kept} == {"auto-passed"}
    named = {"item_id": "1", "text": "y" * 200}
    made = write_copies(templates, [named], n=40, seed=0)
    assert not {v.copy_id for v in made.kept} & {v.copy_id for v in made.rejected}


class Says:
    """A generator that proposes these lines in this order."""

    name, hash = "says", "0"

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        lines = [(r, text) for r in requests for text in self.texts]
        return [Variant(r.item_id, "plain", digest(t)[:8], t, self.name, self.hash, seed) for r, t in lines]


def test_a_line_that_waits_refuses_none_that_passes() -> None:
    waits, passes, other = (
        "Here is something for a slow and sunny day at home, avast: {product}.",
        "Here is something for a slow and sunny day at home: {product}.",
        "Psst: {product}.",
    )
    assert near_duplicate(waits, [passes])
    for texts in ((waits, passes, other), (passes, waits, other)):
        made = write_copies(Says(*texts), catalogue(1), n=3, seed=0)
        assert {v.text for v in made.kept} == {passes, other}
        assert made.waiting == ()
        assert [(v.text, v.checks[-1].partition(":")[0]) for v in made.rejected] == [(waits, "near_duplicate")]
    alone = write_copies(
        Says(waits, "Here is something for a slow and sunny day at home, avasto: {product}."), catalogue(1), n=3, seed=0
    )
    assert [v.text for v in alone.waiting] == [waits]


def test_a_line_left_over_refuses_none() -> None:
    first, second, like_it = (
        "Psst: {product}.",
        "Here is something for a slow and sunny day at home: {product}.",
        "Here is something for the slow and sunny day at home: {product}.",
    )
    sources = [Says(first, second, like_it), Says(like_it)]
    made = write_copies(sources, catalogue(1), n=2, seed=0)
    assert [v.text for v in made.kept] == [first, like_it]
    assert made.rejected == ()
