"""Sequential off-policy evaluation: when a log cannot support it, intervals clustered by user, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recenv.core.errors import InputError
from recenv.trust.ope.sequential_evaluation import clustered_se, evaluate_sequential
from recenv.trust.ope.sequential_fqe import Linear, Tabular, crossfit
from recenv.trust.ope.sequential_inputs import LoggedTrajectories, SequentialTarget
from recenv.trust.ope.sequential_marginal import tabular_weights
from recenv.trust.ope.verdict import NO_SPREAD

PI_B, PI_E = np.array([0.5, 0.5]), np.array([0.3, 0.7])


def sessions(n: int, horizon: int, seed: int = 0, users: int | None = None, ends: float = 0.0) -> LoggedTrajectories:
    """Two actions, action 1 pays .4 and 0 pays .2, shifted by the user's own level; a session may end at each step."""
    rng = np.random.default_rng(seed)
    user = np.arange(n) if users is None else rng.integers(0, users, n)
    level = rng.normal(0, 0.3 if users else 0.0, int(user.max()) + 1)[user]
    action = (rng.random((n, horizon)) < PI_B[1]).astype(int)
    reward = 0.2 + 0.2 * action + level[:, None] + rng.normal(0, 0.1, (n, horizon))
    length = None if not ends else np.minimum(rng.geometric(ends, n), horizon)
    return LoggedTrajectories(action, reward, np.full((n, horizon), 0.5), user, 2, length)


def policy(log: LoggedTrajectories, p: np.ndarray = PI_E) -> SequentialTarget:
    return SequentialTarget(np.broadcast_to(p, (*log.shape, len(p))).copy())


def test_short_sessions_are_enough_and_long_ones_are_not() -> None:
    (short,) = evaluate_sequential(sessions(4000, 2), policy(sessions(4000, 2)), ["pdis"])
    assert short.verdict == "OK"
    assert short.value == pytest.approx(2 * (0.3 * 0.2 + 0.7 * 0.4), rel=0.03)
    assert "per session" in short.headline()
    log = sessions(4000, 30)
    (long,) = evaluate_sequential(log, policy(log), ["pdis"])
    assert long.verdict == "NOT ENOUGH DATA"
    assert long.ess < 500
    assert long.worst_step >= 20
    assert "decisions multiplied" in long.headline()
    assert "Expected reward" not in long.headline()


def test_sessions_of_one_decision_are_sent_to_the_one_step_estimators() -> None:
    log = sessions(5000, 1)
    for found in evaluate_sequential(log, policy(log)):
        assert found.verdict == "NOT ENOUGH DATA"
        assert "one-step" in found.headline()


def test_without_propensities_nothing_is_weighted_and_the_model_is_not_a_headline() -> None:
    log = sessions(5000, 2)
    blind = replace(log, propensity=None)
    q = crossfit(blind, policy(log).probability, np.zeros((*log.shape, 1)), Tabular())
    found = {e.name: e for e in evaluate_sequential(blind, replace(policy(log), q=q))}
    assert found["tis"].value is None
    assert found["dm"].value == pytest.approx(0.68, rel=0.03)
    for estimate in found.values():
        assert estimate.verdict == "NOT ENOUGH DATA"
        assert "no propensities" in estimate.headline()
        assert "unmeasured confounding" in estimate.label
        assert estimate.no_interval
    (dm,) = evaluate_sequential(log, replace(policy(log), q=q), ["dm"])  # with propensities neither
    assert (dm.value, dm.low, dm.high, dm.se) == (found["dm"].value, None, None, None)
    assert "model's own error cannot be read from the log" in dm.headline()


def test_a_policy_that_does_nothing_that_was_logged_gets_no_figure() -> None:
    log = replace(sessions(1000, 2), n_actions=3)
    for found in evaluate_sequential(log, policy(log, np.array([0.0, 0.0, 1.0]))):
        assert found.value is None
        assert found.verdict == "NOT ENOUGH DATA"
        assert found.unsupported == pytest.approx(1.0)


def test_sessions_that_end_early_weigh_only_what_took_place() -> None:
    log = sessions(60_000, 4, ends=0.5)
    truth = 0.34 * (1 + 0.5 + 0.25 + 0.125)
    q = crossfit(log, policy(log).probability, np.zeros((*log.shape, 1)), Tabular())
    found = {e.name: e for e in evaluate_sequential(log, replace(policy(log), q=q))}
    for name in ("tis", "pdis", "dr", "sntis", "snpdis", "sndr", "dm"):
        assert found[name].value == pytest.approx(truth, rel=0.02), name
    spoilt = replace(log, reward=np.where(log.alive, log.reward, np.nan), action=np.where(log.alive, log.action, 99))
    again = {e.name: e.value for e in evaluate_sequential(spoilt, replace(policy(log), q=q))}
    assert again == {name: e.value for name, e in found.items()}


def test_states_of_sessions_that_ended_have_ratios_of_their_own() -> None:
    log = sessions(50_000, 4, ends=0.5)
    log = replace(log, state=np.zeros(log.shape, int))
    target = replace(policy(log), marginal=tabular_weights(log, policy(log).probability))
    for found in evaluate_sequential(log, target, ["marginal_is", "marginal_snis"]):
        assert found.value == pytest.approx(0.34 * 1.875, rel=0.02)


def test_intervals_cover_where_users_repeat_themselves() -> None:
    """95 % intervals clustered by user hold the truth in 93 to 97 % of 1,000 logs."""
    names = ["pdis", "snpdis", "dr", "sndr"]
    covered = dict.fromkeys(names, 0)
    for seed in range(1000):
        log = sessions(900, 2, seed, users=150)
        q = np.broadcast_to(np.array([[0.54, 0.74], [0.2, 0.4]]), (900, 2, 2)).copy()
        for found in evaluate_sequential(log, replace(policy(log), q=q), names):
            assert found.low is not None
            assert found.high is not None
            covered[found.name] += found.low <= 0.68 <= found.high
    assert all(930 <= count <= 970 for count in covered.values()), covered


def test_two_users_carry_no_interval() -> None:
    log = sessions(4000, 2)
    for users in (2, 19):
        (found,) = evaluate_sequential(replace(log, user=log.user % users), policy(log), ["pdis"])
        assert (found.low, found.high, found.se, found.verdict) == (None, None, None, "NOT ENOUGH DATA")
        assert f"too few users for an interval: {users}" in found.headline()
    (found,) = evaluate_sequential(replace(log, user=log.user % 20), policy(log), ["pdis"])
    assert found.verdict == "OK"


def test_users_who_all_brought_the_same_carry_no_interval() -> None:
    log = sessions(4000, 2)
    q = np.zeros((4000, 2, 2))
    for reward, horizon_sum in ((0.0, 0.0), (1.0, 2.0)):
        same = replace(log, reward=np.full(log.shape, reward))
        for name in ("snpdis", "sndr") if reward else ("pdis", "snpdis", "dr", "sndr"):
            (found,) = evaluate_sequential(
                same, replace(policy(same), q=q + reward * np.array([2, 1])[:, None]), [name]
            )
            assert found.value == pytest.approx(horizon_sum), name
            assert (found.low, found.high, found.se) == (None, None, None), name
            assert (found.verdict, found.no_interval) == ("NOT ENOUGH DATA", NO_SPREAD), name
            assert NO_SPREAD in found.headline()


def test_clusters_widen_the_standard_error() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=100), 20)
    values -= values.mean()
    assert clustered_se(values, np.repeat(np.arange(100), 20)) > 3 * clustered_se(values, np.arange(2000))
    assert np.isnan(clustered_se(values, np.zeros(2000, int)))


def test_rows_make_sessions() -> None:
    log = LoggedTrajectories.from_rows(
        np.array([7, 3, 7, 7]), np.array([1, 0, 0, 2]), np.array([1, 0, 0, 1]), np.array([1.0, 2, 3, 4]),
        np.array([0.5, 0.6, 0.7, 0.8]), np.array([9, 8, 9, 9]), 2,
    )  # fmt: skip
    assert log.shape == (2, 3)
    assert log.length is not None
    assert log.length.tolist() == [1, 3]
    assert log.user.tolist() == [8, 9]
    assert log.reward[1].tolist() == [3, 1, 4]
    assert log.alive.sum() == 4
    log.check()


def test_a_regressor_of_ones_own_is_taken() -> None:
    class Flat:
        def fit(self, x: Any, action: Any, y: Any, n_actions: int) -> Any:
            mean = float(y.mean())
            return type("P", (), {"predict": lambda self, z: np.full((len(z), n_actions), mean)})()

    log = sessions(400, 2)
    q = crossfit(log, policy(log).probability, np.zeros((400, 2, 1)), Flat())
    assert q[:, 0].mean() == pytest.approx(0.6, abs=0.02)


def test_crossfit_never_sees_the_session_it_predicts() -> None:
    """A user whose rewards are spoilt changes other users' predictions, not their own."""
    log = sessions(200, 2, users=40)
    x, p = np.zeros((200, 2, 1)), policy(log).probability
    mine = log.user == log.user[0]
    before = crossfit(log, p, x, Linear())
    after = crossfit(replace(log, reward=log.reward + 100.0 * mine[:, None]), p, x, Linear())
    np.testing.assert_array_equal(before[mine], after[mine])
    assert np.abs(before - after).max() > 0.5


def _set(array: Any, value: float) -> np.ndarray:
    out = np.array(array, float)
    out[3, 1] = value
    return out


LOG_FAULTS: dict[str, Callable[[LoggedTrajectories], LoggedTrajectories]] = {
    "action flat": lambda g: replace(g, action=g.action[:, 0]),
    "no sessions": lambda g: replace(g, action=g.action[:0]),
    "action a fraction": lambda g: replace(g, action=g.action + 0.5),
    "action out of range": lambda g: replace(g, action=g.action + 1),
    "reward of another shape": lambda g: replace(g, reward=g.reward[:, :1]),
    "reward NaN": lambda g: replace(g, reward=_set(g.reward, np.nan)),
    "reward as text": lambda g: replace(g, reward=np.full(g.shape, "a")),
    "propensity of 1.7": lambda g: replace(g, propensity=_set(g.propensity, 1.7)),
    "propensity 0": lambda g: replace(g, propensity=_set(g.propensity, 0.0)),
    "propensity of a trillionth": lambda g: replace(g, propensity=_set(g.propensity, 1e-12)),
    "propensity NaN": lambda g: replace(g, propensity=_set(g.propensity, np.nan)),
    "propensity of another shape": lambda g: replace(g, propensity=np.ones(5)),
    "user missing": lambda g: replace(g, user=g.user[1:]),
    "user as text": lambda g: replace(g, user=g.user.astype(str)),
    "length 0": lambda g: replace(g, length=np.zeros(len(g.user), int)),
    "length beyond": lambda g: replace(g, length=np.full(len(g.user), 9)),
    "no actions": lambda g: replace(g, n_actions=0),
    "state negative": lambda g: replace(g, state=np.full(g.shape, -1)),
    "state of another shape": lambda g: replace(g, state=np.zeros(4, int)),
}


@pytest.mark.parametrize("name", LOG_FAULTS)
def test_bad_logs_are_named(name: str) -> None:
    log = sessions(50, 2)
    with pytest.raises(InputError) as error:
        evaluate_sequential(LOG_FAULTS[name](log), policy(log))
    assert error.value.where
    assert error.value.mend


CALLS: dict[str, Callable[[LoggedTrajectories, SequentialTarget], Any]] = {
    "probability negative": lambda g, t: evaluate_sequential(g, policy(g, np.array([-0.1, 1.1]))),
    "probability off one": lambda g, t: evaluate_sequential(g, policy(g, np.array([0.5, 0.4]))),
    "probability of another shape": lambda g, t: evaluate_sequential(g, policy(g, np.ones(3) / 3)),
    "probability NaN": lambda g, t: evaluate_sequential(g, policy(g, np.array([np.nan, 1.0]))),
    "q infinite": lambda g, t: evaluate_sequential(g, replace(t, q=np.full((50, 2, 2), np.inf))),
    "q of another shape": lambda g, t: evaluate_sequential(g, replace(t, q=np.zeros((50, 2)))),
    "marginal negative": lambda g, t: evaluate_sequential(g, replace(t, marginal=-np.ones((50, 2)))),
    "discount above one": lambda g, t: evaluate_sequential(g, t, discount=1.1),
    "level as percent": lambda g, t: evaluate_sequential(g, t, level=95.0),
    "unknown estimator": lambda g, t: evaluate_sequential(g, t, ["ips"]),
    "dr without q": lambda g, t: evaluate_sequential(g, t, ["dr"]),
    "marginal without ratios": lambda g, t: evaluate_sequential(g, t, ["marginal_is"]),
    "weights without states": lambda g, t: tabular_weights(g, t.probability),
    "features of another shape": lambda g, t: crossfit(g, t.probability, np.zeros((50, 1)), Linear()),
    "features NaN": lambda g, t: crossfit(g, t.probability, np.full((50, 2, 1), np.nan), Linear()),
    "one fold": lambda g, t: crossfit(g, t.probability, np.zeros((50, 2, 1)), Linear(), folds=1),
    "more folds than users": lambda g, t: crossfit(g, t.probability, np.zeros((50, 2, 1)), Linear(), folds=60),
    "negative ridge": lambda g, t: crossfit(g, t.probability, np.zeros((50, 2, 1)), Linear(-1.0)),
    "negative prior": lambda g, t: crossfit(g, t.probability, np.zeros((50, 2, 1)), Tabular(-1.0)),
    "steps missing": lambda g, t: LoggedTrajectories.from_rows(
        np.zeros(2, int), np.array([0, 2]), np.zeros(2, int), np.zeros(2), None, np.zeros(2, int), 2
    ),
    "two users a session": lambda g, t: LoggedTrajectories.from_rows(
        np.zeros(2, int), np.arange(2), np.zeros(2, int), np.zeros(2), None, np.arange(2), 2
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_targets_and_options_are_named(name: str) -> None:
    log = sessions(50, 2)
    with pytest.raises(InputError):
        CALLS[name](log, policy(log))
