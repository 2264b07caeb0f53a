"""`linucb`: one linear model of the reward over candidate features, explored by its own uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.linalg import cho_factor, cho_solve

from recenv.agents.base import EnvFactory, Floats, TrainLog
from recenv.agents.candidate_policy import CandidatePolicy, example_descriptions, standard
from recenv.core.artefacts import write_tensors
from recenv.core.errors import ArtefactError, InputError

if TYPE_CHECKING:
    from recenv.world import World

WEIGHTS = "linucb.safetensors"
_REPORTS = 50
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class LinUCBConfig:
    """Settings of LinUCB.

    Args:
        k: candidates looked at in each slot. copies_per_item: at most so many copies of an item among them; None: all.
        alpha: width of the confidence bound while learning. eval_alpha: the same once trained.
        ridge: weight of the penalty on the squared parameters, in observations.
        envs: parallel training sessions; parameters are updated after each of their steps.
    """

    k: int = 40
    copies_per_item: int | None = None
    alpha: float = 0.3
    eval_alpha: float = 0.0
    ridge: float = 1.0
    envs: int = 64

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.eval_alpha < 0 or self.ridge <= 0 or self.envs < 1:
            raise InputError("linucb options", f"{self}", "Give alpha >= 0, ridge > 0 and envs >= 1.")


class LinUCBPolicy(CandidatePolicy):
    """LinUCB with parameters shared by all actions (Li, Chu, Langford and Schapire, "A contextual-bandit approach to
    personalized news article recommendation", WWW 2010, section 3.1, with one A and b over features of user and item):

        A = ridge I + sum x x^T,  b = sum r x,  theta = A^-1 b,  value(x) = x . theta + alpha sqrt(x^T A^-1 x)

    x: standardised candidate features (cross features, item vector, rate, style, 1). Updates are exact ridge regression
    in float64. It looks one slot ahead. Deviation: A and b are updated once for all parallel sessions' slots.
    """

    name = "linucb"
    config_class = LinUCBConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        size = self.candidates.n_features
        self.mean, self.scale = np.zeros(size, np.float32), np.ones(size, np.float32)
        self.a: Doubles = self.config.ridge * np.eye(size)
        self.b: Doubles = np.zeros(size)
        self._solve()

    def _solve(self) -> None:
        factor = cho_factor(self.a)
        self.theta: Doubles = cho_solve(factor, self.b)
        self.inverse: Doubles = cho_solve(factor, np.eye(len(self.b)))

    def features(self, described: Floats) -> Doubles:
        """(n, k, F) standardised features of described candidates (n, size)."""
        raw = described[:, self.candidates.summary_size :].reshape(len(described), self.candidates.k, -1)
        return ((raw - self.mean) * self.scale).astype(np.float64)

    def bound(self, x: Doubles, alpha: float) -> Doubles:
        """(...,) upper confidence bounds of features x (..., F)."""
        value = x @ self.theta
        if alpha:
            value = value + alpha * np.sqrt(np.maximum(((x @ self.inverse) * x).sum(axis=-1), 0.0))
        return np.asarray(value)

    def values(self, described: Floats) -> NDArray[Any]:
        return self.bound(self.features(described), self.config.eval_alpha)

    def train(self, env_factory: EnvFactory, steps: int, seed: int, logger: TrainLog) -> None:
        """Play by the upper bound and update A and b, until `steps` slots were seen."""
        options = replace(env_factory.options, observation="full", slate=1)
        sim = replace(env_factory, options=options)(self.config.envs)
        self._standardise(example_descriptions(self.candidates, sim, seed))
        obs, _ = sim.reset(seed=seed)
        seen, rewards, report = 0, [0.0, 0.0], 1
        while seen < steps:
            actions, valid = self.candidates.retrieve(obs, sim.masks())
            x = self.features(self.candidates.observation(obs, actions, valid))
            bound = np.where(valid, self.bound(x, self.config.alpha), -np.inf)
            best = bound.argmax(axis=1)
            rows = np.arange(sim.n)
            outcome = sim.step(actions[rows, best])
            self._update(x[rows, best][valid.any(axis=1)], outcome.reward[valid.any(axis=1)])
            seen += sim.n
            over = np.flatnonzero(outcome.terminated | outcome.truncated)
            rewards[0], rewards[1] = rewards[0] + float(outcome.reward.sum()), rewards[1] + len(over)
            sim.restart(over)
            obs = sim.observations()
            logger.checkpoint(seen, self)
            if seen >= steps * report / _REPORTS:
                report += 1
                if rewards[1]:
                    logger.log(seen, {"rollout/ep_rew_mean": rewards[0] / rewards[1]})
                    rewards = [0.0, 0.0]

    def _standardise(self, described: Floats) -> None:
        raw = described[:, self.candidates.summary_size :].reshape(-1, self.candidates.n_features)
        # The last feature marks valid candidates; of those it is the constant 1, the intercept.
        self.mean, self.scale = standard(raw[raw[:, -1] > 0])

    def _update(self, x: Doubles, reward: Doubles) -> None:
        self.a += x.T @ x
        self.b += x.T @ reward
        self._solve()

    def save(self, directory: Path) -> None:
        """Write `policy.json` and `linucb.safetensors`."""
        super().save(directory)
        write_tensors(Path(directory) / WEIGHTS, {"mean": self.mean, "scale": self.scale, "a": self.a, "b": self.b})

    @classmethod
    def load(cls, directory: Path, world: World) -> LinUCBPolicy:
        """The policy as saved.

        Raises:
            ArtefactError: the weights are missing or do not fit the world.
        """
        policy = super().load(directory, world)
        assert isinstance(policy, cls)
        path = Path(directory) / WEIGHTS
        if not path.is_file():
            raise ArtefactError(
                str(directory), f"holds no {WEIGHTS}", "Give a folder written by `recenv train linucb`."
            )
        arrays = load_file(path)
        if arrays["a"].shape != policy.a.shape:
            raise ArtefactError(str(path), f"is for {len(arrays['b'])} features", "Load it with the world trained in.")
        policy.mean, policy.scale, policy.a, policy.b = (arrays[name] for name in ("mean", "scale", "a", "b"))
        policy._solve()
        return policy
