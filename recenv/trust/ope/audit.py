"""Propensity audit: do the logged propensities fit what was shown?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from recenv.core.errors import UnsupportedError
from recenv.trust.ope.inputs import Array, LoggedBandit

OK = "OK"
PROPENSITIES_WRONG = "PROPENSITIES WRONG"


@dataclass(frozen=True)
class Audit:
    """Outcome of the audit."""

    verdict: str
    """OK or PROPENSITIES WRONG."""
    mean_weight: float
    """Mean of 1 / (propensity x number of eligible actions): 1 in expectation."""
    mean_weight_p: float
    """p-value of mean weight 1, clustered by user."""
    alpha: float
    """Family-wise level of all tests together."""
    lines: tuple[dict[str, Any], ...] = ()
    """One an action and position tested: action, position, rows (eligible), estimated (sum 1{a=k}/p), ratio, p."""
    unseen: int = 0
    """Eligible (action, position) pairs that were never logged: nothing can be said of their propensities."""
    reasons: tuple[str, ...] = ()
    """What does not fit, in plain words."""

    def headline(self) -> str:
        """One sentence."""
        if self.verdict == OK:
            return f"The logged propensities fit what was shown (mean weight {self.mean_weight:.3f})."
        return f"{self.verdict}: {'; '.join(self.reasons)}."

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"headline": self.headline()}


def audit(
    log: LoggedBandit, eligible: Array | None = None, alpha: float = 0.01, tolerance: float = 0.01, cluster: bool = True
) -> Audit:
    """Test the logged propensities (being built).

    Args:
        log: the logged decisions.
        eligible: (n, A) bool: what could have been shown; or (A,) numbers of rows; None: where `log.behaviour` is above
            0, or all actions in all rows.
        alpha: family-wise level. tolerance: relative deviation that is let pass. cluster: by user.
    """
    raise UnsupportedError("audit", "not there yet", "Wait for the next version.")
