"""How the items of a slate share one user's response.

r_j is the root response of slot j alone: the click where the logs hold clicks, else the purchase. Only the root is
shared; a purchase given a click stays P(purchase | click).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def examination(slate: int) -> Array:
    """(k,) assumed probability that rank j = 1 .. k is looked at: 1 / log2(1 + j), so 1 for the first."""
    return np.asarray(1.0 / np.log2(1.0 + np.arange(1, slate + 1)))


def marginal(kind: str, root: Array) -> Array:
    """P(slot j gets the root response) in the slate, for root probabilities (N, k); 0 where a slot shows nothing.

    independent: r_j. cascade: r_j * prod_{i<j} (1 - r_i). position: r_j / log2(1 + j).
    choice: o_j / (1 + sum_i o_i) with odds o = r / (1 - r).
    """
    if kind == "cascade":
        before = np.cumprod(1.0 - root, axis=1)
        return np.concatenate([root[:, :1], root[:, 1:] * before[:, :-1]], axis=1)
    if kind == "position":
        return root * examination(root.shape[1])
    if kind == "choice":
        odds = _odds(root)
        # Summed slot by slot: an order that does not depend on the number of rows.
        return odds / (1.0 + _running(odds)[:, -1:])
    return root


def sample(kind: str, root: Array, u: Array, v: Array) -> NDArray[np.bool_]:
    """Which slots get the root response, for uniforms u (N, k) of the response and v (N, k) of the choice.

    Raises nothing; rows are handled one by one, so results do not depend on N.
    """
    if kind == "choice":
        probability = marginal(kind, root)
        upper = _running(probability)
        lower = np.concatenate([np.zeros((len(root), 1)), upper[:, :-1]], axis=1)
        return (v[:, :1] >= lower) & (v[:, :1] < upper)
    hit = u < root
    if kind == "cascade":
        return hit & (np.cumsum(hit, axis=1) == 1)
    if kind == "position":
        return hit & (v < examination(root.shape[1]))
    return hit


def _odds(root: Array) -> Array:
    return root / np.maximum(1.0 - root, 1e-12)


def _running(values: Array) -> Array:
    return np.cumsum(values, axis=1)
