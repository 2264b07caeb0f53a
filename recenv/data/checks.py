"""Checks that a Dataset keeps its schema, and that a model can be fitted to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.columns import (
    COPY_COLUMNS,
    EVENT_COLUMNS,
    ITEM_COLUMNS,
    META_DEFAULTS,
    META_VOCABULARY,
    NONE_ITEM,
    QUARANTINE_COLUMNS,
    USER_COLUMNS,
    Column,
    is_feature,
)

if TYPE_CHECKING:
    from recenv.data.schema import Dataset


def validate(dataset: Dataset) -> None:
    """Check every table of `dataset` against the schema.

    Raises:
        InputError: the first break found, with table, row, column, value and what to do.
    """
    _check_meta(dataset.meta)
    _check_columns("events", dataset.events, EVENT_COLUMNS, set())
    allowed = dataset.meta["missing_allowed"]
    _check_columns("items", dataset.items, ITEM_COLUMNS, set(allowed.get("items", [])))
    _check_columns("users", dataset.users, USER_COLUMNS, set(allowed.get("users", [])))
    _check_columns("copies", dataset.copies, COPY_COLUMNS, set())
    for name in QUARANTINE_COLUMNS:
        if name not in dataset.quarantine:
            raise InputError("quarantine", f"column {name!r} is missing", "Build the tables with recenv.data.logs.")
    for table, key in (("items", "item_id"), ("users", "user_id"), ("copies", "copy_id")):
        check_unique(table, getattr(dataset, table), key)
    _check_time(dataset.events, dataset.meta)
    _check_references(dataset)
    if dataset.offers is not None or dataset.visits is not None:
        _check_offers(dataset)
    for name in filter(is_feature, dataset.events.columns):
        check_range("events", dataset.events[name], Column(name, "number"))


def _check_offers(dataset: Dataset) -> None:
    """Both tables, their columns, and no item or offer that the other tables do not know."""
    if dataset.offers is None or dataset.visits is None:
        raise InputError("offers", "only one of offers and visits is there", "Give both tables or neither.")
    exp = [name for name in dataset.events.columns if name.startswith("exp_")]
    for table, wanted in (("offers", ["offer_id", "item_id", *exp]), ("visits", ["session_id", "offer_id"])):
        missing = [name for name in wanted if name not in getattr(dataset, table)]
        if missing:
            raise InputError(table, f"column {missing[0]!r} is missing", "Give it for every row.")
    for name in exp:
        check_range("offers", dataset.offers[name], Column(name, "number"))
    unknown = ~dataset.offers["item_id"].isin(dataset.items["item_id"])
    if unknown.any():
        item = dataset.offers.loc[unknown, "item_id"].iloc[0]
        raise InputError("offers", f"item {item!r} is not in items", "Remove the row or add the item.")
    lost = ~dataset.visits["offer_id"].isin(dataset.offers["offer_id"])
    if lost.any():
        offer = dataset.visits.loc[lost, "offer_id"].iloc[0]
        raise InputError("visits", f"offer {offer!r} is not in offers", "Remove the row or list the offer.")
    check_unique("visits", dataset.visits, "session_id")


def require_fittable(dataset: Dataset) -> None:
    """Refuse data that no response model can be fitted to.

    Raises:
        InputError: no impressions, one user, no recorded response, no positive response, or positives only.
    """
    shown = dataset.events[dataset.events["kind"] == "impression"]
    if shown.empty:
        mend = "A response model needs rows of kind 'impression': views and purchases do not tell what was shown."
        raise InputError("events", "there is no impression", mend)
    if shown["user_id"].nunique() < 2:
        raise InputError("events", "there is one user only", "World and judge need disjoint users: bring more logs.")
    recorded = [name for name in ("click", "purchase") if shown[name].notna().any()]
    if not recorded:
        raise InputError("events", "no click or purchase is recorded on any impression", "Map a response column.")
    train = shown[shown["split"] == "train"]
    for name in recorded:
        values = train[name].dropna()
        if values.empty or not (values > 0).any():
            raise InputError("events", f"no positive {name!r} in the train split", "Bring more logs, or check the map.")
        if (values > 0).all():
            raise InputError("events", f"every {name!r} in the train split is positive", "Bring the negatives too.")


def check_unique(table: str, frame: pd.DataFrame, key: str) -> None:
    """Raise InputError when `key` is not unique."""
    repeated = frame[key].duplicated()
    if repeated.any():
        row = int(np.argmax(repeated.to_numpy()))
        value = shorten(frame[key].iloc[row])
        raise InputError(f"{table} row {row} column {key!r}", f"{value} occurs twice", "Keep one row for each id.")


def check_range(table: str, values: pd.Series, column: Column) -> None:
    """Raise InputError for a missing, non-finite or out-of-range value of a numeric column."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise InputError(f"{table} column {column.name!r}", f"is of type {values.dtype}", "Make it numeric.")
    numbers = values.astype("float64").to_numpy(na_value=np.nan)
    bad = np.isinf(numbers) if column.nullable else ~np.isfinite(numbers)
    if column.low is not None:
        bad |= (numbers <= column.low) if column.open_low else (numbers < column.low)
    if column.high is not None:
        bad |= numbers > column.high
    if column.type == "binary":
        bad |= ~np.isnan(numbers) & (numbers != 0) & (numbers != 1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{table} row {row} column {column.name!r}", f"{float(numbers[row])!r} {_range(column)}", "Mend it."
        )


def check_words(table: str, values: pd.Series, column: Column) -> None:
    """Raise InputError for a value that is not among the column's categories."""
    strange = ~values.isin(column.categories)
    if strange.any():
        row = int(np.argmax(strange.to_numpy()))
        mend = f"Use one of {', '.join(column.categories)}."
        raise InputError(f"{table} row {row} column {column.name!r}", f"unknown value {values.iloc[row]!r}", mend)


def among(names: pd.Series | pd.Index, table: Iterable[str]) -> NDArray[np.bool_]:
    """Which of `names` stand in `table`: bool, shape (names,). A set of Python texts beats `isin` on Arrow texts."""
    known = set(table)
    return np.array([name in known for name in names.astype("object").tolist()], dtype=bool)


def shorten(value: Any, width: int = 60) -> str:
    """A value's repr, cut so that a message stays readable."""
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}... ({len(str(value)):,} characters)"


def _range(column: Column) -> str:
    if column.type == "binary":
        return "is not 0 or 1"
    bounds = f"{'(' if column.open_low else '['}{column.low}, {'inf' if column.high is None else column.high}]"
    return "is not a finite number" if column.low is None else f"is not in {bounds}"


def _check_meta(meta: dict[str, Any]) -> None:
    for key in META_DEFAULTS:
        if key not in meta:
            raise InputError("meta", f"key {key!r} is missing", "Build the tables with recenv.data.logs.")
    for key, words in META_VOCABULARY.items():
        if meta[key] not in words:
            raise InputError(f"meta key {key!r}", f"unknown value {meta[key]!r}", f"Use one of {', '.join(words)}.")


def _check_columns(table: str, frame: pd.DataFrame, columns: tuple[Column, ...], allowed: set[str]) -> None:
    if frame.columns.has_duplicates:
        name = frame.columns[frame.columns.duplicated()][0]
        raise InputError(table, f"column {name!r} occurs twice", "Rename or remove one of them.")
    for column in columns:
        if column.name not in frame:
            raise InputError(table, f"column {column.name!r} is missing", "Name it in the mapping or add it.")
        values = frame[column.name]
        if column.type in ("number", "integer", "binary"):
            loose = Column(
                column.name,
                column.type,
                column.nullable or column.name in allowed,
                column.low,
                column.high,
                column.open_low,
            )
            check_range(table, values, loose)
        elif not column.nullable and values.isna().any():
            row = int(np.argmax(values.isna().to_numpy()))
            raise InputError(f"{table} row {row} column {column.name!r}", "is missing", "Fill it in.")
        elif column.type == "category":
            check_words(table, values, column)
        elif column.type in ("id", "text") and len(values) and not _is_text(values):
            raise InputError(f"{table} column {column.name!r}", f"is of type {values.dtype}, not text", "Keep it text.")
    for name in frame.columns:
        values = frame[name]
        if name not in {c.name for c in columns} and pd.api.types.is_float_dtype(values.dtype):
            check_range(table, values, Column(name, "number", nullable=name in allowed))


def _is_text(values: pd.Series) -> bool:
    return bool(pd.api.types.is_string_dtype(values.dtype) or values.isna().all())


def _check_time(events: pd.DataFrame, meta: dict[str, Any]) -> None:
    dtype = events["timestamp"].dtype
    wanted = "whole numbers" if meta["time"] == "order" else "UTC times"
    good = dtype == np.int64 if meta["time"] == "order" else isinstance(dtype, pd.DatetimeTZDtype)
    if not good:
        raise InputError("events column 'timestamp'", f"is of type {dtype}, not {wanted}", "Convert it.")
    same_user = events["user_id"].to_numpy()[1:] == events["user_id"].to_numpy()[:-1]
    back = same_user & (np.diff(events["timestamp"].astype("int64").to_numpy()) < 0)
    if back.any():
        raise InputError(f"events row {int(np.argmax(back)) + 1}", "is earlier than the row before", "Sort the events.")


def _check_references(dataset: Dataset) -> None:
    tables = (("item_id", dataset.items), ("user_id", dataset.users), ("copy_id", dataset.copies))
    for key, frame in tables:
        values = dataset.events[key]
        codes, names = pd.factorize(values)
        strange = np.append(~among(names, [*frame[key], NONE_ITEM]), False)
        unknown = strange[codes]
        if unknown.any():
            row = int(np.argmax(unknown))
            what = f"{shorten(values.iloc[row])} is not in its table"
            raise InputError(f"events row {row} column {key!r}", what, "Add it there or drop the event.")
