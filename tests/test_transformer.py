"""The small transformer: same seed same lines, constraints on every line, requests that do not see each other."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import torch
from helpers_copy import HELD, TINY, TRAIN, fitted

from recenv.core.errors import ArtefactError, InputError
from recenv.core.render import SLOT_COLUMNS
from recenv.generators.base import Request, make_generator, requests_for
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.known_lines import Known
from recenv.generators.quality import novelty, slot_error
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Examples, held_out_texts, set_aside, turned
from recenv.generators.transformer_sample import line_reasons
from recenv.generators.vocabulary import Condition, Vocabulary
from recenv.scripts import bench_copy_checked

MICRO = replace(TINY, width=16, epochs=2, pool=24, blocks=1, unseen=99)


@pytest.fixture(scope="module")
def tiny() -> TransformerGenerator:
    return fitted()


def micro() -> TransformerGenerator:
    """Of three styles, fitted anew at each call: for what needs two fits."""
    made = TransformerGenerator(config=MICRO)
    made.fit([x for x in TRAIN if x.style in ("plain", "price", "premium")], HELD[:20], seed=1, progress=False)
    return made


def items(n: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "item_id": f"i{k}",
            "text": "Bananas",
            "size": "a bunch" if k % 2 else None,
            "price": 1.0 if k % 3 else None,
            "was_price": 2.0 if k % 4 == 1 else None,
            "low_stock": k % 5 == 0,
        }
        for k in range(n)
    ]


def test_slots_are_ordinary_tokens_and_every_line_survives_the_round_trip() -> None:
    lines = read_corpus().lines
    vocabulary = Vocabulary.train(lines)
    for line in lines:
        assert vocabulary.decode([*vocabulary.encode(line.text), vocabulary.end]) == line.text
    for slot in SLOT_COLUMNS:
        ids = vocabulary.encode(f"{{{slot}}}")
        assert len(ids) == 1
        assert vocabulary.tokenizer.decode(ids, skip_special_tokens=True) == f"{{{slot}}}"
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again.to_json() == vocabulary.to_json() == Vocabulary.train(lines).to_json()
    assert "<unk>" in vocabulary.decode(vocabulary.encode("Zyzzyva: {product}."))


def test_training_lowers_the_perplexity_far_below_the_vocabulary(tiny: TransformerGenerator) -> None:
    assert 1.0 < tiny.perplexity(HELD) < 40.0 < len(tiny.codec) / 4
    assert tiny.perplexity(HELD, known_words=True) != tiny.perplexity(HELD)


def test_same_seed_same_bytes_and_no_trace_on_the_global_state(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    one, again = micro(), micro()
    assert again.hash == one.hash
    requests = requests_for(items(4))
    assert again.generate(requests, 3, seed=2) == one.generate(requests, 3, seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    assert {v.text for v in one.generate(requests, 3, 3)} != {v.text for v in one.generate(requests, 3, 2)}
    one.save(tmp_path / "a")
    again.save(tmp_path / "b")
    for name in ("model.safetensors", "generator.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_is_loaded_writes_the_same(tiny: TransformerGenerator, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["generator.json", "model.safetensors"]
    loaded = TransformerGenerator.load(tmp_path)
    requests = requests_for(items(3), ("plain", "price"))
    assert loaded.hash == tiny.hash
    assert loaded.generate(requests, 4, seed=0) == tiny.generate(requests, 4, seed=0)
    assert np.array_equal(loaded.log_prob(HELD), tiny.log_prob(HELD))


def test_a_request_gets_the_same_alone_in_company_and_with_more_asked(tiny: TransformerGenerator) -> None:
    requests = requests_for(items(6), ("plain", "discount", "urgency", "playful"))
    together = tiny.generate(requests, 4, seed=7)
    fresh = tiny.with_model(tiny.model)
    for request in requests[::-1]:
        mine = [v for v in together if v.item_id == request.item_id]
        assert fresh.generate([request], 4, seed=7) == mine
        more = fresh.generate([request], 6, seed=7)
        assert more[: len(mine)] == mine
        assert len({v.text for v in more}) == len(more)


def test_log_probabilities_are_those_of_the_lines(tiny: TransformerGenerator) -> None:
    made = tiny.generate(requests_for(items(3), ("plain", "price")), 4, seed=2)
    logs = tiny.log_prob([Line(v.style, v.text) for v in made])
    assert np.allclose([v.log_prob for v in made], logs, atol=1e-4)
    line, alone = made[0], tiny.alone().log_prob([Line(made[0].style, made[0].text)])
    ids = [*tiny.codec.encode(line.text), tiny.codec.end]
    prefix, total = tiny.codec.prefix(Condition(line.style)), 0.0
    for k, token in enumerate(ids):
        with torch.no_grad():
            logits = tiny.model(input_ids=torch.tensor([prefix + ids[:k]])).logits[0, -1]
        total += float(torch.log_softmax(logits, 0)[token])
    assert math.isclose(total, float(alone[0]), abs_tol=1e-3)
    assert tiny.log_prob([Line("plain", "Zyzzyva: {product}.")])[0] == -np.inf


def test_constraints_hold_on_every_sampled_line(tiny: TransformerGenerator) -> None:
    for style in tiny.styles:
        texts = [line.text for line in tiny.draw(style, 60, seed=3, temperature=1.3)]
        assert len(texts) == 60
        assert not any(c.isnumeric() or c in "$€£%" for text in texts for c in text)
        # A line that fills all its room was cut off; of the others each must name the product.
        cut_off = [t for t in texts if len(tiny.codec.encode(t)) >= TINY.max_tokens]
        assert len(cut_off) < 40
        assert slot_error([t for t in texts if t not in cut_off], tiny.slots) == 0.0
        if style not in ("price", "discount", "urgency", "social_proof"):
            assert not any(w in text.lower().split() for text in texts for w in ("best", "offer", "popular", "sold"))
            assert not any("{was_price}" in text for text in texts)
    free = [line.text for line in tiny.draw("plain", 60, seed=3, temperature=2.0, constrained=False)]
    assert slot_error(free, tiny.slots) > 0.1


def test_a_second_opinion_finds_nothing_in_lines_that_pass(tiny: TransformerGenerator, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    found = bench_copy_checked.run(bench_copy_checked.CheckedConfig(tmp_path, lines=40, out=tmp_path / "found.json"))
    counts = json.loads((tmp_path / "found.json").read_text())["counts"]
    assert counts == found["counts"]
    assert counts["passed the guard"]["lines"] >= 40
    assert counts["passed the guard"].keys() == {"lines"}
    # The checker can see: what is drawn before any check has faults, cut-off lines at least.
    assert counts["drawn"].keys() > {"lines"}
    with pytest.raises(InputError, match="no Python file"):
        bench_copy_checked.read_checker(tmp_path / "none.py")


def test_an_item_gets_only_what_it_can_fill_and_prove(tiny: TransformerGenerator) -> None:
    catalogue = {item["item_id"]: item for item in items(12)}
    styles = ("plain", "premium", "social_proof", "urgency", "discount", "price")
    made = tiny.generate(requests_for(catalogue.values(), styles), 6, seed=4)
    for variant in made:
        item = catalogue[variant.item_id]
        for slot in variant.slots:
            assert item[SLOT_COLUMNS[slot]], variant
        assert variant.style != "social_proof"
        assert variant.style != "discount" or (item["was_price"] and item["price"])
        assert variant.style != "urgency" or item["low_stock"]
        assert variant.style != "urgency" or "offer" not in variant.text.lower()
        assert tiny.known.unseen(variant.text) <= TINY.unseen
    assert {"plain", "premium", "urgency", "discount", "price"} <= {v.style for v in made}
    assert novelty([v.text for v in made], [line.text for line in TRAIN]) > 0.1


def test_a_request_may_name_styles_channel_and_segment(tiny: TransformerGenerator) -> None:
    made = tiny.generate([Request(items(1)[0], ("playful",), "sms", "young")], 3, seed=0, temperature=0.9)
    assert {(v.style, v.channel, v.segment, v.temperature) for v in made} == {("playful", "sms", "young", 0.9)}
    assert make_generator("transformer").name == "transformer"


def test_control_tokens_are_learned_where_lines_have_them() -> None:
    lines = [replace(x, category=("tea", "")[k % 2]) for k, x in enumerate(TRAIN[:60])]
    vocabulary = Vocabulary.train(lines)
    known, unknown = (vocabulary.prefix(Condition("plain", category=c)) for c in ("tea", "cars"))
    assert known != unknown == vocabulary.prefix(Condition("plain"))


def test_turned_lines_come_back_and_pairs_see_what_no_line_has() -> None:
    assert turned("An easy yes: {product}.") == "{product}. An easy yes."
    assert all(turned(turned(line.text)) == line.text for line in TRAIN)
    known = Known(TRAIN)
    assert all(known.unseen(line.text) == 0 for line in TRAIN)
    assert known.unseen("Basket the for: {product}.") >= 2
    assert known.unseen("For the weekend: {product}, {price}.") == 0
    assert known.unseen("Something to {price}: {product}.") > 0
    asks = Known([Line("question", "Do you need {product}?"), Line("plain", "You need {product}.")])
    assert asks.unseen("Do you need {product}.") == 1
    assert asks.off_style("{product}, {price}.", "question")
    assert not asks.off_style("{product}, {price}?", "question")
    bare = Known([Line("plain", "{product}."), Line("price", "{product}, {price}.")])
    assert bare.off_style("{product}, {size}.", "price")
    assert not bare.off_style("{product}, {size}, {price}.", "price")
    assert known.off_style("{product}. Mic drop.", "benefit")
    assert not known.off_style("{product}. Mic drop.", "playful")
    assert not known.off_style("{product}. Nobody wrote this.", "playful")
    train, aside = set_aside(TRAIN)
    assert sorted(x.text for x in (*train, *aside)) == sorted(x.text for x in TRAIN)
    assert 20 < len(aside) < 80


def test_no_held_out_line_is_seen_in_training_not_even_turned() -> None:
    lines, stop = set_aside(TRAIN)
    config = replace(TINY, turn=0.9, word_drop=0.0, rare_drop=0.0)
    codec = Vocabulary.train(lines)
    kept_out = {codec.decode(codec.encode(x.text)) for x in (*HELD, *stop)}
    assert {turned(x.text) for x in lines} & held_out_texts()  # else there is nothing to keep out

    def seen(examples: Examples) -> set[str]:
        noise = np.random.default_rng(0)
        batches = [examples.batch(range(len(lines)), noise) for _ in range(4)]
        rows = [row for batch in batches for ids in (batch.ids, batch.targets) for row in ids.tolist()]
        return {codec.decode(n for n in row if n >= 0 and n not in codec.controls - {codec.end}) for row in rows}

    texts = seen(Examples(lines, codec, config, stop))
    assert texts >= {x.text for x in lines if turned(x.text) in {*held_out_texts(), *(y.text for y in stop)}}
    assert len(texts) > len(lines)
    assert not texts & kept_out


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [
        ("{product}", False, "unfinished"),
        ("{product} 4", True, "digit"),
        ("{product} <unk>", True, "unknown_word"),
        ("Best {product}", True, "claim"),
        ("{colour} {product}", True, "unknown_slot:colour"),
        ("{product} {price}", True, "missing_slot:price"),
        ("{product} {product}", True, "repeated_slot:product"),
        ("Hello.", True, "needed_slot:product"),
        ("{product} (yes.", True, "unbalanced"),
        ("Clear it, clear it: {product}.", True, "repeated"),
    ],
)
def test_a_sampled_line_is_refused_with_its_reason(text: str, ended: bool, reason: str) -> None:
    assert line_reasons(text, ended, {"product", "size"}, {"product"}, {"best"}) == [reason]


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 0},
        {"width": 30, "heads": 4},
        {"dropout": 1.0},
        {"word_drop": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"slack": -0.5},
        {"pool": 0},
        {"max_tokens": 2},
        {"epochs": 2.5},
        {"unseen": -1},
        {"ngram_share": 1.0},
        {"ngram_share": -0.1},
        {"ngram_share": float("nan")},
    ],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        TransformerConfig(**options)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda g: g.generate(requests_for(items(1)), 0, 0), "variants"),
        (lambda g: g.generate(requests_for(items(1)), 1, -1), "seed"),
        (lambda g: g.generate(requests_for(items(1)), 1, 0, 0.0), "temperature"),
        (lambda g: g.generate(requests_for(items(1)), 1, 0, float("nan")), "temperature"),
        (lambda g: g.generate([Request(items(1)[0], ("loud",))], 1, 0), "unknown style loud"),
        (lambda g: g.draw("loud", 3, 0), "unknown style loud"),
        (lambda g: g.perplexity([]), "no line"),
        (lambda g: TransformerGenerator().generate([], 1, 0), "not been trained"),
        (lambda g: TransformerGenerator().save(Path("x")), "not been trained"),
        (lambda g: TransformerGenerator(slots=("product", "colour")), "colour"),
        (lambda g: TransformerGenerator().fit([], []), "0 lines"),
        (lambda g: TransformerGenerator().fit(TRAIN[:3]), "3 lines"),
        (lambda g: TransformerGenerator().fit([Line("plain", "{colour}")], HELD), "colour"),
    ],
)
def test_bad_inputs_are_named(tiny: TransformerGenerator, call: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        call(tiny)


def test_spoiled_files_are_named(tiny: TransformerGenerator, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    settings, weights = tmp_path / "generator.json", tmp_path / "model.safetensors"
    good, tensors = settings.read_text(), weights.read_bytes()
    spoiled = {
        "format": json.dumps(json.loads(good) | {"format": "other"}),
        "cannot be read": good[:40],
        "has no": json.dumps({k: v for k, v in json.loads(good).items() if k != "lines"}),
        "changed": good.replace("For your basket", "For your car"),
        "settings cannot be read": json.dumps(json.loads(good) | {"config": {"width": 16, "colour": 1}}),
        "'config' is a list": json.dumps(json.loads(good) | {"config": []}),
        "'slots' is a str": json.dumps(json.loads(good) | {"slots": "product"}),
        "'claims' is a NoneType": json.dumps(json.loads(good) | {"claims": None}),
        "no text": json.dumps(json.loads(good) | {"claims": [1]}),
        "colour": json.dumps(json.loads(good) | {"slots": ["product", "colour"]}),
        "settings cannot be read .KeyError": json.dumps(json.loads(good) | {"vocabulary": {"names": {}}}),
        "settings cannot be read .Exception": json.dumps(
            json.loads(good) | {"vocabulary": {"names": {}, "tokenizer": "{"}}
        ),
        "settings cannot be read .TypeError": json.dumps(
            json.loads(good) | {"vocabulary": {"names": {}, "tokenizer": 3}}
        ),
        "lines cannot be read": json.dumps(json.loads(good) | {"lines": [3]}),
        "other shapes": good.replace(f'"width": {TINY.width}', '"width": 64'),
    }
    for what, text in spoiled.items():
        settings.write_text(text)
        with pytest.raises(ArtefactError, match=what):
            TransformerGenerator.load(tmp_path)
    settings.write_text(good)
    for broken in (b"", tensors[:100], tensors[:-8]):
        weights.write_bytes(broken)
        with pytest.raises(ArtefactError, match="cannot be read"):
            TransformerGenerator.load(tmp_path)
    with pytest.raises(ArtefactError, match="cannot be read"):
        TransformerGenerator.load(tmp_path / "nowhere")
