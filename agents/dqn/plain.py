"""The DQN without a world: any Gymnasium vector environment with a Box observation and Discrete actions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recenv.agents.base import NullLog, TrainLog, check_inputs, config_from, draw
from recenv.agents.dqn.collect import collect
from recenv.agents.dqn.config import DQNConfig
from recenv.agents.dqn.learner import Learner, Schedule, action_values, fixed_threads, greedy_probabilities, seeded
from recenv.agents.dqn.replay import RingReplay
from recenv.core.errors import ArtefactError, InputError

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

PLAIN = DQNConfig(discount=0.99, lr=2e-3, capacity=100_000)
"""Defaults without a world."""
WEIGHTS, SETTINGS = "plain_dqn.safetensors", "plain_dqn.json"


class PlainQNetwork(nn.Module):
    """Q(s, a) = V(s) + f(s) . e_a + b_a, with one learned vector e_a an action.

    Args:
        low, high: (size,) bounds of the observation; finite ones are scaled to [-1, 1].
        n_actions: number of actions. config: widths.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, low: Floats, high: Floats, n_actions: int, config: DQNConfig) -> None:
        super().__init__()
        finite = np.isfinite(low) & np.isfinite(high) & (high > low) & (high - low < 1e6)
        low, high = np.where(finite, low, -1.0), np.where(finite, high, 1.0)
        self.register_buffer("centre", torch.from_numpy(((low + high) / 2).astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy((2 / (high - low)).astype(np.float32)))
        width = config.hidden
        self.body = nn.Sequential(nn.Linear(len(low), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.query = nn.Linear(width, config.rank)
        self.value = nn.Linear(width, 1)
        self.embedding = nn.Parameter(torch.randn(n_actions, config.rank) * config.rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_actions))

    def forward(self, obs: Tensor) -> Tensor:
        """Action values (n, A) of observations (n, size)."""
        hidden = self.body((obs - self.centre) * self.scale)
        return self.value(hidden) + self.query(hidden) @ self.embedding.T + self.bias

    def taken(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (n,) of actions (n,)."""
        return self(obs).gather(1, action[:, None])[:, 0]

    def best(self, obs: Tensor, mask: Tensor, chooser: PlainQNetwork) -> Tensor:
        """Values (n,) of the best allowed actions in `chooser`'s eyes; mask (n, A) bool."""
        choice = chooser(obs).masked_fill(~mask, -torch.inf).argmax(1)
        return self.taken(obs, choice)


class PlainDQN:
    """A DQN on plain spaces; the same promises as `Policy`, with `mask=None` for 'all allowed'.

    Args:
        observation_space: a Box of one dimension. action_space: Discrete, from 0.
        config: options of `DQNConfig` by name, over the defaults `PLAIN`. seed: of the first weights.

    Raises:
        InputError: other spaces, or an option that does not exist.
    """

    name = "dqn"
    observation = "plain"

    def __init__(
        self, observation_space: Box, action_space: Discrete, config: dict[str, Any] | None = None, seed: int = 0
    ) -> None:
        if not isinstance(observation_space, Box) or len(observation_space.shape) != 1:
            raise InputError("observation space", f"{observation_space}", "Give a Box of one dimension.")
        if not isinstance(action_space, Discrete) or action_space.start != 0:
            raise InputError("action space", f"{action_space}", "Give a Discrete that starts at 0.")
        self.config = config_from(DQNConfig, vars(PLAIN) | (config or {}), "agent dqn")
        self.low, self.high = (np.asarray(x, np.float32) for x in (observation_space.low, observation_space.high))
        self.n_actions, self.seed = int(action_space.n), seed
        with seeded(seed):
            self.network = PlainQNetwork(self.low, self.high, self.n_actions, self.config)
        self.network.to(self.config.device)

    def probabilities(self, obs: Floats, mask: Bools | None = None) -> Floats:
        """(n, A) float32, see `Policy.probabilities`.

        Raises:
            InputError: wrong shapes, or an observation that is not finite.
        """
        mask = np.ones((len(obs), self.n_actions), np.bool_) if mask is None else mask
        obs, mask = check_inputs(obs, mask, len(self.low), self.n_actions)
        return greedy_probabilities(
            action_values(self.network, obs, self.config.device), mask, self.config.eval_epsilon
        )

    def act(self, obs: Floats, mask: Bools | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """Actions (n,) int64; one uniform number a row is drawn from `rng`."""
        return draw(self.probabilities(obs, mask), rng)

    def train(self, env: Any, steps: int, seed: int, logger: TrainLog | None = None) -> None:
        """Learn for `steps` steps over all environments of a Gymnasium vector environment of any autoreset mode.

        The policy's weights are the running average of the online network's, which swing around it.
        """
        log: TrainLog = NullLog() if logger is None else logger
        config, rng, returns = self.config, np.random.default_rng(seed), []  # type: ignore[var-annotated]
        learner, schedule = Learner(self.network, config, steps), Schedule(config, steps)
        replay = RingReplay(config.capacity, len(self.low), self.n_actions)

        def explore(obs: Floats, mask: Bools, progress: float) -> NDArray[np.int64]:
            values = action_values(learner.online, obs, config.device)
            return draw(greedy_probabilities(values, mask, config.epsilon(progress)), rng)

        with fixed_threads(config.threads):
            for step, new in collect(env, seed, steps, explore, returns):
                replay.add(new)
                for _ in range(schedule.updates_due(step, len(new))):
                    learner.update(replay.sample(config.batch, rng), step)
                if schedule.report_due(step):
                    log.log(step, learner.scalars(step) | _mean_return(returns))
                    log.checkpoint(step, self)

    def save(self, directory: Path) -> None:
        """Write `plain_dqn.safetensors` and `plain_dqn.json`."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        finite = {"low": self.low.tolist(), "high": self.high.tolist(), "n_actions": self.n_actions, "seed": self.seed}
        saved = {"config": vars(self.config)} | finite
        (folder / SETTINGS).write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> PlainDQN:
        """The policy as saved.

        Raises:
            ArtefactError: a file is missing.
        """
        folder = Path(directory)
        if not (folder / SETTINGS).is_file() or not (folder / WEIGHTS).is_file():
            raise ArtefactError(str(folder), f"holds no {SETTINGS} with {WEIGHTS}", "Give a folder written by save().")
        saved = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        box = Box(np.array(saved["low"], np.float32), np.array(saved["high"], np.float32), dtype=np.float32)
        made = cls(box, Discrete(saved["n_actions"]), saved["config"], saved["seed"])
        made.network.load_state_dict(load_file(folder / WEIGHTS))
        return made


def _mean_return(returns: list[float]) -> dict[str, float]:
    """Mean return of the episodes that ended since the last report; the list is emptied."""
    mean = {"rollout/ep_rew_mean": float(np.mean(returns))} if returns else {}
    returns.clear()
    return mean
