"""How far an ensemble disagrees, and how far that disagreement may be believed; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.response.forward import ResponseForward
from recenv.response.rows import TrainingRows

Array = NDArray[np.float64]
BINS = 5
_N_BOOT = 200
_PRIOR_SD = 0.5
"""How far from 1 the ratio of observed to predicted squared error is thought to lie before the logs are asked."""
_LEAST_RATIO = 0.05


def roots(forward: ResponseForward, rows: TrainingRows) -> dict[str, Array]:
    """Head -> (n,) calibrated P(click), P(purchase | click) or P(purchase) of rows, as `Prediction` has them."""
    user = forward.user_inputs(rows.visit_obs, rows.recent)
    p = forward.predict(user, rows.item, rows.cross, rows.treat, rows.offset, rows.visit)
    found = {"click": p.click, "purchase": p.purchase}
    return {head: np.asarray(value, np.float64) for head, value in found.items() if value is not None}


def spread(values: Sequence[NDArray[Any]]) -> Array:
    """(...,) standard deviation over K >= 2 members' values, each (...,), K - 1 in the denominator.

    Summed member by member, so that a row's result does not depend on how many rows stand beside it.
    """
    mean = sum((np.asarray(v, np.float64) for v in values[1:]), start=np.asarray(values[0], np.float64)) / len(values)
    squares = [(np.asarray(v, np.float64) - mean) ** 2 for v in values]
    return np.asarray(np.sqrt(sum(squares[1:], start=squares[0]) / (len(values) - 1)))


def calibrate_disagreement(
    forward: ResponseForward,
    members: Sequence[ResponseForward],
    rows: TrainingRows,
    segment: NDArray[np.integer[Any]],
    seed: int,
) -> dict[str, Any]:
    """The factor that gives the members' disagreement the size of the model's error, by head; JSON-able.

    The error of one prediction cannot be seen in one response. In a group g, rows of one item and one segment, products
    of residuals of DIFFERENT users' rows have the mean (p* - p)(p*' - p') if the truth is p*: no noise of the responses
    is in it, nor what a user's own rows share. So

        ratio = sum_g sum_{i, j of different users} w_i w_j e_i e_j / sum_g sum_{i, j} w_i w_j Cov_members(p_i, p_j),

    e = y - p of the world's own model. The factor is the root of the ratio, after the ratio was drawn towards 1 by its
    own uncertainty (bootstrap over groups; prior 1 +- .5). `bins` shows squared error against variance by disagreement.

    Args:
        forward, members: calibrated. rows: rows that no network was trained on. segment: (n,) of each row.

    Raises:
        InputError: fewer than two members.
    """
    if len(members) < 2:
        raise InputError("members", f"{len(members)}", "A disagreement needs two at least.")
    odd = next((m for m in members if m.heads != forward.heads), None)
    if odd is not None:
        what = f"one has the heads {', '.join(odd.heads)}, the model {', '.join(forward.heads)}"
        raise InputError("members", what, "Some users were drawn without a response: bring more logs, or no members.")
    shown = rows.select(rows.shown)
    group = shown.item.astype(np.int64) * (int(np.max(segment, initial=0)) + 1) + np.asarray(segment)[rows.shown]
    own, theirs = roots(forward, shown), [roots(m, shown) for m in members]
    report = {}
    for head in own:
        y = shown.response(head)
        use = ~np.isnan(y)
        w = shown.weight[use].astype(np.float64)
        table = np.stack([other[head][use] for other in theirs])
        report[head] = _ratio(w, y[use] - own[head][use], table - table.mean(axis=0), group[use], shown.user[use], seed)
    return report


def _ratio(w: Array, e: Array, d: Array, group: NDArray[np.int64], user: NDArray[Any], seed: int) -> dict[str, Any]:
    """Scale and reliability from weights (n,), residuals (n,), members' deviations (K, n)."""
    _, g = np.unique(group, return_inverse=True)
    pairs = _Pairs(g, user)
    error = pairs(w * e)
    variance = np.sum([pairs(w * row) for row in d], axis=0) / max(len(d) - 1, 1)
    mass = pairs(w)
    some = mass > 0
    error, variance, mass = error[some], variance[some], mass[some]
    if not len(mass) or variance.sum() <= 0:
        return {"scale": 1.0, "ratio": None, "low": None, "high": None, "groups": len(mass), "bins": []}
    ratio = float(error.sum() / variance.sum())
    draws = np.random.default_rng([seed, 43]).multinomial(len(mass), np.full(len(mass), 1.0 / len(mass)), _N_BOOT)
    below = np.maximum(draws @ variance, variance.sum() * 1e-3)
    resampled = (draws @ error) / below
    se = float(resampled.std()) + 1e-9
    trust = _PRIOR_SD**2 / (_PRIOR_SD**2 + se**2)
    scale = float(np.sqrt(max(trust * ratio + (1.0 - trust), _LEAST_RATIO)))
    low, high = (float(q) for q in np.quantile(resampled, [0.025, 0.975]))
    bins = _bins(error, variance, mass, scale)
    return {"scale": scale, "ratio": ratio, "low": low, "high": high, "groups": len(mass), "bins": bins}


class _Pairs:
    """(G,) sums over rows i, j of different users of x_i x_j within each group."""

    def __init__(self, group: NDArray[np.int64], user: NDArray[Any]) -> None:
        self.group, self.n = group, int(group.max(initial=-1)) + 1
        key = group * (int(np.max(user, initial=0)) + 1) + np.asarray(user, np.int64)
        of_cell, self.cell = np.unique(key, return_inverse=True)
        self.of_cell = of_cell // (int(np.max(user, initial=0)) + 1)

    def __call__(self, x: Array) -> Array:
        of_group = np.bincount(self.group, x, self.n)
        of_user = np.bincount(self.cell, x)
        return np.asarray(of_group**2 - np.bincount(self.of_cell, of_user**2, self.n))


def _bins(error: Array, variance: Array, mass: Array, scale: float) -> list[dict[str, float]]:
    """Groups by their members' variance: squared error observed (may fall below 0) and predicted, mean of all pairs."""
    size = variance / mass
    order = np.argsort(size, kind="stable")
    lines = []
    for part in np.array_split(order, min(BINS, len(order))):
        total = float(mass[part].sum())
        told = scale**2 * float(variance[part].sum()) / total
        lines.append({"groups": float(len(part)), "predicted": told, "observed": float(error[part].sum()) / total})
    return lines
