"""Metrics against outside oracles, intervals against known answers, and the report on simulated rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers_response import simulated_rows
from sklearn.metrics import log_loss as sk_log_loss
from sklearn.metrics import roc_auc_score

from recenv.core.errors import InputError
from recenv.response.model import Widths
from recenv.response.train import TrainConfig, train
from recenv.trust import metrics
from recenv.trust.fidelity import WEEK, compare, item_rate_baseline, periods, predicted, quick_fidelity
from recenv.trust.summary import _figures


@pytest.fixture(scope="module")
def fitted():
    rows, vectors, features, p = simulated_rows(11, n=40_000)
    config = TrainConfig(epochs=5, least_steps=0, batch=512, learning_rate=3e-3, widths=Widths(16, 16, 8, 16, 8))
    return train(rows, vectors, features, config, seed=0, progress=False), rows, p


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    p = np.round(rng.beta(1, 6, 4000), 2).clip(0.01, 0.99)
    return p, (rng.random(4000) < p).astype(float), rng.integers(1, 9, 4000).astype(float), rng.integers(0, 90, 4000)


def test_auc_and_log_loss_equal_scikit_learn_with_ties_and_weights(sample):
    p, y, w, _ = sample
    assert len(np.unique(p)) < 100
    assert metrics.auc(p, y, w) == pytest.approx(roc_auc_score(y, p, sample_weight=w), abs=1e-12)
    assert metrics.log_loss(p, y, w) == pytest.approx(sk_log_loss(y, p, sample_weight=w), abs=1e-12)


def test_auc_edge_cases():
    assert np.isnan(metrics.auc(np.array([0.1, 0.2]), np.zeros(2), np.ones(2)))
    assert metrics.auc(np.full(5, 0.3), np.array([0, 1, 0, 1, 1]), np.ones(5)) == 0.5
    assert metrics.interval(np.array([np.nan, 1.0])) == {"value": None, "low": None, "high": None}


def test_gain_of_the_base_rate_is_nought(sample):
    _, y, w, _ = sample
    rate = np.average(y, weights=w)
    assert metrics.gain(metrics.log_loss(np.full(len(y), rate), y, w), metrics.entropy(rate)) == pytest.approx(0)


def test_calibration_error_is_the_shift(sample):
    p, _, w, _ = sample
    assert metrics.calibration_error(p, p, w) == pytest.approx(0)
    assert metrics.calibration_error(p, p - 0.07, w) == pytest.approx(0.07)


def test_bootstrap_weighs_whole_users(sample):
    p, y, w, user = sample
    boot = metrics.UserBootstrap(user, 20, seed=3)
    sums = boot.sums(w, w * y)
    draws = np.concatenate(list(boot.weights(w)))
    np.testing.assert_allclose(sums[0], draws.sum(axis=1))
    np.testing.assert_allclose(sums[1], draws @ y)
    np.testing.assert_allclose(boot.auc(p, y, w)[5], roc_auc_score(y, p, sample_weight=draws[5]))
    # Every row of one user carries the same count.
    count = draws[7] / w
    assert all(len(np.unique(count[user == u])) == 1 for u in range(90))


def test_interval_covers_the_truth_as_often_as_it_says():
    """Rows of one user are equal, so an interval that took rows for independent would be far too narrow."""
    rng, hits = np.random.default_rng(5), 0
    for k in range(150):
        user = np.repeat(np.arange(60), 20)
        y = np.repeat(rng.random(60) < 0.4, 20).astype(float)
        sums = metrics.UserBootstrap(user, 200, seed=k).sums(np.ones(len(y)), y)
        found = metrics.interval(sums[1] / sums[0])
        hits += found["low"] <= 0.4 <= found["high"]
    assert 0.87 <= hits / 150 <= 0.99


def test_few_users_or_responses_carry_no_interval(fitted):
    forward, rows, _ = fitted
    rates = item_rate_baseline(rows, forward.heads, 50)
    segments = np.zeros(rows.user.max() + 1, np.int32)

    def shown(mask):
        kept = rows.select(mask & rows.shown & (rows.split == 3))
        return quick_fidelity(forward, kept, rates, segments, split="test", n_boot=50)["heads"]["purchase"]["shown"]

    buyers = np.unique(rows.user[(rows.split == 3) & rows.shown & (rows.purchase > 0.5)])
    assert len(buyers) > 20
    few, enough = (shown(~np.isin(rows.user, buyers[k:])) for k in (2, 20))
    for name in ("auc", "gain_over_base", "gain_over_item_rates", "predicted_real"):
        assert (few[name]["low"], few[name]["high"]) == (None, None)
        assert few[name]["value"] is not None
        assert enough[name]["low"] < enough[name]["high"]
    assert few["users"] > 20
    assert few["segments"][0]["predicted_real"]["low"] is None
    assert "too few users with a response for an interval: 2, at least 20" in _figures(few)
    assert enough["no_interval"] == ""
    everybody = shown((rows.purchase > 0.5) & np.isin(rows.user, buyers[:1]))
    assert everybody["gain_over_base"]["value"] is None, "no base rate to gain over where all respond"
    others = np.setdiff1d(rows.user[(rows.split == 3) & rows.shown], buyers)[:5]
    nearly = shown((rows.purchase > 0.5) | np.isin(rows.user, others))
    assert 0.5 < nearly["base_rate"] < 1
    assert nearly["gain_over_item_rates"]["value"] is None


def test_two_models_are_compared_without_limits_where_few_users_respond(fitted):
    forward, rows, _ = fitted
    test = rows.of("test")
    own = predicted(forward, test, "purchase")
    buyers = np.unique(test.user[test.purchase > 0.5])
    for k, many in ((1, False), (19, False), (20, True)):
        y = test.purchase * np.isin(test.user, buyers[:k])
        found = compare(own, own[::-1], y, test.weight, test.user, n_boot=30)
        assert len(np.unique(test.user)) > 20
        for name, figure in found.items():
            assert figure["value"] is not None
            assert [figure[end] is not None for end in ("low", "high")] == [many, many], name


def test_report_on_a_good_and_on_an_inflated_model(fitted):
    forward, rows, p = fitted
    rates = item_rate_baseline(rows, forward.heads, 50)
    segments = np.arange(rows.user.max() + 1) % 3
    report = quick_fidelity(forward, rows, rates, segments, split="test", n_boot=50)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    shown = report["heads"]["purchase"]["shown"]
    held = rows.select((rows.split == 3) & rows.shown)
    best = metrics.auc(p[(rows.split == 3) & rows.shown], held.purchase, held.weight)
    assert best - 0.05 < shown["auc"]["value"] <= best + 0.02
    assert shown["rows"] == len(held)
    assert shown["gain_over_base"]["value"] > shown["gain_over_item_rates"]["value"] > 0.03
    assert shown["predicted_real"]["low"] < 1.05
    assert shown["predicted_real"]["high"] > 0.95
    assert [line["group"] for line in shown["segments"]] == [0, 1, 2]
    assert sum(line["weight"] for line in shown["deciles"]) == pytest.approx(held.weight.sum(), rel=1e-5)
    forward_arrays = forward.to_arrays()
    inflated = type(forward)(
        forward_arrays | {"platt": forward_arrays["platt"] + np.array([0, 0.7], np.float32)}, forward.config
    )
    worse = quick_fidelity(inflated, rows, rates, segments, split="test", n_boot=50)["heads"]["purchase"]["shown"]
    assert worse["predicted_real"]["low"] > 1.2
    assert worse["calibration_error"] > 3 * shown["calibration_error"]
    assert worse["auc"] == shown["auc"]


def test_item_rates_are_shrunk_and_right_in_total_on_the_calibration_slice(fitted):
    _, rows, _ = fitted
    rates = item_rate_baseline(rows, ("purchase",), 51)["purchase"]["shown"]
    train_, calibration = (rows.of(s).select(rows.of(s).shown) for s in ("train", "calibration"))
    told = np.sum(calibration.weight * rates[calibration.item])
    assert told == pytest.approx(np.sum(calibration.weight * calibration.purchase), rel=1e-5)
    raw = np.bincount(train_.item, train_.weight * train_.purchase, 50) / np.bincount(train_.item, train_.weight, 50)
    assert rates[:50].std() < raw.std()
    assert np.corrcoef(rates[:50], raw)[0, 1] > 0.95
    # An item never seen gets the overall rate, not 0.
    assert raw.min() < rates[50] < raw.max()


def test_item_rates_where_nobody_responds(fitted):
    _, rows, _ = fitted
    silent = rows.select((rows.purchase < 0.5) & (rows.item > 0))
    rates = item_rate_baseline(silent, ("purchase",), 50)["purchase"]
    assert (rates["shown"] == 1e-7).all(), "the item never met included"


def test_compare_pairs_the_draws(fitted):
    forward, rows, p = fitted
    held = rows.split == 2
    test = rows.select(held)
    own = predicted(forward, test, "purchase")
    same = compare(own, own, test.purchase, test.weight, test.user, n_boot=30)
    assert same["auc_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    truth = compare(p[held], own, test.purchase, test.weight, test.user, n_boot=100)
    assert truth["gain_over_base_difference"]["value"] > 0
    width = truth["auc"]["high"] - truth["auc"]["low"]
    assert truth["auc_difference"]["high"] - truth["auc_difference"]["low"] < width


def test_periods_are_weeks_where_time_is_long_enough():
    assert periods(np.array([0, WEEK - 1, WEEK, 3 * WEEK])).tolist() == [0, 0, 1, 3]
    assert periods(np.arange(20)).tolist() == [k // 2 for k in range(20)]
    assert periods(np.array([5])).tolist() == [0]


def test_unknown_split_and_no_draws_are_refused(fitted):
    forward, rows, _ = fitted
    rates = item_rate_baseline(rows, forward.heads, 50)
    with pytest.raises(InputError, match="split"):
        quick_fidelity(forward, rows, rates, np.zeros(9000, np.int32), split="tset")
    with pytest.raises(InputError, match="n_boot"):
        metrics.UserBootstrap(rows.user, 0, 0)
