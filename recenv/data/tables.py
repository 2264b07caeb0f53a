"""The tables beside the events: items, users and copies, cleaned or made from the events."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.checks import among, check_range, check_unique, shorten
from recenv.data.columns import COPY_COLUMNS, ITEM_COLUMNS, MAX_ID, NONE_ITEM, Column
from recenv.data.quarantine import ROW, SOURCE, Quarantine


def check_ids(table: str, frame: pd.DataFrame, name: str) -> None:
    """Raise InputError where a column of ids is of a type that has lost them (floats, dates, booleans)."""
    values = frame[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = pd.Series(values.cat.categories)
    if isinstance(values.dtype, pd.StringDtype):
        return
    if values.isna().all() or pd.api.types.is_integer_dtype(values.dtype):
        return
    where = f"{table} column {name!r}"
    if pd.api.types.is_float_dtype(values.dtype):
        value = float(values.dropna().iloc[0])
        what = f"holds ids read as floats ({value!r}); leading zeros and long ids are lost"
        raise InputError(where, what, "Read ids as text at their source.")
    if values.dtype == object:
        wrong = [v for v in pd.unique(values.dropna()) if not isinstance(v, str | int | np.integer)]
        if wrong:
            what = f"holds {shorten(wrong[0])} of type {type(wrong[0]).__name__}"
            raise InputError(where, what, "Give ids as text.")
        return
    raise InputError(where, f"is of type {values.dtype}", "Give ids as text.")


def id_category(table: str, frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of ids as a sorted category of texts (a code for each row: fast to compare), missing where empty.

    Raises:
        InputError: floats, or text that was written from floats ('12.0' in every row).
    """
    check_ids(table, frame, name)
    values = frame[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, known = values.cat.codes.to_numpy(), values.cat.categories
    else:
        codes, known = pd.factorize(values)
    names = pd.Series(known, dtype="object").astype("str")
    if len(names) and names.str.fullmatch(r"-?\d+\.0").all():
        what = f"every id looks like a float ({shorten(names.iloc[0])})"
        raise InputError(f"{table} column {name!r}", what, "Read ids as text at their source.")
    rank, sorted_names = pd.factorize(names.mask((names == "").to_numpy(dtype=bool)), sort=True)
    fresh = np.append(rank, -1)[codes]
    return pd.Series(pd.Categorical.from_codes(fresh, categories=pd.Index(sorted_names, dtype="str")), frame.index)


def id_text(table: str, frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of ids as text, missing where empty; raises what `id_category` raises."""
    return id_category(table, frame, name).astype("str")


def bad_ids(ids: pd.Series) -> NDArray[np.object_]:
    """For each id why it cannot be kept ("id_too_long", "id_with_nul") or "": shape (rows,)."""
    ids = ids.astype("category")
    names = pd.Series(ids.cat.categories, dtype="str")
    why = np.full(len(names) + 1, "", dtype=object)
    why[:-1][names.str.contains("\0", regex=False).to_numpy(dtype=bool)] = "id_with_nul"
    why[:-1][(names.str.len() > MAX_ID).to_numpy(dtype=bool)] = "id_too_long"
    return np.asarray(why[ids.cat.codes.to_numpy()], dtype=object)


def is_known(ids: pd.Series, table: pd.Series) -> NDArray[np.bool_]:
    """Whether each id stands in `table`; a missing one counts as known. Looks each distinct id up once."""
    ids = ids.astype("category")
    found = np.append(among(ids.cat.categories, table), True)
    return np.asarray(found[ids.cat.codes.to_numpy()], dtype=bool)


def visit_ids(rows: int) -> pd.Series:
    """An id for each row of a log without users, in row order: each row is a visitor of its own."""
    return pd.Series(np.char.add("visit-", np.char.zfill(np.arange(rows).astype(str), 9)), dtype="str")


def _named(ids: pd.Series, but: Collection[str] = ()) -> pd.Series:
    """The sorted distinct ids of a category, but those in `but`."""
    return pd.Series([name for name in ids.cat.categories if name not in but], dtype="str")


def clean_items(
    raw: pd.DataFrame | None, event_ids: pd.Series, meta: dict[str, Any], quarantine: Quarantine
) -> pd.DataFrame:
    """The items table with every column of the schema; what was not given is noted in meta["assumed"]."""
    if raw is None:
        ids = _named(event_ids, {NONE_ITEM})
        items = pd.DataFrame({"item_id": ids})
    else:
        items = _clean(raw, "items", "item_id", quarantine)
        if (items["item_id"] == NONE_ITEM).any():
            what = f"{NONE_ITEM!r} is the reserved item that stands for showing nothing"
            raise InputError("items column 'item_id'", what, "Leave it out; events may still name it.")
    if "category" not in items:
        items["category"] = "unknown"
        meta["assumed"].append("items.category: not given, all 'unknown'")
    if "text" not in items:
        parts = [n for n in items.columns if n not in ("item_id", "category") and _is_text(items[n])]
        parts = [*parts, "category"] if parts or (items["category"] != "unknown").any() else ["item_id"]
        items["text"] = items[parts].fillna("").astype("str").agg(" ".join, axis=1).str.strip() if len(items) else ""
        meta["assumed"].append(f"items.text: not given, made of {', '.join(parts)}")
    if "price" not in items:
        items["price"] = np.nan
        meta["missing_allowed"].setdefault("items", []).append("price")
        meta["assumed"].append("items.price: not given")
    return _finish(items, "items", [c.name for c in ITEM_COLUMNS], meta)


def clean_users(
    raw: pd.DataFrame | None, event_ids: pd.Series, meta: dict[str, Any], quarantine: Quarantine
) -> pd.DataFrame:
    """The users table; without one, the users of the events with no features."""
    if raw is None:
        users = pd.DataFrame({"user_id": _named(event_ids)})
    else:
        users = _clean(raw, "users", "user_id", quarantine)
    return _finish(users, "users", ["user_id"], meta)


def clean_copies(
    raw: pd.DataFrame | None, event_ids: pd.Series, meta: dict[str, Any], quarantine: Quarantine
) -> pd.DataFrame:
    """The copies table; without one, the copies that the events name, with their id as text."""
    if raw is None:
        ids = _named(event_ids)
        copies = pd.DataFrame({"copy_id": ids, "text": ids})
        if len(ids):
            meta["assumed"].append("copies.text: not given, the copy's id")
    else:
        copies = _clean(raw, "copies", "copy_id", quarantine)
    defaults = {"generator": "logged", "status": "logged"}
    for column in COPY_COLUMNS:
        if column.name not in copies:
            copies[column.name] = np.nan if column.nullable else defaults.get(column.name, "")
    copies["seed"] = copies["seed"].astype("Int64")
    for column in COPY_COLUMNS:
        if column.type in ("id", "text"):
            text = id_text("copies", copies, column.name)
            copies[column.name] = text if column.nullable else text.fillna("")
    return _finish(copies[[c.name for c in COPY_COLUMNS]], "copies", ["copy_id"], meta)


def bind_copies(copies: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Copies named by events alone, each bound to the item that it was logged with, if there was only one."""
    pairs = events[["copy_id", "item_id"]].dropna().drop_duplicates()
    pairs = pairs[~pairs["copy_id"].duplicated(keep=False)].set_index("copy_id")["item_id"]
    return copies.assign(item_id=copies["copy_id"].map(pairs).astype(copies["copy_id"].dtype))


def _clean(raw: pd.DataFrame, table: str, key: str, quarantine: Quarantine) -> pd.DataFrame:
    if raw.columns.has_duplicates:
        name = raw.columns[raw.columns.duplicated()][0]
        raise InputError(table, f"column {name!r} occurs twice", "Rename or remove one of them.")
    if key not in raw:
        raise InputError(table, f"column {key!r} is missing", "Name it in the mapping or add it.")
    frame = raw.reset_index(drop=True)
    frame[key] = id_text(table, frame, key)
    frame = quarantine.take(frame, frame[key].isna().to_numpy(), f"{key}_missing", table)
    frame = quarantine.sift(frame, bad_ids(frame[key]), table)
    plain = frame.drop(columns=[SOURCE, ROW], errors="ignore")
    frame = quarantine.take(frame, plain.duplicated().to_numpy(), "duplicate_row", table)
    frame = frame.drop(columns=[SOURCE, ROW], errors="ignore")
    check_unique(table, frame, key)
    return frame


def _finish(frame: pd.DataFrame, table: str, first: list[str], meta: dict[str, Any]) -> pd.DataFrame:
    """Columns in a fixed order and type, rows sorted by id; a missing or infinite number is an error."""
    allowed = set(meta["missing_allowed"].get(table, []))
    rest = sorted(set(frame.columns) - set(first)) if table != "copies" else [c for c in frame if c not in first]
    out = frame[[*first, *rest]].copy()
    for name in out.columns:
        values = out[name]
        if name == "price":
            out[name] = _price(values)
        elif table != "copies" and (values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype)):
            out[name] = values.astype("object").where(values.notna(), "").astype("str")
        elif table != "copies" and _is_text(values):
            out[name] = values.fillna("")
        # The numbers of copies may be missing; `validate` checks their ranges.
        if table != "copies" and pd.api.types.is_float_dtype(out[name].dtype):
            low = 0.0 if name == "price" else None
            check_range(table, out[name], Column(name, "number", nullable=name in allowed, low=low))
    return out.sort_values(first[0], kind="stable", ignore_index=True)


def _price(values: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise InputError("items column 'price'", f"is of type {values.dtype}", "Make it numeric.")
    return values.astype("float64")


def _is_text(values: pd.Series) -> bool:
    return bool(pd.api.types.is_string_dtype(values.dtype))
