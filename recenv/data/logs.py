"""Raw logs in, a Dataset out: clean, set aside, find sessions, split, join responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.core.progress import bar
from recenv.data.attribution import Plan, attribute, plan
from recenv.data.checks import among
from recenv.data.cleaning import clean_events, shape_events
from recenv.data.columns import EVENT_KINDS, NONE_ITEM, SPLITS
from recenv.data.meta import fill_meta, start_meta
from recenv.data.options import BuildOptions
from recenv.data.quarantine import Quarantine
from recenv.data.schema import Dataset, RawTables, as_category, clock, conform_events, validate
from recenv.data.split import Split, sessions_by_gap, split_rows
from recenv.data.tables import bind_copies, clean_copies, clean_items, clean_users

__all__ = ["BuildOptions", "build"]


def build(raw: RawTables, options: BuildOptions | None = None) -> Dataset:
    """Turn a source's tables into a checked Dataset; the same input gives the same output.

    Steps: check columns and ids; set aside bad rows; sessions by gap where none are given; split at session borders;
    join click and purchase rows to impressions by last touch; sort; describe in `meta`. `options` default to the
    source's own (`raw.options`).

    Raises:
        InputError: whatever cannot be mended row by row (columns, types, ids read as floats, empty input).
    """
    options = raw.options if options is None else options
    with bar("prepare", 6, "step", options.progress) as shown:
        meta, quarantine = start_meta(raw.meta), Quarantine()
        quarantine.merge(raw.quarantine)
        events = shape_events(raw.events, meta)
        shown.update()
        items = clean_items(raw.items, events["item_id"], meta, quarantine)
        users = clean_users(raw.users, events["user_id"], meta, quarantine)
        copies = clean_copies(raw.copies, events["copy_id"], meta, quarantine)
        known = {"item_id": _with_none(items["item_id"]), "user_id": users["user_id"], "copy_id": copies["copy_id"]}
        events = clean_events(events, known, meta, options, quarantine)
        shown.update()
        user, session = _sessions(events, meta, options)
        shown.update()
        events, counts = _split_and_join(events, user, session, meta, raw.attributed, options, quarantine)
        shown.update()
        events = _sorted(events)
        if raw.copies is None:
            copies = bind_copies(copies, events)
        items, users, copies = _used(raw, events, items, users, copies)
        events = conform_events(events)
        shown.update()
        _fill_propensity(events, meta)
        fill_meta(meta, events, items, users, copies, quarantine, counts)
        dataset = Dataset(events, items, users, copies, quarantine.frame(), meta, raw.offers, raw.visits, raw.extras)
        validate(dataset)
        shown.update()
    return dataset


def _sessions(
    events: pd.DataFrame, meta: dict[str, Any], options: BuildOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of user and session (int64, shape (rows,)); writes `session_id`."""
    user, users = _codes(events["user_id"])
    if "session_id" in events:
        session, names = _codes(events["session_id"])
        pairs = np.unique(session * len(users) + user)
        if len(pairs) == len(np.unique(session)):
            return user, session
        # many shops count sessions from 1 for every user
        meta["assumed"].append("session ids occur for several users: taken as counted within a user")
        code, pairs = pd.factorize(user * len(names) + session, sort=True)
        labels = users.take(pairs // len(names)) + "#" + names.take(pairs % len(names))
    else:
        if meta["time"] == "order":
            mend = "Map session_id; an order has no gaps of inactivity."
            raise InputError("events column 'session_id'", "is missing and the log has an order, not times", mend)
        meta["session_gap"] = float(options.session_gap)
        number = sessions_by_gap(user, clock(events, meta), options.session_gap)
        span = int(number.max()) + 1
        code, pairs = pd.factorize(user * span + number, sort=True)
        counted = pd.Index((pairs % span).astype(str), dtype="str").str.zfill(5)
        labels = users.take(pairs // span) + "#" + counted
        meta["assumed"].append(f"sessions end after {options.session_gap:g} s without an event")
    # the order of the codes is that of (user, number), which differs from the text's where an id holds signs below '#'
    rank, ordered = pd.factorize(labels, sort=True)
    events["session_id"] = pd.Categorical.from_codes(rank[code], categories=ordered)
    return user, np.asarray(rank[code], np.int64)


def _codes(ids: pd.Series) -> tuple[NDArray[np.int64], pd.Index]:
    """Codes of a category without gaps and the texts that they stand for."""
    return ids.cat.codes.to_numpy().astype(np.int64), ids.cat.categories


def _split_and_join(
    events: pd.DataFrame,
    user: NDArray[np.int64],
    session: NDArray[np.int64],
    meta: dict[str, Any],
    attributed: bool,
    options: BuildOptions,
    quarantine: Quarantine,
) -> tuple[pd.DataFrame, dict[str, int]]:
    time = clock(events, meta)
    mode = options.split_by
    if mode == "auto":
        timeless = any(note.startswith("no time in the log") for note in meta["assumed"])
        mode = "given" if "split" in events else "user" if timeless else "time"
    if mode == "given" and "split" not in events:
        raise InputError("events column 'split'", "is missing", "Map it, or split by 'time' or 'user'.")
    cuts = tuple(_cut(value, meta) for value in options.split_times) if mode == "time" else ()
    split = split_rows(mode, session, user, time, events.get("split"), cuts, options)
    events["split"] = pd.Categorical.from_codes(split.code, categories=list(SPLITS))
    meta["split_times"] = [_readable(t, meta) for t in split.times]
    if mode == "user":
        meta["assumed"].append("split by users, not by time")
    how = plan(events, attributed, options)
    if how.needed:
        return _join(events, user, time, split, how, meta, options, quarantine)
    lone = (events["kind"] == "click").to_numpy()
    return quarantine.take(events, lone, "click_without_impression"), {}


def _join(
    events: pd.DataFrame,
    user: NDArray[np.int64],
    time: NDArray[np.int64],
    split: Split,
    how: Plan,
    meta: dict[str, Any],
    options: BuildOptions,
    quarantine: Quarantine,
) -> tuple[pd.DataFrame, dict[str, int]]:
    if np.isnan(split.until).any():
        what = "the given splits overlap in time and share users, so that responses would cross them"
        raise InputError("events column 'split'", what, "Split by 'time' or by 'user' instead.")
    item, items = _codes(events["item_id"])
    events, counts = attribute(events, time, user * len(items) + item, split.until, how, options, quarantine)
    if events.empty:
        what = f"no row is left after attribution; set aside: {quarantine.counts}"
        keys = "purchase_window_days, click_window_minutes of the mapping"
        raise InputError("events", what, f"Shorten the windows ({keys}) or bring a longer log.")
    joined = [n for n, on in (("click", how.click), ("purchase", how.purchase)) if on]
    note = f"{' and '.join(joined)} attributed by last touch within "
    windows = [f"{getattr(options, f'{n}_window'):g} s ({n})" for n in joined]
    meta["assumed"].append(note + ", ".join(windows))
    return events, counts


def _sorted(events: pd.DataFrame) -> pd.DataFrame:
    """Rows by user, time, session, kind (in the order of EVENT_KINDS), item, position, copy."""
    keys = [events[name].cat.codes.to_numpy() for name in ("copy_id", "item_id", "session_id", "user_id")]
    copy_id, item, session, user = keys
    kind = as_category(events["kind"], EVENT_KINDS).cat.codes.to_numpy()
    position = events["position"].fillna(np.inf).to_numpy()
    time = events["timestamp"].astype("int64").to_numpy()
    return events.iloc[np.lexsort((copy_id, position, item, kind, session, time, user))]


def _used(
    raw: RawTables, events: pd.DataFrame, items: pd.DataFrame, users: pd.DataFrame, copies: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables that were made from the events keep only what the kept events name."""
    if raw.items is None:
        items = items[among(items["item_id"], _left(events["item_id"]))].reset_index(drop=True)
    if raw.users is None:
        users = users[among(users["user_id"], _left(events["user_id"]))].reset_index(drop=True)
    if raw.copies is None:
        copies = copies[among(copies["copy_id"], _left(events["copy_id"]))].reset_index(drop=True)
    return items, users, copies


def _left(ids: pd.Series) -> set[str]:
    return set(ids.cat.categories[np.unique(ids.cat.codes[ids.notna()])])


def _fill_propensity(events: pd.DataFrame, meta: dict[str, Any]) -> None:
    """`propensity: uniform` without a column means one over the number of (item, copy) pairs shown."""
    shown = events["kind"] == "impression"
    if meta["propensity"] == "uniform" and events.loc[shown, "propensity"].isna().all():
        pairs = len(events.loc[shown, ["item_id", "copy_id"]].drop_duplicates())
        events.loc[shown, "propensity"] = 1.0 / max(pairs, 1)
        meta["assumed"].append(f"propensity: uniform over the {pairs} pairs of item and copy that were shown")


def _with_none(ids: pd.Series) -> pd.Series:
    return pd.concat([ids, pd.Series([NONE_ITEM], dtype="str")], ignore_index=True)


def _cut(value: str | int, meta: dict[str, Any]) -> int:
    if meta["time"] == "order":
        if not isinstance(value, int):
            raise InputError("option 'split_times'", f"{value!r} is not a whole number", "The log has an order.")
        return value
    try:
        moment = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise InputError("option 'split_times'", f"{value!r} is no time", "Use ISO 8601 with a zone.") from error
    if moment.tzinfo is None:  # as everywhere: a time that names no zone is UTC
        moment = moment.tz_localize("UTC")
    return int(moment.timestamp())


def _readable(moment: int, meta: dict[str, Any]) -> str | int:
    return moment if meta["time"] == "order" else pd.Timestamp(moment, unit="s", tz="UTC").isoformat()
