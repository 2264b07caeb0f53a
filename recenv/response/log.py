"""A data set's events as integer arrays, ready to be replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core import rng
from recenv.data.columns import EVENT_KINDS, SPLITS
from recenv.data.schema import Dataset, clock
from recenv.response.features import treatment
from recenv.state import CART, CLICK, EXPOSURE, PURCHASE, VIEW

IMPRESSION, OPPORTUNITY = EVENT_KINDS.index("impression"), EVENT_KINDS.index("opportunity")
LATE_CLICK, LATE_PURCHASE = len(EVENT_KINDS), len(EVENT_KINDS) + 1
"""Kinds of rows added where a response came later than its impression: they move the state on at their own time."""
_STAND_INS = 16
_OWN_ACTS = {
    EVENT_KINDS.index("view"): VIEW,
    EVENT_KINDS.index("cart"): CART,
    EVENT_KINDS.index("purchase"): PURCHASE,
    LATE_CLICK: CLICK,
    LATE_PURCHASE: PURCHASE,
}


@dataclass
class Log:
    """n events of some users, sorted by (user, time, session, kind, item).

    Args:
        user: (n,) int32, number among `user_id`. item: (n,) int32, catalogue index. kind: (n,) int8, index into
            `EVENT_KINDS`, or `LATE_CLICK`, `LATE_PURCHASE`. time: (n,) int64 seconds. session: (n,) int64, number in
            the whole data set.
        copy: (n,) int32, -1 where none. click, purchase, leave, revenue: (n,) float32, NaN = not recorded.
        click_now, purchase_now: (n,) bool, responses that move the state on at the row's own time.
        weight: (n,) float32. split: (n,) int8, index into `SPLITS`. treat: (n, 1 + E) float32, [shown, exp_*].
        context: (n, C) float32. user_id: (U,) str. observed: whether exposures were observed rather than derived.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    time: NDArray[np.int64]
    session: NDArray[np.int64]
    copy: NDArray[np.int32]
    click: NDArray[np.float32]
    purchase: NDArray[np.float32]
    click_now: NDArray[np.bool_]
    purchase_now: NDArray[np.bool_]
    leave: NDArray[np.float32]
    revenue: NDArray[np.float32]
    weight: NDArray[np.float32]
    split: NDArray[np.int8]
    treat: NDArray[np.float32]
    context: NDArray[np.float32]
    user_id: NDArray[np.str_]
    observed: bool

    @property
    def n_users(self) -> int:
        return len(self.user_id)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(n,) impressions."""
        return self.kind == IMPRESSION

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) rows that carry a response: impressions and opportunities."""
        return (self.kind == IMPRESSION) | (self.kind == OPPORTUNITY)

    def state_events(self) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Rows and state kinds (`recenv.state.KINDS`) of the events that move the state on.

        An impression is an exposure (where exposures were observed), then its click, then its purchase; a response to
        an opportunity counts likewise, without exposure. A response that came later counts when it came: else rows in
        between would know it beforehand.
        """
        rows, kinds = [], []

        def add(mask: NDArray[np.bool_], kind: int) -> None:
            found = np.flatnonzero(mask)
            rows.append(found)
            kinds.append(np.full(len(found), kind, np.int8))

        if self.observed:
            add(self.shown, EXPOSURE)
        add(self.scored & self.click_now, CLICK)
        add(self.scored & self.purchase_now, PURCHASE)
        for kind, act in _OWN_ACTS.items():
            add(self.kind == kind, act)
        return np.concatenate(rows), np.concatenate(kinds)


def encode_log(dataset: Dataset, item_ids: list[str], user_ids: NDArray[np.str_], copy_ids: list[str]) -> Log:
    """Events of the given users as arrays.

    Args:
        dataset: checked tables. item_ids, copy_ids: in index order. user_ids: sorted, the users wanted.
    """
    user = _codes(dataset.events["user_id"], list(user_ids))
    mine = np.flatnonzero(user >= 0)
    item = _codes(dataset.events["item_id"], item_ids)[mine]
    mine, item, nothing = _nothing_shown(mine, item, len(item_ids))
    events = dataset.events.iloc[mine]
    exp = [c for c in events.columns if c.startswith("exp_")]
    ctx = [c for c in events.columns if c.startswith("ctx_")]
    unshown = np.array([dataset.meta["exp_unshown"].get(c) or 0.0 for c in exp], np.float32)
    kind = np.where(nothing, np.int8(OPPORTUNITY), _categories(events["kind"], EVENT_KINDS))
    exposure = events[exp].to_numpy(np.float32)
    # A product that is not on show keeps its own exp_* where they were logged (a discount, say).
    treat = treatment(np.ones(len(events), bool), np.where(np.isnan(exposure), unshown, exposure), unshown)
    treat[:, 0] = kind == IMPRESSION
    click, purchase = (events[name].to_numpy(np.float32) for name in ("click", "purchase"))
    late = {name: _late(events, name) for name in ("click", "purchase")}
    log = Log(
        user=user[mine].astype(np.int32),
        item=item.astype(np.int32),
        kind=kind,
        time=clock(events, dataset.meta),
        session=session_numbers(dataset)[mine],
        copy=np.where(nothing, -1, _codes(events["copy_id"], copy_ids)).astype(np.int32),
        click=click,
        purchase=purchase,
        click_now=(click == 1.0) & (late["click"] == 0) & ~nothing,
        purchase_now=(purchase == 1.0) & (late["purchase"] == 0) & ~nothing,
        leave=np.full(len(events), np.nan, np.float32),
        revenue=events["revenue"].to_numpy(np.float32),
        weight=events["weight"].to_numpy(np.float32) / np.where(nothing, min(len(item_ids), _STAND_INS), 1),
        split=_categories(events["split"], SPLITS),
        treat=treat,
        context=np.nan_to_num(events[ctx].to_numpy(np.float32)),
        user_id=user_ids,
        observed=dataset.meta["exposure"] == "observed",
    )
    log = _sorted(_with_late(log, late["click"], late["purchase"]))
    log.session = _carried(log.session)
    log.leave = _leave(log)
    return log


def _nothing_shown(
    rows: NDArray[np.int64], item: NDArray[np.int64], n_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Rows, items and marks, where a row of showing nothing (item -1) stands for `_STAND_INS` items not shown then.

    What people do when nothing is shown is what they do when item i is not shown: the row becomes an opportunity of
    each of up to 16 items, drawn by the row's number, with a 16th of its weight. Its response belongs to no item and
    moves no state on.
    """
    k = min(n_items, _STAND_INS)
    blank = item < 0
    start = (rng.uniform(23, rows) * n_items).astype(np.int64)
    stand_ins = (start[blank][:, None] + np.arange(k)) % n_items
    repeats = np.where(blank, k, 1)
    out = np.repeat(item, repeats)
    marks = np.repeat(blank, repeats)
    out[marks] = stand_ins.reshape(-1)
    return np.repeat(rows, repeats), out, marks


def session_numbers(dataset: Dataset) -> NDArray[np.int64]:
    """(rows,) number of each event's session, counted over the whole data set."""
    codes, _ = pd.factorize(dataset.events["user_id"].astype(str) + "\x1f" + dataset.events["session_id"].astype(str))
    return codes.astype(np.int64)


def slots(log: Log) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Slots of the log (moments with an impression): first row of each, its session, and its number in the session."""
    rows = np.flatnonzero(log.shown)
    key = np.stack([log.user[rows], log.session[rows], log.time[rows]])
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
    first = rows[fresh]
    session = log.session[first]
    begins = np.ones(len(first), bool)
    begins[1:] = session[1:] != session[:-1]
    start = np.maximum.accumulate(np.where(begins, np.arange(len(first)), 0))
    return first, session, np.arange(len(first)) - start


def _leave(log: Log) -> NDArray[np.float32]:
    """1 where a session ended after this slot; NaN where exposures are not observed, sessions hold one slot, or the
    session had reached the log's longest length (then it may have been cut off)."""
    leave = np.full(len(log.user), np.nan, np.float32)
    if not log.observed:
        return leave
    first, session, number = slots(log)
    if not len(first) or number.max() == 0:
        return leave
    last = np.ones(len(first), bool)
    last[:-1] = session[1:] != session[:-1]
    of_slot = np.where(number == number.max(), np.float32(np.nan), last.astype(np.float32))
    rows = np.flatnonzero(log.shown)
    leave[rows] = of_slot[np.searchsorted(first, rows, side="right") - 1]
    return leave


def _late(events: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """(n,) whole seconds by which a positive response came later than its row; 0 elsewhere."""
    delay = np.nan_to_num(events[f"{name}_delay"].to_numpy(np.float64))
    return np.where(events[name].to_numpy() == 1.0, delay, 0.0).astype(np.int64)


def _with_late(log: Log, click_late: NDArray[np.int64], purchase_late: NDArray[np.int64]) -> Log:
    """The log with one row more for each response that came later: at its own time, its session still unknown (-1)."""
    parts = [log]
    for late, kind in ((click_late, LATE_CLICK), (purchase_late, LATE_PURCHASE)):
        part = _take(log, np.flatnonzero(late > 0))
        part.time = part.time + late[late > 0]
        part.kind = np.full(len(part.kind), kind, np.int8)
        part.session = np.full(len(part.kind), -1, np.int64)
        for name in ("click", "purchase", "leave", "revenue"):
            setattr(part, name, np.full(len(part.kind), np.nan, np.float32))
        parts.append(part)
    joined: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _row_columns(log)}
    return replace(log, **joined)


def _carried(session: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sessions with each -1 replaced by the one before: a late response begins no session."""
    known = np.maximum.accumulate(np.where(session >= 0, np.arange(len(session)), 0))
    return session[known]


def _row_columns(log: Log) -> list[str]:
    return [name for name, value in vars(log).items() if isinstance(value, np.ndarray) and name != "user_id"]


def _take(log: Log, rows: NDArray[np.int64]) -> Log:
    taken: dict[str, Any] = {name: getattr(log, name)[rows] for name in _row_columns(log)}
    return replace(log, **taken)


def _codes(values: pd.Series, levels: list[str]) -> NDArray[np.int64]:
    return pd.Index(levels, dtype="object").get_indexer(pd.Index(values.astype("object")))


def _categories(values: pd.Series, levels: tuple[str, ...]) -> NDArray[np.int8]:
    return np.asarray(pd.Categorical(values, categories=list(levels)).codes, np.int8)


def _sorted(log: Log) -> Log:
    return _take(log, np.lexsort((log.item, log.kind, log.session, log.time, log.user)))
