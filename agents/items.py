"""Policies that rank items and leave the copy to chance: from item scores or item weights to actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import BasePolicy, Bools, Floats

if TYPE_CHECKING:
    from recenv.world import World


class ActionTable:
    """The world's action table by item: which items are allowed, and item probabilities spread over copies."""

    def __init__(self, world: World) -> None:
        self.n_items, self.n_actions = world.n_items, world.n_actions
        self.item = world.action_item.astype(np.int64)
        self.start = world.item_action_start
        # One action for each item, in item order: then item and action tables are the same but for action 0.
        self.single = self.n_actions == self.n_items + 1

    def allowed_items(self, mask: Bools) -> Bools:
        """(n, n_items) items with at least one allowed action, from the mask (n, A)."""
        return mask[:, 1:] if self.single else self.copies(mask) > 0

    def copies(self, mask: Bools) -> NDArray[np.int64]:
        """(n, n_items) number of allowed actions of each item."""
        if self.single:
            return mask[:, 1:].astype(np.int64)
        running = np.cumsum(mask, axis=1, dtype=np.int64)  # (n, A)
        return running[:, self.start[1:] - 1] - running[:, self.start[:-1] - 1]

    def spread(self, items: Floats, mask: Bools) -> Floats:
        """(n, A): each item's probability (n, n_items) shared evenly by its allowed actions."""
        share = items / np.maximum(self.copies(mask), 1)
        result = np.zeros(mask.shape, np.float32)
        result[:, 1:] = np.where(mask[:, 1:], share[:, self.item[1:]], 0.0)
        return result


class ItemPolicy(BasePolicy):
    """A policy that has an idea of items and none of copies: the copy is drawn evenly among the item's allowed ones.

    Nothing (action 0) is shown only where no item is allowed. A subclass gives `weights`.
    """

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self.table = ActionTable(world)

    def weights(self, obs: Floats, allowed: Bools) -> Floats:
        """(n, n_items) weights >= 0, not normalised; those of items that are not allowed are ignored."""
        raise NotImplementedError

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        """(n, A): item weights within the mask, normalised; evenly over allowed items where all their weights are 0."""
        allowed = self.table.allowed_items(mask)
        weights = np.where(allowed, np.asarray(self.weights(obs, allowed), np.float64), 0.0)
        total = weights.sum(axis=1, keepdims=True)
        weights = np.where(total > 0, weights, allowed)
        total = weights.sum(axis=1, keepdims=True)
        items = weights / np.where(total > 0, total, 1.0)
        result = self.table.spread(items.astype(np.float32), mask)
        result[total[:, 0] == 0, 0] = 1.0
        return result


class BestItemPolicy(ItemPolicy):
    """Shows the allowed item of the highest score; among equals the first in the catalogue's order."""

    def scores(self, obs: Floats, allowed: Bools) -> NDArray[Any]:
        """(n, n_items) finite scores."""
        raise NotImplementedError

    def weights(self, obs: Floats, allowed: Bools) -> Floats:
        scores = np.where(allowed, self.scores(obs, allowed), -np.inf)
        result = np.zeros(scores.shape, np.float32)
        result[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
        return result
