"""Replay: a plain ring of observations, and one of episodes that keeps next to nothing and rebuilds the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.observation import bounds, observe
from recenv.state import CLICK, EXPOSURE, PURCHASE, Floats, Ints, apply, begin_session

if TYPE_CHECKING:
    from recenv.env.options import EnvOptions
    from recenv.world import World

Bools = NDArray[np.bool_]
CLICKED, BOUGHT = 1, 2
"""Bits of a stored response."""


@dataclass
class Batch:
    """n transitions: obs (n, size) float32, action (n,) int64, reward (n,) float32; with a discount also next_obs
    (n, size) float32, next_mask (n, A) bool, terminated (n,) bool (no value after them)."""

    obs: Floats
    action: NDArray[np.int64]
    reward: Floats
    next_obs: Floats | None = None
    next_mask: Bools | None = None
    terminated: Bools | None = None

    def __len__(self) -> int:
        return len(self.action)

    def take(self, rows: Ints) -> Batch:
        """The transitions `rows`, in that order."""
        parts = (self.next_obs, self.next_mask, self.terminated)
        rest = [None if part is None else part[rows] for part in parts]
        return Batch(self.obs[rows], self.action[rows], self.reward[rows], *rest)  # type: ignore[arg-type]


class RingReplay:
    """The last `capacity` transitions, kept whole.

    Args:
        capacity: transitions. size: length of an observation. n_actions: number of actions.
    """

    def __init__(self, capacity: int, size: int, n_actions: int) -> None:
        self.capacity, self.added = capacity, 0
        self.data = Batch(
            np.zeros((capacity, size), np.float32),
            np.zeros(capacity, np.int64),
            np.zeros(capacity, np.float32),
            np.zeros((capacity, size), np.float32),
            np.zeros((capacity, n_actions), np.bool_),
            np.zeros(capacity, np.bool_),
        )

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, batch: Batch) -> None:
        """Append transitions, in place of the oldest where the ring is full."""
        rows = (self.added + np.arange(len(batch))) % self.capacity
        for name in ("obs", "action", "reward", "next_obs", "next_mask", "terminated"):
            getattr(self.data, name)[rows] = getattr(batch, name)
        self.added += len(batch)

    def sample(self, n: int, rng: np.random.Generator) -> Batch:
        """n transitions, drawn evenly with replacement."""
        return self.data.take(rng.integers(len(self), size=n))


class EpisodeReplay:
    """The last sessions in a world as (start row, actions, responses): about 10 bytes a transition.

    Observations are rebuilt from the world's start states by the state's transition rule, and masks by the
    environment's own rule, all steps of a sampled session together, exactly as the simulator made them.

    Args:
        world: the world. options: the resolved options of the training environment (slates of 1).
        capacity: transitions. n: parallel environments.
    """

    def __init__(self, world: World, options: EnvOptions, capacity: int, n: int) -> None:
        self.world, self.options = world, options
        self.horizon = int(options.horizon or world.horizon_default)
        self.capacity = max(capacity // self.horizon, n)
        self.added = 0
        self.start_row = np.zeros(self.capacity, np.int32)
        self.length = np.zeros(self.capacity, np.int16)
        self.terminated = np.zeros(self.capacity, np.bool_)
        self.steps = _steps(self.capacity, self.horizon)
        self.open = _steps(n, self.horizon)
        self.low, self.high = bounds(world.spec, world.n_copies, "full")

    def __len__(self) -> int:
        """Sessions that can be sampled."""
        return min(self.added, self.capacity)

    @property
    def bytes_per_transition(self) -> float:
        """Memory taken for each transition of a session of full length."""
        arrays: list[NDArray[Any]] = [self.start_row, self.length, self.terminated, *self.steps.values()]
        return sum(a.nbytes for a in arrays) / (self.capacity * self.horizon)

    def add(self, at: Ints, action: Ints, click: Bools, purchase: Bools, reward: Floats) -> None:
        """What was done at step `at` (N,) of each of the N running sessions, and what came of it."""
        row = np.arange(len(at))
        self.open["action"][row, at] = action
        self.open["response"][row, at] = CLICKED * click + BOUGHT * purchase
        self.open["reward"][row, at] = reward

    def close(self, rows: Ints, start_row: Ints, length: Ints, terminated: Bools) -> None:
        """The running sessions `rows` (m,) have ended after `length` (m,) steps; they can be sampled from now on."""
        at = (self.added + np.arange(len(rows))) % self.capacity
        self.start_row[at], self.length[at], self.terminated[at] = start_row, length, terminated
        for name, array in self.steps.items():
            array[at] = self.open[name][rows]
        self.added += len(rows)

    def sample(self, n: int, rng: np.random.Generator, following: bool) -> Batch:
        """At least `n` transitions: all steps of as many sessions, drawn evenly, as that takes on average.

        Args:
            n: transitions. rng: draws the sessions. following: whether next observations and masks are wanted too.
        """
        mean = float(self.length[: len(self)].mean())
        drawn = rng.integers(len(self), size=max(int(np.ceil(n / mean)), 1))
        return self.rebuild(drawn, following)

    def rebuild(self, drawn: Ints, following: bool) -> Batch:
        """All transitions of the sessions in places `drawn` (m,), in the order (step, session)."""
        length, longest = self.length[drawn], int(self.length[drawn].max())
        steps = {name: array[drawn] for name, array in self.steps.items()}
        visits = Visits(self.world, self.options, self.start_row[drawn])
        shape = (longest + following, len(drawn))
        obs = np.empty((*shape, len(self.low)), np.float32)
        mask = np.empty((*shape, self.world.n_actions), np.bool_) if following else None
        for t in range(len(obs)):
            visits.observe(out=obs[t])
            if mask is not None:
                mask[t] = visits.masks.table
            if t + 1 < len(obs):
                visits.advance(steps["action"][:, t], steps["response"][:, t], length > t)
        np.clip(obs, self.low, self.high, out=obs)
        step, session = np.nonzero(np.arange(longest)[:, None] < length)
        action, reward = steps["action"][session, step].astype(np.int64), steps["reward"][session, step]
        if mask is None:
            return Batch(obs[step, session], action, reward)
        done = self.terminated[drawn][session] & (step == length[session] - 1)
        after = (step + 1, session)
        return Batch(obs[step, session], action, reward, obs[after], mask[after], done)


def _steps(rows: int, horizon: int) -> dict[str, NDArray[Any]]:
    kinds = {"action": np.int32, "response": np.uint8, "reward": np.float32}
    return {name: np.zeros((rows, horizon), kind) for name, kind in kinds.items()}


class Visits:
    """Sessions begun anew in the start states `rows` (m,), to be led through what happened in them."""

    def __init__(self, world: World, options: EnvOptions, rows: Ints) -> None:
        from recenv.env.masks import Masks

        self.world, self.options, self.every = world, options, np.arange(len(rows))
        self.state = world.start.state(world.spec, rows)
        self.now, self.context = world.start.clock[rows].copy(), world.start.context[rows]
        begin_session(self.state, self.every, self.now)
        self.masks = Masks(world, len(rows), options)
        self.masks.begin(self.every, rows)

    def observe(self, out: Floats | None = None) -> Floats:
        """(m, size) full observations, not clipped."""
        return observe(self.world.spec, self.state, self.every, self.now, self.context, "full", out)

    def advance(self, action: Ints, response: NDArray[np.uint8], live: Bools) -> None:
        """One slot, in the simulator's order of events; sessions that are not `live` (m,) stay as they are."""
        item, copy = self.world.action_item[action], self.world.action_copy[action]
        shown = live & (item >= 0)
        bought, clicked = (response & BOUGHT) > 0, (response & CLICKED) > 0
        for kind, happened in ((EXPOSURE, shown), (CLICK, shown & clicked), (PURCHASE, shown & bought)):
            who = np.flatnonzero(happened)
            if len(who):
                kinds = np.full(len(who), kind)
                apply(self.world.spec, self.state, who, item[who], kinds, self.now[who], copy[who])
        who = np.flatnonzero(shown)
        self.masks.shown(who, item[who])
        self.now[live] += int(self.options.seconds_per_slot or 0)
