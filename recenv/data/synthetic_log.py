"""The log of a synthetic shop: sessions under its logging policy, and what users do of their own accord."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.data.synthetic_shop import SyntheticOptions
from recenv.data.true_values import draw
from recenv.data.truth import TRAIT, Sessions, Truth, leave_chance

START = 1_704_067_200
"""1 January 2024, UTC."""
SECONDS_PER_SLOT = 60
_DAY = 86_400
_TASTE_SHARPNESS = 3.0
_VISIT_RATE, _CART_RATE = 0.3, 0.2
Columns = dict[str, NDArray[Any]]


def simulate(truth: Truth, options: SyntheticOptions) -> pd.DataFrame:
    """Events of all users, as `RawTables` wants them; same truth and options, same rows."""
    rng = np.random.default_rng([options.seed, 6])
    user, begin, number = session_times(truth.n_users, options, rng)
    parts = _recommended(truth, options, user, begin, number, rng)
    if options.acts:
        parts.append(_browsing(truth, user, begin, number, rng))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    price = np.round(np.exp(truth.log_price), 2)[columns["item"]]
    kind = columns["kind"].astype(object)
    answered = np.isin(kind, ("impression", "opportunity"))
    return pd.DataFrame(
        {
            "user_id": truth.user_id[columns["user"]],
            "item_id": truth.item_id[columns["item"]],
            "session_id": columns["session"],
            "timestamp": pd.to_datetime(columns["time"], unit="s", utc=True),
            "kind": kind,
            "position": pd.array(np.where(columns["slot"] > 0, columns["slot"], 0), dtype="Int32"),
            "propensity": columns["propensity"],
            "click": np.where(answered, columns["click"], np.nan).astype(np.float32),
            "purchase": np.where(answered, columns["purchase"], np.nan).astype(np.float32),
            "revenue": np.where(answered | (kind == "purchase"), columns["purchase"] * price, np.nan).astype(
                np.float32
            ),
            "weight": np.ones(len(kind), np.float32),
        }
    ).assign(position=lambda table: table["position"].where(table["position"] > 0))


def session_times(
    n_users: int, options: SyntheticOptions, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """User, first second and number (from 0) of each session; at most one a day, between 8 and 18 o'clock."""
    count = np.clip(rng.poisson(options.sessions, n_users), 1, options.days)
    days = np.argsort(rng.random((n_users, options.days)), axis=1)
    keep = np.arange(options.days) < count[:, None]
    chosen = np.sort(np.where(keep, days, options.days), axis=1)
    user, number = np.nonzero(chosen < options.days)
    moment = rng.integers(8 * 3600, 18 * 3600, size=len(user))
    return user, START + chosen[user, number] * _DAY + moment, number


def _part(kind: str, session: NDArray[Any], user: Any, item: Any, time: Any, **known: Any) -> Columns:
    """Columns of m rows; slot 0, propensity NaN and no response unless `known`."""
    m = len(user)
    part: Columns = {
        "kind": np.full(m, kind), "session": session, "user": user, "item": item, "time": time,
        "slot": np.zeros(m, np.int64), "propensity": np.full(m, np.nan), "click": np.zeros(m), "purchase": np.zeros(m),
    }  # fmt: skip
    return part | {name: np.asarray(values, part[name].dtype) for name, values in known.items()}


def _recommended(
    truth: Truth,
    options: SyntheticOptions,
    user: NDArray[np.int64],
    begin: NDArray[np.int64],
    number: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[Columns]:
    """Sessions with recommendations, all at once, slot by slot."""
    sessions = Sessions(truth, user)
    name = np.array([f"{u}-{k:03d}" for u, k in zip(truth.user_id[user], number)])
    live, parts = np.arange(len(user)), []
    for slot in range(options.slots):
        now, rows = sessions.take(live), np.arange(len(live))
        chance = truth.propensities(now.user, now.shown)
        item = draw(chance, rng)
        what = now.chances(rows, item)
        u = rng.random((3, len(live)))
        click = u[0] < what.click
        purchase = click & (u[1] < what.purchase)
        ids = (name[live], user[live])
        time = begin[live] + slot * SECONDS_PER_SLOT
        known = {
            "slot": np.full(len(live), slot + 1),
            "propensity": chance[rows, item],
            "click": click,
            "purchase": purchase,
        }
        parts.append(_part("impression", *ids, item, time, **known))
        held = _held_back(chance, item, options, rng)
        parts += _own_accord(now, item, held, options, ids, time, slot + 1, rng)
        sessions.observe(live, item, click, purchase)
        live = live[u[2] >= leave_chance(what.leave_logit, click, purchase)]
        if not len(live):
            break
    return parts


def _held_back(
    chance: NDArray[np.float64], item: NDArray[np.int64], options: SyntheticOptions, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(n, ghosts) items that the logging policy drew after the one shown, and that were not shown."""
    left = chance.copy()
    rows = np.arange(len(item))
    left[rows, item] = 0.0
    held = np.zeros((len(item), options.ghosts if options.opportunities else 0), np.int64)
    for g in range(held.shape[1]):
        held[:, g] = draw(left, rng)
        left[rows, held[:, g]] = 0.0
    return held


def _own_accord(
    now: Sessions,
    item: NDArray[np.int64],
    held: NDArray[np.int64],
    options: SyntheticOptions,
    ids: tuple[NDArray[Any], NDArray[np.int64]],
    time: NDArray[np.int64],
    slot: int,
    rng: np.random.Generator,
) -> list[Columns]:
    """What users do with items that are not shown in this slot: rows of those held back, acts on the others."""
    rows = np.arange(len(item))
    own = now.table(shown=False)
    u = rng.random((2, *own.click.shape), dtype=np.float32)
    click = u[0] < own.click
    purchase = click & (u[1] < own.purchase)
    session, user = ids
    parts = []
    for g in range(held.shape[1]):
        ghost = held[:, g]
        known = {"slot": np.full(len(item), slot), "click": click[rows, ghost], "purchase": purchase[rows, ghost]}
        parts.append(_part("opportunity", session, user, ghost, time, **known))
    if options.acts:
        click[rows, item] = False
        click[rows[:, None], held] = False
        who, what = np.nonzero(click)
        later = time[who] + 20
        parts.append(_part("view", session[who], user[who], what, later))
        who, what = np.nonzero(click & purchase)
        bought = {"purchase": np.ones(len(who))}
        parts.append(_part("purchase", session[who], user[who], what, time[who] + 40, **bought))
    return parts


def _browsing(
    truth: Truth,
    user: NDArray[np.int64],
    begin: NDArray[np.int64],
    number: NDArray[np.int64],
    rng: np.random.Generator,
) -> Columns:
    """Evening visits without recommendations: one to three views each, some of them ending in the cart."""
    chosen = np.flatnonzero(rng.random(len(user)) < _VISIT_RATE)
    visit = np.repeat(chosen, rng.integers(1, 4, size=len(chosen)))
    order = np.arange(len(visit)) - np.searchsorted(visit, visit)
    liking = truth.taste[user[visit]] @ truth.factor.T + TRAIT * np.outer(truth.trait[user[visit]], truth.prestige)
    weight = np.exp(_TASTE_SHARPNESS * (liking + truth.quality))
    item = draw(weight / weight.sum(axis=1, keepdims=True), rng)
    time = begin[visit] // _DAY * _DAY + 20 * 3600 + order * 90
    session = np.array([f"{u}-{k:03d}e" for u, k in zip(truth.user_id[user[visit]], number[visit])], dtype=str)
    carted = np.flatnonzero(rng.random(len(visit)) < _CART_RATE)
    views = _part("view", session, user[visit], item, time)
    carts = _part("cart", session[carted], user[visit][carted], item[carted], time[carted] + 30)
    return {name: np.concatenate([views[name], carts[name]]) for name in views}
