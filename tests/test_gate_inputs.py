"""Bad inputs to the gates: each a named error that says where, what, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recenv.core.errors import InputError
from recenv.trust import gates
from recenv.trust.gate_base import overall
from recenv.trust.slices import PredictionSlice, SessionStats
from recenv.trust.tolerances import Tolerances

TOL = Tolerances()
N = 500


def a_slice() -> PredictionSlice:
    rng = np.random.default_rng(0)
    p = rng.random(N)
    whole = {name: rng.integers(0, 60, N) for name in ("user", "item", "session", "time", "segment")}
    return PredictionSlice(
        "click", p, (rng.random(N) < p).astype(float), np.ones(N), item_rate=np.full(N, 0.5), **whole
    )


def some_stats() -> SessionStats:
    rng = np.random.default_rng(0)
    sides: list[Any] = [{"length": rng.random(N), "drift_1_x": rng.random(N)} for _ in range(2)]
    user = rng.integers(0, 60, N)
    return SessionStats(sides[0], user, sides[1], user)


def spoiled(name: str, value: Any, row: int = 3) -> PredictionSlice:
    s = a_slice()
    changed = getattr(s, name).copy()
    changed[row] = value
    return replace(s, **{name: changed})


SLICES: dict[str, tuple[Callable[[], PredictionSlice], str]] = {
    "NaN prediction": (lambda: spoiled("p", np.nan), r"p\[3\]"),
    "prediction above 1": (lambda: spoiled("p", 1.7), r"p\[3\].*1\.7"),
    "negative prediction": (lambda: spoiled("p", -0.1), r"p\[3\]"),
    "infinite prediction": (lambda: spoiled("p", np.inf), r"p\[3\]"),
    "NaN response": (lambda: spoiled("y", np.nan), r"y\[3\]"),
    "response of 2": (lambda: spoiled("y", 2.0), r"y\[3\].*0 or 1"),
    "zero weight": (lambda: spoiled("w", 0.0), r"w\[3\]"),
    "negative weight": (lambda: spoiled("w", -1.0), r"w\[3\]"),
    "NaN weight": (lambda: spoiled("w", np.nan), r"w\[3\]"),
    "item rate above 1": (lambda: spoiled("item_rate", 1.1), r"item_rate\[3\]"),
    "unequal lengths": (lambda: replace(a_slice(), user=np.arange(3)), "unequal length"),
    "no rows": (lambda: a_slice().select(np.zeros(N, bool)), "no rows"),
    "users as floats": (lambda: replace(a_slice(), user=np.zeros(N)), "user.*whole numbers"),
    "users as text": (lambda: replace(a_slice(), user=np.full(N, "u")), "user.*whole numbers"),  # type: ignore[arg-type]
    "a table for p": (lambda: replace(a_slice(), p=np.zeros((N, 2))), "not a flat array"),
    "a list for y": (lambda: replace(a_slice(), y=[0.0] * N), "not a flat array"),  # type: ignore[arg-type]
    "predictions as text": (lambda: replace(a_slice(), p=np.full(N, "x")), "p: has type"),  # type: ignore[arg-type]
}
GATES: list[Callable[[PredictionSlice, Tolerances], Any]] = [
    gates.power,
    gates.discrimination,
    gates.calibration_large,
    gates.calibration_deciles,
    gates.calibration_segments,
    gates.calibration_weeks,
    gates.item_rates,
    gates.transfer,
    gates.drift,
    gates.leaked_future,
]


@pytest.mark.parametrize("name", SLICES)
def test_a_bad_slice_is_named(name: str) -> None:
    make, message = SLICES[name]
    with pytest.raises(InputError, match=message) as caught:
        make().check()
    assert caught.value.mend.endswith(".")


@pytest.mark.parametrize("gate", GATES, ids=lambda g: g.__name__)
def test_every_gate_on_predictions_checks_its_slice(gate: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=r"p\[3\]"):
        gate(spoiled("p", np.nan), TOL)


def _with(side: str, **changes: Any) -> SessionStats:
    stats = some_stats()
    return replace(stats, **{side: {**getattr(stats, side), **changes}})


STATS: dict[str, tuple[Callable[[], SessionStats], str]] = {
    "nothing given": (lambda: replace(some_stats(), real={}), "real: there are none"),
    "one side only": (lambda: _with("simulated", extra=np.zeros(N)), "'extra' is on one side only"),
    "unequal lengths": (lambda: _with("real", length=np.zeros(3)), "unequal length"),
    "NaN length": (lambda: _with("real", length=np.full(N, np.nan)), r"real length\[0\]"),
    "infinite drift": (lambda: _with("simulated", drift_1_x=np.full(N, np.inf)), r"simulated drift_1_x\[0\]"),
    "users as floats": (lambda: replace(some_stats(), real_user=np.zeros(N)), "real_user"),
    "no sessions": (
        lambda: SessionStats({"length": np.zeros(0)}, np.zeros(0, int), {"length": np.zeros(0)}, np.zeros(0, int)),
        "no rows",
    ),
}


@pytest.mark.parametrize("name", STATS)
def test_bad_session_statistics_are_named(name: str) -> None:
    make, message = STATS[name]
    for gate in (gates.rollout, gates.second_order):
        with pytest.raises(InputError, match=message):
            gate(make(), TOL)


X, USER = np.zeros((60, 2)), np.arange(60)
MANY = np.full(60, 100)
DRAWS = np.linspace(0, 1, 10)
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "features flat": (lambda: gates.two_sample(X[:, 0], X, USER, USER, TOL), "real features"),
    "features apart": (lambda: gates.two_sample(X, X[:, :1], USER, USER, TOL), "2 real, 1 simulated"),
    "features NaN": (lambda: gates.two_sample(X * np.nan, X, USER, USER, TOL), "real features"),
    "features without rows": (lambda: gates.two_sample(X[:0], X, USER[:0], USER, TOL), "real features"),
    "users of other length": (lambda: gates.two_sample(X, X, USER, USER[:5], TOL), "simulated_user"),
    "names missing": (lambda: gates.two_sample(X, X, USER, USER, TOL, ("a",)), "1 names"),
    "one policy": (lambda: gates.ranking({"a": (DRAWS, DRAWS)}, TOL), "at least two"),
    "NaN value": (
        lambda: gates.ranking({"a": (DRAWS, DRAWS), "b": (DRAWS * np.nan, DRAWS)}, TOL),
        "values of b, world",
    ),
    "draws apart": (lambda: gates.ranking({"a": (DRAWS, DRAWS), "b": (DRAWS, DRAWS[:3])}, TOL), "unequal"),
    "no draws": (lambda: gates.ranking({"a": (DRAWS, DRAWS), "b": (DRAWS, DRAWS[:0])}, TOL), "values of b, judge"),
    "unknown kind of draws": (lambda: gates.ranking({"a": (DRAWS, DRAWS)}, TOL, draws="runs"), "draws.*'runs'"),
    "value infinite": (lambda: gates.exploitation("a", (np.inf, 0.1), (1, 0.1), TOL), "value in the world"),
    "standard error below 0": (lambda: gates.exploitation("a", (1, 0.1), (1, -0.1), TOL), "value in the judge"),
    "support above 1": (lambda: gates.support(np.full(60, 1.5), USER, MANY, TOL), r"probability\[0\]"),
    "support of other length": (lambda: gates.support(np.zeros(5), USER, MANY, TOL), "one length"),
    "support of nobody": (lambda: gates.support(np.zeros(0), USER[:0], MANY[:0], TOL), "one length"),
    "support among nothing": (lambda: gates.support(np.zeros(60), USER, 0 * MANY, TOL), "candidates"),
    "changed of other length": (lambda: gates.leaked_future(a_slice(), TOL, changed=np.zeros(3)), "changed"),
    "changed all NaN": (lambda: gates.leaked_future(a_slice(), TOL, changed=np.full(N, np.nan)), "NaN everywhere"),
    "changed above 1": (lambda: gates.leaked_future(a_slice(), TOL, changed=np.full(N, 2.0)), r"outside \[0, 1\]"),
    "nothing to repeat": (lambda: gates.determinism(b"", b""), "both runs are empty"),
    "no gates": (lambda: overall([]), "gates: there are none"),
    "unknown gate": (lambda: gates.not_measured("vibes", "Give it."), "'vibes' is unknown"),
    "tolerance not a number": (lambda: Tolerances(ratio_large="1.1"), "ratio_large"),  # type: ignore[arg-type]
    "tolerance below one": (lambda: Tolerances(ratio_large=0.9), "ratio above 1"),
    "tolerance NaN": (lambda: Tolerances(max_regret=float("nan")), "max_regret"),
    "level of 95": (lambda: Tolerances(level=95.0), "level"),
    "no family": (lambda: Tolerances(family=0), "family"),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments_are_named(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(InputError, match=message):
        call()
