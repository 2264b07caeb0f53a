"""Each gate passes on the truth, fails on its own fault, and is undecided where data are few."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit

from recenv.core.errors import InputError
from recenv.trust import gates
from recenv.trust.gate_base import FAIL, NOT_ENOUGH, NOT_MEASURED, PASS, QUESTIONS, REQUIRED, Gate, judge, overall
from recenv.trust.gate_faults import FAULTS, Case
from recenv.trust.gate_policies import JudgeError, freedom
from recenv.trust.slices import SessionStats
from recenv.trust.tolerances import Tolerances

TOL = Tolerances()
STATISTICAL = tuple(name for name in QUESTIONS if name not in ("determinism", "exploitation", "support", "two_sample"))


@pytest.fixture(scope="module")
def large() -> Case:
    return Case.make(users=4000, visits=6.0, seed=1)


@pytest.fixture(scope="module")
def few_clicks() -> Case:
    return Case.make(users=320, visits=1.0, seed=11, base=-4.7)


def by_name(case: Case, fault: str = "truth") -> dict[str, Gate]:
    inputs = case.inputs if fault == "truth" else case.faulty(fault)
    return {gate.name: gate for gate in case.judge(inputs, TOL)}


def test_every_gate_passes_on_the_truth(large: Case) -> None:
    found = by_name(large)
    assert set(found) == set(QUESTIONS)
    assert {name: g.verdict for name, g in found.items() if g.verdict != PASS} == {}
    assert overall(list(found.values())) == PASS


def test_forty_clicks_are_not_enough(few_clicks: Case) -> None:
    found = by_name(few_clicks)
    assert few_clicks.inputs.slice_.positives < 80
    assert {name: found[name].verdict for name in STATISTICAL} == dict.fromkeys(STATISTICAL, NOT_ENOUGH)
    assert overall(list(found.values())) == NOT_ENOUGH


@pytest.mark.parametrize("fault", ["labels_shuffled", "rates_x1.5", "sigmoid_twice", "one_segment_x1.3", "flat_items"])
def test_forty_clicks_fail_no_model_either(few_clicks: Case, fault: str) -> None:
    assert overall(list(by_name(few_clicks, fault).values())) == NOT_ENOUGH


@pytest.mark.parametrize(
    ("fault", "gate"),
    [
        ("labels_shuffled", "discrimination"),
        ("learned_nothing", "discrimination"),
        ("answers_known", "discrimination"),
        ("rates_x1.5", "calibration_large"),
        ("rates_x1.2", "calibration_large"),
        ("sigmoid_twice", "calibration_deciles"),
        ("leaked_future", "leaked_future"),
        ("leaked_future", "rollout"),
        ("leaked_in_replay", "leaked_future"),
        ("wrong_leave", "rollout"),
        ("one_segment_x1.3", "calibration_segments"),
        ("no_overdispersion", "second_order"),
        ("leaked_future", "two_sample"),
        ("flat_items", "item_rates"),
        ("stale", "calibration_weeks"),
        ("stale", "drift"),
        ("wrong_elsewhere", "transfer"),
        ("exploiting_policy", "exploitation"),
        ("wrong_order", "ranking"),
        ("off_support", "support"),
        ("not_deterministic", "determinism"),
    ],
)
def test_a_fault_is_failed_by_its_gate(large: Case, fault: str, gate: str) -> None:
    found = by_name(large, fault)
    assert found[gate].verdict == FAIL
    assert overall(list(found.values())) == FAIL


def test_a_wrong_segment_is_failed_by_no_other_gate(large: Case) -> None:
    found = by_name(large, "one_segment_x1.3")
    assert [name for name, g in found.items() if g.verdict == FAIL] == ["calibration_segments"]
    wrong = [x["label"] for x in found["calibration_segments"].lines if x["verdict"] == FAIL]
    assert wrong == ["2"]


def test_every_fault_of_the_study_is_made(few_clicks: Case) -> None:
    for fault in FAULTS:
        assert len(by_name(few_clicks, fault)) == len(QUESTIONS)
    with pytest.raises(ValueError, match="no_such_fault"):
        few_clicks.faulty("no_such_fault")


def test_a_gate_is_json_able_and_its_plot_is_plain_lists_of_one_length(large: Case) -> None:
    for gate in by_name(large).values():
        plain = json.loads(json.dumps(gate.as_dict(), allow_nan=False))
        assert plain["verdict"] == PASS
        assert gate.question.endswith("?")
        assert gate.detail.endswith(".")
        if gate.plot:
            assert gate.plot["kind"] in ("ratio", "bars", "lines", "hist")
            keys = ("label", "figure", "low", "high", "tolerance_low", "tolerance_high", "verdict")
            assert len({len(gate.plot[key]) for key in keys}) == 1


def test_same_seed_same_gates(large: Case) -> None:
    s, stats = large.inputs.slice_, large.inputs.stats
    assert gates.calibration_segments(s, TOL, seed=3) == gates.calibration_segments(s, TOL, seed=3)
    assert gates.rollout(stats, TOL, seed=3) == gates.rollout(stats, TOL, seed=3)


def test_rows_may_come_in_any_order(large: Case) -> None:
    s = large.inputs.slice_
    other = s.select(np.random.default_rng(0).permutation(len(s)))
    for gate in (gates.calibration_weeks, gates.item_rates, gates.discrimination, gates.drift):
        a, b = gate(s, TOL), gate(other, TOL)
        assert a.verdict == b.verdict
        assert a.figure == pytest.approx(b.figure, rel=1e-9)
        assert a.low == pytest.approx(b.low, rel=1e-9)


def test_groups_that_are_merged_into_one_do_not_pass(large: Case) -> None:
    s = large.inputs.slice_
    part = s.select(s.user < 300)
    for gate in (gates.calibration_deciles, gates.calibration_segments, gates.calibration_weeks):
        found = gate(part, TOL)
        assert found.verdict == NOT_ENOUGH
        assert "merged into one" in found.detail
    assert gates.calibration_segments(replace(part, segment=part.segment * 0), TOL).verdict == PASS


def test_few_users_are_not_enough_however_many_rows(large: Case) -> None:
    s = large.inputs.slice_
    lumped = replace(s, user=s.user % 40)
    assert gates.calibration_large(lumped, TOL).verdict == NOT_ENOUGH
    assert gates.power(lumped, TOL).verdict == NOT_ENOUGH


def test_weights_stand_for_rows_that_were_not_sampled(large: Case) -> None:
    s = large.inputs.slice_
    rng = np.random.default_rng(1)
    kept = (s.y > 0.5) | (rng.random(len(s)) < 0.25)
    sampled = replace(s, w=np.where(s.y > 0.5, 1.0, 4.0)).select(kept)
    assert gates.calibration_large(sampled, TOL).verdict == PASS
    assert gates.calibration_large(replace(sampled, w=np.ones(len(sampled))), TOL).verdict == FAIL


def test_the_verdict_rule() -> None:
    assert judge(0.95, 1.05, (0.9, 1.1)) == PASS
    assert judge(0.85, 1.05, (0.9, 1.1)) == NOT_ENOUGH
    assert judge(0.8, 0.89, (0.9, 1.1)) == FAIL
    assert judge(1.11, 1.2, (0.9, 1.1)) == FAIL
    assert judge(0.0, 0.1, (None, 0.1)) == PASS
    assert judge(None, None, (0.9, 1.1)) == NOT_ENOUGH
    assert judge(float("nan"), 1.0, (0.9, 1.1)) == NOT_ENOUGH


def test_overall_is_the_worst_and_asks_for_the_required_gates() -> None:
    passed = [Gate(name, QUESTIONS[name], PASS) for name in QUESTIONS]
    assert overall(passed) == PASS
    assert overall([*passed, Gate("power", "", NOT_ENOUGH)]) == NOT_ENOUGH
    assert overall([*passed, Gate("power", "", NOT_ENOUGH), Gate("drift", "", FAIL)]) == FAIL
    for name in QUESTIONS:
        unmeasured = [gates.not_measured(g.name, "Give it.") if g.name == name else g for g in passed]
        assert overall(unmeasured) == (NOT_ENOUGH if name in REQUIRED else PASS)
        assert overall([g for g in passed if g.name != name]) == (NOT_ENOUGH if name in REQUIRED else PASS)
    assert gates.leaked_future.__name__ in QUESTIONS


def test_an_off_policy_value_may_fail_the_gate_but_need_not_prove_it() -> None:
    world, judged = (1.0, 0.01), (0.95, 0.01)
    assert gates.exploitation("dqn", world, judged, TOL).verdict == PASS
    assert gates.exploitation("dqn", world, judged, TOL, ope=(0.7, 0.4)).verdict == PASS
    assert gates.exploitation("dqn", world, judged, TOL, ope=(0.3, 0.05)).verdict == FAIL
    assert gates.exploitation("dqn", world, judged, TOL, pessimistic=(0.2, 0.01)).verdict == FAIL
    assert gates.exploitation("dqn", world, (0.95, 0.3), TOL).verdict == NOT_ENOUGH
    assert gates.exploitation("dqn", (-1.0, 0.01), (-1.02, 0.01), TOL).verdict == PASS
    assert gates.exploitation("dqn", (0.0, 0.0), judged, TOL).verdict == NOT_ENOUGH


def test_leaked_future_without_anything_to_compare_is_not_measured(large: Case) -> None:
    assert gates.leaked_future(large.inputs.slice_, TOL).verdict == NOT_MEASURED


def test_drift_against_an_earlier_slice(large: Case) -> None:
    s = large.inputs.slice_
    middle = np.median(s.time)
    early, late = s.select(s.time <= middle), s.select(s.time > middle)
    assert gates.drift(late, TOL, earlier=early).verdict == PASS
    aged = replace(late, p=np.minimum(late.p * 1.5, 1.0))
    found = gates.drift(aged, TOL, earlier=early)
    assert [x["verdict"] for x in found.lines] == [PASS, FAIL]


def _level(spread: float, n: int = 12) -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    return {f"p{k}": (1 + spread * rng.standard_normal(n), 1 + spread * rng.standard_normal(n)) for k in range(4)}


def test_a_ranking_is_no_surer_than_its_judge() -> None:
    """Seeds that agree say nothing of other users or of another judge: either takes the certainty away."""
    values, flat = _level(0.005), np.zeros((4, 4))
    sure = gates.ranking(values, TOL)
    assert sure.verdict == PASS
    apart = 1 + 0.2 * np.random.default_rng(0).standard_normal((4, 10))
    judges = gates.ranking(values, TOL, error=JudgeError(apart))
    users = gates.ranking(values, TOL, error=JudgeError(None, flat + 0.02 * np.eye(4), 300))
    for found in (judges, users):
        assert found.verdict == NOT_ENOUGH
        assert found.figure == sure.figure
        assert found.lines[1]["low"] < sure.lines[1]["low"] or sure.lines[1]["low"] == -1
    # What moves all policies alike moves no difference.
    together = gates.ranking(values, TOL, error=JudgeError(np.tile(apart[:1], (4, 1)), flat + 0.02, 300))
    assert together.high == pytest.approx(sure.high)
    with pytest.raises(InputError, match="judge error, members"):
        gates.ranking(values, TOL, error=JudgeError(apart[:3]))
    with pytest.raises(InputError, match="judge error, users"):
        gates.ranking(values, TOL, error=JudgeError(None, flat))


def test_few_draws_give_wide_limits() -> None:
    """Half-widths of five draws are Student's with 4 degrees of freedom, not the normal distribution's."""
    se = 0.01
    normal = gates.exploitation("dqn", (1.0, 0.0), (0.9, se), TOL)
    few = gates.exploitation("dqn", (1.0, 0.0), (0.9, se, 4), TOL)
    tail = (1 - TOL.gate_level) / 2
    assert few.high - few.figure == pytest.approx(-stdtrit(4, tail) * se)
    assert normal.high - normal.figure == pytest.approx(-ndtri(tail) * se)
    total, nu = freedom([(np.array([3.0]), 4), (np.array([4.0]), np.inf)])
    assert total[0] == 5
    assert nu[0] == pytest.approx(625 / (81 / 4))
    with pytest.raises(InputError, match="degrees of freedom"):
        gates.exploitation("dqn", (1.0, 0.0), (0.9, se, 0), TOL)


@pytest.mark.parametrize(("responses", "verdict"), [(1, NOT_ENOUGH), (600, FAIL)])
def test_a_share_of_next_to_no_responses_decides_nothing(responses: int, verdict: str) -> None:
    """One logged click stands in one category: no roll-out can have that mix, and none is wrong for it."""
    n = 1000
    clicked = (np.arange(n) < responses).astype(np.float64)
    real = {"responses": clicked, "category_tea": np.ones(n)}
    drawn = np.random.default_rng(0).permutation(clicked) if responses > 1 else (np.arange(n) < 5).astype(np.float64)
    simulated = {"responses": drawn, "category_tea": 0.3 + 0.1 * np.random.default_rng(1).standard_normal(n)}
    gate = gates.rollout(SessionStats(real, np.arange(n), simulated, np.arange(n)), Tolerances())
    assert gate.verdict == verdict


@pytest.mark.parametrize(("simulated", "verdict"), [(0, FAIL), (25, FAIL), (2400, PASS)])
def test_a_simulator_in_which_hardly_anybody_responds_fails(simulated: int, verdict: str) -> None:
    n = 6000
    count = {"responses": (np.arange(n) < 2500).astype(np.float64)}
    drawn = {"responses": np.random.default_rng(0).permutation(np.arange(n) < simulated).astype(np.float64)}
    gate = gates.rollout(SessionStats(count, np.arange(n), drawn, np.arange(n)), Tolerances())
    assert gate.verdict == verdict


@pytest.mark.parametrize(("responses", "verdict"), [(5, NOT_ENOUGH), (600, FAIL)])
def test_sessions_without_responses_are_no_proof_of_likeness(responses: int, verdict: str) -> None:
    n = 1000
    real = (np.arange(n) < responses).astype(np.float64)[:, None]
    fake = np.zeros((n, 1))
    gate = gates.two_sample(real, fake, np.arange(n), np.arange(n), Tolerances(), ("responses",))
    assert gate.verdict == verdict
