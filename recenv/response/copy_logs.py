"""From a world's replayed log to a learned effect of copy: which rows count, and what their text tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.response.copy_effect import LEARNED
from recenv.response.copy_fit import Exposures, fit_copies, learned_effect
from recenv.response.forward import ResponseForward
from recenv.response.log import Log
from recenv.response.rows import SPLITS, TrainingRows
from recenv.response.text_effect import Arms, held_out_scores, slope_and_noise

if TYPE_CHECKING:
    from recenv.response.copy_effect import CopyEffect
    from recenv.response.replay import Replayed
    from recenv.world import World

Floats = NDArray[np.float64]
FITTED_ON = ("train", "calibration")
"""Splits that the effect is learned on; validation and test stay for measuring."""
_AT_ONCE = 100_000
_RIDGE, _FOLDS, _ENOUGH_ITEMS, _ENOUGH_IMPRESSIONS = 100.0, 5, 300, 50
"""Of a(text) fitted on the log's own texts: ridge, folds of items, and what it takes to try."""


def learn_copies(
    world: World, log: Log, done: Replayed, segment: NDArray[np.int32], propensity: str, seed: int, draw_seed: int
) -> CopyEffect | None:
    """The world's effect of copy with what its log tells in its place; None where the log shows fewer than two copies.

    Args:
        world: with `copy_effect` as it is without logs. log, done: its half of the users, replayed.
        segment: (n,) segment of each row of the whole users table. propensity: `meta["propensity"]` of the data.
        seed: of estimates. draw_seed: of the draw from the posterior, another one in each world.
    """
    effect, rows = world.copy_effect, done.rows
    head = "click" if "click" in world.response.heads else "purchase"
    if effect is None or head not in world.response.heads:
        return None
    copy, response = log.copy[done.row], rows.response(head)
    split = np.isin(rows.split, [SPLITS.index(name) for name in FITTED_ON])
    use = np.flatnonzero(split & rows.shown & (copy >= 0) & np.isfinite(response))
    if len(np.unique(copy[use])) < 2 or not (response[use] > 0).any():
        return None
    picked = rows.select(use)
    exposures = Exposures(
        copy=copy[use].astype(np.int64),
        item=picked.item.astype(np.int64),
        segment=segment[picked.user].astype(np.int64),
        category=world.spec.item_category[picked.item].astype(np.int64),
        seen=earlier_sights(log, effect.copy_style)[done.row[use]],
        offset=logits(world.response, picked, head),
        response=response[use].astype(np.float64),
        weight=picked.weight.astype(np.float64),
    )
    prior, notes = text_prior(world, exposures, seed)
    shape = (len(world.segment_centroids), world.spec.n_categories, len(effect.styles))
    found = fit_copies(exposures, effect.copy_style.astype(np.int64), prior, shape, seed)
    how = "assigned at random" if propensity in ("known", "uniform") else "observational: who saw it may matter too"
    notes["e(text)"] = {"assignment": how, "impressions": float(exposures.weight.sum())}
    return learned_effect(effect, found, prior, draw_seed, notes)


def logits(forward: ResponseForward, rows: TrainingRows, head: str) -> Floats:
    """(n,) calibrated logit of `head` without any copy."""
    column = forward.heads.index(head)
    found = np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        part = rows.select(np.arange(start, min(start + _AT_ONCE, len(rows))))
        visits, owner = np.unique(part.visit, return_inverse=True)
        recent = None if part.recent is None else part.recent.take(visits)
        user = forward.user_inputs(part.visit_obs[visits], recent)
        raw = forward.logits(user, part.item, part.cross, part.treat, owner)[:, column]
        scale = forward.platt[column, part.shown.astype(np.int64)]
        found[start : start + len(part)] = raw * scale[:, 0] + scale[:, 1]
    return found


def earlier_sights(log: Log, copy_style: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) how often a row's style was shown at earlier moments of its session; 0 where exposures are not observed."""
    seen = np.zeros(len(log.copy), np.int64)
    rows = np.flatnonzero(log.shown & (log.copy >= 0)) if log.observed else np.zeros(0, np.int64)
    style = copy_style[log.copy[rows]].astype(np.int64)
    rows, style = rows[style >= 0], style[style >= 0]
    order = np.lexsort((log.time[rows], style, log.session[rows]))
    rows, style = rows[order], style[order]
    group = np.r_[True, (np.diff(log.session[rows]) != 0) | (np.diff(style) != 0)][: len(rows)]
    moment = group | np.r_[True, np.diff(log.time[rows]) != 0][: len(rows)]
    place = np.arange(len(rows))
    begun = np.maximum.accumulate(np.where(group, place, 0))
    seen[rows] = np.maximum.accumulate(np.where(moment, place, 0)) - begun
    return seen


def text_prior(world: World, rows: Exposures, seed: int) -> tuple[Floats, dict[str, Any]]:
    """(C,) a(text), the prior mean of each copy, and what to say of it.

    Fitted on the log's own texts where many items have several, each item's by a model that saw none of its rows; else
    what was transferred; 0 where neither is to be had.
    """
    effect = world.copy_effect
    assert effect is not None
    told = effect.posterior.get("base_mean", np.zeros(len(effect.base), np.float32)).astype(np.float64)
    n = len(effect.base)
    shown, got = np.bincount(rows.copy, rows.weight, n), np.bincount(rows.copy, rows.weight * rows.response, n)
    item = np.full(n, -1)
    item[rows.copy] = rows.item
    use = np.flatnonzero(shown >= _ENOUGH_IMPRESSIONS)
    own = np.bincount(item[use], minlength=world.n_items)
    use = use[own[item[use]] > 1]
    if (own > 1).sum() < _ENOUGH_ITEMS:
        where = {} if told.any() else {"label": "assumed", "why": "0: nothing to fit it on"}
        return told, {"a(text)": where} if where else {}
    texts = world.copies["text"].to_pylist()
    arms = Arms(tuple(str(texts[c] or "") for c in use), got[use], shown[use], item[use], item[use])
    score = held_out_scores(arms, _RIDGE, _FOLDS, seed)
    slope, _ = slope_and_noise(arms, score)
    prior = np.zeros(n)
    prior[use] = max(slope, 0.0) * (score - score.mean())
    sd = float(prior[use].std())
    return prior, {"a(text)": {"label": LEARNED, "slope": slope, "size": sd, "how": "ridge, cross-fitted by item"}}
