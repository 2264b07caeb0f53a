"""One-step estimators by their own properties: unbiased on average, equal where they must be, honest verdicts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers_ope import ACTIONS, small_log, softmax

from recenv.trust.ope import NOT_ENOUGH_DATA, OK, LoggedBandit, Target, evaluate
from recenv.trust.ope.estimators import ESTIMATORS
from recenv.trust.ope.large_actions import COPY_UNKNOWN, ItemCopies, factored, group_actions, item_copy_log
from recenv.trust.ope.nuisance import crossfit, crossfitted_rates, folds_by_user
from recenv.trust.ope.tuning import tune
from recenv.trust.ope.verdict import judge


def test_evaluate_gives_every_estimator_that_the_inputs_allow() -> None:
    log, target = small_log()
    names = [e.name for e in evaluate(log, target, n_boot=20)]
    assert names == [n for n in ESTIMATORS if n != "mips"]
    assert [e.name for e in evaluate(log, Target(target.probability), n_boot=20)] == [
        n for n, e in ESTIMATORS.items() if not e.model and not e.marginal
    ]
    grouped = replace(target, groups=np.arange(ACTIONS))
    assert [e.name for e in evaluate(log, grouped, n_boot=20)] == list(ESTIMATORS)


def test_the_target_that_is_the_logging_policy_is_worth_the_mean_reward() -> None:
    log, _ = small_log()
    results = {e.name: e for e in evaluate(log, Target(log.behaviour), n_boot=20)}
    for name, result in results.items():
        assert result.value == pytest.approx(log.reward.mean()), name
        assert result.ess == pytest.approx(len(log)), name
        assert result.max_weight == pytest.approx(1.0), name


def test_row_weights_stand_for_copies_of_rows() -> None:
    log, target = small_log(users=40)
    times = np.random.default_rng(0).integers(1, 4, len(log))
    copied, weighted = np.repeat(np.arange(len(log)), times), replace(log, weight=times.astype(float))
    for a, b in zip(
        evaluate(weighted, target, ["ipw", "snipw", "dr", "sndr", "dm"], interval="t"),
        evaluate(log.rows(copied), target.rows(copied), ["ipw", "snipw", "dr", "sndr", "dm"], interval="t"),
        strict=True,
    ):
        assert a.value == pytest.approx(b.value, rel=1e-12)
        assert a.se is b.se is None if a.name == "dm" else a.se == pytest.approx(b.se, rel=1e-12)


def test_chosen_and_two_model_values_do_instead_of_tables() -> None:
    log, target = small_log()
    index = np.arange(len(log))
    pi, q = np.asarray(target.probability), np.asarray(target.q)
    short = Target(chosen=pi[index, log.action], q_logged=q[index, log.action], q_target=(pi * q).sum(axis=1))
    for a, b in zip(evaluate(log, target, n_boot=20), evaluate(log, short, n_boot=20), strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-9)


def test_mips_is_ipw_on_the_groups_and_right_where_the_group_decides() -> None:
    """20 actions, 4 groups that decide the reward: unbiased, less spread than ipw; by both ways to pi_b(g | x)."""
    groups = np.repeat(np.arange(4), 5)
    own = np.random.default_rng(9).normal(0, 1.5, 20)
    pi_b, pi_e = softmax(own), softmax(-own + 0.5 * groups)
    values: dict[str, list[float]] = {"ipw": [], "mips": [], "counted": []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        action = rng.choice(20, size=1500, p=pi_b)
        reward = (rng.random(1500) < 0.1 + 0.2 * groups[action]).astype(float)
        log = LoggedBandit(action, reward, pi_b[action], np.arange(1500), 20, behaviour=np.tile(pi_b, (1500, 1)))
        target = Target(np.tile(pi_e, (1500, 1)), groups=groups)
        for e in evaluate(log, target, ["ipw", "mips"], interval="t"):
            values[e.name].append(e.value or 0.0)
        counted = evaluate(replace(log, behaviour=None), target, ["mips"], interval="t")[0]
        values["counted"].append(counted.value or 0.0)
    truth = float(pi_e @ (0.1 + 0.2 * groups))
    for name in ("mips", "counted"):
        assert np.mean(values[name]) == pytest.approx(truth, abs=4 * np.std(values[name]) / np.sqrt(60)), name
        assert np.std(values[name]) < 0.5 * np.std(values["ipw"]), name


def test_group_actions_finds_the_clumps_and_keeps_its_seed() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), 7, axis=0) + rng.normal(0, 0.1, (21, 2))
    groups = group_actions(points, 3, seed=4)
    assert [len(set(groups[k * 7 : k * 7 + 7])) for k in range(3)] == [1, 1, 1]
    assert len(set(groups)) == 3
    assert (groups == group_actions(points, 3, seed=4)).all()


def test_unknown_copies_are_summed_out_and_labelled() -> None:
    actions = ItemCopies(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    pi = np.tile([0.4, 0.1, 0.3, 0.2], (3, 1))
    q = np.tile([1.0, 2.0, 3.0, 4.0], (3, 1))
    log, target, label = item_copy_log(
        [0, 1, 1], [1, -1, 0], [0.5, 0.5, 0.5], [0.25, np.nan, 0.5], [1.0, 0.0, 1.0], [0, 1, 2], actions, pi, q
    )  # fmt: skip
    assert log.propensity.tolist() == [0.125, 0.5, 0.25]
    assert np.asarray(target.chosen) == pytest.approx([0.1, 0.5, 0.3])
    assert np.asarray(target.q_logged) == pytest.approx([2.0, (0.3 * 3 + 0.2 * 4) / 0.5, 3.0])
    assert np.asarray(target.q_target) == pytest.approx([0.4 + 0.2 + 0.9 + 0.8] * 3)
    assert label == COPY_UNKNOWN
    assert evaluate(log, target, ["ipw"], interval="t", label=label)[0].label == COPY_UNKNOWN
    assert factored([0.5, 1.0], [0.5, 0.2]).tolist() == [0.25, 0.2]


def test_tuning_bounds_weights_only_where_that_pays() -> None:
    """One weight of 1,000 among many of 1: bounded; all near 1: left alone, by both methods."""
    rng = np.random.default_rng(0)
    n = 4000
    pi = np.tile([0.5, 0.5], (n, 1))
    even = LoggedBandit(rng.integers(0, 2, n), rng.random(n), np.full(n, 0.5), np.arange(n), 2).check()
    heavy_p = np.where(np.arange(n) == 7, 0.0005, 0.5)
    heavy = replace(even, propensity=heavy_p, reward=np.where(np.arange(n) == 7, 1.0, even.reward))
    for method in ("slope", "mse"):
        assert tune(ESTIMATORS["clipped_ipw"], even, Target(pi).check(even), method) == 10.0
    assert tune(ESTIMATORS["clipped_ipw"], heavy, Target(pi).check(heavy), "slope") == 10.0
    # its bias bound is a worst case: it clips later than slope
    assert tune(ESTIMATORS["clipped_ipw"], heavy, Target(pi).check(heavy), "mse") >= 10.0


def test_unsupported_mass_is_told() -> None:
    log, target = small_log(users=1000)
    assert evaluate(log, target, ["ipw"], interval="t")[0].unsupported == 0.0
    blind = np.array(log.behaviour)
    blind[:, 0] = 0.0
    blind /= blind.sum(axis=1, keepdims=True)
    keep = log.action != 0
    seen = replace(log, behaviour=blind, propensity=blind[np.arange(len(log)), log.action]).rows(keep)
    aim = target.rows(keep)
    missing = float(np.asarray(aim.probability)[:, 0].mean())
    for given in (seen, replace(seen, behaviour=None)):
        result = evaluate(given, aim, ["snipw"], interval="t")[0]
        assert result.unsupported == pytest.approx(missing)
    short = Target(chosen=np.asarray(aim.probability)[np.arange(len(seen)), seen.action])
    assert evaluate(seen, short, ["snipw"], interval="t")[0].unsupported == pytest.approx(missing, abs=0.05)
    good = replace(result, verdict=OK, reasons=())
    assert f"{100 * missing:.1f} % of what it would show was never logged" in good.headline()


def test_not_enough_data_takes_the_headlines_place() -> None:
    assert judge(1.0, 0.9, 1.1, 10_000, 501.0, 99.0) == (OK, ())
    assert judge(1.0, 0.9, 1.1, 10_000, 499.0, 99.0)[0] == NOT_ENOUGH_DATA
    assert judge(1.0, 0.9, 1.1, 10_000, 501.0, 101.0)[0] == NOT_ENOUGH_DATA
    assert judge(1.0, 0.4, 1.6, 10_000, 501.0, 99.0)[0] == NOT_ENOUGH_DATA
    assert judge(None, None, None, 10_000, 501.0, 99.0)[0] == NOT_ENOUGH_DATA
    log, target = small_log(users=30)
    result = evaluate(log, target, ["dr"])[0]
    assert result.verdict == NOT_ENOUGH_DATA
    assert result.headline().startswith("NOT ENOUGH DATA to value this policy")
    assert f"{result.value:.4g}" not in result.headline().split(":")[0]
    assert json.loads(json.dumps(result.as_dict()))["reasons"] == list(result.reasons)
    enough = evaluate(*small_log(users=2000), ["dr"])[0]
    assert enough.verdict == OK
    assert "95 % interval" in enough.headline()


@pytest.mark.parametrize("interval", ["studentised", "t", "percentile", "bca", "bernstein"])
def test_the_direct_method_has_a_value_and_no_interval(interval: str) -> None:
    log, target = small_log(users=2000)
    dm, dr = evaluate(log, replace(target, q=0.5 * np.asarray(target.q)), ["dm", "dr"] if interval != "bernstein"
                      else ["dm", "ipw"], interval=interval, reward_range=(0.0, 1.0))  # fmt: skip
    assert dm.value == pytest.approx(float((np.asarray(target.probability) * target.q).sum(axis=1).mean()) / 2)
    assert (dm.low, dm.high, dm.half_width, dm.se, dm.method) == (None, None, None, None, "")
    assert dm.verdict == NOT_ENOUGH_DATA
    assert dm.no_interval in dm.headline()
    assert "reward model's own error cannot be read from the log" in dm.no_interval
    assert json.loads(json.dumps(dm.as_dict(), allow_nan=False))["low"] is None
    assert dr.no_interval == ""
    assert dr.low is not None


def test_a_policy_that_never_chose_as_the_log_has_no_value() -> None:
    log, _ = small_log(users=20)
    never = Target(chosen=np.zeros(len(log)))
    ipw, snipw = evaluate(log, never, ["ipw", "snipw"], n_boot=20)
    assert ipw.value == 0.0
    assert snipw.value is None
    assert {ipw.verdict, snipw.verdict} == {NOT_ENOUGH_DATA}
    assert snipw.unsupported == 1.0
    assert json.loads(json.dumps(snipw.as_dict()))["value"] is None


def test_crossfitting_never_shows_a_model_its_own_users() -> None:
    log, _ = small_log(users=50)
    fold = folds_by_user(log.user, 5, seed=1)
    assert all(len(set(fold[log.user == u])) == 1 for u in range(50))
    assert np.bincount(fold).tolist() == [40] * 5
    seen: list[set[int]] = []

    def fit_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        seen.append(set(log.user[train]) & set(log.user[test]))
        return np.asarray(log.reward[train].mean() + 0.0 * test)

    predicted = crossfit(fit_predict, log.user, 5, seed=1)
    assert seen == [set()] * 5
    assert predicted[fold == 2] == pytest.approx(log.reward[fold != 2].mean())
    assert crossfitted_rates(log, n_folds=5).shape == (200, ACTIONS)
