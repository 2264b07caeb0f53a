"""The statistics under the gates against outside oracles: bootstrap, scikit-learn, scipy, and repetition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from recenv.trust import gates
from recenv.trust.gate_base import NOT_ENOUGH, PASS
from recenv.trust.gate_faults import Case
from recenv.trust.gate_groups import by_segment, merge_neighbours
from recenv.trust.gate_intervals import Clusters, log_ratio, simultaneous
from recenv.trust.gate_policies import kendall_tau
from recenv.trust.gate_prediction import gains
from recenv.trust.gate_two_sample import FOLDS, _auc, logistic
from recenv.trust.metrics import UserBootstrap, auc, entropy, row_losses
from recenv.trust.tolerances import Tolerances


@pytest.fixture(scope="module")
def case() -> Case:
    return Case.make(users=800, visits=5.0, seed=5)


def test_standard_errors_equal_those_of_a_bootstrap_over_users(case: Case) -> None:
    s = case.inputs.slice_
    clusters = Clusters.of(s.user)
    value, psi = log_ratio(clusters.sums(s.w * s.p), clusters.sums(s.w * s.y))
    gain, gain_psi = gains(s, clusters)
    boot = UserBootstrap(s.user, 2000, 0)
    items = row_losses(s.item_rate, s.y)
    mass, hits, told, loss, other = boot.sums(s.w, s.w * s.y, s.w * s.p, s.w * row_losses(s.p, s.y), s.w * items)
    drawn = {
        "ratio": np.log(told / hits),
        "over base": 1 - loss / (mass * entropy(hits / mass)),
        "over items": 1 - loss / other,
    }
    own = simultaneous(np.append(value, gain), np.column_stack([psi, gain_psi]), 0.95)
    for k, (name, draws) in enumerate(drawn.items()):
        assert own.value[k] == pytest.approx(draws[0], abs=1e-12), name
        assert own.se[k] == pytest.approx(draws[1:].std(), rel=0.08), name


def test_intervals_hold_together_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((12, 12)) * 0.6 + np.eye(12)
    hits = 0
    for k in range(400):
        x = rng.gamma(1.0, 1.0, (300, 12)) @ mixing
        mean = x.mean(axis=0)
        bands = simultaneous(mean, (x - mean) / len(x), 0.9, seed=k)
        true = np.ones(12) @ mixing
        hits += bool(((bands.low <= true) & (true <= bands.high)).all())
    assert 0.86 <= hits / 400 <= 0.94


def test_correlated_lines_cost_less_than_bonferroni() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((500, 1))
    alike, apart = shared + 0.1 * rng.standard_normal((500, 20)), rng.standard_normal((500, 20))
    one, same, unlike = (
        simultaneous(np.zeros(x.shape[1]), x - x.mean(axis=0), 0.95).critical[0] for x in (shared, alike, apart)
    )
    assert one == pytest.approx(1.965, abs=0.02)
    assert one < same < 2.5 < unlike < 3.1


def test_a_few_dominating_users_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    even = rng.standard_normal(1000)
    heavy = even.copy()
    heavy[:4] *= 60
    low, high = (simultaneous(np.zeros(1), x[:, None] - x.mean(), 0.99).critical[0] for x in (even, heavy))
    assert low == pytest.approx(2.58, abs=0.02)
    assert high > 3.5


def test_no_interval_of_what_cannot_be_had() -> None:
    bands = simultaneous(np.array([np.nan, 0.0]), np.column_stack([np.ones(50), np.linspace(-1, 1, 50)]), 0.95)
    assert np.isnan(bands.low[0])
    assert bands.low[1] < 0 < bands.high[1]
    value, _ = log_ratio(np.zeros((5, 1)), np.ones((5, 1)))
    assert np.isnan(value[0])


def test_merging_keeps_order_and_leaves_no_small_group() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 20, 30_000)
    y = (rng.random(30_000) < 0.02 + 0.01 * group).astype(float)
    merged, parts = merge_neighbours(group, y, 500)
    assert [k for part in parts for k in part] == list(range(20))
    assert (np.bincount(merged, y) >= 500).all()
    assert all((merged[group == k] == i).all() for i, part in enumerate(parts) for k in part)
    assert merge_neighbours(group, y * 0, 500)[1] == [list(range(20))]


def test_small_segments_are_merged_and_named() -> None:
    segment = np.repeat([7, 3, 9, 1], [3000, 40, 2000, 30])
    group, labels = by_segment(segment, np.ones(len(segment)), 1000, {7: "young", 9: "old"})
    assert labels[0] == "young"
    assert labels[1] == "3 segments: old, 3, 1"
    assert set(group[segment == 7]) == {0}
    assert set(group[segment != 7]) == {1}


def test_item_error_has_no_sampling_noise_in_it_and_finds_what_is_there() -> None:
    """Items off by 30 % (log-normal). Few responses an item (14): less is found, never more."""
    tol = Tolerances(min_positives=100)
    truth, wrong = [], []
    for seed in range(40):
        case = Case.make(users=400, visits=5.0, seed=seed)
        s = case.inputs.slice_
        noise = np.exp(0.3 * np.random.default_rng(1000 + seed).standard_normal(s.item.max() + 1) - 0.045)
        for found, p in ((truth, s.p), (wrong, np.minimum(s.p * noise[s.item], 1.0))):
            line = gates.item_rates(replace(s, p=p), tol).lines[0]
            found.append((line["figure"], line["low"], line["high"]))
    assert all(low == 0.0 for _, low, _ in truth)
    assert np.mean([figure for figure, _, _ in truth]) < 0.06
    assert 0.22 <= np.median([figure for figure, _, _ in wrong]) <= 0.32
    assert np.mean([low > 0 for _, low, _ in wrong]) >= 0.9


def test_one_new_item_does_not_decide_the_error_of_all(case: Case) -> None:
    s = case.inputs.slice_
    rare = int(np.argmin(np.bincount(s.item, s.y) + 1e9 * (np.bincount(s.item) < 30)))
    rows = s.item == rare
    surged = replace(s, y=np.where(rows, 1.0, s.y), p=np.where(rows, 0.01, s.p))
    before, after = (gates.item_rates(x, Tolerances()).lines[0]["figure"] for x in (s, surged))
    share = rows.sum() / surged.y.sum()
    assert after**2 - before**2 <= 4 * share


def test_logistic_regression_equals_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 4))
    y = rng.random(3000) < 1 / (1 + np.exp(-(x @ [1.0, -0.5, 0.0, 0.2] - 1.5)))
    own = logistic(x, y)
    theirs = linear.LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=1000).fit(x, y)
    assert own[1:] == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert own[0] == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_separable_classes_do_not_diverge() -> None:
    x = np.linspace(-1, 1, 400)[:, None]
    beta = logistic(x, x[:, 0] > 0)
    assert np.isfinite(beta).all()
    assert beta[1] > 1


def test_auc_and_its_standard_error_equal_those_by_other_ways(case: Case) -> None:
    rng = np.random.default_rng(0)
    user = rng.integers(0, 200, 2000)
    fake = rng.random(2000) < 0.4
    score = np.round(rng.standard_normal(2000) + 0.5 * fake + 0.7 * rng.standard_normal(200)[user], 1)
    value, psi = _auc(score, fake, np.zeros(2000, int), Clusters.of(user))
    assert value == pytest.approx(auc(score, fake, np.ones(2000)), abs=1e-12)
    draws = UserBootstrap(user, 1500, 0).auc(score, fake, np.ones(2000))[1:]
    assert np.sqrt((psi**2).sum()) == pytest.approx(draws.std(), rel=0.1)


def test_the_classifier_is_never_judged_on_users_it_has_seen(case: Case) -> None:
    """Sessions that carry their user's mark must not be told apart by it: a mark says nothing of other users."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(400), 10)
    mark = rng.standard_normal((400, 6))[user]
    real = user % 2 == 0
    own = gates.two_sample(mark[real], mark[~real], user[real], user[~real], Tolerances())
    assert own.figure is not None
    assert own.figure < 0.56
    assert FOLDS == 5


def test_tau_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 8).astype(float), rng.standard_normal(8)
        assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)


def test_regret_of_level_policies_is_small_and_few_draws_decide_nothing() -> None:
    rng = np.random.default_rng(0)
    level = {f"p{k}": (1 + 0.01 * rng.standard_normal(20), 1 + 0.01 * rng.standard_normal(20)) for k in range(8)}
    found = gates.ranking(level, Tolerances())
    assert found.verdict == PASS
    assert found.lines[1]["verdict"] in (PASS, NOT_ENOUGH)
    few = {name: (w[:3], j[:3]) for name, (w, j) in level.items()}
    assert gates.ranking(few, Tolerances()).verdict == NOT_ENOUGH
    assert gates.ranking(level, Tolerances(), draws="bootstrap").high > found.high
