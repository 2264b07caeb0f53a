"""How well a response model predicts held-out responses: log-loss gains, AUC, calibration, predicted against real."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.enough import too_few
from recenv.core.errors import InputError
from recenv.response.forward import ResponseForward
from recenv.response.rows import TrainingRows
from recenv.trust.metrics import (
    UserBootstrap,
    calibration_error,
    divide,
    gain,
    interval,
    log_loss,
    own_entropy,
    quantile_bins,
    row_losses,
)

GROUPS: tuple[str, ...] = ("shown", "unshown")
WEEK = 604_800
_MOST_PERIODS = 60
ItemRates = dict[str, dict[str, NDArray[np.float64]]]


def item_rate_baseline(rows: TrainingRows, heads: tuple[str, ...], n_items: int) -> ItemRates:
    """Item rates as a predictor: head -> group (shown, unshown) -> (n_items,) probability.

    r_i = f (sum_train w y + k r) / (sum_train w + k): the item's train rate shrunk to the overall rate r; k is the
    method-of-moments strength r (1 - r) / max(Var_i(rate_i) - E_i[r (1 - r) / W_i], 0+), times one factor f that makes
    the total right on the calibration slice.
    """
    train, calibration = rows.of("train"), rows.of("calibration")
    return {
        head: {g: _rates(_part(train, head, g), _part(calibration, head, g), head, n_items) for g in GROUPS}
        for head in heads
    }


def _part(rows: TrainingRows, head: str, group: str) -> TrainingRows:
    return rows.select(~np.isnan(rows.response(head)) & (rows.shown == (group == "shown")))


def _rates(train: TrainingRows, calibration: TrainingRows, head: str, n_items: int) -> NDArray[np.float64]:
    w, y = train.weight.astype(np.float64), train.response(head)
    mass = np.bincount(train.item, w, minlength=n_items)
    hits = np.bincount(train.item, w * y, minlength=n_items)
    if not mass.sum():
        return np.full(n_items, 0.5)
    rate = hits.sum() / mass.sum()
    seen = mass > 0
    noise = rate * (1 - rate)
    spread = np.average((hits[seen] / mass[seen] - rate) ** 2, weights=mass[seen])
    spread -= np.average(noise / mass[seen], weights=mass[seen])
    strength = noise / max(spread, noise * 1e-6, 1e-12)
    below = mass + strength  # 0 for an item never met where all respond alike
    rates = np.divide(hits + strength * rate, below, out=np.full(n_items, rate), where=below > 0)
    if len(calibration):
        real = np.sum(calibration.weight * calibration.response(head), dtype=np.float64)
        told = np.sum(calibration.weight * rates[calibration.item], dtype=np.float64)
        rates = rates * (real / told if real > 0 and told > 0 else 1.0)
    return np.clip(rates, 1e-7, 1 - 1e-7)


def predicted(forward: ResponseForward, rows: TrainingRows, head: str) -> NDArray[np.float32]:
    """(n,) the probability that the model gives each row's response of `head`."""
    user = forward.user_inputs(rows.visit_obs, rows.recent)
    p = forward.predict(user, rows.item, rows.cross, rows.treat, rows.offset, rows.visit)
    if head == "leave":
        return forward.leave_probability(p, np.nan_to_num(rows.click), np.nan_to_num(rows.purchase))
    value = p.click if head == "click" else p.purchase
    if value is None:
        raise InputError("head", f"{head!r}", f"The model has the heads {', '.join(forward.heads)}.")
    return value


def quick_fidelity(
    forward: ResponseForward,
    rows: TrainingRows,
    item_rates: ItemRates,
    segments: NDArray[np.integer[Any]],
    split: str = "validation",
    n_boot: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Prediction quality on one split, JSON-able, by head and by group (shown, unshown).

    gain_over_base = 1 - LL / H(rate), where H(rate) is the log-loss of the slice's own rate;
    gain_over_item_rates = 1 - LL / LL(item rates); auc; calibration_error over 10 bins;
    predicted_real = sum w p / sum w y, also by decile of prediction, by week, and by segment.
    Intervals: 95 %, bootstrap over users. Gains are None where fewer than 20 users did not respond.

    Args:
        forward: the model. rows: rows of any splits. item_rates: from `item_rate_baseline`.
        segments: (n_users,) segment of each row of the users table. split: which rows. n_boot, seed: the bootstrap.
    """
    slice_ = rows.of(split)
    heads = {
        head: {
            group: _report(forward, _part(slice_, head, group), head, item_rates[head][group], segments, n_boot, seed)
            for group in GROUPS
        }
        for head in forward.heads
    }
    return {"split": split, "n_boot": n_boot, "seed": seed, "heads": heads}


_UNKNOWN = {"value": None, "low": None, "high": None}


def _report(
    forward: ResponseForward,
    rows: TrainingRows,
    head: str,
    item_rates: NDArray[np.float64],
    segments: NDArray[np.integer[Any]],
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    y, w = rows.response(head).astype(np.float64), rows.weight.astype(np.float64)
    counts = {"rows": len(rows), "users": len(np.unique(rows.user)), "positives": int((y > 0.5).sum())}
    if not len(rows):
        return counts
    p = predicted(forward, rows, head).astype(np.float64)
    boot = UserBootstrap(rows.user, n_boot, seed, y > 0.5)
    loss, reference = row_losses(p, y), row_losses(item_rates[rows.item], y)
    mass, hits, told, model, items = boot.sums(w, w * y, w * p, w * loss, w * reference)
    # Where nearly all respond there is next to no log-loss to save, and a share of it means nothing.
    sure = bool(too_few(len(np.unique(rows.user[y <= 0.5])), "users without a response"))
    return {
        **counts,
        "no_interval": too_few(len(np.unique(rows.user[y > 0.5])), "users with a response"),
        "base_rate": float(hits[0] / mass[0]),
        "log_loss": log_loss(p, y, w),
        "gain_over_base": _UNKNOWN if sure else interval(gain(model, own_entropy(hits, mass))),
        "gain_over_item_rates": _UNKNOWN if sure else interval(gain(model, items)),
        "auc": interval(boot.auc(p, y, w)),
        "calibration_error": calibration_error(p, y, w),
        "predicted_real": interval(divide(told, hits)),
        "deciles": _table(boot, quantile_bins(p, w, 10), p, y, w),
        "weeks": _table(boot, periods(rows.time), p, y, w),
        "segments": _table(boot, np.asarray(segments)[rows.user], p, y, w),
    }


def periods(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) week of each row, counted from the first; tenths of the span where weeks would be one or more than 60."""
    since = time - time.min()
    week = since // WEEK
    if 1 <= week.max() < _MOST_PERIODS:
        return week
    return since * 10 // (int(since.max()) + 1)


def _table(
    boot: UserBootstrap, group: NDArray[Any], p: NDArray[Any], y: NDArray[Any], w: NDArray[Any]
) -> list[dict[str, Any]]:
    """One line a group: weight, mean prediction, real rate, predicted/real with its interval."""
    lines = []
    for g in np.unique(group):
        mine = (group == g).astype(np.float64)
        few = too_few(len(np.unique(boot.user[(group == g) & (y > 0.5)])))
        mass, hits, told = boot.sums(w * mine, w * y * mine, w * p * mine)
        lines.append(
            {
                "group": int(g),
                "weight": float(mass[0]),
                "predicted": float(told[0] / mass[0]),
                "real": float(hits[0] / mass[0]),
                "predicted_real": interval(divide(told, hits)[: 1 if few else None]),
            }
        )
    return lines


def compare(
    p: NDArray[Any],
    other: NDArray[Any],
    y: NDArray[Any],
    w: NDArray[Any],
    user: NDArray[Any],
    n_boot: int = 200,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Two models on the same rows: AUC and gain over the base rate of each and of p less other, paired over users.

    Without limits where fewer than 20 users have a response.
    """
    boot = UserBootstrap(user, n_boot, seed, np.asarray(y) > 0.5)
    mass, hits, own, theirs = boot.sums(w, w * y, w * row_losses(p, y), w * row_losses(other, y))
    reference = own_entropy(hits, mass)
    values = {
        "auc": (boot.auc(p, y, w), boot.auc(other, y, w)),
        "gain_over_base": (gain(own, reference), gain(theirs, reference)),
    }
    result: dict[str, dict[str, float | None]] = {}
    for name, (a, b) in values.items():
        result |= {name: interval(a), f"{name}_other": interval(b), f"{name}_difference": interval(a - b)}
    return result
