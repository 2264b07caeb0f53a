"""One-step off-policy estimators, each reduced to sums over rows, from which value, error and bootstrap follow.

Throughout: w_i = pi_e(a_i | x_i) / p_i importance weight, r_i reward, q reward model, q_i = q(x_i, a_i),
v_i = sum_a pi_e(a | x_i) q(x_i, a); mean_i is weighted by the rows' own weight (1 / sampling rate).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recenv.core.errors import InputError
from recenv.trust.ope.inputs import CheckedTarget, Floats, LoggedBandit, Target, scalar
from recenv.trust.ope.large_actions import marginal_weights

CLIPS: tuple[float, ...] = (10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10000.0, np.inf)
"""Candidates for bounds on weights (clipping, switching, optimistic shrinkage)."""
POWERS: tuple[float, ...] = (0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5)
"""Candidates for the sub-Gaussian estimators' mixing with 1."""


@dataclass(frozen=True)
class Terms:
    """An estimate as sums over rows: value = sum_i s_i b_i / sum_i s_i + sum_i s_i c_i / sum_i s_i d_i."""

    row_weight: Floats
    """(n,) s: 1 / sampling rate."""
    base: Floats
    """(n,) b: what needs no weight (v_i, or 0)."""
    corrected: Floats
    """(n,) c: weighted rewards or residuals."""
    normaliser: Floats | None
    """(n,) d: importance weights where the estimator is self-normalised; None: all 1."""
    importance: Floats
    """(n,) importance weights before any change, for the effective sample size."""

    def rows(self) -> Floats:
        """(n,) b_i + c_i / mean(d): their weighted mean is the value."""
        if self.normaliser is None:
            return self.base + self.corrected
        return self.base + self.corrected / np.average(self.normaliser, weights=self.row_weight)


Weighting = Callable[[Floats, float], Floats]


def plain(w: Floats, hyper: float) -> Floats:
    """w."""
    return w


def clip(w: Floats, hyper: float) -> Floats:
    """min(w, lambda). Ionides, "Truncated importance sampling", JCGS 2008."""
    return np.minimum(w, hyper)


def switch(w: Floats, hyper: float) -> Floats:
    """w where w <= lambda, else 0 (the model alone). Wang, Agarwal and Dudik, ICML 2017, section 3."""
    return np.where(w <= hyper, w, 0.0)


def shrink(w: Floats, hyper: float) -> Floats:
    """lambda w / (w^2 + lambda). Su, Dimakopoulou, Krishnamurthy and Dudik, ICML 2020, section 4.2 (optimistic)."""
    return w if np.isinf(hyper) else hyper * w / (w * w + hyper)


def power(w: Floats, hyper: float) -> Floats:
    """w / (1 - lambda + lambda w). Metelli, Russo and Restelli, NeurIPS 2021, section 4 (power mean, s = -1)."""
    return w / (1.0 - hyper + hyper * w)


@dataclass(frozen=True)
class Estimator:
    """A one-step estimator: how it changes the weights, whether it has a model, whether it is self-normalised."""

    formula: str
    weighting: Weighting | None = plain
    model: bool = False
    normalised: bool = False
    marginal: bool = False
    grid: tuple[float, ...] = ()
    note: str = ""

    @property
    def changes_weights(self) -> bool:
        """Whether there is a hyper-parameter."""
        return bool(self.grid)

    @property
    def model_alone(self) -> bool:
        """Whether nothing corrects the reward model: then no interval holds, since its error is not in the log."""
        return self.weighting is None

    def check_hyper(self, name: str, hyper: float) -> float:
        """A given hyper-parameter.

        Raises:
            InputError: the estimator has none; NaN; a bound at or below 0; a power outside [0, 1).
        """
        if not self.changes_weights:
            raise InputError(f"hyper[{name!r}]", f"{name} has no hyper-parameter", "Leave it out.")
        if self.weighting is power:
            return scalar(f"hyper[{name!r}]", hyper, 0.0, 1.0, open_high=True)
        return scalar(f"hyper[{name!r}]", hyper, 0.0, np.inf, open_low=True)

    def terms(self, log: LoggedBandit, target: CheckedTarget, hyper: float = np.nan) -> Terms:
        """The estimate's sums, from checked inputs.

        Raises:
            InputError: a model is needed and there is none; marginalised and no groups of actions were given.
        """
        if log.weight is None:
            raise InputError("log", "not checked", "Call log.check() first.")
        zero = np.zeros(len(log))
        w = marginal_weights(log, target) if self.marginal else target.chosen / log.propensity
        base, logged = zero, zero
        if self.model:
            if target.q_logged is None or target.q_target is None:
                raise InputError("q", "this estimator needs a reward model", "Give Target.q, or q_logged and q_target.")
            base, logged = target.q_target, target.q_logged
        if self.weighting is None:
            return Terms(log.weight, base, zero, None, w)
        changed = self.weighting(w, hyper)
        return Terms(log.weight, base, changed * (log.reward - logged), changed if self.normalised else None, w)


_BOUNDED = "its interval leaves out the bias of bounded weights"

ESTIMATORS: dict[str, Estimator] = {
    "ipw": Estimator("mean w r"),
    "clipped_ipw": Estimator("mean min(w, lambda) r", clip, grid=CLIPS, note=_BOUNDED),
    "snipw": Estimator("sum w r / sum w", normalised=True),
    "dm": Estimator("mean v", None, model=True, note="rests on the reward model alone: no weights correct it"),
    "dr": Estimator("mean v + w (r - q)", model=True),
    "clipped_dr": Estimator("mean v + min(w, lambda) (r - q)", clip, model=True, grid=CLIPS, note=_BOUNDED),
    "sndr": Estimator("mean v + sum w (r - q) / sum w", model=True, normalised=True),
    "switch_dr": Estimator("mean v + w 1{w <= lambda} (r - q)", switch, model=True, grid=CLIPS, note=_BOUNDED),
    "dros": Estimator("mean v + lambda w / (w^2 + lambda) (r - q)", shrink, model=True, grid=CLIPS, note=_BOUNDED),
    "sg_ipw": Estimator("mean w / (1 - lambda + lambda w) r", power, grid=POWERS, note=_BOUNDED),
    "sg_dr": Estimator("mean v + w / (1 - lambda + lambda w) (r - q)", power, model=True, grid=POWERS, note=_BOUNDED),
    "mips": Estimator(
        "mean w(group) r", marginal=True, note="assumes that within a group of actions all bring the same"
    ),
}
"""Name -> estimator. Horvitz and Thompson 1952 (ipw); Swaminathan and Joachims, NeurIPS 2015 (snipw); Dudik, Langford
and Li, ICML 2011 (dm, dr); Kallus and Uehara, NeurIPS 2019 (sndr); Saito and Joachims, ICML 2022 (mips)."""


def headline_estimator(target: Target, asked: Sequence[str] = ()) -> str:
    """The estimator to quote: `dr` with a reward model, else `snipw`; chosen beforehand, not by its figure.

    Where neither is among those `asked` for, the first of them: it was named before any figure was seen. Those of
    bounded weights are for comparison: their intervals leave out a bias that the log does not show.
    """
    wanted = ("dr", "snipw") if target.has_q else ("snipw",)
    return next((name for name in wanted if not asked or name in asked), asked[0] if asked else wanted[0])


def get(name: str) -> Estimator:
    """The estimator of that name.

    Raises:
        InputError: there is none.
    """
    if name not in ESTIMATORS:
        raise InputError("estimators", f"{name!r} is not known", f"Choose from {', '.join(ESTIMATORS)}.")
    return ESTIMATORS[name]
