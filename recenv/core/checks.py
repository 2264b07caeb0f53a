"""Checks of options, with named errors."""

from __future__ import annotations

import math
from typing import Any

from recenv.core.errors import InputError

MAX_SEED = 2**31 - 1


def check_whole(name: str, value: Any, low: int = 1, high: int = 2**53) -> None:
    """Raises InputError unless `value` is a whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"option {name}", f"{value!r}", f"Give a whole number from {low} to {high}.")


def check_seed(value: Any) -> None:
    """Raises InputError unless `value` is a seed that every library here takes: 0 to 2^31 - 1."""
    check_whole("seed", value, 0, MAX_SEED)


_TYPES: dict[str, tuple[type, ...]] = {"float": (int, float), "int": (int,), "str": (str,), "bool": (bool,)}


def check_type(where: str, name: str, annotation: str, value: Any) -> None:
    """Raises InputError where a plain option (float, int, str, bool) has a value of another type, or not finite."""
    expected = _TYPES.get(annotation)
    if expected is None:
        return
    wrong = not isinstance(value, expected) or (isinstance(value, bool) and annotation != "bool")
    if wrong or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(where, f"option {name} is {value!r}", f"Give a finite {annotation}.")
