"""The events of a source, checked and brought to the schema's columns; bad rows are set aside by reason."""

from __future__ import annotations

import difflib
import time as wall
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.checks import shorten
from recenv.data.columns import EVENT, EVENT_COLUMNS, RAW_KINDS, SPLITS, is_feature
from recenv.data.options import BuildOptions
from recenv.data.quarantine import ROW, SOURCE, Quarantine
from recenv.data.summary import REASONS
from recenv.data.tables import bad_ids, id_category, is_known, visit_ids

_NUMBERS = ("position", "propensity", "click", "purchase", "revenue", "weight")
_DEFAULTS = {"weight": 1.0}


def shape_events(raw: pd.DataFrame, meta: dict[str, Any]) -> pd.DataFrame:
    """Every column of the schema but `split`, with usable types; missing ids, times and users filled by rule.

    Sets meta["time"]. Adds the columns `__source__`, `__row__`.

    Raises:
        InputError: a column that is missing, unknown, twice there or of a wrong type; no rows; an unknown kind.
    """
    _check_names(raw)
    if raw.empty:
        raise InputError("events", "there are no rows", "Check the file and the mapping.")
    columns: dict[str, Any] = {
        SOURCE: raw[SOURCE].to_numpy() if SOURCE in raw else "events",
        ROW: raw[ROW].to_numpy() if ROW in raw else np.arange(len(raw)),
    }
    lone = "user_id" not in raw
    columns["user_id"] = _visits(raw) if lone else id_category("events", raw, "user_id")
    columns["item_id"] = id_category("events", raw, "item_id")
    columns["copy_id"] = id_category("events", raw, "copy_id") if "copy_id" in raw else _missing(raw)
    columns["timestamp"] = _times(raw, meta)
    if "session_id" in raw:
        columns["session_id"] = id_category("events", raw, "session_id")
    elif lone or "timestamp" not in raw:
        columns["session_id"] = _visits(raw)
        meta["assumed"].append("each row is a visit of its own")
    columns["kind"] = _words(raw, "kind", RAW_KINDS)
    if "split" in raw:
        columns["split"] = _words(raw, "split", SPLITS)
    for name in (*_NUMBERS, *sorted(filter(is_feature, raw.columns))):
        columns[name] = _number(raw, name)
    return pd.DataFrame({name: _plain(values) for name, values in columns.items()})


def clean_events(
    events: pd.DataFrame,
    known: dict[str, pd.Series],
    meta: dict[str, Any],
    options: BuildOptions,
    quarantine: Quarantine,
) -> pd.DataFrame:
    """Set aside the rows that cannot be used; fill what has no meaning for a row (exp_*, ctx_* of own acts).

    `known` holds the ids of each table given ("item_id", "user_id", "copy_id"); a key left out is not checked.

    Raises:
        InputError: no row is left.
    """
    raw, why = events, np.full(len(events), "", dtype=object)
    for reason, bad in _row_faults(events, known, meta, options):
        why[bad & (why == "")] = reason
    for name in ("item_id", "user_id", "copy_id", "session_id"):
        if name in events:
            faults = bad_ids(events[name])
            why = np.where(faults != "", faults, why)
    events = quarantine.sift(events, why)
    plain = events.drop(columns=[SOURCE, ROW])
    events = quarantine.take(events, plain.duplicated().to_numpy(), "duplicate_event")
    if events.empty:
        told = _why_none(raw, why, known, quarantine)
        raise InputError("events", f"no row is left; set aside: {quarantine.counts}", told)
    own = ~events["kind"].isin(["impression", "opportunity"])
    for name in filter(is_feature, events.columns):
        events[name] = events[name].mask(own & events[name].isna(), 0.0)
    for name in ("click", "purchase"):
        events[name] = events[name].mask(own)
    return events.reset_index(drop=True)


def _why_none(events: pd.DataFrame, why: NDArray[Any], known: dict[str, pd.Series], quarantine: Quarantine) -> str:
    """What the commonest reason means; of ids that are not in their table, one of each side.

    Args:
        events: as they came. why: (n,) reason of each row. known: ids of each table given.
    """
    reason = max(quarantine.counts, key=lambda name: quarantine.counts[name])
    key = f"{reason.removeprefix('unknown_')}_id"
    if key in known and reason.startswith("unknown_") and len(known[key]) and (why == reason).any():
        theirs, ours = events[key][why == reason].iloc[0], known[key].iloc[0]
        return f"Events name {key} {shorten(theirs)}, the table {shorten(ours)}, say: map columns with the same ids."
    said = REASONS.get(reason)
    return f"{reason}: {said}." if said and "{" not in said else "See the reasons; check the mapping."


def _row_faults(
    events: pd.DataFrame, known: dict[str, pd.Series], meta: dict[str, Any], options: BuildOptions
) -> list[tuple[str, NDArray[np.bool_]]]:
    kind = events["kind"]
    shown = kind.isin(["impression", "opportunity"])
    faults: list[tuple[str, Any]] = [
        ("purchase_without_item", (kind == "purchase") & events["item_id"].isna()),
        ("item_missing", events["item_id"].isna()),
        ("user_missing", events["user_id"].isna()),
        ("kind_missing", kind.isna()),
        ("timestamp_missing", events["timestamp"].isna()),
    ]
    if "session_id" in events:
        faults.append(("session_missing", events["session_id"].isna()))
    if "split" in events:
        faults.append(("split_missing", events["split"].isna()))
    if meta["time"] == "utc":
        now = pd.Timestamp(wall.time() if options.now is None else options.now, unit="s", tz="UTC")
        faults.append(("future_timestamp", events["timestamp"] > now))
    for key, ids in known.items():
        faults.append((f"unknown_{key[:-3]}", ~is_known(events[key], ids)))
    features = [n for n in events.columns if is_feature(n)]
    for name in (*_NUMBERS, *features):
        values = events[name].to_numpy()
        # Tables keep 32-bit floats: what is beyond them would become infinite there.
        faults.append((f"{name}_not_finite", np.abs(values) > np.finfo(np.float32).max))
        if name in EVENT:
            faults.append((_range_reason(name), _outside(name, values)))
        else:
            faults.append((f"{name}_missing", shown & np.isnan(values)))
    if meta["propensity"] == "known":
        faults.append(("propensity_missing", (kind == "impression") & events["propensity"].isna()))
    return [(reason, np.asarray(bad, dtype=bool)) for reason, bad in faults]


def _range_reason(name: str) -> str:
    if name in ("click", "purchase"):
        return f"{name}_not_binary"
    return "negative_revenue" if name == "revenue" else f"{name}_out_of_range"


def _outside(name: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    column = EVENT[name]
    known = ~np.isnan(values)
    if column.type == "binary":
        return known & (values != 0) & (values != 1)
    bad = np.zeros(len(values), bool)
    if column.low is not None:
        bad |= (values <= column.low) if column.open_low else (values < column.low)
    if column.high is not None:
        bad |= values > column.high
    if column.type == "integer":
        bad |= known & (values != np.floor(values))
    return bad


def _check_names(raw: pd.DataFrame) -> None:
    if raw.columns.has_duplicates:
        name = raw.columns[raw.columns.duplicated()][0]
        raise InputError("events", f"column {name!r} occurs twice", "Rename or remove one of them.")
    for name in ("item_id", "kind"):
        if name not in raw:
            close = difflib.get_close_matches(name, list(raw.columns), 1)
            mend = f"Is it {close[0]!r}? Name it so." if close else "Name it in the mapping or add it."
            raise InputError("events", f"column {name!r} is missing", mend)
    names = [c.name for c in EVENT_COLUMNS]
    for name in raw.columns:
        if name not in names and not is_feature(str(name)) and name not in (SOURCE, ROW):
            close = difflib.get_close_matches(str(name), names, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError("events", f"unknown column {name!r}", f"{hint}Call it exp_*, ctx_* or leave it out.")


def _times(raw: pd.DataFrame, meta: dict[str, Any]) -> Any:
    if "timestamp" not in raw:
        meta["time"] = "order"
        meta["assumed"].append("no time in the log: rows are ordered as they stand")
        return np.arange(len(raw), dtype=np.int64)
    values = raw["timestamp"]
    if pd.api.types.is_integer_dtype(values.dtype):
        meta["time"] = "order"
        return values
    if not isinstance(values.dtype, pd.DatetimeTZDtype):
        what = f"is of type {values.dtype}"
        mend = "Give UTC times (with a zone), or whole numbers for an order."
        raise InputError("events column 'timestamp'", what, mend)
    meta["time"] = "utc"
    return values.dt.tz_convert("UTC").dt.as_unit("us")


def _words(raw: pd.DataFrame, name: str, words: tuple[str, ...]) -> pd.Categorical:
    values = raw[name].astype("object")
    unknown = values.notna() & ~values.isin(words)
    if unknown.any():
        row = int(np.argmax(unknown.to_numpy()))
        place = f"{raw[SOURCE].iloc[row]} " if SOURCE in raw else ""
        where = f"{place}events row {int(raw[ROW].iloc[row]) + 1 if ROW in raw else row} column {name!r}"
        drop = ", or to null to set such rows aside" if name == "kind" else ""
        mend = f"Map it to one of {', '.join(words)}{drop}."
        raise InputError(where, f"unknown value {shorten(values.iloc[row])}", mend)
    return pd.Categorical(values, categories=list(words))


def _number(raw: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in raw:
        return np.full(len(raw), _DEFAULTS.get(name, np.nan))
    values = raw[name]
    if not (pd.api.types.is_numeric_dtype(values.dtype) or values.isna().all()):
        raise InputError(f"events column {name!r}", f"is of type {values.dtype}", "Make it numeric.")
    numbers = values.astype("float64").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    if name in _DEFAULTS:
        numbers[np.isnan(numbers)] = _DEFAULTS[name]
    return numbers


def _missing(raw: pd.DataFrame) -> pd.Series:
    return pd.Series(pd.Categorical.from_codes(np.full(len(raw), -1), categories=pd.Index([], dtype="str")), raw.index)


def _visits(raw: pd.DataFrame) -> pd.Categorical:
    return pd.Categorical.from_codes(np.arange(len(raw)), categories=pd.Index(visit_ids(len(raw))))


def _plain(values: Any) -> Any:
    return values.reset_index(drop=True) if isinstance(values, pd.Series) else values
