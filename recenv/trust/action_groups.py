"""Groups of alike actions, in which marginalised IPS (`mips`) takes the group's chance in place of the action's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recenv.core.errors import InputError
from recenv.trust.decisions import Actions, Ints
from recenv.trust.ope.large_actions import group_actions
from recenv.world import World

SEED = 0
"""Of the k-means starts: the same groups whatever the seed of the evaluation."""


@dataclass(frozen=True)
class Groups:
    """Args:
    of: (A,) int64 group of each action, 0 .. G - 1. how: what they were made of, in words.
    """

    of: Ints
    how: str


def groups_of(world: World, actions: Actions, clusters: int) -> Groups:
    """Groups of a log's actions: items alike, with copies of one style; showing nothing is a group of its own.

    Args:
        clusters: 0 groups items by their category, 2 or more by k-means on their vectors into so many.

    Raises:
        InputError: `clusters` 1, below 0, or above the number of items.
    """
    if isinstance(clusters, bool) or clusters < 0 or clusters == 1 or clusters > world.n_items:
        what = f"{clusters} is no number of groups of {world.n_items} items"
        raise InputError("option groups", what, "Give 2 or more, at most one an item; or 0 for the items' categories.")
    if clusters:
        of_item, how = group_actions(world.spec.item_vectors, clusters, SEED), "k-means on the items' vectors"
    else:
        names = np.array([str(name) for name in world.items["category"].to_pylist()])
        of_item, how = np.unique(names, return_inverse=True)[1].reshape(-1), "the items' categories"
    item = world.action_item.astype(np.int64) if actions.copies else np.arange(-1, world.n_items)
    style = np.zeros(len(item), np.int64)
    if actions.copies:
        how += " and the copies' styles"
        styles = np.array([str(name) for name in world.copies["style"].to_pylist()])
        number = np.append(np.unique(styles, return_inverse=True)[1].reshape(-1), -1)  # copy -1: none
        style = number[world.action_copy] + 1
    key = np.stack([np.where(item < 0, -1, of_item[item]), style])
    of = np.unique(key, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return Groups(of, f"{of.max() + 1} groups of {len(of)} actions, by {how}")
