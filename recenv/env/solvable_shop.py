"""A shop small enough to be solved exactly, in which only a policy that plans does well.

Three segments of users, four items (one made for each segment, and a bestseller), two copies of each: one sells
now, one feeds the interest from which later sales come. Selling wears interest out, and bored users leave.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.core.rng import STREAMS, uniform
from recenv.env.mdp import Array, FiniteMDP

SEGMENTS, LEVELS, ITEMS = 3, 4, 4
LASTS = ITEMS + 1
"""The item shown last, or none."""
N_ACTIONS = 1 + 2 * ITEMS
"""0 shows nothing; 1 + 2 * item sells the item, 2 + 2 * item feeds interest in it."""
KERNEL_STATES = SEGMENTS * LEVELS * LASTS
FEATURES = SEGMENTS + LEVELS + LASTS + 1
HORIZON = 12

MATCH, OTHER, BESTSELLER = 0, 1, 2
APPEAL = (0.8, 0.02, 0.5)
"""P(purchase) of the selling copy at full interest, by how the item fits the user's segment."""
LEVEL = (0.5, 0.65, 0.8, 1.0)
"""Factor on the purchase by level of interest."""
REPEAT = 0.8
"""Factor on purchase and on gained interest when the item was the last one shown."""
FEED_SALE = 0.1
"""Factor on the purchase under the copy that feeds interest."""
GAIN = (0.7, 0.05, 0.4)
LOSS = (0.2, 0.7, 0.2)
LEAVE_SELL = (0.10, 0.05, 0.03, 0.02)
LEAVE_CALM = 0.02
LEAVE_REPEAT = 1.5
START_SEGMENT = (0.4, 0.3, 0.3)
START_LEVEL = (0.2, 0.5, 0.3, 0.0)


def _state(segment: int, level: int, last: int) -> int:
    return (segment * LEVELS + level) * LASTS + last


def _fit(segment: int, item: int) -> int:
    return BESTSELLER if item == ITEMS - 1 else MATCH if item == segment else OTHER


@cache
def kernel() -> tuple[Array, Array]:
    """One step without the clock: P(next) (60, 9, 61), the last column being 'left', and P(purchase) (60, 9)."""
    move, buy = np.zeros((KERNEL_STATES, N_ACTIONS, KERNEL_STATES + 1)), np.zeros((KERNEL_STATES, N_ACTIONS))
    for segment, level, last in product(range(SEGMENTS), range(LEVELS), range(LASTS)):
        s = _state(segment, level, last)
        move[s, 0, KERNEL_STATES], move[s, 0, _state(segment, level, ITEMS)] = LEAVE_CALM, 1.0 - LEAVE_CALM
        for item, feed in product(range(ITEMS), (False, True)):
            a, fit = 1 + 2 * item + feed, _fit(segment, item)
            tired = REPEAT if item == last else 1.0
            buy[s, a] = APPEAL[fit] * LEVEL[level] * tired * (FEED_SALE if feed else 1.0)
            leave = (LEAVE_CALM if feed else LEAVE_SELL[level]) * (LEAVE_REPEAT if item == last else 1.0)
            change = GAIN[fit] * tired if feed else LOSS[fit]
            moved = min(level + 1, LEVELS - 1) if feed else max(level - 1, 0)
            move[s, a, KERNEL_STATES] = leave
            move[s, a, _state(segment, moved, item)] += (1.0 - leave) * change
            move[s, a, _state(segment, level, item)] += (1.0 - leave) * (1.0 - change)
    for array in (move, buy):
        array.setflags(write=False)
    return move, buy


@cache
def _cumulative() -> Array:
    total = np.cumsum(kernel()[0], axis=2)
    total[..., -1] = 1.0
    return total


@cache
def shop(horizon: int = HORIZON) -> FiniteMDP:
    """The whole decision process: state = step * 60 + (segment, level, last), and one last state for the end.

    At the default horizon the transition array is (721, 9, 721) float64, 37 MB; it is made once.
    """
    check_horizon(horizon)
    move, buy = kernel()
    end = horizon * KERNEL_STATES
    transition = np.zeros((end + 1, N_ACTIONS, end + 1))
    for step in range(horizon):
        rows = slice(step * KERNEL_STATES, (step + 1) * KERNEL_STATES)
        transition[rows, :, end] = move[..., -1]
        if step + 1 < horizon:
            transition[rows, :, rows.stop : rows.stop + KERNEL_STATES] = move[..., :-1]
        else:
            transition[rows, :, end] = 1.0
    transition[end, :, end] = 1.0
    start = np.zeros(end + 1)
    start[:KERNEL_STATES] = _start()
    return FiniteMDP(transition, np.vstack([np.tile(buy, (horizon, 1)), np.zeros((1, N_ACTIONS))]), start)


@cache
def _start() -> Array:
    start = np.zeros(KERNEL_STATES)
    for segment, level in product(range(SEGMENTS), range(LEVELS)):
        start[_state(segment, level, ITEMS)] = START_SEGMENT[segment] * START_LEVEL[level]
    return start


def check_horizon(horizon: int) -> None:
    if isinstance(horizon, bool) or not isinstance(horizon, int) or not 2 <= horizon <= 20:
        raise InputError("horizon", f"{horizon!r}", "Give a whole number from 2 to 20.")


def features(state: NDArray[np.int64], step: NDArray[np.int64], horizon: int) -> NDArray[np.float32]:
    """Observations (n, 13) float32 of states (n,) at steps (n,): one-hot segment, level, last; step / horizon."""
    result = np.zeros((len(state), FEATURES), np.float32)
    n = np.arange(len(state))
    result[n, state // (LEVELS * LASTS)] = 1.0
    result[n, SEGMENTS + state // LASTS % LEVELS] = 1.0
    result[n, SEGMENTS + LEVELS + state % LASTS] = 1.0
    result[:, -1] = step / horizon
    return result


class Users:
    """n users moved on in step; environment i draws its numbers under the key (seed, index + i, episode, step)."""

    def __init__(self, n: int, first_index: int, horizon: int) -> None:
        self.horizon = horizon
        self.index = first_index + np.arange(n)
        self.seed = np.zeros(n, np.int64)
        self.episode = np.full(n, -1, np.int64)
        self.state = np.zeros(n, np.int64)
        self.step = np.zeros(n, np.int64)

    def draw(self, stream: str, rows: NDArray[np.int64]) -> Array:
        key = (self.seed[rows], self.index[rows], self.episode[rows], self.step[rows])
        return np.asarray(uniform(*key, STREAMS[stream]))

    def reset(self, rows: NDArray[np.int64]) -> None:
        self.episode[rows] += 1
        self.step[rows] = 0
        edges = np.cumsum(_start())[:-1]
        self.state[rows] = np.searchsorted(edges, self.draw("start", rows), side="right")

    def move(self, rows: NDArray[np.int64], action: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
        """Purchases (n,) float64 and ends (n,) bool. A user who has left keeps the state in which he left."""
        state = self.state[rows]
        bought = (self.draw("purchase", rows) < kernel()[1][state, action]).astype(np.float64)
        target = (self.draw("leave", rows)[:, None] >= _cumulative()[state, action]).sum(axis=1)
        left = target == KERNEL_STATES
        self.state[rows] = np.where(left, state, target)
        self.step[rows] += 1
        return bought, left | (self.step[rows] >= self.horizon)

    def observe(self) -> NDArray[np.float32]:
        return features(self.state, self.step, self.horizon)
