"""The guard: each check names its reason; lengths by channel; claims by evidence; a name is but text."""

from __future__ import annotations

from typing import Any

import pytest

from recenv.core.errors import InputError
from recenv.core.evidence import EVIDENCE
from recenv.core.wording import canonical
from recenv.generators.base import Variant
from recenv.generators.channels import CHANNELS, channel_named, graphemes, length_reason
from recenv.generators.corpus import read_corpus
from recenv.generators.guard import check, guard_reasons, verdict
from recenv.generators.guard_claims import claim_classes, claim_words, find_claims
from recenv.generators.guard_text import disguised
from recenv.generators.guard_words import lexicon, unknown_words
from recenv.generators.guardrails import near_duplicate
from recenv.generators.quality import tokens

ITEM: dict[str, Any] = {"item_id": "1", "text": "Bananas", "size": "1 lb", "price": 2.0, "category": "Fruit"}
FULL = {"was_price": 3.0, "often_bought": True, "bought_again": 1, "offer_ends": "2030-01-01", "low_stock": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{product}. Sorted.", ()),
        ("{product} for 3", ("digit",)),
        ("{product} ٣", ("digit",)),
        ("{product} ½", ("digit",)),
        ("€ {product}", ("currency",)),
        ("{product} %", ("percent",)),
        ("{product}: half off", ("percent_word:half off", "claim:discount:half off")),
        ("{product} in twelve lines", ("number_word:twelve",)),
        ("{product} for a dollar", ("currency_word:dollar",)),
        ("{product}\x07", ("control",)),
        ("{product}\u202e", ("control",)),
        ("{product}\u200b", ("control",)),
        ("Ca\u0301ndles: {product}", ("not_nfc",)),
        ("Cr\u00c3\u00a8me: {product}", ("encoding",)),
        ("{product} сегодня", ("script:0441",)),
        ("{product} ★", ("emoji",)),
        ("{product} #", ("character:0023",)),
        ("t e a: {product}", ("spaced_letters",)),
        ("Teaaa: {product}", ("stretched_letters", "word:teaaa")),
        ("{colour} {product}", ("unknown_slot:colour",)),
        ("{product} {", ("unknown_slot:{",)),
        ("{{product}}", ("braces",)),
        ("For the week.", ("no_product",)),
        ("{product}, {product}", ("repeated_slot:product",)),
        ("{product}, {brand}", ("missing_slot:brand",)),
        ("{product}, {was_price}", ("missing_slot:was_price",)),
        ("LOOK: {product}", ("capitals",)),
        ("Look! {product}!", ("exclamation",)),
        ("{product}?!", ("marks",)),
        ("<i>{product}</i>", ("html",)),
        ("www.here: {product}", ("url", "word:www")),
        ("**{product}**", ("markup",)),
        ("Ignore all of it: {product}", ("instruction:ignore all",)),
        ("Write to us@here.now: {product}", ("email",)),
        ("At your age: {product}", ("personal:at your age",)),
        ("Dear Anna: {product}", ("person:anna",)),
        ("Ask Mr. Holiday: {product}", ("person:mr",)),
        ("Damn: {product}", ("profanity:damn",)),
        ("{product}. Size: {price}.", ("mislabelled:price",)),
        ("The price is {size}: {product}.", ("mislabelled:size",)),
        ("Size and price: {price}, {product}.", ()),
        ("{product}, size {price}.", ("mislabelled:price",)),
        ("{product} by {size}.", ("mislabelled:size",)),
        ("Now priced at {size}: {product}.", ("mislabelled:size",)),
        ("Was {price}: {product}.", ("mislabelled:price",)),
        ("The price of {product}: {price}.", ()),
        ("{product} at the old price: {price}.", ("claim:discount:old price", "mislabelled:price")),
        ("Now {price}: {product}.", ("claim:discount:now {price}",)),
        ("The shelf is empty: {product}.", ("claim:contradiction:shelf is empty",)),
        ("The finest: {product}", ("claim:absolute:finest",)),
        ("Healthy: {product}", ("claim:health:healthy",)),
        ("A sustainable list: {product}", ("claim:environment:sustainable",)),
        ("Harmless: {product}", ("claim:safety:harmless",)),
        ("Better: {product}", ("claim:comparison:better",)),
        ("Few left: {product}", ("claim:scarcity:few left",)),
        ("Popular: {product}", ("claim:social_proof:popular",)),
        ("Free: {product}", ("claim:free:free",)),
        ("Guaranteed: {product}", ("claim:guarantee:guaranteed",)),
        ("Cheap: {product}", ("claim:price:cheap",)),
        ("Reduced: {product}", ("claim:discount:reduced",)),
        ("Delicious: {product}", ("claim:quality:delicious",)),
        ("Quixotic: {product}", ("word:quixotic",)),
        (" ", ("empty", "no_product")),
    ],
)  # fmt: skip
def test_every_check_names_its_reason(text: str, expected: tuple[str, ...]) -> None:
    found = guard_reasons(text, ITEM, currency="USD")
    assert set(expected) <= set(found)
    status = check(Variant("1", "plain", "t", text, "templates", "h", 0), ITEM, "USD").status
    review_only = expected == ("word:quixotic",) or expected == ("emoji",)
    assert status == ("auto-passed" if not expected else "needs review" if review_only else "rejected")


def test_every_seed_line_passes_with_its_evidence_and_none_that_needs_some_without() -> None:
    item = ITEM | {"brand": "Acme"}
    for line in read_corpus().lines:
        own = item | {need: FULL[need] for need in line.needs if need in FULL}
        assert guard_reasons(line.text, own, line.style, "sms", "USD") == (), line.text
        if set(line.needs) - {"price"}:
            assert guard_reasons(line.text, item, "", "sms", "USD"), line.text
            assert "style_evidence" in str(guard_reasons(line.text, item, line.style, "sms", "USD"))


@pytest.mark.parametrize(
    ("claims", "text", "passes"),
    [
        (["organic"], "Organic: {product}", True),
        ("organic; vegan", "Vegan: {product}", True),
        (["environment"], "Sustainable: {product}", True),
        (["Social proof"], "Popular: {product}", True),
        (["organic"], "Sustainable: {product}", False),
        (["health"], "Cures headaches: {product}", False),
        (["gluten free"], "Gluten-free: {product}", True),
        (["gluten free"], "Free: {product}", False),
        ([], "Organic: {product}", False),
        (None, "Organic: {product}", False),
        (float("nan"), "Organic: {product}", False),
    ],
)
def test_a_shop_vouches_for_classes_or_wordings(claims: object, text: str, passes: bool) -> None:
    assert (guard_reasons(text, ITEM | {"claims": claims}) == ()) is passes


@pytest.mark.parametrize("claims", [3, ["organic", 3], {"a": 1}, True])
def test_claims_of_another_form_are_a_named_error(claims: object) -> None:
    with pytest.raises(InputError, match="no list of texts"):
        guard_reasons("Organic: {product}", ITEM | {"claims": claims})


def test_the_products_own_words_may_be_repeated_but_unlock_no_praise() -> None:
    named = ITEM | {"text": "Organic quinoa", "brand": "Best Yet"}
    assert guard_reasons("Organic, says the label: {product}", named) == ()
    assert guard_reasons("Quinoa for the week: {product}", named) == ()
    assert guard_reasons("The best: {product}", named) == ("claim:absolute:best",)


def test_claim_words_are_single_tokens_and_follow_the_evidence() -> None:
    words = claim_words()
    assert all(tokens(w) == (w,) for w in words)
    assert {"free", "best", "guaranteed", "popular"} <= words
    assert "popular" not in claim_words(ITEM | FULL)
    assert "free" in claim_words(ITEM | FULL)
    plain = {t for line in read_corpus().lines if not line.needs for t in tokens(line.text)}
    assert not plain & words
    assert not {w for w in words if not find_claims(f" {w} ")}
    assert len(claim_classes()) == 13
    assert all(need in EVIDENCE for line in read_corpus().lines for need in line.needs)


@pytest.mark.parametrize("text", ["F.R.E.E", "f r e e", "fr33", "freee", "fr\u200bee", "ＦＲＥＥ", "frее", "fréé"])
def test_disguises_are_read_as_what_they_say(text: str) -> None:
    assert any(" free " in form for form in (canonical(text), *disguised(text)))
    assert "claim:free:free" in guard_reasons(f"{text}: {{product}}", ITEM)


def test_unknown_words_are_those_outside_the_lexicon() -> None:
    assert unknown_words(canonical("{product}: a flummoxed basket, gently rolling")) == ("flummoxed",)
    assert len(lexicon()) > 1500
    assert verdict(("word:flummoxed",)) == "needs review"
    assert verdict(("word:flummoxed", "digit")) == "rejected"


def test_length_counts_what_is_seen_or_what_the_medium_counts() -> None:
    assert graphemes("abc") == 3
    assert graphemes("e\u0301\u0301") == 1
    assert graphemes("\U0001f468\u200d\U0001f469\u200d\U0001f467") == 1
    assert graphemes("\U0001f44d\U0001f3fd") == 1
    assert graphemes("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7") == 2
    for name, limit in {
        "headline": 30,
        "description": 90,
        "sms": 160,
        "push": 120,
        "subject": 60,
        "banner": 50,
    }.items():
        assert length_reason("x" * limit, CHANNELS[name]) == ""
        assert length_reason("x" * (limit + 1), CHANNELS[name]) == f"length:{limit + 1}"
    sms = CHANNELS["sms"]
    assert length_reason("ä" * 160, sms) == ""
    assert length_reason("€" * 80, sms) == ""
    assert length_reason("€" * 81, sms) == "length:162"
    assert length_reason("ș" * 70, sms) == ""
    assert length_reason("ș" * 71, sms) == "length:71"
    assert length_reason("\U0001f44d" * 36, sms) == "length:72"
    with pytest.raises(InputError, match=r"fax.*headline"):
        channel_named("fax")


def test_length_is_of_the_rendered_line_in_its_channel() -> None:
    line = Variant("1", "plain", "t", "For the week ahead: {product}.", "templates", "h", 0, channel="headline")
    assert check(line, ITEM).status == "auto-passed"
    assert check(line, ITEM | {"text": "Bananas, loose"}).checks == ("length:35",)
    assert check(line, ITEM | {"text": "Bananas, loose"}, channel="sms").status == "auto-passed"


@pytest.mark.parametrize(
    ("text", "other", "alike"),
    [
        ("{product}", "{product}.", True),
        ("For the week ahead: {product}.", "{product}. For the week ahead.", True),
        ("For a rainy day: {product}.", "For a sunny day: {product}.", False),
        ("{product}, {size}", "{product}, {price}", False),
        ("Psst: {product}.", "Ahem: {product}.", False),
    ],
)
def test_near_duplicates_say_the_same_words(text: str, other: str, alike: bool) -> None:
    assert near_duplicate(text, [other]) == (other if alike else "")


@pytest.mark.parametrize("name", ["Rum", "Pork loin", "Facial tissue", "Chicken breast", "Best Before loaf", "F*** it"])
def test_the_name_in_a_slot_is_the_shops_own_word(name: str) -> None:
    assert guard_reasons("For the list: {product}.", ITEM | {"text": name}) == ()
