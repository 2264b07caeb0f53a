"""The gates of a fidelity report, as functions on arrays: each gives a Gate (question, figure, interval, verdict)."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from recenv.trust.gate_base import (
    FAIL,
    NOT_ENOUGH,
    NOT_MEASURED,
    PASS,
    QUESTIONS,
    REQUIRED,
    Gate,
    judge,
    not_measured,
    overall,
)
from recenv.trust.slices import PredictionSlice, SessionStats
from recenv.trust.tolerances import Tolerances

__all__ = [
    "FAIL",
    "NOT_ENOUGH",
    "NOT_MEASURED",
    "PASS",
    "QUESTIONS",
    "REQUIRED",
    "Gate",
    "judge",
    "not_measured",
    "overall",
]

Value = tuple[float, float]  # a policy's value and its standard error


def power(s: PredictionSlice, tol: Tolerances) -> Gate:
    return not_measured("power", "to come")


def discrimination(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("discrimination", "to come")


def calibration_large(s: PredictionSlice, tol: Tolerances) -> Gate:
    return not_measured("calibration_large", "to come")


def calibration_deciles(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("calibration_deciles", "to come")


def calibration_segments(
    s: PredictionSlice, tol: Tolerances, seed: int = 0, names: dict[int, str] | None = None
) -> Gate:
    return not_measured("calibration_segments", "to come")


def calibration_weeks(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("calibration_weeks", "to come")


def item_rates(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("item_rates", "to come")


def second_order(stats: SessionStats, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("second_order", "to come")


def two_sample(
    real: NDArray[Any],
    simulated: NDArray[Any],
    real_user: NDArray[Any],
    simulated_user: NDArray[Any],
    tol: Tolerances,
    names: tuple[str, ...] = (),
    seed: int = 0,
) -> Gate:
    return not_measured("two_sample", "to come")


def rollout(stats: SessionStats, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("rollout", "to come")


def transfer(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    return not_measured("transfer", "to come")


def ranking(
    values: dict[str, tuple[NDArray[Any], NDArray[Any]]], tol: Tolerances, seed: int = 0, draws: str = "seeds"
) -> Gate:
    return not_measured("ranking", "to come")


def exploitation(
    policy: str, world: Value, judge: Value, tol: Tolerances, pessimistic: Value | None = None, ope: Value | None = None
) -> Gate:
    return not_measured("exploitation", "to come")


def support(probability: NDArray[Any], user: NDArray[Any], tol: Tolerances, policy: str = "") -> Gate:
    return not_measured("support", "to come")


def drift(s: PredictionSlice, tol: Tolerances, earlier: PredictionSlice | None = None, seed: int = 0) -> Gate:
    return not_measured("drift", "to come")


def leaked_future(
    s: PredictionSlice,
    tol: Tolerances,
    simulated: PredictionSlice | None = None,
    changed: NDArray[Any] | None = None,
    seed: int = 0,
) -> Gate:
    return not_measured("leaked_future", "to come")


def determinism(a: bytes, b: bytes) -> Gate:
    return not_measured("determinism", "to come")
