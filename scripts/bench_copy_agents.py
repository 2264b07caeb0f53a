"""Does choosing copy pay in a shop whose truth is known, and how much log does it take?

Each shop is a randomised e-mail test with copy effects no larger than those measured on headlines (a .07 and e .24,
together .25) and segment x style of the size that worlds assume (.15). From its log, cut to several sizes (the shorter
ones are parts of the longer), a world is fitted. One agent chooses copy freely, or is held to one constant copy (the
style that its world expects most of, or, as a bound, the one that is best by the truth), or to one copy per item for
everybody. The agents: `model-greedy` with the posterior mean of what its world learned, and `dqn`, trained in that
world. All are valued by the truth, on users whom the world never met, as a multiple of what `model-greedy` has there
with the constant copy that is best by the truth: shops differ in level by a factor of two, ratios within a shop do not.
    python scripts/bench_copy_agents.py --out runs/copy-agents
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import REGISTRY, NullLog
from recenv.agents.intervals import t_interval
from recenv.agents.training import TrainSettings, learn
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset, RawTables
from recenv.data.synthetic_email import EmailOptions, EmailTruth
from recenv.data.synthetic_email import load as load_email
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.fit import FitOptions, _fit_one
from recenv.response.shared import prepare, training_rows
from recenv.response.starts import start_states
from recenv.response.train import TrainConfig
from recenv.variants import with_effect
from recenv.world import World

Floats = NDArray[np.float64]
Actions = NDArray[np.int64]
Choose = Callable[[World], Actions]
"""From a world, whole or with some of its actions only, to the action (n,) for each valued user, in that world."""
RIVALS = {
    "model-greedy": ("constant copy, own choice", "constant copy, by the truth", "one copy per item"),
    "dqn": ("dqn, constant copy",),
}
FREE = {"model-greedy": "free choice", "dqn": "dqn, free choice"}
BOUNDS = ("random item and copy", "best for each segment", "best for each user")
MIXED = ("estimated items, true copies", "true items, estimated copies")


@dataclass(frozen=True)
class CopyAgentsConfig:
    """Value agents that choose copy freely, and the same agents held to a constant copy, by the truth of a shop."""

    out: Path = Path("runs/copy-agents")
    """Folder for `copy_agents.json` and `copy_agents.md`; must be new."""
    sizes: tuple[int, ...] = (6_000, 20_000, 60_000)
    """Users of each shop's test, ascending; half of them make the world, the others are valued."""
    seeds: int = 10
    """Synthetic shops: each another truth, another log, another fit."""
    first_seed: int = 0
    """The first shop's seed."""
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
    steps: int = 6_000
    """Environment steps of each training of the dqn, which learns at the largest size only; 0: no dqn."""


def run(config: CopyAgentsConfig) -> dict[str, Any]:
    """Every shop at every size; writes and returns the tables."""
    config.out.mkdir(parents=True, exist_ok=False)
    cells: list[dict[str, float]] = []
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        cells += shop_cells(config, seed)
        (config.out / "cells.json").write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")
    result = {"sizes": {size: size_table([c for c in cells if c["users"] == size]) for size in config.sizes}}
    (config.out / "copy_agents.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = markdown(result["sizes"])
    (config.out / "copy_agents.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), **result}


def shop_cells(config: CopyAgentsConfig, seed: int) -> list[dict[str, float]]:
    """One shop: for each size of its log, true clicks a mail of each way to choose, and what was estimated."""
    options = EmailOptions(
        users=max(config.sizes), mails=config.mails, items=config.items, copies=config.copies, seed=seed,
        style_sd=config.style_sd, base_sd=float(np.hypot(config.a_sd, config.e_sd)),
    )  # fmt: skip
    raw = load_email(options=options)
    truth, cells = EmailTruth.from_bytes(raw.extras), []
    for size in config.sizes:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            build(part_of(raw, size), BuildOptions(seed=seed, progress=False)).save(base / "data")
            world, others = world_and_others(base / "data", seed)
        steps = config.steps if size == max(config.sizes) else 0
        cells.append({"seed": seed, "users": size} | shop_values(world, others, truth, steps, seed))
        print(json.dumps({k: round(v, 4) for k, v in cells[-1].items()}), flush=True)
    return cells


def part_of(raw: RawTables, size: int) -> RawTables:
    """The log of the first `size` users, who come in no order. Of a user it holds the segment alone, so that the
    world's segments are those of the truth."""
    assert raw.users is not None
    users = raw.users.loc[: size - 1, ["user_id", "segment"]].reset_index(drop=True)
    events = raw.events[raw.events["user_id"].isin(users["user_id"])].reset_index(drop=True)
    return replace(raw, users=users, events=events)


def world_and_others(data: Path, seed: int) -> tuple[World, World]:
    """A world of one half of the users, and the same world with the other half, whom it never met, to begin with. A
    judge would cost as much again and is not needed where the truth is known."""
    options = FitOptions(seed=seed, segments=3, training=TrainConfig(threads=1))
    dataset = Dataset.load(data)
    shared = prepare(dataset, options)
    world, _ = _fit_one(shared, shared.logs[0], "train", "shop", options, False)
    done, users = training_rows(shared, shared.logs[1], options, "", False)
    start = start_states(dataset, shared.logs[1], done, users, [])
    return world, replace(world, start=start, path=None)


def shop_values(world: World, others: World, truth: EmailTruth, steps: int, seed: int) -> dict[str, float]:
    """Values by the truth of agents of `world` on the users of `others`."""
    assert world.copy_effect is not None
    effect = world.copy_effect.at_mean()
    world = with_effect(world, effect)
    obs, user = _users(others, truth)
    table = truth.click[user][:, _truth_action(world, truth)]
    style = styles_of(world)
    told = [expected(w, obs) for w in (held_to(world, style == s) for s in range(style.max() + 1))]
    own = int(np.argmax([values.max(axis=1).mean() for values in told]))

    def value(choose: Choose, keep: NDArray[np.bool_]) -> tuple[float, Actions]:
        actions = np.append(0, np.flatnonzero(keep))[choose(held_to(world, keep))]
        return float(table[np.arange(len(table)), actions].mean()), actions

    def greedy(held: World) -> Actions:
        return np.asarray(expected(held, obs).argmax(axis=1) + 1, np.int64)

    def dqn(held: World) -> Actions:
        env = EnvOptions(reward="gross", candidates="all", w_click=1.0, reward_mode="expected")
        policy = learn("dqn", held, TrainSettings(steps, seed, env), NullLog())
        mask = np.broadcast_to(np.arange(held.n_actions) > 0, (len(obs), held.n_actions))
        return policy.act(obs, mask, np.random.default_rng(seed))

    constant = [value(greedy, style == s)[0] for s in range(style.max() + 1)]
    free, chosen = value(greedy, style >= 0)
    found = {
        "constant copy, own choice": constant[own],
        "constant copy, by the truth": max(constant),
        "one copy per item": value(greedy, best_of_item(world))[0],
        "free choice": free,
    }
    if steps:
        found["dqn, constant copy"] = value(dqn, style == own)[0]
        found["dqn, free choice"] = value(dqn, style >= 0)[0]
    shares = np.bincount(style[chosen]) / len(chosen)
    segment = world.segment_of(REGISTRY["model-greedy"](world).part(obs, "profile"))
    found |= _bounds(table, world.action_item, segment) | {"top style share": float(shares.max())}
    shown = effect.posterior["shown"]
    return found | {"impressions a copy": float(shown.mean())} | recovered(world, table, segment, expected(world, obs))


def styles_of(world: World) -> NDArray[np.int64]:
    """(A,) style of each action's copy, -1 for none."""
    assert world.copy_effect is not None
    return np.append(world.copy_effect.copy_style, -1)[world.action_copy].astype(np.int64)


def held_to(world: World, keep: NDArray[np.bool_]) -> World:
    """The world with these actions (A,) alone, and action 0."""
    kept = np.append(0, np.flatnonzero(keep))
    return replace(world, action_item=world.action_item[kept], action_copy=world.action_copy[kept], path=None)


def best_of_item(world: World) -> NDArray[np.bool_]:
    """(A,) marks of each item's copy with the largest effect over all segments."""
    effect = world.copy_effect
    assert effect is not None
    copy, item, style = world.action_copy[1:], world.action_item[1:], styles_of(world)[1:]
    value = effect.base[copy] + effect.segment_style.mean(axis=0)[style]
    value += effect.category_style[world.spec.item_category[item], style]
    best = np.maximum.reduceat(value, world.item_action_start[:-1] - 1)
    return np.append(False, value == best[item])


def expected(world: World, obs: NDArray[np.float32]) -> Floats:
    """(n, A - 1) chance of a click that the world expects of each action but the first."""
    policy = REGISTRY["model-greedy"](world, {"reward": "gross", "w_click": 1.0})
    mask = np.ones((len(obs), world.n_actions), bool)
    return np.asarray(policy.values(obs, mask)[:, 1:], np.float64)


def _users(others: World, truth: EmailTruth) -> tuple[NDArray[np.float32], Actions]:
    """Full observations of these users, one each, and their rows in the truth."""
    _, rows = np.unique(others.start.user_id, return_index=True)
    sim = Simulator(others, len(rows), EnvOptions(candidates="all", observation="full"))
    obs, _ = sim.reset(seed=0, start_rows=rows)
    index = {name: row for row, name in enumerate(truth.user_id.tolist())}
    return obs, np.array([index[name] for name in others.start.user_id[rows].tolist()], np.int64)


def _truth_action(world: World, truth: EmailTruth) -> Actions:
    """(A,) column of the truth of each action of the world."""
    column = {name: k for k, name in enumerate(truth.copy_id.tolist())}
    names = [*world.copies["copy_id"].to_pylist(), ""]
    return np.array([column[names[copy]] for copy in world.action_copy], np.int64)


def _bounds(table: Floats, action_item: NDArray[np.int32], segment: NDArray[Any]) -> dict[str, float]:
    """What no agent is below or above. Users differ by region too, which the log does not hold."""
    item = action_item[1:]
    any_copy = (table[:, 1:] / np.bincount(item)[item]).sum(axis=1) / (item.max() + 1)
    best = [table[segment == s, 1:].mean(axis=0).max() * (segment == s).mean() for s in np.unique(segment)]
    return dict(zip(BOUNDS, (float(any_copy.mean()), float(sum(best)), float(table[:, 1:].max(axis=1).mean()))))


def recovered(world: World, table: Floats, segment: NDArray[Any], told: Floats) -> dict[str, float]:
    """What is lost to errors on items and on copies: values of free choice where the other part is the truth's.

    Also the correlation of true with estimated effects of copy within an item, and the slope of true on estimated (1:
    neither attenuated nor exaggerated): of a + e, and of segment x style, what segments differ in beyond it.

    Args:
        told: (n, A - 1) chances that the world expects.
    """
    item, groups = world.action_item[1:], np.unique(segment)
    logit = [np.stack([_logit(x)[segment == s].mean(axis=0) for s in groups]) for x in (table[:, 1:], told)]
    true, seen = (_within(x, item) for x in logit)
    row, at = np.searchsorted(groups, segment), np.arange(len(table))
    mixed = (_logit(told) - _within(_logit(told), item) + true[row], (logit[0] - true + seen)[row])
    found = {name: float(table[at, x.argmax(axis=1) + 1].mean()) for name, x in zip(MIXED, mixed)}
    pairs = {"a + e": (true.mean(axis=0), seen.mean(axis=0))}
    pairs["segment x style"] = (true - true.mean(axis=0), seen - seen.mean(axis=0))
    for name, (x, y) in pairs.items():
        found[f"{name}, correlation"] = float(np.corrcoef(x.ravel(), y.ravel())[0, 1])
        found[f"{name}, slope"] = float((x * y).sum() / (y * y).sum())
    return found


def _logit(p: NDArray[Any]) -> Floats:
    return np.asarray(np.log(p / (1 - p)), np.float64)


def _within(values: NDArray[Any], item: NDArray[np.int32]) -> Floats:
    """(G, A - 1) values less their mean within the item."""
    mean = np.stack([np.bincount(item, row) for row in values]) / np.bincount(item)
    return np.asarray(values - mean[:, item], np.float64)


def size_table(cells: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Over shops, t intervals: values as multiples of the best constant copy by the truth, gains in pairs within a shop
    as shares of the rival, and the rest as it is."""
    unit = np.array([cell["constant copy, by the truth"] for cell in cells])
    values = {name: np.array([cell[name] for cell in cells]) for name in cells[0]}
    ways = [*RIVALS["model-greedy"], FREE["model-greedy"], *RIVALS["dqn"], FREE["dqn"], *MIXED, *BOUNDS]
    ways = [way for way in ways if way in values]
    found: dict[str, Any] = {"values": {way: t_interval(values[way] / unit).as_list() for way in ways}, "gains": {}}
    for agent, rivals in RIVALS.items():
        for rival in (r for r in rivals if r in values):
            gain = values[FREE[agent]] / values[rival] - 1
            name = f"{FREE[agent]} over {rival.removeprefix('dqn, ')}"
            found["gains"][name] = [*t_interval(gain).as_list(), int((gain > 0).sum()), len(gain)]
    rest = [name for name in values if name not in (*ways, "seed", "users")]
    return found | {"rest": {name: t_interval(values[name]).as_list() for name in rest}}


def markdown(sizes: Mapping[int, Mapping[str, Any]]) -> str:
    """One column a size of the log."""
    lines = ["| users of the log | " + " | ".join(f"{size:,}" for size in sizes) + " |", "|---|" + "---:|" * len(sizes)]
    for part in ("values", "gains", "rest"):
        tables = [table[part] for table in sizes.values()]
        for name in dict.fromkeys(name for table in tables for name in table):
            lines.append(f"| {name} | " + " | ".join(_told(part, table.get(name)) for table in tables) + " |")
    return "\n".join(lines) + "\n"


def _told(part: str, value: Sequence[Any] | None) -> str:
    if value is None:
        return ""
    scale, digits = (100, 1) if part == "gains" else (1, 0 if value[0] > 10 else 3)
    sign = "+" if part == "gains" else ""
    shown = [format(scale * v, f"{sign}.{digits}f") for v in value[:3] if v is not None]
    unit, count = (" %", f", {value[3]} of {value[4]} shops") if part == "gains" else ("", "")
    return f"{shown[0]}{unit}{count}" if len(shown) < 3 else f"{shown[0]}{unit} [{shown[1]}, {shown[2]}]{count}"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CopyAgentsConfig))
