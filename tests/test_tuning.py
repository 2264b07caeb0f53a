"""Reward tuning: it raises an honest reward, and the gate refuses one that is won by cheating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import torch
from helpers_copy import HELD, TRAIN

from recenv.core.errors import InputError
from recenv.generators.corpus import Line
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Batch
from recenv.generators.transformer_fit import drawn_logs, twin
from recenv.generators.transformer_sample import sample
from recenv.generators.tuning import Measured, TuningConfig, judge, own_guard, reinforce_tune, rejection_tune
from recenv.generators.vocabulary import Condition

LINES = [line for line in (*TRAIN, *HELD) if line.style in ("plain", "question", "urgency")]
FAST = TuningConfig(rounds=1, samples=60, epochs=4, judged=80, batch=24, learning_rate=2e-3)


@pytest.fixture(scope="module")
def base() -> TransformerGenerator:
    # Trained until it writes lines that its own guard passes: a third of them, or there is nothing to choose from.
    config = TransformerConfig(
        width=48,
        layers=1,
        heads=2,
        epochs=40,
        learning_rate=4e-3,
        dropout=0.1,
        word_drop=0.05,
        rare_drop=0.1,
        slack=9.0,
    )
    made = TransformerGenerator(config=config)
    made.fit(LINES, LINES[::8], seed=0, progress=False)
    return made


def behind(lines: Sequence[Line]) -> NDArray[np.float64]:
    """Reward for lines that begin with the product."""
    return np.array([line.text.startswith("{product}") for line in lines], np.float64)


def everything(lines: Sequence[Line]) -> NDArray[np.bool_]:
    return np.ones(len(lines), bool)


LAX = replace(FAST, more_alike=1.0, less_safe=1.0)


def test_rejection_sampling_learns_what_is_rewarded(base: TransformerGenerator) -> None:
    weights = base.hash
    tuned, gate = rejection_tune(base, behind, LAX, seed=1)
    assert gate.accepted
    # +.12 to +.25 over seeds; the standard error of the difference is .045.
    assert gate.after.reward > gate.before.reward + 0.03
    assert tuned.hash != base.hash == weights
    assert gate.history[0]["kept_reward"] > gate.before.reward + 0.2
    again, _ = rejection_tune(base, behind, LAX, seed=1)
    assert again.hash == tuned.hash


def test_reinforce_learns_what_is_rewarded_and_the_leash_holds_it(base: TransformerGenerator) -> None:
    steps = replace(LAX, rounds=8)
    tuned, free = reinforce_tune(base, behind, replace(steps, leash=0.0), seed=1)
    _, held = reinforce_tune(base, behind, replace(steps, leash=20.0), seed=1)
    assert free.after.reward > free.before.reward + 0.05
    assert free.accepted
    assert free.history[0]["divergence"] == pytest.approx(0.0, abs=1e-4)
    assert abs(held.history[-1]["divergence"]) < abs(free.history[-1]["divergence"])
    assert all(np.isfinite(x) for entry in free.history for x in entry.values())
    assert not any(p.requires_grad for p in tuned.model.parameters())


def test_the_gate_refuses_a_model_that_says_one_thing_again_and_again(base: TransformerGenerator) -> None:
    def hacked(lines: Sequence[Line]) -> NDArray[np.float64]:
        """The shortest line that names the product: one line wins for all styles."""
        return np.array([-len(x.text) if x.text.count("{product}") == 1 else -200 for x in lines], np.float64)

    config = replace(FAST, rounds=24, batch=16, judged=40, leash=0.0, learning_rate=5e-3)
    kept, gate = reinforce_tune(base, hacked, config, seed=0, guard=everything)
    assert gate.after.reward > gate.before.reward
    assert not gate.accepted
    assert any(reason.startswith("self-BLEU") for reason in gate.reasons)
    assert kept is base
    assert gate.to_json()["accepted"] is False


def test_log_probabilities_are_those_of_the_distribution_that_lines_are_drawn_from(base: TransformerGenerator) -> None:
    codec, temperature = base.codec, 0.7
    condition = Condition("plain")
    plan = base.plan(base.groups("plain")[0], base.slots, condition)
    with torch_session(0):
        rows = sample(base.model, codec, plan, 3000, temperature, 3, constrained=False)
    commonest = max(set(map(tuple, rows)), key=[tuple(ids) for ids in rows].count)
    share = [tuple(ids) for ids in rows].count(commonest) / len(rows)
    batch = Batch.of([codec.prefix(condition)] * 2, [list(commonest), rows[0]], [list(commonest), rows[0]], codec.pad)
    with torch.no_grad():
        p = float(drawn_logs(base.model, batch, codec, temperature)[0].exp())
        at_one = float(drawn_logs(base.model, batch, codec, 1.0)[0].exp())
    error = (p * (1 - p) / len(rows)) ** 0.5
    assert abs(share - p) < 4 * error
    assert abs(share - at_one) > 4 * error  # else the test would not see a forgotten temperature


def test_the_gradient_is_that_of_the_log_probability_at_the_temperature(base: TransformerGenerator) -> None:
    codec, model = base.codec, twin(base.model)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    ids = [*codec.encode(LINES[0].text), codec.end]
    batch = Batch.of([codec.prefix(Condition("plain"))] * 2, [ids, ids[:3]], [ids, ids[:3]], codec.pad)
    drawn_logs(model, batch, codec, 0.7)[0].backward()  # type: ignore[no-untyped-call]
    weight = model.transformer.h[0].mlp.c_fc.weight
    slope = weight.grad
    assert torch.isfinite(slope).all()
    k = int(slope.abs().argmax())
    levels = []
    for move in (1e-2, -1e-2):
        with torch.no_grad():
            weight.view(-1)[k] += move
            levels.append(float(drawn_logs(model, batch, codec, 0.7)[0]))
            weight.view(-1)[k] -= move
    assert (levels[0] - levels[1]) / 2e-2 == pytest.approx(float(slope.view(-1)[k]), rel=0.05)


def test_tuning_is_of_the_transformer_alone(base: TransformerGenerator) -> None:
    assert base.mixture is not None
    few = replace(LAX, judged=20, samples=24, epochs=1)
    tuned, gate = rejection_tune(base, behind, few, seed=1, guard=everything)
    assert gate.checked_by == "guard"
    assert (tuned is base) == (not gate.accepted)
    assert tuned is base or tuned.mixture is None
    _, refused = rejection_tune(base, lambda lines: np.zeros(len(lines)), few, seed=1)
    assert refused.checked_by == "own checks"
    assert not refused.accepted


def test_the_gate_names_what_it_refuses() -> None:
    before = Measured(passed=0.9, self_bleu=0.5, unique=0.9, reward=1.0)
    assert judge(before, replace(before, reward=1.1), FAST) == ()
    assert judge(before, replace(before, reward=1.1, self_bleu=0.549), FAST) == ()
    for change, word in (
        ({"self_bleu": 0.56, "reward": 2.0}, "self-BLEU"),
        ({"passed": 0.88, "reward": 2.0}, "own checks: pass rate"),
        ({}, "reward"),
        ({"reward": float("nan")}, "reward"),
    ):
        (reason,) = judge(before, replace(before, **change), FAST)
        assert reason.startswith(word)


def test_the_own_guard_knows_slots_claims_and_grammar(base: TransformerGenerator) -> None:
    guard = own_guard(base)
    lines = [
        Line("plain", "Have a look: {product}."),
        Line("plain", "Have a look."),
        Line("plain", "Look have a: {product}."),
        Line("urgency", "Have a look: {product}, {was_price}.", ("low_stock",)),
    ]
    assert guard(lines).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": 0}, {"samples": 0}, {"keep": 0.0}, {"keep": 1.1}, {"leash": -1.0}, {"temperature": 0.0},
        {"learning_rate": 0.0}, {"judged": 1}, {"more_alike": -0.1}, {"batch": 1.5}, {"fresh": 1.0},
    ],
)  # fmt: skip
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        TuningConfig(**options)


def test_bad_scores_and_guards_are_named(base: TransformerGenerator) -> None:
    few = replace(FAST, judged=4, samples=8)
    with pytest.raises(InputError, match="not finite"):
        rejection_tune(base, lambda lines: np.full(len(lines), np.nan), few)
    with pytest.raises(InputError, match="shape"):
        reinforce_tune(base, lambda lines: np.zeros(3), few)
    with pytest.raises(InputError, match="passed no line"):
        rejection_tune(base, behind, few, guard=lambda lines: np.zeros(len(lines), bool))
    with pytest.raises(InputError, match="not been trained"):
        rejection_tune(TransformerGenerator(), behind, few)


def test_tuning_leaves_the_global_state_alone(base: TransformerGenerator) -> None:
    before = torch.random.get_rng_state()
    reinforce_tune(base, behind, replace(FAST, judged=4, batch=4), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
