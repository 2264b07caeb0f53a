"""May the simulator's ranking of good policies be believed, and do pessimism and a support mask help?

For each log size and seed: a synthetic shop with a narrow logging policy, a world and its judge fitted on its log, a
dozen policies made in the world. Each is valued in the world, in the judge and in the true shop. Ranked are those whose
true value is at least 70 % of the best one's. At the smallest size policies are made once more with pessimism and with
a support mask.
    python scripts/bench_trust.py --out runs/trust
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents import truth_table as table
from recenv.agents.base import Bools, Floats, NullLog
from recenv.agents.evaluate import evaluate
from recenv.agents.greedy import ModelGreedyPolicy
from recenv.agents.jobs import Contestant, masked_alike
from recenv.agents.training import TrainSettings, learn, validation
from recenv.core.errors import InputError
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.synthetic import SyntheticOptions, load
from recenv.data.truth import Truth
from recenv.env.options import EnvOptions
from recenv.env.true_response import TrueResponse
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.world import World


@dataclass(frozen=True)
class TrustConfig:
    """Compare simulated with true values of good policies; sweep pessimism and support mask at the smallest log."""

    out: Path = Path("runs/trust")
    """Folder for `cells.json`, `trust.json`, `trust.md`; cells already there are kept, so a run can be resumed."""
    sizes: tuple[int, ...] = (200, 800, 3200)
    """Log sizes: numbers of users, half of them in the world and half in its judge."""
    seeds: int = 5
    """Seeds: each is another shop, another log and other training."""
    first_seed: int = 0
    """The first of them: others confirm what was chosen after looking at some."""
    ranking: bool = True
    """Whether to compare the dozen policies; without, only the sweep is made, at the smallest size."""
    items: int = 200
    """Items of the shop."""
    epsilon: float = 0.05
    """Share of uniform choice in the logging policy: small, so that most items are seldom shown."""
    confounding: float = 1.0
    """How strongly the logging policy follows a hidden trait of the users."""
    episodes: int = 200
    """Sessions of each valuation in world and judge."""
    true_episodes: int = 500
    """Sessions of each valuation in the true shop."""
    members: int = 6
    """Members of the ensemble at the smallest size."""
    segment_sd: float = 0.0
    """Of the fit: how much an item's log odds in a segment may differ where the logs are silent, for pessimism."""
    pessimism: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Values of pessimism in the sweep."""
    support: tuple[float, ...] = (0.0025, 0.005, 0.01)
    """Values of the support mask in the sweep; 1 / items is what uniform logging would give each."""
    sweep_agents: tuple[str, ...] = ("model-greedy", "linucb")
    """Policies of the sweep."""
    steps: int = 4_000
    """Environment steps of a training; some policies take a third of it."""


class Perturbed(ModelGreedyPolicy):
    """`model-greedy` with each action's value times exp(size z_a), z_a standard normal, drawn once: a flawed copy."""

    def __init__(self, world: World, config: Mapping[str, Any], seed: int, size: float) -> None:
        super().__init__(world, config, seed)
        draws = np.random.default_rng([seed, 7]).standard_normal(world.n_actions)
        self.factor = np.exp(size * draws).astype(np.float32)

    def values(self, obs: Floats, mask: Bools) -> Floats:
        return np.asarray(super().values(obs, mask) * self.factor, np.float32)


class Mixture:
    """The second policy's choice with probability `share`, else the first's."""

    name, observation = "mixture", "full"

    def __init__(self, first: Any, second: Any, share: float) -> None:
        self.first, self.second, self.share = first, second, np.float32(share)

    def probabilities(self, obs: Floats, mask: Bools) -> Floats:
        mine = (np.float32(1.0) - self.share) * self.first.probabilities(obs, mask)
        return np.asarray(mine + self.share * self.second.probabilities(obs, mask), np.float32)

    def act(self, obs: Floats, mask: Bools, rng: np.random.Generator) -> NDArray[np.int64]:
        other = rng.random(len(obs)) < self.share
        return np.where(other, self.second.act(obs, mask, rng), self.first.act(obs, mask, rng))

    def save(self, directory: Path) -> None:
        raise NotImplementedError("a mixture lives in this study only")


def run(config: TrustConfig) -> dict[str, Any]:
    """Fit, make policies, value them; writes and returns the tables."""
    config.out.mkdir(parents=True, exist_ok=True)
    cells = begun(config.out, _settings(config))
    sizes = config.sizes if config.ranking else (min(config.sizes),)
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for size in sizes:
            if any((c["users"], c["seed"]) == (size, seed) for c in cells):
                continue
            began, cpu = time.monotonic(), time.process_time()
            cells.append({"users": size, "seed": seed} | _cell(config, size, seed))
            cells[-1]["cpu_seconds"] = round(time.process_time() - cpu, 1)
            write_json(config.out / "cells.json", {"config": _settings(config), "cells": cells})
            print(f"{size} users, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    ranking, sweep = table.ranking(cells, sizes) if config.ranking else [], table.sweep(cells)
    write_json(config.out / "trust.json", {"config": _settings(config), "ranking": ranking, "sweep": sweep})
    text = table.markdown(ranking, sweep, cells, _about(config))
    (config.out / "trust.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), "ranking": ranking, "sweep": sweep}


def _about(config: TrustConfig) -> str:
    last = config.first_seed + config.seeds - 1
    shop = f"{config.items} items, logging epsilon {config.epsilon:g}, confounding {config.confounding:g}"
    return f"Shop: {shop}. Mean [95 % t interval over seeds {config.first_seed} to {last}]."


def _settings(config: TrustConfig) -> dict[str, Any]:
    found = json.loads(json.dumps(asdict(config), default=str))
    return {k: v for k, v in found.items() if k not in ("out", "seeds")}


def begun(out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Cells of an earlier run into the folder `out` with the same settings.

    Raises:
        InputError: the folder holds cells of other settings.
    """
    file = out / "cells.json"
    if not file.exists():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    if found["config"] != settings:
        raise InputError(str(file), "holds cells of other settings", "Choose another --out.")
    cells: list[dict[str, Any]] = found["cells"]
    return cells


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _cell(config: TrustConfig, size: int, seed: int) -> dict[str, Any]:
    shop = SyntheticOptions(
        users=size, items=config.items, epsilon=config.epsilon, confounding=config.confounding, seed=seed
    )
    raw = load(options=shop)
    truth = Truth.from_bytes(raw.extras)
    smallest = size == min(config.sizes)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(raw, BuildOptions(seed=seed, progress=False)).save(base / "data")
        training = TrainConfig(epochs=15, threads=1)
        members, sd = (config.members, config.segment_sd) if smallest else (0, 0.0)
        options = FitOptions(seed=seed, members=members, segment_sd=sd, training=training)
        world, judge = fit_worlds(base / "data", base / "world", options, progress=False)
    shopper = partial(TrueResponse, truth)
    makers = _policies(world, config, seed) if config.ranking else []
    found = {name: _values(make(), world, judge, shopper, config, seed) for name, make in makers}
    result: dict[str, Any] = {"policies": found}
    if smallest:
        result["sweep"] = _swept(world, judge, shopper, config, seed)
        result["disagreement"] = {h: world.disagreement_scale(h) for h in world.response.heads if h != "leave"}
    return result


ENV = EnvOptions(reward="gross", reward_mode="expected")


def _policies(world: World, config: TrustConfig, seed: int) -> list[tuple[str, Callable[[], Any]]]:
    """(name, maker) of a dozen policies, made in the world."""

    def agent(text: str, steps: int = config.steps) -> Any:
        who = Contestant.parse(text)
        return learn(who.name, world, TrainSettings(max(steps, 1), seed, ENV, who.config), NullLog())

    def mixed(second: str, share: float) -> Any:
        return Mixture(agent("model-greedy"), agent(second), share)

    def perturbed(size: float) -> Any:
        return Perturbed(world, {"reward": "gross"}, seed, size)

    third = config.steps // 3
    return [
        ("model-greedy", lambda: agent("model-greedy")),
        ("two-stage (k=10)", lambda: agent("two-stage:k=10")),
        ("linucb", lambda: agent("linucb")),
        ("linucb, a third of the steps", lambda: agent("linucb", third)),
        ("dqn-0", lambda: agent("dqn")),
        ("dqn, discount .8", lambda: agent("dqn:discount=0.8")),
        ("greedy, 20 % popular", lambda: mixed("popular", 0.2)),
        ("greedy, 15 % logged", lambda: mixed("logged", 0.15)),
        ("greedy, perturbed by .2", lambda: perturbed(0.2)),
        ("greedy, perturbed by .4", lambda: perturbed(0.4)),
        ("greedy, perturbed by .6", lambda: perturbed(0.6)),
        ("popular", lambda: agent("popular")),
        ("logged", lambda: agent("logged")),
    ]


def _values(
    policy: Any, world: World, judge: World, shopper: Any, config: TrustConfig, seed: int, env: EnvOptions = ENV
) -> dict[str, float]:
    look, judged = validation(env), masked_alike(judge, world, env)
    simulated = evaluate(policy, world, look, config.episodes, seed)
    by_judge = evaluate(policy, judged, look, config.episodes, seed)
    true = evaluate(policy, judged, look, config.true_episodes, seed, response=shopper)
    found = {"simulated": simulated, "judged": by_judge, "true": true}
    return {key: float(e.totals["gross"].mean()) for key, e in found.items()}


def _swept(world: World, judge: World, shopper: Any, config: TrustConfig, seed: int) -> list[dict[str, Any]]:
    """True values of policies made with pessimism or a support mask, and without."""
    plans = [(0.0, 0.0), *((k, 0.0) for k in config.pessimism), *((0.0, s) for s in config.support)]
    plans.append((config.pessimism[0], config.support[len(config.support) // 2]))
    lines = []
    for text in config.sweep_agents:
        who = Contestant.parse(text)
        for k, s in plans:
            env = EnvOptions(reward="gross", reward_mode="expected", pessimism=k, support=s)
            policy = learn(who.name, world, TrainSettings(config.steps, seed, env, who.config), NullLog())
            values = _values(policy, world, judge, shopper, config, seed, env)
            lines.append({"agent": text, "pessimism": k, "support": s} | values)
    return lines


if __name__ == "__main__":
    import tyro

    run(tyro.cli(TrustConfig))
