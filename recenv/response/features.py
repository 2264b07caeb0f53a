"""Cross features of (user state, candidate item): what this user has had to do with this item and its category.

Derived only from what the observation of mode `full` holds: a policy can know all that the response model knows.
Everything is element-wise, a comparison or a sum along one short axis: results do not depend on how many pairs are
handled together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.observation import age, decayed, layout, log_count
from recenv.state import (
    CART,
    CLICK,
    EXPOSURE,
    KINDS,
    MAX_AGE,
    N_KINDS,
    NEVER,
    PURCHASE,
    VIEW,
    Floats,
    Ints,
    StateSpec,
    UserState,
)

CROSS: tuple[str, ...] = (
    *(f"item_{kind}" for kind in KINDS),
    "item_known",
    "item_age",
    "item_behind_last_act",
    "item_rate",
    "item_log_rate",
    "item_act_rate",
    "item_share_of_category",
    *(f"category_{kind}" for kind in KINDS),
    "category_age",
    "category_log_rate",
    "category_share",
    *(f"interest_{kind}" for kind in KINDS),
    "shown_in_session",
    "acted_in_session",
    "category_shown_in_session",
    "shown_lately",
)
N_CROSS = len(CROSS)

_PRIOR = 0.05
"""Pseudo-count of the log rates: what a user who never bought it counts as having bought."""
_BLOCK = 4096
_ACTS = [VIEW, CART, CLICK, PURCHASE]


@dataclass
class _Pairs:
    """What n pairs see, gathered; counts are raw, ages log hours. Shapes (n, 5) or (n,)."""

    counts: Floats
    item_age: Floats
    category_counts: Floats
    category_age: Floats
    totals: Floats
    log_sessions: Floats
    last_act: Floats
    interest: Floats
    in_session: Floats


def cross_features(spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64], item: Ints) -> Floats:
    """Features of n pairs of a user and an item, named by `CROSS`.

    Args:
        spec: the world's specification. state: N users.
        rows: (n,) users, may repeat (cheapest where repeats stand together). now: (n,) int64 seconds.
        item: (n,) catalogue index.

    Returns:
        (n, F) float32, F = len(CROSS). Rates are purchases per session begun; `item_behind_last_act` is the age of the
        item's last touch less that of the user's last act, 0 for what was touched last.
    """
    rows, item = np.asarray(rows), np.asarray(item)
    now = np.broadcast_to(np.asarray(now, np.int64), rows.shape)
    out = np.empty((len(rows), N_CROSS), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = _features(_from_state(spec, state, rows[part], now[part], item[part]))
    return out


def cross_from_full(spec: StateSpec, obs_full: Floats, item: Ints) -> Floats:
    """The same features from full observations (n, size) for m items of each: item (n, m) -> (n, m, F) float32."""
    item = np.asarray(item)
    n, m = item.shape
    out = np.empty((n, m, N_CROSS), np.float32)
    users = max(1, 8 * _BLOCK // max(m, 1))
    for start in range(0, n, users):
        part = slice(start, start + users)
        flat = _features(_from_full(spec, obs_full[part], item[part]))
        out[part] = flat.reshape(-1, m, N_CROSS)
    return out


def _from_state(spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64], item: Ints) -> _Pairs:
    first, group = _runs(rows, now)
    user, at = rows[first], now[first]
    slot, known = _search(state.memory_item, rows, item)
    category = spec.item_category[item]
    position = state.recent_n[user][:, None] - 1 - np.arange(spec.recent)
    take = (user[:, None], position % spec.recent)
    _, interest = decayed(spec, state, user, at)
    return _Pairs(
        counts=np.where(known[:, None], state.memory_counts[rows, slot], np.float32(0.0)),
        item_age=age(now, np.where(known, state.memory_time[rows, slot], NEVER)),
        category_counts=state.category_counts[rows, category],
        category_age=age(now, state.category_time[rows, category]),
        totals=state.totals[user][group],
        log_sessions=log_count(state.sessions[user].astype(np.float32))[group],
        last_act=age(at[:, None], state.last_time[user][:, _ACTS]).min(axis=1)[group],
        interest=_dots(interest, group, spec.item_vectors[item]),
        in_session=_recent(
            spec,
            state.recent_item[take],
            state.recent_kind[take],
            position >= state.session_mark[user][:, None],
            group,
            item,
        ),
    )


def _from_full(spec: StateSpec, obs: Floats, item: Ints) -> _Pairs:
    n, m = item.shape
    at = layout(spec, "full")
    group, flat = np.repeat(np.arange(n), m), item.reshape(-1)

    def part(name: str, *shape: int) -> Floats:
        start, stop = at[name]
        return np.ascontiguousarray(obs[:, start:stop]).reshape(n, *shape)

    slot, known = _search_dense(spec, part("memory_item", spec.memory).astype(np.int32), item)
    category = spec.item_category[flat]
    counts = part("memory_counts", spec.memory, N_KINDS)[group, slot]
    ages = part("ages", N_KINDS)
    session = part("session", -1)
    return _Pairs(
        counts=np.where(known[:, None], counts, np.float32(0.0)),
        item_age=np.where(known, part("memory_age", spec.memory)[group, slot], np.float32(MAX_AGE)),
        category_counts=part("category_counts", spec.n_categories, N_KINDS)[group, category],
        category_age=part("category_age", spec.n_categories)[group, category],
        totals=np.expm1(part("totals", N_KINDS))[group],
        log_sessions=np.ascontiguousarray(session[:, 1])[group],
        last_act=ages[:, _ACTS].min(axis=1)[group],
        interest=_dots(part("interest", N_KINDS, spec.vector_dim), group, spec.item_vectors[flat]),
        in_session=_recent(
            spec,
            part("recent_item", spec.recent).astype(np.int32),
            part("recent_kind", spec.recent).astype(np.int32),
            part("recent_in_session", spec.recent) > 0.5,
            group,
            flat,
        ),
    )


def _features(pairs: _Pairs) -> Floats:
    """(n, F) in the order of `CROSS`."""
    counts, category = pairs.counts, pairs.category_counts
    bought, of_category = counts[:, PURCHASE], category[:, PURCHASE]
    known = pairs.item_age < np.float32(MAX_AGE)
    one = np.float32(1.0)
    sessions = np.exp(pairs.log_sessions.astype(np.float64))
    acts = counts[:, VIEW] + counts[:, CART] + counts[:, CLICK]
    out = np.empty((len(counts), N_CROSS), np.float32)
    out[:, :5] = log_count(counts)
    out[:, 5] = known
    out[:, 6] = pairs.item_age
    out[:, 7] = pairs.item_age - pairs.last_act
    out[:, 8] = bought / (one + sessions)
    out[:, 9] = _log(bought) - pairs.log_sessions
    out[:, 10] = acts / (one + sessions)
    out[:, 11] = bought / (one + of_category)
    out[:, 12:17] = log_count(category)
    out[:, 17] = pairs.category_age
    out[:, 18] = _log(of_category) - pairs.log_sessions
    out[:, 19] = of_category / (one + pairs.totals[:, PURCHASE])
    out[:, 20:25] = pairs.interest
    out[:, 25:29] = pairs.in_session
    return out


def _log(count: Floats) -> Floats:
    return np.log(np.ascontiguousarray(count, np.float64) + _PRIOR).astype(np.float32)


def _runs(rows: Ints, now: NDArray[np.int64]) -> tuple[Ints, Ints]:
    """First index of each run of equal (row, now), and the run of each pair."""
    if len(rows) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    fresh = np.concatenate([[True], (rows[1:] != rows[:-1]) | (now[1:] != now[:-1])])
    return np.flatnonzero(fresh), np.cumsum(fresh) - 1


def _search(memory_item: NDArray[np.int32], rows: Ints, item: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """(n,) memory slot of each item and whether it is there."""
    match = memory_item[rows] == item[:, None]
    slot = match.argmax(axis=1)
    return slot, match[np.arange(len(rows)), slot]


def _search_dense(spec: StateSpec, memory_item: NDArray[np.int32], item: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The same for (n, m) items of each user, by a table over the catalogue where that is the smaller one."""
    n, m = item.shape
    group = np.repeat(np.arange(n), m)
    if m * spec.memory <= spec.n_items:
        return _search(memory_item, group, item.reshape(-1))
    # One column more than items: empty slots (-1) write there.
    table = np.full((n, spec.n_items + 1), -1, np.int32)
    np.put_along_axis(table, memory_item.astype(np.int64), np.arange(spec.memory, dtype=np.int32)[None], axis=1)
    slot = table[group, item.reshape(-1)]
    return np.maximum(slot, 0), slot >= 0


def _dots(interest: Floats, group: Ints, vectors: Floats) -> Floats:
    """(n, 5) inner products of each kind's interest with the item's vector, one kind at a time to stay in cache."""
    out = np.empty((len(group), N_KINDS), np.float32)
    for kind in range(N_KINDS):
        out[:, kind] = (np.ascontiguousarray(interest[:, kind])[group] * vectors).sum(axis=1)
    return out


def _recent(
    spec: StateSpec, recent_item: Ints, recent_kind: Ints, in_session: NDArray[np.bool_], group: Ints, item: Ints
) -> Floats:
    """(n, 4): item shown, item acted on in this session; log counts of its category shown in it, of it shown lately."""
    known = recent_item >= 0
    shown = known & (recent_kind == EXPOSURE)
    out = np.zeros((len(group), 4), np.float32)
    if not known.any():
        return out
    same = recent_item[group] == item[:, None]
    here, exposures = (in_session & known)[group], shown[group]
    out[:, 0] = (same & exposures & here).any(axis=1)
    out[:, 1] = (same & ~exposures & here).any(axis=1)
    of_category = np.where(known, spec.item_category[recent_item], -1)[group] == spec.item_category[item][:, None]
    out[:, 2] = log_count((of_category & exposures & here).sum(axis=1, dtype=np.float32))
    out[:, 3] = log_count((same & exposures).sum(axis=1, dtype=np.float32))
    return out


def treatment(shown: NDArray[Any], exposure: Floats, unshown: Floats) -> Floats:
    """(n, 1 + E) float32 [shown, exp_*]: `exposure` (n, E) where shown (n,), `unshown_exposure` of it elsewhere."""
    flag = np.asarray(shown, bool)
    values = np.where(flag[:, None], np.asarray(exposure, np.float32), unshown_exposure(exposure, unshown))
    return np.concatenate([flag[:, None].astype(np.float32), values], axis=1)


def unshown_exposure(exposure: Floats, unshown: Floats) -> Floats:
    """exp_* that items shown with `exposure` would have had, had they not been shown.

    Args:
        exposure: (n, E) values if shown. unshown: (E,) declared values, NaN for a column that is no part of being shown
            (a price cut, say): there the item keeps its own value, so that its effect is none of showing.

    Returns:
        (n, E) float32, finite where `exposure` is.
    """
    declared, own = np.asarray(unshown, np.float32), np.asarray(exposure, np.float32)
    return np.where(np.isnan(declared), own, declared)
