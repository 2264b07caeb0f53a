"""Do pessimism and a support mask raise the true value where a targeted log leaves a simulator open to exploitation?

The shop: an incumbent that knows its shoppers shows each item almost only to the groups (age x region) that like it.
What an item is for stands in none of its features (the taste factors have nothing to do with category, text or price),
so that a model sees every item do well, and cannot know for whom it would not. Nothing is hidden from the model that
the incumbent acts on. For each seed: a shop, its log, a world and its judge; policies made in the world, plainly, with
pessimism and with a support mask; their true value in the shop.
    python scripts/bench_caution.py --out runs/caution
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recenv.agents.base import NullLog
from recenv.agents.evaluate import evaluate
from recenv.agents.intervals import t_interval
from recenv.agents.jobs import Contestant, masked_alike
from recenv.agents.training import TrainSettings, learn, validation
from recenv.core.enough import no_spread
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import RawTables
from recenv.data.synthetic import SyntheticOptions, load
from recenv.data.synthetic_log import simulate
from recenv.data.synthetic_shop import Shop, make_shop
from recenv.data.truth import Sessions, Truth
from recenv.env.options import EnvOptions
from recenv.env.true_response import TrueResponse
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.scripts.bench_trust import begun, write_json
from recenv.world import World

_FACTORS = 61  # stream of random numbers
_FLOOR = 0.003
"""Added to a group's chance of a purchase before its logarithm is taken: the incumbent's scores stay finite."""


@dataclass(frozen=True)
class CautionConfig:
    """True values of policies made with and without caution, in shops with a targeted log."""

    out: Path = Path("runs/caution")
    """Folder for `cells.json`, `caution.json`, `caution.md`; cells already there are kept, so a run can be resumed."""
    users: int = 200
    """Users of each shop, half of them in the world and half in its judge."""
    first_seed: int = 0
    """The first seed: each is another shop, another log and other training."""
    seeds: int = 15
    """Number of seeds."""
    items: int = 200
    """Items of the shop."""
    epsilon: float = 0.01
    """Share of uniform choice in the logging policy."""
    sharpness: float = 1.0
    """The incumbent shows items in proportion to a group's true chance of a purchase to this power."""
    strength: float = 2.5
    """Length of the items' taste factors: how much worse an item does with users whom it is not for (1: as ever)."""
    segments: int = 12
    """Segments of the fit, by which the logged policy is estimated: as many as the incumbent has groups."""
    pessimism: float = 0.5
    """Calibrated standard deviations taken off."""
    segment_sd: float = 0.0
    """Of the fit: how much worse an item may do, in log odds, in a segment of which the logs tell nothing."""
    support: float = 0.01
    """The support mask; 1 / items is what uniform logging would give each."""
    compare: Literal["each", "pessimism", "together"] = "each"
    """What is compared with neither: pessimism and mask each alone, pessimism alone, or both at once."""
    agents: tuple[str, ...] = ("model-greedy", "linucb")
    """Policies."""
    episodes: int = 150
    """Sessions of each valuation in the world."""
    true_episodes: int = 400
    """Sessions of each valuation in the true shop."""
    members: int = 6
    """Members of the ensemble."""
    steps: int = 4_000
    """Environment steps of a training."""


def targeted(options: SyntheticOptions, sharpness: float, strength: float) -> RawTables:
    """The log of the shop of these options, but for its taste factors and its logging policy.

    Factors are drawn anew, uniform on the sphere of radius `strength` and apart from all features. The score of item i
    for a user of group g is sharpness log(floor + mean over g's users of P(click) P(purchase | click) at the start of a
    session).
    """
    shop = make_shop(options)
    factor = np.random.default_rng([options.seed, _FACTORS]).standard_normal(shop.truth.factor.shape)
    factor *= strength / np.sqrt((factor**2).sum(axis=1, keepdims=True))
    truth = replace(shop.truth, factor=factor)
    truth = replace(truth, logging_score=_incumbent(truth, shop, sharpness))
    raw = load(options=options)
    what = f"recenv.scripts.bench_caution.targeted: {options}, sharpness {sharpness:g}, strength {strength:g}"
    meta = raw.meta | {"provenance": [f"simulated by {what}"]}
    return replace(raw, events=simulate(truth, options), meta=meta, extras=truth.to_bytes())


def _incumbent(truth: Truth, shop: Shop, sharpness: float) -> NDArray[np.float32]:
    """(U, I) scores."""
    chance = Sessions(truth, np.arange(truth.n_users)).table()
    worth = chance.click * chance.purchase
    group = shop.users.groupby(["age", "region"]).ngroup().to_numpy()
    size = np.bincount(group)
    mean = np.zeros((len(size), truth.n_items))
    np.add.at(mean, group, worth)
    score = sharpness * np.log(_FLOOR + mean / size[:, None])
    return np.asarray(score[group], np.float32)


def run(config: CautionConfig) -> dict[str, Any]:
    """Fit, make policies, value them; writes and returns the table."""
    config.out.mkdir(parents=True, exist_ok=True)
    cells = begun(config.out, _settings(config))
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        if any(c["seed"] == seed for c in cells):
            continue
        began, cpu = time.monotonic(), time.process_time()
        cells.append({"seed": seed} | _cell(config, seed))
        cells[-1]["cpu_seconds"] = round(time.process_time() - cpu, 1)
        write_json(config.out / "cells.json", {"config": _settings(config), "cells": cells})
        print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    rows = summary(cells)
    write_json(config.out / "caution.json", {"config": _settings(config), "rows": rows})
    text = markdown(rows)
    (config.out / "caution.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), "rows": rows}


def _settings(config: CautionConfig) -> dict[str, Any]:
    found = json.loads(json.dumps(asdict(config), default=str))
    return {k: v for k, v in found.items() if k not in ("out", "first_seed", "seeds")}


def _cell(config: CautionConfig, seed: int) -> dict[str, Any]:
    # Recommendations and what came of them, nothing else: no views of the user's own accord that would tell his taste.
    shop = SyntheticOptions(
        users=config.users, items=config.items, epsilon=config.epsilon, acts=False, opportunities=False, seed=seed
    )
    raw = targeted(shop, config.sharpness, config.strength)
    truth = Truth.from_bytes(raw.extras)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(raw, BuildOptions(seed=seed, progress=False)).save(base / "data")
        training = TrainConfig(epochs=15, threads=1)
        options = FitOptions(seed=seed, segments=config.segments, members=config.members, training=training)
        options = replace(options, segment_sd=config.segment_sd)
        world, judge = fit_worlds(base / "data", base / "world", options, progress=False)
    k, s = config.pessimism, config.support
    cautious = {"each": ((k, 0.0), (0.0, s)), "pessimism": ((k, 0.0),), "together": ((k, s),)}[config.compare]
    plans = [(text, *plan) for text in config.agents for plan in ((0.0, 0.0), *cautious)]
    value = partial(_values, config, seed, world, judge, partial(TrueResponse, truth))
    return {
        "rarely_shown": float((world.logged_rates < config.support).mean()),
        "purchases": int(np.nansum(raw.events["purchase"])),
        "lines": [value(text, k, s) for text, k, s in [("logged", 0.0, 0.0), *plans]],
    }


def _values(
    config: CautionConfig, seed: int, world: World, judge: World, shopper: Any, text: str, k: float, s: float
) -> dict[str, Any]:
    """Gross expected purchases a session of a policy made in the world: there, and in the true shop, on other users."""
    who = Contestant.parse(text)
    env = EnvOptions(reward="gross", reward_mode="expected", pessimism=k, support=s)
    policy = learn(who.name, world, TrainSettings(config.steps, seed, env, who.config), NullLog())
    look = validation(env)
    simulated = evaluate(policy, world, look, config.episodes, seed)
    true = evaluate(policy, masked_alike(judge, world, env), look, config.true_episodes, seed, response=shopper)
    found = {key: float(e.totals["gross"].mean()) for key, e in (("simulated", simulated), ("true", true))}
    return {"agent": text, "pessimism": k, "support": s} | found


def summary(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a policy and setting: true value, change against plain paired by seed, its adjusted interval.

    `change` has the ordinary 95 % interval, `adjusted` that of Bonferroni over all settings that are compared.
    """
    table = np.array([[[line["true"], line["simulated"]] for line in cell["lines"]] for cell in cells])  # (S, L, 2)
    lines = cells[0]["lines"]
    plain = {line["agent"]: j for j, line in enumerate(lines) if not line["pessimism"] and not line["support"]}
    compared = len(lines) - len(plain)
    rows = []
    for j, line in enumerate(lines):
        row: dict[str, Any] = {key: line[key] for key in ("agent", "pessimism", "support")}
        row["true"] = t_interval(table[:, j, 0]).as_list()
        row["exaggeration"] = t_interval(table[:, j, 1] / table[:, j, 0]).as_list()
        if j != plain[line["agent"]]:
            change = table[:, j, 0] / table[:, plain[line["agent"]], 0] - 1.0
            row |= {"change": t_interval(change).as_list(), "adjusted": _adjusted(change, compared)}
            row |= {"better": int((change > 0).sum()), "seeds": len(change)}
        rows.append(row)
    return rows


def _adjusted(x: NDArray[np.float64], m: int) -> list[float] | None:
    """Ends of the t interval at level 1 - .05 / m (Bonferroni); None of one value, or of values all alike."""
    deviation = float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0
    if no_spread(deviation, float(x.mean())):
        return None
    half = float(stats.t.ppf(1.0 - 0.025 / m, len(x) - 1)) * deviation
    return [float(x.mean()) - half, float(x.mean()) + half]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| policy | k | eps | true value | change against plain | 95 % interval | adjusted | better in | told / true |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        parts = [row["agent"], f"{row['pessimism']:g}", f"{row['support']:g}", f"{row['true'][0]:.3f}"]
        if "change" in row:
            mean, *ends = row["change"]
            parts += [f"{100 * mean:+.1f} %", _ends(ends), _ends(row["adjusted"])]
            parts.append(f"{row['better']} of {row['seeds']}")
        else:
            parts += [""] * 4
        lines.append("| " + " | ".join([*parts, f"{row['exaggeration'][0]:.2f}"]) + " |")
    return "\n".join(lines) + "\n"


def _ends(ends: Sequence[float | None] | None) -> str:
    if ends is None or ends[0] is None or ends[1] is None:
        return ""
    return f"[{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CautionConfig))
