"""Settings of the deep Q network; every field's text is its help text."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from recenv.core.errors import InputError


@dataclass(frozen=True)
class DQNConfig:
    """Settings of the DQN.

    The target of a transition (s, a, r, s') is

        y = r + discount * (1 - terminated) * max_a' Q_target(s', a')

    with a' chosen by the online network where `double` (van Hasselt, Guez and Silver, "Deep reinforcement learning with
    double Q-learning", AAAI 2016, equation 4). With discount 0 it is a contextual bandit and is called `dqn-0`.

    Args:
        discount: weight of the next state's value, in [0, 1).
        double: choose the next action by the online network, value it by the target network.
        reward_mode: reward in training, `expected` under the response model or `sampled` (worlds only).
        envs: parallel training environments.
        batch: transitions in an update.
        updates: updates per step of all parallel environments.
        warmup: transitions collected before the first update.
        capacity: transitions kept in the replay.
        epsilon_start: exploration rate at the beginning.
        epsilon_end: exploration rate from `epsilon_share` of the steps on.
        epsilon_share: share of the steps over which the exploration rate falls, linearly.
        copy_share: share of the exploring choices that change the copy alone (worlds only).
        lr: learning rate of Adam at the beginning.
        lr_end: the learning rate at the end, as a share of `lr`; it falls linearly.
        target_rate: share of the online network that enters the target network at every update.
        average_rate: the same for the averaged network that acts when training is over (Polyak averaging).
        hidden: width of the hidden layers.
        rank: length of the vectors whose product is a logit.
        memory_hidden: width of the hidden layer of the memory networks (worlds only).
        top_items: items whose values enter a target's maximum (worlds only, discount above 0).
        max_grad_norm: bound of the gradient's norm.
        eval_epsilon: exploration rate of the trained policy.
        device: torch device.
        threads: torch threads while training.
    """

    discount: float = 0.0
    double: bool = True
    reward_mode: str = "expected"
    envs: int = 64
    batch: int = 256
    updates: int = 2
    warmup: int = 1_000
    capacity: int = 200_000
    epsilon_start: float = 0.3
    epsilon_end: float = 0.03
    epsilon_share: float = 0.6
    copy_share: float = 0.5
    lr: float = 4e-3
    lr_end: float = 0.05
    target_rate: float = 0.05
    average_rate: float = 0.01
    hidden: int = 64
    rank: int = 32
    memory_hidden: int = 32
    top_items: int = 64
    max_grad_norm: float = 10.0
    eval_epsilon: float = 0.0
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"dqn option {field.name}", f"{value}", "Give a finite number.")
        if self.reward_mode not in ("expected", "sampled"):
            raise InputError("dqn option reward_mode", f"{self.reward_mode!r}", "Choose expected or sampled.")
        if not 0.0 <= self.discount < 1.0:
            raise InputError("dqn option discount", f"{self.discount}", "Give a number in [0, 1).")
        shares = ("epsilon_start", "epsilon_end", "epsilon_share", "copy_share", "lr_end", "target_rate")
        for name in (*shares, "average_rate", "eval_epsilon"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"dqn option {name}", f"{getattr(self, name)}", "Give a number in [0, 1].")
        sizes = ("envs", "batch", "updates", "capacity", "hidden", "rank", "memory_hidden", "top_items", "threads")
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"dqn option {name}", f"{getattr(self, name)}", "Give a whole number of at least 1.")
        if self.lr <= 0 or self.max_grad_norm <= 0 or self.warmup < 0:
            raise InputError(
                "dqn options", "lr or max_grad_norm not positive, or warmup below 0", "Give positive numbers."
            )

    def epsilon(self, progress: float) -> float:
        """Exploration rate when `progress` (0 to 1) of the steps are done."""
        share = 1.0 if self.epsilon_share == 0 else min(progress / self.epsilon_share, 1.0)
        return self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)

    def learning_rate(self, progress: float) -> float:
        """Learning rate when `progress` (0 to 1) of the steps are done."""
        return self.lr * (1.0 + min(progress, 1.0) * (self.lr_end - 1.0))
