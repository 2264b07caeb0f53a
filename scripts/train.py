"""`recenv train`: train an agent in a world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from recenv.agents.jobs import Contestant
from recenv.agents.training import TrainSettings, train
from recenv.env.options import EnvOptions, world_caution
from recenv.env.prepared import load_world


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent and write a run folder: policy, checkpoints, TensorBoard events, progress, evaluation."""

    agent: Positional[str]
    """Name of the agent, with options of its own as NAME:option=value,option=value."""
    world: Path
    """Folder of the world."""
    out: Path
    """Folder of the run; must be new."""
    steps: int = 50_000
    """Environment steps: slots over all parallel sessions."""
    seed: int = 0
    """Seed of the agent and its environments."""
    candidates: str | None = None
    """`logged` (what was on offer in the visit) or `all` (extrapolation); logged where the logs tell if not given."""
    reward: str | None = None
    """`incremental` or `gross`; incremental where the world knows both if not given."""
    reward_mode: str = "expected"
    """`expected` or `sampled` rewards in training."""
    horizon: int | None = None
    """Slots in a session; as in the logs if not given."""
    w_click: float | None = None
    """Reward of a click."""
    w_purchase: float | None = None
    """Reward of a purchase."""
    w_revenue: float | None = None
    """Reward of one unit of revenue."""
    cost: float = 0.0
    """Cost of each exposure."""
    pessimism: float = 0.0
    """Standard deviations of the ensemble taken off every chance in training. Needs a world fitted with members."""
    support: float = 0.0
    """Items that the logged policy shows to such users with a probability below this are masked."""
    episodes: int = 256
    """Sessions in each evaluation on validation users."""
    evaluations: int = 8
    """Points on the learning curve."""


def run(config: TrainConfig) -> dict[str, Any]:
    """Train; returns the folder and the last evaluation's figures."""
    agent = Contestant.parse(config.agent)
    names = ("candidates", "reward", "reward_mode", "horizon", "w_click", "w_purchase", "w_revenue", "cost",
             "pessimism", "support")  # fmt: skip
    env = EnvOptions(**{name: getattr(config, name) for name in names})
    settings = TrainSettings(config.steps, config.seed, env, agent.config, config.evaluations, config.episodes)
    caution = config.pessimism and world_caution(config.pessimism, load_world(config.world))
    if caution:
        print(caution)
    path, result = train(agent.name, config.world, config.out, settings)
    metrics = result.metrics()
    print(f"trained {agent} for {config.steps:,} steps: {path}")
    for tag in ("shop/gross_value_per_session", "shop/incremental_value_per_session"):
        if tag in metrics:
            print(f"  {tag} {metrics[tag]:.4f} (validation users, training world; `recenv benchmark` judges)")
    print(f"curves: tensorboard --logdir {path}")
    return {
        "run": str(path),
        "policy": str(path / "policy"),
        "metrics": metrics,
        "warnings": [caution] if caution else [],
    }


if __name__ == "__main__":
    import tyro

    run(tyro.cli(TrainConfig))
