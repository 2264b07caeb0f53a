"""Does a policy stay within the logs? Its choices in held-out start states, looked up under the logged policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.env.masks import offered
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.start import SPLITS as START_SPLITS
from recenv.trust import gates as g
from recenv.trust.gate_base import Gate, undecided
from recenv.trust.held_out import HeldOut
from recenv.trust.problem import Choose
from recenv.trust.tolerances import Tolerances
from recenv.world import World

GIVE = "Give --run: a trained policy, whose choices in held-out states are looked up under the logged policy."
_BLOCK = 512
_CHOICE = 56  # stream of random numbers
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedPolicy:
    """A policy as the gate sees it: name, observation mode, the environment's options, and
    (observations (k, size), allowed actions (k, A)) -> probabilities (k, A)."""

    name: str
    observation: str
    env: EnvOptions
    choose: Choose


def support_gate(world: World, held: HeldOut, policy: JudgedPolicy | None, tol: Tolerances, seed: int) -> Gate:
    """Share of the policy's choices in held-out start states that the logs next to never hold; see `gates.support`.

    The logged probability of an item is that of the environment's own support mask: `world.logged_rates` of the user's
    segment over their sum on offer. The detail tells how much of the logged policy's own choices lies below the floor.
    """
    if policy is None:
        return g.not_measured("support", GIVE)
    item, chance, own, candidates = choices(world, held, policy, tol.support_floor, seed)
    chosen = item >= 0
    if not chosen.any():
        return undecided("support", f"{policy.name} shows nothing in {len(item):,} held-out start states.")
    user = held.start.user[chosen].astype(np.int64)
    gate = g.support(chance[chosen], user, candidates[chosen], tol, policy.name)
    told = f" One choice in each of {int(chosen.sum()):,} held-out start states; of what was logged itself "
    told += f"{float(own.mean()):.1%} is as rare "
    told += f"(by segment, below {tol.support_floor:g} of the even chance among {np.median(candidates):,.0f} items)."
    if (~chosen).any():
        told += f" In {int((~chosen).sum()):,} more it shows nothing, which is not judged."
    if world.n_copies:
        told += " Items alone are judged, not their copies."
    return replace(gate, detail=gate.detail + told)


def choices(
    world: World, held: HeldOut, policy: JudgedPolicy, floor: float, seed: int
) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
    """What the policy shows first in each of S held-out start states.

    Returns:
        item (S,), -1 for nothing; its logged probability (S,), 1 for nothing; share of the logged policy's choices
        there that lies below `floor` of the even chance (S,); number of items to choose from (S,).
    """
    n = len(held.start)
    # The environment knows no test split: within this copy of the world, held-out states stand as validation.
    copy = replace(world, start=replace(held.start, split=np.full(n, START_SPLITS.index("validation"), np.int8)))
    env = replace(policy.env, split="validation", observation=policy.observation, slate=1)
    segment = world.segment_of(held.start.packed["profile"])
    item, chance, own, count = np.full(n, -1, np.int64), np.ones(n), np.zeros(n), np.ones(n, np.int64)
    for first in range(0, n, _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, n))
        sim = Simulator(copy, len(rows), env)
        obs, _ = sim.reset(seed=seed, start_rows=rows)
        told = np.asarray(policy.choose(obs, sim.masks()), np.float64)
        item[rows] = world.action_item[_drawn(told, rng.uniform(seed, _CHOICE, held.start_session[rows]))]
        on_offer = offered(copy, rows) if sim.options.candidates == "logged" else np.ones((len(rows), world.n_items))
        count[rows] = np.maximum(on_offer.sum(axis=1), 1)
        rate = world.logged_rates[segment[rows]].astype(np.float64) * on_offer
        rate /= np.maximum(rate.sum(axis=1, keepdims=True), 1e-300)
        own[rows] = (rate * (rate * count[rows, None] < floor)).sum(axis=1)
        shown = np.flatnonzero(item[rows] >= 0)
        chance[rows[shown]] = rate[shown, item[rows[shown]]]
    return item, np.minimum(chance, 1.0), own, count


def _drawn(chance: Floats, u: Floats) -> NDArray[Any]:
    """(k,) actions drawn by uniform numbers (k,) from rows of probabilities (k, A)."""
    total = np.cumsum(chance, axis=1)
    return np.asarray(np.minimum((total <= (u * total[:, -1])[:, None]).sum(axis=1), chance.shape[1] - 1))
