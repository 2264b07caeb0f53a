"""Builders of small logs for the tests of the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recenv.data.logs import BuildOptions
from recenv.data.schema import RawTables

START = pd.Timestamp("2024-03-01T00:00:00Z")
ALL_TRAIN = BuildOptions(fractions=(1.0, 0.0, 0.0, 0.0))


def moment(seconds: float) -> pd.Timestamp:
    """A time so many seconds after the start of the test logs."""
    return START + pd.Timedelta(seconds=seconds)


def stream(rows: list[tuple[str, str, str, float]], **columns: Any) -> RawTables:
    """A log of (user, kind, item, seconds after the start)."""
    frame = pd.DataFrame(rows, columns=["user_id", "kind", "item_id", "timestamp"])
    frame["timestamp"] = pd.to_datetime([moment(s) for s in frame["timestamp"]], utc=True)
    for name, values in columns.items():
        frame[name] = values
    return RawTables(frame)


def attributed(rows: int = 400, users: int = 20, seed: int = 0) -> RawTables:
    """A log whose impressions carry their clicks, over 40 days."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": [f"u{i:03d}" for i in rng.integers(0, users, rows)],
            "item_id": [f"i{i}" for i in rng.integers(0, 9, rows)],
            "kind": "impression",
            "timestamp": pd.to_datetime([moment(float(s)) for s in rng.integers(0, 40 * 86400, rows)], utc=True),
            "click": (rng.random(rows) < 0.2).astype(float),
            "propensity": 1 / 9,
        }
    )
    return RawTables(frame, meta={"propensity": "known"}, attributed=True)


def write_mapping(folder: Path, mapping: dict[str, Any]) -> Path:
    """Write `mapping.json` below `folder`."""
    file = folder / "mapping.json"
    file.write_text(json.dumps(mapping), encoding="utf-8")
    return file
