"""The mapping file of the `csv` source: which of your files and columns are which of ours (JSON, extra keys refused).

    {"name": "shop", "licence": "...", "provenance": ["..."], "kind": "real", "currency": "EUR",
     "events": {                                  or a list of such, one for each file
       "path": "log.csv",                         .csv, .tsv or .parquet, below the mapping file's folder (or --path)
       "columns": {"user_id": "cust", "item_id": "sku", "timestamp": "when", "session_id": "visit"},
                                                  ours: theirs; exp_* and ctx_* columns too
       "constants": {"kind": "impression", "propensity": 0.3333, "split": "train"},
       "kinds": {"addtocart": "cart"},            their kind: ours (impression opportunity view cart click purchase),
                                                  or null: rows of that kind are set aside and counted
       "values": {"item_id": {"No E-Mail": "__none__"}},   any other value to be renamed, by our column
       "time_unit": "iso",                        iso | s | ms (since 1970) | order (whole numbers)
       "delimiter": ",",                          the separator; "\\t" a tab (the rule for .tsv files)
       "encoding": "utf-8", "missing": [""]},     missing: cells that mean "not recorded"
     "items": {"path": "items.csv", "columns": {"item_id": "sku", "text": "title", "price": "price", "brand": "brand"},
               "types": {"brand": "text"},        number | text; undeclared: number where every cell is one
               "allow_missing": ["price"]},       numbers that may be missing
     "users": {"from_events": true, "columns": {"user_id": "cust", "age": "age"}},   columns of the event files
     "copies": {"rows": [{"copy_id": "A", "text": "Ends tonight"}]},                 or path and columns
     "propensity": "known|uniform|unknown", "exposure": "observed|derived", "negatives": "observed|sampled",
     "session_gap_minutes": 30, "click_window_minutes": 30, "purchase_window_days": 7, "click_kinds": ["click"],
     "split": {"by": "auto|time|user|given", "fractions": [0.7, 0.1, 0.1, 0.1], "times": ["2024-05-01T00:00:00Z", ...]},
     "exp_reference": {"exp_mail": 1}, "exp_unshown": {"exp_mail": 0}}

Kinds: on an impression click and purchase are recorded, or joined from rows of kind click and purchase within the
windows above; they are what is predicted. Views, carts and purchases that answer nothing shown enter the user's
history alone. An impression whose window is not over when its split, or the log, ends is set aside.

Times: one that names no zone is UTC, here, in `split.times` and in what a served bundle is sent alike. Where some of a
file's (or a request's) times name a zone and others do not, it is refused.

`"user_id": null` in columns: the log has no users, each row is a visitor and a visit of its own. `"timestamp": null`:
the log has no time, rows are ordered as they stand. Both must be said. `from_events`: one row for each id met in the
event files (`user_id` is understood where it is null, each row then being a user). Without `items`, `users` or
`copies` the ids of the events are all that is known. null in `exp_unshown`: the column is no part of being shown (a
price cut, say), an item not shown keeps its own value.
"""

from __future__ import annotations

import codecs
import difflib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recenv.core.errors import InputError
from recenv.data.columns import EVENT, is_feature
from recenv.data.options import BuildOptions

Value = str | int | float | bool


class Model(BaseModel):
    """Unknown keys are refused, numbers are not made of text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileTable(Model):
    """What every table read from a file can say about it."""

    path: str
    columns: dict[str, str | None] = Field(default_factory=dict)
    constants: dict[str, Value] = Field(default_factory=dict)
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    delimiter: str | None = None
    encoding: str | None = None
    missing: list[str] = Field(default_factory=lambda: [""])

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError(f"unknown encoding {value!r}") from None
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or value in '"\n\r'):
            raise ValueError(f"{value!r} is not one character")
        return value

    @model_validator(mode="after")
    def _named_once(self) -> FileTable:
        twice = sorted({k for k, v in self.columns.items() if v is not None} & set(self.constants))
        if twice:
            raise ValueError(f"{twice} stand both in columns and in constants")
        return self


class EventTable(FileTable):
    """One file of events."""

    kinds: dict[str, str | None] = Field(default_factory=dict)
    time_unit: Literal["iso", "s", "ms", "order"] = "iso"

    @model_validator(mode="after")
    def _event_columns(self) -> EventTable:
        for name in (*self.columns, *self.constants, *self.values):
            if name not in EVENT and not is_feature(name):
                raise ValueError(f"unknown event column {name!r}; use {', '.join(EVENT)}, exp_* or ctx_*")
        for name in ("item_id", "kind"):
            if self.columns.get(name) is None and name not in self.constants:
                raise ValueError(f"event column {name!r} is named neither in columns nor in constants")
        if "user_id" not in self.columns and "user_id" not in self.constants:
            raise ValueError("event column 'user_id' is not named; if the log has no users say \"user_id\": null")
        lone = "user_id" in self.columns and self.columns["user_id"] is None
        if "timestamp" not in self.columns and not lone:
            raise ValueError("event column 'timestamp' is not named; if the log has no time say \"timestamp\": null")
        return self


class SideTable(Model):
    """Items or users: a file of their own, or columns of the event files."""

    path: str | None = None
    from_events: bool = False
    columns: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, Value] = Field(default_factory=dict)
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    types: dict[str, Literal["number", "text"]] = Field(default_factory=dict)
    allow_missing: list[str] = Field(default_factory=list)
    delimiter: str | None = None
    encoding: str | None = None
    missing: list[str] = Field(default_factory=lambda: [""])

    @model_validator(mode="after")
    def _one_origin(self) -> SideTable:
        if (self.path is None) == (not self.from_events):
            raise ValueError("give either 'path' or \"from_events\": true")
        for name in (*self.types, *self.allow_missing):
            if name not in self.columns and name not in self.constants:
                raise ValueError(f"{name!r} is not among the columns")
        return self


class CopyTable(Model):
    """Copies: a file, or the rows themselves."""

    path: str | None = None
    rows: list[dict[str, str]] | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    delimiter: str | None = None
    encoding: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> CopyTable:
        if (self.path is None) == (self.rows is None):
            raise ValueError("give either 'path' or 'rows'")
        return self


class SplitRule(Model):
    """How rows are split."""

    by: Literal["auto", "time", "user", "given"] = "auto"
    fractions: list[float] = Field(default_factory=lambda: [0.7, 0.1, 0.1, 0.1])
    times: list[str | int] = Field(default_factory=list)


class Mapping(Model):
    """The whole mapping file."""

    events: EventTable | list[EventTable]
    items: SideTable | None = None
    users: SideTable | None = None
    copies: CopyTable | None = None
    name: str = "data"
    licence: str = "unknown"
    provenance: list[str] = Field(default_factory=list)
    kind: Literal["real", "simulated", "synthetic"] = "real"
    currency: str = ""
    propensity: Literal["known", "uniform", "unknown"] = "unknown"
    exposure: Literal["observed", "derived", "none"] = "observed"
    negatives: Literal["observed", "sampled"] = "observed"
    one_visit_rows: bool = False
    session_gap_minutes: float = 30.0
    click_window_minutes: float = 30.0
    purchase_window_days: float = 7.0
    click_kinds: list[str] = Field(default_factory=lambda: ["click"])
    split: SplitRule = Field(default_factory=SplitRule)
    exp_reference: dict[str, float] = Field(default_factory=dict)
    exp_unshown: dict[str, float | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _some_events(self) -> Mapping:
        if not self.event_tables:
            raise ValueError("'events' is an empty list")
        lone = {t.columns.get("user_id", "") is None for t in self.event_tables}
        timed = {t.columns.get("timestamp") is not None or "timestamp" in t.constants for t in self.event_tables}
        if len(lone) > 1 or len(timed) > 1:
            raise ValueError("all event files must have users, or none; and all must have times, or none")
        return self

    @property
    def event_tables(self) -> list[EventTable]:
        return self.events if isinstance(self.events, list) else [self.events]

    def options(self, seed: int = 0, progress: bool = False) -> BuildOptions:
        """What `logs.build` is to do with these logs."""
        return BuildOptions(
            session_gap=self.session_gap_minutes * 60,
            click_window=self.click_window_minutes * 60,
            purchase_window=self.purchase_window_days * 86400,
            click_kinds=tuple(self.click_kinds),
            split_by=self.split.by,
            fractions=tuple(self.split.fractions),  # type: ignore[arg-type]
            split_times=tuple(self.split.times),
            seed=seed,
            progress=progress,
        )

    def meta(self) -> dict[str, Any]:
        """The keys of `meta.json` that the mapping declares."""
        keys = ("name", "licence", "provenance", "kind", "currency", "propensity", "exposure", "negatives")
        more = ("one_visit_rows", "exp_reference", "exp_unshown")
        declared = {key: getattr(self, key) for key in (*keys, *more)}
        tables = (("items", self.items), ("users", self.users))
        allowed = {name: list(table.allow_missing) for name, table in tables if table and table.allow_missing}
        return {**declared, "source": "csv", "missing_allowed": allowed}


def read_mapping(path: Path) -> Mapping:
    """Read and check a mapping file.

    Raises:
        InputError: it is missing, not JSON, names a key twice, or breaks the format; the key is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(str(path), "the mapping file is missing", "Give --mapping M.json.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read as UTF-8 ({error})", "Save it as UTF-8 text.") from error
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except json.JSONDecodeError as error:
        where = f"{path} line {error.lineno} column {error.colno}"
        raise InputError(where, f"is not JSON ({error.msg})", "Mend the file.") from error
    try:
        return Mapping.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if "EventTable" not in str(part))
        unknown = first["type"] == "extra_forbidden"
        what = "is no key of the mapping" if unknown else first["msg"]
        hint = _meant(str(first["loc"][-1])) if unknown else ""
        raise InputError(f"{path} key {key!r}", what, f"{hint}See the format in recenv.data.mapping.") from error


_MODELS = (Mapping, EventTable, SideTable, CopyTable, SplitRule)
_OTHER_WORDS = {"separator": "delimiter", "sep": "delimiter", "charset": "encoding", "file": "path"}


def _meant(key: str) -> str:
    """The key that was probably meant by another word or a misspelling; "" where none is near."""
    keys = sorted({name for model in _MODELS for name in model.model_fields})
    near = _OTHER_WORDS.get(key) or next(iter(difflib.get_close_matches(key, keys, 1)), "")
    return f"Did you mean {near!r}? " if near else ""


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"{path} key {key!r}", "occurs twice in one object", "Keep one of them.")
        found[key] = value
    return found
