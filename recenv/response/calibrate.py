"""Calibration of a response model's probabilities on the calibration slice (Platt scaling)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.response.forward import ResponseForward
from recenv.response.rows import TrainingRows

ENOUGH = 200
"""Positives above which a slope is taken as it comes."""
FEW = 10
"""Positives at which an intercept is half trusted: a level is known from far fewer than a slope."""


def platt(
    logit: NDArray[Any],
    response: NDArray[Any],
    weight: NDArray[Any],
    offset: NDArray[Any] | None = None,
    visit: NDArray[Any] | None = None,
) -> tuple[float, float]:
    """Slope a and intercept c of P = sigmoid(a logit + c + offset), by weighted Newton.

    With few the number of visits with a positive or with a negative, whichever is smaller, the slope is shrunk towards
    1 by min(1, few / ENOUGH), and the intercept that is best with that slope towards 0 by few / (few + FEW). Where the
    best slope lies outside [0.2, 5] only the intercept moves: a useless logit must not turn the ranking round.
    (Platt, "Probabilistic outputs for support vector machines", 1999.)

    Args:
        logit, response, weight, offset: (n,) float. visit: (n,) int, rows that stand for one moment; all their own if
            None.
    """
    logit, response, weight = (np.asarray(a, np.float64) for a in (logit, response, weight))
    base = np.zeros(len(logit)) if offset is None else np.asarray(offset, np.float64)
    moment = np.arange(len(logit)) if visit is None else np.asarray(visit)
    few = min(len(np.unique(moment[response > 0.5])), len(np.unique(moment[response < 0.5])))
    if few == 0:
        return 1.0, 0.0
    weight = weight / weight.mean()
    slope, _ = _newton(logit, response, weight, base, free_slope=True)
    slope = 1.0 + min(1.0, few / ENOUGH) * (slope - 1.0) if 0.2 <= slope <= 5.0 else 1.0
    _, intercept = _newton(slope * logit, response, weight, base, free_slope=False)
    return slope, intercept * few / (few + FEW)


def _newton(
    x: NDArray[Any], y: NDArray[Any], w: NDArray[Any], base: NDArray[Any], free_slope: bool
) -> tuple[float, float]:
    a, c = 1.0, 0.0
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(a * x + c + base, -40, 40)))
        g, h = w * (p - y), w * p * (1.0 - p) + 1e-12
        hessian = np.array([[(h * x * x).sum(), (h * x).sum()], [(h * x).sum(), h.sum()]]) + 1e-9 * np.eye(2)
        gradient = np.array([(g * x).sum(), g.sum()])
        if not free_slope:
            hessian[0, :] = hessian[:, 0] = (1.0, 0.0)
            gradient[0] = 0.0
        # Steps of at most 1 keep Newton from leaving the basin on near-separable data.
        step = np.clip(np.linalg.solve(hessian, gradient), -1.0, 1.0)
        a, c = a - step[0], c - step[1]
        if np.abs(step).max() < 1e-10:
            break
    return float(a), float(c)


def calibrate(forward: ResponseForward, rows: TrainingRows) -> ResponseForward:
    """The model with Platt scaling by head and by shown / not shown, fitted to `rows` (the calibration slice).

    The leave head has one scaling for both, since its response weights share the slope. `config["calibration"]` says
    what was fitted: by head, [slope, intercept, visits with a positive] not shown, then shown.
    """
    user = forward.user_inputs(rows.visit_obs, rows.recent)
    raw = forward.logits(user, rows.item, rows.cross, rows.treat, rows.visit)
    scale = np.tile(np.array([1.0, 0.0]), (len(forward.heads), 2, 1))
    report: dict[str, list[list[float]]] = {}
    leave_weights = forward.leave_weights.astype(np.float64)
    copied = "click" if "click" in forward.heads else "purchase"
    for k, head in enumerate(forward.heads):
        y = rows.response(head)
        logit = raw[:, k].astype(np.float64)
        if head == "leave":
            logit = logit + leave_weights @ np.nan_to_num(np.stack([rows.click, rows.purchase]))
        groups = [~rows.shown, rows.shown] if head != "leave" else [np.ones(len(y), bool)] * 2
        report[head] = []
        for g, group in enumerate(groups):
            use = group & ~np.isnan(y)
            offset = rows.offset[use] if head == copied else None
            if use.any():
                scale[k, g] = platt(logit[use], y[use], rows.weight[use], offset, rows.visit[use])
            positive = use & (y > 0.5)
            report[head].append([*scale[k, g].tolist(), float(len(np.unique(rows.visit[positive])))])
        if head == "leave":
            leave_weights = leave_weights * scale[k, 1, 0]
    arrays = forward.to_arrays() | {
        "platt": scale.astype(np.float32),
        "leave_weights": leave_weights.astype(np.float32),
    }
    return ResponseForward(arrays, {**forward.config, "calibration": report})
