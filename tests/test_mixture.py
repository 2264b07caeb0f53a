"""The transformer mixed with n-grams: a proper distribution, chosen on validation lines, the same drawn and scored."""

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

from recenv.core.errors import ArtefactError
from recenv.generators.held_out import MIXTURE, Scored, _distributions, _raised, differences
from recenv.generators.ngram import perplexity
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_data import Examples
from recenv.generators.transformer_mixture import SHARES, TEMPERATURES, Mixed, Mixture, choose, mixture_logs
from recenv.generators.transformer_sample import sample
from recenv.generators.vocabulary import Condition


@pytest.fixture(scope="module")
def made() -> TransformerGenerator:
    return fitted()


def mixture_of(generator: TransformerGenerator) -> Mixture:
    assert generator.mixture is not None
    return generator.mixture


def step(
    generator: TransformerGenerator, style: str, history: list[int], mixture: Mixture | None = None
) -> torch.Tensor:
    """(V,) log p of the next token as sampling sees it."""
    ids = torch.tensor([[*generator.codec.prefix(Condition(style)), *history]])
    with torch.no_grad():
        logits = generator.model(input_ids=ids).logits[:, -1]
    return Mixed(mixture or mixture_of(generator), style)(ids, logits)[0]


def test_it_is_the_two_distributions_mixed_by_the_formula(made: TransformerGenerator) -> None:
    mixture, codec = mixture_of(made), made.codec
    for style, text in (("plain", ""), ("price", "{product}. Only"), ("nowhere", "Zyzzyva for the")):
        history = codec.encode(text) if text else []
        ids = torch.tensor([[*codec.prefix(Condition(style)), *history]])
        with torch.no_grad():
            neural = torch.softmax(made.model(input_ids=ids).logits[0, -1].double() / mixture.temperature, -1)
        last = [mixture.place.get(n, -1) for n in history[-3:]]
        grams = torch.zeros(len(codec), dtype=torch.float64)
        grams[mixture.tokens] = torch.from_numpy(mixture.grams.distribution((*[-1] * (3 - len(last)), *last), style))
        assert float(grams.sum()) == pytest.approx(1.0)
        assert float(grams[sorted(codec.controls - {codec.end, codec.unknown})].sum()) == 0.0
        found = step(made, style, history).double().exp()
        assert torch.allclose(found, (1 - mixture.share) * neural + mixture.share * grams, atol=1e-6)
        assert float(found.sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_line_is_scored_as_it_is_drawn(made: TransformerGenerator) -> None:
    line = TRAIN[7]
    goal = [*made.codec.encode(line.text), made.codec.end]
    by_steps = sum(float(step(made, line.style, goal[:n])[token]) for n, token in enumerate(goal))
    assert made.log_prob([line])[0] == pytest.approx(by_steps, abs=1e-3)
    logs = made.token_logs(TRAIN[:300])
    assert [len(x) for x in logs] == [len(made.codec.encode(x.text)) + 1 for x in TRAIN[:300]]
    assert made.perplexity(TRAIN[:300]) == pytest.approx(math.exp(-np.concatenate(logs).mean()))
    few = made.token_logs(HELD, known_words=True)
    assert sum(map(len, few)) < sum(map(len, made.token_logs(HELD)))


def test_what_is_drawn_has_the_frequencies_of_the_mixture_at_any_temperature(made: TransformerGenerator) -> None:
    plan = made.plan(made.groups("plain")[0], made.slots, Condition("plain"))
    outside = made.codec.controls | {made.codec.pad, made.codec.unknown}
    drawn = sorted((set(made.codec.texts) - outside) | {made.codec.end})
    mixture = Mixture(TRAIN, made.codec, 0.9, 3.0)
    barred = torch.full((len(made.codec),), float("-inf"))
    barred[drawn] = 0.0
    for temperature in (1.0, 0.6):
        with torch_session(3):
            rows = sample(made.model, made.codec, plan, 4000, temperature, 1, None, False, mixture)
        p = torch.softmax((step(made, "plain", [], mixture).double() + barred) / temperature, -1)
        counts = torch.bincount(torch.tensor([ids[0] for ids in rows]), minlength=len(p)) / 4000
        # 4 standard errors of a share of one half.
        assert float((counts - p).abs().max()) < 4 * 0.5 / math.sqrt(4000)
        with torch.no_grad():
            logits = made.model(input_ids=torch.tensor([made.codec.prefix(Condition("plain"))])).logits[0, -1]
        alone = torch.softmax((logits + barred) / temperature, -1)
        assert float((counts - p).abs().sum()) < 0.5 * float((counts - alone).abs().sum())


def test_share_and_temperature_are_those_that_make_the_validation_lines_likeliest(made: TransformerGenerator) -> None:
    best, examples = mixture_of(made), Examples(HELD, made.codec, made.config)

    def nll(share: float, temperature: float) -> float:
        tried = Mixture(TRAIN, made.codec, share, temperature)
        return -float(np.concatenate(mixture_logs(made.model, examples, tried)).mean())

    lowest = nll(best.share, best.temperature)
    k, t = SHARES.index(best.share), TEMPERATURES.index(best.temperature)
    near = [(s, best.temperature) for s in SHARES[max(0, k - 1) : k + 2]]
    near += [(best.share, x) for x in TEMPERATURES[max(0, t - 1) : t + 2]]
    assert all(nll(*pair) >= lowest - 1e-9 for pair in near)
    grams = perplexity(best.grams, [best._ids(x) for x in HELD], [x.style for x in HELD])
    assert made.perplexity(HELD) < min(grams, made.alone().perplexity(HELD))
    fixed = choose(made.model, TRAIN, HELD, made.codec, replace(TINY, ngram_share=0.2))
    assert fixed is not None
    assert fixed.share == 0.2
    assert choose(made.model, TRAIN, HELD, made.codec, replace(TINY, ngram_share=0.0)) is None


def test_alone_is_the_transformer_and_has_its_own_hash(made: TransformerGenerator) -> None:
    alone = made.alone()
    assert alone.mixture is None
    assert alone.alone() is alone
    assert alone.hash != made.hash
    assert made.mixture is not None
    batch = Examples(TRAIN[:1], made.codec, made.config).batch([0], None)
    with torch.no_grad():
        logs = torch.log_softmax(made.model(input_ids=batch.ids).logits[:, :-1], -1)
    goal = batch.targets[:, 1:]
    picked = logs.gather(-1, goal.clamp(min=0)[..., None])[..., 0][goal >= 0]
    assert alone.token_logs(TRAIN[:1])[0] == pytest.approx(picked.numpy(), abs=1e-5)


def test_the_study_pairs_lines_and_raises_distributions_to_a_power(made: TransformerGenerator) -> None:
    rng = np.random.default_rng(0)
    logs = tuple(rng.normal(-2.0, 1.0, 6) for _ in range(40))
    known = tuple(np.ones(6, bool) for _ in logs)
    lower = Scored(tuple(x - 0.1 for x in logs), known)
    noise = Scored(tuple(x + rng.normal(0.0, 2.0) for x in logs), known)
    runs = [{MIXTURE: Scored(logs, known), "same": Scored(logs, known), "lower": lower, "noise": noise}]
    found = differences(runs)
    assert found["same"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    own = runs[0][MIXTURE].table()["all"]
    assert found["lower"]["difference"] == pytest.approx(own * (1 - math.exp(0.1)))
    assert found["lower"]["low"] < found["lower"]["difference"] < found["lower"]["high"] < 0.0
    assert found["noise"]["low"] < found["noise"]["high"]
    assert found["noise"]["high"] - found["noise"]["low"] > 4 * (found["lower"]["high"] - found["lower"]["low"])
    mixture, line = mixture_of(made), HELD[0]
    ids = mixture._ids(line)
    given = _distributions(mixture.grams, 4, [ids], [line.style], mixture.place[made.codec.end])
    assert _raised(given, 1.0)[0] == pytest.approx(mixture.grams.token_log_probs(ids, line.style))
    p = given[0][1][0]
    assert _raised(given, 0.5)[0][0] == pytest.approx(math.log(p[ids[0]] ** 2 / (p**2).sum()))


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"ngram_share": 0.2, "temperature": 1.0, "order": 4}, "changed"),
        (None, "changed"),
        ({"ngram_share": 1.0, "temperature": 1.0, "order": 4}, "share 1.0"),
        ({"ngram_share": 0.5, "temperature": 0.0, "order": 4}, "temperature 0.0"),
        ({"ngram_share": "half", "temperature": 1.0, "order": 4}, "share 'half'"),
        ({"ngram_share": 0.5, "temperature": 1.0, "order": 3}, "mixture"),
        ([0.5, 1.0], "mixture"),
    ],
)
def test_a_changed_mixture_is_named(made: TransformerGenerator, tmp_path: Path, entry: Any, what: str) -> None:
    made.save(tmp_path)
    saved = json.loads((tmp_path / "generator.json").read_text())
    assert saved["mixture"] == mixture_of(made).to_json()
    (tmp_path / "generator.json").write_text(json.dumps(saved | {"mixture": entry}))
    with pytest.raises(ArtefactError, match=what):
        TransformerGenerator.load(tmp_path)
