"""Clicks and purchases are joined to the last impression within their windows, on streams made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers_logs import ALL_TRAIN, attributed, moment, stream

from recenv.core.errors import InputError
from recenv.data.logs import BuildOptions, build
from recenv.data.schema import Dataset, RawTables

MINUTE, DAY = 60.0, 86400.0
LATE = ("z", "view", "i", 60 * DAY)
"""An event long after all others, so that every window is over at the log's end."""


def responses(data: Dataset) -> dict[tuple[str, str, float], tuple[float, float]]:
    """(user, item, seconds after the start) of each impression: its click and purchase."""
    shown = data.events[data.events["kind"] == "impression"]
    seconds = (shown["timestamp"] - moment(0)).dt.total_seconds()
    keys = zip(shown["user_id"], shown["item_id"], seconds)
    return dict(zip(keys, zip(shown["click"].tolist(), shown["purchase"].tolist())))


def acts(data: Dataset) -> list[tuple[str, str, str]]:
    own = data.events[data.events["kind"] != "impression"]
    own = own[own["user_id"] != "z"]
    return sorted(zip(own["user_id"], own["kind"].astype("str"), own["item_id"]))


def test_last_touch_within_the_windows() -> None:
    log = stream(
        [
            ("a", "impression", "i", 0), ("a", "impression", "i", 10 * MINUTE), ("a", "click", "i", 12 * MINUTE),
            ("a", "purchase", "i", 2 * DAY),
            ("b", "impression", "i", 0), ("b", "click", "i", 30 * MINUTE), ("b", "purchase", "i", 7 * DAY),
            ("c", "impression", "i", 0), ("c", "click", "i", 30 * MINUTE + 1), ("c", "purchase", "i", 7 * DAY + 1),
            ("d", "impression", "i", 0), ("d", "click", "j", 60), ("d", "purchase", "j", 60),
            ("e", "click", "i", 60), ("e", "impression", "i", 61),
            LATE,
        ]
    )  # fmt: skip
    data = build(log, ALL_TRAIN)
    assert responses(data) == {
        ("a", "i", 0.0): (0.0, 0.0),
        ("a", "i", 600.0): (1.0, 1.0),
        ("b", "i", 0.0): (1.0, 1.0),
        ("c", "i", 0.0): (0.0, 0.0),
        ("d", "i", 0.0): (0.0, 0.0),
        ("e", "i", 61.0): (0.0, 0.0),
    }
    # what answers no impression: a purchase stays the user's own act, a click is set aside; a joined one has no twin
    assert acts(data) == [("c", "purchase", "i"), ("d", "purchase", "j")]
    assert data.meta["quarantined"] == {"click_without_impression": 3}
    assert sorted(data.quarantine["row"]) == [8, 11, 13]
    assert data.meta["counts"]["clicks_joined"] == 2
    assert data.meta["counts"]["purchases_joined"] == 2


def test_each_impression_takes_one_act_of_a_kind() -> None:
    log = stream(
        [("a", "impression", "i", 0), ("a", "click", "i", 9), ("a", "click", "i", 5), ("a", "purchase", "i", 20),
         ("a", "purchase", "i", 30), LATE],
        revenue=[np.nan, np.nan, np.nan, 7.0, 5.0, np.nan],
    )  # fmt: skip
    data = build(log, ALL_TRAIN)
    shown = data.events[data.events["kind"] == "impression"]
    assert shown[["click", "purchase", "revenue"]].to_numpy().tolist() == [[1.0, 1.0, 7.0]]
    assert acts(data) == [("a", "purchase", "i")]
    repeated = data.quarantine[data.quarantine["reason"] == "repeated_click"]
    assert repeated["row"].tolist() == [1]


def test_windows_are_options() -> None:
    log = stream([("a", "impression", "i", 0), ("a", "click", "i", 50), ("a", "purchase", "i", 500), LATE])
    assert responses(build(log, replace(ALL_TRAIN, click_window=49))) == {("a", "i", 0.0): (0.0, 1.0)}
    assert responses(build(log, replace(ALL_TRAIN, purchase_window=499))) == {("a", "i", 0.0): (1.0, 0.0)}


def test_an_impression_whose_window_is_open_at_the_end_is_dropped_with_its_clicks() -> None:
    log = stream(
        [("a", "impression", "i", 0), ("a", "purchase", "i", 60),
         ("b", "impression", "i", 8 * DAY), ("b", "click", "i", 8 * DAY + 5), ("b", "purchase", "i", 8 * DAY + 6),
         ("c", "view", "i", 9 * DAY)]
    )  # fmt: skip
    data = build(log, ALL_TRAIN)
    assert list(responses(data)) == [("a", "i", 0.0)]
    assert data.meta["quarantined"] == {"click_of_dropped_impression": 1, "window_open_at_end": 1}
    assert acts(data) == [("b", "purchase", "i"), ("c", "view", "i")]


def test_an_impression_whose_window_crosses_a_split_is_dropped() -> None:
    rows = [(f"u{k}", kind, "i", k * DAY + s) for k in range(80) for kind, s in (("impression", 0), ("purchase", DAY))]
    data = build(stream(rows), BuildOptions(purchase_window=3 * DAY))
    cuts = [pd.Timestamp(t) for t in data.meta["split_times"]]
    shown = data.events[data.events["kind"] == "impression"]
    for cut in cuts:
        inside = (shown["timestamp"] < cut) & (shown["timestamp"] + pd.Timedelta(days=3) > cut)
        assert not inside.any()
    assert data.meta["quarantined"]["window_crosses_split"] >= 6
    for before, after in (("train", "calibration"), ("calibration", "validation"), ("validation", "test")):
        times = data.events.groupby("split", observed=True)["timestamp"]
        assert times.max()[before] < times.min()[after]


def test_of_one_item_shown_twice_at_a_moment_the_first_place_takes_the_act() -> None:
    log = stream(
        [("a", "impression", "i", 0), ("a", "impression", "i", 0), ("a", "click", "i", 5), LATE],
        position=[2, 1, None, 1],
    )
    data = build(log, ALL_TRAIN)
    shown = data.events[data.events["kind"] == "impression"]
    assert shown[["position", "click"]].astype(float).to_numpy().tolist() == [[1.0, 1.0], [2.0, 0.0]]


def test_responses_on_the_rows_are_left_as_they_are() -> None:
    log = attributed()
    extra = log.events.iloc[:5].assign(kind="purchase", click=np.nan, propensity=np.nan)
    given = log.events["click"].sum()
    data = build(replace(log, events=pd.concat([log.events, extra], ignore_index=True)))
    shown = data.events[data.events["kind"] == "impression"]
    assert shown["click"].sum() == given
    assert shown["purchase"].isna().all()
    assert data.events["kind"].value_counts()["purchase"] == 5


def test_purchases_in_order_time_need_their_sessions_and_use_order_windows() -> None:
    rows = [("a", "impression", "i", 1), ("a", "purchase", "i", 3), ("a", "impression", "i", 4), ("a", "view", "i", 90)]
    frame = pd.DataFrame(rows, columns=["user_id", "kind", "item_id", "timestamp"])
    with pytest.raises(InputError, match="session_id"):
        build(RawTables(frame), ALL_TRAIN)
    data = build(RawTables(frame.assign(session_id="s")), replace(ALL_TRAIN, purchase_window=5))
    assert data.events["purchase"].tolist()[:2] == [1.0, 0.0]
    assert data.meta["time"] == "order"


def test_sessions_end_after_the_gap() -> None:
    log = stream([("a", "view", "i", s) for s in (0, 1800, 3601, 3602)] + [("b", "view", "i", 3602)])
    data = build(log, ALL_TRAIN)
    assert data.events["session_id"].tolist() == ["a#00000", "a#00000", "a#00001", "a#00001", "b#00000"]


def test_a_session_is_never_split_and_fractions_hold() -> None:
    data = build(attributed(4000, users=60))
    assert data.events.groupby("session_id")["split"].nunique().max() == 1
    share = data.events["split"].value_counts(normalize=True)
    np.testing.assert_allclose(
        [share[s] for s in ("train", "calibration", "validation", "test")], [0.7, 0.1, 0.1, 0.1], atol=0.01
    )


def test_explicit_times_and_users_split() -> None:
    cuts = ("2024-03-11T00:00:00Z", "2024-03-21T00:00:00Z", "2024-03-31T00:00:00Z")
    data = build(attributed(), BuildOptions(split_times=cuts))
    assert data.meta["split_times"] == [f"{c[:-1]}+00:00" for c in cuts]
    by_user = build(attributed(), BuildOptions(split_by="user", seed=3))
    assert by_user.events.groupby("user_id")["split"].nunique().max() == 1
    other = build(attributed(), BuildOptions(split_by="user", seed=4))
    assert not by_user.events["split"].equals(other.events["split"])


def test_given_splits_that_would_leak_responses_are_refused() -> None:
    rows = [("a", "impression", "i", 0), ("a", "purchase", "i", 60), ("a", "view", "i", 9 * DAY), LATE]
    log = stream(rows, split=["train", "test", "train", "train"], session_id=["1", "2", "3", "4"])
    with pytest.raises(InputError, match="overlap in time and share users"):
        build(log)
    log.events["session_id"] = "1"
    with pytest.raises(InputError, match="two of the given splits"):
        build(log)


def test_session_numbers_that_start_anew_for_each_user() -> None:
    log = stream([("a", "view", "i", 0), ("b", "view", "i", 9)], session_id=["1", "1"])
    assert build(log, ALL_TRAIN).events["session_id"].tolist() == ["a#1", "b#1"]
