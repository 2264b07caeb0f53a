"""A world's fidelity in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recenv.core.artefacts import read_json
from recenv.core.verdict import CARD, read_report, verdict_line, verdicts


def verdict_of(world: str | Path) -> str:
    """One line on the world in this folder, from its card; from its report where the card holds none.

    Raises:
        ArtefactError: no world there, or a damaged report.
    """
    folder = Path(world)
    entry = read_json(folder / CARD).get("fidelity")
    if not entry and (folder / "fidelity.json").is_file():
        entry = verdicts(read_report(folder))
    return verdict_line(folder.name, entry)


def summary_lines(world: str | Path) -> list[str]:
    """The verdict, and one line a head and group of a world's `fidelity.json`, with 95 % intervals over users.

    Raises:
        ArtefactError: the world has no readable `fidelity.json`.
    """
    folder = Path(world)
    report = read_report(folder)
    lines = [verdict_line(folder.name, verdicts(report))]
    for head, groups in report["heads"].items():
        lines += [f"  {head}, {group}: {_figures(figures)}" for group, figures in groups.items() if figures]
    return lines


def gate_lines(report: Mapping[str, Any]) -> list[str]:
    """The gates as an aligned table: verdict, gate, figure with interval, tolerance."""
    rows = []
    for gate in report.get("gates", ()):
        name = gate["name"] + (f" ({gate['head']})" if gate.get("head") else "")
        allowed = "" if gate["figure"] is None else f"allowed {band_text(gate['tolerance'])}"
        rows.append((gate["verdict"], name, figure_text(gate), allowed or gate["detail"]))
    width = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    return [f"  {a:<{width[0]}}  {b:<{width[1]}}  {c:<{width[2]}}  {d}".rstrip() for a, b, c, d in rows]


def number_text(value: float | None) -> str:
    """Three figures, three decimals at most, or whole numbers from 1,000 on; `-` for none."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"


def figure_text(gate: Mapping[str, Any]) -> str:
    """`figure [low, high]`."""
    if gate["figure"] is None:
        return ""
    if gate["low"] is None or gate["high"] is None or gate["low"] == gate["high"]:
        return number_text(gate["figure"])
    return f"{number_text(gate['figure'])} [{number_text(gate['low'])}, {number_text(gate['high'])}]"


def band_text(band: Any) -> str:
    """A tolerance in words."""
    low, high = band
    if low is None and high is None:
        return "anything"
    if low is None:
        return f"at most {number_text(high)}"
    return f"at least {number_text(low)}" if high is None else f"{number_text(low)} to {number_text(high)}"


def _figures(figures: dict[str, Any]) -> str:
    if not figures.get("positives"):
        return f"{figures.get('rows', 0)} rows, no positive response"
    parts = [f"{figures['rows']:,} rows, base rate {figures['base_rate']:.4f}"]
    names = {"auc": "AUC", "gain_over_base": "gain over base rate", "gain_over_item_rates": "over item rates"}
    for key, name in (names | {"predicted_real": "predicted/real"}).items():
        value = figures.get(key)
        if value:
            parts.append(f"{name} {_interval(value)}")
    if figures.get("no_interval"):
        parts.append(str(figures["no_interval"]))
    return ", ".join(parts)


def _interval(value: Mapping[str, float | None]) -> str:
    if value["value"] is None:
        return "unknown"
    if value["low"] is None or value["high"] is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
