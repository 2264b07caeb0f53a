"""The adversarial phase: discriminator first, then both in turn, with checks, best checkpoint and rollback."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recenv.core.errors import InputError
from recenv.core.progress import bar
from recenv.generators.gan_board import GanBoard
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_losses import critic_loss, policy_loss, relativistic_loss
from recenv.generators.gan_networks import LineRNN, PatchCritic, line_mask, line_score
from recenv.generators.gan_sample import draw, draw_soft
from recenv.generators.gan_score import Check, Material
from recenv.generators.transformer_data import IGNORED, Batch
from recenv.generators.transformer_fit import mean_loss

POOL_STEPS = 40
"""Steps of the discriminator's own training on lines of one draw."""


class Adversary:
    """Trains a generator in place; the best checkpoint by `Check.score` on validation lines is kept.

    To be called within a `torch_session`. A loss that is not finite, or a validation loss `divergence` above its best,
    puts generator, discriminator and optimisers back to the last good check and halves the learning rates; each such
    event is counted. `last` holds the weights with which training ended.

    Args:
        model: trained by MLE. material, config: see there. seed: of batches. board: for curves.
    """

    def __init__(self, model: LineRNN, material: Material, config: GanConfig, seed: int, board: GanBoard) -> None:
        self.model, self.material, self.config, self.board = model, material, config, board
        self.critic = PatchCritic(model.size, config.critic_width, config.critic_dropout)
        self.noise = np.random.default_rng([seed, 2])
        self.generator_optimiser = torch.optim.Adam(model.parameters(), lr=config.generator_rate)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=config.critic_rate)
        self.events: list[dict[str, Any]] = []
        self.history: list[dict[str, float]] = []
        self.mean = [p.detach().clone() for p in model.parameters()]
        self.last = self._values()

    def run(self, progress: bool = True, until: Callable[[], bool] | None = None) -> dict[str, Any]:
        """Both phases; `until` is asked at every check whether to stop. Leaves the best weights in the model.

        Returns:
            adversarial, critic (its training: steps, accuracy), steps, best_step, stopped (why), events, non_finite,
            divergences, rollbacks (counts), history (a row a check).
        """
        report: dict[str, Any] = {"adversarial": self.config.adversarial, "critic": {}}
        check = self._look(0, {})
        best, best_nll, best_step, since = check.score, check.nll, 0, 0
        kept = self._values()
        if self.config.adversarial != "none" and self.config.steps:
            report["critic"] = self.pretrain_critic()
        good, stopped, step = self._state(), "steps", 0
        shown = bar("gan", self.config.steps, "step", progress)
        while step < self.config.steps:
            count = min(self.config.every, self.config.steps - step)
            losses = self._steps(count)
            step += count
            shown.update(count)
            cause = "" if losses else "non-finite"
            if losses:
                check = self._look(step, losses)
                if not math.isfinite(check.nll) or not math.isfinite(check.score):
                    cause = "non-finite"
                elif check.nll > best_nll + self.config.divergence:
                    cause = "divergence"
            if cause:
                self.events.append({"step": step, "cause": cause})
                self._restore(good)
                if len(self.events) > self.config.rollbacks:
                    stopped = "rollbacks"
                    break
                continue
            good, best_nll, since = self._state(), min(best_nll, check.nll), since + 1
            if check.score > best:
                best, best_step, kept, since = check.score, step, self._values(), 0
            if since >= self.config.patience:
                stopped = "patience"
                break
            if until is not None and until():
                stopped = "until"
                break
        shown.close()
        self.last = self._values()
        self._put(kept)
        self.model.eval()
        chosen = {"steps": step, "best_step": best_step, "best_score": best, "stopped": stopped}
        return report | chosen | self._counts() | {"history": self.history}

    def _counts(self) -> dict[str, Any]:
        causes = [event["cause"] for event in self.events]
        counts = {"non_finite": causes.count("non-finite"), "divergences": causes.count("divergence")}
        return {"events": self.events, "rollbacks": len(causes)} | counts

    def pretrain_critic(self) -> dict[str, float]:
        """Train the discriminator alone until its pair accuracy on validation lines is reached.

        Returns:
            steps, accuracy, wanted.

        Raises:
            InputError: its loss is not finite.
        """
        # Drawing costs more than learning: one large draw a round serves many steps.
        step, found, c = 0, self.pair_accuracy(), self.config
        while step < c.critic_steps and found < c.critic_accuracy:
            count = min(POOL_STEPS, c.critic_steps - step)
            prefix, real = self._split(self._real(c.batch * count))
            fake = self._draw(prefix)
            for part in (slice(k * c.batch, (k + 1) * c.batch) for k in range(count)):
                loss = self._critic_step(prefix[part], real[part], fake[part])
                if not math.isfinite(loss):
                    raise InputError("gan", f"discriminator loss {loss} is not finite", "Lower critic_rate")
            step += count
            found = self.pair_accuracy()
        return {"steps": step, "accuracy": found, "wanted": c.critic_accuracy}

    @torch.no_grad()
    def pair_accuracy(self) -> float:
        """P(D(validation line) > D(generated line)) over all pairs: .5 is chance. Four fresh lines a condition."""
        self.critic.eval()
        prefix, real = self._split(self.material.validation)
        more = prefix.repeat(4, 1)
        drawn = ((prefix, real), (more, self._draw(more)))
        scores = [line_score(self.critic(p, x), line_mask(x, self.material.end)) for p, x in drawn]
        pairs = scores[0][:, None] - scores[1]
        return float((pairs > 0).double().mean() + 0.5 * (pairs == 0).double().mean())

    def critic_step(self, batch: Batch) -> float:
        """One step of the discriminator on real lines and fresh ones for the same conditions; returns its loss."""
        prefix, real = self._split(batch)
        return self._critic_step(prefix, real, self._draw(prefix))

    def _critic_step(self, prefix: Tensor, real: Tensor, fake: Tensor) -> float:
        self.critic.train()
        longest = [int(line_mask(x, self.material.end).sum(1).max()) for x in (real, fake)]
        cut = [x[:, :n] for x, n in zip((real, fake), longest, strict=True)]
        scores = [line_score(self.critic(prefix, x), line_mask(x, self.material.end)) for x in cut]
        loss = critic_loss(scores[0], scores[1], self.config.adversarial == "gumbel")
        return float(loss.detach()) if self._step(self.critic_optimiser, self.critic, loss) else math.nan

    def generator_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(MLE anchor, adversarial loss) on one batch; the second is 0 for the control."""
        self.model.train()
        anchor = mean_loss(self.model, batch)
        if self.config.adversarial == "none":
            return anchor, torch.zeros(())
        prefix, real = self._split(batch)
        c, m = self.config, self.material
        if c.adversarial == "gumbel":
            soft, ids = draw_soft(self.model, prefix, m.length, m.barred, m.end, c.gumbel_temperature)
            return anchor, relativistic_loss(self.critic, prefix, real, soft, ids, m.end)
        ids = self._draw(prefix)
        return anchor, policy_loss(self.model, self.critic, prefix, ids, m.barred, m.end, c.discount, c.clip)

    def generator_step(self, batch: Batch) -> dict[str, float]:
        """One step of anchor and adversarial loss together; nothing moves where the loss is not finite."""
        anchor, other = self.generator_losses(batch)
        share = 1.0 if self.config.adversarial == "none" else self.config.anchor
        loss = share * anchor + (1.0 - share) * other
        moved = self._step(self.generator_optimiser, self.model, loss)
        with torch.no_grad():
            for slow, fast in zip(self.mean, self.model.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - self.config.average)
        found = {"generator_loss": loss, "anchor_loss": anchor, "adversarial_loss": other}
        return {name: float(value.detach()) if moved else math.nan for name, value in found.items()}

    def _steps(self, count: int) -> dict[str, float]:
        """Mean losses of so many steps; empty as soon as one is not finite."""
        rows = []
        for _ in range(count):
            row: dict[str, float] = {}
            if self.config.adversarial != "none":
                losses = [self.critic_step(self._real()) for _ in range(self.config.critic_updates)]
                row["discriminator_loss"] = float(np.mean(losses))
            rows.append(row | self.generator_step(self._real()))
            if not all(math.isfinite(x) for x in rows[-1].values()):
                return {}
        return {name: float(np.mean([r[name] for r in rows])) for name in rows[0]}

    def _real(self, count: int = 0) -> Batch:
        return self.material.batch(self.noise.integers(0, self.material.count, count or self.config.batch), self.noise)

    def _split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(prefix, ids of lines) of a batch, without the noise of its inputs."""
        p = self.model.prefix
        goal = batch.targets[:, p:]
        return batch.ids[:, :p], goal.masked_fill(goal == IGNORED, self.material.pad)

    def _draw(self, prefix: Tensor) -> Tensor:
        m = self.material
        return draw(self.model, prefix, m.length, m.barred, m.end, m.pad)

    def _look(self, step: int, losses: dict[str, float]) -> Check:
        """Check the averaged weights, write curves."""
        now = self._put(self.mean)
        check = self.material.check(self.model)
        figures = losses | {"validation_nll": check.nll, "score": check.score} | check.figures
        if losses and self.config.adversarial != "none":
            figures["discriminator_accuracy"] = self.pair_accuracy()
        self._put(now)
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        self.history.append({"step": float(step)} | figures)
        self.board.curves(step, figures)
        self.board.samples(step, check.lines)
        return check

    def _values(self) -> list[Tensor]:
        return [p.clone() for p in self.mean]

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> list[Tensor]:
        """Put weights into the model; returns those that were there."""
        before = [p.detach().clone() for p in self.model.parameters()]
        for p, value in zip(self.model.parameters(), values, strict=True):
            p.copy_(value)
        return before

    def _parts(self) -> list[Any]:
        return [self.model, self.critic, self.generator_optimiser, self.critic_optimiser]

    def _state(self) -> tuple[list[Any], list[Tensor]]:
        return [copy.deepcopy(part.state_dict()) for part in self._parts()], self._values()

    def _restore(self, state: tuple[list[Any], list[Tensor]]) -> None:
        rates = [[0.5 * group["lr"] for group in part.param_groups] for part in self._parts()[2:]]
        for part, saved in zip(self._parts(), state[0], strict=True):
            part.load_state_dict(copy.deepcopy(saved))
        for part, lower in zip(self._parts()[2:], rates, strict=True):
            for group, rate in zip(part.param_groups, lower, strict=True):
                group["lr"] = rate
        self.mean = [p.clone() for p in state[1]]

    @staticmethod
    def _step(optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> bool:
        """Whether loss and gradient were finite, so that the weights moved."""
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        finite = bool(torch.isfinite(loss) and torch.isfinite(nn.utils.clip_grad_norm_(network.parameters(), 1.0)))
        if finite:
            optimiser.step()
        return finite
