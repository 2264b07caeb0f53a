"""Intervals, the benchmark from two worlds to a report, and the two commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_world import small_world
from numpy.typing import NDArray
from scipy import stats

from recenv.agents.base import load_policy
from recenv.agents.benchmark import BenchmarkSettings, Scores, difference, planning_gain, table, users_of, value
from recenv.agents.contest import benchmark
from recenv.agents.evaluate import Evaluation
from recenv.agents.intervals import Interval, clustered_interval, paired_interval, t_interval, wider
from recenv.agents.jobs import Contestant, JobResult
from recenv.agents.report import (
    caution_lines,
    cells,
    gain_lines,
    interval_text,
    interval_words,
    name_lines,
    outer_lines,
)
from recenv.agents.training import TrainSettings
from recenv.core.errors import InputError
from recenv.core.runs import read_progress, read_run
from recenv.env.options import EnvOptions
from recenv.scripts.train import TrainConfig
from recenv.scripts.train import run as run_train
from recenv.world import World


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A world and a judge: the same catalogue and actions, other users."""
    folder = tmp_path_factory.mktemp("worlds")
    world = small_world(0, n_items=12, n_starts=90, copies=2, leave=False)
    judge = replace(world, start=small_world(1, n_items=12, n_starts=90, copies=2, leave=False).start)
    return world.save(folder / "w"), judge.save(folder / "w-judge")


def test_t_interval_of_known_values() -> None:
    x = np.array([1.0, 2.0, 4.0])
    low, high = stats.t.interval(0.95, 2, loc=x.mean(), scale=stats.sem(x))
    assert t_interval(x).as_list() == pytest.approx([x.mean(), low, high])
    assert t_interval(x[:1]).as_list() == [1.0, None, None]
    for same in (0.0, 0.3, 1.0):  # as in clustered_interval: values all alike do not tell how others would differ
        assert t_interval(np.full(3, same)).as_list() == [pytest.approx(same), None, None]
    with pytest.raises(InputError, match="no values"):
        t_interval(np.array([]))


def test_clustered_interval_with_clusters_of_one_is_the_ordinary_one() -> None:
    x = np.random.default_rng(0).normal(size=50)
    assert clustered_interval(x, np.arange(50)).as_list() == pytest.approx(t_interval(x).as_list())


def test_clustered_interval_is_not_fooled_by_copies_of_the_same_user() -> None:
    x = np.random.default_rng(0).normal(size=50)
    once = clustered_interval(x, np.arange(50)).as_list()
    assert clustered_interval(np.tile(x, 9), np.tile(np.arange(50), 9)).as_list() == pytest.approx(once)


def test_few_users_or_one_seed_carry_no_interval() -> None:
    x = np.random.default_rng(0).normal(size=60)
    assert clustered_interval(x, np.arange(60) % 20).low is not None
    for users in (1, 2, 19):
        assert clustered_interval(x, np.arange(60) % users).as_list() == [x.mean(), None, None]
    none, seeds, episodes = Interval(1.0, None, None), Interval(1.0, 0.9, 1.1), Interval(1.0, 0.8, 1.2)
    assert wider(seeds, none) == none, "seeds of two users' sessions tell nothing of other users"
    assert wider(none, episodes) == wider(seeds, episodes) == wider(episodes, seeds) == episodes
    assert "none, too few users for an interval: 2" in interval_words({"users": 2, "seeds": 5})
    assert "of values none, too few seeds for an interval: 1" in interval_words({"users": 50, "seeds": 1})


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_users_who_all_brought_the_same_carry_no_interval(value: float) -> None:
    same, user = np.full(90, value), np.arange(90) % 30
    assert clustered_interval(same, user).as_list() == [pytest.approx(value), None, None]
    assert paired_interval(same, same, user).as_list() == [0.0, None, None], "equal for want of any response"
    assert paired_interval(same + 1, same, user).low is None
    differs = np.random.default_rng(0).random(90)
    assert paired_interval(differs, differs, user).as_list() == [0.0, 0.0, 0.0], "policies that choose alike"
    assert paired_interval(differs, same, user) == clustered_interval(differs - same, user)
    assert paired_interval(differs, differs, user % 2).low is None


def test_clustered_interval_covers() -> None:
    """95 % intervals of users of 5 correlated episodes hold the mean in 95 % of 400 draws; naive ones do not."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(40), 5)
    hits, naive = 0, 0
    for _ in range(400):
        x = rng.normal(size=40)[user] + 0.3 * rng.normal(size=200)
        found, simple = clustered_interval(x, user), t_interval(x)
        hits += found.low <= 0 <= found.high
        naive += simple.low <= 0 <= simple.high
    assert 0.92 <= hits / 400 <= 0.98
    assert naive / 400 < 0.8


def _scores(name: str, world: World, gross: NDArray[np.float64]) -> Scores:
    """A contestant's episodes (seeds, episodes), one a start state in every seed."""
    k, n = gross.shape
    empty = np.zeros(0, np.int64)

    def played(row: NDArray[np.float64]) -> Evaluation:
        totals = {"gross": row, **dict.fromkeys(("revenue", "expected_revenue", "invalid", "left"), np.zeros(n))}
        shown = np.ones(world.n_items, np.int64)
        return Evaluation(np.arange(n), np.ones(n, np.int64), row, totals, shown, empty, ())

    who = Contestant(name)
    return Scores(who, [JobResult(who, name, seed, played(gross[seed]), played(gross[seed]), 0.0) for seed in range(k)])


@pytest.mark.parametrize("seeds", [4, 1])
def test_the_wider_interval_is_shown_and_decides(worlds: tuple[Path, Path], seeds: int) -> None:
    """Users differ, seeds do not: seeds alone call a difference certain that other users would not bear out."""
    world = World.load(worlds[1])
    n = len(world.start.user_id)
    rng = np.random.default_rng(0)
    users = np.unique(world.start.user_id, return_inverse=True)[1]
    effect = rng.normal(size=users.max() + 1)
    effect += 0.05 - effect[users].mean()
    logged = 1 + rng.normal(scale=1e-3, size=(seeds, n))
    contestants = [
        _scores("logged", world, logged),
        _scores("model-greedy", world, logged),
        _scores("linucb", world, logged + effect[users] + rng.normal(scale=1e-3, size=(seeds, n))),
    ]
    row = next(r for r in table(contestants, world, "gross") if r["name"] == "linucb")
    gain = planning_gain(contestants, world, "gross")
    assert gain is not None
    for found in (row["over_logged"]["gross"], gain["gross"]):
        assert found["wider"] == found["episodes"]
        assert found["wider"][1] < 0 < found["wider"][0]
        assert not found["above_zero"]
    values = row["judge_intervals"]["gross"]
    assert row["judge"]["gross"] == values["wider"] == (values["episodes"] if seeds > 1 else values["seeds"])
    if seeds > 1:
        assert row["over_logged"]["gross"]["seeds"][1] > 0, "what the seeds alone say"
    else:
        assert row["judge"]["gross"][1:] == [None, None]
    text = cells(row)
    assert text[1] == interval_text(values["wider"])
    assert text[2] == interval_text(row["over_logged"]["gross"]["episodes"], signed=True)
    result = {"planning_gain": {"learner": "linucb", "chosen_by": "gross", **gain}}
    assert interval_text(gain["gross"]["episodes"], signed=True) in gain_lines(result)[0]


def test_where_seeds_differ_more_than_users_their_interval_is_shown(worlds: tuple[Path, Path]) -> None:
    world = World.load(worlds[1])
    n = len(world.start.user_id)
    logged = _scores("logged", world, np.ones((3, n)))
    own = np.random.default_rng(0).normal(scale=1e-3, size=n)
    other = _scores("popular", world, np.array([[1.5], [2.0], [3.0]]) + own)
    found = difference(other, logged, "gross", users_of(logged, world))
    assert found["wider"] == found["seeds"]
    assert found["seeds"][1] < 0 < found["episodes"][1]
    assert not found["above_zero"]


def test_contestants_are_read_from_the_command_line() -> None:
    assert Contestant.parse("popular") == Contestant("popular")
    who = Contestant.parse("dqn:discount=0.5,double=false")
    assert who == Contestant("dqn", {"discount": 0.5, "double": False})
    assert Contestant.parse(str(who)) == who
    with pytest.raises(InputError, match="not registered"):
        Contestant.parse("popularr")
    with pytest.raises(InputError, match="no option"):
        Contestant.parse("dqn:discount")
    with pytest.raises(InputError, match="twice"):
        BenchmarkSettings((Contestant("popular"), Contestant("popular")))


@pytest.fixture(scope="module")
def result(worlds: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("benchmark") / "b"
    training = TrainSettings(1_500, env=EnvOptions(reward_mode="expected"), evaluations=2, episodes=20)
    who = ("random", "popular", "personal-popular", "linucb:k=24")
    settings = BenchmarkSettings(tuple(map(Contestant.parse, who)), seeds=2, episodes=60, training=training)
    return out, benchmark(*worlds, out, settings, bar=False)


def test_benchmark_writes_a_table_with_paired_intervals(result: tuple[Path, dict[str, Any]]) -> None:
    out, found = result
    assert json.loads((out / "benchmark.json").read_text()) == json.loads(json.dumps(found))
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"logged", "model-greedy", "random", "popular", "personal-popular", "linucb"}
    assert rows["logged"]["over_logged"]["gross"]["seeds"] == [0.0, None, None]
    assert rows["logged"]["over_logged"]["gross"]["wider"] == [0.0, 0.0, 0.0]
    gross = [row["judge"]["gross"][0] for row in found["rows"]]
    assert gross == sorted(gross, reverse=True)
    for term in ("gross", "incremental"):
        mean, low, high = rows["model-greedy"]["over_logged"][term]["seeds"]
        assert low < mean < high
        assert mean == pytest.approx(rows["model-greedy"]["judge"][term][0] - rows["logged"]["judge"][term][0])
    assert found["planning_gain"]["learner"] == "linucb (k=24)"
    assert found["planning_gain"]["gross"]["seeds"][0] < 0, (
        "in its own response model nobody beats the myopic oracle here"
    )
    assert rows["model-greedy"]["judge"]["gross"][0] > rows["random"]["judge"]["gross"][0]


def test_benchmark_says_what_is_assumed(result: tuple[Path, dict[str, Any]]) -> None:
    out, _ = result
    for name in ("benchmark.md", "benchmark.html"):
        text = (out / name).read_text()
        assert "ASSUMED" in text
        assert "the wider of two: over seeds" in text
        assert "clustered by user (other users)" in text
        assert "personal-popular" in text
        assert "fidelity of w-judge: NOT MEASURED" in text
    page = (out / "benchmark.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "http://" not in page
    assert "https://" not in page


def test_worlds_are_called_by_their_folders_and_nothing_is_said_twice(
    worlds: tuple[Path, Path], result: tuple[Path, dict[str, Any]]
) -> None:
    out, found = result
    assert (found["world"], found["judge"]) == ("w", "w-judge")
    assert World.load(worlds[0]).meta["name"] != "w", "as in a world with copy, which keeps the name of its first"
    text = (out / "benchmark.md").read_text()
    assert "Agents trained in world w, judged in w-judge" in text
    lines = [line for line in text.splitlines() if line and not line.startswith("|")]
    assert len(lines) == len(set(lines))
    assert not any("copy effect" in line for line in lines), "the header says it"
    assert any("Effect of copy:" in line for line in lines)


def test_a_name_that_looks_like_a_seed_is_explained() -> None:
    (told,) = name_lines({"rows": [{"agent": "dqn-0 (lr=1)"}, {"agent": "logged"}]})
    assert "does not look ahead" in told
    assert "no seed" in told
    assert name_lines({"rows": [{"agent": "dqn"}, {"agent": "logged"}]}) == []


def test_benchmark_keeps_one_tensorboard_run_a_policy_and_seed(result: tuple[Path, dict[str, Any]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _ = result
    for folder in ("popular-seed0", "popular-seed1", "logged-seed0", "model-greedy-seed1", "linucb_k=24-seed0"):
        assert read_run(out / "runs" / folder)[1]["complete"]
        assert json.loads((out / "runs" / folder / "eval.json").read_text())["judged_by"] == "judge world"
    flat = EventAccumulator(str(out / "runs" / "popular-seed0"))
    flat.Reload()
    line = flat.Scalars("shop/gross_value_per_session")
    assert [point.step for point in line] == [0, 1_500]
    assert line[0].value == line[1].value
    assert any(tag.startswith("sessions/") for tag in flat.Tags()["tensors"])
    steps = [step for step, tag, _ in read_progress(out / "runs" / "linucb_k=24-seed0") if tag == "eval/mean_reward"]
    assert len(steps) == 3, "two on the way, one at the end"


def test_all_candidates_are_called_extrapolation(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    training = TrainSettings(100, env=EnvOptions(candidates="all"))
    settings = BenchmarkSettings((Contestant("popular"),), seeds=1, episodes=10, training=training)
    found = benchmark(*worlds, tmp_path / "b", settings, bar=False)
    assert "extrapolation" in (tmp_path / "b" / "benchmark.md").read_text()
    assert found["planning_gain"] is None
    assert found["rows"][0]["judge"]["gross"][1] is None, "no interval over one seed"
    assert found["users"] < 20, "ten sessions are of ten users at most"
    for row in found["rows"]:
        assert row["over_logged"]["gross"]["wider"][1:] == [None, None]
        assert not row["over_logged"]["gross"]["above_zero"]
        assert not any("[" in cell for cell in cells(row))
    for name in ("benchmark.md", "benchmark.html"):
        told = f"95 % intervals: none, too few users for an interval: {found['users']}, at least 20 are needed"
        assert told in (tmp_path / "b" / name).read_text()
    with pytest.raises(InputError, match="not an empty folder"):
        benchmark(*worlds, tmp_path / "b", settings, bar=False)


def test_train_command_writes_a_run_that_loads(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    config = TrainConfig("linucb:k=8", worlds[0], tmp_path / "r", steps=500, episodes=10)
    done = run_train(config)
    policy = load_policy(done["policy"], World.load(worlds[0]))
    assert policy.config.k == 8
    assert json.loads((tmp_path / "r" / "eval.json").read_text())["metrics"] == done["metrics"]
    assert any((tmp_path / "r" / "checkpoints").iterdir())
    assert list((tmp_path / "r").glob("events.out.tfevents.*"))
    with pytest.raises(InputError, match="not an empty folder"):
        run_train(config)
    with pytest.raises(InputError, match="steps"):
        run_train(replace(config, out=tmp_path / "other", steps=0))


def test_the_best_learner_is_compared_with_every_other_policy_in_pairs(result: tuple[Path, dict[str, Any]]) -> None:
    _, found = result
    gain = found["planning_gain"]
    assert set(gain["over"]) == {row["agent"] for row in found["rows"]} - {gain["learner"]}
    assert gain["over"]["model-greedy"]["gross"] == gain["gross"]
    assert any("minus each other policy" in line for line in gain_lines(found))


def test_few_members_carry_a_caution_and_their_spread_is_said_to_be_uncalibrated() -> None:
    few, enough, none = (
        outer_lines({"outer": outer})
        for outer in ({"members": 2, "episodes": 50}, {"members": 10, "episodes": 50}, None)
    )
    assert any(line.startswith("CAUTION: 2 members") and "--members 10" in line for line in few)
    assert not any("CAUTION" in line for line in [*enough, *none])
    assert all("not calibrated" in lines[0] for lines in (few, enough))


def test_a_table_says_with_which_caution_its_policies_were_made() -> None:
    assert caution_lines({"pessimism": 0.0, "support": 0.0}) == []
    told = " ".join(caution_lines({"pessimism": 0.25, "support": 0.01}))
    assert "pessimism 0.25" in told
    assert "below 0.01" in told
    assert "CAUTION" not in told


def test_seeds_that_agree_exactly_leave_the_interval_over_episodes(worlds: tuple[Path, Path]) -> None:
    world = World.load(worlds[1])
    user = np.tile(world.start.user_id, 3)
    once = np.random.default_rng(0).random(len(world.start.user_id))
    agree = _scores("popular", world, np.tile(once, (3, 1)))
    found = value(agree, "gross", user)
    assert found["seeds"] == [pytest.approx(once.mean()), None, None]
    assert found["wider"] == found["episodes"]
    assert found["episodes"][1] is not None
    apart = difference(agree, _scores("logged", world, np.tile(once - 0.5, (3, 1))), "gross", user)
    assert apart["seeds"][1:] == apart["wider"][1:] == [None, None]
    assert not apart["above_zero"]
    assert "[" not in interval_text(apart["wider"])
