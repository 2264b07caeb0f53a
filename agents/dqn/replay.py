"""Replay: a plain ring of observations, and one of episodes that keeps next to nothing and rebuilds the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recenv.observation import bounds, observe
from recenv.state import CLICK, EXPOSURE, PURCHASE, Floats, Ints, StateSpec, UserState, apply, begin_session

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

    Observations are rebuilt by the world's start states and the state's transition rule, all steps of a sampled session
    together, exactly as the simulator made them. What was masked at the start of a session is the start row's matter;
    within it, only what was shown is masked in addition (where repeats are forbidden).

    Args:
        world: the world. options: the resolved options of the training environment (slates of 1).
        capacity: transitions. n: parallel environments.
    """

    def __init__(self, world: World, options: EnvOptions, capacity: int, n: int) -> None:
        from recenv.env.masks import Masks

        self.world, self.options, self.horizon = world, options, int(options.horizon or 1)
        self.capacity = max(capacity // self.horizon, n)
        shape = (self.capacity, self.horizon)
        self.start_row = np.zeros(self.capacity, np.int32)
        self.length = np.zeros(self.capacity, np.int16)
        self.terminated = np.zeros(self.capacity, np.bool_)
        self.action = np.zeros(shape, np.int32)
        self.response = np.zeros(shape, np.uint8)
        self.reward = np.zeros(shape, np.float32)
        self.open = np.arange(n)
        self.closed, self.next = n, n
        self._masks = Masks
        low, high = bounds(world.spec, world.n_copies, "full")
        self.low, self.high = low, high
