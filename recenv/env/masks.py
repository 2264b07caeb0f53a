"""Which actions are allowed: what is on offer, less what was shown in this session and what rules exclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recenv.env.options import EnvOptions
from recenv.env.prepared import prepared
from recenv.state import Ints

if TYPE_CHECKING:
    from recenv.world import World


class Masks:
    """(N, A) marks of allowed actions, kept up to date instead of rebuilt; action 0 (show nothing) always is.

    Args:
        world: gives offers and the action table. n: number of parallel sessions. options: resolved options.
    """

    def __init__(self, world: World, n: int, options: EnvOptions) -> None:
        self.world = world
        self.logged = options.candidates == "logged"
        self.forbid = options.repeats == "forbid"
        self.support = options.support
        self.allowed_items = np.ones(world.n_items, bool)
        if options.exclude:
            excluded = set(options.exclude)
            self.allowed_items[[i in excluded for i in world.items.column("item_id").to_pylist()]] = False
        self.table = np.zeros((n, world.n_actions), bool)
        self.everything = self.allowed_items[world.action_item]
        self.everything[0] = True

    def begin(self, rows: Ints, start_rows: Ints) -> None:
        """New sessions of `rows` (n,) in `start_rows` (n,)."""
        if not self.logged and not self.support:
            self.table[rows] = self.everything
            return
        # One column more than items, for action 0 (item -1).
        allowed = np.ones((len(rows), self.world.n_items + 1), bool)
        allowed[:, :-1] = offered(self.world, start_rows) & self.allowed_items if self.logged else self.allowed_items
        if self.support:
            allowed[:, :-1] &= supported(self.world, start_rows, allowed[:, :-1], self.support)
        self.table[rows] = allowed[:, self.world.action_item]

    def shown(self, rows: Ints, items: Ints) -> None:
        """Items (n,) were shown in `rows` (n,): not again in this session, where repeats are forbidden."""
        if not self.forbid:
            return
        start = self.world.item_action_start
        width = start[items + 1] - start[items]
        if not len(rows):
            return
        if (width == width[0]).all():
            self.table[rows[:, None], start[items][:, None] + np.arange(width[0])] = False
            return
        for row, item in zip(rows, items):
            self.table[row, start[item] : start[item + 1]] = False

    def allows(self, actions: Ints) -> NDArray[np.bool_]:
        """(N, k) whether each action (N, k) is allowed now; showing nothing is, whatever the table says."""
        return self.table[np.arange(len(actions))[:, None], actions] | (actions == 0)


def offered(world: World, start_rows: Ints) -> NDArray[np.bool_]:
    """(n, n_items) marks of what was on offer in the visits of these start states (n,)."""
    start = world.start
    first, last = start.offer_ptr[start_rows], start.offer_ptr[start_rows + 1]
    count = last - first
    row = np.repeat(np.arange(len(start_rows)), count)
    source = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    result = np.zeros((len(start_rows), world.n_items), bool)
    result[row, start.offer_item[source]] = True
    return result


def supported(world: World, start_rows: Ints, offer: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """(n, n_items) items that the logged policy shows with probability `least` or more, among what is on offer.

    The probability is `world.logged_rates` of the user's segment, divided by its sum over `offer` (n, n_items).
    """
    rate = world.logged_rates[prepared(world).segment[start_rows]].astype(np.float64)
    total = (rate * offer).sum(axis=1, keepdims=True)
    return np.asarray(rate >= least * total)
