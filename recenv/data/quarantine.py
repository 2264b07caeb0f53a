"""Rows that are set aside: each with its reason, its place of origin and its content."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.data.columns import QUARANTINE_COLUMNS

SOURCE, ROW = "__source__", "__row__"
"""Columns of raw tables that say which file and 0-based data row a row came from."""


class Quarantine:
    """Collects rows set aside; the first reason found for a row is the one kept."""

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []
        self.counts: dict[str, int] = {}

    def take(self, frame: pd.DataFrame, bad: NDArray[np.bool_], reason: str, table: str = "events") -> pd.DataFrame:
        """Set aside the rows of `frame` where `bad` (bool, shape (rows,)); return the others."""
        if not bad.any():
            return frame
        self.add(frame[bad], reason, table)
        return frame[~bad]

    def sift(self, frame: pd.DataFrame, reason: NDArray[np.object_], table: str = "events") -> pd.DataFrame:
        """Set aside the rows whose `reason` (str, shape (rows,)) is not empty; return the others."""
        bad = reason != ""
        if not bad.any():
            return frame
        for name in sorted(set(reason[bad])):
            self.add(frame[reason == name], name, table)
        return frame[~bad]

    def add(self, rows: pd.DataFrame, reason: str, table: str = "events") -> None:
        """Set aside all `rows`, which keep their order."""
        source: Any = rows[SOURCE].astype("str") if SOURCE in rows else "table"
        row: Any = rows[ROW].astype("int64") if ROW in rows else np.arange(len(rows))
        record = _records(rows.drop(columns=[SOURCE, ROW], errors="ignore"))
        columns = {"table": table, "reason": reason, "source": source, "row": row, "record": record}
        self._parts.append(pd.DataFrame(columns, index=rows.index))
        self.counts[reason] = self.counts.get(reason, 0) + len(rows)

    def merge(self, rows: pd.DataFrame | None) -> None:
        """Take over rows that a reader has set aside already (columns QUARANTINE_COLUMNS)."""
        if rows is not None and len(rows):
            self._parts.append(rows[list(QUARANTINE_COLUMNS)])
            for reason, n in rows["reason"].value_counts().items():
                self.counts[str(reason)] = self.counts.get(str(reason), 0) + int(n)

    def frame(self) -> pd.DataFrame:
        """All rows set aside, sorted by table, source, row: the columns of QUARANTINE_COLUMNS."""
        types = {"table": "str", "reason": "str", "source": "str", "row": "int64", "record": "str"}
        if not self._parts:
            return pd.DataFrame({name: pd.Series([], dtype=types[name]) for name in QUARANTINE_COLUMNS})
        joined = pd.concat(self._parts, ignore_index=True).astype(types)
        return joined.sort_values(["table", "source", "row", "reason"], kind="stable", ignore_index=True)


def _records(rows: pd.DataFrame) -> list[str]:
    """Each row as one line of JSON. Numbers go as text, since JSON has no infinity."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    parts = []
    for name in rows.columns:
        codes, known = pd.factorize(rows[name])
        key = encode(str(name))
        texts = [f"{key}: {encode(str(value))}" for value in known.tolist()]
        parts.append(np.array([*texts, f"{key}: null"], dtype=object)[codes].tolist())
    return ["{" + ", ".join(cells) + "}" for cells in zip(*parts, strict=True)]
