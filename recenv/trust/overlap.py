"""Overlap: is what the policy would show among what was shown often enough to learn from? Plain lists, for plots."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.trust.ope.inputs import LoggedBandit, Target

FLOORS = (0.001, 0.01, 0.05)
ENOUGH = 0.95
"""Share of the policy's mass on actions above the lowest floor that counts as overlap."""


@dataclass(frozen=True)
class Overlap:
    """Positivity figures of a log and a policy.

    Args:
        edges: (b + 1,) histogram edges of the propensity, even on a log scale from 1e-6 to 1.
        logged: (b,) share of the logged rows by the propensity of what was shown.
        target: (b,) share of the policy's mass by the propensity of what it would show; None where the whole logging
            distribution is not known.
        target_logged: (b,) share of the importance weights by the propensity of what was shown: the same seen through
            the log, blind to what is never shown.
        below: floor -> share of the policy's mass on actions of propensity below it.
        smallest: smallest propensity logged. ess: effective sample size. known: whether `below` comes from the whole
            logging distribution (else from the logged rows, reweighted: a lower bound, see `unseen`).
        unseen: share of the policy's mass on actions not in the log at all: 1 - mean weight, at least 0.
    """

    edges: tuple[float, ...]
    logged: tuple[float, ...]
    target: tuple[float, ...] | None
    target_logged: tuple[float, ...]
    below: dict[str, float]
    smallest: float
    ess: float
    known: bool
    unseen: float

    @property
    def enough(self) -> bool:
        """Whether at least 95 % of the policy's mass lies on actions above the lowest floor."""
        return min(self.below.values(), default=1.0) + (0.0 if self.known else self.unseen) <= 1.0 - ENOUGH

    def words(self) -> str:
        """One sentence."""
        low = min(self.below, key=float)
        share = self.below[low] + (0.0 if self.known else self.unseen)
        if self.enough:
            return (
                f"What the policy would show was shown: {100 * (1 - share):.1f} % of it with propensity {low} or more."
            )
        return (
            f"{100 * share:.1f} % of what the policy would show was (almost) never shown (propensity below {low}): "
            "of that the log tells nothing."
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"enough": self.enough, "words": self.words()}


def overlap(log: LoggedBandit, target: Target, bins: int = 24, floors: tuple[float, ...] = FLOORS) -> Overlap:
    """Positivity figures; propensities may be logged or estimated.

    Raises:
        InputError: bad arrays; bins below 2; a floor outside (0, 1) or none.
    """
    checked = log.check()
    policy = target.check(checked)
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
        raise InputError("option bins", f"{bins!r}", "Give a whole number of at least 2.")
    if not floors or not all(isinstance(f, float) and 0.0 < f < 1.0 for f in floors):
        raise InputError("option floors", f"{floors!r}", "Give numbers between 0 and 1.")
    edges = np.logspace(-6, 0, bins + 1)
    edges[0] = 0.0
    share = np.asarray(checked.weight) / np.sum(np.asarray(checked.weight))
    p = np.asarray(checked.propensity)
    weight = policy.chosen / p
    mass = share * weight
    table = None
    if checked.behaviour is not None and policy.table is not None:
        table = policy.table * share[:, None]
        below = {f"{f:g}": float(table[checked.behaviour < f].sum()) for f in floors}
    else:
        below = {f"{f:g}": float(mass[p < f].sum() / max(mass.sum(), 1.0)) for f in floors}
    square = float((share * weight**2).sum())
    return Overlap(
        edges=tuple(edges.tolist()),
        logged=_shares(p, share, edges),
        target=None if table is None else _shares(np.asarray(checked.behaviour), table, edges),
        target_logged=_shares(p, mass / mass.sum() if mass.sum() > 0 else mass, edges),
        below=below,
        smallest=float(p.min()),
        ess=float(mass.sum() ** 2 / square * len(p)) if square > 0 else 0.0,
        known=table is not None,
        unseen=max(0.0, 1.0 - float(mass.sum())),
    )


def _shares(p: NDArray[np.float64], mass: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.histogram(p, edges, weights=mass)[0].tolist())
