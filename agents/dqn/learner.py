"""The update: one loss, Adam, a target network and an averaged one; for both kinds of network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.agents.dqn.config import DQNConfig
from recenv.agents.dqn.replay import Batch

REPORTS = 50
"""Reports over a whole training."""


class Learner:
    """Fits the online network; the network given becomes its running average.

    The loss is the mean squared error to r + discount * (1 - terminated) * best next value (see `DQNConfig`).

    Args:
        network: acts once training is over. It must have `taken(obs, action)` and `best(obs, mask, chooser)`.
        config: settings. steps: environment steps of the whole training, for the learning rate.
    """

    def __init__(self, network: nn.Module, config: DQNConfig, steps: int) -> None:
        self.config, self.steps, self.updates = config, steps, 0
        self.average = network
        self.online: Any = copy.deepcopy(network)
        self.target: Any = copy.deepcopy(network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.online.parameters(), lr=config.lr, eps=1e-5, foreach=True)
        self._loss, self._value, self._seen = 0.0, 0.0, 0

    def update(self, batch: Batch, step: int) -> None:
        """One gradient step on a batch, at environment step `step`."""
        device = self.config.device
        rate = self.config.learning_rate(step / max(self.steps, 1))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        value = self.online.taken(_tensor(batch.obs, device), _tensor(batch.action, device))
        loss = ((value - self._target(batch, device)) ** 2).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.online.parameters(), self.config.max_grad_norm)
        self.optimiser.step()
        self.updates += 1
        if self.config.discount > 0:
            blend(self.target, self.online, self.config.target_rate)
        # A plain mean over the first updates, so that the first weights do not linger in the average.
        blend(self.average, self.online, max(self.config.average_rate, 1.0 / self.updates))
        self._loss, self._value, self._seen = (
            self._loss + loss.item(),
            self._value + value.mean().item(),
            self._seen + 1,
        )

    @torch.no_grad()
    def _target(self, batch: Batch, device: str) -> Tensor:
        reward = _tensor(batch.reward, device)
        if self.config.discount == 0:
            return reward
        assert batch.next_obs is not None
        assert batch.next_mask is not None
        assert batch.terminated is not None
        chooser = self.online if self.config.double else self.target
        best = self.target.best(_tensor(batch.next_obs, device), _tensor(batch.next_mask, device), chooser)
        return reward + self.config.discount * (1.0 - _tensor(batch.terminated, device).float()) * best

    def scalars(self, step: int) -> dict[str, float]:
        """What has been learned since the last call, by tag."""
        progress = step / max(self.steps, 1)
        values = {
            "rollout/exploration_rate": self.config.epsilon(progress),
            "train/learning_rate": self.config.learning_rate(progress),
            "train/n_updates": float(self.updates),
        }
        if self._seen:
            values |= {"train/loss": self._loss / self._seen, "train/q_mean": self._value / self._seen}
        self._loss, self._value, self._seen = 0.0, 0.0, 0
        return values


class Schedule:
    """When to update and when to report.

    Args:
        config: settings. steps: environment steps of the whole training.
    """

    def __init__(self, config: DQNConfig, steps: int) -> None:
        self.config = config
        self.every = max(steps // REPORTS, 1)
        self.next_report = self.every

    def updates_due(self, step: int, new: int) -> int:
        """Updates after a vector step that brought `new` transitions: none before the warm-up is over."""
        if step < min(self.config.warmup, self.every * REPORTS // 4) or not new:
            return 0
        return self.config.updates

    def report_due(self, step: int) -> bool:
        """Whether a report is due at `step`."""
        if step < self.next_report:
            return False
        self.next_report += self.every
        return True


@torch.no_grad()
def blend(into: nn.Module, source: nn.Module, rate: float) -> None:
    """into <- (1 - rate) * into + rate * source, for parameters."""
    torch._foreach_lerp_(list(into.parameters()), list(source.parameters()), rate)


@torch.no_grad()
def action_values(network: nn.Module, obs: NDArray[np.float32], device: str) -> NDArray[np.float32]:
    """Action values (n, A) float32 of observations (n, size)."""
    return np.asarray(network(torch.from_numpy(obs).to(device)).cpu().numpy())


def greedy_probabilities(values: NDArray[np.float32], mask: NDArray[np.bool_], epsilon: float) -> NDArray[np.float32]:
    """Epsilon-greedy probabilities (n, A): `epsilon` spread over the allowed actions, the rest on the best of them.

    Rows without an allowed action take action 0.
    """
    mask = mask.copy()
    mask[~mask.any(axis=1), 0] = True
    best = np.where(mask, values, -np.inf).argmax(axis=1)
    result = np.zeros(mask.shape, np.float32)
    if epsilon > 0:
        result += (epsilon / mask.sum(axis=1, keepdims=True)).astype(np.float32) * mask
    result[np.arange(len(mask)), best] += np.float32(1.0 - epsilon)
    return result


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own generator seeded within, and as before afterwards: modules draw their first weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


@contextmanager
def fixed_threads(n: int) -> Iterator[None]:
    """Torch with `n` threads within, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tensor(array: NDArray[Any] | Tensor, device: str) -> Tensor:
    return (array if isinstance(array, Tensor) else torch.from_numpy(array)).to(device)
