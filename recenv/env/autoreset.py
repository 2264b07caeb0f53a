"""Gymnasium's autoreset modes, also where the installed version does not name them yet (1.0)."""

from __future__ import annotations

from enum import Enum
from typing import Any

from recenv.core.errors import InputError

try:
    from gymnasium.vector import AutoresetMode
except ImportError:

    class AutoresetMode(Enum):  # type: ignore[no-redef]
        """The modes as later versions of Gymnasium name them."""

        NEXT_STEP = "NextStep"
        SAME_STEP = "SameStep"
        DISABLED = "Disabled"


def autoreset_mode(value: Any) -> AutoresetMode:
    """The mode given as such or by its value, so that it can stand in a JSON spec.

    Raises:
        InputError: no such mode.
    """
    given = getattr(value, "value", value)
    for mode in AutoresetMode:
        if mode.value == given:
            return mode
    raise InputError("autoreset_mode", f"{value!r}", f"Choose one of {', '.join(m.value for m in AutoresetMode)}.")
