"""Does choosing copy pay? In a synthetic shop whose truth is known, and on real headline tests.

Shop: a randomised e-mail test with copy effects no larger than those measured on headlines (a .07 and e .24, together
.25) and segment x style of the size that worlds assume (.15). One agent, `model-greedy` with the posterior mean of
what its world learned, chooses copy freely, or is held to one copy per item for everybody, or to one constant copy for
all: its own choice and, as a bound, the truth's. All are valued by the truth, on users
whom the world never met.
Headlines: policies count, or model, some of the training impressions of each story's headlines; the click rates by
which they are valued come from other impressions of the same headlines.
    python scripts/bench_copy_agents.py --out runs/copy-agents --path PATH/upworthy
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import REGISTRY
from recenv.agents.copy_bandits import BestByCountPolicy
from recenv.agents.intervals import t_interval
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset
from recenv.data.sources.upworthy import load as load_headlines
from recenv.data.synthetic_email import EmailOptions, EmailTruth
from recenv.data.synthetic_email import load as load_email
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.copy_effect import CopyEffect
from recenv.response.copy_fit import Exposures, fit_copies
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.variants import with_effect
from recenv.world import World

Floats = NDArray[np.float64]
_CHUNK = 128


@dataclass(frozen=True)
class CopyAgentsConfig:
    """Compare ways to choose copy: in a synthetic shop by its truth, and on headline tests by held-out impressions."""

    out: Path = Path("runs/copy-agents")
    """Folder for `copy_agents.json` and `copy_agents.md`; must be new."""
    path: Path | None = None
    """Folder or file of the Upworthy archive; without it the second part is left out."""
    seeds: int = 5
    """Synthetic shops: each another truth, another log, another fit."""
    users: int = 60_000
    """Users of each shop's test; half of them make the world, the others are valued."""
    mails: int = 3
    """Mails a user."""
    items: int = 6
    """Items of each shop."""
    copies: int = 6
    """Texts an item, one a style."""
    a_sd: float = 0.07
    """Standard deviation of what a text's wording tells, as measured on headlines."""
    e_sd: float = 0.24
    """Standard deviation of the rest of a text's effect, as measured on headlines."""
    style_sd: float = 0.15
    """Standard deviation of segment x style, as worlds assume it."""
    shares: tuple[float, ...] = (1.0, 0.25, 0.05, 0.0)
    """Shares of the training impressions of each headline that the policies may count."""
    bootstrap: int = 1000
    """Resamples of stories."""


def run(config: CopyAgentsConfig) -> dict[str, Any]:
    """Both parts; writes and returns the tables."""
    config.out.mkdir(parents=True, exist_ok=False)
    cells = []
    for seed in range(config.seeds):
        cells.append(shop_cell(config, seed))
        print(f"shop {seed}: {json.dumps({k: round(v, 5) for k, v in cells[-1].items()})}", flush=True)
    result: dict[str, Any] = {"shop": shop_table(cells), "cells": cells}
    if config.path is not None:
        result["headlines"] = headlines(config)
    (config.out / "copy_agents.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = markdown(result)
    (config.out / "copy_agents.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), **result}


def shop_cell(config: CopyAgentsConfig, seed: int) -> dict[str, float]:
    """True clicks a mail of each way to choose copy in one shop, and the share of decisions with the top style."""
    size = float(np.hypot(config.a_sd, config.e_sd))
    options = EmailOptions(
        users=config.users, mails=config.mails, items=config.items, copies=config.copies, seed=seed,
        style_sd=config.style_sd, base_sd=size,
    )  # fmt: skip
    raw = load_email(options=options)
    assert raw.users is not None
    # What the shop records of a user is the segment alone, so that the world's segments are those of the truth.
    raw.users = raw.users[["user_id", "segment"]]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(raw, BuildOptions(seed=seed, progress=False)).save(base / "data")
        fit = FitOptions(seed=seed, segments=3, training=TrainConfig(epochs=5, threads=1))
        world, judge = fit_worlds(base / "data", base / "world", fit, progress=False)
    return shop_values(world, judge, EmailTruth.from_bytes(raw.extras))


def shop_values(world: World, judge: World, truth: EmailTruth) -> dict[str, float]:
    """Values by the truth of policies of `world` on the users of `judge`."""
    assert world.copy_effect is not None
    best = world.copy_effect.at_mean()
    alike = replace(best, segment_style=np.zeros_like(best.segment_style))
    obs, user = _users(judge, truth)
    style = np.append(world.copy_effect.copy_style, -1)[world.action_copy]
    everything = np.arange(world.n_actions) > 0
    table = truth.click[user][:, _truth_action(world, truth)]
    chosen, _ = _greedy(world, best, obs, everything)
    held = [_greedy(world, alike, obs, everything & (style == s)) for s in range(len(best.styles))]
    constant = [_value(table, actions) for actions, _ in held]
    own = constant[int(np.argmax([told for _, told in held]))]
    shares = np.bincount(style[chosen], minlength=len(best.styles)) / len(chosen)
    copies = np.maximum(np.bincount(world.action_item[1:]), 1)
    any_copy = (table[:, 1:] / copies[world.action_item[1:]]).sum(axis=1) / len(copies)
    return {
        "random item and copy": float(any_copy.mean()),
        "best constant copy": own,
        "best constant copy, by the truth": max(constant),
        "best copy per item": _value(table, _greedy(world, alike, obs, everything)[0]),
        "personalised copy": _value(table, chosen),
        "optimum": float(table[:, 1:].max(axis=1).mean()),
        "top style share": float(shares.max()),
        "estimated e": float(world.copy_effect.notes["e(text)"]["size"]),
        "estimated segment x style": float(world.copy_effect.notes["segment x style"].get("size", 0.0)),
    }


def _users(judge: World, truth: EmailTruth) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Full observations of the judge's users, one each, and their rows in the truth."""
    _, rows = np.unique(judge.start.user_id, return_index=True)
    sim = Simulator(judge, len(rows), EnvOptions(candidates="all", observation="full"))
    obs, _ = sim.reset(seed=0, start_rows=rows)
    index = {name: row for row, name in enumerate(truth.user_id.tolist())}
    return obs, np.array([index[name] for name in judge.start.user_id[rows].tolist()], np.int64)


def _truth_action(world: World, truth: EmailTruth) -> NDArray[np.int64]:
    """(A,) column of the truth of each action of the world."""
    column = {name: k for k, name in enumerate(truth.copy_id.tolist())}
    names = [*world.copies["copy_id"].to_pylist(), ""]
    return np.array([column[names[copy]] for copy in world.action_copy], np.int64)


def _greedy(
    world: World, effect: CopyEffect, obs: NDArray[np.float32], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], float]:
    """Actions (n,) of the agent among those allowed, and the mean value that it expects of them."""
    policy = REGISTRY["model-greedy"](with_effect(world, effect), {"reward": "gross", "w_click": 1.0})
    value = np.where(allowed, policy.values(obs, np.broadcast_to(allowed, (len(obs), len(allowed)))), -np.inf)
    return value.argmax(axis=1).astype(np.int64), float(value.max(axis=1).mean())


def _value(table: Floats, action: NDArray[np.int64]) -> float:
    return float(table[np.arange(len(table)), action].mean())


def shop_table(cells: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Over shops: each value as a multiple of the shop's best constant copy, and gains, with t intervals."""
    ways = [name for name in cells[0] if name not in ("top style share", "estimated e", "estimated segment x style")]
    of_constant = np.array([cell["best constant copy"] for cell in cells])
    values = {way: np.array([cell[way] for cell in cells]) for way in ways}
    found: dict[str, Any] = {
        way: {
            "clicks a mail": t_interval(values[way]).as_list(),
            "of best constant": t_interval(values[way] / of_constant).as_list(),
        }
        for way in ways
    }
    personal = values["personalised copy"]
    for rival in ("best constant copy", "best constant copy, by the truth", "best copy per item"):
        found[f"personalised minus {rival}"] = t_interval(personal - values[rival]).as_list()
    for name in ("top style share", "estimated e", "estimated segment x style"):
        found[name] = t_interval(np.array([cell[name] for cell in cells])).as_list()
    return found


@dataclass(frozen=True)
class Stories:
    """Headlines of a world with true rates.

    Args:
        world: fitted on headline tests. rate: (A,) click rate of each action in held-out impressions. held: (A,) number
            of these. obs, item: of each story with a start state, (n, size) and (n,).
    """

    world: World
    rate: Floats
    held: Floats
    obs: NDArray[np.float32]
    item: NDArray[np.int64]


def headlines(config: CopyAgentsConfig) -> dict[str, Any]:
    """Ways to choose among a story's headlines, by share of impressions counted: lift over the story's mean rate."""
    assert config.path is not None
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(load_headlines(str(config.path)), BuildOptions(progress=False)).save(base / "data")
        options = FitOptions(start_states=20_000, training=TrainConfig(epochs=2, threads=1))
        world, _ = fit_worlds(base / "data", base / "world", options, progress=False)
        stories = held_out_stories(world, Dataset.load(base / "data", ("test",)))
    table = []
    for share in config.shares:
        table.append(story_lifts(stories, share, config.bootstrap))
        print(f"headlines, {share:.0%}: {json.dumps(table[-1])}", flush=True)
    return {"stories": len(stories.item), "copy_label": world.meta["copy_label"], "by_share": table}


def held_out_stories(world: World, test: Dataset) -> Stories:
    """True rates from the test slice; the stories are those with a start state."""
    events = test.events
    copy = {name: k for k, name in enumerate(world.copies["copy_id"].to_pylist())}
    row = events["copy_id"].astype(str).map(copy).to_numpy(np.int64)
    weight, click = events["weight"].to_numpy(np.float64), events["click"].to_numpy(np.float64)
    n, k = (np.bincount(row, w, len(copy)) for w in (weight, weight * click))
    rate = np.append(k / np.maximum(n, 1.0), 0.0)[world.action_copy]
    sim = Simulator(world, len(world.start), EnvOptions(observation="full"))
    obs, _ = sim.reset(seed=0, start_rows=np.arange(len(world.start)))
    item, first = np.unique(world.start.offer_item[world.start.offer_ptr[:-1]], return_index=True)
    return Stories(world, rate, np.append(n, 0.0)[world.action_copy], obs[first], item.astype(np.int64))


def story_lifts(stories: Stories, share: float, bootstrap: int) -> dict[str, Any]:
    """Mean lift, with a bootstrap of stories, of each way to choose, from `share` of the logged impressions."""
    world, effect = stories.world, stories.world.copy_effect
    assert effect is not None
    rng = np.random.default_rng([int(1e6 * share), 65])
    full = [effect.posterior[name].astype(np.int64) for name in ("shown", "responses")]
    got = rng.binomial(full[1], share)
    shown = got + rng.binomial(full[0] - full[1], share)
    ways: dict[str, Floats] = {}
    for name in ("random", "best-by-count", "thompson-copy"):
        policy = REGISTRY["best-by-count" if name == "random" else name](world)
        policy.shown, policy.got = policy._of_copies(shown), policy._of_copies(got)
        policy.refresh()
        ways[name] = np.ones(world.n_actions) if name == "random" else policy.share.astype(np.float64)
    counter = BestByCountPolicy(world)
    prior = effect.posterior["prior"].astype(np.float64)  # a(text), cross-fitted by story
    for name, mean in (("effect, e alone", np.zeros_like(prior)), ("effect, a and e", prior)):
        value = posterior_mean(world, effect, shown, got, mean)
        ways[name] = counter._best(np.append(value, 0.0)[world.action_copy][:, None])
    if share == 1.0:
        ways["model-greedy in its world"] = _through_the_world(stories)
    lifts = {name: _lifts(stories, weights) for name, weights in ways.items()}
    draws = np.random.default_rng(66).multinomial(
        len(stories.item), np.full(len(stories.item), 1 / len(stories.item)), bootstrap
    )
    rows: dict[str, Any] = {"share": share, "impressions a headline": float(np.median(shown[full[0] > 0]))}
    for name, lift in lifts.items():
        rows[name] = _interval(lift, draws)
    for rival in ("best-by-count", "thompson-copy"):
        rows[f"a and e minus {rival}"] = _interval(lifts["effect, a and e"] - lifts[rival], draws)
    return rows


def posterior_mean(world: World, effect: CopyEffect, shown: Any, got: Any, prior: Floats) -> Floats:
    """(C,) posterior mean of a + e from counts alone; the prior where nothing was counted."""
    if not got.sum():
        return prior
    item = np.full(len(shown), -1, np.int64)
    item[world.action_copy[1:]] = world.action_item[1:]
    copy = np.concatenate([np.flatnonzero(got > 0), np.flatnonzero(shown > got)])
    response = np.repeat([1.0, 0.0], [(got > 0).sum(), (shown > got).sum()])
    weight = np.where(response > 0, got[copy], (shown - got)[copy]).astype(np.float64)
    rate = got.sum() / shown.sum()
    zero = np.zeros(len(copy), np.int64)
    rows = Exposures(
        copy, item[copy], zero, zero, zero, np.full(len(copy), np.log(rate / (1 - rate))), response, weight
    )
    # Like a(text), the size of e is what other stories, with all their impressions, taught.
    known = {"base": float(effect.notes["e(text)"]["size"])} if prior.any() else None
    found = fit_copies(rows, effect.copy_style.astype(np.int64), prior, (1, 1, len(effect.styles)), 0, known)
    return np.asarray(found.mean["base"] + prior)


def _through_the_world(stories: Stories) -> Floats:
    """(A,) what `model-greedy`, with the posterior mean, shows of each story among `candidates="logged"`."""
    world, chosen = stories.world, np.zeros(stories.world.n_actions)
    assert world.copy_effect is not None
    policy = REGISTRY["model-greedy"](with_effect(world, world.copy_effect.at_mean()))
    for start in range(0, len(stories.item), _CHUNK):
        item = stories.item[start : start + _CHUNK]
        mask = (world.action_item[None, :] == item[:, None]) & (np.arange(world.n_actions) > 0)
        chosen[policy.act(stories.obs[start : start + _CHUNK], mask, np.random.default_rng(0))] = 1.0
    return chosen


def _lifts(stories: Stories, weights: Floats) -> Floats:
    """(n,) expected held-out rate of what is shown of each story over the mean rate of its headlines, less 1."""
    world, found = stories.world, np.zeros(len(stories.item))
    for k, item in enumerate(stories.item):
        at = np.arange(world.item_action_start[item], world.item_action_start[item + 1])
        at = at[stories.held[at] > 0]
        rate, weight = stories.rate[at], weights[at]
        if rate.sum() > 0:
            weight = weight if weight.sum() > 0 else np.ones(len(at))
            found[k] = (weight @ rate / weight.sum()) / rate.mean() - 1.0
    return found


def _interval(values: Floats, draws: NDArray[np.int64]) -> list[float]:
    means = draws @ values / len(values)
    return [float(values.mean()), *(float(q) for q in np.quantile(means, [0.025, 0.975]))]


def markdown(result: dict[str, Any]) -> str:
    """Both tables."""

    def told(values: Sequence[float | None]) -> str:
        mean, low, high = values
        return f"{mean:.4f}" if low is None else f"{mean:.4f} [{low:.4f}, {high:.4f}]"

    lines = ["| way | true clicks a mail | of best constant copy |", "|---|---:|---:|"]
    lines += [
        f"| {way} | {told(row['clicks a mail'])} | {told(row['of best constant'])} |"
        for way, row in result["shop"].items()
        if isinstance(row, dict)
    ]
    lines += ["", *(f"{name}: {told(row)}" for name, row in result["shop"].items() if not isinstance(row, dict))]
    if "headlines" in result:
        rows = result["headlines"]["by_share"]
        names = list(dict.fromkeys(name for row in rows for name in row if name != "share"))
        lines += ["", "| lift over a random headline | " + " | ".join(f"{row['share']:.0%}" for row in rows) + " |"]
        lines += ["|---|" + "---:|" * len(rows)]
        for name in names:
            cells = [
                "" if name not in r else told(r[name]) if isinstance(r[name], list) else f"{r[name]:.0f}" for r in rows
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CopyAgentsConfig))
