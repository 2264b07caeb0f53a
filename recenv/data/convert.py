"""Text cells to numbers, flags and times, each failure named by file, row and value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.checks import shorten

_FLAGS = {"1": 1.0, "true": 1.0, "yes": 1.0, "1.0": 1.0, "0": 0.0, "false": 0.0, "no": 0.0, "0.0": 0.0}
_SPAN = (-2_208_988_800, 4_102_444_800)
"""Seconds of the years 1900 to 2100: outside them a declared unit is wrong."""
_PER_SECOND = {"s": 1, "ms": 1000}
_ZONE = r":\d{2}.*([Zz]|[+-]\d{2}(:?\d{2})?)$"

_NUMBER = (
    "Write it as 1234.50, without separators of thousands, decimal comma or currency; a word that means 'not recorded' "
    "belongs into `missing` of the mapping."
)

Place = Callable[[int], str]
"""Names the file and row of a cell, from its index in the column."""


def to_number(values: pd.Series, place: Place) -> NDArray[np.float64]:
    """Cells as float64, NaN where missing.

    Raises:
        InputError: a cell that is not a finite number ("nan" and "inf" as text are refused).
    """
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype("float64").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    if _is_time(values):
        raise InputError(place(0), f"a column of type {values.dtype} where a number is wanted", "Mend the mapping.")
    numbers = pd.to_numeric(values.astype("str").str.strip(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    _refuse(values, values.notna().to_numpy() & ~np.isfinite(numbers), place, "is not a finite number", _NUMBER)
    return np.array(numbers)


def to_flag(values: pd.Series, place: Place) -> NDArray[np.float64]:
    """Cells as 1.0, 0.0 or NaN (missing): 1/0, true/false, yes/no, in any case.

    Raises:
        InputError: any other text.
    """
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_numeric_dtype(values.dtype):
        return to_number(values, place)
    codes, known = pd.factorize(values)
    flags = np.array([_FLAGS.get(str(v).strip().lower(), np.nan) for v in known] + [np.nan])[codes]
    _refuse(values, values.notna().to_numpy() & np.isnan(flags), place, "is not 0 or 1")
    return np.asarray(flags, np.float64)


def to_time(values: pd.Series, unit: str, place: Place) -> tuple[pd.Series, bool]:
    """Cells as datetime64[us, UTC] (`iso`, `s`, `ms`), or as int64 (`order`). Second: were they without a zone?

    Raises:
        InputError: a cell that is no time of that unit; times with and without a zone mixed; an order with gaps.
    """
    if unit == "order":
        return _order(values, place), False
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert("UTC").dt.as_unit("us"), False
    if _is_time(values):
        return values.dt.as_unit("us").dt.tz_localize("UTC"), True
    if unit in _PER_SECOND:
        return _since_1970(values, unit, place), False
    if pd.api.types.is_numeric_dtype(values.dtype):
        raise InputError(place(0), "a number where an ISO time is wanted", "Set time_unit to s, ms or order.")
    return _iso(values, place)


def guess(values: pd.Series) -> str:
    """`number` if every cell there is one and none has leading zeros (codes keep theirs), else `text`."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return "number"
    known = pd.Series(pd.unique(values.dropna()), dtype="str")
    if known.empty or known.str.match(r"^[+-]?0\d").any():
        return "text"
    return "number" if np.isfinite(pd.to_numeric(known, errors="coerce").to_numpy(np.float64)).all() else "text"


def _iso(values: pd.Series, place: Place) -> tuple[pd.Series, bool]:
    text = values.astype("str").str.strip()
    cells = pa.array(text, type=pa.large_string(), from_pandas=True)
    digits = _true(pc.match_substring_regex(cells, r"^[+-]?[0-9.]+$"))
    _refuse(values, digits, place, "is a number, not an ISO time", "Set time_unit to s, ms or order.")
    there = values.notna().to_numpy()
    times = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    _refuse(values, there & times.isna().to_numpy(), place, "is no ISO 8601 time", "Write 2024-05-01T12:00:00Z.")
    zoned = _true(pc.match_substring_regex(cells, _ZONE))
    if (zoned & there).any() and (~zoned & there).any():
        bare, aware = int(np.argmax(~zoned & there)), int(np.argmax(zoned & there))
        what = f"{shorten(values.iloc[bare])} has no zone while {place(aware)} has one ({shorten(values.iloc[aware])})"
        raise InputError(place(bare), what, "Give every time a zone, or none.")
    return times.dt.as_unit("us"), not zoned.any()


def _since_1970(values: pd.Series, unit: str, place: Place) -> pd.Series:
    seconds = to_number(values, place) / _PER_SECOND[unit]
    there = ~np.isnan(seconds)
    outside = there & ((seconds < _SPAN[0]) | (seconds > _SPAN[1]))
    _refuse(values, outside, place, f"is not a time in {unit} since 1970", "Check time_unit (iso, s, ms, order).")
    micros = np.where(there, np.round(np.where(there, seconds, 0) * 1e6), np.iinfo(np.int64).min).astype(np.int64)
    return pd.Series(micros.view("datetime64[us]"), index=values.index).dt.tz_localize("UTC")


def _order(values: pd.Series, place: Place) -> pd.Series:
    if values.isna().any():
        _refuse(values, values.isna().to_numpy(), place, "is missing; an order needs every number")
    if not pd.api.types.is_integer_dtype(values.dtype):
        whole = values.astype("str").str.strip().str.fullmatch(r"[+-]?\d{1,18}").to_numpy(dtype=bool)
        _refuse(values, ~whole, place, "is not a whole number")
        values = values.astype("str").str.strip()
    return values.astype("int64")


def _true(mask: Any) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)


def _is_time(values: pd.Series) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(values.dtype))


def _refuse(values: pd.Series, bad: NDArray[np.bool_], place: Place, what: str, mend: str = "Mend the cell.") -> None:
    if bad.any():
        row = int(np.argmax(bad))
        others = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
        raise InputError(place(row), f"{shorten(values.iloc[row])} {what}{others}", mend)
