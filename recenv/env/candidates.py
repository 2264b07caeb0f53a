"""Retrieval: the few actions worth a closer look, and what an ordinary network needs to know of each.

A pure function of (full observation, mask, world), shared by the wrappers and by the policies trained in them, so that
what is served retrieves as what was trained. It counts and does not ask the response model: first the items on offer
that the user's memory holds (by acts, then recency), then the popular ones (`world.item_rate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.observation import FEATURE_BOUND, layout
from recenv.response.features import CROSS, cross_from_full
from recenv.state import EXPOSURE, MAX_AGE, N_KINDS, Floats, Ints

if TYPE_CHECKING:
    from recenv.world import World

_KIND_WEIGHT = np.array([0.2, 0.5, 0.0, 0.3, 1.0], np.float32)
"""What an act of each kind (view, cart, exposure, click, purchase) counts for; a rank order, not a model."""
assert _KIND_WEIGHT[EXPOSURE] == 0.0


class Candidates:
    """k candidate actions a step, with features.

    A candidate is an action, item x copy: with V copies an item, k candidates are the k / V best items with all their
    copies side by side, or, with `copies_per_item`, more items with their first so many copies. Where fewer than k
    actions are allowed, the rest are padding: action 0 (show nothing), not valid.

    Args:
        world: gives catalogue, action table and rates. k: number of candidates.
        copies_per_item: at most so many copies of an item; all where None.

    Raises:
        InputError: k or copies_per_item below 1.
    """

    def __init__(self, world: World, k: int, copies_per_item: int | None = None) -> None:
        for name, value in (("k", k), ("copies_per_item", copies_per_item)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(name, f"{value!r}", "Give a whole number of 1 or more.")
        self.world, self.k = world, k
        self.full = layout(world.spec, "full")
        self.full_size = max(stop for _, stop in self.full.values())
        self.summary_size = max(stop for _, stop in layout(world.spec).values())
        number = np.arange(world.n_actions) - world.item_action_start[world.action_item]
        self._usable = np.ones(world.n_actions, bool) if copies_per_item is None else number < copies_per_item
        self._usable[0] = False
        self._width = np.diff(world.item_action_start)
        self._first = np.minimum(world.item_action_start[:-1], world.n_actions - 1)
        order = np.argsort(-world.item_rate, kind="stable")
        self._popularity = np.empty(world.n_items, np.float32)  # in (0, 1), by rank
        self._popularity[order] = 1.0 - (np.arange(world.n_items, dtype=np.float32) + 0.5) / world.n_items
        self._static = self._static_features()
        self.n_features = len(CROSS) + self._static.shape[1] + 1
        self.size = self.summary_size + k * self.n_features

    def _static_features(self) -> Floats:
        """(A, D + 1 + Fi + S): item vector, log-odds of its rate, item features, style one-hot; 0 for action 0."""
        world = self.world
        rate = np.clip(world.item_rate.astype(np.float64), 1e-6, 1 - 1e-6)
        odds = np.log(rate / (1 - rate)).astype(np.float32)
        of_item = np.concatenate([world.spec.item_vectors, odds[:, None], world.item_features], axis=1)
        styles = world.copy_effect.copy_style if world.copy_effect is not None else np.zeros(0, np.int32)
        names = () if world.copy_effect is None else world.copy_effect.styles
        style = np.zeros((world.n_actions, len(names)), np.float32)
        with_copy = np.flatnonzero(world.action_copy >= 0)
        if len(names):
            found = styles[world.action_copy[with_copy]]
            style[with_copy[found >= 0], found[found >= 0]] = 1.0
        table = np.concatenate([of_item[world.action_item], style], axis=1).astype(np.float32)
        table[0] = 0.0
        return table

    def item_scores(self, obs: Floats) -> Floats:
        """(n, n_items) order of retrieval from full observations (n, size): above 1 for items in memory."""
        n, memory = len(obs), self.world.spec.memory
        item = self._part(obs, "memory_item").astype(np.int64)
        counts = self._part(obs, "memory_counts").reshape(n, memory, N_KINDS)
        age = self._part(obs, "memory_age")
        mark = 1.0 + np.log1p((counts * _KIND_WEIGHT).sum(axis=2)) + 0.1 * (1.0 - age / np.float32(MAX_AGE))
        scores = np.empty((n, self.world.n_items + 1), np.float32)
        scores[:, :-1] = self._popularity
        # Empty slots (-1) write to the extra last column.
        np.put_along_axis(scores, item, mark.astype(np.float32), axis=1)
        return scores[:, :-1]

    def _part(self, obs: Floats, name: str) -> Floats:
        start, stop = self.full[name]
        return obs[:, start:stop]

    def retrieve(self, obs: Floats, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Candidate actions (n, k), 0 for padding, and which are valid (n, k).

        Args:
            obs: (n, size) full observations. mask: (n, A) allowed actions.

        Raises:
            InputError: wrong shapes, or a NaN or infinite observation.
        """
        self._check(obs, mask)
        usable = mask & self._usable
        on_offer = np.logical_or.reduceat(usable, self._first, axis=1) & (self._width > 0)
        scores = np.where(on_offer, self.item_scores(obs), np.float32(-1.0))
        items = _top(scores, min(self.k, scores.shape[1]))
        number = np.arange(max(int(self._width.max()), 1))
        inside = number < self._width[items][:, :, None]
        action = np.where(inside, self._first[items][:, :, None] + number, 0).reshape(len(obs), -1)
        found = inside.reshape(len(obs), -1) & np.take_along_axis(usable, action, axis=1)
        place = np.cumsum(found, axis=1) - 1
        row, column = np.nonzero(found & (place < self.k))
        actions, marks = np.zeros((len(obs), self.k), np.int64), np.zeros((len(obs), self.k), bool)
        actions[row, place[row, column]] = action[row, column]
        marks[row, place[row, column]] = True
        return actions, marks

    def _check(self, obs: Floats, mask: NDArray[np.bool_]) -> None:
        if obs.ndim != 2 or obs.shape[1] != self.full_size:
            raise InputError("obs", f"shape {obs.shape}", f"Give full observations (n, {self.full_size}).")
        if mask.shape != (len(obs), self.world.n_actions):
            raise InputError("mask", f"shape {mask.shape}", f"Give ({len(obs)}, {self.world.n_actions}).")
        if not np.isfinite(obs).all():
            raise InputError("obs", "a NaN or infinity", "Give finite observations.")

    def observation(self, obs: Floats, actions: Ints, valid: NDArray[np.bool_]) -> Floats:
        """(n, size) float32: the summary, then for each candidate [cross features, item vector, log-odds of its rate,
        item features, style one-hot, valid], 0 for padding; clipped to the bounds."""
        n = len(obs)
        item = np.maximum(self.world.action_item[actions], 0)
        result = np.zeros((n, self.k, self.n_features), np.float32)
        result[:, :, : len(CROSS)] = cross_from_full(self.world.spec, obs, item)
        result[:, :, len(CROSS) : -1] = self._static[actions]
        result[:, :, -1] = 1.0
        result[~valid] = 0.0
        np.clip(result, -FEATURE_BOUND, FEATURE_BOUND, out=result)
        return np.concatenate([obs[:, : self.summary_size], result.reshape(n, -1)], axis=1)

    def describe(self, obs: Floats, mask: NDArray[np.bool_]) -> Floats:
        """(n, size) float32: `observation` of what `retrieve` finds."""
        return self.observation(obs, *self.retrieve(obs, mask))

    def mask(self, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n, k) candidates that may be chosen: the valid ones; the first one (show nothing) where there is none."""
        result = valid.copy()
        result[~valid.any(axis=1), 0] = True
        return result

    def bounds(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Bounds (size,) of `observation`, from those of the full observation."""
        more = np.full(self.k * self.n_features, FEATURE_BOUND, np.float32)
        lower, upper = low[: self.summary_size], high[: self.summary_size]
        return np.concatenate([lower, -more]), np.concatenate([upper, more])


def _top(scores: Floats, take: int) -> NDArray[np.int64]:
    """Indices (n, take) of the largest, in descending order, ties by index; as a stable sort, without sorting all."""
    kth = -np.partition(-scores, take - 1, axis=1)[:, take - 1 : take]
    above, equal = scores > kth, scores == kth
    room = take - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= room))
    index: NDArray[Any] = np.nonzero(chosen)[1].reshape(len(scores), take)
    order = np.argsort(-np.take_along_axis(scores, index, axis=1), axis=1, kind="stable")
    return np.take_along_axis(index, order, axis=1)
