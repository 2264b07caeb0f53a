"""Options of `recenv.data.logs.build`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recenv.core.errors import InputError
from recenv.data.columns import RAW_KINDS, SPLITS

SPLIT_MODES = ("auto", "time", "user", "given")


@dataclass(frozen=True)
class BuildOptions:
    """How raw logs become a Dataset. Times are in seconds, or in order numbers where the log has no clock.

    session_gap: a user's session ends after so long without an event (used where the log gives no session).
    click_window, purchase_window: how long after an impression a click or purchase may be attributed to it.
    click_kinds: kinds of row that count as a click on an impression ("click", "view"). An unattributed view stays the
        user's own act.
    split_by: "time" (at session borders), "user" (seeded), "given" (the column `split`), or "auto": given where the
        column is there, user where the log has no time, else time.
    fractions: rows wanted in train, calibration, validation, test. split_times: three explicit cuts instead.
    now: epoch seconds after which a timestamp is in the future (None: the present).
    seed: of the split by users. progress: show what is being done.
    """

    session_gap: float = 1800.0
    click_window: float = 1800.0
    purchase_window: float = 7 * 86400.0
    click_kinds: tuple[str, ...] = ("click",)
    split_by: str = "auto"
    fractions: tuple[float, float, float, float] = (0.7, 0.1, 0.1, 0.1)
    split_times: tuple[str | int, ...] = ()
    now: float | None = None
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("session_gap", "click_window", "purchase_window"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"option {name!r}", f"{value!r} is not a positive number", "Give seconds above 0.")
        if self.split_by not in SPLIT_MODES:
            raise InputError("option 'split_by'", f"unknown {self.split_by!r}", f"Use one of {', '.join(SPLIT_MODES)}.")
        bad = len(self.fractions) != len(SPLITS) or any(not 0 <= f <= 1 for f in self.fractions)
        if bad or abs(sum(self.fractions) - 1) > 1e-9 or self.fractions[0] == 0:
            what = f"{self.fractions!r} are not four shares that sum to 1 with train above 0"
            raise InputError("option 'fractions'", what, "Use for instance .7 .1 .1 .1.")
        if len(self.split_times) not in (0, 3):
            raise InputError("option 'split_times'", f"{len(self.split_times)} times given", "Give three, or none.")
        for kind in self.click_kinds:
            if kind not in RAW_KINDS:
                raise InputError("option 'click_kinds'", f"unknown kind {kind!r}", f"Use {', '.join(RAW_KINDS)}.")
            if kind not in ("click", "view"):
                raise InputError("option 'click_kinds'", f"{kind!r} cannot be a click", "Use 'click' or 'view'.")
