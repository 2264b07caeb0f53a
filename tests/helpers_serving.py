"""Bundles of the bundled world for tests, and histories of made-up users."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recenv.agents.base import entry
from recenv.agents.export import export_bundle
from recenv.world import World, tiny_world_path

NOW = 1_700_000_000
_SHARED: dict[str, Path] = {}
KINDS = ("impression", "view", "cart", "click", "purchase")


@cache
def tiny_world() -> World:
    return World.load(tiny_world_path())


def policy(name: str, world: World | None = None, **config: Any) -> Any:
    """A policy; a network's weights are shaken, so that nothing in it is still zero."""
    made = entry(name)(world or tiny_world(), config, 0)
    if name == "dqn":
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in made.network.parameters():
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return made


def shared_bundle(name: str, factory: pytest.TempPathFactory) -> Path:
    """A bundle of that policy, exported once for all tests of the process; not to be written to."""
    if name not in _SHARED:
        folder = factory.mktemp("bundles") / name
        export_bundle(policy(name), tiny_world(), folder)
        _SHARED[name] = folder
    return _SHARED[name]


def history(seed: int, n: int = 30, items: int = 20) -> list[dict[str, Any]]:
    """n events over some days before `NOW`; the last ones within the running session."""
    rng = np.random.default_rng(seed)
    times = np.sort(NOW - rng.integers(0, 5 * 86_400, n))
    times[-4:] = NOW - np.array([900, 600, 600, 300])
    events = []
    for time, item, kind in zip(times, rng.integers(0, items, n), rng.integers(0, len(KINDS), n)):
        event = {"item_id": f"i{item:04d}", "kind": KINDS[kind], "timestamp": int(time)}
        if event["kind"] == "impression":
            event |= {"click": bool(rng.random() < 0.5), "purchase": False}
        events.append(event)
    return events
