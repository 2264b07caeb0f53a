"""A gate: one question put to a world, with a figure, its interval, a tolerance and a verdict.

The rule: PASS if the simultaneous interval lies inside the tolerance, FAIL if it lies wholly outside, else NOT ENOUGH
DATA. A gate of several lines (deciles, segments, ...) fails if one line fails and passes if all pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recenv.core.errors import InputError
from recenv.trust.tolerances import Band

PASS, FAIL, NOT_ENOUGH, NOT_MEASURED = "PASS", "FAIL", "NOT ENOUGH DATA", "NOT MEASURED"

REQUIRED: tuple[str, ...] = (
    "power", "discrimination", "calibration_large", "calibration_deciles", "calibration_segments",
    "calibration_weeks", "second_order", "rollout", "determinism",
)  # fmt: skip
"""Gates without which a world cannot PASS."""

QUESTIONS: dict[str, str] = {
    "power": "Are there enough responses to judge anything?",
    "discrimination": "Does the model tell who will respond, better than the base rate and than each item's rate?",
    "calibration_large": "Does it predict as many responses as there were?",
    "calibration_deciles": "Also among those it thinks likely and those it thinks unlikely?",
    "calibration_segments": "Also in every segment of users?",
    "calibration_weeks": "Also in every week?",
    "item_rates": "Does it give each item its own rate?",
    "second_order": "Do simulated sessions vary as much as real ones?",
    "two_sample": "Can a classifier tell simulated sessions from real ones?",
    "rollout": "Do simulated sessions run like real ones (length, responses, repeats, categories, state)?",
    "transfer": "Does it also hold on the log of another policy?",
    "ranking": "Does it put policies in the order in which an independent judge puts them?",
    "exploitation": "Is the policy as good outside the world that trained it?",
    "support": "Does the policy do what the logs have seen done?",
    "drift": "Does it hold as time goes on?",
    "leaked_future": "Does it know only what could be known at the time?",
    "determinism": "Does the same seed give the same bytes?",
}


@dataclass(frozen=True)
class Gate:
    """The outcome of one gate, JSON-able by `as_dict`.

    Args:
        name: one of QUESTIONS. question: in plain words. verdict: PASS, FAIL, NOT ENOUGH DATA or NOT MEASURED.
        figure, low, high: of the line that decides, with its simultaneous interval. tolerance: of that line.
        detail: one sentence for a person. head: the response judged, or "".
        lines: one dict a line: label, figure, low, high, tolerance, verdict, weight, required.
        plot: kind ("ratio" | "bars" | "lines" | "hist"), axis (words), and series as plain lists of equal length:
            label, figure, low, high, tolerance_low, tolerance_high, verdict (kind "hist": edges, real, simulated).
    """

    name: str
    question: str
    verdict: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    tolerance: Band = (None, None)
    detail: str = ""
    head: str = ""
    lines: tuple[dict[str, Any], ...] = ()
    plot: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain dict, list, str, float and None."""
        return asdict(self) | {"lines": [dict(line) for line in self.lines], "tolerance": list(self.tolerance)}


def judge(low: float | None, high: float | None, tolerance: Band) -> str:
    """PASS if [low, high] lies inside the tolerance, FAIL if wholly outside, else NOT ENOUGH DATA."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NOT_ENOUGH
    least, most = tolerance
    if (most is not None and low > most) or (least is not None and high < least):
        return FAIL
    inside = (least is None or low >= least) and (most is None or high <= most)
    return PASS if inside else NOT_ENOUGH


def line(
    label: str,
    figure: float | None,
    low: float | None,
    high: float | None,
    tolerance: Band,
    weight: float | None = None,
    required: bool = True,
) -> dict[str, Any]:
    """One line of a gate; `required=False`: it can fail the gate but need not pass for the gate to pass."""
    return {
        "label": label,
        "figure": _plain(figure),
        "low": _plain(low),
        "high": _plain(high),
        "tolerance": [_plain(tolerance[0]), _plain(tolerance[1])],
        "verdict": judge(low, high, tolerance),
        "weight": _plain(weight),
        "required": required,
    }


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def worst(verdicts: Iterable[str]) -> str:
    """FAIL over NOT ENOUGH DATA over PASS; NOT ENOUGH DATA where there is none."""
    found = set(verdicts)
    return FAIL if FAIL in found else PASS if found == {PASS} else NOT_ENOUGH


def gate_of_lines(
    name: str,
    lines: Sequence[dict[str, Any]],
    detail: str,
    axis: str,
    kind: str = "ratio",
    head: str = "",
    plotted: Sequence[dict[str, Any]] | None = None,
) -> Gate:
    """A gate whose verdict is that of its lines; its figure is that of the line that decides.

    `plotted`: the lines to draw, where not all have one scale.
    """
    verdict = worst(x["verdict"] for x in lines if x["required"] or x["verdict"] == FAIL)
    decisive = max(lines, key=_badness) if lines else None
    return Gate(
        name=name,
        question=QUESTIONS[name],
        verdict=verdict,
        figure=decisive["figure"] if decisive else None,
        low=decisive["low"] if decisive else None,
        high=decisive["high"] if decisive else None,
        tolerance=(decisive["tolerance"][0], decisive["tolerance"][1]) if decisive else (None, None),
        detail=detail,
        head=head,
        lines=tuple(lines),
        plot=_plot(lines if plotted is None else plotted, kind, axis),
    )


def _badness(line_: dict[str, Any]) -> tuple[int, float]:
    """Orders lines: failed ones, then required undecided ones; among equals the one that reaches furthest out."""
    rank = {FAIL: 3, NOT_ENOUGH: 2 if line_["required"] else 0, PASS: 1}[line_["verdict"]]
    least, most = line_["tolerance"]
    low, high = line_["low"], line_["high"]
    if low is None or high is None:
        return rank, math.inf
    both = least is not None and most is not None
    width = (most - least) if both else max(abs(most or least or 1.0), 1e-9)
    ends = (low, high) if rank == 3 else (high, low)
    above = (ends[0] - most) / width if most is not None else -math.inf
    below = (least - ends[1]) / width if least is not None else -math.inf
    return rank, max(above, below)


def in_tolerances(line_: dict[str, Any], log: bool) -> dict[str, Any]:
    """A line on the scale on which its two-sided tolerance is [-1, 1], for plots of unlike statistics."""
    least, most = (math.log(v) if log else v for v in line_["tolerance"])
    middle, half = (most + least) / 2, (most - least) / 2
    values = {key: line_[key] for key in ("figure", "low", "high")}
    moved = {
        key: None if v is None or (log and v <= 0) else ((math.log(v) if log else v) - middle) / half
        for key, v in values.items()
    }
    return line_ | moved | {"tolerance": [-1.0, 1.0]}


def _plot(lines: Sequence[dict[str, Any]], kind: str, axis: str) -> dict[str, Any]:
    series: dict[str, Any] = {key: [x[key] for x in lines] for key in ("label", "figure", "low", "high", "verdict")}
    bands = {f"tolerance_{side}": [x["tolerance"][i] for x in lines] for i, side in enumerate(("low", "high"))}
    return {"kind": kind, "axis": axis, **series, **bands}


def undecided(name: str, why: str, head: str = "") -> Gate:
    """NOT ENOUGH DATA without an interval: says why in plain words."""
    return Gate(name, QUESTIONS[name], NOT_ENOUGH, detail=why, head=head)


def not_measured(name: str, give: str, head: str = "") -> Gate:
    """A gate for which nothing was given; `give` says what would measure it."""
    if name not in QUESTIONS:
        raise InputError("gate", f"{name!r} is unknown", f"Known gates: {', '.join(QUESTIONS)}.")
    return Gate(name, QUESTIONS[name], NOT_MEASURED, detail=give, head=head)


def overall(gates: Sequence[Gate]) -> str:
    """The worst verdict: FAIL over NOT ENOUGH DATA over PASS.

    A gate that is NOT MEASURED counts as NOT ENOUGH DATA if it is one of REQUIRED, else not at all; so does a required
    gate that is missing altogether.

    Raises:
        InputError: no gates.
    """
    if not gates:
        raise InputError("gates", "there are none", "Measure at least one gate.")
    verdicts = [g.verdict for g in gates if g.verdict != NOT_MEASURED]
    measured = {g.name for g in gates if g.verdict != NOT_MEASURED}
    missing = [NOT_ENOUGH for name in REQUIRED if name not in measured]
    return worst([*verdicts, *missing])
