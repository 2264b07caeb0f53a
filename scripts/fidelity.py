"""`recenv fidelity`: the verdict of a world, on the slice that nothing was fitted on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recenv.agents.export_run import policy_of_run
from recenv.trust.assess import AssessOptions, assess
from recenv.trust.gates import FAIL, NOT_ENOUGH, PASS
from recenv.trust.summary import gate_lines, summary_lines
from recenv.trust.support import JudgedPolicy
from recenv.trust.tolerances import Tolerances

EXIT = {PASS: 0, FAIL: 3, NOT_ENOUGH: 4}


@dataclass(frozen=True)
class FidelityConfig:
    """Judge a world on the test slice; each read of it is counted in the data's meta.json. Exit: 0 PASS, 3 FAIL, 4
    NOT ENOUGH DATA."""

    world: Path
    """Folder of the world."""
    data: Path
    """Folder of the tables that it was fitted on."""
    benchmark: Path | None = None
    """Folder written by `recenv benchmark` with this world, for the gates on ranking and exploitation."""
    other_data: Path | None = None
    """Tables logged by another policy over the same catalogue, for the gate on transfer."""
    evaluate: Path | None = None
    """evaluate.json of `recenv evaluate`: the off-policy value of the benchmark's learner, for the gate on
    exploitation."""
    run: Path | None = None
    """Folder of a policy trained in this world, for the gate on support: does it do what the logs have seen done?"""
    seed: int = 0
    """Seed of roll-outs and bootstraps."""
    bootstraps: int = 200
    """Bootstrap resamples of the figures by response."""
    sessions: int = 20_000
    """Most held-out sessions (or visits) that are rolled out."""
    tolerances: Tolerances = field(default_factory=Tolerances)
    """What each gate allows."""


def run(config: FidelityConfig) -> dict[str, Any]:
    """Write `fidelity.json` and `fidelity.html` into the world's folder, the verdict into its card; return them."""
    options = AssessOptions(config.seed, config.bootstraps, config.sessions, config.tolerances)
    policy = None if config.run is None else _policy(config.run, config.world)
    report = assess(
        config.world,
        config.data,
        options,
        config.benchmark,
        config.other_data,
        progress=True,
        policy=policy,
        evaluated=config.evaluate,
    )
    print("\n".join([*summary_lines(config.world), *gate_lines(report)]))
    print(f"report: {config.world / 'fidelity.html'}")
    return {
        "world": str(config.world),
        "written": str(config.world / "fidelity.json"),
        "page": str(config.world / "fidelity.html"),
        "verdict": report["verdict"],
        "causal": report["causal"]["verdict"],
        "report": report,
        "exit_code": EXIT[report["verdict"]],
    }


def _policy(run: Path, world: Path) -> JudgedPolicy:
    policy, _, env, _ = policy_of_run(run, world)
    return JudgedPolicy(policy.name, policy.observation, env, policy.probabilities)


if __name__ == "__main__":
    import tyro

    run(tyro.cli(FidelityConfig))
