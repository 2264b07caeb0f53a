"""Arms of headline tests that differ in their text alone, for the model of what wording does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recenv.core.errors import InputError
from recenv.data.sources.files import column_names, find_file, read_columns
from recenv.data.sources.upworthy import COUNTS, FAULTY_WEEKS, TEST


def arms_table(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row an arm: test, group (arms of one test with one image), headline, impressions, clicks; and the counts.

    Packages of a test with one image and headline are one arm. Tests begun in the faulty window are dropped, and groups
    with a single headline.

    Raises:
        InputError: no such file, or nothing left.
    """
    file = find_file("upworthy", str(path), ("upworthy_exploratory", "headline_only_arms"))
    types: dict[str, Any] = {TEST: str, "headline": str, "test_week": int, **dict.fromkeys(COUNTS, int)}
    image = "eyecatcher_id" in column_names(file)
    table = read_columns(file, types | ({"eyecatcher_id": str} if image else {}))
    packages = len(table)
    table["image"] = table["eyecatcher_id"].fillna("") if image else ""
    table = table.dropna(subset=[TEST, "headline"])
    table = table[~table["test_week"].between(*FAULTY_WEEKS)]
    arms = table.groupby([TEST, "image", "headline"], as_index=False)[list(COUNTS)].sum()
    arms = arms[(arms["impressions"] >= 100) & (arms["clicks"] <= arms["impressions"])]
    arms["group"] = arms.groupby([TEST, "image"]).ngroup()
    arms = arms[arms.groupby("group")["headline"].transform("size") > 1].reset_index(drop=True)
    if arms.empty:
        raise InputError(str(file), "no test with two headlines to one image is left", "Give the archive's own file.")
    counts = {"file": file.name, "packages": packages, "arms": len(arms), "faulty_weeks": list(FAULTY_WEEKS)}
    return arms, counts | {"tests": int(arms[TEST].nunique()), "impressions": int(np.sum(arms["impressions"]))}
