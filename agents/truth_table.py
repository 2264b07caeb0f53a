"""Tables of `bench_trust`: how simulated and true values rank the same policies, and what caution is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from recenv.agents.intervals import t_interval
from recenv.core.errors import InputError

WITHIN = 0.7
"""Policies below this share of the best true value are too easy to tell from the best: they are left out."""
LEAST_POLICIES = 8


def ranking(cells: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """One row a size: Kendall's tau with the truth and regret of the favourite, for world and judge."""
    rows = []
    for size in sizes:
        of_size = [compare(cell["policies"]) for cell in cells if cell["users"] == size]
        row: dict[str, Any] = {"users": size, "policies": [c["policies"] for c in of_size]}
        for key in ("simulated", "judged"):
            for what in ("tau", "regret", "exaggeration"):
                row[f"{key}_{what}"] = t_interval(np.array([c[f"{key}_{what}"] for c in of_size])).as_list()
        rows.append(row)
    return rows


def compare(policies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """tau, regret and exaggeration among the policies of one cell that are within reach of the best."""
    true = np.array([v["true"] for v in policies.values()])
    good = true >= WITHIN * true.max()
    if good.sum() < LEAST_POLICIES:
        raise InputError("policies", f"{good.sum()} within {1 - WITHIN:.0%} of the best", "Make more good ones.")
    found: dict[str, float] = {"policies": int(good.sum())}
    for key in ("simulated", "judged"):
        told = np.array([v[key] for v in policies.values()])[good]
        favourite = true[good][told.argmax()]
        found[f"{key}_tau"] = float(kendalltau(told, true[good]).statistic)
        found[f"{key}_regret"] = float(1.0 - favourite / true.max())
        found[f"{key}_exaggeration"] = float(told.max() / favourite)
    return found


def sweep(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """True value against the plain one, paired by seed, for each setting."""
    swept = [cell["sweep"] for cell in cells if "sweep" in cell]
    rows = []
    for k, line in enumerate(swept[0]):
        own = np.array([s[k]["true"] for s in swept])
        base = next(
            j for j, o in enumerate(swept[0]) if (o["agent"], o["pessimism"], o["support"]) == (line["agent"], 0, 0)
        )
        plain = np.array([s[base]["true"] for s in swept])
        gap = t_interval(np.array([s[k]["simulated"] for s in swept]) / own).as_list()
        difference = t_interval(own / plain - 1.0)
        rows.append(
            {key: line[key] for key in ("agent", "pessimism", "support")}
            | {"true": t_interval(own).as_list(), "exaggeration": gap, "change": difference.as_list()}
            | {"above_zero": difference.above_zero()}
        )
    return rows


def markdown(
    ranked: Sequence[Mapping[str, Any]],
    swept: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    about: str,
) -> str:
    """All tables as Markdown, after a line `about` shop and seeds."""
    smallest = min(cell["users"] for cell in cells)
    lines = [about, ""]
    if ranked:
        lines += [*_ranking_lines(ranked), "", *_by_policy(cells), ""]
    lines += [
        f"At {smallest} users, policies made with pessimism k or support mask eps:",
        "",
        "| policy | k | eps | true value | change against plain, paired | simulated / true |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in swept:
        change = _text([None if v is None else 100 * v for v in row["change"]], "+.1f") + " %"
        parts = [_text(row["true"]), change, _text(row["exaggeration"], ".2f")]
        lines.append(f"| {row['agent']} | {row['pessimism']:g} | {row['support']:g} | " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


def _ranking_lines(ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"tau: Kendall's, with the true value, among policies of at least {WITHIN:.0%} of the best true value; regret: "
        "of the favourite, as a share of the best; exaggeration: the favourite's value there, divided by its true one.",
        "",
        "| users | policies | tau, world | tau, judge | regret, world | regret, judge | exaggeration, world | judge |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in ranked:
        counts = sorted(row["policies"])
        parts = [f"{where}_{what}" for what in ("tau", "regret", "exaggeration") for where in ("simulated", "judged")]
        cells = " | ".join(_text(row[part], ".2f") for part in parts)
        lines.append(f"| {row['users']} | {counts[0]}-{counts[-1]} | {cells} |")
    return lines


def _by_policy(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| users | policy | simulated | judged | true | share of the best |", "|---:|---|---:|---:|---:|---:|"]
    for size in sorted({cell["users"] for cell in cells}):
        of_size = [cell["policies"] for cell in cells if cell["users"] == size]
        best = np.array([max(v["true"] for v in p.values()) for p in of_size])
        for name in of_size[0]:
            values = {k: np.array([p[name][k] for p in of_size]) for k in ("simulated", "judged", "true")}
            means = [f"{v.mean():.3f}" for v in values.values()]
            lines.append(f"| {size} | {name} | " + " | ".join(means) + f" | {(values['true'] / best).mean():.2f} |")
    return lines


def _text(value: Sequence[float | None], form: str = ".3f") -> str:
    mean, low, high = value
    if low is None or high is None or mean is None:
        return f"{mean:{form}}"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"
