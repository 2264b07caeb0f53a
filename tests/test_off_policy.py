"""`recenv evaluate`: values of policies on a randomised log, the command, estimators and intervals by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from off_policy_logs import QUICK, altered, ask, randomised_email

from recenv.agents.off_policy import text
from recenv.agents.training import make_policy
from recenv.core.errors import InputError
from recenv.data.schema import SPLITS, Dataset
from recenv.data.synthetic_email import EmailTruth
from recenv.env.options import EnvOptions
from recenv.scripts.cli import main
from recenv.scripts.evaluate import EvaluateConfig, run
from recenv.trust.action_groups import groups_of
from recenv.trust.decisions import Actions, logged_decisions
from recenv.trust.log_problem import read_problem
from recenv.trust.off_policy import on_policy, value_policies
from recenv.trust.ope import Target, headline_estimator
from recenv.trust.problem import Settings
from recenv.world import World


@pytest.fixture(scope="module")
def email(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return randomised_email(tmp_path_factory.mktemp("email"), 12000)


def test_estimates_on_a_randomised_log_hold_the_truth(email: Path) -> None:
    world = World.load(email / "world")
    policies = {n: make_policy(n, world, EnvOptions(), {}, 0) for n in ("random", "popular", "model-greedy")}
    read = read_problem(email / "data", world, QUICK)
    found = value_policies(read.problem, {n: (p.observation, p.probabilities) for n, p in policies.items()})
    assert read.problem.audit is not None
    assert read.problem.audit.verdict == "OK"
    dataset = Dataset.load(email / "data", splits=SPLITS)
    truth = EmailTruth.from_bytes(dataset.extras)
    decisions = read.problem.found
    ids = np.unique(dataset.events.loc[dataset.events["split"] == "test", "user_id"].astype(str))
    row = np.searchsorted(truth.user_id, ids)[decisions.user]
    items, copies = world.items["item_id"].to_pylist(), world.copies["copy_id"].to_pylist()
    place = {pair: k for k, pair in enumerate(zip(truth.item_id.tolist(), truth.copy_id.tolist()))}
    column = [0] + [place[items[i], copies[c]] for i, c in zip(world.action_item[1:], world.action_copy[1:])]
    for result, policy in zip(found, policies.values(), strict=True):
        chance = policy.probabilities(decisions.obs, decisions.mask(world, slice(None)))[decisions.moment]
        table = np.zeros((len(row), truth.click.shape[1]))
        table[:, column] = chance
        value = truth.value(table, "click", row)
        for estimate in result.estimates:
            assert estimate.value is not None
            # dm's own error is that of its model, which no interval holds
            assert (estimate.se is None) == (estimate.name == "dm")
            error = 0.02 if estimate.se is None else 4 * estimate.se
            assert abs(estimate.value - value) < error, (result.name, estimate.name)
        logged = truth.value(truth.propensity[row], "click", row)
        assert result.gain is not None
        reach = (result.gain.gain_high_limit - result.gain.gain_low_limit) / 2
        assert abs(result.gain.gain_low - (value - logged)) < 2 * reach
    verdicts = [e.headline.verdict for e in found]
    assert verdicts[0] == "OK"
    assert found[0].headline.low <= found[0].headline.value <= found[0].headline.high  # type: ignore[operator]


def test_the_causal_verdict_of_a_randomised_log(email: Path) -> None:
    report = ask(email, agents=("random",))
    assert report["causal"]["verdict"] == "RANDOMISED"
    assert report["policies"][0]["verdict"] == "OK"
    assert report["policies"][0]["overlap"]["enough"]
    assert "Causal verdict: RANDOMISED" in text(report)


def test_two_users_carry_no_interval_of_value_or_gain(email: Path) -> None:
    world = World.load(email / "world")
    read = read_problem(email / "data", world, QUICK)
    policy = make_policy("random", world, EnvOptions(), {}, 0)
    two = dataclasses.replace(read.problem.log, user=np.asarray(read.problem.log.user) % 2)
    problem = dataclasses.replace(read.problem, log=two)
    (found,) = value_policies(problem, {"random": (policy.observation, policy.probabilities)})
    assert (found.gain, found.robust, found.bounds) == (None, None, ())
    assert all(e.low is None and e.no_interval for e in found.estimates)
    assert "too few users for an interval: 2, at least 20 are needed" in found.headline.headline()
    logged = on_policy(problem)
    assert (logged.verdict, logged.low) == ("NOT ENOUGH DATA", None)


@pytest.mark.parametrize(("clicks", "usual"), [(1, 0.0), (19, 0.0), (20, 0.0), (0, 1.0)])
def test_gains_rest_on_users_who_responded(email: Path, clicks: int, usual: float) -> None:
    """Limits of the gain from the click of one user among thousands were as narrow as it was rare."""
    world = World.load(email / "world")
    read = read_problem(email / "data", world, QUICK)
    policy = make_policy("random", world, EnvOptions(), {}, 0)
    user = np.asarray(read.problem.log.user)
    shown = np.unique(user[np.asarray(read.problem.log.action) > 0])  # the policy never shows nothing
    reward = np.where(np.isin(user, shown[:clicks]), 1.0, usual)
    problem = dataclasses.replace(read.problem, log=dataclasses.replace(read.problem.log, reward=reward))
    (found,) = value_policies(problem, {"random": (policy.observation, policy.probabilities)})
    if clicks == 20:
        assert found.no_gain == ""
        assert found.gain is not None
    else:
        assert (found.gain, found.robust, found.bounds) == (None, None, ())
        assert f"reward other than the usual {usual:g}" in found.no_gain
        assert f"for an interval: {clicks}, at least 20 are needed" in found.as_dict()["no_gain"]


def test_the_reward_model_never_sees_the_user_it_judges(email: Path) -> None:
    """Doubling one user's reward moves the reward model of others only."""
    world = World.load(email / "world")
    read = read_problem(email / "data", world, QUICK)
    policy = make_policy("random", world, EnvOptions(), {}, 0)
    ask_one = {"random": (policy.observation, policy.probabilities)}
    from recenv.trust import off_policy

    seen = off_policy._look(read.problem, "random", *ask_one["random"])
    logged = off_policy._logged_features(read.problem)
    before = off_policy._reward_model(read.problem, logged, [seen.features])
    reward = np.asarray(read.problem.log.reward).copy()
    user = int(read.problem.log.user[7])
    reward[read.problem.log.user == user] += 1000.0
    changed = dataclasses.replace(read.problem, log=dataclasses.replace(read.problem.log, reward=reward))
    after = off_policy._reward_model(changed, logged, [seen.features])
    moved = np.abs(after - before).max(axis=1) > 1e-9
    assert not moved[read.problem.log.user == user].any()
    assert moved.mean() > 0.5


def test_wrong_propensities_take_the_headlines_place(email: Path, tmp_path: Path) -> None:
    wrong = altered(email / "data", tmp_path / "wrong", propensity=lambda p: p * 0.5)
    report = ask(email, wrong)
    # sessions are refused for it too, before anything else about them is said
    assert "PROPENSITIES WRONG" in report["sessions"]["words"][0]
    assert report["sessions"]["policies"] == {}
    assert {p["verdict"] for p in report["policies"]} == {"PROPENSITIES WRONG"}
    assert report["causal"]["verdict"] == "OBSERVATIONAL"
    assert all(p["headline"].startswith("PROPENSITIES WRONG") for p in report["policies"])
    printed = text(report).splitlines()
    assert all("PROPENSITIES WRONG" in line for line in printed[2:4])


def test_sessions_of_several_decisions_are_valued_or_said_to_be_too_few(small_shop: Path, email: Path) -> None:
    report = ask(small_shop)
    words = report["sessions"]["words"]
    assert len(words) == 2
    assert all(w.startswith("Over whole sessions") for w in words)
    assert {e["name"] for e in report["sessions"]["policies"]["random"]} >= {"pdis", "dr"}
    assert "NOT ENOUGH DATA" in words[0]
    alone = ask(email)["sessions"]
    assert alone["policies"] == {}
    assert "one decision" in alone["words"][0]


def test_the_command_end_to_end(small_shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, reads = str(small_shop / "world"), json.loads((small_shop / "data" / "meta.json").read_text())["test_reads"]
    trained = str(tmp_path / "run")
    for words in (
        ("train", "dqn", "--world", world, "--steps", "1500", "--out", trained, "--episodes", "16"),
        ("evaluate", "--data", str(small_shop / "data"), "--run", trained, "--agents", "popular", "--bootstraps", "100",
         "--reward", "click", "--json"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [p["name"] for p in last["policies"]] == ["dqn (the run's policy)", "popular"]
    assert last["split"] == "test"
    assert last["test_reads"] == reads + 1
    assert json.loads((small_shop / "data" / "meta.json").read_text())["test_reads"] == reads + 1
    written = json.loads((tmp_path / "run" / "evaluate.json").read_text())
    assert written["policies"] == last["policies"]
    page = (tmp_path / "run" / "evaluate.md").read_text()
    assert page.startswith("| policy")
    assert any("test slice it did not see" in line for line in last["seen"])
    assert any("trained in that world alone" in line for line in last["seen"])


def test_same_seed_same_bytes(email: Path) -> None:
    first, second = (ask(email, agents=("popular",)) for _ in range(2))
    first.pop("test_reads"), second.pop("test_reads")
    assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def test_gains_of_several_policies_hold_at_once(email: Path) -> None:
    one, three = (ask(email, agents=names) for names in (("random",), ("random", "popular", "model-greedy")))
    gain, wider = (r["policies"][0]["gain"] for r in (one, three))
    assert (gain["level"], wider["level"]) == (0.95, pytest.approx(1 - 0.05 / 3))
    assert gain["gain_low"] == wider["gain_low"]
    reach, more = (g["gain_low"] - g["gain_low_limit"] for g in (gain, wider))
    assert more / reach == pytest.approx(2.39398 / 1.95996, rel=1e-4)  # normal quantiles at 1 - .05 / 6 and .975
    assert "Bonferroni" in text(three)
    assert "98.33 %" in text(three)
    assert "Bonferroni" not in text(one)


def test_mips_and_its_groups_are_reached_by_the_command(email: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(
        email / "data", world=email / "world", agents=("random", "popular"), out=tmp_path, bootstraps=100,
        reward="click", estimators=("mips", "dr"), groups=3,
    )  # fmt: skip
    report = run(config)
    world = World.load(email / "world")
    found = logged_decisions(Dataset.load(email / "data", splits=SPLITS), world)
    groups = groups_of(world, found.actions, 3).of
    assert (groups == groups[0]).sum() == 1  # nothing is a group of its own
    styles = world.copies["style"].to_pylist()
    for g in range(1, groups.max() + 1):
        assert len({styles[c] for c in world.action_copy[groups == g]}) == 1
    policy = make_policy("random", world, EnvOptions(), {}, 0)
    chance = policy.probabilities(found.obs, found.mask(world, slice(None)))[found.moment]
    chance /= chance.sum(axis=1, keepdims=True)
    member = groups == np.arange(groups.max() + 1)[:, None]
    own, rows = groups[found.action], np.arange(len(found))
    count = np.bincount(found.action, minlength=len(groups))
    within = count / (member.T @ (member @ count))
    weight = (chance @ member.T)[rows, own] * within[found.action] / found.propensity
    policy_report = report["policies"][0]
    assert policy_report["estimator"] == "dr"  # asked for, so quoted, though mips was named first
    mips = next(e for e in policy_report["estimates"] if e["name"] == "mips")
    assert mips["value"] == pytest.approx(float((weight * found.reward["click"]).mean()), rel=1e-6)
    page = (tmp_path / "evaluate.md").read_text()
    assert "Groups of mips" in page
    assert "k-means" in page
    assert "random, by mips:" in page


def test_groups_by_category_and_what_cannot_be_grouped(small_shop: Path) -> None:
    world = World.load(small_shop / "world")
    actions = Actions(world.action_item.astype(np.int64) + 1, world.n_items + 1, False)
    groups = groups_of(world, actions, 0).of
    category = np.array(["(nothing)", *world.items["category"].to_pylist()])
    assert np.array_equal(groups[:, None] == groups, category[:, None] == category)
    for bad in (1, -1, world.n_items + 1):
        with pytest.raises(InputError, match="no number of groups"):
            groups_of(world, actions, bad)


@pytest.mark.parametrize("interval", ["t", "percentile", "bca", "bernstein"])
def test_intervals_by_name(email: Path, interval: str) -> None:
    settings = Settings("click", n_boot=100, interval=interval)
    plain, report = ask(email, agents=("random",)), ask(email, agents=("random",), settings=settings)
    best, usual = (next(e for e in r["policies"][0]["estimates"] if e["name"] == "dr") for r in (report, plain))
    assert best["method"] == interval
    assert report["logged"]["method"] == interval
    assert best["low"] < best["value"] < best["high"]
    assert best["value"] == usual["value"]
    if interval == "bernstein":
        assert best["half_width"] > usual["half_width"]
        assert not {"snipw", "sndr"} & {e["name"] for e in report["policies"][0]["estimates"]}


def test_the_quoted_estimator_is_settled_by_one_rule() -> None:
    bare, modelled = Target(chosen=np.ones(2)), Target(chosen=np.ones(2), q_logged=np.ones(2), q_target=np.ones(2))
    assert [headline_estimator(t) for t in (bare, modelled)] == ["snipw", "dr"]
    assert headline_estimator(modelled, ("mips", "dr")) == "dr"
    assert headline_estimator(modelled, ("mips", "snipw")) == "snipw"
    assert headline_estimator(modelled, ("mips", "ipw")) == "mips"
