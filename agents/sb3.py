"""Stable-Baselines3 agents over k retrieved candidates: `sb3-dqn`, `sb3-ppo`, `sb3-a2c`.

Weights are kept as safetensors beside our own configuration and put into a network that is built anew: SB3's own
`load(zip)` would run code from the file. These agents ignore masks while they learn (a masked choice shows nothing, by
the environment's rule); when they act, the best among the allowed candidates is taken.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from recenv.agents.base import EnvFactory, Floats, TrainLog
from recenv.agents.candidate_policy import CandidatePolicy, example_descriptions, standard
from recenv.core.errors import ArtefactError, InputError
from recenv.env.autoreset import AutoresetMode
from recenv.env.sb3 import ShopVecEnv
from recenv.env.vector import RecVectorEnv
from recenv.env.wrappers import CandidateVector
from recenv.observation import bounds

if TYPE_CHECKING:
    from recenv.world import World

WEIGHTS = "sb3.safetensors"
_REPORTS = 50


@dataclass(frozen=True)
class SB3Config:
    """Settings shared by the three.

    Args:
        k: candidates looked at in each slot. copies_per_item: at most so many copies of an item among them; None: all.
        envs: parallel training sessions. lr: learning rate. hidden: width of the two hidden layers.
        discount: weight of the next slot's value, in [0, 1]. threads: torch threads while training.
    """

    k: int = 20
    copies_per_item: int | None = None
    envs: int = 64
    lr: float = 1e-3
    hidden: int = 64
    discount: float = 0.5
    threads: int = 1

    def __post_init__(self) -> None:
        if min(self.envs, self.hidden, self.threads) < 1 or self.lr <= 0 or not 0 <= self.discount <= 1:
            raise InputError("sb3 options", f"{self}", "Give sizes >= 1, lr > 0 and a discount in [0, 1].")


class Standardise(BaseFeaturesExtractor):
    """Standardises observations by fixed means and deviations, kept with the weights; the rest clipped to +-5."""

    mean: Tensor
    scale: Tensor

    def __init__(self, space: gym.Space[Any]) -> None:
        assert space.shape is not None
        super().__init__(space, space.shape[0])
        self.register_buffer("mean", torch.zeros(space.shape))
        self.register_buffer("scale", torch.ones(space.shape))

    def forward(self, observations: Tensor) -> Tensor:
        return ((observations - self.mean) * self.scale).clamp(-5.0, 5.0)


class SB3Policy(CandidatePolicy):
    """Shared part; subclasses name the algorithm and what is its own."""

    config_class = SB3Config
    algorithm: ClassVar[Any] = None

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        low, high = self.candidates.bounds(*bounds(world.spec, world.n_copies, "full"))
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(self.config.k)
        with own_randomness(seed, self.config.threads):
            policy = self.algorithm.policy_aliases["MlpPolicy"]
            self.network: Any = policy(
                self.observation_space, self.action_space, lambda _: self.config.lr, **self.policy_options(self.config)
            )
        self.network.set_training_mode(False)

    @staticmethod
    def policy_options(config: Any) -> dict[str, Any]:
        """Arguments of the network."""
        return {"net_arch": [config.hidden] * 2, "features_extractor_class": Standardise}

    @staticmethod
    def algorithm_options(config: SB3Config) -> dict[str, Any]:
        """Arguments of the SB3 class beyond those shared."""
        del config
        return {}

    @classmethod
    def build(cls, env: VecEnv, config: Any, seed: int) -> Any:
        """The SB3 model with our settings, untrained; call it within `own_randomness`.

        Args:
            env: of any task, not only of ours. config: of type `config_class`. seed: of its networks and draws.
        """
        return cls.algorithm(
            "MlpPolicy", env, learning_rate=config.lr, gamma=config.discount, seed=seed, device="cpu",
            policy_kwargs=cls.policy_options(config), **cls.algorithm_options(config),
        )  # fmt: skip

    def scores(self, observations: Tensor) -> Tensor:
        """(n, k) what the network prefers."""
        raise NotImplementedError

    @torch.no_grad()
    def values(self, described: Floats) -> NDArray[Any]:
        with own_randomness(self.seed, self.config.threads):
            return self.scores(torch.from_numpy(described)).numpy()

    def train(self, env_factory: EnvFactory, steps: int, seed: int, logger: TrainLog) -> None:
        """Train the SB3 algorithm for `steps` slots; learning starts anew."""
        config = self.config
        options = replace(env_factory.options, observation="full", slate=1, invalid_action="null")
        examples = example_descriptions(self.candidates, replace(env_factory, options=options)(256), seed)
        batch = RecVectorEnv(config.envs, env_factory.world, autoreset_mode=AutoresetMode.SAME_STEP, **asdict(options))
        env = ShopVecEnv(CandidateVector(batch, config.k, config.copies_per_item))
        with own_randomness(seed, config.threads):
            model = self.build(env, config, seed)
            standardise(model.policy, examples)
            self.network = model.policy
            model.learn(steps, callback=_Report(self, logger, steps))
        self.network.set_training_mode(False)

    def save(self, directory: Path) -> None:
        """Write `policy.json` and `sb3.safetensors`."""
        super().save(directory)
        weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        save_file(weights, Path(directory) / WEIGHTS)

    @classmethod
    def load(cls, directory: Path, world: World) -> SB3Policy:
        """The policy as saved.

        Raises:
            ArtefactError: the weights are missing or do not fit the world.
        """
        policy = super().load(directory, world)
        assert isinstance(policy, SB3Policy)
        path = Path(directory) / WEIGHTS
        if not path.is_file():
            raise ArtefactError(str(directory), f"holds no {WEIGHTS}", "Give a folder written by `recenv train`.")
        weights = load_file(path)
        own = {name: value.shape for name, value in policy.network.state_dict().items()}
        if {name: value.shape for name, value in weights.items()} != own:
            raise ArtefactError(str(path), "does not fit the world", "Load it with the world trained in.")
        policy.network.load_state_dict(weights)
        return policy


class SB3DQNPolicy(SB3Policy):
    """DQN with a replay; two gradient steps after each step of all sessions, batch 256, targets blended in."""

    name = "sb3-dqn"
    algorithm: ClassVar[Any] = DQN

    @staticmethod
    def algorithm_options(config: SB3Config) -> dict[str, Any]:
        return {
            "batch_size": 256,
            "buffer_size": 20_000,
            "learning_starts": 1_000,
            "train_freq": 1,
            "gradient_steps": 2,
            "target_update_interval": config.envs,
            "tau": 0.05,
            "exploration_fraction": 0.5,
            "exploration_final_eps": 0.05,
        }

    def scores(self, observations: Tensor) -> Tensor:
        found: Tensor = self.network.q_net(observations)
        return found


class SB3PPOPolicy(SB3Policy):
    """PPO: roll-outs of 16 slots, 4 epochs in batches of 256."""

    name = "sb3-ppo"
    algorithm: ClassVar[Any] = PPO

    @staticmethod
    def algorithm_options(config: SB3Config) -> dict[str, Any]:
        del config
        return {"n_steps": 16, "batch_size": 256, "n_epochs": 4, "ent_coef": 0.003}

    def scores(self, observations: Tensor) -> Tensor:
        found: Tensor = self.network.get_distribution(observations).distribution.logits
        return found


class SB3A2CPolicy(SB3PPOPolicy):
    """A2C: an update after every 5 slots of all sessions."""

    name = "sb3-a2c"
    algorithm: ClassVar[Any] = A2C

    @staticmethod
    def algorithm_options(config: SB3Config) -> dict[str, Any]:
        del config
        return {"n_steps": 5, "ent_coef": 0.003}


class _Report(BaseCallback):
    """Passes what SB3 measures on to a `TrainLog`."""

    def __init__(self, policy: SB3Policy, log: TrainLog, steps: int) -> None:
        super().__init__()
        self._policy, self._log, self._steps, self._next = policy, log, steps, 1

    def _on_step(self) -> bool:
        self._log.checkpoint(self.num_timesteps, self._policy)
        if self.num_timesteps >= self._steps * self._next / _REPORTS:
            self._next += 1
            self._log.log(self.num_timesteps, self._figures())
        return True

    def _figures(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        ended = list(self.model.ep_info_buffer or [])
        if ended:
            figures["rollout/ep_rew_mean"] = float(np.mean([e["r"] for e in ended]))
            figures["rollout/ep_len_mean"] = float(np.mean([e["l"] for e in ended]))
            figures["train/masked_share"] = sum(e["invalid"] for e in ended) / sum(e["l"] for e in ended)
        if hasattr(self.model, "exploration_rate"):
            figures["rollout/exploration_rate"] = float(self.model.exploration_rate)
        loss = self.model.logger.name_to_value.get("train/loss")
        return figures if loss is None else figures | {"train/loss": float(loss)}


def standardise(network: torch.nn.Module, examples: Floats) -> None:
    """Set mean and scale of every `Standardise` in a network from example observations (n, size)."""
    mean, scale = (torch.from_numpy(part) for part in standard(examples))
    for module in network.modules():
        if isinstance(module, Standardise):
            module.mean.copy_(mean)
            module.scale.copy_(scale)


@contextmanager
def own_randomness(seed: int, threads: int) -> Iterator[None]:
    """SB3 seeds and draws from the global generators of torch, numpy and Python: leave them all as they were."""
    before, kept, plain = torch.get_num_threads(), np.random.get_state(), random.getstate()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
        np.random.set_state(kept)
        random.setstate(plain)
