"""Print how far a DQN, or an agent of Stable-Baselines3, comes on `recenv/Solvable-v0`: exact shares of the optimum."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from recenv.agents.base import REGISTRY
from recenv.agents.dqn import PlainDQN
from recenv.agents.sb3 import SB3Policy, own_randomness
from recenv.core.checks import check_whole
from recenv.core.errors import InputError
from recenv.env.mdp import FiniteMDP
from recenv.env.solvable import SolvableEnv, SolvableVectorEnv
from recenv.env.solvable_shop import HORIZON, KERNEL_STATES, N_ACTIONS, features, shop

OWN = "dqn"
DISCOUNT = 0.99
"""Of Stable-Baselines3's agents, as of our own here; their other settings are those over candidates."""


@dataclass(frozen=True)
class BenchSolvableConfig:
    """Train an agent on the solvable shop and value its policy exactly while it learns."""

    seeds: int = 5
    """Number of seeds, from 0."""
    steps: int = 80_000
    """Environment steps of each training."""
    agent: str = OWN
    """dqn (our own), or one of Stable-Baselines3: sb3-dqn, sb3-qrdqn, sb3-ppo, sb3-maskable-ppo, sb3-a2c."""


class _Values:
    """Exact value of the policy at each report, as a share of the optimum."""

    def __init__(self, mdp: FiniteMDP) -> None:
        self.mdp = mdp
        self.optimum = float(mdp.start @ mdp.solve()[0])
        self.shares: list[tuple[int, float]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        del step, values

    def checkpoint(self, step: int, policy: Any) -> None:
        self.shares.append((step, self.mdp.value_of(policy_table(policy)) / self.optimum))


class _Watch(BaseCallback):
    """Values the policy after every `every` steps."""

    def __init__(self, policy: _Deterministic, values: _Values, every: int) -> None:
        super().__init__()
        self._policy, self._values, self._every = policy, values, every

    def _on_step(self) -> bool:
        if self.num_timesteps // self._every > (self.num_timesteps - self.training_env.num_envs) // self._every:
            self._values.checkpoint(self.num_timesteps, self._policy)
        return True


class _Deterministic:
    """A model's best action; the shop masks nothing."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def probabilities(self, obs: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.eye(N_ACTIONS)[self._model.predict(obs, deterministic=True)[0]]


def policy_table(policy: Any) -> NDArray[np.float64]:
    """(S, A) action probabilities of a policy in every state of the shop, its end included."""
    state = np.tile(np.arange(KERNEL_STATES), HORIZON)
    step = np.repeat(np.arange(HORIZON), KERNEL_STATES)
    return np.vstack([policy.probabilities(features(state, step, HORIZON)), np.eye(1, N_ACTIONS)]).astype(np.float64)


def train_own(steps: int, seed: int, values: _Values) -> None:
    """Our DQN in 64 native environments."""
    env: Any = SolvableVectorEnv(64)
    PlainDQN(env.single_observation_space, env.single_action_space, seed=seed).train(env, steps, seed, values)


def train_sb3(name: str, steps: int, seed: int, values: _Values) -> None:
    """An agent of Stable-Baselines3 or sb3-contrib, in as many environments as its own settings say.

    Raises:
        InputError: no such agent.
    """
    if not name.startswith("sb3-") or name not in REGISTRY:
        names = [OWN, *(n for n in REGISTRY if n.startswith("sb3-"))]
        raise InputError("option agent", f"{name!r}", f"Choose one of {', '.join(names)}.")
    kind: type[SB3Policy] = REGISTRY[name].resolve()
    config = kind.config_class(discount=DISCOUNT)
    env = DummyVecEnv([partial(SolvableEnv, env_index=i) for i in range(config.envs)])
    with own_randomness(seed, config.threads):
        model = kind.build(env, config, seed)
        policy = _Deterministic(model)
        model.learn(steps, callback=_Watch(policy, values, max(steps // 50, 1)))
    values.checkpoint(steps, policy)


def run(config: BenchSolvableConfig) -> dict[str, Any]:
    """Per seed: the share reached at last, the step from which on 95 % was held, CPU seconds of training."""
    check_whole("seeds", config.seeds)
    check_whole("steps", config.steps)
    rows: list[dict[str, Any]] = []
    for seed in range(config.seeds):
        values = _Values(shop())
        began = time.process_time()
        if config.agent == OWN:
            train_own(config.steps, seed, values)
        else:
            train_sb3(config.agent, config.steps, seed, values)
        below = [step for step, share in values.shares if share < 0.95]
        held = [step for step, _ in values.shares if step > max(below, default=-1)]
        rows.append(
            {
                "seed": seed,
                "share": round(values.shares[-1][1], 4),
                "held_from": held[0] if held else None,
                "cpu_seconds": round(time.process_time() - began, 1),
            }
        )
    return {"steps": config.steps, "seeds": rows, "reached": sum(row["share"] >= 0.95 for row in rows)}


if __name__ == "__main__":
    import tyro

    print(json.dumps(run(tyro.cli(BenchSolvableConfig)), indent=1))
