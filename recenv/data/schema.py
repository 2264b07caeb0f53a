"""The four tables of a data set, how they lie on disk, and their clock.

    RawTables  what a source returns; only the columns it knows, any row order, `click` rows allowed
    Dataset    what `recenv.data.logs.build` makes of it: checked, attributed, split

`events` of a Dataset, one row per impression, opportunity or act of the user's own, sorted by (user_id, timestamp,
session_id, kind in the order of EVENT_KINDS, item_id):
    user_id, item_id, session_id  str
    timestamp   datetime64[us, UTC], or int64 where meta["time"] == "order"
    kind, split category
    copy_id     str, may be missing;  position Int32 (1 = first), may be missing
    propensity  float64 in (0, 1], may be missing
    click, purchase  float32, 1, 0 or NaN (not recorded);  revenue float32 >= 0 or NaN
    click_delay, purchase_delay  float32 seconds from being shown to the response, NaN where not known (then taken as 0)
    weight      float32 > 0, one over the sampling rate of the row
    exp_*, ctx_*  float32
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError, InputError
from recenv.core.folders import missing_file
from recenv.core.free import require_free
from recenv.data.checks import require_fittable, validate
from recenv.data.columns import (
    COPY_COLUMNS,
    DTYPES,
    EVENT_COLUMNS,
    EVENT_KINDS,
    ITEM_COLUMNS,
    META_DEFAULTS,
    NONE_ITEM,
    QUARANTINE_COLUMNS,
    RAW_KINDS,
    SPLITS,
    USER_COLUMNS,
    is_feature,
)
from recenv.data.options import BuildOptions

__all__ = [
    "COPY_COLUMNS",
    "EVENT_COLUMNS",
    "EVENT_KINDS",
    "ITEM_COLUMNS",
    "NONE_ITEM",
    "QUARANTINE_COLUMNS",
    "RAW_KINDS",
    "SPLITS",
    "TABLES",
    "USER_COLUMNS",
    "Dataset",
    "RawTables",
    "clock",
    "conform_events",
    "require_fittable",
    "validate",
]

TABLES = ("events", "items", "users", "copies", "quarantine")
OFFER_TABLES = ("offers", "visits")
"""Written only where the logs tell what was on offer."""
DEFAULT_SPLITS = ("train", "calibration", "validation")


@dataclass
class RawTables:
    """What a source returns; `None` for a table it does not have (then derived from the events).

    `events` needs item_id and kind (one of RAW_KINDS). user_id missing as a column: each row is a visitor of its own.
    timestamp missing as a column: row order. timestamp is datetime64 with zone, or whole numbers for an order.
    session_id, split, copy_id, position, propensity, click, purchase, revenue, weight, exp_*, ctx_* as known.
    `__source__` and `__row__` columns, if there, say which file and data row each event came from.
    `attributed=True`: impression and opportunity rows carry their responses; acts are never joined to them.
    `meta` holds any of the keys of `META_DEFAULTS`. `options`: how `logs.build` treats these logs unless
    told otherwise. `quarantine`: rows that the reader could not read (QUARANTINE_COLUMNS). `extras`: file name ->
    content of files kept beside the tables (the truth of a synthetic shop).
    """

    events: pd.DataFrame
    items: pd.DataFrame | None = None
    users: pd.DataFrame | None = None
    copies: pd.DataFrame | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    attributed: bool = False
    options: BuildOptions = field(default_factory=BuildOptions)
    quarantine: pd.DataFrame | None = None
    offers: pd.DataFrame | None = None
    visits: pd.DataFrame | None = None
    extras: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Dataset:
    """Checked tables and their `meta`; see the module's docstring for the columns.

    Where the logs tell what was on offer in a visit: `offers` (offer_id, item_id, exp_*) lists what each offer held and
    `visits` (session_id, offer_id) which offer a session met; both or neither.
    `extras`: file name -> content of files kept, and hashed, beside the tables.
    """

    events: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    copies: pd.DataFrame
    quarantine: pd.DataFrame
    meta: dict[str, Any]
    offers: pd.DataFrame | None = None
    visits: pd.DataFrame | None = None
    extras: dict[str, bytes] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the tables and `meta.json` (with the SHA-256 of each file) into the folder `path`.

        Same tables, same bytes. The folder must be empty or missing.

        Raises:
            InputError: the folder holds something, or the tables break the schema.
        """
        validate(self)
        folder = Path(path)
        require_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        hashes = {}
        for name in self.tables():
            file = folder / f"{name}.parquet"
            table = pa.Table.from_pandas(getattr(self, name), preserve_index=False).replace_schema_metadata(None)
            pq.write_table(table, file, compression="zstd")
            hashes[file.name] = sha256(file)
        for name, content in self.extras.items():
            (folder / _plain(name)).write_bytes(content)
            hashes[name] = sha256(folder / name)
        self.meta["hashes"] = hashes
        write_json(folder / "meta.json", self.meta)

    def tables(self) -> tuple[str, ...]:
        """Names of the tables that are there."""
        return TABLES if self.offers is None else (*TABLES, *OFFER_TABLES)

    @classmethod
    def load(cls, path: str | Path, splits: Sequence[str] = DEFAULT_SPLITS) -> Dataset:
        """Read a data set back, checking every file's hash.

        Only events of the `splits` asked for are returned; a read that includes "test" is counted in
        meta["test_reads"], on disk too.

        Raises:
            InputError: an unknown split.
            ArtefactError: a file is missing, changed or unreadable.
        """
        for split in splits:
            if split not in SPLITS:
                raise InputError("splits", f"unknown split {split!r}", f"Use some of {', '.join(SPLITS)}.")
        folder = Path(path)
        meta = read_meta(folder)
        frames = {}
        for name in (*TABLES, *(t for t in OFFER_TABLES if f"{t}.parquet" in meta["hashes"])):
            table = pq.read_table(_unchanged(folder / f"{name}.parquet", meta))
            if name == "events":
                chosen = pc.cast(table["split"], pa.string())
                table = table.filter(pc.is_in(chosen, value_set=pa.array(list(splits), pa.string())))
            frames[name] = table.to_pandas()
        if "test" in splits:
            meta["test_reads"] += 1
            write_json(folder / "meta.json", meta)
        extras = {
            n: _unchanged(folder / _plain(n), meta).read_bytes() for n in meta["hashes"] if not n.endswith(".parquet")
        }
        frames["events"] = conform_events(frames["events"])
        frames["copies"] = conform_copies(frames["copies"])
        return cls(**frames, meta=meta, extras=extras)


def clock(events: pd.DataFrame, meta: dict[str, Any]) -> NDArray[np.int64]:
    """Whole seconds since 1970 (UTC) of each event, or its order number: int64, shape (rows,)."""
    if meta["time"] == "order":
        return events["timestamp"].to_numpy(np.int64)
    micros = events["timestamp"].dt.as_unit("us").astype("int64").to_numpy()
    return np.asarray(micros // 1_000_000, np.int64)


def conform_events(events: pd.DataFrame) -> pd.DataFrame:
    """The events with every column there, in order and of its type; columns that no schema names are left out."""
    columns: dict[str, Any] = {}
    for spec in EVENT_COLUMNS:
        values = events[spec.name] if spec.name in events else pd.Series(np.nan, events.index, dtype="float64")
        if spec.type == "category":
            columns[spec.name] = as_category(values, spec.categories)
        elif spec.name in DTYPES:
            columns[spec.name] = values.astype(DTYPES[spec.name])
        elif spec.type == "id":
            columns[spec.name] = values.astype("object").astype("str") if values.isna().all() else values.astype("str")
        else:
            columns[spec.name] = values
    columns |= {name: events[name].astype("float32") for name in sorted(filter(is_feature, events.columns))}
    return pd.DataFrame(columns, index=events.index).reset_index(drop=True)


def conform_copies(copies: pd.DataFrame) -> pd.DataFrame:
    """The copies with every column in order; one that may be missing is all missing where an older data set lacks it.

    Other columns stay as they are.
    """
    found = copies.copy()
    for column in COPY_COLUMNS:
        if column.nullable and column.name not in found:
            dtype = "str" if column.type in ("id", "text") else "float64"
            found[column.name] = pd.Series(np.nan, found.index, dtype=dtype)
    found["seed"] = found["seed"].astype("Int64")
    names = [column.name for column in COPY_COLUMNS]
    return found[[*names, *(name for name in found if name not in names)]]


def as_category(values: pd.Series, categories: tuple[str, ...]) -> pd.Series:
    """`values` with exactly `categories`; any other value becomes missing (and fails `validate`)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.remove_unused_categories().cat.set_categories(list(categories))
    return values.astype(pd.CategoricalDtype(list(categories)))


def _plain(name: str) -> str:
    if Path(name).name != name or name in ("", ".", "..") or "\\" in name:
        raise ArtefactError(f"file name {name!r}", "leaves the folder of the data set", "Run `recenv prepare` again.")
    return name


def _unchanged(file: Path, meta: dict[str, Any]) -> Path:
    if not file.is_file():
        raise ArtefactError(str(file), "is missing", "Run `recenv prepare` again.")
    if sha256(file) != meta["hashes"].get(file.name):
        raise ArtefactError(str(file), "does not have the hash in meta.json", "Run `recenv prepare` again.")
    return file


def read_meta(folder: Path) -> dict[str, Any]:
    """`meta.json` of a data set.

    Raises:
        ArtefactError: it is missing, not JSON, or lacks a key.
    """
    file = folder / "meta.json"
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise missing_file(file) from None
    except (ValueError, OSError) as error:
        raise ArtefactError(str(file), f"cannot be read ({error})", "Run `recenv prepare` again.") from error
    if not isinstance(meta, dict) or (missing := sorted(set(META_DEFAULTS) - set(meta))):
        what = f"lacks the keys {missing}" if isinstance(meta, dict) else "is not a JSON object"
        raise ArtefactError(str(file), what, "Run `recenv prepare` again.")
    return meta


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write sorted, indented JSON in one move, so that a reader never sees half a file."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    os.replace(part, file)


def sha256(file: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
