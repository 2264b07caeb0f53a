"""From a benchmark's folder to the gates on ranking and exploitation: whose errors are in them, which values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_world import small_world
from test_ensemble import with_members

from recenv.agents.benchmark import BenchmarkSettings
from recenv.agents.contest import benchmark
from recenv.agents.jobs import Contestant
from recenv.agents.training import TrainSettings
from recenv.core.errors import ArtefactError
from recenv.env.options import EnvOptions
from recenv.trust.assess_policies import policy_gates
from recenv.trust.gate_base import Gate
from recenv.trust.tolerances import Tolerances
from recenv.world import World

TOL = Tolerances()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A benchmark in worlds with members, trained for clicks."""
    folder = tmp_path_factory.mktemp("policies")
    plain = small_world(0, n_items=12, n_starts=90, copies=0, leave=False)
    world = with_members(plain)
    judge = with_members(replace(plain, start=small_world(1, n_items=12, n_starts=90, copies=0, leave=False).start))
    paths = (world.save(folder / "w"), judge.save(folder / "w-judge"))
    env = EnvOptions(reward="gross", reward_mode="expected", w_click=1.0, w_purchase=0.0, w_revenue=0.0)
    training = TrainSettings(500, env=env, evaluations=1, episodes=10)
    who = tuple(map(Contestant.parse, ("popular", "linucb:k=8")))
    settings = BenchmarkSettings(who, seeds=5, episodes=60, outer_episodes=40, training=training)
    return folder, benchmark(*paths, folder / "b", settings, bar=False)


def gates_of(folder: Path, **options: Any) -> dict[str, Gate]:
    world = World.load(folder / "w")
    return {gate.name: gate for gate in policy_gates(folder / "b", world, TOL, 0, **options)}


def test_a_learner_has_a_pessimistic_value_and_others_none(made: tuple[Path, dict[str, Any]]) -> None:
    rows = {row["name"]: row for row in made[1]["rows"]}
    assert "pessimistic" not in rows["popular"]
    low, plain = rows["linucb"]["pessimistic"]["gross"], rows["linucb"]["training_world"]["gross"]
    assert low[0] < plain[0]
    assert low[1] < low[0] < low[2]
    gate = gates_of(made[0])["exploitation"]
    assert "by the pessimistic world" in gate.detail
    assert "No off-policy value was given (--evaluate)" in gate.detail


def test_the_covariance_over_users_holds_the_clustered_intervals(made: tuple[Path, dict[str, Any]]) -> None:
    from scipy import stats

    found = made[1]["user_covariance"]
    cov, t = np.array(found["covariance"]), stats.t.ppf(0.975, found["users"] - 1)
    rows = {row["agent"]: row for row in made[1]["rows"]}
    logged = found["agents"].index("logged")
    for k, name in enumerate(found["agents"]):
        mean, _, high = rows[name]["judge_intervals"]["gross"]["episodes"]
        assert high - mean == pytest.approx(t * np.sqrt(cov[k, k]))
        mean, _, high = rows[name]["over_logged"]["gross"]["episodes"]
        apart = cov[k, k] + cov[logged, logged] - 2 * cov[k, logged]
        assert high - mean == pytest.approx(t * np.sqrt(max(apart, 0.0)), abs=1e-9)


def test_an_evaluation_without_standard_error_is_not_compared(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Empirical Bernstein holds from two users on, with a verdict of OK and no standard error."""
    file = _evaluation(tmp_path / "evaluate.json", 1.0)
    for where in ("policy", "logged"):
        found = json.loads(file.read_text())
        (found["logged"] if where == "logged" else found["policies"][0]["estimates"][0])["se"] = None
        (tmp_path / where).write_text(json.dumps(found))
        gate = gates_of(made[0], evaluated=tmp_path / where)["exploitation"]
        assert "comes without a standard error, not compared" in gate.detail
        assert all(x["label"] != "the off-policy value" for x in gate.lines)


def test_sessions_of_two_users_judge_no_policy(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    table = json.loads((made[0] / "b" / "benchmark.json").read_text()) | {"users": 2}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text((made[0] / "b" / "manifest.json").read_text())
    (tmp_path / "b" / "benchmark.json").write_text(json.dumps(table))
    gates = policy_gates(tmp_path / "b", World.load(made[0] / "w"), TOL, 0)
    assert {gate.verdict for gate in gates} == {"NOT ENOUGH DATA"}
    assert all("too few users for an interval: 2, at least 20" in gate.detail for gate in gates)


def _without(folder: Path, out: Path, *keys: str) -> dict[str, Gate]:
    """The gates of the benchmark with some of its figures left out."""
    table = json.loads((folder / "b" / "benchmark.json").read_text())
    for key in keys:
        table.pop(key, None)
        for row in table["rows"]:
            row.pop(key, None)
            row["judge_intervals"]["gross"].pop(key, None)
    (out / "b").mkdir()
    (out / "b" / "benchmark.json").write_text(json.dumps(table))
    world = World.load(folder / "w")
    return {gate.name: gate for gate in policy_gates(out / "b", world, TOL, 0)}


def test_other_users_and_other_judges_are_in_the_limits(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    full = gates_of(made[0])
    bare = _without(made[0], tmp_path, "outer", "user_covariance", "pessimistic_draws")
    assert "The limits hold: seeds, other users, 4 refitted judges." in full["ranking"].detail
    assert "The limits hold: seeds." in bare["ranking"].detail
    assert "No pessimistic value" in bare["exploitation"].detail
    for name in ("ranking", "exploitation"):
        line, less = full[name].lines[0], bare[name].lines[0]
        assert line["figure"] == less["figure"]
        assert line["high"] - line["figure"] > less["high"] - less["figure"], name


def _evaluation(file: Path, ratio: float, **changed: Any) -> Path:
    best = {"name": "dr", "value": 0.2 * ratio, "se": 0.002, "users": 400}
    policy = {"name": "linucb (the run's policy)", "verdict": "OK", "estimator": "dr", "estimates": [best]}
    found = {"reward": "click", "logged": {"value": 0.2, "se": 0.001, "verdict": "OK"}, "policies": [policy]}
    file.write_text(json.dumps(found | changed))
    return file


def test_the_off_policy_value_is_compared_in_units_of_the_world(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    rows = {row["name"]: row for row in made[1]["rows"]}
    ratio = rows["linucb"]["training_world"]["gross"][0] / rows["logged"]["training_world"]["gross"][0]

    def line(times: float) -> dict[str, Any]:
        gate = gates_of(made[0], evaluated=_evaluation(tmp_path / "evaluate.json", times))["exploitation"]
        return next(x for x in gate.lines if x["label"] == "the off-policy value")

    assert line(ratio)["figure"] == pytest.approx(0, abs=1e-9)
    assert line(ratio / 2)["figure"] == pytest.approx(0.5)
    assert line(ratio / 2)["verdict"] == "FAIL"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"reward": "revenue"}, "of revenue alone"),
        ({"policies": []}, "holds no value of linucb"),
        ({"logged": {"value": 0.2, "se": 0.1, "verdict": "NOT ENOUGH DATA"}}, "not compared"),
    ],
)
def test_an_evaluation_that_cannot_be_compared_says_why(
    changed: dict[str, Any], words: str, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    gate = gates_of(made[0], evaluated=_evaluation(tmp_path / "evaluate.json", 1.0, **changed))["exploitation"]
    assert words in gate.detail
    assert all(x["label"] != "the off-policy value" for x in gate.lines)


def test_a_damaged_evaluation_is_named(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is no evaluation"):
        gates_of(made[0], evaluated=_evaluation(tmp_path / "evaluate.json", 1.0, policies=[{"name": "x"}]))
