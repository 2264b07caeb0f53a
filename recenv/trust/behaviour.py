"""What the logging policy did: propensities as logged or as estimated, and the actions' rates in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.columns import NONE_ITEM
from recenv.data.schema import Dataset
from recenv.trust.decisions import Decisions, Ints, codes
from recenv.world import World

Floats = NDArray[np.float64]
UNCONFOUNDED = "assumes no unmeasured confounding"
EVEN = 0.02
"""Share of even choice among what was allowed in the estimated logging policy: nothing on offer was impossible."""
SHRINK = 100.0
"""Impressions' worth of the mean rate mixed into each action's rate."""


@dataclass(frozen=True)
class Training:
    """What the train split tells of each action: `count` (A,) float64 weighted impressions, `rate` (A,) mean reward,
    shrunk to the overall mean by `SHRINK` impressions."""

    count: Floats
    rate: Floats


@dataclass(frozen=True)
class Behaviour:
    """The logging policy on n decisions.

    Args:
        propensity: (n,) float64 of the logged action. known: as logged; else estimated. label: what that assumes.
        by_segment: (segments, A) float64 rates that the estimate was made of, before the mask; None where known.
        how: in words.
    """

    propensity: Floats
    known: bool
    label: str
    by_segment: Floats | None
    how: str

    def table(self, found: Decisions, world: World, rows: Any) -> Floats | None:
        """(k, A) distribution over actions for some decisions; None where the log tells only what was drawn."""
        if self.by_segment is None:
            return None
        return estimated(self.by_segment[found.segment[rows]], _allowed_actions(found, world, found.moment[rows]))


def training(dataset: Dataset, world: World, found: Decisions, reward: str) -> Training:
    """Counts and shrunk mean rewards of the actions in the train split.

    Raises:
        InputError: no impression with this reward in the train split.
    """
    events = dataset.events
    shown = (events["kind"] == "impression").to_numpy() & (events["split"] == "train").to_numpy()
    value = events[reward].to_numpy(np.float64)
    shown &= ~np.isnan(value)
    if not shown.any():
        raise InputError("split", f"no impression with {reward} in the train split", "Bring more logs.")
    action, kept = _train_actions(dataset, world, found, shown)
    weight, value = events["weight"].to_numpy(np.float64)[shown][kept], value[shown][kept]
    count = np.bincount(action, weight, minlength=found.actions.size).astype(np.float64)
    total = np.bincount(action, weight * value, minlength=found.actions.size)
    mean = float(total.sum() / count.sum())
    return Training(count, (total + SHRINK * mean) / (count + SHRINK))


def _train_actions(
    dataset: Dataset, world: World, found: Decisions, shown: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.bool_]]:
    """Actions of the rows marked, and which of them the world knows."""
    names = dataset.events["item_id"].to_numpy(object)[shown].astype(str)
    item = codes(names, world.items["item_id"].to_pylist())
    raw = dataset.events["copy_id"].to_numpy(object)[shown]
    copy = codes(np.array([c if isinstance(c, str) else "" for c in raw]), world.copies["copy_id"].to_pylist())
    kept = (item >= 0) | (names == NONE_ITEM)
    if found.actions.copies:
        has = np.zeros(world.n_items + 1, bool)
        has[world.action_item[world.action_copy >= 0]] = True
        kept &= (copy >= 0) | ~has[item] | (item < 0)
    return found.actions.number(world, item[kept], copy[kept]), kept


def behaviour(found: Decisions, world: World, train: Training, min_propensity: float) -> Behaviour:
    """The logged propensities where every decision has one; else those of the logged policy, estimated:

        p(a | segment, on offer)  =  (1 - EVEN) r(a) / sum_b r(b)  +  EVEN / (number on offer),  over what was on offer

    r(a) = P(item | segment), fitted on the train split of the world's own users, times P(copy | item), counted in the
    train split. It sees nothing of the user but the segment: that is what "no unmeasured confounding" is about.

    Raises:
        InputError: a logged propensity below `min_propensity`.
    """
    p = found.propensity
    if not np.isnan(p).any():
        low = float(p.min())
        if low < min_propensity:
            what = f"the smallest is {low:.3g}, below {min_propensity:g}"
            raise InputError("propensity", what, "Check the log, or clip them from below with --clip, which biases.")
        return Behaviour(p, True, "", None, "as logged")
    rates = _segment_rates(world, found, train)
    own = np.empty(len(found))
    for first in range(0, len(found), 4096):
        rows = slice(first, min(first + 4096, len(found)))
        table = estimated(rates[found.segment[rows]], _allowed_actions(found, world, found.moment[rows]))
        own[rows] = table[np.arange(len(table)), found.action[rows]]
    missing = float(np.isnan(p).mean())
    how = f"estimated from the train split by segment, within what was on offer ({100 * missing:.0f} % were not logged)"
    return Behaviour(own, False, UNCONFOUNDED, rates, how)


def estimated(rate: Floats, allowed: NDArray[np.bool_]) -> Floats:
    """(k, A): rates (k, A) within what was allowed (k, A), mixed with even choice; rows sum to 1."""
    inside = np.where(allowed, rate, 0.0)
    total = inside.sum(axis=1, keepdims=True)
    even = allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1)
    share = np.divide(inside, total, out=even.copy(), where=total > 0)
    return np.asarray((1.0 - EVEN) * share + EVEN * even)


def _segment_rates(world: World, found: Decisions, train: Training) -> Floats:
    """(segments, A): P(item | segment) of the train split times P(copy | item); nothing (action 0) by its count."""
    item = _item_of(found, world)
    of_item = np.bincount(item[1:], train.count[1:] + 1.0, minlength=world.n_items)
    within = (train.count[1:] + 1.0) / of_item[item[1:]]
    rates = np.zeros((len(world.logged_rates), found.actions.size))
    blank = float(train.count[0] / max(train.count.sum(), 1.0)) if found.nothing else 0.0
    rates[:, 0] = blank
    rates[:, 1:] = (1.0 - blank) * world.logged_rates[:, item[1:]] * within
    return rates


def _item_of(found: Decisions, world: World) -> Ints:
    """(A,) item of each action, -1 for nothing."""
    return world.action_item.astype(np.int64) if found.actions.copies else np.arange(-1, world.n_items)


def _allowed_actions(found: Decisions, world: World, moment: Ints) -> NDArray[np.bool_]:
    """(k, A) actions allowed in these moments, in the log's own numbering of actions."""
    table = np.concatenate([found.allowed[moment], np.full((len(moment), 1), found.nothing)], axis=1)
    return np.asarray(table[:, _item_of(found, world)])


def allowed_actions(found: Decisions, world: World) -> NDArray[np.bool_]:
    """(n, A) actions that were allowed at each decision."""
    return _allowed_actions(found, world, found.moment)
