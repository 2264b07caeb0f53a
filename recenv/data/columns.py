"""Columns of the tables: names, types and ranges (the one place where they are written down)."""

from __future__ import annotations

import math
from dataclasses import dataclass

EVENT_KINDS = ("impression", "opportunity", "view", "cart", "purchase")
"""Kinds of row in `events`, in the order in which rows of one moment are applied."""
RAW_KINDS = (*EVENT_KINDS, "click")
"""Kinds that a log may bring; `click` rows are joined to impressions and do not stay rows."""
SPLITS = ("train", "calibration", "validation", "test")
NONE_ITEM = "__none__"
"""The reserved item that stands for showing nothing."""
RESPONSES = ("click", "purchase", "revenue")
MAX_ID = 256
"""Longest id in characters; longer ones are quarantined."""


@dataclass(frozen=True)
class Column:
    """One column: its type (`id`, `text`, `number`, `integer`, `binary`, `time`, `category`) and its range.

    `nullable`: a missing value is allowed. `low`/`high`: inclusive bounds; `open_low`: the lower bound is excluded.
    """

    name: str
    type: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    categories: tuple[str, ...] = ()


EVENT_COLUMNS: tuple[Column, ...] = (
    Column("user_id", "id"),
    Column("item_id", "id"),
    Column("session_id", "id"),
    Column("timestamp", "time"),
    Column("kind", "category", categories=EVENT_KINDS),
    Column("split", "category", categories=SPLITS),
    Column("copy_id", "id", nullable=True),
    Column("position", "integer", nullable=True, low=1, high=2**31 - 1),
    Column("propensity", "number", nullable=True, low=0.0, high=1.0, open_low=True),
    Column("click", "binary", nullable=True, low=0.0, high=1.0),
    Column("purchase", "binary", nullable=True, low=0.0, high=1.0),
    Column("revenue", "number", nullable=True, low=0.0),
    Column("click_delay", "number", nullable=True, low=0.0),
    Column("purchase_delay", "number", nullable=True, low=0.0),
    Column("weight", "number", low=0.0, open_low=True),
)
ITEM_COLUMNS: tuple[Column, ...] = (
    Column("item_id", "id"),
    Column("text", "text"),
    Column("category", "text"),
    Column("price", "number", low=0.0),
)
USER_COLUMNS: tuple[Column, ...] = (Column("user_id", "id"),)
COPY_COLUMNS: tuple[Column, ...] = (
    Column("copy_id", "id"),
    Column("item_id", "id", nullable=True),
    Column("style", "text"),
    Column("template", "text"),
    Column("text", "text"),
    Column("generator", "text"),
    Column("generator_hash", "text"),
    Column("seed", "integer", nullable=True),
    Column("channel", "text", nullable=True),
    Column("temperature", "number", nullable=True, low=0.0, open_low=True),
    Column("log_prob", "number", nullable=True, low=-math.inf, high=0.0),
    Column("status", "text"),
    Column("checks", "text"),
)
"""Where a line came from stands with it; of logged lines it is mostly missing. `channel`: where it is to stand.
`temperature`: of sampling. `log_prob`: nats, of the whole line under the generator that wrote it."""
QUARANTINE_COLUMNS: tuple[str, ...] = ("table", "reason", "source", "row", "record")
"""`source`: the file; `row`: its 0-based data row; `record`: the row as JSON, so that nothing is lost."""

EVENT: dict[str, Column] = {c.name: c for c in EVENT_COLUMNS}
DTYPES: dict[str, str] = {
    "position": "Int32",
    "propensity": "float64",
    "click": "float32",
    "purchase": "float32",
    "revenue": "float32",
    "click_delay": "float32",
    "purchase_delay": "float32",
    "weight": "float32",
}

META_VOCABULARY: dict[str, tuple[str, ...]] = {
    "kind": ("real", "simulated", "synthetic"),
    "exposure": ("observed", "derived", "none"),
    "propensity": ("known", "uniform", "unknown"),
    "negatives": ("observed", "sampled"),
    "time": ("utc", "order"),
}
META_DEFAULTS: dict[str, object] = {
    "name": "data",
    "source": "csv",
    "licence": "unknown",
    "provenance": [],
    "kind": "real",
    "exposure": "observed",
    "propensity": "unknown",
    "negatives": "observed",
    "responses": [],
    "time": "utc",
    "counts": {},
    "quarantined": {},
    "split_times": [],
    "hashes": {},
    "assumed": [],
    "warnings": [],
    "exp_reference": {},
    "exp_unshown": {},
    "one_visit_rows": False,
    "slots_per_visit": 0,
    "session_gap": 1800.0,
    "currency": "",
    "missing_allowed": {},
    "test_reads": 0,
}
"""Every key that `meta.json` holds; a source may set any of them except counts, hashes and test_reads.

`exp_reference` and `exp_unshown` hold a number for each exp_* column: how an item is shown, or not, where the logs do
not say. null in `exp_unshown` says that the column is no part of being shown: an item not shown keeps its own value.
"""


def is_feature(name: str) -> bool:
    """True for the free numeric columns of `events`: how it was shown (exp_*) and context (ctx_*)."""
    return name.startswith(("exp_", "ctx_"))
