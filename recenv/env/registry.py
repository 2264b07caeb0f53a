"""Gymnasium ids. Registering imports nothing of what makes the environments."""

from __future__ import annotations

import gymnasium as gym

ENTRY_POINTS: dict[str, tuple[str, str]] = {
    "recenv/Shop-v0": ("recenv.env.shop:RecEnv", "recenv.env.vector:RecVectorEnv"),
    "recenv/World-v0": ("recenv.env.shop:world_env", "recenv.env.vector:world_vector_env"),
    "recenv/Solvable-v0": ("recenv.env.solvable:SolvableEnv", "recenv.env.solvable:SolvableVectorEnv"),
}


def register() -> None:
    """Make the ids known to Gymnasium; a second call changes nothing."""
    for env_id, (single, vector) in ENTRY_POINTS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point=single, vector_entry_point=vector)
