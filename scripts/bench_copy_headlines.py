"""Does choosing copy pay on real headlines? Policies count, or model, some of the training impressions of each story's
headlines; the click rates by which they are valued come from other impressions of the same headlines.
    python scripts/bench_copy_headlines.py --out runs/copy-headlines --path PATH/upworthy
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import REGISTRY
from recenv.agents.copy_bandits import BestByCountPolicy
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset
from recenv.data.sources.upworthy import load
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
class CopyHeadlinesConfig:
    """Compare ways to choose among a story's headlines, by click rates of held-out impressions."""

    path: Path
    """Folder or file of the Upworthy archive."""
    out: Path = Path("runs/copy-headlines")
    """Folder for `copy_headlines.json` and `copy_headlines.md`; must be new."""
    shares: tuple[float, ...] = (1.0, 0.25, 0.05, 0.0)
    """Shares of the training impressions of each headline that the policies may count."""
    bootstrap: int = 1000
    """Resamples of stories."""


def run(config: CopyHeadlinesConfig) -> dict[str, Any]:
    """Prepare, fit, value; writes and returns the table."""
    config.out.mkdir(parents=True, exist_ok=False)
    result = headlines(config)
    (config.out / "copy_headlines.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = markdown(result["by_share"])
    (config.out / "copy_headlines.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), **result}


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


def headlines(config: CopyHeadlinesConfig) -> dict[str, Any]:
    """Ways to choose among a story's headlines, by share of impressions counted: lift over the story's mean rate."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(load(str(config.path)), BuildOptions(progress=False)).save(base / "data")
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


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One column a share of the impressions."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "share"))
    lines = ["| lift over a random headline | " + " | ".join(f"{row['share']:.0%}" for row in rows) + " |"]
    lines += ["|---|" + "---:|" * len(rows)]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_told(row.get(name)) for row in rows) + " |")
    return "\n".join(lines) + "\n"


def _told(value: float | list[float] | None) -> str:
    if value is None:
        return ""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*value) if isinstance(value, list) else f"{value:.0f}"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CopyHeadlinesConfig))
