"""Item-based nearest neighbours: show what goes with what the user has acted on.

Similarities are computed from the memories of the world's training start states (binary: acted on or not); c_ij is the
number of users with both items, n_i with item i, N of all users:

    cosine   s_ij = c_ij / sqrt(n_i n_j)
    Pearson  s_ij = (c_ij - n_i n_j / N) / sqrt(n_i (1 - n_i / N) n_j (1 - n_j / N))

Sarwar, Karypis, Konstan and Riedl, "Item-based collaborative filtering recommendation algorithms", WWW 2001, section
3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recenv.agents.base import Bools, Floats
from recenv.agents.baselines import popularity
from recenv.agents.items import BestItemPolicy
from recenv.core.errors import InputError
from recenv.state import EXPOSURE, N_KINDS, PURCHASE

if TYPE_CHECKING:
    from recenv.world import World

_BLOCK = 512


TIE = 1e-4
"""Weight of popularity between items of one similarity: small, but not lost in the served graph's float32."""


@dataclass(frozen=True)
class KNNConfig:
    """Settings of the nearest-neighbour policies.

    Args:
        neighbours: similar items kept for each item.
        shrink: pseudo-users added to the denominator, against similarities from few users.
        own: similarity of an item with itself: 1 where repeat purchases are to count, 0 for new items only.
    """

    neighbours: int = 100
    shrink: float = 5.0
    own: float = 1.0

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.shrink < 0 or self.own < 0:
            raise InputError("item-knn options", f"{self}", "Give neighbours >= 1, shrink >= 0 and own >= 0.")


class KNNPolicy(BestItemPolicy):
    """score_i = sum over the user's items j of log(1 + count_j) s_ji; ties, and empty memories, by popularity."""

    config_class = KNNConfig
    measure = ""

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self.popularity = popularity(world) * TIE
        self.similarity = similarities(user_items(world), self.measure, self.config)

    def scores(self, obs: Floats, allowed: Bools) -> NDArray[Any]:
        item = self.part(obs, "memory_item").astype(np.int64)
        counts = self.part(obs, "memory_counts").reshape(*item.shape, N_KINDS)
        acts = acts_of(counts)
        user, slot = np.nonzero(item >= 0)
        shape = (len(obs), self.world.n_items)
        history = sparse.csr_matrix((np.log1p(acts[user, slot]), (user, item[user, slot])), shape=shape)
        return np.asarray((history @ self.similarity).toarray(), np.float64) + self.popularity


class CosinePolicy(KNNPolicy):
    """`item-knn-cosine`."""

    name = "item-knn-cosine"
    measure = "cosine"


class PearsonPolicy(KNNPolicy):
    """`item-knn-pearson`."""

    name = "item-knn-pearson"
    measure = "pearson"


def acts_of(counts: Floats) -> NDArray[np.float64]:
    """(..., ) acts in counts by kind (..., 5): exposures are none, a purchase counts twice."""
    return np.asarray(counts.sum(axis=-1, dtype=np.float64) - counts[..., EXPOSURE] + counts[..., PURCHASE])


def user_items(world: World) -> sparse.csr_matrix:
    """(users, n_items) float64, 1 where a training start state's memory holds the item; each user's last state only."""
    acts = user_acts(world)
    acts.data = np.ones(len(acts.data))
    return acts


def user_acts(world: World) -> sparse.csr_matrix:
    """(users, n_items) float64 acts on each item that the memory of a user's last training start state holds."""
    start = world.start
    rows = start.of_split("train")
    order = np.lexsort((start.clock[rows], start.user[rows]))
    rows = rows[order]
    rows = rows[np.append(start.user[rows][1:] != start.user[rows][:-1], True)]
    blocks = []
    for at in range(0, len(rows), _BLOCK):
        state = start.state(world.spec, rows[at : at + _BLOCK])
        user, slot = np.nonzero(state.memory_item >= 0)
        acts = acts_of(state.memory_counts[user, slot])
        item = state.memory_item[user, slot]
        blocks.append(sparse.csr_matrix((acts, (user, item)), shape=(len(state.memory_item), world.n_items)))
    return sparse.csr_matrix(sparse.vstack(blocks))


def similarities(users: sparse.csr_matrix, measure: str, config: KNNConfig) -> sparse.csr_matrix:
    """(n_items, n_items) float64: positive similarities, the `neighbours` greatest a row, `own` on the diagonal."""
    n = users.shape[0]
    together = sparse.coo_matrix(users.T @ users)
    count = np.asarray(users.sum(axis=0)).ravel()
    i, j, both = together.row, together.col, together.data.astype(np.float64)
    if measure == "cosine":
        value = both / (np.sqrt(count[i] * count[j]) + config.shrink)
    else:
        spread = count * (1.0 - count / n)
        value = (both - count[i] * count[j] / n) / (np.sqrt(spread[i] * spread[j]) + max(config.shrink, 1e-12))
    keep = (value > 0) & (i != j)
    i, j, value = i[keep], j[keep], value[keep]
    order = np.lexsort((j, -value, i))
    i, j, value = i[order], j[order], value[order]
    first = np.searchsorted(i, np.arange(users.shape[1]))
    kept = np.arange(len(i)) - first[i] < config.neighbours
    matrix = sparse.csr_matrix((value[kept], (i[kept], j[kept])), shape=(users.shape[1],) * 2)
    return sparse.csr_matrix(matrix + config.own * sparse.identity(users.shape[1], format="csr"))
