"""Any CSV or Parquet files, through a mapping file (format: `recenv.data.mapping`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recenv.core.errors import InputError
from recenv.core.progress import through
from recenv.data import convert
from recenv.data.columns import COPY_COLUMNS, EVENT, is_feature
from recenv.data.mapping import CopyTable, EventTable, Mapping, SideTable, read_mapping
from recenv.data.quarantine import ROW, SOURCE
from recenv.data.readers import read_table, resolve
from recenv.data.schema import RawTables
from recenv.data.suspects import odd_ids, odd_times
from recenv.data.tables import id_text, visit_ids

_KEYS = {"items": "item_id", "users": "user_id"}


@dataclass(frozen=True)
class CsvOptions:
    """Options of the source.

    Args:
        mapping: the mapping file; `mapping.json` in the folder of the data if None.
        seed: of a split by users.
        progress: show what is being read.
    """

    mapping: str | None = None
    seed: int = 0
    progress: bool = False


def load(path: str | None = None, options: CsvOptions | None = None) -> RawTables:
    """Read the files that a mapping names.

    Args:
        path: folder of the data; that of the mapping file if None.
        options: see `CsvOptions`.

    Raises:
        InputError: no mapping, a break of its format, a missing file or column, a cell of a wrong type.
    """
    options = options or CsvOptions()
    if options.mapping is None and path is None:
        raise InputError("source csv", "neither a mapping nor a path is given", "Give --mapping M.json.")
    if path is not None and not Path(path).is_dir():
        raise InputError(path, "is not a folder", "Give the folder of the data, and --mapping M.json.")
    file = Path(options.mapping) if options.mapping is not None else Path(str(path)) / "mapping.json"
    mapping = read_mapping(file)
    root = Path(path) if path is not None else file.parent
    tables = through(mapping.event_tables, "read", unit="file", show=options.progress)
    raws, ragged = _read_events(tables, mapping, root)
    meta = mapping.meta() | {"assumed": [], "warnings": []}
    lone = "user_id" in mapping.event_tables[0].columns and mapping.event_tables[0].columns["user_id"] is None
    visitors = visit_ids(sum(len(r) for r in raws)) if lone else None
    events = _events(raws, mapping, meta)
    items = _side("items", mapping.items, mapping, raws, visitors, root, ragged, meta)
    users = _side("users", mapping.users, mapping, raws, visitors, root, ragged, meta)
    copies = _copies(mapping.copies, root, ragged)
    found = pd.concat(ragged, ignore_index=True) if ragged else None
    build = mapping.options(options.seed, options.progress)
    return RawTables(events, items, users, copies, meta, options=build, quarantine=found)


def _read_events(
    tables: Iterable[EventTable], mapping: Mapping, root: Path
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    borrowed = {
        c for side in (mapping.items, mapping.users) if side and side.from_events for c in side.columns.values()
    }
    raws, ragged = [], []
    for table in tables:
        named = {c for c in table.columns.values() if c is not None} | borrowed
        frame, lost = read_table(
            resolve(root, table.path), named, table.delimiter, table.encoding, table.missing, "events"
        )
        raws.append(frame)
        ragged.extend([] if lost is None else [lost])
    return raws, ragged


def _events(raws: list[pd.DataFrame], mapping: Mapping, meta: dict[str, Any]) -> pd.DataFrame:
    parts, naive = [], False
    for table, raw in zip(mapping.event_tables, raws, strict=True):
        columns: dict[str, Any] = {SOURCE: raw[SOURCE], ROW: raw[ROW]}
        for name in (n for n in (*table.columns, *table.constants) if table.columns.get(n) or n in table.constants):
            values = _values(table, raw, name)
            if name == "timestamp":
                columns[name], bare = convert.to_time(values, table.time_unit, _place(raw, table.columns.get(name)))
                naive |= bare
            else:
                columns[name] = _event_column(name, values, _place(raw, table.columns.get(name)))
        parts.append(pd.DataFrame(columns))
    if naive:
        meta["assumed"].append("times without a zone are taken as UTC")
    joined = _joined(parts)
    meta["warnings"] += odd_times(joined.get("timestamp")) + odd_ids(joined)
    return joined


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    for part in parts:
        part[SOURCE] = part[SOURCE].astype("str")
    joined = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    joined[SOURCE] = joined[SOURCE].astype("category")
    return joined


def _event_column(name: str, values: pd.Series, place: convert.Place) -> Any:
    if name in ("click", "purchase"):
        return convert.to_flag(values, place)
    if is_feature(name) or EVENT[name].type in ("number", "integer"):
        return convert.to_number(values, place)
    if EVENT[name].type == "id":
        return id_text(place(-1), pd.DataFrame({name: values}), name)
    return values.astype("str").astype("object").where(values.notna(), None)


def _values(table: EventTable, raw: pd.DataFrame, name: str) -> pd.Series:
    """The column `name` as the file has it, renamed by `values` and `kinds`."""
    source = table.columns.get(name)
    if source is None:
        constant = table.constants[name]
        is_text = name in EVENT and EVENT[name].type in ("id", "category")
        return pd.Series(str(constant) if is_text else constant, index=raw.index)
    rename = dict(table.values.get(name, {})) | (table.kinds if name == "kind" else {})
    return _renamed(raw[source], rename)


def _renamed(values: pd.Series, rename: dict[str, Any]) -> pd.Series:
    if not rename:
        return values
    codes, known = pd.factorize(values)
    names = np.array([rename.get(str(v), str(v)) for v in known] + [None], dtype=object)
    return pd.Series(names[codes], index=values.index)


def _place(raw: pd.DataFrame, column: str | None) -> convert.Place:
    """Names file, line and column; -1 names the column alone. Line 1 is the header."""
    what = f"column {column!r}" if column is not None else "constant"

    def place(index: int) -> str:
        if not len(raw) or index < 0:
            return f"{raw[SOURCE].iloc[0] if len(raw) else 'file'} {what}"
        return f"{raw[SOURCE].iloc[index]} row {int(raw[ROW].iloc[index]) + 1} {what}"

    return place


def _side(
    name: str,
    side: SideTable | None,
    mapping: Mapping,
    raws: list[pd.DataFrame],
    visitors: pd.Series | None,
    root: Path,
    ragged: list[pd.DataFrame],
    meta: dict[str, Any],
) -> pd.DataFrame | None:
    if side is None:
        return None
    key = _KEYS[name]
    lone = name == "users" and visitors is not None and side.from_events
    if key not in side.columns and not lone:
        raise InputError(f"mapping key '{name}.columns'", f"{key!r} is not named", "Name the column of the ids.")
    if side.path is not None:
        frame, lost = read_table(
            resolve(root, side.path), side.columns.values(), side.delimiter, side.encoding, side.missing, name
        )
        ragged.extend([] if lost is None else [lost])
    else:
        frame = _joined([raw[[SOURCE, ROW, *sorted(set(side.columns.values()))]].copy() for raw in raws])
    columns = {ours: _renamed(frame[theirs], side.values.get(ours, {})) for ours, theirs in side.columns.items()}
    table = pd.DataFrame({SOURCE: frame[SOURCE], ROW: frame[ROW]} | columns | dict(side.constants))
    if lone and visitors is not None:
        table[key] = visitors.to_numpy()
    elif side.from_events:
        table = _one_each(table, key, name, meta)
    return _typed(table, name, key, side)


def _one_each(table: pd.DataFrame, key: str, name: str, meta: dict[str, Any]) -> pd.DataFrame:
    """The first value met of each column, for each id."""
    plain = [c for c in table.columns if c not in (SOURCE, ROW)]
    table = table[table[key].notna()].drop_duplicates(plain)
    several = int(table[key].duplicated().sum())
    if several:
        found = table.groupby(key, sort=False, observed=True)[[c for c in plain if c != key]].first()
        places = table.drop_duplicates(key).set_index(key)[[SOURCE, ROW]]
        table = found.join(places).reset_index()
        meta["warnings"].append(f"{name}: {several} rows differ from the first of their id; the first was kept")
    return table.reset_index(drop=True)


def _typed(table: pd.DataFrame, name: str, key: str, side: SideTable) -> pd.DataFrame:
    fixed = {"price": "number", "text": "text", "category": "text", key: "id"}
    for column in [c for c in table.columns if c not in (SOURCE, ROW)]:
        place = _place(table, side.columns.get(column))
        kind = fixed.get(column) or side.types.get(column) or convert.guess(table[column])
        if kind == "id":
            table[column] = id_text(place(-1), table, column)
        elif kind == "number":
            table[column] = convert.to_number(table[column], place)
            gaps = table[column].isna().to_numpy()
            if gaps.any() and column not in side.allow_missing:
                mend = f"Fill it in, or add {column!r} to {name}.allow_missing."
                raise InputError(place(int(np.argmax(gaps))), f"is missing ({int(gaps.sum())} in all)", mend)
        else:
            table[column] = table[column].astype("object").where(table[column].notna(), "").astype("str")
    return table


def _copies(table: CopyTable | None, root: Path, ragged: list[pd.DataFrame]) -> pd.DataFrame | None:
    if table is None:
        return None
    if table.rows is not None:
        frame = pd.DataFrame(table.rows, dtype="str")
    else:
        read, lost = read_table(
            resolve(root, str(table.path)), table.columns.values(), table.delimiter, table.encoding, table="copies"
        )
        ragged.extend([] if lost is None else [lost])
        frame = pd.DataFrame({ours: read[theirs] for ours, theirs in table.columns.items()})
    names = [c.name for c in COPY_COLUMNS]
    for name in frame.columns:
        if name not in names:
            raise InputError("mapping key 'copies'", f"unknown column {name!r}", f"Use some of {', '.join(names)}.")
    if "copy_id" not in frame:
        raise InputError("mapping key 'copies'", "'copy_id' is not named", "Name the column of the ids.")
    for name in (c.name for c in COPY_COLUMNS if c.type in ("integer", "number") and c.name in frame):
        frame[name] = convert.to_number(frame[name], _copies_place(name))
    return frame


def _copies_place(column: str) -> convert.Place:
    return lambda row: f"copies row {row} column {column!r}"
