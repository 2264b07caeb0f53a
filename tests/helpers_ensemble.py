"""Small worlds with members that disagree, for tests of ensembles and pessimism."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.forward import ResponseForward, item_tables
from recenv.world import World


def with_members(world: World, k: int = 4, noise: float = 0.4) -> World:
    """The world with members whose head is the model's plus noise: so they disagree."""
    members = []
    for m in range(k):
        rng = np.random.default_rng(m)
        arrays = world.response.to_arrays()
        for name in ("head_w3", "item_skip_w"):
            arrays[name] = (arrays[name] + noise * rng.normal(size=arrays[name].shape)).astype(np.float32)
        inputs = np.concatenate([world.spec.item_vectors, world.item_features], axis=1)
        members.append(ResponseForward(arrays | item_tables(arrays, inputs), world.response.config))
    return replace(world, members=tuple(members))


def expected(world: World, **options: object) -> dict[str, np.ndarray]:
    """Amounts of the first slot of 32 sessions that show items 1 .. 32 modulo the catalogue."""
    sim = Simulator(world, 32, EnvOptions.build({"candidates": "all", **options}))
    sim.reset(seed=0)
    return sim.respond(1 + np.arange(32) % (world.n_actions - 1)).amounts


def with_variance(world: World) -> World:
    """The world with something left open of every item in every segment."""
    shape = (*world.logged_rates.shape, len(world.response.heads))
    variance = np.random.default_rng(7).uniform(0.2, 5.0, shape).astype(np.float32)
    return replace(world, segment_variance=variance, meta=world.meta | {"segment_sd": 2.5})
