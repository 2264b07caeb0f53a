"""How often do the gates of the fidelity report fail the truth, and how often do they catch each fault, at which size?

For each size and seed: a small shop whose truth is known, its log, and simulators of it that are right or wrong in one
known way (recenv.trust.gate_faults); every gate judges every simulator.
    python scripts/bench_gates.py --out runs/gates
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.trust.gate_base import FAIL, NOT_ENOUGH, PASS, Gate, overall
from recenv.trust.gate_faults import CORE, FAULTS, Case
from recenv.trust.tolerances import Tolerances


@dataclass(frozen=True)
class GatesConfig:
    """Judge the gates themselves on simulators that are known to be right or wrong."""

    out: Path = Path("runs/gates")
    """Folder for `seeds.jsonl`, `gates.json` and `gates.md`; must be new."""
    users: tuple[int, ...] = (320, 250, 1000, 4000)
    """Users of each size."""
    visits: tuple[float, ...] = (1.0, 6.0, 6.0, 6.0)
    """Sessions of each user at each size, on average."""
    base: tuple[float, ...] = (-4.7, -2.6, -2.6, -2.6)
    """Logit of the base rate at each size (-2.6: about .9 responses a session)."""
    seeds: int = 200
    """Shops of each size."""
    first_seed: int = 0
    """Seed of the first shop."""
    few: int = 25
    """Shops of each size in which the simulators beyond recenv.trust.gate_faults.CORE are judged as well."""
    faults: tuple[str, ...] = tuple(FAULTS)
    """Which simulators: `truth` and faults."""
    level: float = 0.95
    """Confidence of the whole family of gates."""
    family: int = Tolerances.family
    """Gates judged together: a report on two responses, shown and not, with a benchmark, judges 27."""


def run(config: GatesConfig) -> dict[str, Any]:
    """Judge all; writes a line a seed as it comes, then the tables."""
    config.out.mkdir(parents=True, exist_ok=False)
    tol = Tolerances(level=config.level, family=config.family)
    cells: list[dict[str, Any]] = []
    with (config.out / "seeds.jsonl").open("w", encoding="utf-8") as stream:
        for users, visits, base in zip(config.users, config.visits, config.base, strict=True):
            began = time.process_time()
            for seed in range(config.first_seed, config.first_seed + config.seeds):
                faults = [f for f in config.faults if f in CORE or seed < config.first_seed + config.few]
                for cell in judged(users, visits, base, seed, faults, tol):
                    cells.append(cell)
                    stream.write(json.dumps(cell) + "\n")
                stream.flush()
            print(f"{users} users: {time.process_time() - began:.0f} CPU-seconds", flush=True)
    rows = summary(cells)
    (config.out / "gates.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = markdown(rows)
    (config.out / "gates.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), "rows": rows}


def judged(
    users: int, visits: float, base: float, seed: int, faults: Iterable[str], tol: Tolerances
) -> list[dict[str, Any]]:
    """One line a simulator: overall verdict and the verdict of each gate; of the truth also which intervals miss it."""
    case = Case.make(users, visits, seed, base)
    lines = []
    for fault in faults:
        inputs = case.inputs if fault == "truth" else case.faulty(fault)
        found = case.judge(inputs, tol)
        verdicts = {g.name: g.verdict for g in found}
        size = {"users": users, "positives": case.inputs.slice_.positives, "seed": seed}
        missed = [g.name for g in found if misses(g)] if fault == "truth" else None
        lines.append(size | {"fault": fault, "overall": overall(found), "gates": verdicts, "missed": missed})
    return lines


def misses(gate: Gate) -> bool:
    """Whether an interval of this gate does not cover what is true of a perfect simulator (ratio 1, difference 0)."""
    centre = {"rollout": 0.0, "leaked_future": 0.0, "two_sample": 0.5}
    if gate.name in ("power", "discrimination", "ranking", "exploitation", "support", "determinism"):
        return False
    for x in gate.lines:
        least = x["tolerance"][0]
        true = centre.get(gate.name, 1.0) if least is None or least <= 0 else 1.0
        if (
            x["low"] is not None
            and x["required"]
            and x["label"] != "error of all items"
            and not x["low"] <= true <= x["high"]
        ):
            return True
    return False


def summary(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a size and fault: shares of verdicts overall and by gate."""
    grouped: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        grouped[cell["users"], cell["fault"]].append(cell)
    rows = []
    for (users, fault), mine in grouped.items():
        n = len(mine)
        by_gate = {g: {v: c / n for v, c in Counter(m["gates"][g] for m in mine).items()} for g in mine[0]["gates"]}
        whole = Counter(m["overall"] for m in mine)
        rows.append(
            {
                "users": users,
                "positives": sum(m["positives"] for m in mine) / n,
                "fault": fault,
                "seeds": n,
                "overall": {v: whole[v] / n for v in (PASS, FAIL, NOT_ENOUGH)},
                "gates": by_gate,
                "missed": {g: c / n for g, c in Counter(g for m in mine for g in m["missed"] or ()).items()},
                "missed_any": sum(bool(m["missed"]) for m in mine) / n,
            }
        )
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Three tables: overall verdicts by fault and size; what catches each fault; the truth by gate and size."""
    sizes = list({r["users"]: r["positives"] for r in rows}.items())
    head = [f"{_rounded(positives)} responses, {users:,} users" for users, positives in sizes]
    cell = {(r["users"], r["fault"]): r for r in rows}
    faults = list(dict.fromkeys(r["fault"] for r in rows))
    lines = ["Share of seeds with overall verdict FAIL / NOT ENOUGH DATA / PASS, in %", ""]
    lines += _header(["simulator", "seeds", *head])
    for fault in faults:
        parts = [cell[users, fault]["overall"] for users, _ in sizes]
        shown = [f"{_percent(x[FAIL])} / {_percent(x[NOT_ENOUGH])} / {_percent(x[PASS])}" for x in parts]
        lines.append(_row([FAULTS[fault], str(cell[sizes[0][0], fault]["seeds"]), *shown]))
    lines += ["", "Which gates say FAIL, in % of seeds (5 % and more)", "", *_header(["simulator", *head])]
    for fault in (f for f in faults if f != "truth"):
        lines.append(_row([FAULTS[fault], *(_catchers(cell[users, fault]["gates"]) for users, _ in sizes)]))
    if "truth" in faults:
        lines += ["", "The truth, gate by gate: FAIL / PASS in % of seeds", "", *_header(["gate", *head])]
        for gate in cell[sizes[0][0], "truth"]["gates"]:
            parts = [cell[users, "truth"]["gates"][gate] for users, _ in sizes]
            lines.append(_row([gate, *(f"{_percent(x.get(FAIL, 0))} / {_percent(x.get(PASS, 0))}" for x in parts)]))
        missed = [cell[users, "truth"]["missed_any"] for users, _ in sizes]
        lines.append(_row(["any interval that misses the truth", *(_percent(x) for x in missed)]))
    return "\n".join(lines) + "\n"


def _header(names: list[str]) -> list[str]:
    return [_row(names), "|---|" + "---:|" * (len(names) - 1)]


def _row(parts: list[str]) -> str:
    return "| " + " | ".join(parts) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0")


def _rounded(count: float) -> str:
    return f"{count:.0f}" if count < 100 else f"{round(count, -2):,.0f}"


def _catchers(gates: dict[str, dict[str, float]]) -> str:
    found = sorted(((x.get(FAIL, 0), name) for name, x in gates.items() if x.get(FAIL, 0) >= 0.05), reverse=True)
    return ", ".join(f"{name} {_percent(share)}" for share, name in found) or "none"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(GatesConfig, description=GatesConfig.__doc__))
