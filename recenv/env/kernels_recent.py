"""Row-wise numba twin of `recenv.response.encoders`: each user is one fixed sequence of operations.

Bit-equal for any number of users beside it, and equal to the numpy encoder within 1e-5. Loops run over the units
inside, which LLVM vectorises without reordering any sum; the exponential is a polynomial, since a call of the library's
keeps a loop from being vectorised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.env.kernels import _axpy
from recenv.response.encoders import ATTENTION_HEADS, Encoder
from recenv.response.recent import Recent
from recenv.state import EXPOSURE

Floats = NDArray[np.float32]
_ONE, _HALF, _ZERO = np.float32(1.0), np.float32(0.5), np.float32(0.0)
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_P = tuple(np.float32(c) for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1))


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _exp(x: Any, n: int, bits: Any, power: Any) -> None:
    """x[:n] <- exp(x[:n]), within 2e-7 relative for |x| <= 80, clamped beyond; `bits` int32 and `power` float32 are one
    scratch memory. (Cody and Waite's reduction by log 2, then the polynomial of Moshier's Cephes, expf.)"""
    for k in range(n):
        y = min(max(x[k], np.float32(-80.0)), np.float32(80.0))
        whole = np.floor(y * _LOG2E + _HALF)
        bits[k] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        y = y - whole * _LN2_HIGH - whole * _LN2_LOW
        p = ((((_P[0] * y + _P[1]) * y + _P[2]) * y + _P[3]) * y + _P[4]) * y + _HALF
        x[k] = p * y * y + y + _ONE
    for k in range(n):
        x[k] = x[k] * power[k]


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _read(item: Any, kind: Any, known: Any, events: int, places: Any) -> int:
    """Places in the ring of the events that are read, newest first; their number."""
    count = 0
    for j in range(item.shape[0]):
        if count < events and item[j] >= 0 and known[kind[j]] > _ZERO:
            places[count] = j
            count += 1
    return count


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _input(
    item: Any, kind: Any, f0: Any, f1: Any, f2: Any, of_item: Any, of_kind: Any, of_feature: Any, ranges: Any, x: Any
) -> None:
    """x <- x_t of one event."""
    low, high, mean = ranges
    a = min(max(f0, low[0]), high[0]) - mean[0]
    b = min(max(np.float32(f1), low[1]), high[1]) - mean[1]
    c = min(max(np.float32(f2), low[2]), high[2]) - mean[2]
    for k in range(x.shape[0]):
        x[k] = (
            of_item[item, k] + of_kind[kind, k] + (a * of_feature[0, k] + b * of_feature[1, k] + c * of_feature[2, k])
        )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gru(recent: Any, tables: Any, ranges: Any, known: Any, events: int, hidden: Any, bias: Any, out: Any) -> None:
    item, kind, age, here, copied = recent
    of_item, of_kind, of_feature = tables
    n = hidden.shape[0]
    places = np.empty(item.shape[1], np.int64)
    x, g = np.empty(3 * n, np.float32), np.empty(3 * n, np.float32)
    bits = np.empty(3 * n, np.int32)
    power = bits.view(np.float32)
    for r in range(item.shape[0]):
        h = out[r]
        h[:] = _ZERO
        count = _read(item[r], kind[r], known, events, places)
        for t in range(count - 1, -1, -1):
            j = places[t]
            _input(item[r, j], kind[r, j], age[r, j], here[r, j], copied[r, j], of_item, of_kind, of_feature, ranges, x)
            g[:] = bias
            _axpy(h, hidden, g)
            for k in range(2 * n):
                x[k] = -(x[k] + g[k])
            _exp(x, 2 * n, bits, power)
            for k in range(2 * n):
                x[k] = _ONE / (_ONE + x[k])
            # tanh(y) = 1 - 2 / (1 + exp(2 y))
            for k in range(n):
                g[k] = np.float32(2.0) * (x[2 * n + k] + x[k] * g[2 * n + k])
            _exp(g, n, bits, power)
            for k in range(n):
                new = _ONE - np.float32(2.0) / (_ONE + g[k])
                h[k] = new + x[n + k] * (h[k] - new)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _attention(
    recent: Any, tables: Any, ranges: Any, known: Any, events: int, position: Any, recency: Any, out: Any
) -> None:
    item, kind, age, here, copied = recent
    of_item, of_kind, of_feature = tables
    n = position.shape[1] // 2
    d = n // ATTENTION_HEADS
    places = np.empty(item.shape[1], np.int64)
    x, query = np.empty(3 * n, np.float32), np.empty(n, np.float32)
    value = np.empty((events, n), np.float32)
    score = np.empty((ATTENTION_HEADS, events), np.float32)
    bits = np.empty(events, np.int32)
    power = bits.view(np.float32)
    scale = _ONE / np.sqrt(np.float32(d))
    for r in range(item.shape[0]):
        out[r] = _ZERO
        acted, shown = 0, 0
        count = _read(item[r], kind[r], known, events, places)
        for t in range(count):
            j = places[t]
            _input(item[r, j], kind[r, j], age[r, j], here[r, j], copied[r, j], of_item, of_kind, of_feature, ranges, x)
            if t == 0:
                query[:] = x[:n]
            if kind[r, j] == EXPOSURE:
                place = events + shown
                shown += 1
            else:
                place = acted
                acted += 1
            for k in range(n):
                x[n + k] = (x[n + k] + position[place, k]) * query[k]
                value[t, k] = x[2 * n + k] + position[place, n + k]
            for a in range(ATTENTION_HEADS):
                total = _ZERO
                for k in range(n + a * d, n + a * d + d):
                    total += x[k]
                score[a, t] = total * scale + recency[place, a]
        for a in range(ATTENTION_HEADS):
            if count:
                _pool(score[a], value, a * d, d, count, bits, power, out[r])


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _pool(score: Any, value: Any, first: int, d: int, count: int, bits: Any, power: Any, out: Any) -> None:
    """out[first : first + d] <- softmax(score[:count]) @ value."""
    top = score[0]
    for t in range(1, count):
        top = max(top, score[t])
    for t in range(count):
        score[t] -= top
    _exp(score, count, bits, power)
    total = _ZERO
    for t in range(count):
        total += score[t]
    for t in range(count):
        weight = score[t] / total
        for k in range(first, first + d):
            out[k] += weight * value[t, k]


class RowEncoder:
    """`Encoder.encode` with results that do not depend on the number of users.

    Args:
        encoder: its arrays are shared, not copied.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        a = encoder.arrays
        self._tables = (a["encoder_item"], a["encoder_kind"], a["encoder_feature"])
        self._ranges = (a["encoder_low"], a["encoder_high"], a["encoder_mean"])

    def encode(self, recent: Recent) -> Floats:
        """(n, H) float32; bit-equal for any number of users.

        Raises:
            InputError: an item outside the catalogue, or a kind that there is not.
        """
        e, a = self.encoder, self.encoder.arrays
        item, kind = (np.ascontiguousarray(x, np.int32) for x in (recent.item, recent.kind))
        # The kernel does not check bounds: a wrong index would read foreign memory.
        for name, index, size in (("item", item, len(a["encoder_item"])), ("kind", kind, len(a["encoder_kind"]))):
            if index.size and not (index.min() >= -1 and index.max() < size):
                raise InputError(f"recent.{name}", f"{index.min()}..{index.max()}", f"Indices run to {size - 1}.")
        if ((item >= 0) & (kind < 0)).any():
            raise InputError("recent.kind", "an event without a kind", "Give an index into recenv.state.KINDS.")
        rest = (np.ascontiguousarray(x) for x in (recent.age, recent.in_session, recent.copied))
        events, out = (item, kind, *rest), np.empty((len(item), e.units), np.float32)
        common = (events, self._tables, self._ranges, a["encoder_known"], e.events)
        if e.name == "gru":
            _gru(*common, a["encoder_hidden"], a["encoder_hidden_b"], out)
        else:
            _attention(*common, a["encoder_position"], a["encoder_recency"], out)
        return out
