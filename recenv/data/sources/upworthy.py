"""Source `upworthy`: headline A/B tests. Each story is an item, its headlines are the copies, chosen at random.

The archive counts impressions and clicks of each arm. They come back as weighted rows: for each arm, split and group of
readers one row for its clicks and one for the rest, whose weights are the numbers of impressions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from recenv.core.errors import InputError
from recenv.data.columns import SPLITS
from recenv.data.quarantine import ROW, SOURCE, Quarantine
from recenv.data.schema import RawTables
from recenv.data.sources.files import column_names, find_file, read_columns
from recenv.data.sources.upworthy_text import headline_form, shared_words

TEST, COUNTS = "clickability_test_id", ("impressions", "clicks")
FAULTY_WEEKS = (201325, 201402)
"""Tests begun in this window may have been assigned unequally (the archive's own warning)."""
UNEQUAL = 1e-4
"""A test whose arms' impressions are less likely than this under equal assignment is set aside."""


@dataclass(frozen=True)
class UpworthyOptions:
    """Options of the source.

    Args:
        seed: key of the draw that divides each arm's impressions among splits and groups of readers.
        shares: of the impressions in train, calibration, validation and test.
        groups: groups of readers a test and split; world and judge are fitted on different groups.
        faulty_weeks: keep the tests of the window in which assignment may not have been random.
    """

    seed: int = 0
    shares: tuple[float, float, float, float] = (0.4, 0.1, 0.1, 0.4)
    groups: int = 4
    faulty_weeks: bool = False

    def __post_init__(self) -> None:
        good = len(self.shares) == len(SPLITS) and all(math.isfinite(s) and s >= 0 for s in self.shares)
        if not good or abs(sum(self.shares) - 1) > 1e-9:
            raise InputError("option 'shares'", f"{self.shares} are no four shares that sum to 1", "Use .4 .1 .1 .4.")
        if self.groups < 1:
            raise InputError("option 'groups'", f"is {self.groups}", "Give a whole number above 0.")


def load(path: str | None = None, options: UpworthyOptions | None = None) -> RawTables:
    """Read the tests that differ in their headline alone.

    Args:
        path: the archive's file of packages, or a folder that holds `upworthy_exploratory` or `headline_only_arms`
            (Parquet or CSV; the first is preferred, since it tells how many packages carried each headline).
        options: see `UpworthyOptions`.

    Raises:
        InputError: no such file, another file's columns, or no test left.
    """
    options = options or UpworthyOptions()
    file = find_file("upworthy", path, ("upworthy_exploratory", "headline_only_arms"))
    quarantine = Quarantine()
    arms, counted = read_arms(file, quarantine)
    arms = sift_tests(arms, quarantine, options)
    if arms.empty:
        raise InputError(str(file), f"no test is left; set aside: {quarantine.counts}", "Give the archive's own file.")
    arms["copy_id"] = arms[TEST] + "-" + arms.groupby(TEST).cumcount().astype("str")
    offers = pd.DataFrame({"offer_id": np.arange(arms[TEST].nunique(), dtype=np.int32), TEST: arms[TEST].unique()})
    events = _events(arms, counted, options)
    visits = events[["session_id", "item_id"]].drop_duplicates().merge(offers, left_on="item_id", right_on=TEST)
    meta = _meta(file, counted, options)
    return RawTables(
        events, _items(arms), None, _copies(arms), meta, attributed=True, quarantine=quarantine.frame(),
        offers=offers.rename(columns={TEST: "item_id"}), visits=visits[["session_id", "offer_id"]],
    )  # fmt: skip


def read_arms(file: Path, quarantine: Quarantine) -> tuple[pd.DataFrame, bool]:
    """One row a test and headline: test, headline, impressions, clicks, packages, week; and whether packages are known.

    Where the file lists packages, those of tests with several images are set aside, and packages with one headline
    become one arm. Where it lists arms, the number of packages is guessed, from an arm's impressions over its test's
    smallest: enough to set uneven tests aside, but no ground for a propensity.
    """
    types: dict[str, Any] = {TEST: str, "headline": str, "test_week": int, **dict.fromkeys(COUNTS, int)}
    columns = column_names(file)
    counted = "eyecatcher_id" in columns
    table = read_columns(file, types | ({"eyecatcher_id": str} if counted else {}))
    table[SOURCE], table[ROW] = file.name, np.arange(len(table))
    table = quarantine.sift(table, _row_faults(table), "arms")
    if counted:
        images = table.groupby(TEST)["eyecatcher_id"].transform(lambda ids: ids.nunique(dropna=False))
        table = quarantine.take(table, (images > 1).to_numpy(bool), "several_images", "arms")
    arms = table.groupby([TEST, "headline"], as_index=False, sort=True).agg(
        impressions=("impressions", "sum"), clicks=("clicks", "sum"), packages=("clicks", "size"),
        week=("test_week", "min"),
    )  # fmt: skip
    # A test run on past a Sunday is still one decision: all its arms begin in one week.
    arms["week"] = arms.groupby(TEST)["week"].transform("min")
    if not counted and len(arms):
        smallest = arms.groupby(TEST)["impressions"].transform("min")
        arms["packages"] = np.maximum((arms["impressions"] / smallest).round(), 1.0)
    return arms, counted


def sift_tests(arms: pd.DataFrame, quarantine: Quarantine, options: UpworthyOptions) -> pd.DataFrame:
    """Arms of the tests that can be used: two headlines or more, outside the faulty window, evenly assigned.

    Even assignment: chi-squared of the impressions against the shares of the packages, p >= UNEQUAL.
    """
    test = arms.groupby(TEST)
    size, total = test["headline"].transform("size"), test["impressions"].transform("sum")
    arms = arms.assign(propensity=arms["packages"] / test["packages"].transform("sum"))
    expected = total * arms["propensity"]
    distance = ((arms["impressions"] - expected) ** 2 / expected).groupby(arms[TEST]).transform("sum")
    p = chi2.sf(distance.to_numpy(np.float64), np.maximum(size.to_numpy(np.float64) - 1, 1))
    why = np.full(len(arms), "", dtype=object)
    why[p < UNEQUAL] = "unequal_assignment"
    if not options.faulty_weeks:
        why[arms["week"].between(*FAULTY_WEEKS).to_numpy()] = "randomisation_risk"
    why[(size < 2).to_numpy()] = "one_headline"
    return quarantine.sift(arms, why, "arms").reset_index(drop=True)


def _row_faults(table: pd.DataFrame) -> NDArray[np.object_]:
    why = np.full(len(table), "", dtype=object)
    why[~(table["clicks"] >= 0).to_numpy() | ~(table["clicks"] <= table["impressions"]).to_numpy()] = (
        "clicks_impossible"
    )
    why[~(table["impressions"] > 0).to_numpy()] = "no_impressions"
    week = table["test_week"] % 100
    why[~((table["test_week"] >= 201000) & (week <= 53)).to_numpy()] = "week_unreadable"
    why[(table[TEST].isna() | table["headline"].isna()).to_numpy()] = "headline_missing"
    return why


def divide(
    counts: NDArray[np.int64], shares: tuple[float, ...], groups: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Each count divided at random among splits and groups: (n, splits, groups), binomial at each cut."""
    chance = np.repeat(np.asarray(shares) / groups, groups)
    return rng.multinomial(counts, chance / chance.sum()).reshape(len(counts), len(shares), groups)


def _events(arms: pd.DataFrame, counted: bool, options: UpworthyOptions) -> pd.DataFrame:
    rng = np.random.default_rng([options.seed, 41])
    clicks = arms["clicks"].to_numpy(np.int64)
    rest = arms["impressions"].to_numpy(np.int64) - clicks
    weight = np.stack([divide(counts, options.shares, options.groups, rng) for counts in (rest, clicks)], axis=-1)
    arm, split, group, click = np.nonzero(weight)
    test = arms[TEST].to_numpy(object)[arm].astype(str)
    names = np.array(SPLITS)[split]
    reader = pd.Series(test).str.cat([pd.Series(names), pd.Series(group.astype(str))], sep="/")
    begun = pd.to_datetime([_monday(int(week)) for week in arms["week"]]).as_unit("us")
    return pd.DataFrame(
        {
            "user_id": reader,
            "item_id": test,
            "session_id": reader,
            "timestamp": begun[arm],
            "kind": "impression",
            "split": names,
            "copy_id": arms["copy_id"].to_numpy(object)[arm],
            "position": 1,
            "propensity": arms["propensity"].to_numpy()[arm] if counted else np.nan,
            "click": click.astype(np.float64),
            "weight": weight[arm, split, group, click].astype(np.float64),
        }
    )


def _monday(week: int) -> datetime:
    """The Monday of a week written as year and number (weeks from 0, Monday first)."""
    return datetime.strptime(f"{week // 100}-{week % 100:02d}-1", "%Y-%W-%w").replace(tzinfo=UTC)


def _items(arms: pd.DataFrame) -> pd.DataFrame:
    texts = arms.groupby(TEST)["headline"].agg(lambda headlines: shared_words(headlines.tolist()))
    return pd.DataFrame({"item_id": texts.index.astype("str"), "text": texts.to_numpy(), "category": "story"})


def _copies(arms: pd.DataFrame) -> pd.DataFrame:
    headline = arms["headline"].str.replace(r"\s+", " ", regex=True).str.strip()
    return pd.DataFrame(
        {
            "copy_id": arms["copy_id"],
            "item_id": arms[TEST],
            "style": [headline_form(text) for text in headline],
            "template": headline,
            "text": headline,
        }
    )


def _meta(file: Path, counted: bool, options: UpworthyOptions) -> dict[str, Any]:
    assigned = (
        "Readers were assigned to packages evenly: the propensity of a headline is its share of the test's packages"
        if counted
        else "Readers were assigned to packages evenly by design, but this file does not tell how many packages "
        "carried a headline. Shares guessed from the impressions would fit them whatever happened, so no propensity is "
        "given: it is unknown, to be estimated, and no audit can make it RANDOMISED"
    )
    window = "are kept" if options.faulty_weeks else "are set aside"
    return {
        "name": "upworthy",
        "source": "upworthy",
        "licence": "CC BY 4.0",
        "provenance": [
            "Upworthy Research Archive: Matias, Munger, Aubin Le Quere and Ebersole, Scientific Data 8:195 (2021), "
            f"OSF DOI 10.17605/OSF.IO/JD64P; file {file.name}: tests whose packages differ in the headline alone."
        ],
        "kind": "real",
        "exposure": "observed",
        "propensity": "known" if counted else "unknown",
        "negatives": "observed",
        "one_visit_rows": True,
        "slots_per_visit": 1,
        "assumed": [
            assigned,
            f"Tests whose impressions are too uneven for their packages (chi-squared, p < {UNEQUAL:g}) are set aside "
            "here, before any audit of propensities: that audit sees what passed this one, and can hardly fail",
            f"Tests of the weeks {FAULTY_WEEKS[0]} to {FAULTY_WEEKS[1]}, whose assignment may be at fault, {window}",
            "The archive holds counts, no readers: weights are numbers of impressions, and a user id stands for a "
            "group of readers of one test, never for a person",
            "Each arm's impressions are divided among the splits at random (multinomially), not by time",
            "It is news, not shop copy: what a headline's effect says about products is an assumption",
            "items.text: the words that most of a story's headlines share; copies.style: the headline's outer form",
            "The time of an event is the Monday of the test's week",
        ],
    }
