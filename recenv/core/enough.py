"""How many must stand behind an interval: of fewer the spread itself is hardly known, so no interval is given."""

from __future__ import annotations

MIN_USERS = 20
"""Users for an interval clustered by user: below, t and bootstrap intervals are points or nonsense as chance has it."""
MIN_SEEDS = 2
"""Seeds for an interval over seeds."""


def too_few(count: int, what: str = "users", least: int = MIN_USERS) -> str:
    """`too few users for an interval: 2, at least 20 are needed`; "" where there are enough."""
    return "" if count >= least else f"too few {what} for an interval: {count:,}, at least {least} are needed"


def no_spread(se: float, value: float) -> bool:
    """Whether all users brought the same, up to rounding: then nothing tells how others would differ."""
    return se <= 1e-14 * abs(value)
