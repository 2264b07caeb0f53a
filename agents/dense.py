"""The response model over the whole catalogue at once: the same numbers as pair by pair, at a fraction of the time.

Nearly all items of a catalogue are unknown to a user: their cross features are the same but for category and interest.
So those are filled in by category and by one matrix product, and the few items in memory and recent events are
overwritten. What user, item and cross features add to the first layer is computed once for all treatments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recenv.observation import layout, log_count
from recenv.response.features import _ACTS, _PRIOR, CROSS, N_CROSS
from recenv.response.recent import Recent
from recenv.state import EXPOSURE, MAX_AGE, N_KINDS, PURCHASE, Floats, StateSpec

if TYPE_CHECKING:
    from recenv.response.forward import ResponseForward
    from recenv.world import World

_USERS = 8
"""Users handled together: their tables stay in the cache."""
_COLUMN = {name: k for k, name in enumerate(CROSS)}
_ITEM = slice(0, 12)
_CATEGORY = slice(12, 20)
_INTEREST = slice(20, 25)


class DenseResponse:
    """Logits of a world's response model for every item of the catalogue.

    Args:
        world: its response model and specification are used.
    """

    def __init__(self, world: World) -> None:
        self.spec, self.forward = world.spec, world.response
        self.slices = layout(world.spec, "full")
        self.vectors = np.ascontiguousarray(world.spec.item_vectors.T)

    def logits(self, obs: Floats, treatments: Sequence[Floats]) -> list[Floats]:
        """Uncalibrated logits (n, n_items, heads) under each treatment (1 + E,), from full observations (n, size)."""
        parts = [self._logits(obs[at : at + _USERS], treatments) for at in range(0, len(obs), _USERS)]
        return [np.concatenate(part) for part in zip(*parts)]

    def _logits(self, obs: Floats, treatments: Sequence[Floats]) -> list[Floats]:
        f = self.forward
        z = self.cross(obs)
        np.clip(z, f.pair_low[:N_CROSS], f.pair_high[:N_CROSS], out=z)
        z -= f.pair_mean[:N_CROSS]
        u = f.user_vectors(full_inputs(f, self.spec, obs))
        first = z @ f.head_pair[:N_CROSS]
        first += f.item_tower @ (u[:, :, None] * f.head_product)  # (n, n_items, hidden1)
        first += f.item_hidden
        first += (u @ f.head_user)[:, None]
        straight = z @ f.skip_pair[:N_CROSS] + f.item_skip + f.head_b3
        if f.encoder is not None:
            straight += f.item_tower @ (u[:, :, None] * f.encoder_product)
        return [self._head(first, straight, treatment) for treatment in treatments]

    def _head(self, first: Floats, straight: Floats, treatment: Floats) -> Floats:
        f = self.forward
        t = np.clip(treatment, f.pair_low[N_CROSS:], f.pair_high[N_CROSS:]) - f.pair_mean[N_CROSS:]
        h = first + t @ f.head_pair[N_CROSS:]
        np.maximum(h, 0, out=h)
        h = h @ f.head_w2
        h += f.head_b2
        np.maximum(h, 0, out=h)
        return np.asarray(h @ f.head_w3 + straight + t @ f.skip_pair[N_CROSS:], np.float32)

    def part(self, obs: Floats, name: str, *shape: int) -> Floats:
        """The named slice, (n, *shape)."""
        start, stop = self.slices[name]
        return np.ascontiguousarray(obs[:, start:stop]).reshape(len(obs), *shape)

    def cross(self, obs: Floats) -> Floats:
        """(n, n_items, F) cross features of every item; equal to `cross_from_full`."""
        out = np.empty((len(obs), self.spec.n_items, N_CROSS), np.float32)
        log_sessions = self.part(obs, "session", -1)[:, 1]
        last_act = self.part(obs, "ages", N_KINDS)[:, _ACTS].min(axis=1)
        self._unknown(out, log_sessions, last_act)
        of_category = self._categories(out, obs, log_sessions)
        interest = self.part(obs, "interest", N_KINDS, self.spec.vector_dim)
        out[:, :, _INTEREST] = (interest @ self.vectors).transpose(0, 2, 1)
        self._remembered(out, obs, log_sessions, last_act, of_category)
        self._recent(out, obs)
        return out

    def _unknown(self, out: Floats, log_sessions: Floats, last_act: Floats) -> None:
        """What an item has that the user never acted on."""
        out[:, :, _ITEM] = 0.0
        out[:, :, _COLUMN["item_age"]] = MAX_AGE
        out[:, :, _COLUMN["item_behind_last_act"]] = (np.float32(MAX_AGE) - last_act)[:, None]
        out[:, :, _COLUMN["item_log_rate"]] = (_log(np.zeros(1, np.float32)) - log_sessions)[:, None]

    def _categories(self, out: Floats, obs: Floats, log_sessions: Floats) -> Floats:
        """Fill in the category's columns; returns purchases by category (n, C)."""
        counts = self.part(obs, "category_counts", self.spec.n_categories, N_KINDS)
        bought = counts[:, :, PURCHASE]
        block = np.empty((*counts.shape[:2], 8), np.float32)
        block[:, :, :5] = log_count(counts)
        block[:, :, 5] = self.part(obs, "category_age", self.spec.n_categories)
        block[:, :, 6] = _log(bought) - log_sessions[:, None]
        total = np.expm1(self.part(obs, "totals", N_KINDS)[:, PURCHASE])
        block[:, :, 7] = bought / (np.float32(1.0) + total[:, None])
        out[:, :, _CATEGORY] = block[:, self.spec.item_category]
        return bought

    def _remembered(
        self, out: Floats, obs: Floats, log_sessions: Floats, last_act: Floats, of_category: Floats
    ) -> None:
        """Overwrite the items that the user's memory holds."""
        items = self.part(obs, "memory_item", self.spec.memory).astype(np.int64)
        user, slot = np.nonzero(items >= 0)
        item = items[user, slot]
        counts = self.part(obs, "memory_counts", self.spec.memory, N_KINDS)[user, slot]
        age = self.part(obs, "memory_age", self.spec.memory)[user, slot]
        bought = counts[:, PURCHASE]
        sessions = 1.0 + np.exp(log_sessions.astype(np.float64))[user]
        known = np.empty((len(item), 12), np.float32)
        known[:, :5] = log_count(counts)
        known[:, 5] = age < np.float32(MAX_AGE)
        known[:, 6] = age
        known[:, 7] = age - last_act[user]
        known[:, 8] = bought / sessions
        known[:, 9] = _log(bought) - log_sessions[user]
        known[:, 10] = (counts[:, _ACTS].sum(axis=1) - bought) / sessions
        known[:, 11] = bought / (np.float32(1.0) + of_category[user, self.spec.item_category[item]])
        out[user, item, _ITEM] = known

    def _recent(self, out: Floats, obs: Floats) -> None:
        """Fill in what was shown and done lately."""
        n, spec = len(obs), self.spec
        out[:, :, 25:] = 0.0
        items = self.part(obs, "recent_item", spec.recent).astype(np.int64)
        user, slot = np.nonzero(items >= 0)
        item = items[user, slot]
        shown = self.part(obs, "recent_kind", spec.recent)[user, slot] == EXPOSURE
        here = self.part(obs, "recent_in_session", spec.recent)[user, slot] > 0.5
        for column, which in (("shown_in_session", shown & here), ("acted_in_session", ~shown & here)):
            out[user[which], item[which], _COLUMN[column]] = 1.0
        of_category = np.zeros((n, spec.n_categories), np.float32)
        np.add.at(of_category, (user[shown & here], spec.item_category[item[shown & here]]), np.float32(1.0))
        if of_category.any():
            out[:, :, _COLUMN["category_shown_in_session"]] = log_count(of_category)[:, spec.item_category]
        key, times = np.unique(user[shown] * spec.n_items + item[shown], return_counts=True)
        lately = log_count(times.astype(np.float32))
        out[key // spec.n_items, key % spec.n_items, _COLUMN["shown_lately"]] = lately


def full_inputs(forward: ResponseForward, spec: StateSpec, obs: Floats) -> Floats:
    """(n, U + H) inputs of the response model's user tower, from full observations (n, size)."""
    recent = None if forward.encoder is None else Recent.of_full(spec, obs)
    return forward.user_inputs(obs[:, : forward.summary_dim], recent)


def _log(count: NDArray[np.float32]) -> Floats:
    return np.log(count.astype(np.float64) + _PRIOR).astype(np.float32)
