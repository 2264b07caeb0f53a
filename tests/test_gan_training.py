"""Training of the sequence GAN: anchor in every step, rollback, discriminator, losses, score of a checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import torch
from torch import Tensor

from recenv.core.errors import InputError
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.gan import GanGenerator
from recenv.generators.gan_board import GanBoard
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_losses import advantages, critic_loss, policy_loss, relativistic_loss, returns
from recenv.generators.gan_networks import LineRNN, PatchCritic, line_mask, line_score
from recenv.generators.gan_oracle import Oracle, Task, oracle_task
from recenv.generators.gan_reference import Reference
from recenv.generators.gan_sample import draw, draw_soft
from recenv.generators.gan_score import judged, sample_losses
from recenv.generators.gan_train import Adversary
from recenv.generators.ngram import GroupedKneserNey
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_fit import barred_logits
from recenv.generators.vocabulary import Condition

TINY = TransformerConfig(layers=1, width=32, heads=1, epochs=6, batch=64, learning_rate=1e-2)
GAN = GanConfig(steps=4, every=2, batch=16, samples=24, critic_width=16, critic_steps=4)
# A part of the lines: a few hundred teach what is tested here.
STEP = max(1, len(read_corpus().lines) // 490)
TRAIN, HELD = (part[::STEP] for part in read_corpus().split())


@pytest.fixture(scope="module")
def tiny() -> GanGenerator:
    made = GanGenerator(config=TINY, gan=replace(GAN, steps=0))
    made.fit(TRAIN, HELD, seed=1, progress=False)
    return made


def adversary(made: GanGenerator, config: GanConfig) -> Adversary:
    model = made._model(made.codec)
    model.load_state_dict(made.model.state_dict())
    return Adversary(model, made._material(made.codec, TRAIN, HELD, config), config, 0, GanBoard(None))


def test_a_loss_that_is_not_finite_leads_back_to_the_last_good_checkpoint(tiny: GanGenerator) -> None:
    with torch_session(0):
        loop = adversary(tiny, replace(GAN, steps=8))
        true, calls = loop.generator_losses, []

        def spoiled(batch: Any) -> tuple[Tensor, Tensor]:
            calls.append(1)
            anchor, other = true(batch)
            return anchor, other * float("nan") if len(calls) == 4 else other

        loop.generator_losses = spoiled  # type: ignore[method-assign]
        report = loop.run(progress=False)
    assert (report["rollbacks"], report["non_finite"], report["divergences"]) == (1, 1, 0)
    assert report["events"] == [{"step": 4, "cause": "non-finite"}]
    assert report["steps"] == 8
    assert all(torch.isfinite(p).all() for p in loop.model.parameters())
    assert loop.generator_optimiser.param_groups[0]["lr"] == GAN.generator_rate / 2
    assert loop.critic_optimiser.param_groups[0]["lr"] == GAN.critic_rate / 2


def test_divergence_is_counted_and_ends_after_so_many_rollbacks(tiny: GanGenerator) -> None:
    with torch_session(0):
        config = replace(GAN, steps=40, generator_rate=5.0, average=0.0, rollbacks=2, divergence=0.3)
        loop = adversary(tiny, config)
        start = [p.detach().clone() for p in loop.model.parameters()]
        report = loop.run(progress=False)
    assert report["stopped"] == "rollbacks"
    assert report["rollbacks"] == 3 == report["divergences"] + report["non_finite"]
    assert report["best_step"] == 0
    assert all(torch.equal(a, b) for a, b in zip(start, loop.model.parameters(), strict=True))


def test_every_generator_step_holds_the_anchor(tiny: GanGenerator) -> None:
    with torch_session(0):
        loop = adversary(tiny, replace(GAN, anchor=0.4))
        found = loop.generator_step(loop._real())
        assert found["anchor_loss"] > 0.5
        assert math.isclose(
            found["generator_loss"], 0.4 * found["anchor_loss"] + 0.6 * found["adversarial_loss"], rel_tol=1e-5
        )
        control = adversary(tiny, replace(GAN, adversarial="none"))
        found = control.generator_step(control._real())
        assert found["generator_loss"] == found["anchor_loss"]


def test_the_discriminator_learns_to_tell_rubbish(tiny: GanGenerator) -> None:
    with torch_session(0):
        config = replace(GAN, critic_steps=120, critic_accuracy=0.95, critic_rate=1e-2, batch=32)
        loop = adversary(tiny, config)
        torch.nn.init.normal_(loop.model.bias, std=4.0)
        for weight in loop.critic.head.parameters():
            torch.nn.init.zeros_(weight)
        assert loop.pair_accuracy() == 0.5
        found = loop.pretrain_critic()
    assert found["accuracy"] >= 0.9
    assert found["steps"] <= 120


def test_both_adversarial_losses_move_the_generator_towards_what_the_discriminator_likes() -> None:
    with torch_session(0):
        model, critic = LineRNN(8, 16, 1, 1, 0.0), PatchCritic(8, 8, 0.0)
        prefix, barred = torch.full((64, 1), 6), torch.tensor([0.0] * 6 + [-math.inf] * 2)
        real = torch.full((64, 4), 3)
        optimiser = torch.optim.Adam(critic.parameters(), lr=0.02)
        for _ in range(60):
            fake = draw(model, prefix, 4, barred, 7, 7)
            ones = torch.ones(64, 4)
            loss = critic_loss(line_score(critic(prefix, real), ones), line_score(critic(prefix, fake), ones), False)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        for kind in ("policy", "gumbel"):
            learner = LineRNN(8, 16, 1, 1, 0.0)
            learner.load_state_dict(model.state_dict())
            steps = torch.optim.Adam(learner.parameters(), lr=0.02)
            for _ in range(40):
                if kind == "policy":
                    ids = draw(learner, prefix, 4, barred, 7, 7)
                    loss = policy_loss(learner, critic, prefix, ids, barred, 7, 0.5, 3.0)
                else:
                    soft, ids = draw_soft(learner, prefix, 4, barred, 7, 1.0)
                    loss = relativistic_loss(critic, prefix, real, soft, ids, 7)
                steps.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                steps.step()
            share = [float((draw(m, prefix, 4, barred, 7, 7) == 3).float().mean()) for m in (model, learner)]
            assert share[0] < 0.4 < 0.7 < share[1], kind


def test_returns_and_advantages_by_hand() -> None:
    odds = torch.tensor([[1.0, 2.0, -9.0], [0.0, 1.0, 5.0]])
    mask = line_mask(torch.tensor([[1, 2, 3], [1, 3, 0]]), end=3)
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert returns(odds, mask, 0.5, 3.0).tolist() == [[1.25, 0.5, -3.0], [0.5, 1.0, 0.0]]
    found = advantages(returns(odds, mask, 0.5, 3.0), mask)
    assert torch.allclose(found.sum(0), torch.zeros(3), atol=1e-6)
    assert found[1, 2] == 0.0
    assert float((found**2).sum() / mask.sum()) == pytest.approx(1.0, abs=1e-4)


def test_the_score_falls_with_every_loss_and_rises_with_entropy_and_likeness_is_written_down() -> None:
    lines = [line.text for line in TRAIN[:40]]
    true, same = judged(2.0, 3.0, 1.5, lines, lines), judged(2.0, 3.0, 1.5, lines[:1] * 40, lines)
    assert true.score == pytest.approx(-(2.0 + 3.0 - 1.5))
    assert true.figures["bleu"] == pytest.approx(1.0)
    assert true.figures["self_bleu"] < same.figures["self_bleu"]
    assert judged(2.5, 3.0, 1.5, lines, lines).score == pytest.approx(true.score - 0.5)
    assert judged(2.0, 3.5, 1.5, lines, lines).score == pytest.approx(true.score - 0.5)
    assert judged(2.0, 3.0, 1.0, lines, lines).score == pytest.approx(true.score - 0.5)
    assert judged(2.0, 3.0, 1.5, ["", ""], lines).figures["bleu"] == 0.0


def unigrams(size: int = 12) -> tuple[Task, Tensor]:
    """A task whose lines are independent tokens with known probabilities, and the logarithms of those."""
    with torch_session(3):
        logs = torch.log_softmax(torch.randn(size), 0)
        drawn = torch.multinomial(logs.exp(), 900 * 6, replacement=True).reshape(900, 6)
        return Task(Oracle(size), drawn[:700], drawn[700:]), logs


def test_the_score_is_best_at_the_truth_and_not_at_what_is_colder_or_warmer() -> None:
    task, logs = unigrams()
    with torch_session(0):
        torch.nn.init.zeros_(task.model.embedding.weight)
        scores = {}
        for temperature in (0.6, 1.0, 1.6):
            with torch.no_grad():
                task.model.bias[: len(logs)] = logs / temperature
            found = task._check(task.model, GanConfig(samples=1000))
            scores[temperature] = found.score
            q = torch.softmax(logs / temperature, 0)
            assert found.figures["entropy"] == pytest.approx(-float((q * q.log()).sum()), abs=0.05)
            # The reference keeps a seventh for the end of lines, which lines of a fixed length do not write.
            other = -float((q * logs).sum()) + math.log(7 / 6)
            assert found.figures["reference_nll"] == pytest.approx(other, abs=0.08)
            assert found.nll == pytest.approx(-float((logs.exp() * q.log()).sum()), abs=0.08)
    assert scores[1.0] > max(scores[0.6], scores[1.6]) + 0.05


def test_the_reference_takes_the_order_that_foretells_validation_lines_and_scores_ends_where_lines_have_them() -> None:
    chain = [[k, (k + 1) % 5, (k + 2) % 5] for k in range(5)] * 3
    groups = [""] * 15
    made = Reference(chain, groups, chain[:5], groups[:5], vocabulary=6, end=5, unknown=-1)
    grams = GroupedKneserNey(made.order, 6, 5, -1).fit(chain, groups)
    assert made.loss([0, 1, 2, 5]) == pytest.approx(-float(grams.token_log_probs([0, 1, 2]).sum()))
    assert made.loss([0, 1, 2]) == pytest.approx(-float(grams.token_log_probs([0, 1, 2])[:-1].sum()))
    assert made.loss([0, 1, 2, 5]) < made.loss([0, 2, 1, 5]) - 1.0
    noise = np.random.default_rng(0).integers(0, 5, (60, 8)).tolist()
    sums = [[*line[:2]] for line in noise]
    for line in sums:
        line += [0] * 6
        for k in range(2, 8):
            line[k] = (line[k - 1] + line[k - 2]) % 5
    found = [Reference(x[:40], [""] * 40, x[40:], [""] * 20, 6, 5, -1, ends=False).order for x in (noise, sums)]
    assert found[0] == 2 < found[1]
    with pytest.raises(InputError, match="0 to choose the order"):
        Reference(chain, groups, [], [], vocabulary=6, end=5, unknown=-1)


def test_what_the_corpus_check_says_of_samples_is_what_model_and_reference_say(tiny: GanGenerator) -> None:
    with torch_session(0):
        check = tiny._material(tiny.codec, TRAIN, HELD, replace(GAN, samples=60)).check
        found, blank = check(tiny.model), check(tiny._model(tiny.codec))
        assert check(tiny.model).score == found.score
        # Rubbish is what training never wrote: far from the reference for its own entropy.
        far = [x.figures["reference_nll"] - x.figures["entropy"] for x in (found, blank)]
        assert 0.0 < far[0] < far[1] - 0.03
        assert found.score > blank.score + 1.0
        prefix = torch.tensor([tiny.codec.prefix(Condition("plain"))] * 2)
        rows = [[*tiny.codec.encode(line.text), tiny.codec.end] for line in TRAIN[:2]]
        width = max(map(len, rows))
        ids = torch.tensor([row + [tiny.codec.pad] * (width - len(row)) for row in rows])
        barred = barred_logits(tiny.codec, hidden=True)
        reference = Reference(rows, ["a", "b"], rows, ["a", "b"], 900, tiny.codec.end, tiny.codec.unknown)
        other, own = sample_losses(tiny.model, prefix, ids, barred, reference, ["a", "b"])
        count = sum(map(len, rows))
        assert other == pytest.approx(sum(reference.loss(r, g) for r, g in zip(rows, "ab", strict=True)) / count)
        known = -sum(float(x) for x in tiny.log_prob([Line("plain", line.text) for line in TRAIN[:2]])) / count
        assert own == pytest.approx(known, abs=0.05)


def test_the_synthetic_oracle_knows_its_own_lines_and_the_generator_comes_nearer() -> None:
    with torch_session(0):
        task = oracle_task(vocabulary=30, length=5, lines=400, seed=0)
        own, blank = task.oracle.nll(task.validation), task.oracle_nll()
        before = task.validation_nll()
        config = GanConfig(adversarial="none", steps=120, every=40, generator_rate=1e-2, batch=64, samples=40)
        report = task.train(config, 0)
        assert own < task.oracle_nll() < blank - 0.5
        assert own < task.validation_nll() < before - 0.5
        gan = GanConfig(steps=4, every=2, samples=40, critic_width=16, critic_steps=40)
        played = task.train(gan, 0)
        worth, cold = task.worth(), task.worth(0.5)
    assert worth["oracle_nll"] == task.oracle_nll()
    assert worth["validation_nll"] == task.validation_nll()
    assert worth["divergence"] == pytest.approx(worth["oracle_nll"] + worth["validation_nll"] - worth["entropy"])
    assert cold["entropy"] < worth["entropy"]
    assert cold["validation_nll"] == task.validation_nll(temperature=0.5) > worth["validation_nll"]
    assert before == pytest.approx(math.log(30), abs=0.6)
    assert {"oracle_nll", "score"} <= set(report["history"][0])
    assert played["steps"] == 4
    assert played["non_finite"] == 0
