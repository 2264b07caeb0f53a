"""`recenv check`: does an environment keep Gymnasium's rules, and ours?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from recenv.core.errors import InputError
from recenv.env.check import check


@dataclass(frozen=True)
class CheckConfig:
    """Test anyone's environment: API, spaces, determinism, masks, autoreset, JSON spec."""

    env: str = "recenv/Shop-v0"
    """A registered id; with `module:` in front where a module must be imported first."""
    world: str | None = None
    """Folder of a world, for recenv/World-v0."""
    kwargs: str = "{}"
    """Keyword arguments of the environment, as a JSON object."""
    seed: int = 0
    """Seed of resets and actions."""
    steps: int = 200
    """Length of the roll-outs."""


def run(config: CheckConfig) -> dict[str, Any]:
    """Check; returns the result of every check, and `passed`.

    Raises:
        InputError: the keyword arguments are no JSON object.
    """
    report = check(config.env, _kwargs(config), config.seed, config.steps)
    print("\n".join(report.lines()))
    return {"env": config.env, "passed": report.passed, "checks": report.results, "exit_code": int(not report.passed)}


def _kwargs(config: CheckConfig) -> dict[str, Any]:
    try:
        kwargs = json.loads(config.kwargs)
    except json.JSONDecodeError as error:
        raise InputError("--kwargs", f"no JSON ({error})", 'Give an object such as {"slate": 2}.') from error
    if not isinstance(kwargs, dict):
        raise InputError("--kwargs", f"a {type(kwargs).__name__}", 'Give an object such as {"slate": 2}.')
    return kwargs if config.world is None else {"world": config.world} | kwargs


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CheckConfig))
