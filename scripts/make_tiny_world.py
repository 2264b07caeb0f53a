"""Makes the small synthetic world that ships inside the package: `python -m recenv.scripts.make_tiny_world`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.synthetic import SyntheticOptions, load
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.scripts.make_copy import CopyConfig
from recenv.scripts.make_copy import run as add_copy
from recenv.world import World, tiny_world_path


@dataclass(frozen=True)
class TinyConfig:
    """Make the packaged world anew."""

    out: Path = field(default_factory=tiny_world_path)
    """Folder to write; replaced."""
    seed: int = 0
    """Seed of the shop, the fit and the copy."""


def run(config: TinyConfig) -> dict[str, Any]:
    """Simulate a shop, fit a world on its log, add two lines of copy an item, and keep the world without its judge."""
    raw = load(options=SyntheticOptions(users=1500, items=20, categories=4, sessions=5.0, seed=config.seed))
    options = FitOptions(seed=config.seed, vector_dim=16, start_states=120, training=TrainConfig(threads=1, epochs=20))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        build(raw, BuildOptions(seed=config.seed)).save(base / "data")
        fit_worlds(base / "data", base / "tiny", options)
        _only_users_met(base / "tiny")
        add_copy(CopyConfig(world=base / "tiny", variants=2, seed=config.seed, out=base / "copy"))
        shutil.rmtree(config.out, ignore_errors=True)
        shutil.copytree(base / "copy", config.out)
    size = sum(f.stat().st_size for f in config.out.iterdir())
    return {"world": str(config.out), "bytes": size}


def _only_users_met(path: Path) -> None:
    """Drop the users that no start state needs, to keep the package small."""
    world = World.load(path)
    kept, number = np.unique(world.start.user, return_inverse=True)
    world.start.user = number.astype(np.int32)
    world.users = world.users.take(kept)
    fidelity = (path / "fidelity.json").read_bytes()
    shutil.rmtree(path)
    world.save(path)
    (path / "fidelity.json").write_bytes(fidelity)


if __name__ == "__main__":
    import tyro

    print(run(tyro.cli(TinyConfig)))
