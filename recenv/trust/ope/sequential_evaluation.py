"""Value of a policy per session: interval, effective sample size at the worst step, a verdict in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recenv.core.enough import no_spread, too_few
from recenv.core.errors import InputError
from recenv.trust.ope.sequential import ESTIMATORS, Steps, Terms
from recenv.trust.ope.sequential_inputs import LoggedTrajectories, SequentialTarget
from recenv.trust.ope.verdict import (
    MAX_WEIGHT_SHARE,
    MIN_ESS,
    MODEL_ALONE,
    NO_FIGURE,
    NO_SPREAD,
    NOT_ENOUGH_DATA,
    OK,
    Estimate,
    judge,
)

NEEDS_Q = ("dm", "dr", "sndr", "marginal_dr")
NEEDS_MARGINAL = ("marginal_is", "marginal_snis", "marginal_dr")
UNTESTED = "rests on the model of the value to go alone: no weights correct it"
CONFOUNDED = "assumes no unmeasured confounding"


@dataclass(frozen=True)
class SessionEstimate(Estimate):
    """An estimate per session; `n` counts sessions, `ess` and `max_weight` are those of the worst step.

    Args:
        worst_step: the step (from 0) at which the effective sample size is smallest.
    """

    worst_step: int = 0

    def headline(self) -> str:
        """One or two sentences for a person who decides."""
        tail = f" ({self.label})" if self.label else ""
        if self.verdict == NOT_ENOUGH_DATA:
            why = "; ".join(self.reasons)
            return f"NOT ENOUGH DATA to value this policy over whole sessions by {self.name}{tail}: {why}."
        return (
            f"Expected reward per session {self.value:.4g}, {100 * self.level:.0f} % interval {self.low:.4g} to "
            f"{self.high:.4g}{tail}, by {self.name} from {self.n:,} logged sessions of {self.users:,} users, "
            f"worth {self.ess:,.0f} sessions of the policy itself."
        )


def evaluate_sequential(
    log: LoggedTrajectories,
    target: SequentialTarget,
    estimators: Sequence[str] | None = None,
    discount: float = 1.0,
    level: float = 0.95,
    label: str = "",
) -> list[SessionEstimate]:
    """Estimates of the value per session, sum_t g^t r_t, of the target; intervals by standard errors clustered by user.

    `dm` (of a fitted q) has a value, but neither interval nor standard error: the error of q is in neither. Nor has any
    estimate from fewer than 20 users, or from users who all brought the same.

    Args:
        log, target: see `sequential_inputs`. estimators: names in `sequential.ESTIMATORS`; None: all that the inputs
            allow (those with q, with marginal ratios). discount: g. level: of the intervals. label: what is assumed
            beyond known propensities.

    Raises:
        InputError: bad arrays or options, an unknown estimator, or one that needs q or ratios that were not given.
    """
    if not isinstance(level, float) or not 0.5 <= level < 1.0:
        raise InputError("option level", f"{level!r}", "Give a number from 0.5 to below 1.")
    steps = Steps.of(log, target, discount)
    names = _names(estimators, target)
    return [_estimate(name, steps, log, target, level, label) for name in names]


def _names(wanted: Sequence[str] | None, target: SequentialTarget) -> list[str]:
    given = {**dict.fromkeys(NEEDS_Q, target.q is not None)}
    marginal = target.marginal is not None
    given |= {name: marginal and given.get(name, True) for name in NEEDS_MARGINAL}
    if wanted is None:
        return [name for name in ESTIMATORS if given.get(name, True)]
    for name in wanted:
        if name not in ESTIMATORS:
            raise InputError("option estimators", f"{name!r} is not known", f"Known: {', '.join(ESTIMATORS)}.")
        if not given.get(name, True):
            raise InputError("option estimators", f"{name!r} needs q or marginal ratios", "Give them with the target.")
    return list(wanted)


def _estimate(
    name: str, steps: Steps, log: LoggedTrajectories, target: SequentialTarget, level: float, label: str
) -> SessionEstimate:
    reasons = list(_unsuited(log))
    weighted = name != "dm"
    weights = _weights(name, steps)
    ess, max_weight, mean, worst = (0.0, 0.0, 1.0, 0) if weights is None else _spread(weights)
    worst = log.shape[1] - 1 if name in ("tis", "sntis") else worst
    value = se = low = high = None
    why = (too_few(len(np.unique(log.user))) or NO_FIGURE) if weighted else MODEL_ALONE
    if not weighted or (weights is not None and ess > 0):
        terms = ESTIMATORS[name](steps)
        value = terms.value
        if weighted:
            se, low, high, why = _interval(terms, log.user, level)
    if weights is not None:
        multiplied = 1 if name == "dm" or name in NEEDS_MARGINAL else worst + 1
        reasons += _support(log.shape[0], ess, max_weight, multiplied)
    if weights is not None or why == MODEL_ALONE:
        reasons += judge(value, low, high, log.shape[0], MIN_ESS, 0.0, why)[1]
    labels = [label or (CONFOUNDED if log.propensity is None else "")] + ([] if weighted else [UNTESTED])
    return SessionEstimate(
        name=name,
        value=value,
        se=se,
        low=low,
        high=high,
        n=log.shape[0],
        users=len(np.unique(log.user)),
        ess=ess,
        max_weight=max_weight,
        unsupported=_unsupported(log, target),
        half_width=None if low is None or high is None else (high - low) / 2,
        level=level,
        verdict=NOT_ENOUGH_DATA if reasons else OK,
        reasons=tuple(reasons),
        label="; ".join(part for part in labels if part),
        method="" if why else "t, standard error clustered by user",
        mean_weight=mean,
        no_interval=why,
        worst_step=worst,
    )


def _weights(name: str, steps: Steps) -> NDArray[np.float64] | None:
    """What the estimate's support is judged by: its own weights; for the direct method each step's own ratios."""
    if name in NEEDS_MARGINAL:
        return steps.marginal
    if steps.ratio is None or name == "dm":
        return steps.ratio
    products = steps.products
    return products[:, -1:] if name in ("tis", "sntis") else products


def _spread(weights: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """(ESS, largest weight, mean weight, step) at the step of the smallest (sum w)^2 / sum w^2."""
    total, square = weights.sum(axis=0), (weights**2).sum(axis=0)
    ess = np.divide(total**2, square, out=np.zeros_like(total), where=square > 0)
    step = int(np.argmin(ess))
    return float(ess[step]), float(weights.max()), float(weights[:, step].mean()), step


def _unsuited(log: LoggedTrajectories) -> list[str]:
    """Why the log cannot support sequential estimates at all."""
    reasons = []
    if log.alive.sum(axis=1).max() == 1:
        reasons.append("every session holds one decision, so nothing tells what a choice does to later ones: "
                       "use the one-step estimators")  # fmt: skip
    if log.propensity is None:
        reasons.append("the log holds no propensities, so it cannot be reweighted, nor can it be checked that "
                       "the policy's choices were tried")  # fmt: skip
    return reasons


def _support(n: int, ess: float, largest: float, multiplied: int) -> list[str]:
    """`judge` on weights, its words about sessions: the weights of a whole session are products over its steps."""
    reasons = []
    if ess < MIN_ESS:
        worth = f"the {n:,} sessions are worth {ess:,.0f} of this policy's, {MIN_ESS:,.0f} are needed"
        why = f" (weights of {multiplied} decisions multiplied; shorter sessions or a nearer policy would help)"
        reasons.append(worth + (why if multiplied > 1 else ""))
    if largest > MAX_WEIGHT_SHARE * n:
        reasons.append(f"one session counts {largest:,.0f} times, {100 * largest / n:.1f} % of all {n:,}")
    return reasons


def _interval(
    terms: Terms, user: NDArray[Any], level: float
) -> tuple[float, float, float, str] | tuple[None, None, None, str]:
    """(se, low, high, ""), clustered by user; None thrice and why of too few users, or where all brought the same."""
    users = len(np.unique(user))
    if few := too_few(users):
        return None, None, None, few
    se = clustered_se(terms.part - terms.value, user)
    if no_spread(se, terms.value):
        return None, None, None, NO_SPREAD
    reach = float(stats.t.ppf(0.5 + level / 2, users - 1)) * se
    return se, terms.value - reach, terms.value + reach, ""


def clustered_se(deviation: NDArray[Any], user: NDArray[Any]) -> float:
    """Standard error of a mean of n parts that are dependent within a user.

        se^2 = U / (U - 1) sum_u (sum_{i in u} d_i)^2 / n^2,  d_i = part_i - mean     (NaN for one user)

    (Liang and Zeger, Biometrika 1986.)
    """
    _, who = np.unique(user, return_inverse=True)
    sums = np.bincount(who, deviation)
    users = len(sums)
    return float(np.sqrt(users / (users - 1) * (sums**2).sum()) / len(deviation)) if users > 1 else float("nan")


def _unsupported(log: LoggedTrajectories, target: SequentialTarget) -> float:
    """Share of the target's mass on actions never logged (in the same state, where states are known)."""
    alive = log.alive
    state = np.zeros(log.shape, np.int64) if log.state is None else np.where(alive, log.state, 0)
    _, row = np.unique(state[alive], return_inverse=True)
    seen = np.zeros((int(row.max()) + 1, log.n_actions), bool)
    seen[row, log.action[alive]] = True
    return float((target.probability[alive] * ~seen[row]).sum() / alive.sum())
