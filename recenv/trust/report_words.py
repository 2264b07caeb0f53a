"""What verdicts mean for somebody who must decide, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PREDICTION: dict[str, str] = {
    "PASS": "Predictions and simulated sessions agree with what nobody fitted on. Train agents here and compare them; "
    "let the judge's world confirm the winner before an A/B test.",
    "FAIL": "Something below is measurably wrong. Do not quote values from this world; mend what failed, or use it to "
    "try out code only.",
    "NOT ENOUGH DATA": "Nothing is shown to be wrong, and not enough is shown to be right. Treat values from this "
    "world as guesses; more held-out sessions would decide.",
    "NOT MEASURED": "No gate was judged yet.",
}
CAUSAL: dict[str, str] = {
    "RANDOMISED": "What was shown was drawn with known chances that fit the log: differences between policies may be "
    "read as effects of showing.",
    "ADJUSTED": "What was shown was not drawn by known chances; they were estimated. Differences are effects only if "
    "the recorded facts explain who was shown what.",
    "OBSERVATIONAL": "What was shown was not randomised. Values tell what goes together, not what showing brings "
    "about: use them to choose what to test, never in place of a test.",
    "PROPENSITIES WRONG": "The logged chances do not fit what was shown. Mend the logging before reading any effect.",
    "NOT MEASURED": "Not judged.",
}
GATES: dict[str, str] = {
    "power": "Enough data",
    "discrimination": "Tells who responds",
    "calibration_large": "Level",
    "calibration_deciles": "Level by likelihood",
    "calibration_segments": "Level by segment",
    "calibration_weeks": "Level by week",
    "item_rates": "Rates of items",
    "second_order": "Spread of sessions",
    "two_sample": "Real or simulated?",
    "rollout": "Whole sessions",
    "transfer": "Another policy's log",
    "ranking": "Order of policies",
    "exploitation": "Value elsewhere",
    "support": "Stays within the logs",
    "drift": "Ageing",
    "leaked_future": "No look ahead",
    "determinism": "Repeats exactly",
}
_GROUPS = {"calibration_deciles": "decile", "calibration_weeks": "week"}
MARKS: dict[str, str] = {"PASS": "✓", "FAIL": "✕", "NOT ENOUGH DATA": "?", "NOT MEASURED": "–"}


def gate_title(gate: Mapping[str, Any]) -> str:
    """Short name of a gate with the response that it judges."""
    name = GATES.get(str(gate["name"]), str(gate["name"]).replace("_", " "))
    return f"{name}: {gate['head']}" if gate.get("head") else name


def line_label(text: str, gate: str = "") -> str:
    """A line's label for people: `drift_5_items` -> `state after 5: items`; `category_Milk` -> `share of Milk`."""
    if gate == "calibration_large":
        return "all predictions"
    if gate in _GROUPS:
        return f"{_GROUPS[gate]} {text}"
    if gate not in ("rollout", "second_order"):
        return text.replace("_", " ")
    if text.startswith("drift_"):
        _, step, feature = text.split("_", 2)
        return f"state after {step}: {feature}"
    if text.startswith("category_"):
        return f"share of {text.removeprefix('category_')}"
    if text.startswith("responses_"):
        return f"{text.removeprefix('responses_')} a session"
    return {"repeat_share": "share of repeats", "responses": "responses a session", "length": "slots a session"}.get(
        text, text.replace("_", " ")
    )


def deciding(gates: Sequence[Mapping[str, Any]], verdict: str) -> list[Mapping[str, Any]]:
    """The gates that made the verdict what it is."""
    return [gate for gate in gates if gate["verdict"] == verdict] if verdict != "PASS" else []
