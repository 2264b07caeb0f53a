"""How much hidden confounding would it take to overturn "better than logged"? The marginal sensitivity model.

The log's propensities e(a | x) leave out something u that steered both what was shown and what came of it. The model
(Tan, JASA 2006) bounds how far u may move the odds of showing what was shown:

    1 / L  <=  [e*(a | x, u) / (1 - e*(a | x, u))] / [e(a | x) / (1 - e(a | x))]  <=  L

L (Lambda) = 1: nothing hidden. L = 2: whatever is hidden at most doubles or halves those odds. The true inverse
propensity W of a logged row then lies in [1 + (1/e - 1)/L, 1 + L (1/e - 1)]. One-step logs.

Three forms of the bounds on a policy's value V:
- `hajek`: extremes of sum pi W r / sum pi W over all such W (Zhao, Small and Bhattacharya, JRSS B 2019); needs nothing
  but the log, and is wider than need be;
- `ipw`: sharp, E[pi (r + (1/e - 1) s)], where s is what a row not shown might have brought at most (or at least),
      s = r / L + (1 - 1/L) {Q + (1 + L) (r - Q)+}   (upper; the lower is the upper of -r, negated),
  Q the quantile L / (1 + L) of the reward given x and action (Dorn and Guo, JASA 2023). Any Q gives valid bounds, the
  true quantile the sharp ones;
- `dr`: `ipw` with the reward model as a control variate (after Dorn, Guo and Kallus, 2021): the same bounds,
  less noise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recenv.core.enough import MIN_USERS
from recenv.core.errors import InputError
from recenv.trust.ope.inputs import CheckedTarget, LoggedBandit, Target, scalar, whole
from recenv.trust.ope.sequential_evaluation import clustered_se

Floats = NDArray[np.float64]
FORMS = ("hajek", "ipw", "dr")
MAX_LAMBDA = 100.0
"""Largest Lambda tried: hidden causes that change odds a hundredfold are no longer a question of degree."""
_LEAST = 10
"""Rows of a stratum and action for a quantile of their own; those of fewer share one. The quantile of one row is its
own reward: bounds made of such move little with Lambda, however much is hidden."""


@dataclass(frozen=True)
class Bounds:
    """Between what the value may lie if hidden confounding is at most `lam`.

    Args:
        lam: Lambda. form: see module. low, high: bounds on the value. low_limit, high_limit: the same, widened by the
            one-sided confidence limits (each at 1 - (1 - level) / 2, clustered by user; without limit where fewer than
            20 users stand behind them). logged: mean reward of the log. gain_low, gain_high: bounds on value - logged;
            gain_low_limit, gain_high_limit: their limits.
    """

    lam: float
    form: str
    low: float
    high: float
    low_limit: float
    high_limit: float
    logged: float
    gain_low: float
    gain_high: float
    gain_low_limit: float
    gain_high_limit: float
    level: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Robustness:
    """Smallest Lambda at which "better than logged" is no longer sure.

    Args:
        point: by the bounds themselves; None if it holds up to `MAX_LAMBDA`; 1.0 if it does not hold even at 1.
        limit: the same with sampling error counted (the lower confidence limit reaches 0).
        words: what that means.
    """

    point: float | None
    limit: float | None
    words: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def msm_bounds(
    log: LoggedBandit,
    target: Target,
    lam: float,
    form: str = "hajek",
    strata: Any = None,
    level: float = 0.95,
) -> Bounds:
    """Bounds on the target's value under hidden confounding of at most `lam`.

    Args:
        log: one-step log, its propensities estimated or logged. target: the policy; `dr` needs its q. lam: Lambda >= 1.
        form: "hajek", "ipw" or "dr". strata: (n,) int groups of x within which, by action, Q is taken (where
            they hold 10 rows or more); one if None.
        level: confidence level.

    Raises:
        InputError: bad arrays, lam below 1 or not finite, an unknown form, `dr` without q.
    """
    return _Problem.of(log, target, form, strata, level).bounds(_lambda(lam))


def sensitivity_curve(
    log: LoggedBandit, target: Target, lams: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0), form: str = "hajek",
    strata: Any = None, level: float = 0.95,
) -> list[Bounds]:  # fmt: skip
    """The bounds at several Lambdas, for a plot."""
    problem = _Problem.of(log, target, form, strata, level)
    return [problem.bounds(_lambda(lam)) for lam in lams]


def smallest_lambda(
    log: LoggedBandit, target: Target, form: str = "hajek", strata: Any = None, level: float = 0.95
) -> Robustness:
    """Smallest Lambda at which value - logged mean may be 0 or less, by bisection (the bound falls with Lambda)."""
    problem = _Problem.of(log, target, form, strata, level)
    point = _flip(lambda lam: problem.bounds(lam).gain_low)
    limit = _flip(lambda lam: problem.bounds(lam).gain_low_limit)
    return Robustness(point, limit, _words(limit, level))


def _words(limit: float | None, level: float) -> str:
    if limit is None:
        return f"Better than logged even if hidden causes changed the odds of being shown {MAX_LAMBDA:.0f}-fold."
    if limit <= 1.0:
        return f"Not shown to be better than logged, even if nothing is hidden ({100 * level:.3g} % confidence)."
    return (
        f"Better than logged unless something not recorded changes the odds of what is shown by a factor of "
        f"{limit:.2f} or more; beyond that the log cannot tell."
    )


def _flip(gain: Any) -> float | None:
    """Smallest Lambda in [1, MAX_LAMBDA] with gain(Lambda) <= 0; None if there is none."""
    low, high = 1.0, MAX_LAMBDA
    if gain(low) <= 0:
        return 1.0
    if gain(high) > 0:
        return None
    while high / low > 1.0 + 1e-4:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if gain(middle) > 0 else (low, middle)
    return high


@dataclass(frozen=True)
class _Problem:
    log: LoggedBandit
    target: CheckedTarget
    form: str
    group: NDArray[np.int64]
    level: float
    q: Floats | None

    @classmethod
    def of(cls, log: LoggedBandit, target: Target, form: str, strata: Any, level: float) -> _Problem:
        checked = log.check()
        policy = target.check(checked)
        if form not in FORMS:
            raise InputError("option form", repr(form), f"Choose one of {', '.join(FORMS)}.")
        if form == "dr" and policy.q_target is None:
            raise InputError("option form", "'dr' needs a reward model", "Give the target's q, or take 'ipw'.")
        scalar("level", level, 0.5, 1.0, open_high=True)
        if not (policy.chosen > 0).any():
            raise InputError("target", "gives no logged action any probability", "The log tells nothing about it.")
        n = len(checked)
        x = np.zeros(n, np.int64) if strata is None else whole("strata", strata, n)
        cells = np.stack([x, checked.action])
        _, cell, count = np.unique(cells, axis=1, return_inverse=True, return_counts=True)
        group = np.where(count >= _LEAST, np.arange(1, len(count) + 1), 0)[cell.reshape(-1)]
        return cls(checked, policy, form, np.unique(group, return_inverse=True)[1], level, policy.q_logged)

    def bounds(self, lam: float) -> Bounds:
        """See `msm_bounds`."""
        low, low_part = self._extreme(lam, -1.0)
        high, high_part = self._extreme(lam, 1.0)
        weight = np.asarray(self.log.weight)
        logged = float(np.average(self.log.reward, weights=weight))
        own = weight / weight.mean() * (self.log.reward - logged)
        z, users = float(stats.norm.ppf(0.5 + self.level / 2)), len(np.unique(self.log.user))

        def reach(part: Floats) -> float:
            return z * clustered_se(part, self.log.user) if users >= MIN_USERS else float("inf")

        return Bounds(
            lam=lam,
            form=self.form,
            low=low,
            high=high,
            low_limit=low - reach(low_part),
            high_limit=high + reach(high_part),
            logged=logged,
            gain_low=low - logged,
            gain_high=high - logged,
            gain_low_limit=low - logged - reach(low_part - own),
            gain_high_limit=high - logged + reach(high_part - own),
            level=self.level,
        )

    def _extreme(self, lam: float, sign: float) -> tuple[float, Floats]:
        """The largest value (sign 1) or the smallest (-1), and each row's influence on it (n,), of mean 0."""
        reward = sign * np.asarray(self.log.reward, np.float64)
        odds = 1.0 / np.asarray(self.log.propensity) - 1.0
        share = np.asarray(self.log.weight) / np.mean(np.asarray(self.log.weight))
        if self.form == "hajek":
            base = share * self.target.chosen
            weight = base * (1.0 + odds * _hajek_factors(reward, base, odds, lam))
            value = float(weight @ reward / weight.sum())
            return sign * value, sign * weight * (reward - value) / weight.mean()
        part = self.target.chosen * (reward + odds * self._supremum(reward, lam))
        if self.form == "dr" and self.q is not None and self.target.q_target is not None:
            part = part + sign * (self.target.q_target - self.target.chosen * (1.0 + odds) * self.q)
        value = float(np.mean(share * part))
        return sign * value, sign * share * (part - value)

    def _supremum(self, reward: Floats, lam: float) -> Floats:
        """(n,) s of the module's text: its mean is the largest mean reward where the action was not shown."""
        quantile = _quantiles(reward, self.group, np.asarray(self.log.weight), lam / (1.0 + lam))
        return reward / lam + (1.0 - 1.0 / lam) * (quantile + (1.0 + lam) * np.maximum(reward - quantile, 0.0))


def _hajek_factors(reward: Floats, base: Floats, odds: Floats, lam: float) -> Floats:
    """(n,) factors in {1/L, L} on the odds that make sum b (1 + f o) r / sum b (1 + f o) largest.

    The maximum takes L for all rewards above a threshold, 1/L below (Zhao et al. 2019, section 4.2): try each.
    """
    order = np.argsort(-reward, kind="stable")
    r, b, o = reward[order], base[order], odds[order]
    low, step = b * (1.0 + o / lam), b * o * (lam - 1.0 / lam)
    top = low @ r + np.concatenate([[0.0], np.cumsum(step * r)])
    bottom = low.sum() + np.concatenate([[0.0], np.cumsum(step)])
    best = int(np.argmax(top / bottom))
    factor = np.empty(len(r))
    factor[order] = np.where(np.arange(len(r)) < best, lam, 1.0 / lam)
    return factor


def _quantiles(reward: Floats, group: NDArray[np.int64], weight: Floats, tau: float) -> Floats:
    """(n,) weighted quantile tau of the reward within each row's group: the smallest r with mass(<= r) >= tau."""
    order = np.lexsort((reward, group))
    g, w = group[order], weight[order]
    total = np.bincount(g, w)
    start = np.searchsorted(g, np.arange(len(total)))
    running = np.cumsum(w)
    within = running - (running[start] - w[start])[g]
    # a mass that equals tau up to rounding counts as reached
    reached = within >= tau * total[g] - 1e-12 * total[g]
    first = np.full(len(total), len(g))
    np.minimum.at(first, g[reached], np.flatnonzero(reached))
    return np.asarray(reward[order][first])[group]


def _lambda(lam: Any) -> float:
    return scalar("lam", lam, 1.0, 1e6)
