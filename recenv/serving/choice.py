"""From scores to a choice with its propensity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RULES: dict[str, str] = {
    "best": "the allowed action of the highest score; propensity 1",
    "best-item": "the item of the highest score, any of its allowed copies evenly; propensity 1 / copies",
    "weights": "items drawn by weight among those allowed, copies evenly; propensity as drawn",
}
"""How a bundle's scores (n, A) become a choice."""

NOTHING = -1e9
"""Score of showing nothing under policies that do so only where no item is allowed."""


def distribution(
    rule: str, score: NDArray[Any], mask: NDArray[np.bool_], item: NDArray[np.int32], explore: float = 0.0
) -> NDArray[np.float64]:
    """Probability (A,) of each action.

        p = (1 - explore) * rule + explore * (items evenly among those allowed, copies evenly)

    Args:
        rule: one of `RULES`. score: (A,) finite where allowed. mask: (A,) allowed actions, among them the first.
        item: (A,) item of each action, -1 for action 0. explore: share of exploration in [0, 1].
    """
    some = mask[1:].any()
    if not some:
        return _one(0, len(mask))
    if rule == "weights":
        chosen = _by_weight(np.where(mask, score, 0.0), mask, item)
    else:
        best = int(np.where(mask, score, -np.inf).argmax())
        chosen = _one(best, len(mask))
        if rule == "best-item" and best > 0:
            chosen = _evenly(mask & (item == item[best]))
    if explore > 0:
        chosen = (1.0 - explore) * chosen + explore * _by_weight(np.ones(len(mask)), mask, item)
    return chosen


def draw(probability: NDArray[np.float64], rng: np.random.Generator) -> int:
    """One action by inversion; takes no random number where the choice is certain."""
    if probability.max() >= 1.0:
        return int(probability.argmax())
    cumulative = np.cumsum(probability)
    u = min(rng.random() * cumulative[-1], float(np.nextafter(cumulative[-1], 0.0)))
    return int((cumulative <= u).sum())


def _one(action: int, n: int) -> NDArray[np.float64]:
    result = np.zeros(n)
    result[action] = 1.0
    return result


def _evenly(actions: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(actions / actions.sum())


def _by_weight(weight: NDArray[Any], mask: NDArray[np.bool_], item: NDArray[np.int32]) -> NDArray[np.float64]:
    """Items by weight (equal on all their actions), each shared evenly by its allowed actions; evenly if all are 0."""
    shown = mask & (item >= 0)
    copies = np.bincount(item[shown], minlength=int(item.max()) + 1)
    share = np.where(shown, 1.0 / np.maximum(copies[item], 1), 0.0)
    result = share * np.maximum(weight, 0.0)
    result = result if result.sum() > 0 else share
    return np.asarray(result / result.sum())
