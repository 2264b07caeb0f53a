"""The recommender: right choices and propensities, named errors, a marked fallback, no torch."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from helpers_serving import NOW, history, policy, shared_bundle, tiny_world

from recenv.core.errors import InputError
from recenv.serving.bundle import Bundle
from recenv.serving.choice import NOTHING, distribution
from recenv.serving.history import read_history, read_time
from recenv.serving.recommender import NONE_ITEM, Recommender

USER = {"age": "60+", "channel": "app"}


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(shared_bundle("popular", tmp_path_factory))


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(shared_bundle("model-greedy", tmp_path_factory))


def test_recommendations_are_what_the_policy_would_do(greedy: Recommender) -> None:
    made, chosen = policy("model-greedy"), []
    ids = tiny_world().items["item_id"].to_pylist()
    for seed in range(6):
        events, eligible = history(seed), ids[seed::2]
        request = greedy.request(USER, events, now=NOW, eligible=eligible)
        action = int(made.act(request.observation, request.mask, np.random.default_rng(0))[0])
        (row,) = greedy.recommend(USER, events, now=NOW, eligible=eligible)
        item, copy = (int(table[action]) for table in (tiny_world().action_item, tiny_world().action_copy))
        assert row["item_id"] == tiny_world().items["item_id"][item].as_py()
        assert row["copy_id"] == tiny_world().copies["copy_id"][copy].as_py()
        assert row["propensity"] == 1.0
        assert (row["policy"], row["fallback"], row["position"]) == ("model-greedy", False, 1)
        assert "{" not in row["text"]
        chosen.append(row["item_id"])
    assert len(set(chosen)) > 1


def test_lists_hold_distinct_items_by_falling_score(greedy: Recommender) -> None:
    rows = greedy.recommend(USER, history(1), k=8, now=NOW)
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert len({row["item_id"] for row in rows}) == len(rows)
    scored = [row["score"] for row in rows if row["item_id"] != NONE_ITEM]
    assert len(scored) > 2
    assert scored == sorted(scored, reverse=True)


def test_what_the_session_has_shown_is_not_shown_again(popular: Recommender) -> None:
    first = popular.recommend(USER, [], now=NOW)[0]["item_id"]
    shown = {"item_id": first, "kind": "impression", "timestamp": NOW - 60}
    assert popular.recommend(USER, [shown], now=NOW)[0]["item_id"] != first
    assert popular.recommend(USER, [shown | {"timestamp": NOW - 1801}], now=NOW)[0]["item_id"] == first
    named = [shown | {"session_id": "s1"}]
    assert popular.recommend(USER, named, now=NOW, session_id="s2")[0]["item_id"] == first
    assert popular.recommend(USER, named, now=NOW + 9999, session_id="s1")[0]["item_id"] != first


def test_eligible_and_excluded_items(popular: Recommender) -> None:
    rows = popular.recommend(USER, k=9, now=NOW, eligible=["i0003", "i0004", "i0007", "new"], exclude=["i0004", "gone"])
    assert {row["item_id"] for row in rows} == {"i0003", "i0007"}
    assert rows.notes == {"unknown_eligible": 1, "unknown_exclude": 1}
    (nothing,) = popular.recommend(USER, now=NOW, eligible=[])
    assert (nothing["item_id"], nothing["copy_id"], nothing["propensity"], nothing["text"]) == (
        NONE_ITEM,
        None,
        1.0,
        "",
    )


def test_unknown_items_and_copies_are_counted(popular: Recommender) -> None:
    events = [
        {"item_id": "gone", "kind": "view", "timestamp": NOW - 9},
        {"item_id": "i0001", "kind": "impression", "timestamp": NOW - 8, "copy_id": "gone"},
    ]
    assert popular.recommend(USER, events, now=NOW).notes == {"unknown_items": 1, "unknown_copies": 1}


@pytest.mark.parametrize("explore", [0.0, 0.4])
def test_propensities_are_the_frequencies_of_what_is_shown(popular: Recommender, explore: float) -> None:
    recommender = Recommender(popular.bundle, explore)
    stated: dict[tuple[str, str], float] = {}
    count: Counter[tuple[str, str]] = Counter()
    eligible = ["i0001", "i0002", "i0003"]
    n = 1500
    request = recommender.request(USER, now=NOW, eligible=eligible)
    score, _ = recommender._score(request)
    for seed in range(n):
        rows = recommender._rank(score, request, 1, np.random.default_rng(seed), False)
        key = (rows[0]["item_id"], rows[0]["copy_id"])
        assert stated.setdefault(key, rows[0]["propensity"]) == rows[0]["propensity"]
        count[key] += 1
    assert len(stated) == (6 if explore else 2)
    assert sum(stated.values()) == pytest.approx(1.0)
    for key, propensity in stated.items():
        assert count[key] / n == pytest.approx(propensity, abs=4 * np.sqrt(propensity * (1 - propensity) / n))


def test_rules_of_choice() -> None:
    item = np.array([-1, 0, 0, 1, 1, 1, 2], np.int32)
    mask = np.array([1, 1, 0, 1, 0, 1, 0], bool)
    score = np.array([NOTHING, 1, 9, 3, 3, 3, 9.0])
    np.testing.assert_allclose(distribution("best", score, mask, item), [0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(distribution("best-item", score, mask, item), [0, 0, 0, 0.5, 0, 0.5, 0])
    np.testing.assert_allclose(distribution("weights", score, mask, item), [0, 0.25, 0, 0.375, 0, 0.375, 0])
    np.testing.assert_allclose(distribution("weights", score * 0, mask, item), [0, 0.5, 0, 0.25, 0, 0.25, 0])
    explored = distribution("best", score, mask, item, explore=0.2)
    np.testing.assert_allclose(explored, [0, 0.1, 0, 0.85, 0, 0.05, 0])
    np.testing.assert_allclose(distribution("best", score, mask & (item < 0), item, explore=0.2)[0], 1.0)


def test_the_same_seed_gives_the_same_answer(popular: Recommender) -> None:
    answers = [list(popular.recommend(USER, history(2), k=5, now=NOW, seed=s)) for s in (7, 7, 8, 9, 10, 11)]
    assert answers[0] == answers[1]
    assert any(other != answers[0] for other in answers[2:])


class _Broken:
    """A graph that gives what it is told to, or fails."""

    def __init__(self, bundle: Bundle, value: float | None) -> None:
        self.bundle, self.value = bundle, value

    def run(self, observation: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.value is None:
            raise RuntimeError("out of order")
        action, score = self.bundle.policy.run(observation, mask)
        return action, np.full_like(score, self.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_a_broken_model_gives_the_fallback_marked_as_such(
    greedy: Recommender, popular: Recommender, value: float | None
) -> None:
    broken = Recommender(Bundle.load(greedy.bundle.path), explore=0.5)
    broken.bundle.policy = _Broken(greedy.bundle, value)  # type: ignore[assignment]
    rows = broken.recommend(USER, history(3), k=3, now=NOW, seed=1)
    expected = popular.recommend(USER, history(3), k=3, now=NOW, seed=1)
    assert all(row["fallback"] and row["policy"] == "popular" for row in rows)
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in expected]
    assert "model" in rows.notes["fallback"]


def view(item: int, at: str) -> dict[str, Any]:
    return {"item_id": f"i{item:04d}", "kind": "view", "timestamp": at}


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"user": {"shoe_size": 9}}, "shoe_size"),
        ({"user": {"age": float("nan")}}, "age"),
        ({"user": {"age": float("inf")}}, "age"),
        ({"user": {"age": 10**400}}, "age"),
        ({"user": {"age": ["60+"]}}, "age"),
        ({"user": None}, "user"),
        ({"history": "view"}, "history"),
        ({"now": 10**400}, "now"),
        ({"context": {"ctx_rain": 1.0}}, "ctx_rain"),
        ({"k": 0}, "k"),
        ({"k": True}, "k"),
        ({"seed": -1}, "seed"),
        ({"now": float("nan")}, "now"),
        ({"history": [view(1, "2023-11-13T22:13:20"), view(2, "2023-11-13T22:13:20Z")]}, "history[0].timestamp"),
        ({"now": "yesterday"}, "now"),
        ({"eligible": "i0001"}, "eligible"),
        ({"history": ["view"]}, "history[0]"),
        ({"history": [{"item_id": "i0001", "kind": "glance", "timestamp": 1}]}, "history[0].kind"),
        ({"history": [{"item_id": "i0001", "kind": "view"}]}, "history[0].timestamp"),
        ({"history": [{"item_id": "i0001", "kind": "view", "timestamp": float("inf")}]}, "history[0].timestamp"),
        ({"history": [{"item_id": "i0001", "kind": "view", "timestamp": NOW + 1}]}, "history[0].timestamp"),
        ({"history": [{"item_id": 7, "kind": "view", "timestamp": 1}]}, "history[0].item_id"),
        ({"history": [{"item_id": "i0001", "kind": "view", "timestamp": 1, "price": 2}]}, "history[0].price"),
        ({"history": [{"item_id": "i0001", "kind": "view", "timestamp": 1, "click": True}]}, "history[0].click"),
        ({"history": [{"item_id": "i0001", "kind": "impression", "timestamp": 1, "click": 0.5}]}, "history[0].click"),
        (
            {
                "history": [
                    {"item_id": "i0001", "kind": "view", "timestamp": 1, "session_id": "a"},
                    {"item_id": "i0001", "kind": "view", "timestamp": 2},
                ]
            },
            "history",
        ),
    ],
)
def test_bad_input_is_named(popular: Recommender, arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as caught:
        popular.recommend(**({"user": {}, "now": NOW} | arguments))
    assert where in caught.value.where


def test_a_nan_observation_is_refused_where_policies_meet_it() -> None:
    observation = np.zeros((1, policy("popular").obs_size), np.float32)
    observation[0, 3] = np.nan
    with pytest.raises(InputError, match="column 3"):
        policy("popular").act(observation, np.ones((1, tiny_world().n_actions), bool), np.random.default_rng(0))


def test_explore_out_of_range_is_refused(popular: Recommender) -> None:
    for explore in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="explore"):
            Recommender(popular.bundle, explore)


def test_times_and_orders() -> None:
    assert read_time("2023-11-14T22:13:20+00:00", "t", True) == NOW
    assert read_time("2023-11-15T00:13:20.900+02:00", "t", True) == NOW
    assert read_time("2023-11-14T22:13:20", "t", True) == NOW, "no zone: UTC, as `prepare` reads it"
    assert read_time(NOW + 0.9, "t", True) == NOW
    assert read_time(4, "t", False) == 4
    with pytest.raises(InputError):
        read_time(4.5, "t", False)
    with pytest.raises(InputError, match="session_id"):
        read_history([{"item_id": "a", "kind": "view", "timestamp": 1}], {"a": 0}, {}, 2, False, 1800)


def test_times_without_a_zone_are_utc_and_counted(popular: Recommender) -> None:
    zoned = [view(1, "2023-11-13T22:13:20Z"), view(2, "2023-11-14T00:13:20+01:00")]
    bare = [view(1, "2023-11-13T22:13:20"), view(2, "2023-11-13T23:13:20")]
    found = [popular.request({}, events, now=now) for events, now in ((zoned, NOW), (bare, "2023-11-14T22:13:20"))]
    np.testing.assert_array_equal(found[0].observation, found[1].observation)
    assert (found[0].notes, found[1].notes) == ({}, {"times_taken_as_utc": 2})
    with pytest.raises(InputError, match=r"is after now, 2023-11-14T22:13:20Z.*add the zone"):
        popular.request({}, [view(1, "2023-11-15T00:13:20")], now=NOW)


def test_sessions_by_gap_and_events_of_one_moment_in_order() -> None:
    events = [
        {"item_id": "b", "kind": "purchase", "timestamp": 5000},
        {"item_id": "b", "kind": "view", "timestamp": 5000},
        {"item_id": "a", "kind": "view", "timestamp": 5000},
        {"item_id": "a", "kind": "impression", "timestamp": 3199, "click": True},
        {"item_id": "gone", "kind": "view", "timestamp": 6801},
    ]
    found = read_history(events, {"a": 0, "b": 1}, {}, 9000, True, 1800)
    np.testing.assert_array_equal(found.session, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(found.item, [0, 0, 0, 1, 1, -1])
    np.testing.assert_array_equal(found.kind, [2, 3, 0, 0, 4, 0])
    assert found.shown_in(0).tolist() == [0]


HEAVY = ("torch", "pandas", "gymnasium", "numba", "scipy", "tyro")
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.modules["gymnasium"] = None
"""
SERVE = """
import sys
import recenv.serving.app
from recenv.serving.recommender import Recommender
row = Recommender.load(FOLDER).recommend(USER, HISTORY, now=NOW)[0]
assert row["item_id"] and not row["fallback"], row
loaded = [name for name in HEAVY if sys.modules.get(name) is not None]
"""


@pytest.mark.parametrize("installed", [True, False])
def test_serving_needs_neither_torch_nor_an_environment(
    tmp_path_factory: pytest.TempPathFactory, installed: bool
) -> None:
    folder = shared_bundle("popular", tmp_path_factory)
    head = f"HEAVY, FOLDER, USER, HISTORY, NOW = {(HEAVY, str(folder), USER, history(0), NOW)!r}\n"
    # Where gymnasium is installed, `import recenv` registers the environments' ids with it, and that is all.
    tail = f"assert set(loaded) <= {{'gymnasium'}} and ({installed} or not loaded), loaded\n"
    code = head + ("" if installed else WITHOUT) + SERVE + tail
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
