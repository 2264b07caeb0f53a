"""Joins clicks and purchases that are rows of their own to the impressions that they answer (last touch)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.data.options import BuildOptions
from recenv.data.quarantine import Quarantine


@dataclass(frozen=True)
class Plan:
    """Which responses come as rows of their own, and for how long an impression waits for them."""

    click: bool
    purchase: bool
    window: float

    @property
    def needed(self) -> bool:
        return self.click or self.purchase


def plan(events: pd.DataFrame, attributed: bool, options: BuildOptions) -> Plan:
    """A response is joined where the log has rows of it and no impression carries it already."""
    kind = events["kind"]
    shown = kind.isin(["impression", "opportunity"])
    click = not attributed and bool(kind.isin(options.click_kinds).any()) and not _recorded(events, shown, "click")
    buy = not attributed and bool((kind == "purchase").any()) and not _recorded(events, shown, "purchase")
    click, buy = click and bool((kind == "impression").any()), buy and bool(shown.any())
    window = max(options.click_window if click else 0.0, options.purchase_window if buy else 0.0)
    return Plan(click, buy, window)


def last_touch(
    key: NDArray[np.int64],
    time: NDArray[np.int64],
    rank: NDArray[np.float64],
    shown: NDArray[np.bool_],
    act: NDArray[np.bool_],
    window: float,
) -> NDArray[np.int64]:
    """For each row with `act`, the latest row with `shown`, the same key and 0 <= time(act) - time(shown) <= window.

    All arrays have shape (rows,). `key` stands for (user, item); `rank` is the position: of rows shown at one moment
    the lowest counts. Returns the row number found, or -1 (also where `act` is false): int64, shape (rows,).
    """
    found = np.full(len(key), -1, np.int64)
    touches, acts = np.flatnonzero(shown), np.flatnonzero(act)
    if not len(touches) or not len(acts):
        return found
    moments, moment = np.unique(time, return_inverse=True)
    order = np.lexsort((-rank[touches], moment[touches], key[touches]))
    touches = touches[order]
    place = key * len(moments) + moment
    last = np.searchsorted(place[touches], place[acts], side="right") - 1
    touch = touches[np.maximum(last, 0)]
    good = (last >= 0) & (key[touch] == key[acts]) & (time[acts] - time[touch] <= window)
    found[acts[good]] = touch[good]
    return found


def attribute(
    events: pd.DataFrame,
    time: NDArray[np.int64],
    key: NDArray[np.int64],
    until: NDArray[np.float64],
    how: Plan,
    options: BuildOptions,
    quarantine: Quarantine,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Write click, purchase, revenue and how much later they came onto the rows shown; take the joined rows out.

    An impression whose window is not over at `until` (float64, shape (rows,): the end of its split) or at the log's
    end is set aside, with the clicks on it; purchases that would have been joined to it stay the user's own acts. So
    does a purchase that answers no impression. The first act joined to an impression counts; a later click on the
    same one is set aside as a repeat, a later purchase stays an act. Returns the events left and counts for the meta.
    """
    kind = events["kind"].to_numpy(dtype=object)
    rank = events["position"].astype("float64").fillna(np.inf).to_numpy()
    impression, opportunity = kind == "impression", kind == "opportunity"
    shown = impression | opportunity
    over = time + how.window
    crosses, unfinished = shown & (over > until), shown & (over > time.max())
    open_window = crosses | unfinished
    reason = np.full(len(events), "", dtype=object)
    reason[unfinished] = "window_open_at_end"
    reason[crosses] = "window_crosses_split"
    counts: dict[str, int] = {}
    joined = np.zeros(len(events), bool)
    if how.click:
        act = np.isin(kind, list(options.click_kinds))
        target = last_touch(key, time, rank, impression, act, options.click_window)
        first, hit = _first(target, time), target >= 0
        lost = hit & open_window[target]
        events["click"] = _flags(events["click"], impression, target[first & ~lost])
        events["click_delay"] = _delays(time, target, first & ~lost)
        joined |= first & ~lost
        pure = kind == "click"
        reason[pure & ~hit] = "click_without_impression"
        reason[pure & lost] = "click_of_dropped_impression"
        reason[pure & hit & ~first & ~lost] = "repeated_click"
        counts["clicks_joined"] = int((first & ~lost).sum())
    if how.purchase:
        act = kind == "purchase"
        target = last_touch(key, time, rank, impression, act, options.purchase_window)
        late = last_touch(key, time, rank, opportunity, act & (target < 0), options.purchase_window)
        target = np.where(target < 0, late, target)
        keep = _first(target, time) & ~open_window[target]
        events["purchase"] = _flags(events["purchase"], shown, target[keep])
        events["purchase_delay"] = _delays(time, target, keep)
        events["revenue"] = _revenue(events["revenue"], shown, target[keep], np.flatnonzero(keep))
        joined |= keep
        counts["purchases_joined"] = int(keep.sum())
        counts["purchases_of_their_own"] = int((act & ~keep).sum())
    left = reason == ""
    return quarantine.sift(events, reason)[~joined[left]], counts


def _recorded(events: pd.DataFrame, shown: pd.Series, name: str) -> bool:
    return name in events and bool(events.loc[shown, name].notna().any())


def _first(target: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the earliest act of each target."""
    acts = np.flatnonzero(target >= 0)
    acts = acts[np.lexsort((acts, time[acts]))]
    first = np.zeros(len(target), bool)
    first[acts[np.unique(target[acts], return_index=True)[1]]] = True
    return first


def _flags(values: pd.Series, shown: NDArray[np.bool_], hit: NDArray[np.int64]) -> NDArray[np.float32]:
    flags = values.astype("float32").to_numpy(copy=True)
    flags[shown] = 0.0
    flags[hit] = 1.0
    return flags


def _delays(time: NDArray[np.int64], target: NDArray[np.int64], joined: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Seconds from being shown to the joined act, on the row shown; missing elsewhere."""
    delays = np.full(len(time), np.nan, np.float32)
    acts = np.flatnonzero(joined)
    delays[target[acts]] = time[acts] - time[target[acts]]
    return delays


def _revenue(
    values: pd.Series, shown: NDArray[np.bool_], hit: NDArray[np.int64], source: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Revenue of the joined purchase; 0 where nothing was bought; missing where the log has no revenue."""
    revenue = values.astype("float32").to_numpy(copy=True)
    if np.isnan(revenue[~shown]).all():
        return revenue
    paid = revenue[source]
    revenue[shown] = 0.0
    revenue[hit] = paid
    return revenue
