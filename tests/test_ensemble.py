"""Members of an ensemble: refitted, stored, compared with held-out error; outer intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_ensemble import with_members
from helpers_response import simulated_rows
from helpers_world import small_world
from scipy import stats

import recenv.response.disagreement as dis
from recenv.agents.benchmark import BenchmarkSettings
from recenv.agents.contest import benchmark
from recenv.agents.intervals import Interval, t_interval, with_outer
from recenv.agents.jobs import Contestant
from recenv.agents.training import TrainSettings
from recenv.core.errors import ArtefactError
from recenv.env.options import EnvOptions
from recenv.response.ensemble import _balanced, fit_members, open_variance
from recenv.response.train import TrainConfig
from recenv.world import World


def test_members_differ_repeat_and_come_back_from_disk(tmp_path: Path) -> None:
    world = with_members(small_world())
    world.save(tmp_path / "w")
    again = World.load(tmp_path / "w")
    assert len(again.members) == 4
    for a, b in zip(world.members, again.members):
        np.testing.assert_array_equal(a.head_w3, b.head_w3)
    assert again.with_response(again.members[0]).members == ()
    assert "ensemble: 4 members" in again.describe()
    assert "ensemble" not in again.with_response(again.members[0]).describe()
    again.save(tmp_path / "w2")
    for name in ("world.json", "members.safetensors"):
        assert (tmp_path / "w" / name).read_bytes() == (tmp_path / "w2" / name).read_bytes()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_lost_or_changed_ensemble_is_noticed(tmp_path: Path, damage: str) -> None:
    with_members(small_world(), 2).save(tmp_path / "w")
    file = tmp_path / "w" / "members.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtefactError, match="members"):
        World.load(tmp_path / "w")


def test_a_world_without_members_writes_no_such_file(tmp_path: Path) -> None:
    small_world().save(tmp_path / "w")
    assert not (tmp_path / "w" / "members.safetensors").exists()
    assert World.load(tmp_path / "w").members == ()


def test_refitted_members_disagree_most_where_rows_are_few() -> None:
    rows, vectors, features, _ = simulated_rows(0, n=6000)
    rare = rows.item >= 45
    rows = rows.select(~rare | (np.arange(len(rows)) % 12 == 0))
    config = TrainConfig(epochs=3, least_steps=150)
    fold = rows.user.astype(np.int64) % 2

    def counted(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features, np.stack([features, features])

    owner = rows.user.astype(np.int64)
    made, again = (fit_members(rows, owner, vectors, counted, fold, config, 5, 2, False) for _ in range(2))
    np.testing.assert_array_equal(made[0].head_w3, again[0].head_w3)
    a, b = (dis.roots(m, rows)["purchase"] for m in made)
    assert np.abs(a - b).max() > 1e-3
    assert np.corrcoef(a, b)[0, 1] > 0.5


def test_what_the_logs_leave_open_of_an_item_falls_with_its_rows_and_is_0_where_items_are_alike() -> None:
    rows, vectors, _, _ = simulated_rows(0, n=20_000)
    few = rows.select((rows.item != 3) | (np.cumsum(rows.item == 3) <= 2))
    few = few.select(few.item != 7)
    variance = open_variance(few, "purchase", len(vectors))
    others = np.delete(variance, [3, 7])
    assert variance[7] > variance[3] > 3 * others.max()
    assert 0.2 < variance[7] < 1.2  # planted: items' log odds have a variance of .49
    rng = np.random.default_rng(0)
    few.purchase = (rng.random(len(few)) < 0.1).astype(np.float32)
    assert open_variance(few, "purchase", len(vectors)).max() < 0.05


def test_members_disagree_on_an_item_that_was_never_shown_and_their_scores_are_balanced() -> None:
    moves = _balanced(10, 30, 3, np.random.default_rng(0))
    np.testing.assert_allclose(moves.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(moves.std(axis=0, ddof=1), 1.0)
    assert len(np.unique(moves[0])) > 5
    rows, vectors, features, _ = simulated_rows(0, n=6000)
    rows = rows.select(rows.item != 7)
    owner, fold = rows.user.astype(np.int64), rows.user.astype(np.int64) % 2
    config = TrainConfig(epochs=3, least_steps=150)
    made = fit_members(rows, owner, vectors, lambda _: (features, np.stack([features] * 2)), fold, config, 5, 4, False)
    skip = np.stack([m.item_skip[:, 0] for m in made]).std(axis=0, ddof=1)
    assert skip[7] > 1.5 * np.median(skip)


def test_spread_is_the_standard_deviation_whatever_stands_beside_a_row() -> None:
    values = list(np.random.default_rng(0).random((11, 200)).astype(np.float32))
    whole = dis.spread(values)
    np.testing.assert_allclose(whole, np.std(np.stack(values).astype(float), axis=0, ddof=1))
    alone = np.concatenate([dis.spread([v[i : i + 1] for v in values]) for i in range(200)])
    np.testing.assert_array_equal(whole, alone)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_disagreement_gets_the_size_of_the_error(factor: float) -> None:
    """Truth, model and members differ from a centre by errors of each item; members' are off by 1 / factor."""
    rng = np.random.default_rng(1)
    n, items, users = 60_000, 200, 3000
    item, user = rng.integers(0, items, n), rng.integers(0, users, n)
    error = 0.04 * rng.standard_normal(items)
    y = rng.random(n) < 0.3 + error[item]
    d = (0.04 / factor) * rng.standard_normal((6, items))[:, item]
    found = dis._ratio(np.ones(n), y - 0.3, d - d.mean(axis=0), item, user, 0)
    assert abs(found["scale"] / factor - 1) < 0.25
    assert found["low"] < factor**2 < found["high"]
    assert len(found["bins"]) == dis.BINS


def test_what_one_users_rows_share_is_not_taken_for_the_models_error() -> None:
    rng = np.random.default_rng(1)
    item, user = rng.integers(0, 20, 20_000), rng.integers(0, 200, 20_000)
    own = 0.2 * rng.standard_normal((200, 20))[user, item]
    y = rng.random(20_000) < 0.4 + own
    d = 0.1 * rng.standard_normal((4, 20))[:, item]
    assert dis._ratio(np.ones(20_000), y - 0.4, d, item, user, 0)["scale"] < 0.5


def test_outer_intervals_add_the_spread_over_judges_in_quadrature() -> None:
    inner = Interval(1.0, 0.7, 1.4)
    values = np.array([0.9, 1.0, 1.1, 1.2])
    total = with_outer(inner, values)
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1)
    assert np.isclose(total.low, 1 - np.hypot(0.3, half))
    assert np.isclose(total.high, 1 + np.hypot(0.4, half))
    assert with_outer(inner, np.zeros(0)) == inner
    assert with_outer(Interval(1.0, None, None), values).low is None


def test_outer_values_cover_the_truth_when_each_judge_errs_and_the_inner_ones_do_not() -> None:
    """500 judges whose level is off by N(0, .1), each with ten members off by as much again; 40 sessions' noise."""
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(500):
        level = rng.normal(0.0, 0.1)
        inner = t_interval(level + 0.2 * rng.standard_normal(40))
        total = with_outer(inner, level + rng.normal(0.0, 0.1, 10))
        covered += [i.low < 0.0 < i.high for i in (inner, total)]
    assert covered[0] < 0.7 * 500
    assert covered[1] > 0.93 * 500


def test_a_benchmark_whose_judge_has_members_shows_outer_intervals(tmp_path: Path) -> None:
    world, judge = small_world(0, copies=0, n_starts=90), with_members(small_world(0, copies=0, n_starts=90), 3)
    world.save(tmp_path / "w")
    judge.save(tmp_path / "j")
    env = EnvOptions(reward_mode="expected", candidates="all")
    settings = BenchmarkSettings(
        (Contestant("popular"),), seeds=2, episodes=60, training=TrainSettings(100, 0, env), envs=30, outer_episodes=30
    )
    result = benchmark(tmp_path / "w", tmp_path / "j", tmp_path / "out", settings, bar=False)
    assert result["outer"] == {"members": 3, "episodes": 30}
    for row in result["rows"]:
        found = row["judge_intervals"]["gross"]
        assert row["judge"]["gross"] == found["total"]
        assert found["total"][2] - found["total"][0] > found["wider"][2] - found["wider"][0]
    greedy = next(row for row in result["rows"] if row["name"] == "model-greedy")
    assert len(greedy["over_logged"]["gross"]["outer"]) == 3
    assert "3 judges refitted on bootstraps of users" in (tmp_path / "out" / "benchmark.md").read_text()
