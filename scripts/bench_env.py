"""Steps per second of the native vector environment against `SyncVectorEnv` over single ones, in one thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

import recenv  # noqa: F401  registers the ids
from recenv.core.errors import RecenvError

NEEDED = 20.0


@dataclass(frozen=True)
class BenchEnvConfig:
    """Measure the environment's speed."""

    world: str | None = None
    """Folder of a world; the bundled one if not given."""
    envs: int = 256
    """Sessions side by side."""
    steps: int = 40
    """Vector steps of the native environment per repeat."""
    repeats: int = 3
    """Repeats, taken in turn; the fastest of each counts."""
    observation: str = "summary"
    """What is observed: summary or full."""
    floor: float = NEEDED
    """Ratio below which the command fails; 0: never."""


class TooSlow(RecenvError):
    """The native vector environment has lost its lead."""


def run(config: BenchEnvConfig) -> dict[str, Any]:
    """Measure both; returns steps per second of each and their ratio.

    Raises:
        TooSlow: the ratio is below `floor`.
    """
    env_id = "recenv/Shop-v0" if config.world is None else "recenv/World-v0"
    kwargs: dict[str, Any] = {"observation": config.observation}
    if config.world is not None:
        kwargs["world"] = config.world
    native = gym.make_vec(env_id, config.envs, vectorization_mode="vector_entry_point", **kwargs)
    sync = gym.make_vec(env_id, config.envs, vectorization_mode="sync", **kwargs)
    rates: dict[str, list[float]] = {"native": [], "sync": []}
    for _ in range(config.repeats):
        rates["native"].append(_rate(native, config.steps))
        rates["sync"].append(_rate(sync, max(config.steps // 10, 2)))
    best = {name: max(values) for name, values in rates.items()}
    ratio = best["native"] / best["sync"]
    print(f"native {best['native']:,.0f} steps/s, SyncVectorEnv {best['sync']:,.0f} steps/s: {ratio:.1f} x")
    if ratio < config.floor:
        raise TooSlow("bench-env", f"{ratio:.1f} x SyncVectorEnv", f"It must be {config.floor:g} x or more.")
    return {"envs": config.envs, "native": best["native"], "sync": best["sync"], "ratio": ratio}


def _rate(env: Any, steps: int) -> float:
    """Environment steps per second, with random actions."""
    env.reset(seed=0)
    n = env.single_action_space.n
    actions = np.random.default_rng(0).integers(0, n, (steps + 2, env.num_envs))
    env.step(actions[-1]), env.step(actions[-2])
    start = time.perf_counter()
    for action in actions[:steps]:
        env.step(action)
    return steps * env.num_envs / (time.perf_counter() - start)


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchEnvConfig))
