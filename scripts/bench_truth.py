"""How much of the way from the logged policy to the optimum do policies go that were trained in a LEARNED world?

For each log size and seed: a synthetic shop of another functional family than the model's, with a hidden trait that
confounds its logging policy; a world and its judge fitted on the log; policies trained in the world. Each policy is
valued three times: simulated (in the world that trained it), judged, and true (in the shop itself).
    python scripts/bench_truth.py --out runs/truth
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recenv.agents.base import NullLog
from recenv.agents.evaluate import evaluate
from recenv.agents.intervals import t_interval
from recenv.agents.jobs import Contestant
from recenv.agents.training import TrainSettings, learn, validation
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.synthetic import SyntheticOptions, load
from recenv.data.true_values import reference_values
from recenv.data.truth import Truth
from recenv.env.options import EnvOptions
from recenv.env.true_response import TrueResponse
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.world import World


@dataclass(frozen=True)
class TruthConfig:
    """Compare true, simulated and judged values of policies trained in worlds fitted on synthetic logs."""

    out: Path = Path("runs/truth")
    """Folder for `truth.json` and `truth.md`; must be new."""
    sizes: tuple[int, ...] = (2000, 4000, 8000)
    """Log sizes: numbers of users."""
    seeds: int = 5
    """Seeds: each is another shop, another log and other training."""
    agents: tuple[str, ...] = ("popular", "model-greedy", "dqn", "dqn:discount=0.8")
    """Policies, as in `recenv benchmark`."""
    steps: int = 20_000
    """Environment steps of each training."""
    episodes: int = 1000
    """Sessions of each valuation."""
    reward: str = "gross"
    """`gross` or `incremental` purchases a session."""


def run(config: TruthConfig) -> dict[str, Any]:
    """Fit, train, value; writes and returns the table."""
    config.out.mkdir(parents=True, exist_ok=False)
    cells = []
    for size in config.sizes:
        for seed in range(config.seeds):
            began = time.monotonic()
            cells.append({"users": size, "seed": seed} | _cell(config, size, seed))
            print(f"{size} users, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
            (config.out / "cells.json").write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")
    rows = _rows(cells)
    (config.out / "truth.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = _markdown(rows, config)
    (config.out / "truth.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), "rows": rows}


def _cell(config: TruthConfig, size: int, seed: int) -> dict[str, Any]:
    raw = load(options=SyntheticOptions(users=size, seed=seed))
    truth = Truth.from_bytes(raw.extras)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(raw, BuildOptions(seed=seed, progress=False)).save(base / "data")
        options = FitOptions(seed=seed, training=TrainConfig(epochs=15, threads=1))
        world, judge = fit_worlds(base / "data", base / "world", options, progress=False)
    met = np.unique(judge.start.user_id[judge.start.of_split("validation")])
    reference = reference_values(truth, truth.users(met), config.reward, seed, repeats=5)
    found = {name: _values(name, world, judge, truth, config, seed) for name in config.agents}
    return {"reference": {name: v.mean for name, v in reference.items()}, "policies": found}


def _values(
    name: str, world: World, judge: World, truth: Truth, config: TruthConfig, seed: int
) -> dict[str, float | str]:
    who = Contestant.parse(name)
    env = EnvOptions(reward=config.reward, reward_mode="expected")
    settings = TrainSettings(config.steps, seed, env, who.config)
    policy = learn(who.name, world, settings, NullLog())
    look = validation(env)
    own = evaluate(policy, world, look, config.episodes, seed)
    judged = evaluate(policy, judge, look, config.episodes, seed)
    response = partial(TrueResponse, truth)
    true = evaluate(policy, judge, look, config.episodes, seed, response=response)
    values = {"simulated": own, "judged": judged, "true": true}
    return {key: float(e.totals[config.reward].mean()) for key, e in values.items()}


def _rows(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for size in sorted({cell["users"] for cell in cells}):
        of_size = [cell for cell in cells if cell["users"] == size]
        for name in of_size[0]["policies"]:
            values = {
                key: np.array([cell["policies"][name][key] for cell in of_size])
                for key in ("simulated", "judged", "true")
            }
            low = np.array([cell["reference"]["logged"] for cell in of_size])
            high = np.array([cell["reference"]["planned"] for cell in of_size])
            share = t_interval((values["true"] - low) / (high - low)).as_list()
            means = {key: t_interval(value).as_list() for key, value in values.items()}
            rows.append({"users": size, "policy": name, **means, "gap_closed": share})
        for name in of_size[0]["reference"]:
            known = t_interval(np.array([cell["reference"][name] for cell in of_size])).as_list()
            rows.append({"users": size, "policy": f"({name}, true)", "true": known})
    return rows


def _markdown(rows: Sequence[Mapping[str, Any]], config: TruthConfig) -> str:
    lines = [
        f"{config.reward} purchases a session, mean [95 % t interval over {config.seeds} seeds]; gap closed =",
        "(true value - logged) / (planned - logged), logged and planned valued in the true shop. Policies in brackets",
        "know the truth.",
        "",
        "| users | policy | simulated | judged | true | gap closed |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [_cell_text(row.get(key)) for key in ("simulated", "judged", "true", "gap_closed")]
        lines.append(f"| {row['users']} | {row['policy']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell_text(value: Sequence[float | None] | None) -> str:
    if value is None:
        return ""
    mean, low, high = value
    return f"{mean:.3f}" if low is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(TruthConfig))
