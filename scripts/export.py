"""`recenv export`: a policy as a bundle that serves without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.agents.export import export_bundle
from recenv.agents.export_run import policy_of_run, untrained
from recenv.core.errors import InputError
from recenv.env.options import EnvOptions
from recenv.generators.needs import needs_of


@dataclass(frozen=True)
class ExportConfig:
    """Write a policy bundle: ONNX graph, catalogue, texts, manifest, golden pairs of made-up users."""

    out: Path
    """Folder of the bundle; must be new."""
    run: Path | None = None
    """Folder of a run of `recenv train` (or of one policy and seed of `recenv benchmark`)."""
    policy: str | None = None
    """Instead of a run: name of a policy that needs no training, such as popular or model-greedy; needs --world."""
    world: Path | None = None
    """Folder of the world; the one named by the run if not given."""
    seed: int = 0
    """Seed of the made-up users."""


def run(config: ExportConfig) -> dict[str, Any]:
    """Export; returns the bundle's path, its policy and sizes."""
    if (config.run is None) == (config.policy is None):
        raise InputError("export", "needs either --run or --policy", "Give one of them.")
    env, value = EnvOptions(), None
    if config.run is not None:
        policy, world, env, value = policy_of_run(config.run, config.world)
    elif config.policy is not None and config.world is not None:
        policy, world = untrained(config.policy, config.world, config.seed)
    else:
        raise InputError("export", "--policy without --world", "Give the folder of the world.")
    needs = needs_of(world.copies.to_pylist(), world.items.to_pylist())
    manifest = export_bundle(policy, world, config.out, config.seed, value, env, needs)
    print(f"wrote {config.out}: {manifest['policy']['label']}, {manifest['sizes']['actions']} actions")
    print(f"serve it: recenv serve --bundle {config.out}")
    return {"bundle": str(config.out), "policy": manifest["policy"], "sizes": manifest["sizes"], "value": value}


if __name__ == "__main__":
    import tyro

    run(tyro.cli(ExportConfig))
