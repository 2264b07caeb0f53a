"""What is a world worth for items and users that it never met?

A tenth of the items and of the users are wholly held out: no row of theirs is in training, calibration, early
stopping, co-occurrence or item rates; of the items the catalogue alone is known, of the users nothing. Then, beside the
warm ones: log-loss gain, AUC and predicted/real on the validation slice, and the value of policies that may show cold
items only, or equally many warm ones, in the eyes of the judge (other users, fitted on every item) or, in a synthetic
shop, of the truth.
    python scripts/bench_cold.py --data data/cj --out runs/cold
    python scripts/bench_cold.py --out runs/cold-synthetic
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recenv.agents.base import NullLog, Policy
from recenv.agents.evaluate import Evaluation, evaluate
from recenv.agents.intervals import clustered_interval
from recenv.agents.jobs import Contestant
from recenv.agents.training import TrainSettings, learn, validation
from recenv.core import rng
from recenv.core.checks import check_whole
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset
from recenv.data.synthetic import SyntheticOptions, load
from recenv.data.truth import Truth
from recenv.env.options import EnvOptions
from recenv.env.true_response import TrueResponse
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.trust.cold import HISTORIES, Cold, choose_cold, hold_out, score, slice_report
from recenv.world import World


@dataclass(frozen=True)
class ColdConfig:
    """Hold items and users out, fit, and compare cold with warm."""

    out: Path = Path("runs/cold")
    """Folder for `cold.json`, `cold.md`, the filtered data and the worlds; must be new."""
    data: Path | None = None
    """Folder that `recenv prepare` wrote; a synthetic shop whose truth is known if not given."""
    users: int = 6000
    """Users of the synthetic shop."""
    share: float = 0.1
    """Share of the items, and of the users, held out."""
    seed: int = 0
    """Of the draw, the shop, the fit and the agents."""
    epochs: int = 5
    """Passes of the response model over its rows, more where rows are few."""
    agents: tuple[str, ...] = ("random", "popular", "mf", "model-greedy", "dqn")
    """Policies made in the cold world and valued."""
    steps: int = 20_000
    """Environment steps of each training."""
    episodes: int = 1000
    """Sessions of each valuation; 0 leaves values out."""


def run(config: ColdConfig) -> dict[str, Any]:
    """Hold out, fit, score, value; writes and returns the figures."""
    check_whole("episodes", config.episodes, 0)
    config.out.mkdir(parents=True, exist_ok=False)
    data = config.data or _synthetic(config)
    dataset = Dataset.load(data)
    cold = choose_cold(dataset, config.share, config.seed, config.seed)
    hold_out(dataset, cold).save(config.out / "data")
    options = FitOptions(seed=config.seed, training=TrainConfig(epochs=config.epochs))
    world, judge = fit_worlds(config.out / "data", config.out / "world", options)
    slices = []
    for history in HISTORIES:
        scored = score(world, dataset, cold, history)
        for head in world.response.heads:
            if head != "leave":
                slices += [{"history": history, "head": head} | x for x in slice_report(world, scored, head)]
    result = {
        "data": str(config.data or "synthetic"),
        "items": [len(cold.items), world.n_items],
        "users": [len(cold.users), len(dataset.users)],
        "slices": slices,
        "values": _values(config, world, judge, cold, dataset) if config.episodes else [],
    }
    (config.out / "cold.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = markdown(result)
    (config.out / "cold.md").write_text(text, encoding="utf-8")
    print(text)
    return result


def _synthetic(config: ColdConfig) -> Path:
    raw = load(options=SyntheticOptions(users=config.users, items=200, seed=config.seed))
    build(raw, BuildOptions(seed=config.seed, progress=False)).save(config.out / "shop")
    return config.out / "shop"


def _values(config: ColdConfig, world: World, judge: World, cold: Cold, dataset: Dataset) -> list[dict[str, Any]]:
    """Gross value a session of each policy on each list of items, for users who never met the cold items and others."""
    env = EnvOptions(reward="gross", reward_mode="expected")
    settings = TrainSettings(config.steps, config.seed, env)
    contestants = [Contestant.parse(name) for name in config.agents]
    policies: dict[str, Policy] = {
        str(who): learn(who.name, world, replace(settings, config=who.config), NullLog()) for who in contestants
    }
    policies["the judge's own model-greedy"] = learn("model-greedy", judge, settings, NullLog())
    truth = Truth.from_bytes(dataset.extras) if "truth.npz" in dataset.extras else None
    response = None if truth is None else partial(TrueResponse, truth)
    # The judge's response for the cold world's users: their states hold no act on a cold item.
    launch = replace(judge, start=world.start, users=world.users)
    rows = []
    for history, where in zip(HISTORIES, (launch, judge)):
        for items, excluded in _lists(world, cold, config.seed).items():
            look = validation(replace(env, exclude=excluded))
            found = {
                n: evaluate(p, where, look, config.episodes, config.seed, response=response)
                for n, p in policies.items()
            }
            rows += [{"history": history, "items": items} | _value(n, e, where, cold) for n, e in found.items()]
    return rows


def _lists(world: World, cold: Cold, seed: int) -> dict[str, tuple[str, ...]]:
    """What may not be shown: all but the cold items, all but equally many warm ones, nothing."""
    every = np.array(world.items["item_id"].to_pylist(), np.str_)
    warm = np.setdiff1d(every, cold.items)
    few = warm[np.argsort(rng.bits(seed, 41, np.arange(len(warm))), kind="stable")[: len(cold.items)]]
    lists = {"cold": cold.items, "warm, equally many": few, "all": every}
    return {name: tuple(np.setdiff1d(every, kept).tolist()) for name, kept in lists.items()}


def _value(name: str, found: Evaluation, where: World, cold: Cold) -> dict[str, Any]:
    user = where.start.user_id[found.start_row]
    marks = np.isin(np.array(where.items["item_id"].to_pylist(), np.str_), cold.items)
    return {
        "policy": name,
        "gross": clustered_interval(found.totals["gross"], user).as_list(),
        "cold_share": float(found.shown[marks].sum() / max(found.shown.sum(), 1)),
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Both tables."""
    items, users = result["items"], result["users"]
    lines = [
        f"Data: {result['data']}. Held out: {items[0]} of {items[1]} items, {users[0]} of {users[1]} users. Validation "
        "slice, shown rows; gain over each slice's own rate; 95 % intervals clustered by user.",
        "",
        "| head | history | item | user | rows | positives | rate | log-loss gain | AUC | predicted / real |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["slices"]:
        about = " | ".join(str(row[name]) for name in ("head", "history", "item", "user"))
        cells = [_interval(row.get(name)) for name in ("gain", "auc", "predicted_real")]
        rate = f"{row['rate']:.4f}" if "rate" in row else ""
        lines.append(f"| {about} | {row['rows']:,} | {row['positives']:,} | {rate} | " + " | ".join(cells) + " |")
    if not result["values"]:
        return "\n".join(lines) + "\n"
    lines += ["", "Gross value a session; policies made in the world that never met the cold items.", ""]
    lines += [
        "| history | may be shown | policy | value a session | exposures on cold items |",
        "|---|---|---|---:|---:|",
    ]
    for row in result["values"]:
        value = _interval(dict(zip(("value", "low", "high"), row["gross"], strict=True)))
        lines.append(f"| {row['history']} | {row['items']} | {row['policy']} | {value} | {row['cold_share']:.3f} |")
    return "\n".join(lines) + "\n"


def _interval(value: Mapping[str, float | None] | None) -> str:
    if value is None or value["value"] is None:
        return "unknown"
    text = f"{value['value']:.3f}"
    return text if value["low"] is None else f"{text} [{value['low']:.3f}, {value['high']:.3f}]"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(ColdConfig))
