"""Bad inputs to off-policy evaluation: each is refused by name, none gives a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers_ope import ACTIONS, small_log

from recenv.core.errors import InputError
from recenv.trust.ope import LoggedBandit, Target, audit, evaluate
from recenv.trust.ope.intervals import empirical_bernstein
from recenv.trust.ope.large_actions import factored, group_actions
from recenv.trust.ope.nuisance import crossfit, folds_by_user, shrunk_rates

N = 40
Change = dict[str, Any]


def _with(values: np.ndarray, at: Any, value: float) -> np.ndarray:
    changed = np.array(values, np.float64)
    changed[at] = value
    return changed


def _pair(log: Change, target: Change) -> tuple[LoggedBandit, Target]:
    good_log, good_target = small_log(users=10, rows=4)
    return replace(good_log, **log), replace(good_target, **target)


good, aim = small_log(users=10, rows=4)
REWARD, P, PI, Q = good.reward, good.propensity, np.asarray(aim.probability), np.asarray(aim.q)
NO_TABLE: Change = {"probability": None, "q": None}

# what is wrong -> (changes of the log, changes of the target, what the error names)
ARRAYS: dict[str, tuple[Change, Change, str]] = {
    "no rows": ({"action": [], "reward": [], "propensity": [], "user": []}, {}, "action"),
    "reward nan": ({"reward": _with(REWARD, 3, np.nan)}, {}, "reward, row 3"),
    "reward infinite": ({"reward": _with(REWARD, 0, np.inf)}, {}, "reward, row 0"),
    "reward text": ({"reward": np.array(["a"] * N)}, {}, "reward"),
    "reward objects": ({"reward": [None] * N}, {}, "reward"),
    "reward ragged": ({"reward": [[1.0], [1.0, 2.0]]}, {}, "reward"),
    "reward a column": ({"reward": REWARD[:, None]}, {}, "reward"),
    "reward too short": ({"reward": REWARD[:-1]}, {}, "reward"),
    "reward complex": ({"reward": REWARD + 1j}, {}, "reward"),
    "propensity 0": ({"propensity": _with(P, 2, 0.0), "behaviour": None}, {}, "propensity, row 2"),
    "propensity negative": ({"propensity": _with(P, 2, -0.1), "behaviour": None}, {}, "propensity, row 2"),
    "propensity 1.7": ({"propensity": _with(P, 2, 1.7), "behaviour": None}, {}, "propensity, row 2"),
    "propensity 1e-12": ({"propensity": _with(P, 2, 1e-12), "behaviour": None}, {}, "propensity, row 2"),
    "propensity nan": ({"propensity": _with(P, 2, np.nan), "behaviour": None}, {}, "propensity, row 2"),
    "propensity too long": ({"propensity": np.r_[P, 0.5]}, {}, "propensity"),
    "propensity against the table": ({"propensity": P / 2}, {}, "behaviour"),
    "action negative": ({"action": _with(good.action, 5, -1)}, {}, "action, row 5"),
    "action beyond": ({"action": _with(good.action, 5, ACTIONS)}, {}, "action, row 5"),
    "action a fraction": ({"action": _with(good.action, 5, 0.5)}, {}, "action, row 5"),
    "action a table": ({"action": np.zeros((N, 2), int)}, {}, "action"),
    "user too short": ({"user": np.arange(N - 1)}, {}, "user"),
    "user text": ({"user": np.array(["u"] * N)}, {}, "user"),
    "user nan": ({"user": _with(good.user, 1, np.nan)}, {}, "user"),
    "n_actions 0": ({"n_actions": 0}, {}, "n_actions"),
    "n_actions a float": ({"n_actions": 6.0}, {}, "n_actions"),
    "n_actions too small": ({"n_actions": 2}, {}, "action"),
    "position negative": ({"position": np.full(N, -1)}, {}, "position"),
    "position too short": ({"position": np.zeros(3, int)}, {}, "position"),
    "weight 0": ({"weight": np.zeros(N)}, {}, "weight"),
    "weight nan": ({"weight": _with(np.ones(N), 1, np.nan)}, {}, "weight, row 1"),
    "behaviour off one": ({"behaviour": np.full((N, ACTIONS), 0.5)}, {}, "behaviour"),
    "probability negative": ({}, {"probability": PI + np.r_[-1, 1, 0, 0, 0, 0]}, "probability, row 0"),
    "probability off one": ({}, {"probability": PI * 1.01}, "probability, row 0"),
    "probability nan": ({}, {"probability": _with(PI, (7, 1), np.nan)}, "probability, row 7"),
    "probability of another shape": ({}, {"probability": PI[:, :-1]}, "probability"),
    "probability too short": ({}, {"probability": PI[:-1]}, "probability"),
    "no target": ({}, {"probability": None}, "target"),
    "two targets": ({}, {"chosen": P}, "target"),
    "chosen above 1": ({}, NO_TABLE | {"chosen": np.full(N, 1.2)}, "chosen"),
    "chosen negative": ({}, NO_TABLE | {"chosen": np.full(N, -0.2)}, "chosen"),
    "chosen too short": ({}, NO_TABLE | {"chosen": P[:-1]}, "chosen"),
    "q nan": ({}, {"q": _with(Q, (3, 3), np.nan)}, "q, row 3"),
    "q transposed": ({}, {"q": Q.T}, "q"),
    "q twice": ({}, {"q_logged": P}, "q"),
    "q without table": ({}, {"probability": None, "chosen": P}, "q"),
    "half a q": ({}, {"q": None, "q_logged": P}, "q_logged, q_target"),
    "q_target too short": ({}, {"q": None, "q_logged": P, "q_target": P[:-1]}, "q_target"),
    "groups too short": ({}, {"groups": np.zeros(2, int)}, "groups"),
    "groups negative": ({}, {"groups": np.full(ACTIONS, -1)}, "groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_a_bad_array_is_refused_by_name(name: str) -> None:
    log, target = _pair(*ARRAYS[name][:2])
    with pytest.raises(InputError) as caught:
        evaluate(log, target, n_boot=10)
    assert caught.value.where == ARRAYS[name][2] or caught.value.where.startswith(ARRAYS[name][2] + ", row")


OPTIONS: dict[str, tuple[Callable[[], object], str]] = {
    "level 0": (lambda: evaluate(good, aim, level=0.0), "level"),
    "level 95": (lambda: evaluate(good, aim, level=95), "level"),
    "level nan": (lambda: evaluate(good, aim, level=float("nan")), "level"),
    "n_boot 0": (lambda: evaluate(good, aim, n_boot=0), "n_boot"),
    "n_boot a float": (lambda: evaluate(good, aim, n_boot=10.0), "n_boot"),  # type: ignore[arg-type]
    "unknown estimator": (lambda: evaluate(good, aim, ["ips"]), "estimators"),
    "a name, no list": (lambda: evaluate(good, aim, "ipw"), "estimators"),
    "no estimator": (lambda: evaluate(good, aim, []), "estimators"),
    "lambda 0": (lambda: evaluate(good, aim, ["clipped_ipw"], hyper={"clipped_ipw": 0}), "hyper['clipped_ipw']"),
    "lambda nan": (lambda: evaluate(good, aim, ["dros"], hyper={"dros": float("nan")}), "hyper['dros']"),
    "power 1": (lambda: evaluate(good, aim, ["sg_ipw"], hyper={"sg_ipw": 1.0}), "hyper['sg_ipw']"),
    "lambda for ipw": (lambda: evaluate(good, aim, ["ipw"], hyper={"ipw": 10}), "hyper['ipw']"),
    "lambda for none": (lambda: evaluate(good, aim, ["ipw"], hyper={"dros": 10}), "hyper"),
    "unknown tuning": (lambda: evaluate(good, aim, ["dros"], tuning_method="cv"), "tuning"),
    "unknown interval": (lambda: evaluate(good, aim, interval="normal"), "interval"),
    "no reward range": (lambda: evaluate(good, aim, ["ipw"], interval="bernstein"), "reward_range"),
    "reward range upside down": (lambda: evaluate(good, aim, ["ipw"], reward_range=(1, 0)), "reward_range"),
    "rewards out of range": (
        lambda: evaluate(good, aim, ["ipw"], interval="bernstein", reward_range=(0.0, 0.001)), "values"),
    "bernstein of a ratio": (
        lambda: evaluate(good, aim, ["snipw"], interval="bernstein", reward_range=(0.0, 1.0)), "interval"),
    "no model": (lambda: evaluate(good, Target(PI), ["dr"]), "q"),
    "no groups": (lambda: evaluate(good, Target(PI), ["mips"]), "mips"),
    "floor above 1": (lambda: evaluate(good, aim, min_propensity=2.0), "min_propensity"),
    "clipped at 0": (lambda: good.clipped(0.0), "floor"),
    "eligible of another shape": (lambda: audit(good, np.ones((N, 2))), "eligible"),
    "eligible not 0 or 1": (lambda: audit(good, np.full((N, ACTIONS), 0.5)), "eligible"),
    "logged action not eligible": (lambda: audit(good, np.zeros((N, ACTIONS))), "eligible, row 0"),
    "negative counts": (lambda: audit(good, np.full(ACTIONS, -1.0)), "eligible"),
    "audit level": (lambda: audit(good, alpha=1.0), "alpha"),
    "one fold": (lambda: folds_by_user(good.user, 1), "n_folds"),
    "more folds than users": (lambda: folds_by_user(good.user, 11), "n_folds"),
    "predictions too few": (lambda: crossfit(lambda a, b: np.zeros(len(a)), good.user, 3), "predictions of fold 0"),
    "predictions nan": (lambda: crossfit(lambda a, b: b * np.nan, good.user, 2), "predictions of fold 0, row 0"),
    "strength negative": (lambda: shrunk_rates(good, -1.0), "strength"),
    "p_copy 0": (lambda: factored(P, np.zeros(N)), "p_copy"),
    "too many groups": (lambda: group_actions(np.zeros((3, 2)), 4), "n_groups"),
    "embedding of one dimension": (lambda: group_actions(np.zeros(3), 2), "embedding"),
    "bernstein out of range": (lambda: empirical_bernstein(REWARD, 0.2, 1.0), "values"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_option_is_refused_by_name(name: str) -> None:
    call, where = OPTIONS[name]
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.where == where


def test_the_good_inputs_pass() -> None:
    assert all(e.value is not None for e in evaluate(good, aim, n_boot=10))
    small = replace(good, propensity=_with(P, 2, 1e-12), behaviour=None)
    assert float(small.clipped(0.01).check().propensity.min()) == 0.01
