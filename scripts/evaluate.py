"""`recenv evaluate`: what a policy would have brought, from the test slice of a log of another policy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recenv.agents.off_policy import Request, evaluate_off_policy, text
from recenv.core.errors import InputError
from recenv.trust.problem import Settings

REPORT, PAGE = "evaluate.json", "evaluate.md"


@dataclass(frozen=True)
class EvaluateConfig:
    """Off-policy value of a run's policy, and of others, on decisions that nothing was fitted on.

    Each use reads the test slice of the data, and is counted in their meta.json.
    """

    data: Path
    """Folder of the tables; the test slice alone is used."""
    run: Path | None = None
    """Folder of a run of `recenv train` (or of one policy and seed of `recenv benchmark`)."""
    world: Path | None = None
    """Folder of the world; the one named by the run if not given. Without --run: what --agents need."""
    agents: tuple[str, ...] = ("logged", "popular", "model-greedy")
    """Policies without training to value beside it."""
    reward: str | None = None
    """click, purchase or revenue; what the run was trained for if not given."""
    out: Path | None = None
    """Folder for evaluate.json and evaluate.md; the run's folder if not given. What they said of other data stands."""
    seed: int = 0
    """Seed of the folds and of the bootstrap."""
    folds: int = 5
    """Groups of users for the cross-fitted reward model."""
    bootstraps: int = 1000
    """Bootstrap resamples over users."""
    clip: float | None = None
    """Raise propensities below this to it, at the price of a bias; refused if not given."""
    estimators: tuple[str, ...] = ()
    """One-step estimators, of ipw, clipped_ipw, snipw, dm, dr, clipped_dr, sndr, switch_dr, dros, sg_ipw, sg_dr, mips;
    eight of them if not given. `dr` is quoted where it is among them, else snipw, else the first named. `dm` has no
    interval: its reward model's own error cannot be read from the log."""
    interval: Literal["studentised", "t", "percentile", "bca", "bernstein"] = "studentised"
    """Interval of a value, clustered by user: bootstraps, t, or empirical Bernstein (true at any size, very wide)."""
    groups: int = 0
    """For mips: groups of alike items by k-means on their vectors; 0: the items' categories."""
    largest: float | None = None
    """For bernstein: the most that one decision can bring; 1 for clicks and purchases if not given."""


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate, print the table, write evaluate.json and evaluate.md; returns the report."""
    out = config.out or config.run
    if out is None:
        raise InputError("evaluate", "no folder to write to", "Give --out, or --run.")
    if out.is_file():
        raise InputError(str(out), "is a file", "Give a folder.")
    _check_same_data(out / REPORT, config.data)
    settings = Settings(
        config.reward or "click", config.seed, config.folds, config.bootstraps, clip=config.clip,
        estimators=config.estimators, interval=config.interval, groups=config.groups, largest=config.largest,
    )  # fmt: skip
    request = Request(config.data, config.run, config.world, config.agents, config.reward, settings)
    report = evaluate_off_policy(request)
    out.mkdir(parents=True, exist_ok=True)
    (out / REPORT).write_text(json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    (out / PAGE).write_text(text(report, markdown=True), encoding="utf-8")
    print(text(report), end="")
    print(f"wrote {out / REPORT} and {out / PAGE}")
    return {**report, "written": [str(out / REPORT), str(out / PAGE)]}


def _check_same_data(report: Path, data: Path) -> None:
    """Nothing is written over a report of other data."""
    try:
        said = json.loads(report.read_text(encoding="utf-8"))["data"] if report.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        said = None
    if said is not None and Path(said).resolve() != data.resolve():
        raise InputError(str(report), f"tells of {said}, not of {data}", "Give another folder with --out.")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(EvaluateConfig))
