"""Value a policy from a log: one call for all one-step estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recenv.core.errors import UnsupportedError
from recenv.trust.ope.inputs import MIN_PROPENSITY, LoggedBandit, Target
from recenv.trust.ope.verdict import Estimate


def evaluate(
    log: LoggedBandit,
    target: Target,
    estimators: Sequence[str] | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    cluster: bool = True,
    label: str = "",
    level: float = 0.95,
    hyper: Mapping[str, float] | None = None,
    min_propensity: float = MIN_PROPENSITY,
) -> list[Estimate]:
    """Estimates of the target's value, one an estimator, in the order asked for (being built)."""
    raise UnsupportedError("evaluate", "not there yet", "Wait for the next version.")
