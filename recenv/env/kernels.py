"""Row-wise numba twin of `recenv.response.forward`: each row is one fixed sequence of operations.

No BLAS and no fastmath, so a row's result is bit-equal whatever rows stand beside it; that is what makes trajectories
independent of the number of parallel environments. Loops run over the output dimension inside, which LLVM vectorises
without reordering any sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.response.forward import Prediction, ResponseForward

Floats = NDArray[np.float32]


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _add(x: Any, low: Any, high: Any, mean: Any, w: Any, first: int, out: Any) -> None:
    """out += (clip(x, low, high) - mean) @ w[first:], four inputs at a time."""
    n, width, j = x.shape[0], out.shape[0], 0
    while j + 3 < n:
        a = first + j
        x0 = min(max(x[j], low[a]), high[a]) - mean[a]
        x1 = min(max(x[j + 1], low[a + 1]), high[a + 1]) - mean[a + 1]
        x2 = min(max(x[j + 2], low[a + 2]), high[a + 2]) - mean[a + 2]
        x3 = min(max(x[j + 3], low[a + 3]), high[a + 3]) - mean[a + 3]
        for k in range(width):
            out[k] += (x0 * w[a, k] + x1 * w[a + 1, k]) + (x2 * w[a + 2, k] + x3 * w[a + 3, k])
        j += 4
    while j < n:
        a = first + j
        x0 = min(max(x[j], low[a]), high[a]) - mean[a]
        for k in range(width):
            out[k] += x0 * w[a, k]
        j += 1


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _axpy(x: Any, w: Any, out: Any) -> None:
    """out += x @ w, four inputs at a time."""
    n, width, j = x.shape[0], out.shape[0], 0
    while j + 3 < n:
        x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
        for k in range(width):
            out[k] += (x0 * w[j, k] + x1 * w[j + 1, k]) + (x2 * w[j + 2, k] + x3 * w[j + 3, k])
        j += 4
    while j < n:
        for k in range(width):
            out[k] += x[j] * w[j, k]
        j += 1


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _relu(x: Any) -> None:
    for k in range(x.shape[0]):
        x[k] = max(x[k], np.float32(0.0))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _logits(
    user: Any, owner: Any, item: Any, cross: Any, treat: Any, tower: Any, head: Any, pair: Any, tables: Any, out: Any
) -> None:
    """Logits (n, heads) of n pairs; a user's tower is computed once for a run of equal owners."""
    u_low, u_high, u_mean, u_w1, u_b1, u_w2, u_b2 = tower
    h_user, h_product, h_pair, h_w2, h_b2, h_w3, h_b3 = head
    p_low, p_high, p_mean, p_skip = pair
    item_tower, item_hidden, item_skip, skip_product = tables
    direct = skip_product.shape[0]
    hidden, u = np.empty_like(u_b1), np.empty_like(u_b2)
    from_user = np.empty(h_user.shape[1], np.float32)
    first, second, product = np.empty_like(from_user), np.empty_like(h_b2), np.empty_like(u_b2)
    last = np.int64(-1)
    for r in range(len(item)):
        if owner[r] != last:
            last = owner[r]
            hidden[:] = u_b1
            _add(user[last], u_low, u_high, u_mean, u_w1, 0, hidden)
            _relu(hidden)
            u[:] = u_b2
            _axpy(hidden, u_w2, u)
            from_user[:] = np.float32(0.0)
            _axpy(u, h_user, from_user)
        i = item[r]
        for k in range(first.shape[0]):
            first[k] = item_hidden[i, k] + from_user[k]
        for k in range(product.shape[0]):
            product[k] = u[k] * item_tower[i, k]
        _axpy(product, h_product, first)
        _add(cross[r], p_low, p_high, p_mean, h_pair, 0, first)
        _add(treat[r], p_low, p_high, p_mean, h_pair, cross.shape[1], first)
        _relu(first)
        second[:] = h_b2
        _axpy(first, h_w2, second)
        _relu(second)
        logit = out[r]
        for k in range(logit.shape[0]):
            logit[k] = h_b3[k] + item_skip[i, k]
        _axpy(second, h_w3, logit)
        _axpy(product[:direct], skip_product, logit)
        _add(cross[r], p_low, p_high, p_mean, p_skip, 0, logit)
        _add(treat[r], p_low, p_high, p_mean, p_skip, cross.shape[1], logit)


class RowPredictor:
    """`ResponseForward.predict` with results that do not depend on the number of rows.

    Args:
        forward: the model; its arrays are shared, not copied.
    """

    def __init__(self, forward: ResponseForward) -> None:
        f = self.forward = forward
        self._tower = (f.user_low, f.user_high, f.user_mean, f.user_w1, f.user_b1, f.user_w2, f.user_b2)
        self._head = (f.head_user, f.head_product, f.head_pair, f.head_w2, f.head_b2, f.head_w3, f.head_b3)
        self._pair = (f.pair_low, f.pair_high, f.pair_mean, f.skip_pair)
        direct = np.zeros((0, len(f.heads)), np.float32) if f.encoder is None else f.encoder_product
        self._tables = (f.item_tower, f.item_hidden, f.item_skip, direct)

    def logits(
        self, user: Floats, item: NDArray[Any], cross: Floats, treat: Floats, owner: NDArray[Any] | None = None
    ) -> Floats:
        """(n, heads) float32, before calibration; bit-equal for any number of rows.

        Raises:
            InputError: arrays that do not fit the model or each other.
        """
        f = self.forward
        user, cross, treat = (np.ascontiguousarray(a, np.float32) for a in (user, cross, treat))
        item = np.ascontiguousarray(item, np.int64)
        owner = np.arange(len(item)) if owner is None else np.ascontiguousarray(owner, np.int64)
        _check(f, user, item, cross, treat, owner)
        out = np.empty((len(item), len(f.heads)), np.float32)
        _logits(user, owner, item, cross, treat, self._tower, self._head, self._pair, self._tables, out)
        return out

    def predict(
        self,
        user: Floats,
        item: NDArray[Any],
        cross: Floats,
        treat: Floats,
        offset: Floats | None = None,
        owner: NDArray[Any] | None = None,
    ) -> Prediction:
        """As `ResponseForward.predict`, equal to it within 1e-5."""
        return self.forward.calibrated(self.logits(user, item, cross, treat, owner), treat, offset)


def _check(
    f: ResponseForward, user: Floats, item: NDArray[Any], cross: Floats, treat: Floats, owner: NDArray[Any]
) -> None:
    # The kernel does not check bounds: a wrong index would read foreign memory.
    n = len(item)
    if user.ndim != 2 or user.shape[1] != f.user_dim:
        raise InputError("user", f"shape {user.shape}", f"Give (n, {f.user_dim}).")
    if len(cross) != n or len(treat) != n or cross.shape[1] + treat.shape[1] != f.pair_dim:
        raise InputError("cross, treat", f"{cross.shape}, {treat.shape}", f"Give {n} rows, {f.pair_dim} columns.")
    if len(owner) != n or (n and not (owner.min() >= 0 and owner.max() < len(user))):
        raise InputError("owner", f"not rows of {len(user)} users", "Give one row of `user` a pair.")
    if n and not (item.min() >= 0 and item.max() < f.n_items):
        raise InputError("item", f"{item.min()}..{item.max()}", f"Indices run from 0 to {f.n_items - 1}.")
