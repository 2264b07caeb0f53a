"""The propensity audit: right logs pass, wrong ones do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers_ope import ACTIONS, small_log

from recenv.trust.ope import OK, PROPENSITIES_WRONG, LoggedBandit, audit
from recenv.trust.ope.audit import _holm


def _right(seed: int, known: bool) -> LoggedBandit:
    log, _ = small_log(seed, users=250, rows=4)
    return log if known else replace(log, behaviour=None)


@pytest.mark.parametrize("known", [False, True])
def test_right_logs_are_called_wrong_in_at_most_5_percent_of_200_seeds(known: bool) -> None:
    wrong = sum(audit(_right(seed, known)).verdict != OK for seed in range(200))
    assert wrong <= 10


def _damage(log: LoggedBandit, fault: str, rng: np.random.Generator) -> LoggedBandit:
    p = log.propensity
    wrong = {
        "permuted": rng.permutation(p),
        "1.5 times": np.minimum(1.5 * p, 1.0),
        "0.7 times": 0.7 * p,
        "constant": np.full(len(p), 1.0 / ACTIONS),
        "of the item alone": np.bincount(log.action, minlength=ACTIONS)[log.action] / len(p) * 0.8,
    }[fault]
    return replace(log, propensity=wrong)


@pytest.mark.parametrize("fault", ["permuted", "1.5 times", "0.7 times", "constant", "of the item alone"])
def test_wrong_propensities_are_caught_in_95_percent_of_40_seeds(fault: str) -> None:
    rng = np.random.default_rng(5)
    caught = sum(audit(_damage(_right(seed, False), fault, rng)).verdict == PROPENSITIES_WRONG for seed in range(40))
    assert caught >= 38


def test_an_action_drawn_once_for_all_rows_of_a_user_is_no_false_alarm() -> None:
    """Rows of a user repeat one draw: 30 times the variance, which a test by row takes for wrong propensities."""
    verdicts = {True: 0, False: 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        action = np.repeat(rng.choice(4, size=60, p=[0.1, 0.2, 0.3, 0.4]), 30)
        p = np.array([0.1, 0.2, 0.3, 0.4])[action]
        log = LoggedBandit(action, np.zeros(1800), p, np.repeat(np.arange(60), 30), 4)
        for cluster in verdicts:
            verdicts[cluster] += audit(log, cluster=cluster).verdict != OK
    assert verdicts[True] <= 3
    assert verdicts[False] >= 30


def test_eligible_sets_count() -> None:
    """Uniform over half the actions: right with the eligible sets, wrong when all are taken as eligible."""
    rng = np.random.default_rng(1)
    n, a = 2000, 8
    eligible = rng.permuted(np.tile(np.arange(a) < a // 2, (n, 1)), axis=1)
    action = np.where(eligible, rng.random((n, a)), -1.0).argmax(axis=1)
    log = LoggedBandit(action, np.zeros(n), np.full(n, 2.0 / a), np.arange(n), a)
    assert audit(log, eligible).verdict == OK
    assert audit(log, eligible.sum(axis=0)).verdict == OK
    everything = audit(log)
    assert everything.verdict == PROPENSITIES_WRONG
    assert everything.mean_weight == pytest.approx(0.5)
    assert everything.headline().startswith("PROPENSITIES WRONG: the mean weight is 0.500")


def test_positions_are_audited_apart() -> None:
    """Two positions whose errors cancel in the sum over both."""
    rng = np.random.default_rng(2)
    n = 6000
    position = np.arange(n) % 2
    action = (rng.random(n) < 0.5).astype(int)
    p = np.where((action == 1) == (position == 1), 0.75, 0.375)  # mean of 1 / p is 2 over both positions
    log = LoggedBandit(action, np.zeros(n), p, np.arange(n), 2, position=position)
    result = audit(log)
    assert result.verdict == PROPENSITIES_WRONG
    assert {(line["action"], line["position"]) for line in result.lines if line["wrong"]} == {
        (0, 0), (1, 0), (0, 1), (1, 1)}  # fmt: skip
    assert audit(replace(log, position=None)).verdict == OK


def test_unseen_actions_are_counted_and_row_weights_respected() -> None:
    log, _ = small_log(3, users=500)
    keep = np.random.default_rng(4).random(len(log)) < np.where(log.action == 5, 0.25, 1.0)
    sampled = replace(log.rows(keep), weight=np.where(log.action == 5, 4.0, 1.0)[keep])
    assert audit(sampled).verdict == OK
    assert audit(replace(sampled, weight=None)).verdict == PROPENSITIES_WRONG
    assert audit(replace(log, n_actions=7, behaviour=None)).unseen == 1


def test_holm_steps_down() -> None:
    assert _holm(np.array([0.001, 0.03, 0.012, 0.5]), 0.05).tolist() == [True, False, True, False]
    assert _holm(np.array([0.03, 0.03]), 0.05).tolist() == [False, False]
