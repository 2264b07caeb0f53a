"""The gates of a fidelity report, as functions on arrays: each gives a Gate (question, figure, interval, verdict).

    gates = [power(s, tol), discrimination(s, tol), ..., determinism(a, b)]
    verdict = overall(gates)

What each can see at which size: docs/gate_power.md.
"""

from __future__ import annotations

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
from recenv.trust.gate_items import item_rates
from recenv.trust.gate_knowledge import determinism, leaked_future
from recenv.trust.gate_policies import Value, exploitation, ranking, support
from recenv.trust.gate_prediction import (
    calibration_deciles,
    calibration_large,
    calibration_segments,
    calibration_weeks,
    discrimination,
    drift,
    power,
    transfer,
)
from recenv.trust.gate_sessions import rollout, second_order
from recenv.trust.gate_two_sample import two_sample

__all__ = [
    "FAIL",
    "NOT_ENOUGH",
    "NOT_MEASURED",
    "PASS",
    "QUESTIONS",
    "REQUIRED",
    "Gate",
    "Value",
    "calibration_deciles",
    "calibration_large",
    "calibration_segments",
    "calibration_weeks",
    "determinism",
    "discrimination",
    "drift",
    "exploitation",
    "item_rates",
    "judge",
    "leaked_future",
    "not_measured",
    "overall",
    "power",
    "ranking",
    "rollout",
    "second_order",
    "support",
    "transfer",
    "two_sample",
]
