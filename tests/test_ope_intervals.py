"""Standard errors and intervals: clustered by user, right on skewed sums, and covering the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers_ope import small_log
from scipy import stats

from recenv.scripts.bench_ope import UNCLUSTERED, OpeConfig, _markdown, measure
from recenv.trust.ope import LoggedBandit, Target, evaluate, intervals
from recenv.trust.ope.estimators import ESTIMATORS
from recenv.trust.ope.intervals import Clustered, bootstrap, empirical_bernstein, interval
from recenv.trust.ope.verdict import NO_SPREAD, Estimate

ALL = ["ipw", "snipw", "dm", "dr", "sndr"]


def _plain(reward: np.ndarray, user: np.ndarray) -> LoggedBandit:
    """A log whose value is its mean reward: one action, probability 1."""
    n = len(reward)
    return LoggedBandit(np.zeros(n, int), reward, np.ones(n), user, 1)


def test_one_row_a_user_gives_the_textbook_error() -> None:
    x = np.random.default_rng(0).random(200)
    result = evaluate(_plain(x, np.arange(200)), Target(np.ones((200, 1))), ["ipw"], interval="t")[0]
    assert result.se == pytest.approx(x.std(ddof=1) / np.sqrt(200))
    assert result.low == pytest.approx(x.mean() - stats.t.ppf(0.975, 199) * x.std(ddof=1) / np.sqrt(200))


def test_copied_rows_of_a_user_bring_no_certainty() -> None:
    log, target = small_log(users=200, rows=1)
    again = np.tile(np.arange(200), 5)
    names = [n for n in ALL if n != "dm"]
    for once, five in zip(
        evaluate(log, target, names, n_boot=200),
        evaluate(log.rows(again), target.rows(again), names, n_boot=200),
        strict=True,
    ):
        assert five.se == pytest.approx(once.se)
        assert (five.low, five.high) == pytest.approx((once.low, once.high))
    alone = evaluate(log.rows(again), target.rows(again), ["ipw"], cluster=False, interval="t")[0]
    assert alone.se == pytest.approx((evaluate(log, target, ["ipw"], interval="t")[0].se or 0.0) / np.sqrt(5), rel=0.01)


def test_the_linearised_error_is_the_bootstraps() -> None:
    log, target = small_log(users=400)
    log = log.check()
    tables = [Clustered.of(ESTIMATORS[n].terms(log, target.check(log)), log.user) for n in ALL]
    for name, table, draws in zip(ALL, tables, bootstrap(tables, 4000, 0), strict=True):
        assert draws.values.std() == pytest.approx(table.se(), rel=0.06), name
        assert draws.values.mean() == pytest.approx(table.value(), abs=0.1 * table.se()), name


def test_errors_within_draws_are_those_of_the_drawn_log() -> None:
    log, target = small_log(users=30)
    log = log.check()
    table = Clustered.of(ESTIMATORS["sndr"].terms(log, target.check(log)), log.user)
    draws = bootstrap([table], 3, seed=5)[0]
    picked = np.random.default_rng(5).integers(0, 30, (3, 30))
    for k in range(3):
        drawn = Clustered(table.sums[picked[k]])
        assert draws.values[k] == pytest.approx(drawn.value())
        assert draws.errors[k] == pytest.approx(drawn.se(), rel=1e-9)


def test_pools_of_clusters_give_the_same_draws_in_law(monkeypatch: pytest.MonkeyPatch) -> None:
    log, target = small_log(users=3000, rows=1, spread=2.0)
    log = log.check()
    table = Clustered.of(ESTIMATORS["dr"].terms(log, target.check(log)), log.user)
    free = bootstrap([table], 4000, 0)[0]
    monkeypatch.setattr(intervals, "_POOLS", 900)
    pooled = bootstrap([table], 4000, 0)[0]
    assert pooled.values.mean() == pytest.approx(free.values.mean(), abs=0.1 * table.se())
    assert np.quantile(pooled.values, [0.05, 0.95]) == pytest.approx(np.quantile(free.values, [0.05, 0.95]), rel=0.02)
    assert pooled.errors.mean() == pytest.approx(free.errors.mean(), rel=0.05)


def test_same_seed_same_interval() -> None:
    log, target = small_log()
    a, b, c = (evaluate(log, target, ["dr"], n_boot=100, seed=s)[0] for s in (1, 1, 2))
    assert a == b
    assert a.low != c.low


@pytest.mark.parametrize("method", ["studentised", "t", "percentile", "bca"])
def test_degenerate_logs_get_no_interval_and_a_plain_word(method: str) -> None:
    for value in (0.0, 0.3):
        log = _plain(np.full(600, value), np.arange(600))
        same = evaluate(log, Target(np.ones((600, 1))), ["ipw"], interval=method)[0]
        assert same.value == pytest.approx(value)
        assert (same.low, same.high, same.se, same.verdict) == (None, None, None, "NOT ENOUGH DATA")
        assert same.reasons == (NO_SPREAD,)
    for users in (1, 2, 19):
        log = _plain(np.random.default_rng(users).random(1200), np.arange(1200) % users)
        few = evaluate(log, Target(np.ones((1200, 1))), ["ipw", "snipw"], interval=method)
        for found in few:
            assert (found.low, found.high, found.se, found.half_width) == (None, None, None, None)
            assert f"too few users for an interval: {users}, at least 20 are needed" in found.headline()
    enough = evaluate(replace(log, user=np.arange(1200) % 20), Target(np.ones((1200, 1))), ["ipw"], interval=method)[0]
    assert (enough.verdict, enough.no_interval) == ("OK", "")
    rare = np.zeros(100)
    rare[3] = 1.0  # a third of the draws miss the one rewarded user
    result = evaluate(_plain(rare, np.arange(100)), Target(np.ones((100, 1))), ["ipw"], interval=method)[0]
    assert result.verdict == "NOT ENOUGH DATA"
    assert (result.low is None) == (result.high is None) == bool(result.no_interval), "both ends, or a reason"
    assert (method == "studentised") == (result.low is None), "its upper end is infinite"


def test_bernstein_of_few_users_has_ends_and_no_standard_error() -> None:
    def found(users: int) -> Estimate:
        log = _plain(np.random.default_rng(0).random(6000), np.arange(6000) % users)
        options: dict[str, Any] = {"interval": "bernstein", "reward_range": (0.0, 1.0)}
        return evaluate(log, Target(np.ones((6000, 1))), ["ipw"], **options)[0]

    few, enough, one = found(19), found(601), found(1)
    assert few.low is not None
    assert few.high is not None
    assert few.low < 0.5 < few.high
    assert few.se is None, "from it an interval could be made"
    assert (enough.verdict, enough.no_interval) == ("OK", "")
    assert (one.low, one.high, one.se, one.verdict) == (None, None, None, "NOT ENOUGH DATA")
    assert "too few users for an interval: 1, at least 2 are needed" in one.headline()


def test_empirical_bernstein_is_maurer_and_pontils_and_always_wide_enough() -> None:
    x = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    term = np.log(4 / 0.05)
    half = np.sqrt(2 * 0.3 * term / 5) + 7 * term / (3 * 4)
    assert empirical_bernstein(x, 0.0, 1.0) == pytest.approx((0.4 - half, 0.4 + half))
    log, target = small_log(users=3000, rows=1)
    bound = evaluate(log, target, ["clipped_ipw", "dr"], interval="bernstein", reward_range=(0.0, 1.0))
    usual = evaluate(log, target, ["clipped_ipw", "dr"], interval="t")
    for wide, narrow in zip(bound, usual, strict=True):
        assert wide.low is not None
        assert narrow.low is not None
        assert wide.low < narrow.low < (wide.value or 0.0)
    short = evaluate(replace(log, behaviour=None), target, ["ipw"], interval="bernstein", reward_range=(0.0, 1.0))[0]
    exact = evaluate(log, target, ["ipw"], interval="bernstein", reward_range=(0.0, 1.0))[0]
    assert (exact.half_width or 0.0) > (short.half_width or 0.0)  # larger weights were possible than came up


def test_unknown_methods_of_one_estimate_need_draws() -> None:
    table = Clustered(np.abs(np.random.default_rng(0).normal(size=(9, 4))))
    with pytest.raises(ValueError, match="needs draws"):
        interval(table, None, "studentised", 0.95)


@pytest.fixture(scope="module")
def coverage() -> dict[str, dict[str, float]]:
    result = measure("150x24", OpeConfig(replicates=150, n_boot=199, seed=3))
    assert result["naive_bias"] <= -0.3
    table: dict[str, dict[str, float]] = result["estimators"]
    return table


@pytest.mark.parametrize("name", ["ipw", "snipw", "dr", "sndr", "mips"])
def test_clustered_intervals_cover_the_truth_and_errors_are_half_the_naive(
    name: str, coverage: dict[str, dict[str, float]]
) -> None:
    """150 logs: fewer than 134 covered would come of 95 % in one of 1,000 runs."""
    row = coverage[name]
    assert row["studentised"] * 150 >= stats.binom.ppf(0.001, 150, 0.95)
    assert row["error_over_naive"] <= 0.5
    assert row[UNCLUSTERED] < row["studentised"]


def test_the_study_reports_no_coverage_of_the_direct_method(coverage: dict[str, dict[str, float]]) -> None:
    assert set(coverage["dm"]) == {"bias", "rmse", "error_over_naive"}
    shown = _markdown({"design": "150x24", "rows": 3600, "truth": 0.1, "naive_bias": -0.3, "ess": 1.0, "weight": 2.0,
                       "estimators": coverage})  # fmt: skip
    (line,) = (row for row in shown.splitlines() if row.startswith("| dm "))
    assert line.count("| none ") == 5
    assert "none" not in shown.replace(line, "")


def test_unclustered_intervals_fail(coverage: dict[str, dict[str, float]]) -> None:
    for name in ("snipw", "dr", "mips"):
        assert coverage[name][UNCLUSTERED] * 150 < stats.binom.ppf(0.001, 150, 0.95), name
