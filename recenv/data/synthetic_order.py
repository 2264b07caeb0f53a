"""A shop whose response depends on the ORDER of a user's last two acts, which no count and no decayed sum tells.

Categories stand in a ring of C (odd). A user's acts are views of his own accord and clicks; let a be the category of
the last act and b that of the one before, d = (a - b) mod C. Interest goes on in the direction in which it moved:

    next = a + 1 if 1 <= d <= (C - 1) / 2,   a - 1 if d > (C - 1) / 2,   a if d = 0            (all mod C)
    P(click | shown item of category c) = high if c = next, else low;   `low` for everybody with fewer than two acts

Swapping the last two acts turns the interest round: {a, b} is the same, the next category is not. Items are shown
uniformly at random, each once a session, so propensities are known and nothing confounds. Views are uniform too, so
that tastes, popularity and rates are flat: all that there is to learn is the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.schema import RawTables

START = 1_704_067_200
"""1 January 2024, UTC."""
_DAY, _VIEW_GAP, _SLOT = 86_400, 20, 60
_NAMES = ("kitchen", "garden", "books", "toys", "sports", "beauty", "pets", "office", "music", "travel", "food")


@dataclass(frozen=True)
class OrderOptions:
    """Options of the order-dependent shop.

    Args:
        users: number of users.
        items: number of items, the same number in each category as far as it goes.
        categories: number of categories C, odd, 3 to 11.
        sessions: sessions of each user, one a day at most.
        slots: exposures in a session.
        views: most views of the user's own accord before each exposure; their number is uniform from 0.
        high: P(click) of an item of the category where the user's interest goes next.
        low: P(click) of any other.
        days: length of the log.
        seed: of all draws.
    """

    users: int = 1500
    items: int = 70
    categories: int = 7
    sessions: int = 6
    slots: int = 8
    views: int = 2
    high: float = 0.6
    low: float = 0.06
    days: int = 90
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "users": (2, 10_000_000), "items": (2, 100_000), "categories": (3, len(_NAMES)), "sessions": (1, 1000),
            "slots": (1, 1000), "views": (1, 100), "high": (0.0, 1.0), "low": (0.0, 1.0), "days": (1, 10_000),
            "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for field in fields(self):
            given, (low, high) = getattr(self, field.name), limits[field.name]
            kinds = (int,) if field.type == "int" else (int, float)
            if isinstance(given, bool) or not isinstance(given, kinds) or not low <= given <= high:
                what = f"Give {field.type} in {limits[field.name]}."
                raise InputError(f"option {field.name!r}", f"is {given!r}", what)
        if self.categories % 2 == 0:
            raise InputError("option 'categories'", f"is {self.categories}", "Give an odd number.")
        if self.items < max(self.slots, self.categories):
            what = f"{self.items} items, {self.slots} slots, {self.categories} categories"
            raise InputError("option 'items'", what, "An item is shown once a session: take more items.")
        if self.days < self.sessions:
            raise InputError("option 'days'", f"{self.days} for {self.sessions} sessions", "Give a day a session.")


def ring_places(category: Sequence[str]) -> NDArray[np.int64]:
    """(n,) places in the ring of categories named as in the item table."""
    return np.array([_NAMES.index(name) for name in category], np.int64)


def next_category(last: NDArray[Any], before: NDArray[Any], categories: int) -> NDArray[np.int64]:
    """(n,) where interest goes after acts in the categories `before`, then `last`, (n,) each."""
    move = (last - before) % categories
    step = np.where(move == 0, 0, np.where(move <= (categories - 1) // 2, 1, -1))
    return np.asarray((last + step) % categories, np.int64)


def true_click(
    options: OrderOptions, user: NDArray[Any], moment: NDArray[Any], category: NDArray[Any], act: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(n,) the true P(click) of showing each row's item then, from the rows themselves.

    Args:
        user, moment: (n,) integers, by which the rows are sorted. category: (n,) ring place of each row's item.
        act: (n,) whether the row is an act (a view, an impression that was clicked). Rows of one moment do not know
            each other.
    """
    at = np.flatnonzero(act)
    # Acts strictly before each row's (user, moment).
    fresh = np.ones(len(user), bool)
    fresh[1:] = (user[1:] != user[:-1]) | (moment[1:] != moment[:-1])
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(user)), 0))
    known = np.searchsorted(at, first)
    begin = np.searchsorted(at, np.searchsorted(user, user))
    enough = known - begin >= 2
    acts = np.append(category[at], 0)
    last, before = acts[np.where(enough, known - 1, 0)], acts[np.where(enough, known - 2, 0)]
    there = enough & (next_category(last, before, options.categories) == category)
    return np.where(there, options.high, options.low)


def load(path: str | None = None, options: OrderOptions | None = None) -> RawTables:
    """Simulate the shop's log: impressions with their clicks and propensities, and views.

    Args:
        path: must be None; the source reads nothing. options: see `OrderOptions`.
    """
    if path is not None:
        raise InputError("path", f"{path!r}", "The source synthetic-order reads no files: leave the path out.")
    options = options or OrderOptions()
    rng = np.random.default_rng([options.seed, 71])
    category = np.arange(options.items) % options.categories
    return RawTables(
        events=_simulate(options, category, rng),
        items=_items(options, category, rng),
        users=pd.DataFrame({"user_id": _user_ids(options)}),
        meta=_meta(options),
        attributed=True,
    )


def _user_ids(options: OrderOptions) -> NDArray[np.str_]:
    return np.array([f"u{i:05d}" for i in range(options.users)])


def _items(options: OrderOptions, category: NDArray[np.int64], rng: np.random.Generator) -> pd.DataFrame:
    names = np.array(_NAMES)[category]
    return pd.DataFrame(
        {
            "item_id": [f"i{i:04d}" for i in range(options.items)],
            "text": [f"{name} piece {i}" for i, name in enumerate(names)],
            "category": names,
            "price": np.round(np.exp(rng.normal(2.5, 0.4, options.items)), 2),
        }
    )


def _simulate(options: OrderOptions, category: NDArray[np.int64], rng: np.random.Generator) -> pd.DataFrame:
    """All users side by side, slot by slot."""
    n, c = options.users, options.categories
    days = np.sort(np.argsort(rng.random((n, options.days)), axis=1)[:, : options.sessions], axis=1)
    last, before = np.full(n, -1), np.full(n, -1)
    everyone = np.arange(n)
    parts: list[dict[str, Any]] = []
    for session in range(options.sessions):
        clock = START + days[:, session] * _DAY + rng.integers(8 * 3600, 18 * 3600, n)
        shown = np.zeros((n, options.items), bool)
        for slot in range(1, options.slots + 1):
            for view in range(options.views):
                who = np.flatnonzero(rng.integers(0, options.views + 1, n) > view)
                item = rng.integers(0, options.items, len(who))
                parts.append({"kind": "view", "user": who, "session": session, "item": item, "time": clock[who]})
                before[who], last[who] = last[who], category[item]
                clock = clock + _VIEW_GAP
            item = np.where(shown, -1.0, rng.random(shown.shape)).argmax(axis=1)
            propensity = 1.0 / (options.items - shown.sum(axis=1))
            shown[everyone, item] = True
            going = (before >= 0) & (next_category(last, before, c) == category[item])
            click = rng.random(n) < np.where(going, options.high, options.low)
            answer = {"slot": slot, "propensity": propensity, "click": click.astype(np.float32)}
            row = {"kind": "impression", "user": everyone, "session": session, "item": item, "time": clock}
            parts.append(row | answer)
            before, last = np.where(click, last, before), np.where(click, category[item], last)
            clock = clock + _SLOT
    return _table(options, parts)


def _table(options: OrderOptions, parts: list[dict[str, Any]]) -> pd.DataFrame:
    def column(name: str, missing: float = np.nan) -> NDArray[Any]:
        return np.concatenate([np.broadcast_to(p.get(name, missing), len(p["user"])) for p in parts])

    user, session = column("user"), column("session")
    slot = pd.Series(pd.array(column("slot", 0), dtype="Int32"))
    return pd.DataFrame(
        {
            "user_id": _user_ids(options)[user],
            "item_id": np.array([f"i{i:04d}" for i in range(options.items)])[column("item")],
            "session_id": [f"u{u:05d}-{s:03d}" for u, s in zip(user, session)],
            "timestamp": pd.to_datetime(column("time"), unit="s", utc=True),
            "kind": column("kind").astype(object),
            "position": slot.where(slot > 0),
            "propensity": column("propensity"),
            "click": column("click").astype(np.float32),
        }
    )


def _meta(options: OrderOptions) -> dict[str, Any]:
    return {
        "name": "synthetic-order",
        "source": "synthetic-order",
        "licence": "MIT",
        "provenance": [f"simulated by recenv.data.synthetic_order: {options}"],
        "kind": "synthetic",
        "exposure": "observed",
        "propensity": "known",
        "negatives": "observed",
        "responses": ["click"],
        "time": "utc",
        "slots_per_visit": options.slots,
        "currency": "USD",
    }
