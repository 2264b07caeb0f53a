"""The seed corpus and its templates: lines without facts, the same for the same seed; bad input is named."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers_catalogue import catalogue

from recenv.core.errors import InputError
from recenv.core.render import render
from recenv.data.columns import MAX_ID
from recenv.generators.base import Row, Variant, make_generator, requests_for, rows
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.guard_text import text_reasons
from recenv.generators.templates import FALLBACK_TEXT, TemplateGenerator, usable_slots

CLAIMS = re.compile(
    r"\b(best|free|guarantee\w*|health\w*|cheap\w*|sale|save|saving\w*|discount\w*|deal|bargain|only|hurry|last|limited"
    r"|new|fresh|popular|favou?rite|everyone|loved?|natural|organic|authentic|finest|perfect|top|quality|safe|proven)\b",
    re.IGNORECASE,
)
HARMLESS = re.compile(
    r"at (long )?last|(last|new) (evening|weekend|meeting|errand|chapter|word)|to the last"
    r"|words only|only (if|an idea|this)",
    re.IGNORECASE,
)
# A name may be one thing or many, and bring its own article: nothing before or after it may depend on which.
NAME_STANDS_BADLY = re.compile(
    r"\b(an?|the|this|that|these|those|some|any|your|our|new|more|another|every|each) \{product\}"
    r"|(^|[.:,?] |\b(and|or) )\{product\} (are|do|have|were|(?!as\b|its\b|this\b)\w+s)\b"
    r"|(^|[.:,?] )(is|are|was|were|has|does|do) \{product\}",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def every() -> TemplateGenerator:
    return TemplateGenerator(slots=("product", "brand", "size", "price", "category"))


def test_seed_lines_state_no_fact_and_put_the_name_where_it_reads(every: TemplateGenerator) -> None:
    per_style = Counter(t.style for t in every.lines)
    assert len(per_style) == 10
    assert min(per_style.values()) >= 40
    assert len(every.lines) >= 480
    for template in every.lines:
        assert text_reasons(template.text) == [], template.text
        assert template.needs or not CLAIMS.search(HARMLESS.sub("", template.text)), template.text
        assert not NAME_STANDS_BADLY.search(template.text), template.text
        assert template.text == template.text.strip()
        assert "  " not in template.text
    texts = [t.text for t in every.lines]
    assert len(set(texts)) == len(texts)
    assert FALLBACK_TEXT in texts


def test_more_variants_than_styles_are_still_distinct_and_balanced() -> None:
    lines = make_generator("templates").generate(requests_for(catalogue(5)), n=15, seed=0)
    for i in range(5):
        mine = lines[15 * i : 15 * (i + 1)]
        assert len({v.text for v in mine}) == 15
        assert set(Counter(v.style for v in mine).values()) == {2, 3}


def test_lines_depend_on_seed_and_item_alone() -> None:
    generator, items = make_generator("templates"), catalogue()
    first = generator.generate(requests_for(items), n=3, seed=7)
    assert first == make_generator("templates").generate(requests_for(items), n=3, seed=7)
    assert {v.text for v in first} != {v.text for v in generator.generate(requests_for(items), n=3, seed=8)}
    backwards = generator.generate(requests_for(items[::-1]), n=3, seed=7)
    assert sorted(first, key=lambda v: v.copy_id) == sorted(backwards, key=lambda v: v.copy_id)
    longer = generator.generate(requests_for(items), n=5, seed=7)
    assert [v for i in range(len(items)) for v in longer[5 * i : 5 * i + 3]] == first


def test_choice_is_pinned() -> None:
    document = {
        "styles": {
            "plain": [{"lines": ["{product}", "{product}."]}],
            "loud": [{"needs": [], "lines": ["{product}!", "See: {product}!"]}],
        }
    }
    made = TemplateGenerator(document=document).generate(
        requests_for([{"item_id": "17", "text": "Bananas"}]), n=9, seed=7
    )
    assert [v.text for v in made] == ["{product}.", "{product}!", "{product}", "See: {product}!"]
    assert made[0].template == "plain-31e6d499"


def test_facts_are_asked_only_of_items_that_have_them(every: TemplateGenerator) -> None:
    items = catalogue()
    made = every.generate(requests_for(items), n=60, seed=1)
    by_id = {item["item_id"]: item for item in items}
    asked = Counter(slot for v in made for slot in ("size", "price", "brand", "category") if f"{{{slot}}}" in v.text)
    assert asked["brand"] == 0
    assert min(asked["size"], asked["price"], asked["category"]) > 0
    assert all(render(v.text, by_id[v.item_id], "USD") for v in made)
    assert "size" not in usable_slots({"text": "Soft drink, 2 liter bottle", "size": "2 L"})
    plain = TemplateGenerator(slots=("product",)).generate(requests_for(items), n=60, seed=1)
    assert all(set(re.findall(r"{(\w+)}", v.text)) == {"product"} for v in plain)


def test_lines_that_rest_on_evidence_are_only_for_items_that_have_it(every: TemplateGenerator) -> None:
    bare = {"item_id": "1", "text": "Bananas", "price": 2.0}
    rich = bare | {"was_price": 3.0, "often_bought": True, "low_stock": 1}
    styles = {v.style for v in every.generate(requests_for([bare]), n=400, seed=0)}
    assert styles.isdisjoint({"discount", "social_proof", "urgency"})
    assert "price" in styles
    styles = {v.style for v in every.generate(requests_for([rich]), n=400, seed=0)}
    assert {"discount", "social_proof", "urgency"} <= styles
    dearer = every.generate(requests_for([bare | {"was_price": 1.0}]), n=400, seed=0)
    assert "discount" not in {v.style for v in dearer}
    assert not [
        v for v in every.generate(requests_for([rich]), n=400, seed=0) if "offer" in v.text and "soon" in v.text
    ]


def test_a_tenth_of_the_corpus_is_held_out_by_text_alone() -> None:
    corpus = read_corpus()
    train, held = corpus.split()
    assert len(train) + len(held) == len(corpus.lines)
    assert 0.06 < len(held) / len(corpus.lines) < 0.14
    assert {line.style for line in held} == set(corpus.styles)
    assert not {line.text for line in held} & {line.text for line in train}


def test_templates_come_back_from_disk_the_same(tmp_path: Path, every: TemplateGenerator) -> None:
    every.save(tmp_path)
    again = TemplateGenerator.load(tmp_path)
    wanted = requests_for(catalogue(6))
    assert [v.text for v in again.generate(wanted, 5, 3)] == [v.text for v in every.generate(wanted, 5, 3)]
    chances = every.log_prob([every.lines[0], Line("plain", "never written")])
    assert np.exp(chances[0]) == pytest.approx(1 / sum(line.style == "plain" for line in every.lines))
    assert chances[1] == -np.inf


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "no mapping"),
        ({"styles": {"plain": ["{product}"]}}, "no mapping"),
        ({"styles": {"plain": [{"needs": ["moon"], "lines": ["{product}"]}]}}, "unknown evidence 'moon'"),
        ({"styles": {"plain": [{"lines": ["{product}", "{product}"]}]}}, "stands twice"),
    ],
)
def test_bad_corpora_are_named_errors(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_corpus(document)


def test_names_and_slots_that_do_not_exist_are_named_errors() -> None:
    with pytest.raises(InputError, match=r"unknown name 'gpt'.*templates"):
        make_generator("gpt")
    with pytest.raises(InputError, match="slots"):
        make_generator("templates", slots=("product", "colour"))
    with pytest.raises(InputError, match="product"):
        make_generator("templates", slots=("price",))
    with pytest.raises(InputError, match="variants"):
        make_generator("templates").generate(requests_for(catalogue(1)), n=0, seed=0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([{"item_id": 17, "text": "x"}], "no string"),
        ([{"text": "x"}], "missing"),
        ([{"item_id": "1", "text": "x"}] * 2, "not unique"),
        ([{"item_id": "1", "text": " "}], "no text"),
        ([{"item_id": "1"}], "no text"),
    ],
)
def test_bad_items_are_named_errors(bad: list[Row], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(bad)


def test_rows_read_arrow_and_leave_out_the_null_item() -> None:
    table = pa.Table.from_pylist([{"item_id": "__none__", "text": ""}, {"item_id": "007", "text": "Bananas"}])
    assert rows(table) == [{"item_id": "007", "text": "Bananas"}]


def test_copy_ids_are_never_longer_than_an_id_may_be() -> None:
    ids = ["x" * MAX_ID, "x" * (MAX_ID - 1) + "y", "x" * (MAX_ID - 9)]
    made = [Variant(i, "plain", "t", "{product}", "templates", "h", 0).copy_id for i in ids]
    assert max(len(c) for c in made) <= MAX_ID
    assert len(set(made)) == 3
