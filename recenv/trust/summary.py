"""A world's fidelity figures in a few lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recenv.core.artefacts import read_json


def summary_lines(world: str | Path) -> list[str]:
    """One line a head and group of a world's `fidelity.json`, with 95 % intervals over users.

    Raises:
        ArtefactError: the world has no readable `fidelity.json`.
    """
    report = read_json(Path(world) / "fidelity.json")
    lines = [f"fidelity of {report['world']} on the {report['split']} slice (prediction only, no causal claim):"]
    for head, groups in report["heads"].items():
        lines += [f"  {head}, {group}: {_figures(figures)}" for group, figures in groups.items() if figures]
    return lines


def _figures(figures: dict[str, Any]) -> str:
    if not figures.get("positives"):
        return f"{figures.get('rows', 0)} rows, no positive response"
    parts = [f"{figures['rows']:,} rows, base rate {figures['base_rate']:.4f}"]
    names = {"auc": "AUC", "gain_over_base": "gain over base rate", "gain_over_item_rates": "over item rates"}
    for key, name in (names | {"predicted_real": "predicted/real"}).items():
        value = figures.get(key)
        if value:
            parts.append(f"{name} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]")
    return ", ".join(parts)
