"""What an off-policy estimate says, in numbers and in plain words; and when it must not be quoted at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recenv.core.errors import InputError

OK = "OK"
NOT_ENOUGH_DATA = "NOT ENOUGH DATA"
MIN_ESS = 500.0
"""Smallest effective sample size that may carry a headline."""
MAX_WEIGHT_SHARE = 0.01
"""Largest importance weight, as a share of n: above it one row moves the estimate by more than 1 % of its reward."""
MAX_RELATIVE_HALF_WIDTH = 0.5
"""Largest half-width of the interval, as a share of the estimate."""
MODEL_ALONE = "no interval: the reward model's own error cannot be read from the log"
"""Of the direct method: the spread over users leaves that error out, and held the truth in about 1 log of 100."""
NO_SPREAD = "no interval: all users brought the same, so nothing tells how others would differ"
NO_FIGURE = "no interval can be given"


@dataclass(frozen=True)
class Estimate:
    """A policy's estimated value (reward per decision) with everything needed to judge it."""

    name: str
    """Estimator: a key of ESTIMATORS."""
    value: float | None
    """Estimated mean reward per decision; None where the log says nothing (no logged action would be chosen)."""
    se: float | None
    """Standard error, clustered by user; None where it allows no interval (too few users, say): one could be made."""
    low: float | None
    """Lower end of the interval; None where there is none, and `no_interval` says why."""
    high: float | None
    """Upper end of the interval."""
    n: int
    """Logged decisions."""
    users: int
    """Clusters."""
    ess: float
    """Effective sample size (sum w)^2 / sum w^2 of the importance weights as they are, before any clipping."""
    max_weight: float
    """Largest importance weight, before any clipping."""
    unsupported: float
    """Share of pi_e's mass on actions that the logging policy never shows."""
    half_width: float | None
    """(high - low) / 2."""
    level: float = 0.95
    """Confidence level of the interval."""
    hyper: float | None = None
    """The estimator's hyper-parameter (a bound on weights, a shrinkage), chosen or given."""
    verdict: str = OK
    """OK or NOT ENOUGH DATA."""
    reasons: tuple[str, ...] = ()
    """Why not, in plain words."""
    label: str = ""
    """What it assumes beyond known propensities, such as "assumes no unmeasured confounding"."""
    method: str = ""
    """How the interval was made."""
    mean_weight: float = 1.0
    """Mean importance weight: 1 - unsupported in expectation, if the propensities are right."""
    no_interval: str = ""
    """Why there is no interval, in plain words; "" where there is one."""

    def __post_init__(self) -> None:
        if self.verdict not in (OK, NOT_ENOUGH_DATA):
            raise InputError("verdict", repr(self.verdict), f"Use {OK!r} or {NOT_ENOUGH_DATA!r}.")

    def headline(self) -> str:
        """One or two sentences for a person who decides; NOT ENOUGH DATA stands where the figure would."""
        tail = f" ({self.label})" if self.label else ""
        if self.verdict == NOT_ENOUGH_DATA:
            return (
                f"NOT ENOUGH DATA to value this policy from this log by {self.name}{tail}: {'; '.join(self.reasons)}."
            )
        text = (
            f"Expected reward per decision {self.value:.4g}, {100 * self.level:.0f} % interval {self.low:.4g} to "
            f"{self.high:.4g}{tail}, by {self.name} from {self.n:,} logged decisions of {self.users:,} users, "
            f"worth {self.ess:,.0f} decisions of the policy itself."
        )
        if self.unsupported > 0.001:
            text += f" {100 * self.unsupported:.1f} % of what it would show was never logged: of that nothing is known."
        return text

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"reasons": list(self.reasons), "headline": self.headline()}


def judge(
    value: float | None,
    low: float | None,
    high: float | None,
    n: int,
    ess: float,
    max_weight: float,
    no_interval: str = NO_FIGURE,
) -> tuple[str, tuple[str, ...]]:
    """(verdict, reasons): NOT ENOUGH DATA when ESS < 500, a weight exceeds n / 100, half-width > |value| / 2, or there
    is no interval, for the reason `no_interval`."""
    reasons = []
    if ess < MIN_ESS:
        reasons.append(f"the log is worth {ess:,.0f} decisions of this policy, {MIN_ESS:,.0f} are needed")
    if max_weight > MAX_WEIGHT_SHARE * n:
        share = max_weight / n
        reasons.append(f"one logged decision counts {max_weight:,.0f} times, {100 * share:.1f} % of all {n:,} rows")
    if value is None or low is None or high is None or not np.isfinite([value, low, high]).all():
        reasons.append(no_interval or NO_FIGURE)
    elif (high - low) / 2 > MAX_RELATIVE_HALF_WIDTH * abs(value):
        reasons.append(f"the estimate {value:.3g} is uncertain by more than half of itself ({low:.3g} to {high:.3g})")
    return (NOT_ENOUGH_DATA, tuple(reasons)) if reasons else (OK, ())
