"""The sequence GAN: anchor, rollback, checkpoints, constraints, files; both adversarial choices on a tiny network."""

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

from recenv.core.errors import ArtefactError, InputError
from recenv.core.render import SLOT_COLUMNS
from recenv.generators.base import Request, load_generator, make_generator, requests_for
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.gan import GanGenerator
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_networks import LineRNN
from recenv.generators.quality import slot_error
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_fit import barred_logits
from recenv.generators.vocabulary import Condition

TINY = TransformerConfig(
    layers=1, width=32, heads=1, epochs=16, batch=64, learning_rate=1e-2, pool=128, blocks=1, unseen=9
)
GAN = GanConfig(steps=4, every=2, batch=16, samples=24, critic_width=16, critic_steps=4)
# A part of the lines: a few hundred teach what is tested here.
STEP = max(1, len(read_corpus().lines) // 490)
TRAIN, HELD = (part[::STEP] for part in read_corpus().split())


@pytest.fixture(scope="module")
def fitted() -> tuple[GanGenerator, dict[str, Any]]:
    made = GanGenerator(slots=("product", "size", "price", "was_price"), config=TINY, gan=GAN)
    return made, made.fit(TRAIN, HELD, seed=1, progress=False)


@pytest.fixture(scope="module")
def tiny(fitted: tuple[GanGenerator, dict[str, Any]]) -> GanGenerator:
    return fitted[0]


def items(n: int = 6) -> list[dict[str, Any]]:
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


def test_training_beats_an_untrained_network_and_reports_what_it_did(
    fitted: tuple[GanGenerator, dict[str, Any]],
) -> None:
    made, report = fitted
    with torch_session(1):
        blank = made.with_model(made._model(made.codec))
    assert made.perplexity(HELD) < 40.0 < blank.perplexity(HELD) / 3
    assert report["perplexity"] == made.perplexity(HELD)
    found = report["gan"]
    assert found["adversarial"] == "policy-gradient"
    assert found["steps"] == 4
    assert [row["step"] for row in found["history"]] == [0, 2, 4]
    assert found["best_score"] == max(row["score"] for row in found["history"])
    assert 0.0 <= found["critic"]["accuracy"] <= 1.0
    assert found["non_finite"] == found["divergences"] == found["rollbacks"] == 0
    json.dumps(report)


def test_same_seed_same_bytes_and_no_trace_on_the_global_state(tiny: GanGenerator, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = GanGenerator(slots=tiny.slots, config=TINY, gan=GAN)
    again.fit(TRAIN, HELD, seed=1, progress=False, board=tmp_path / "board")
    assert again.hash == tiny.hash
    tiny.save(tmp_path / "a")
    again.save(tmp_path / "b")
    for name in ("model.safetensors", "generator.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    requests = requests_for(items(2))
    assert again.generate(requests, 3, seed=2) == tiny.generate(requests, 3, seed=2)
    assert {v.text for v in tiny.generate(requests, 3, 3)} != {v.text for v in tiny.generate(requests, 3, 2)}
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    _check_events(tmp_path / "board")


def _check_events(path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path))
    events.Reload()
    scalars, tensors = set(events.Tags()["scalars"]), events.Tags()["tensors"]
    names = ("generator_loss", "discriminator_loss", "anchor_loss", "validation_nll", "score", "self_bleu")
    assert {f"gan/{name}" for name in names} <= scalars
    assert all(tag.startswith("gan/") for tag in scalars)
    assert [x.step for x in events.Scalars("gan/score")] == [0, 2, 4]
    assert tensors == ["gan/samples/text_summary"]


def test_what_is_loaded_writes_the_same(tiny: GanGenerator, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    loaded = load_generator("gan", tmp_path)
    requests = requests_for(items(2))
    assert loaded.hash == tiny.hash
    assert loaded.generate(requests, 3, seed=0) == tiny.generate(requests, 3, seed=0)
    assert np.array_equal(loaded.log_prob(HELD), tiny.log_prob(HELD))


def test_a_request_gets_the_same_alone_and_in_company(tiny: GanGenerator) -> None:
    requests = requests_for(items())
    together = tiny.generate(requests, 3, seed=7)
    fresh = tiny.with_model(tiny.model)
    for request in requests[::-3]:
        assert fresh.generate([request], 3, seed=7) == [v for v in together if v.item_id == request.item_id]


def test_log_probabilities_are_those_of_token_after_token(tiny: GanGenerator) -> None:
    line = Line("plain", TRAIN[0].text)
    ids = [*tiny.codec.encode(line.text), tiny.codec.end]
    prefix, total = tiny.codec.prefix(style_alone(line)), 0.0
    model = tiny.model
    assert isinstance(model, LineRNN)
    with torch.no_grad():
        given, inputs = model.start(torch.tensor([prefix]))
        state = model.first(given)
        for token in ids:
            logits, state = model.step(inputs, state, given)
            total += float(torch.log_softmax(logits[0, 0], 0)[token])
            inputs = model.embedding(torch.tensor([[token]]))
    assert math.isclose(total, float(tiny.log_prob([line])[0]), abs_tol=1e-3)
    assert tiny.log_prob([Line("plain", "Zyzzyva: {product}.")])[0] == -np.inf


def style_alone(line: Line) -> Condition:
    return Condition(line.style)


def test_constraints_hold_on_every_sampled_line(tiny: GanGenerator) -> None:
    for style in tiny.styles:
        texts = [line.text for line in tiny.draw(style, 40, seed=3, temperature=1.3)]
        assert not any(c.isnumeric() or c in "$€£%" for text in texts for c in text)
        offered = [line.text for line in tiny.draw(style, 40, seed=3, verified=True)]
        assert slot_error(offered, tiny.slots) == 0.0
        if style not in ("price", "discount", "urgency", "social_proof"):
            assert not any(w in text.lower().split() for text in texts for w in ("best", "offer", "popular", "sold"))
            assert not any("{was_price}" in text for text in texts)
    drawn = [tiny.draw(style, 40, seed=3, temperature=1.3, constrained=False) for style in tiny.styles]
    free = [line.text for lines in drawn for line in lines]
    assert slot_error(free, tiny.slots) > 0.02
    assert not any("<" in text for text in free)


def test_an_item_gets_only_what_it_can_fill_and_prove(tiny: GanGenerator) -> None:
    catalogue = {item["item_id"]: item for item in items(12)}
    made = tiny.generate(requests_for(catalogue.values()), 6, seed=4)
    assert len(made) > 8
    for variant in made:
        item = catalogue[variant.item_id]
        assert all(item[SLOT_COLUMNS[slot]] for slot in variant.slots), variant
        assert variant.style != "social_proof"
        assert variant.style != "discount" or (item["was_price"] and item["price"])
        assert variant.style != "urgency" or item["low_stock"]


def test_style_is_heard(tiny: GanGenerator) -> None:
    asked = [Request(items(2)[1], ("question",), "sms", "young"), Request(items(2)[1], ("price",))]
    assert [v.style for v in tiny.generate(asked, 1, seed=0)] == ["question", "price"]
    other = {style: tiny.styles[k - 1] for k, style in enumerate(tiny.styles)}
    known = [x for x in TRAIN if x.style != "plain"]
    own, wrong = (tiny.log_prob([Line(f(x.style), x.text) for x in known]) for f in (str, other.__getitem__))
    assert np.mean(own - wrong) > 0.3
    assert np.mean(own > wrong) > 0.6
    assert make_generator("gan").name == "gan"


@pytest.mark.parametrize("kind", ["gumbel", "none"])
def test_each_choice_runs_from_one_mle(tiny: GanGenerator, kind: str) -> None:
    before = tiny.hash
    made, last, report = tiny.played(replace(GAN, adversarial=kind), HELD, seed=3)
    assert tiny.hash == before != made.hash
    assert last.perplexity(HELD) != tiny.perplexity(HELD)
    assert report["steps"] == 4
    assert report["non_finite"] == 0
    assert all(math.isfinite(x) for row in report["history"] for x in row.values())
    assert ("discriminator_loss" in report["history"][-1]) == (kind != "none")
    stopped = tiny.played(replace(GAN, adversarial=kind, critic_steps=0), HELD, 3, until=lambda: True)[2]
    assert (stopped["steps"], stopped["stopped"]) == (2, "until")


def test_control_tokens_are_never_drawn(tiny: GanGenerator) -> None:
    product, hidden = barred_logits(tiny.codec), barred_logits(tiny.codec, hidden=True)
    assert product[tiny.codec.end] == 0.0
    assert product[tiny.codec.unknown] == -math.inf
    assert hidden[tiny.codec.unknown] == 0.0
    assert all(product[n] == -math.inf for n in tiny.codec.controls - {tiny.codec.end})


@pytest.mark.parametrize(
    "options",
    [
        {"adversarial": "wgan"},
        {"anchor": 0.0},
        {"anchor": 1.5},
        {"steps": -1},
        {"batch": 1},
        {"every": 0},
        {"generator_rate": 0.0},
        {"critic_rate": float("nan")},
        {"critic_accuracy": 0.3},
        {"critic_dropout": 1.0},
        {"discount": 1.2},
        {"divergence": -1.0},
        {"gumbel_temperature": 0.0},
        {"average": 1.0},
        {"rollbacks": 2.5},
    ],
)
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        GanConfig(**options)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda g: g.generate(requests_for(items(1)), 0, 0), "variants"),
        (lambda g: g.generate(requests_for(items(1)), 1, -1), "seed"),
        (lambda g: g.generate(requests_for(items(1)), 1, 0, float("nan")), "temperature"),
        (lambda g: g.generate([Request(items(1)[0], ("loud",))], 1, 0), "unknown style loud"),
        (lambda g: g.played(GAN, [], 0), "no validation line"),
        (lambda g: GanGenerator().played(GAN, HELD, 0), "not been trained"),
        (lambda g: GanGenerator().generate([], 1, 0), "not been trained"),
        (lambda g: GanGenerator().save(Path("x")), "not been trained"),
        (lambda g: GanGenerator(slots=("product", "colour")), "colour"),
        (lambda g: GanGenerator().fit([], []), "0 lines"),
        (lambda g: GanGenerator().fit(TRAIN[:3]), "3 lines"),
        (lambda g: GanGenerator().fit(TRAIN, HELD, seed=-1), "seed"),
        (lambda g: GanGenerator().fit([Line("plain", "{colour}")], HELD), "colour"),
    ],
)
def test_bad_inputs_are_named(tiny: GanGenerator, call: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        call(tiny)


def test_spoiled_files_are_named(tiny: GanGenerator, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    settings, weights = tmp_path / "generator.json", tmp_path / "model.safetensors"
    good, tensors = settings.read_text(), weights.read_bytes()
    document = json.loads(good)
    spoiled = {
        "format": json.dumps(document | {"format": "recenv-transformer-1"}),
        "cannot be read": json.dumps(document | {"gan": {"anchor": 0.0}}),
        "changed": json.dumps(document | {"gan": document["gan"] | {"clip": 2.5}}),
        "other shapes": good.replace('"width": 32', '"width": 64'),
        "read .TypeError": json.dumps(document | {"gan": {"colour": 1}}),
        "read .KeyError": json.dumps({k: v for k, v in document.items() if k != "gan"}),
        "read .Exception": json.dumps(document | {"vocabulary": {"names": {}, "tokenizer": "{"}}),
        "'config' is a int": json.dumps(document | {"config": 3}),
        "'claims' is a dict": json.dumps(document | {"claims": {}}),
    }
    for what, text in spoiled.items():
        settings.write_text(text)
        with pytest.raises(ArtefactError, match=what):
            GanGenerator.load(tmp_path)
    settings.write_text(good)
    flipped = bytearray(tensors)
    flipped[-3] ^= 0x10
    for what, broken in (("cannot be read", tensors[:-8]), ("changed", bytes(flipped))):
        weights.write_bytes(broken)
        with pytest.raises(ArtefactError, match=what):
            GanGenerator.load(tmp_path)


def test_differences_are_paired_by_seed() -> None:
    from recenv.scripts.bench_gan import LONGER, MEASURES, paired

    def entry(perplexity: float, value: float) -> dict[str, Any]:
        return {"perplexity": perplexity, "sweep": {t: dict.fromkeys(MEASURES, value) for t in ("0.7", "1.0")}}

    seeds = [{"GAN, gumbel": entry(11.0 + 1.5 * s, 0.5), LONGER: entry(10.0 + s, 0.25)} for s in range(3)]
    row = paired(seeds)[-1]
    assert row.startswith("| GAN, gumbel | +1.500 [+0.258, +2.742] |")  # t(2): 4.303 * .5 / sqrt(3)
    assert row.count("+0.250") == len(MEASURES)  # seeds that agree exactly carry no interval


def test_an_arm_is_cooled_to_a_held_out_loss_and_the_sharpest_check_is_found() -> None:
    from recenv.scripts.bench_oracle import cooled, sharper

    losses = {"0.8": (4.4, 4.0), "1.0": (4.0, 5.0), "1.2": (4.2, 6.0)}
    arm = {"sweep": {t: {"validation_nll": v, "oracle_nll": o} for t, (v, o) in losses.items()}}
    assert cooled(arm, 4.1) == pytest.approx(4.75)
    assert math.isnan(cooled(arm, 3.9))
    rows = [(4.0, 4.5, 5.0), (4.1, 4.2, 4.7), (4.5, 4.1, 4.6)]
    history = [{"validation_nll": v, "reference_nll": r, "oracle_nll": o} for v, r, o in rows]
    assert sharper({"history": history}) == 4.7


def test_the_oracle_study_keeps_its_settings_and_chooses_every_arm_by_one_score(tmp_path: Path) -> None:
    from recenv.scripts.bench_oracle import BenchOracleConfig, run

    config = BenchOracleConfig(
        tmp_path / "o",
        (0,),
        vocabulary=20,
        length=4,
        lines=80,
        mle_steps=2,
        steps=1,
        samples=40,
        temperatures=(0.8, 1.0),
    )
    run(config)
    found = json.loads((tmp_path / "o" / "oracle.json").read_text())
    assert (found["config"]["lines"], found["config"]["temperatures"]) == (80, [0.8, 1.0])
    for arm in found["seeds"]["0"].values():
        report = arm["report"]
        assert report["best_score"] == max(row["score"] for row in report["history"])
        for row in report["history"]:
            assert row["score"] == pytest.approx(row["entropy"] - row["reference_nll"] - row["validation_nll"])
    assert "MLE, equal CPU, cooled" in (tmp_path / "o" / "oracle.md").read_text()
