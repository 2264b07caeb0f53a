"""The adversarial phase: discriminator first, then both in turn, with checks, best checkpoint and rollback."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from recenv.core.errors import InputError
from recenv.generators.gan_board import GanBoard
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_losses import critic_loss, policy_loss, relativistic_loss
from recenv.generators.gan_networks import LineRNN, PatchCritic, line_mask, line_score
from recenv.generators.gan_sample import draw, draw_soft
from recenv.generators.transformer_data import IGNORED, Batch
from recenv.generators.transformer_fit import mean_loss


@dataclass(frozen=True)
class Check:
    """What a generator is worth on validation lines.

    Attributes:
        nll: loss of validation lines, nats a token. score: the higher the better. figures: by name of curve.
        lines: samples to show.
    """

    nll: float
    score: float
    figures: dict[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Material:
    """What the loop trains on; it knows nothing of words.

    Attributes:
        batch: examples by position, with noise or as they are. count: their number. validation: lines that nothing
            trains on. check: the worth of a generator. barred: (V,) -inf for tokens that are no part of a line, else 0.
        end, pad, unknown: ids; unknown is -1 where there is none. length: most tokens of a line, end included.
    """

    batch: Callable[[NDArray[np.int64], np.random.Generator | None], Batch]
    count: int
    validation: Batch
    check: Callable[[LineRNN], Check]
    barred: Tensor
    end: int
    pad: int
    unknown: int
    length: int


class Adversary:
    """Trains a generator in place; the best checkpoint by `Check.score` on validation lines is kept.

    To be called within a `torch_session`. A loss that is not finite, or a validation loss `divergence` above its best,
    puts generator, discriminator and optimisers back to the last good check and halves the learning rates; each such
    event is counted.

    Args:
        model: trained by MLE. material, config: see there. seed: of batches. board: for curves.
    """

    def __init__(self, model: LineRNN, material: Material, config: GanConfig, seed: int, board: GanBoard) -> None:
        self.model, self.material, self.config, self.board = model, material, config, board
        self.critic = PatchCritic(
            model.size, config.critic_width, config.critic_dropout, config.critic_hide, material.unknown
        )
        self.noise = np.random.default_rng([seed, 2])
        self.generator_optimiser = torch.optim.Adam(model.parameters(), lr=config.generator_rate)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=config.critic_rate)
        self.events: list[dict[str, Any]] = []
        self.history: list[dict[str, float]] = []
        self.mean = [p.detach().clone() for p in model.parameters()]

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
        bar = tqdm(total=self.config.steps, desc="gan", unit="step", disable=not progress)
        while step < self.config.steps:
            losses = self._steps(min(self.config.every, self.config.steps - step))
            step += min(self.config.every, self.config.steps - step)
            bar.update(min(self.config.every, self.config.steps - bar.n))
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
        bar.close()
        self._put(kept)
        self.model.eval()
        causes = [event["cause"] for event in self.events]
        return report | {
            "steps": step,
            "best_step": best_step,
            "best_score": best,
            "stopped": stopped,
            "events": self.events,
            "rollbacks": len(causes),
            "non_finite": causes.count("non-finite"),
            "divergences": causes.count("divergence"),
            "history": self.history,
        }

    def pretrain_critic(self) -> dict[str, float]:
        """Train the discriminator alone until its pair accuracy on validation lines is reached.

        Returns:
            steps, accuracy, wanted.

        Raises:
            InputError: its loss is not finite.
        """
        step, found = 0, self.pair_accuracy()
        while step < self.config.critic_steps and found < self.config.critic_accuracy:
            for _ in range(min(self.config.every, self.config.critic_steps - step)):
                loss = self.critic_step(self._real())
                if not math.isfinite(loss):
                    raise InputError("gan", f"discriminator loss {loss} is not finite", "Lower critic_rate")
                step += 1
            found = self.pair_accuracy()
        return {"steps": step, "accuracy": found, "wanted": self.config.critic_accuracy}

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
        """One step of the discriminator; returns its loss, nats."""
        prefix, real = self._split(batch)
        fake = self._draw(prefix)
        self.critic.train()
        masks = [line_mask(x, self.material.end) for x in (real, fake)]
        odds = [self.critic(prefix, x) for x in (real, fake)]
        loss = critic_loss(odds[0], masks[0], odds[1], masks[1], self.config.adversarial == "gumbel")
        self._step(self.critic_optimiser, self.critic, loss)
        return float(loss.detach())

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
        alone = self.config.adversarial == "none"
        share = 1.0 if alone else self.config.anchor
        loss = share * anchor + (1.0 - share) * other
        if torch.isfinite(loss):
            self._step(self.generator_optimiser, self.model, loss)
            with torch.no_grad():
                for slow, fast in zip(self.mean, self.model.parameters(), strict=True):
                    slow.lerp_(fast, 1.0 - self.config.average)
        found = {"generator_loss": loss, "anchor_loss": anchor, "adversarial_loss": other}
        return {name: float(value.detach()) for name, value in found.items()}

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

    def _real(self) -> Batch:
        return self.material.batch(self.noise.integers(0, self.material.count, self.config.batch), self.noise)

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
    def _step(optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
