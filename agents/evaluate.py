"""The value of a policy in a world: many sessions, the same start states and random numbers for every policy.

Draws of the simulator are keyed by (seed, environment, episode, step). Two policies evaluated with the same seed,
number of environments and episodes therefore meet the same users in the same order: their episodes are pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import Policy
from recenv.agents.copy_gain import CopyTally
from recenv.env.ansi import happened, what, who
from recenv.env.options import EnvOptions
from recenv.env.outcomes import Outcome
from recenv.env.prepared import prepared
from recenv.env.simulator import Simulator
from recenv.trust.ranking import gini

if TYPE_CHECKING:
    from recenv.env.learned import ResponseProtocol
    from recenv.world import World

Floats = NDArray[np.float64]
_TERMS = (
    "gross",
    "incremental",
    "click",
    "purchase",
    "revenue",
    "expected_revenue",
    "unshown_revenue",
    "invalid",
    "left",
)


@dataclass
class Evaluation:
    """What a policy did in `n` episodes.

    Args:
        start_row: (n,) start state of each episode; equal for all policies evaluated alike.
        length: (n,) slots. reward: (n,) return in the environment's own reward.
        totals: (n,) each, sums over the episode: `gross` and `incremental` (expected, in reward units; the second where
            the world knows it), `click purchase revenue` (sampled), `expected_revenue unshown_revenue invalid left`.
        shown: (n_items,) times each item was shown. styles: (n_segments, n_styles) times each style was shown.
        style_names: names of the styles' columns. samples: some sessions as text.
        decisions: (n_actions,) times each action was shown.
        copy_gain: gross value less that of the best constant style on the same items (`CopyTally`), over all episodes.
    """

    start_row: NDArray[np.int64]
    length: NDArray[np.int64]
    reward: Floats
    totals: dict[str, Floats]
    shown: NDArray[np.int64]
    styles: NDArray[np.int64]
    style_names: tuple[str, ...]
    samples: list[str] = field(default_factory=list)
    copy_gain: float | None = None
    decisions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.length)

    def metrics(self) -> dict[str, float]:
        """Figures by tag of `recenv.core.tags`; those that the world does not know are absent."""
        slots, sessions = max(int(self.length.sum()), 1), max(len(self), 1)
        exposures = max(int(self.shown.sum()), 1)
        result = {
            "eval/mean_reward": float(self.reward.mean()),
            "eval/mean_ep_length": float(self.length.mean()),
            "shop/gross_value_per_session": float(self.totals["gross"].mean()),
            "shop/item_coverage": float((self.shown > 0).mean()),
            "shop/exposure_gini": gini(self.shown),
            "shop/masked_share": float(self.totals["invalid"].sum() / slots),
            "shop/nothing_share": 1.0 - float(self.shown.sum()) / slots,
            "shop/leave_rate": float(self.totals["left"].mean()),
        }
        if "incremental" in self.totals:
            result["shop/incremental_value_per_session"] = float(self.totals["incremental"].mean())
        for name, tag in (("click", "shop/ctr"), ("purchase", "shop/purchase_rate")):
            if name in self.totals:
                result[tag] = float(self.totals[name].sum() / exposures)
        if "revenue" in self.totals:
            result["shop/revenue_per_session"] = float(self.totals["revenue"].sum() / sessions)
        if "unshown_revenue" in self.totals:
            extra = self.totals["expected_revenue"] - self.totals["unshown_revenue"]
            result["shop/incremental_revenue_per_session"] = float(extra.mean())
        if self.styles.size:
            of_style = self.styles.sum(axis=0)
            result["shop/copy_entropy"] = entropy(of_style)
            result["shop/top_style_share"] = float(of_style.max() / max(of_style.sum(), 1))
        if self.copy_gain is not None:
            result["shop/copy_gain_per_session"] = self.copy_gain / sessions
        return result


def evaluate(
    policy: Policy,
    world: World,
    options: EnvOptions,
    episodes: int,
    seed: int,
    envs: int = 128,
    response: Callable[[World, int], ResponseProtocol] | None = None,
    samples: int = 0,
    tick: Callable[[int], object] | None = None,
) -> Evaluation:
    """Run `policy` for `episodes` sessions in `world`.

    Args:
        policy: what chooses; its own random numbers come from `seed` too, in a stream of their own.
        world: where it is judged. options: of the environment (slate 1; `observation` is set to what the policy wants).
        episodes: sessions; environment i runs every `envs`-th of them.
        seed: of users, responses and choices. envs: sessions side by side.
        response: makes another response than the world's own (for instance the truth of a synthetic shop).
        samples: number of sessions to write down as text. tick: called with the number of sessions just finished.
    """
    envs = min(envs, episodes)
    options = replace(options, observation=policy.observation)
    sim = Simulator(world, envs, options, None if response is None else response(world, envs))
    sim.reset(seed=seed)
    return _Run(policy, sim, episodes, np.random.default_rng([seed, 5]), samples).finish(tick)


class _Run:
    """Bookkeeping of one evaluation: episode e of environment i has number e * envs + i."""

    def __init__(self, policy: Policy, sim: Simulator, episodes: int, rng: np.random.Generator, samples: int) -> None:
        self.policy, self.sim, self.rng, self.samples = policy, sim, rng, min(samples, sim.n)
        self.n = episodes
        self.number = np.arange(sim.n)
        self.start_row = np.zeros(episodes, np.int64)
        self.length = np.zeros(episodes, np.int64)
        self.reward = np.zeros(episodes)
        self.totals: dict[str, Floats] = {}
        world = sim.world
        names = () if world.copy_effect is None else world.copy_effect.styles
        if world.copy_effect is not None and (
            (world.action_copy[1:] < 0).any() or (world.copy_effect.copy_style < 0).any()
        ):
            names = (*names, "no style")  # the last column, where index -1 points
        self.style_names: tuple[str, ...] = names
        self.shown = np.zeros(world.n_items, np.int64)
        self.styles = np.zeros((len(world.segment_centroids), len(names)), np.int64)
        self.tally = CopyTally(sim)
        self.decisions = np.zeros(len(world.action_item), np.int64)
        self.texts: list[list[str]] = [[who(sim, row)] for row in range(self.samples)]

    def finish(self, tick: Callable[[int], object] | None) -> Evaluation:
        sim = self.sim
        while (live := np.flatnonzero(self.number < self.n)).size:
            obs, mask = sim.observations(live), sim.masks()[live]
            actions = np.zeros(sim.n, np.int64)
            actions[live] = self.policy.act(obs, mask, self.rng)
            outcome = sim.step(actions)
            self._count(live, actions[live], outcome)
            over = live[(outcome.terminated | outcome.truncated)[live]]
            if len(over):
                self.number[over] += sim.n
                sim.restart(over)
                if tick is not None:
                    tick(len(over))
        texts = ["\n".join(lines) for lines in self.texts]
        counts = (self.shown, self.styles, self.style_names)
        sums = (self.start_row, self.length, self.reward, self.totals)
        return Evaluation(*sums, *counts, texts, self.tally.gain(), self.decisions)

    def _count(self, live: NDArray[np.int64], actions: NDArray[np.int64], outcome: Outcome) -> None:
        info, number = outcome.info, self.number[live]
        self.start_row[number] = info["start_row"][live]
        self.length[number] += 1
        self.reward[number] += outcome.reward[live]
        for name in _TERMS:
            if name in info:
                self.totals.setdefault(name, np.zeros(self.n))[number] += info[name][live]
        item, copy = info["item"][live, 0], info["copy"][live, 0]
        np.add.at(self.shown, item[item >= 0], 1)
        np.add.at(self.decisions, actions[item >= 0], 1)
        self._count_styles(live[item >= 0], copy[item >= 0], info)
        self.tally.add(live, item, copy, info)
        for row in range(self.samples):
            if self.number[row] == row:
                self.texts[row].append(self._line(row, info))

    def _count_styles(self, rows: NDArray[np.int64], copy: NDArray[np.int32], info: dict[str, Any]) -> None:
        effect = self.sim.world.copy_effect
        if effect is None:
            return
        segment = prepared(self.sim.world).segment[info["start_row"][rows]]
        style = np.where(copy >= 0, effect.copy_style[copy], -1)
        np.add.at(self.styles, (segment, style), 1)

    def _line(self, row: int, info: dict[str, Any]) -> str:
        slot = int(self.length[row])
        shown = what(self.sim, int(info["item"][row, 0]), int(info["copy"][row, 0]))
        return f"  {slot}. {shown} -> {happened(self.sim, row, info)}"


def entropy(counts: NDArray[Any]) -> float:
    """Shannon entropy of shares, as a share of its greatest value over the classes: 1 is even, 0 is one class alone."""
    share = np.asarray(counts, np.float64)
    if len(share) < 2 or not share.sum():
        return 0.0
    share = share[share > 0] / share.sum()
    return float(abs((share * np.log(share)).sum()) / np.log(len(counts)))
