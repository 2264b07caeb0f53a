"""Warnings of values that can be read and are probably wrong: times long past, ids that stand for nothing."""

from __future__ import annotations

import pandas as pd

_FIRST_YEAR = 1990
_NO_IDS = {"nan", "NaN", "NAN", "None", "none", "null", "NULL", "NA", "N/A", "n/a", "undefined"}


def odd_times(times: pd.Series | None) -> list[str]:
    """A warning where times lie before the first web shops: another `time_unit` is the likely cause."""
    if times is None or not isinstance(times.dtype, pd.DatetimeTZDtype) or times.isna().all():
        return []
    first, last = times.min(), times.max()
    if first.year >= _FIRST_YEAR:
        return []
    return [f"times run from {first.date()} to {last.date()}: is `time_unit` of the mapping right?"]


def odd_ids(events: pd.DataFrame) -> list[str]:
    """Warnings of ids that stand for nothing ('nan') or are another id written as a float ('7' and '7.0')."""
    found = []
    for name in (n for n in ("user_id", "item_id") if n in events):
        ids = {str(value) for value in events[name].dropna().unique()}
        if words := sorted(ids & _NO_IDS):
            told = ", ".join(map(repr, words))
            found.append(f"{name} {told} is taken for an id: if it means 'none', list it in `missing` of the mapping")
        if twice := sorted(value for value in ids if value.endswith(".0") and value[:-2] in ids):
            found.append(f"{len(twice):,} of {name} occur as text and as float, {twice[0]!r} and {twice[0][:-2]!r} say")
    return found
