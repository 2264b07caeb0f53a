"""Ranking metrics against hand-computed values and against brute force over all orders of tied items."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recenv.agents.base import REGISTRY, EnvFactory, NullLog
from recenv.agents.ranking import catalogue_scores, rank_runs, rank_visits, ranking_tags
from recenv.core.errors import InputError
from recenv.core.tags import check_tag
from recenv.data.schema import SPLITS, Dataset, clock
from recenv.env.options import EnvOptions
from recenv.trust.metrics import UserBootstrap
from recenv.trust.ranking import (
    Relevant,
    coverage,
    diversity,
    gini,
    mean_interval,
    ndcg,
    novelty,
    ranking_report,
    recall,
    reciprocal_rank,
    standing,
    top,
)
from recenv.trust.visits import Visits, held_out_visits
from recenv.world import World


def of(*sessions: list[int]) -> Relevant:
    return Relevant(np.cumsum([0, *map(len, sessions)]), np.array([i for s in sessions for i in s], np.int64))


def test_metrics_without_ties_by_hand() -> None:
    scores = np.array([[9.0, 8, 7, 6, 5], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    found = standing(scores, of([0, 3], [0], []))  # ranks 1 and 4; rank 5; nothing relevant
    np.testing.assert_array_equal(found.above, [0, 3, 4])
    np.testing.assert_array_equal(found.tied, [1, 1, 1])
    np.testing.assert_allclose(recall(found, 3), [0.5, 0.0, np.nan])
    np.testing.assert_allclose(recall(found, 4), [1.0, 0.0, np.nan])
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(ndcg(found, 4), [(1 + 1 / np.log2(5)) / ideal, 0.0, np.nan])
    np.testing.assert_allclose(ndcg(found, 1), [1.0, 0.0, np.nan])
    np.testing.assert_allclose(reciprocal_rank(found), [1.0, 0.2, np.nan])


def brute(scores: np.ndarray, relevant: list[int], k: int) -> tuple[float, float, float]:
    """Means of recall, NDCG and reciprocal rank over all orders in which the tied items can stand."""
    values = []
    for order in itertools.permutations(range(len(scores))):
        if any(scores[a] < scores[b] for a, b in itertools.pairwise(order)):
            continue
        ranks = sorted(order.index(i) + 1 for i in relevant)
        gains = sum(1 / np.log2(1 + r) for r in ranks if r <= k)
        best = sum(1 / np.log2(1 + r) for r in range(1, min(k, len(relevant)) + 1))
        values.append((sum(r <= k for r in ranks) / len(ranks), gains / best, 1 / ranks[0]))
    return tuple(np.mean(values, axis=0))


@pytest.mark.parametrize("seed", range(12))
def test_ties_are_taken_at_their_expectation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, 6).astype(float)
    relevant = sorted(rng.choice(6, rng.integers(1, 4), replace=False).tolist())
    found = standing(scores[None], of(relevant))
    for k in (1, 3, 6):
        told = recall(found, k)[0], ndcg(found, k)[0], reciprocal_rank(found)[0]
        np.testing.assert_allclose(told, brute(scores, relevant, k), atol=1e-12)


def test_scoring_all_alike_is_chance_and_infinities_are_ranked() -> None:
    found = standing(np.zeros((1, 50)), of([7, 30]))
    assert recall(found, 10)[0] == pytest.approx(0.2)
    below = np.full((1, 5), -np.inf)
    below[0, 2] = 1.0
    found = standing(below, of([2, 4]))
    np.testing.assert_array_equal(found.above, [0, 1])
    np.testing.assert_array_equal(found.tied, [1, 4])


def test_ranking_within_a_part_of_the_catalogue() -> None:
    scores, within = np.array([[9.0, 8, 7, 6]]), np.array([[False, True, False, True]])
    found = standing(scores, of([3]), within)
    np.testing.assert_array_equal(found.above, [1])
    with pytest.raises(InputError, match="compete"):
        standing(scores, of([0]), within)


@pytest.mark.parametrize(
    ("scores", "relevant", "match"),
    [
        (np.zeros(4), of([0]), "shape"),
        (np.zeros((2, 4)), of([0]), "shape"),
        (np.array([[0.0, np.nan]]), of([0]), "NaN"),
        (np.zeros((1, 4)), of([4]), "run from"),
    ],
)
def test_bad_input_is_refused(scores: np.ndarray, relevant: Relevant, match: str) -> None:
    with pytest.raises(InputError, match=match):
        standing(scores, relevant)


def test_bad_k_is_refused() -> None:
    found = standing(np.zeros((1, 4)), of([0]))
    for bad in (0, -1, 2.5, True):
        with pytest.raises(InputError, match="k"):
            recall(found, bad)
        with pytest.raises(InputError, match="k"):
            ndcg(found, bad)
    with pytest.raises(InputError, match="catalogue has 4"):
        top(np.zeros((1, 4)), 5)
    with pytest.raises(InputError, match="no pairs"):
        diversity(np.zeros((1, 1), np.int64), np.ones((4, 2)))


def test_lists_by_hand() -> None:
    lists = np.sort(top(np.array([[1.0, 3, 3, 0], [9, 0, 0, 8]]), 2), axis=1)
    assert set(top(np.zeros((40, 4)), 1).ravel()) == {0, 1, 2, 3}, "ties by chance, not by catalogue order"
    np.testing.assert_array_equal(top(np.array([[1.0, 3, 2]]), 3), [[1, 2, 0]])
    np.testing.assert_array_equal(lists, [[1, 2], [0, 3]])
    assert coverage(lists[:1], 4) == 0.5
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    np.testing.assert_allclose(novelty(lists, np.array([7, 3, 0, 1]), 7), [(1 + 3) / 2, (0 + 2) / 2])
    vectors = np.array([[1.0, 0], [2, 0], [0, 0], [1, 1]])
    np.testing.assert_allclose(diversity(lists, vectors), [1.0, 1 - 0.5**0.5])
    three = diversity(np.array([[0, 1, 3]]), vectors)
    np.testing.assert_allclose(three, [1 - (1 + 2 * 0.5**0.5) / 3])


def test_parts_of_the_report() -> None:
    scores = np.array([[4.0, 3, 2, 1], [4.0, 3, 2, 1]])
    own = np.array([[True, True, False, False], [False, False, False, False]])
    report = ranking_report(scores, of([0, 3], [1]), own, np.array([0, 1]), np.eye(4), np.ones(4), 2, k=2)
    parts = {name: (part["sessions"], part["items"], part["mrr"]["value"]) for name, part in report["parts"].items()}
    assert parts["all"] == (2, 3, 0.75)
    assert parts["repeat"] == (1, 1, 1.0)
    assert parts["explore"] == (2, 2, pytest.approx((1 / 4 + 1 / 2) / 2))
    assert parts["explore, new items only"] == (2, 2, pytest.approx((1 / 2 + 1 / 2) / 2))
    assert report["lists"]["coverage"] == 0.5
    assert report["lists"]["repeat_share"]["value"] == 0.5


def test_intervals_are_clustered_by_user() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 25)
    values = rng.normal(size=40)[user]  # all sessions of a user alike
    found = mean_interval(values, UserBootstrap(user, 500, 0))
    half = (found["high"] - found["low"]) / 2
    assert half == pytest.approx(1.96 / 40**0.5, rel=0.35), "40 users, not 1,000 sessions"
    assert mean_interval(np.full(1000, np.nan), UserBootstrap(user, 10, 0))["value"] is None


def test_few_users_of_a_part_carry_no_interval_of_it() -> None:
    """60 users, of whom 19 meet anything new: the part "explore" has values, the whole has limits."""
    rng = np.random.default_rng(0)
    scores, user = rng.random((120, 5)), np.arange(120) % 60
    relevant, own = of(*[[k % 5] for k in range(120)]), np.ones((120, 5), bool)
    for users, many in ((19, False), (20, True)):
        own[np.arange(120), np.arange(120) % 5] = user >= users
        report = ranking_report(scores, relevant, own, user, np.eye(5), np.ones(5), 60, k=2, n_boot=50)
        parts = report["parts"]
        assert parts["all"]["ndcg"]["low"] is not None
        assert parts["all"]["no_interval"] == ""
        for name in ("explore", "explore, new items only"):
            assert parts[name]["ndcg"]["value"] is not None
            why = "too few users with such sessions for an interval: 19, at least 20 are needed"
            assert parts[name]["no_interval"] == ("" if many else why)
        assert (parts["explore"]["ndcg"]["low"] is not None) == many
        for name in ("ndcg", "mrr", "recall"):  # one new item, one candidate: always found
            assert parts["explore, new items only"][name] == {"value": 1.0, "low": None, "high": None}
        assert report["lists"]["novelty"]["low"] is None, "all items are alike novel"
        assert report["lists"]["repeat_share"]["low"] is not None


@pytest.fixture(scope="module")
def visits(small_shop: Path) -> Visits:
    world = World.load(small_shop / "world")
    return held_out_visits(world, small_shop / "data", World.load(small_shop / "world-judge"), most=60)


def test_visits_hold_what_was_bought_and_nothing_that_came_later(small_shop: Path, visits: Visits) -> None:
    dataset = Dataset.load(small_shop / "data")
    events = dataset.events.assign(time=clock(dataset.events, dataset.meta))
    items = visits.world.items["item_id"].to_pylist()
    own = visits.own()
    assert len(visits) >= 10
    assert (np.diff(visits.relevant.ptr) > 0).all()
    for row in range(len(visits)):
        user, time = visits.start.user_id[row], visits.start.clock[row]
        mine = events[events["user_id"] == user]
        now = mine[(mine["time"] >= time) & (mine["session_id"] == mine[mine["time"] == time]["session_id"].iloc[0])]
        assert (now["split"] == "validation").all()
        bought = {items.index(i) for i in now[(now["purchase"] == 1) | (now["kind"] == "purchase")]["item_id"]}
        assert bought == set(visits.relevant.item[visits.relevant.session == row].tolist())
        on_their_own = mine[mine["kind"].isin(["view", "cart", "purchase"]) & (mine["time"] < time)]
        before = {items.index(i) for i in on_their_own["item_id"]}
        for kind in ("click", "purchase"):
            came = mine["time"] + mine[f"{kind}_delay"].fillna(0).astype(int)
            before |= {items.index(i) for i in mine[(mine[kind] == 1) & (came < time)]["item_id"]}
        assert before == set(np.flatnonzero(own[row]).tolist())
    assert set(visits.start.user_id) <= set(World.load(small_shop / "world-judge").users["user_id"].to_pylist())


def test_visits_refuse_what_they_cannot_do(small_shop: Path, visits: Visits) -> None:
    with pytest.raises(InputError, match="split"):
        held_out_visits(visits.world, small_shop / "data", split="train")
    other = World.load(small_shop / "world")
    other.meta["dataset_hashes"] = {}
    with pytest.raises(InputError, match="not the data"):
        held_out_visits(other, small_shop / "data")


def test_only_asking_for_the_test_slice_reads_it(small_shop: Path, visits: Visits) -> None:
    before = Dataset.load(small_shop / "data").meta["test_reads"]
    held_out_visits(visits.world, small_shop / "data", most=5)
    assert Dataset.load(small_shop / "data").meta["test_reads"] == before
    held_out_visits(visits.world, small_shop / "data", split="test", most=5)
    assert Dataset.load(small_shop / "data").meta["test_reads"] == before + 1
    assert SPLITS[-1] == "test"


@pytest.mark.parametrize("name", list(REGISTRY))
def test_the_best_of_a_policys_ranking_is_what_it_shows(name: str, visits: Visits) -> None:
    world, made = visits.world, _made(name, visits.world)
    rows, obs = next(visits.observations())
    scores = catalogue_scores(made, world, obs, 5)
    assert scores.shape == (len(rows), world.n_items)
    mask = np.ones((len(obs), world.n_actions), bool)
    mask[:, 0] = False
    seen = obs if made.observation == "full" else obs[:, : made.obs_size]
    p = made.probabilities(seen, mask)
    by_item = np.zeros((len(obs), world.n_items))
    np.add.at(by_item.T, world.action_item[1:], p[:, 1:].T)
    best = scores.max(axis=1, keepdims=True)
    likely = by_item.max(axis=1, keepdims=True)
    assert ((scores == best) & (by_item == likely)).any(axis=1).all()
    if name not in ("logged", "random"):
        assert np.unique(scores, axis=1).shape[1] > 1


def _made(name: str, world: World) -> Any:
    policy = REGISTRY[name](world, {"k": 6} if name.startswith(("sb3", "linucb")) else None, 0)
    if REGISTRY[name].trainable:
        policy.train(EnvFactory(world, EnvOptions(reward_mode="expected", candidates="all")), 320, 0, NullLog())
    return policy


def test_own_history_ranks_repeats_better_than_chance_and_chance_is_chance(visits: Visits) -> None:
    chance = rank_visits(REGISTRY["random"](visits.world), visits, k=3)["parts"]
    own = rank_visits(REGISTRY["personal-popular"](visits.world), visits, k=3)
    assert chance["all"]["recall"]["value"] == pytest.approx(3 / visits.world.n_items)
    assert own["parts"]["repeat"]["recall"]["value"] > 1.5 * chance["repeat"]["recall"]["value"]
    tags = ranking_tags(own)
    assert tags == {check_tag(tag): value for tag, value in tags.items()}
    assert set(tags) == {"shop/recall_at_k", "shop/ndcg_at_k"}


def test_runs_get_their_curves(visits: Visits, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    REGISTRY["personal-popular"](visits.world).save(tmp_path / "personal-popular-seed0" / "policy")
    (tmp_path / "figures").mkdir()
    found = rank_runs(tmp_path, visits, steps=100, k=3)
    expected = ranking_tags(rank_visits(REGISTRY["personal-popular"](visits.world), visits, 3, n_boot=1))
    assert found == {"personal-popular-seed0": expected}
    events = EventAccumulator(str(tmp_path / "personal-popular-seed0"))
    events.Reload()
    for tag, value in expected.items():
        assert [(x.step, x.value) for x in events.Scalars(tag)] == [(s, pytest.approx(value)) for s in (0, 100)]
