"""Automatic choice of an estimator's hyper-parameter, from the log alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from recenv.core.errors import InputError
from recenv.trust.ope.estimators import Estimator, Terms, power
from recenv.trust.ope.inputs import CheckedTarget, Floats, LoggedBandit, scalar

METHODS = ("slope", "mse")


def tune(
    estimator: Estimator,
    log: LoggedBandit,
    target: CheckedTarget,
    method: str = "slope",
    delta: float = 0.05,
    grid: Sequence[float] | None = None,
) -> float:
    """The grid's best hyper-parameter, from checked inputs; of equal estimates, the one with the narrowest weights.

    `slope` (Tucker and Lee, "Improved estimator selection for off-policy evaluation", 2021, SLOPE++, after Su, Srinath
    and Krishnamurthy, ICML 2020): go from the widest interval to the narrowest, stop before the first whose
    distance to an earlier one exceeds c_i + (sqrt(6) - 1) c_j; c = t(1 - delta) sd / sqrt(n).
    `mse` (Su, Dimakopoulou, Krishnamurthy and Dudik, ICML 2020, section 5): least variance / n + B^2,
    B = |mean (w - w') (r - q)| + sqrt(2 mean(w^2) log(2 / delta) / n) + 2 max(w) log(2 / delta) / (3 n).

    Raises:
        InputError: unknown method; an estimator without hyper-parameter; an empty grid; delta outside (0, 1).
    """
    scalar("delta", delta, 0.0, 1.0, open_low=True, open_high=True)
    if method not in METHODS:
        raise InputError("tuning", f"{method!r} is not known", f"Choose from {', '.join(METHODS)}.")
    if not estimator.changes_weights:
        raise InputError("tuning", "this estimator has no hyper-parameter", "Leave it out.")
    candidates = estimator.grid if grid is None else tuple(estimator.check_hyper("grid", g) for g in grid)
    if not candidates:
        raise InputError("grid", "is empty", "Give candidates.")
    # widest weights first: bounds fall, powers rise
    ordered = sorted(candidates, reverse=estimator.weighting is not power)
    terms = [estimator.terms(log, target, h) for h in ordered]
    if method == "slope":
        return ordered[_slope(terms, delta)]
    unchanged = estimator.terms(log, target, 0.0 if estimator.weighting is power else np.inf)
    scores = np.array([_mse_bound(t, unchanged, delta) for t in terms])
    return ordered[len(scores) - 1 - int(np.argmin(scores[::-1]))]  # the last of equals


def _slope(terms: list[Terms], delta: float) -> int:
    """Index of the choice. Mind: it takes rows as independent, so clusters make it stop later than it should."""
    n = len(terms[0].base)
    if n < 2:
        return len(terms) - 1
    quantile = float(stats.t.ppf(1.0 - delta, n - 1))
    values = np.array([np.average(t.rows(), weights=t.row_weight) for t in terms])
    widths = quantile * np.array([_deviation(t) for t in terms]) / np.sqrt(n)
    order = sorted(range(len(terms)), key=lambda i: (-widths[i], i))
    for rank in range(1, len(order)):
        i, wider = order[rank], order[:rank]
        if (np.abs(values[wider] - values[i]) > widths[i] + (np.sqrt(6.0) - 1.0) * widths[wider]).any():
            return order[rank - 1]
    return order[-1]


def _mse_bound(terms: Terms, unchanged: Terms, delta: float) -> float:
    w, n = unchanged.importance, len(unchanged.base)
    bias = abs(_mean(unchanged.corrected - terms.corrected, terms.row_weight))
    log_term = np.log(2.0 / delta)
    bias += np.sqrt(2.0 * _mean(w * w, terms.row_weight) * log_term / n) + 2.0 * w.max() * log_term / (3.0 * n)
    variance = _deviation(terms) ** 2 * (n - 1) / n if n > 1 else 0.0
    return float(variance / n + bias**2)


def _mean(values: Floats, weight: Floats) -> float:
    return float(np.average(values, weights=weight))


def _deviation(terms: Terms) -> float:
    """Standard deviation (n - 1) of the rows' contributions, each times its row weight over the mean row weight."""
    rows = terms.rows()
    scale = terms.row_weight / terms.row_weight.mean()
    centred = scale * (rows - _mean(rows, terms.row_weight))
    return float(np.sqrt((centred**2).sum() / (len(rows) - 1)))
