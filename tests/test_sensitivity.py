"""Bounds under hidden confounding: against linear programming, and against a truth with a known Lambda."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from recenv.core.errors import InputError
from recenv.trust.ope.inputs import LoggedBandit, Target
from recenv.trust.sensitivity import msm_bounds, sensitivity_curve, smallest_lambda


def small(seed: int, n: int = 24, binary: bool = False) -> tuple[LoggedBandit, Target, np.ndarray]:
    """A few rows in 2 strata x 2 actions, with the propensity constant within each cell."""
    rng = np.random.default_rng(seed)
    x, action = rng.integers(0, 2, n), rng.integers(0, 2, n)
    e = np.array([[0.3, 0.7], [0.6, 0.4]])[x, action]
    reward = (rng.random(n) < 0.4).astype(float) if binary else rng.normal(size=n)
    pi = np.array([[0.9, 0.1], [0.2, 0.8]])[x]
    return LoggedBandit(action, reward, e, np.arange(n), 2), Target(probability=pi), x


def box(e: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
    return 1 + (1 / e - 1) / lam, 1 + (1 / e - 1) * lam


@pytest.mark.parametrize("lam", [1.0, 1.3, 2.0, 7.0])
@pytest.mark.parametrize("seed", range(4))
def test_hajek_bounds_are_the_linear_fractional_optimum(seed: int, lam: float) -> None:
    log, target, _ = small(seed)
    assert target.probability is not None
    pi = target.probability[np.arange(len(log)), log.action]
    low, high = box(log.propensity, lam)
    n = len(log)
    found = msm_bounds(log, target, lam)
    for sign, got in ((1.0, found.high), (-1.0, found.low)):
        # Charnes and Cooper: y = t W, sum pi y = 1, t low <= y <= t high
        a_ub = np.block([[np.eye(n), -high[:, None]], [-np.eye(n), low[:, None]]])
        solved = linprog(
            -sign * np.append(pi * log.reward, 0.0), a_ub, np.zeros(2 * n), [np.append(pi, 0.0)], [1.0], method="highs"
        )
        assert got == pytest.approx(-sign * solved.fun, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("lam", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("binary", [False, True])
def test_ipw_bounds_are_the_sharp_optimum(lam: float, binary: bool) -> None:
    """The largest mean of pi W r over W in the box whose sum in each cell is that of 1 / e."""
    log, target, x = small(5, 60, binary)
    assert target.probability is not None
    pi, n = target.probability[np.arange(len(log)), log.action], len(log)
    low, high = box(log.propensity, lam)
    cell = x * 2 + log.action
    balance = np.array([cell == c for c in range(4)], float)
    found = msm_bounds(log, target, lam, "ipw", x)
    for sign, got in ((1.0, found.high), (-1.0, found.low)):
        solved = linprog(
            -sign * pi * log.reward / n,
            A_eq=balance,
            b_eq=balance @ (1 / log.propensity),
            bounds=np.stack([low, high], axis=1),
            method="highs",
        )
        assert got == pytest.approx(-sign * solved.fun, rel=1e-7, abs=1e-9)


def confounded(n: int, seed: int, lam: float) -> tuple[LoggedBandit, Target, float]:
    """Hidden u raises both the odds of showing action 1 and the reward; e(x) is what the log can know.

    Returns the log, the policy "always action 1", and its true value.
    """
    rng = np.random.default_rng(seed)
    x, u = rng.integers(0, 2, n), rng.integers(0, 2, n)
    e1 = np.array([0.3, 0.5])[x]
    # two hidden kinds whose mean is e1: one at the edge of the odds allowed, the other within
    up = lam * e1 / (1 - e1 + lam * e1)
    hidden = np.where(u == 1, up, 2 * e1 - up)
    action = (rng.random(n) < hidden).astype(int)
    mean = 0.1 + 0.1 * action * x + 0.25 * u
    reward = (rng.random(n) < mean).astype(float)
    propensity = np.where(action == 1, e1, 1 - e1)
    pi = np.tile([0.0, 1.0], (n, 1))
    q = np.stack([0.22 + 0 * x, 0.25 + 0.1 * x], axis=1)
    truth = 0.1 + 0.1 * 0.5 + 0.25 * 0.5
    odds = [v / (1 - v) / (b / (1 - b)) for v, b in ((2 * e1 - up, e1), (up, e1))]
    assert max(np.max(o) for o in odds) <= lam + 1e-9
    return LoggedBandit(action, reward, propensity, np.arange(n) // 2, 2), Target(probability=pi, q=q), truth


def known(target: Target) -> np.ndarray:
    """x of `confounded`, told by its reward model."""
    return (np.asarray(target.q)[:, 1] > 0.3).astype(int)


def lowest_odds(lam: float) -> float:
    """Lambda that covers both hidden kinds of `confounded`."""
    e1 = np.array([0.3, 0.5])
    up = lam * e1 / (1 - e1 + lam * e1)
    down = 2 * e1 - up
    return float(np.max((e1 / (1 - e1)) / (down / (1 - down))))


@pytest.mark.parametrize("form", ["hajek", "ipw", "dr"])
def test_bounds_cover_the_truth_at_the_true_lambda_and_not_at_one(form: str) -> None:
    lam = lowest_odds(1.8)
    covered = missed = 0
    for seed in range(40):
        log, target, truth = confounded(6000, seed, 1.8)
        strata = known(target)
        at, naive = (msm_bounds(log, target, value, form, strata) for value in (lam, 1.0))
        covered += at.low_limit <= truth <= at.high_limit
        missed += not naive.low_limit <= truth <= naive.high_limit
    assert covered >= 38
    assert missed >= 30


def test_at_one_the_bounds_are_the_plain_estimates_and_widen_from_there() -> None:
    log, target, _ = confounded(4000, 1, 1.5)
    pi = np.asarray(target.probability)[np.arange(len(log)), log.action]
    w = pi / log.propensity
    for form, value in (("hajek", w @ log.reward / w.sum()), ("ipw", np.mean(w * log.reward))):
        one, *rest = sensitivity_curve(log, target, (1.0, 1.2, 2.0, 5.0), form)
        assert one.low == pytest.approx(value, rel=1e-12)
        assert one.high == pytest.approx(value, rel=1e-12)
        lows, highs = [one.low, *(b.low for b in rest)], [one.high, *(b.high for b in rest)]
        assert lows == sorted(lows, reverse=True)
        assert highs == sorted(highs)
        assert highs[-1] > highs[0] > lows[-1]


def test_a_reward_model_narrows_the_limits_not_the_bounds() -> None:
    log, target, _ = confounded(20_000, 2, 1.5)
    strata = known(target)
    ipw, dr = (msm_bounds(log, target, 1.5, form, strata) for form in ("ipw", "dr"))
    assert dr.low == pytest.approx(ipw.low, abs=0.01)
    assert dr.low - dr.low_limit < ipw.low - ipw.low_limit


def test_sharp_bounds_lie_within_the_hajek_ones() -> None:
    log, target, _ = confounded(20_000, 2, 1.5)
    strata = known(target)
    wide, sharp = msm_bounds(log, target, 2.0), msm_bounds(log, target, 2.0, "ipw", strata)
    assert sharp.high - sharp.low < wide.high - wide.low


def test_a_large_catalogue_does_not_make_bounds_narrow() -> None:
    """With one or two rows an action the bounds are those of the quantile over all rows (0: few respond)."""
    rng = np.random.default_rng(4)
    n, actions = 4000, 2000
    rate = rng.uniform(0.02, 0.18, actions)
    action = rng.integers(0, actions, n)
    reward = (rng.random(n) < rate[action]).astype(float)
    policy = np.exp(12 * rate) / np.exp(12 * rate).sum()
    log = LoggedBandit(action, reward, np.full(n, 1 / actions), np.arange(n), actions)
    target = Target(chosen=policy[action], q_logged=np.full(n, 0.1), q_target=np.full(n, 0.1))
    found = msm_bounds(log, target, 2.0, "dr", rng.integers(0, 4, n))
    weight = policy[action] * actions
    lowest = np.mean(0.1 + policy[action] * (reward + (actions - 1) * reward / 2) - weight * 0.1)
    assert found.low == pytest.approx(lowest, rel=1e-9)


def test_smallest_lambda_is_where_the_bound_meets_the_logged_value() -> None:
    log, target, _ = confounded(20_000, 3, 1.5)
    found = smallest_lambda(log, target)
    assert found.point is not None
    assert found.limit is not None
    assert 1.0 < found.limit < found.point
    assert msm_bounds(log, target, found.point * 0.999).gain_low > 0 >= msm_bounds(log, target, found.point).gain_low
    assert f"{found.limit:.2f}" in found.words


def test_smallest_lambda_at_its_ends() -> None:
    log, _, _ = confounded(4000, 3, 1.5)
    of_action_one = np.where(log.action == 1, log.propensity, 1 - log.propensity)
    logged = Target(probability=np.stack([1 - of_action_one, of_action_one], axis=1))
    worse = LoggedBandit(log.action, 1 - log.reward, log.propensity, log.user, 2)
    _, target, _ = confounded(4000, 3, 1.5)
    assert smallest_lambda(worse, target).limit == 1.0
    assert smallest_lambda(log, logged).limit == 1.0
    sure = LoggedBandit(log.action, (log.action == 1) * 1.0, log.propensity, log.user, 2)
    always = Target(probability=np.tile([0.0, 1.0], (len(log), 1)))
    assert smallest_lambda(sure, always).limit is None


def test_two_users_set_no_limit() -> None:
    log, target, _ = confounded(4000, 3, 1.5)
    few = replace(log, user=np.arange(len(log)) % 2)
    found = msm_bounds(few, target, 1.5)
    assert found.low == msm_bounds(log, target, 1.5).low
    assert (found.low_limit, found.gain_high_limit) == (-np.inf, np.inf)
    assert smallest_lambda(few, target).limit == 1.0


BAD = {
    "lambda below one": lambda g, t: msm_bounds(g, t, 0.9),
    "lambda not finite": lambda g, t: msm_bounds(g, t, float("nan")),
    "lambda as text": lambda g, t: msm_bounds(g, t, "2"),
    "unknown form": lambda g, t: msm_bounds(g, t, 2.0, "aipw"),
    "dr without a model": lambda g, t: msm_bounds(g, t, 2.0, "dr"),
    "level one": lambda g, t: msm_bounds(g, t, 2.0, level=1.0),
    "strata of another length": lambda g, t: msm_bounds(g, t, 2.0, strata=np.zeros(3, int)),
    "nothing in common": lambda g, t: msm_bounds(g, Target(chosen=np.zeros(len(g))), 2.0),
    "propensity above one": lambda g, t: msm_bounds(replace(g, propensity=g.propensity * 3), t, 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    log, target, _ = small(0)
    with pytest.raises(InputError):
        BAD[name](log, target)
