"""Policies without training: what the shop did, chance, and counting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import Bools, Floats
from recenv.agents.items import BestItemPolicy, ItemPolicy
from recenv.core.errors import InputError
from recenv.state import CART, CLICK, MAX_AGE, N_KINDS, PURCHASE, VIEW

if TYPE_CHECKING:
    from recenv.world import World


class LoggedPolicy(ItemPolicy):
    """What the shop did: P(item | segment) as fitted from the logs, within the mask, renormalised.

    The user's segment is that of the nearest centroid to the profile in the observation. What the logs never showed to
    a segment gets no probability, unless nothing else is allowed (then evenly). The logs do not tell copies: evenly.
    """

    name = "logged"

    def weights(self, obs: Floats, allowed: Bools) -> Floats:
        return self.world.logged_rates[self.world.segment_of(self.part(obs, "profile"))]


class RandomPolicy(ItemPolicy):
    """Any allowed item with equal probability, then any of its allowed copies."""

    name = "random"

    def weights(self, obs: Floats, allowed: Bools) -> Floats:
        return allowed.astype(np.float32)


def popularity(world: World) -> NDArray[np.float64]:
    """(n_items,) logged response rate of each item, scaled into [0, 1): breaks ties between whole-number scores."""
    rate = world.item_rate.astype(np.float64)
    return np.asarray(rate / (1.0 + rate.max(initial=0.0)))


class PopularPolicy(BestItemPolicy):
    """The allowed item of the highest logged response rate when shown (shrunk to the mean): not personal."""

    name = "popular"

    def scores(self, obs: Floats, allowed: Bools) -> NDArray[Any]:
        return np.broadcast_to(self.world.item_rate, allowed.shape)


class MemoryPolicy(BestItemPolicy):
    """Shared by policies that rank what the user acted on before; the rest follows by popularity."""

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self.popularity = popularity(world)

    def memory_score(self, counts: Floats, age: Floats) -> NDArray[np.float64]:
        """Scores (n, M), above 0 for items to be preferred, of counts (n, M, 5) and ages (n, M) in log hours."""
        raise NotImplementedError

    def scores(self, obs: Floats, allowed: Bools) -> NDArray[Any]:
        item = self.part(obs, "memory_item").astype(np.int64)
        counts = self.part(obs, "memory_counts").reshape(*item.shape, N_KINDS)
        scores = np.tile(self.popularity, (len(obs), 1))
        user, slot = np.nonzero(item >= 0)
        scores[user, item[user, slot]] += self.memory_score(counts, self.part(obs, "memory_age"))[user, slot]
        return scores


@dataclass(frozen=True)
class PersonalPopularConfig:
    """Settings of `personal-popular`.

    Args:
        click_weight: how many purchases a click, view or cart counts as.
    """

    click_weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.click_weight <= 1.0:
            raise InputError("personal-popular option click_weight", f"{self.click_weight}", "Give a number in [0, 1].")


class PersonalPopularPolicy(MemoryPolicy):
    """The allowed item that this user bought most often (clicks, views and carts count a little).

    score = purchases + click_weight * (clicks + views + carts); ties, and users without history, by popularity.
    """

    name = "personal-popular"
    config_class = PersonalPopularConfig

    def memory_score(self, counts: Floats, age: Floats) -> NDArray[np.float64]:
        acts = counts[..., [CLICK, VIEW, CART]].sum(axis=-1, dtype=np.float64)
        # Times 1,000, so that popularity (below 1) only breaks ties whatever the weight.
        return 1_000.0 * (counts[..., PURCHASE] + self.config.click_weight * acts)


class LastSeenPolicy(MemoryPolicy):
    """The allowed item that this user acted on last (exposures do not count); without history by popularity."""

    name = "last-seen"

    def memory_score(self, counts: Floats, age: Floats) -> NDArray[np.float64]:
        return 1e6 * (1.0 + MAX_AGE - age.astype(np.float64))
