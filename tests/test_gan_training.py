"""Training of the sequence GAN: anchor in every step, rollback, discriminator, losses, score of a checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import torch
from torch import Tensor

from recenv.generators.corpus import read_corpus
from recenv.generators.gan import GanGenerator
from recenv.generators.gan_board import GanBoard
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_losses import advantages, critic_loss, policy_loss, relativistic_loss, returns
from recenv.generators.gan_networks import LineRNN, PatchCritic, line_mask, line_score
from recenv.generators.gan_oracle import oracle_task
from recenv.generators.gan_sample import draw, draw_soft
from recenv.generators.gan_score import judged
from recenv.generators.gan_train import Adversary
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig

TINY = TransformerConfig(layers=1, width=32, heads=1, epochs=6, batch=64, learning_rate=1e-2)
GAN = GanConfig(steps=4, every=2, batch=16, samples=24, critic_width=16, critic_steps=4)
TRAIN, HELD = read_corpus().split()


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
        assert loop.pair_accuracy() < 0.9
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


def test_the_score_pays_for_likeness_and_takes_back_sameness() -> None:
    lines = [line.text for line in TRAIN[:40]]
    true, same = judged(2.0, lines, lines), judged(2.0, lines[:1] * 40, lines)
    assert true.figures["bleu"] == pytest.approx(1.0)
    assert true.score > same.score
    assert judged(2.5, lines, lines).score == pytest.approx(true.score - 0.5)
    assert judged(2.0, ["", ""], lines).score == pytest.approx(-3.0)


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
    assert before == pytest.approx(math.log(30), abs=0.6)
    assert {"oracle_nll", "score"} <= set(report["history"][0])
    assert played["steps"] == 4
    assert played["non_finite"] == 0
