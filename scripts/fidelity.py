"""`recenv fidelity`: how well a world predicts the slice that nothing was fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.response.held_out import fidelity_on_test
from recenv.trust.summary import summary_lines


@dataclass(frozen=True)
class FidelityConfig:
    """Measure a world's response model on the test slice; each read of it is counted in the data's meta.json."""

    world: Path
    """Folder of the world."""
    data: Path
    """Folder of the tables that it was fitted on."""
    seed: int = 0
    """Seed of the bootstrap over users."""
    bootstraps: int = 200
    """Bootstrap resamples."""


def run(config: FidelityConfig) -> dict[str, Any]:
    """Write `fidelity.json` (split: test) into the world's folder and return it."""
    report = fidelity_on_test(config.world, config.data, config.seed, config.bootstraps)
    print("\n".join(summary_lines(config.world)))
    return {"world": str(config.world), "written": str(config.world / "fidelity.json"), "report": report}


if __name__ == "__main__":
    import tyro

    run(tyro.cli(FidelityConfig))
