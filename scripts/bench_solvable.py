"""Print how far the own DQN comes on `recenv/Solvable-v0`: exact values as shares of the optimum, five seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.dqn import PlainDQN
from recenv.env.solvable import SolvableVectorEnv
from recenv.env.solvable_shop import HORIZON, KERNEL_STATES, N_ACTIONS, features


@dataclass(frozen=True)
class BenchSolvableConfig:
    """Train the own DQN on the solvable shop and value its policy exactly while it learns."""

    seeds: int = 5
    """Number of seeds, from 0."""
    steps: int = 80_000
    """Environment steps of each training."""


class _Values:
    """Exact value of the policy at each report, as a share of the optimum."""

    def __init__(self, env: SolvableVectorEnv) -> None:
        self.mdp = env.mdp
        self.optimum = float(self.mdp.start @ self.mdp.solve()[0])
        self.shares: list[tuple[int, float]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        del step, values

    def checkpoint(self, step: int, policy: Any) -> None:
        self.shares.append((step, self.mdp.value_of(policy_table(policy)) / self.optimum))


def policy_table(policy: Any) -> NDArray[np.float64]:
    """(S, A) action probabilities of a policy in every state of the shop, its end included."""
    state = np.tile(np.arange(KERNEL_STATES), HORIZON)
    step = np.repeat(np.arange(HORIZON), KERNEL_STATES)
    return np.vstack([policy.probabilities(features(state, step, HORIZON)), np.eye(1, N_ACTIONS)]).astype(np.float64)


def run(config: BenchSolvableConfig) -> dict[str, Any]:
    """Per seed: the share reached at last, the step from which on 95 % was held, CPU seconds of training."""
    rows: list[dict[str, Any]] = []
    for seed in range(config.seeds):
        env: Any = SolvableVectorEnv(64)
        policy, values = PlainDQN(env.single_observation_space, env.single_action_space, seed=seed), _Values(env)
        began = time.process_time()
        policy.train(env, config.steps, seed, values)
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
    print(json.dumps(run(BenchSolvableConfig()), indent=1))
