"""`recenv benchmark`: compare agents in the judge's world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.agents.benchmark import BenchmarkSettings
from recenv.agents.contest import EVENTS, benchmark
from recenv.agents.jobs import Contestant
from recenv.agents.ranking import rank_runs
from recenv.agents.report import markdown
from recenv.agents.training import TrainSettings
from recenv.env.options import EnvOptions, world_caution
from recenv.env.prepared import load_world
from recenv.trust.visits import held_out_visits
from recenv.world import World, judge_path

AGENTS = (
    "logged",
    "random",
    "popular",
    "personal-popular",
    "last-seen",
    "item-knn-cosine",
    "item-knn-pearson",
    "mf",
    "two-stage",
    "model-greedy",
    "linucb",
    "dqn",
    "sb3-dqn",
    "sb3-ppo",
    "sb3-a2c",
)


@dataclass(frozen=True)
class BenchmarkConfig:
    """Train agents in a world and value them on the same users of its judge: table, figures, TensorBoard runs."""

    world: Path
    """Folder of the world in which learners train."""
    out: Path
    """Folder of the benchmark; must be new."""
    judge: Path | None = None
    """Folder of the judge's world; WORLD-judge if not given."""
    agents: tuple[str, ...] = AGENTS
    """Names of agents, with options as NAME:option=value,option=value; logged and model-greedy are added."""
    seeds: int = 3
    """Number of seeds; of one there are no intervals of values, as there are none of fewer than 20 users."""
    seed: int = 0
    """First seed."""
    episodes: int = 1000
    """Sessions a seed and policy, the same ones for every policy."""
    steps: int = 30_000
    """Environment steps of each training."""
    workers: int = 1
    """Processes that train and value side by side."""
    evaluations: int = 6
    """Points on each learning curve."""
    candidates: str | None = None
    """`logged` (what was on offer in the visit) or `all` (extrapolation); logged where the logs tell if not given."""
    reward: str | None = None
    """`incremental` or `gross`: what is trained for; incremental where the world knows both if not given."""
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
    """Standard deviations of the ensemble taken off every chance in training; values are without. Needs members."""
    support: float = 0.0
    """Items that the logged policy shows to such users with a probability below this are masked, in values too."""
    outer_episodes: int = 250
    """Sessions a seed and policy in each member of the judge: its own error in the intervals. Needs a judge fitted with
    `recenv fit --members 10`; fewer members give a caution, none no outer interval."""
    data: Path | None = None
    """Folder of the data that the worlds were fitted on: curves get recall@10 and NDCG@10 of 500 held-out sessions."""


def run(config: BenchmarkConfig) -> dict[str, Any]:
    """Compare; prints the table, returns it with the paths of what was written."""
    names = ("candidates", "reward", "horizon", "w_click", "w_purchase", "w_revenue", "cost", "pessimism", "support")
    env = EnvOptions(reward_mode="expected", **{name: getattr(config, name) for name in names})
    training = TrainSettings(config.steps, config.seed, env, evaluations=config.evaluations)
    settings = BenchmarkSettings(
        agents=tuple(Contestant.parse(name) for name in config.agents),
        seeds=config.seeds,
        first_seed=config.seed,
        episodes=config.episodes,
        training=training,
        workers=config.workers,
        outer_episodes=config.outer_episodes,
    )
    if caution := config.pessimism and world_caution(config.pessimism, load_world(config.world)):
        print(caution)
    result = benchmark(config.world, config.judge or judge_path(config.world), config.out, settings, data=config.data)
    print(markdown(result))
    paths = {name: str(config.out / f"benchmark.{name}") for name in ("json", "md", "html")}
    print("wrote " + ", ".join(paths.values()))
    if config.data is not None:
        world, judge = World.load(config.world), World.load(config.judge or judge_path(config.world))
        rank_runs(config.out / EVENTS, held_out_visits(world, config.data, judge, most=500), config.steps)
    print(f"curves: tensorboard --logdir {config.out / EVENTS}")
    return {"out": str(config.out), **paths, "tensorboard": str(config.out / EVENTS), **result}


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchmarkConfig))
