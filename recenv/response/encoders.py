"""History encoders: what a user's last events say in their order, as inputs of the user tower beside the summary.

`decay` adds nothing: the summary observation's decayed sums are the history. The others read the ring buffer at the
moment of scoring (`recenv.response.recent`), the newest `events` events of the kinds that training saw; event t, of
item i and kind k, with f_t = [age, in this session, with a text] clipped to what training saw, enters as

    x_t = I_i + K_k + (f_t - mean) W_f                                    (3 H,), I = item vectors W_v, folded at export

gru (Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014), oldest event first, h = 0:
    r, z = sigmoid(x_r + h U_r + b_r), sigmoid(x_z + h U_z + b_z)
    h <- (1 - z) tanh(x_n + r (h U_n + b_n)) + z h                        the encoding is the last h
attention (Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.2), x_t = (q_t, k_t, v_t), event j = 0
the newest; its q asks, in each of 4 heads of d = H / 4:
    a = softmax_j(q_0 . (k_j + P^k_j) / sqrt(d) + b_j)                    the encoding is sum_j a_j (v_j + P^v_j)
with P and b learned for the event's place, counted from the newest among acts and among exposures apart: "the last act
but one" is one place, however much was shown since. b falls with the place before training, by another slope in each
head (Press, Smith and Lewis, "Train short, test long", ICLR 2022).

A user without events has the encoding 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError, InputError
from recenv.response.recent import Recent
from recenv.state import EXPOSURE

Floats = NDArray[np.float32]
ENCODERS: tuple[str, ...] = ("decay", "gru", "attention")
ATTENTION_HEADS = 4
_COMMON: dict[str, tuple[str, ...]] = {
    "encoder_low": ("features",),
    "encoder_high": ("features",),
    "encoder_mean": ("features",),
    "encoder_known": ("kinds",),
    "encoder_kind": ("kinds", "gates"),
    "encoder_feature": ("features", "gates"),
    "encoder_item": ("n_items", "gates"),
    "encoder_item_w": ("vector", "gates"),
    "encoder_product": ("tower", "heads"),
}
SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "decay": {},
    "gru": _COMMON | {"encoder_hidden": ("units", "gates"), "encoder_hidden_b": ("gates",)},
    "attention": _COMMON | {"encoder_position": ("places", "key_value"), "encoder_recency": ("places", "asking")},
}
"""Arrays of each encoder, float32. gates = 3 units; key_value = 2 units; features = 3; kinds = 5; places = 2 events;
asking = 4 heads.

`encoder_product` W_u adds (u * v_i) W_u to the logits of `recenv.response.forward`: a direct path from the encoder to
the items. Through the head's layers alone an order is found much later, or never."""


def check_encoder(name: str) -> None:
    """Raises InputError unless `name` is an encoder."""
    if name not in ENCODERS:
        raise InputError("option encoder", f"{name!r}", f"Choose one of {', '.join(ENCODERS)}.")


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The encoder's settings in a response model's config: name, units, events; those of `decay` where there are none.

    Raises:
        ArtefactError: an encoder that this version does not know.
    """
    found = dict(config.get("encoder") or {"name": "decay", "units": 0, "events": 0})
    if found.get("name") not in ENCODERS or not all(isinstance(found.get(k), int) for k in ("units", "events")):
        raise ArtefactError("response.encoder", f"{found}", f"Known are {', '.join(ENCODERS)}.")
    return found


def item_table(weights: dict[str, NDArray[Any]], inputs: Floats) -> dict[str, Floats]:
    """`encoder_item` from item inputs (n_items, D + Fi), of which the first D, the vector, count; {} for decay."""
    if "encoder_item_w" not in weights:
        return {}
    return {"encoder_item": inputs[:, : len(weights["encoder_item_w"])] @ weights["encoder_item_w"]}


class Encoder:
    """The encoder of a response model, in numpy; `recenv.env.kernels_recent.RowEncoder` is its row-wise twin.

    Args:
        arrays: of `SHAPES`. config: name, units H, events.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]], config: dict[str, Any]) -> None:
        self.name, self.units, self.events = str(config["name"]), int(config["units"]), int(config["events"])
        self.arrays = {name: arrays[name] for name in SHAPES[self.name]}

    def encode(self, recent: Recent) -> Floats:
        """(n, H) float32."""
        keep, place = self.read(recent)
        width = int(np.flatnonzero(keep.any(axis=0)).max(initial=-1)) + 1
        if not width:
            return np.zeros((len(recent), self.units), np.float32)
        x = self._inputs(recent, width)
        step = self._gru if self.name == "gru" else self._attention
        return step(x, keep[:, :width], place[:, :width])

    def read(self, recent: Recent) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """(n, R) which events are read, and the place of each: 0 .. events - 1 among acts, 0 the newest, `events` more
        among exposures."""
        known = (recent.item >= 0) & (self.arrays["encoder_known"][recent.kind] > 0)
        keep = known & (np.cumsum(known, axis=1) <= self.events)
        shown = keep & (recent.kind == EXPOSURE)
        acted = np.cumsum(keep & ~shown, axis=1) - 1
        return keep, np.where(shown, self.events + np.cumsum(shown, axis=1) - 1, np.maximum(acted, 0))

    def _inputs(self, recent: Recent, width: int) -> Floats:
        """(n, width, 3 H) x_t of the newest events; meaningless where there is none."""
        a = self.arrays
        parts = (recent.age, recent.in_session, recent.copied)
        features = np.stack([p[:, :width].astype(np.float32) for p in parts], axis=2)
        features = np.clip(features, a["encoder_low"], a["encoder_high"]) - a["encoder_mean"]
        x = a["encoder_item"][recent.item[:, :width]] + a["encoder_kind"][recent.kind[:, :width]]
        return np.asarray(x + features @ a["encoder_feature"], np.float32)

    def _gru(self, x: Floats, keep: NDArray[np.bool_], place: NDArray[np.int64]) -> Floats:
        u, bias, n = self.arrays["encoder_hidden"], self.arrays["encoder_hidden_b"], self.units
        h = np.zeros((len(x), n), np.float32)
        for t in range(x.shape[1] - 1, -1, -1):
            g = h @ u + bias
            gates = _sigmoid(x[:, t, : 2 * n] + g[:, : 2 * n])
            r, z = gates[:, :n], gates[:, n:]
            new = np.tanh(x[:, t, 2 * n :] + r * g[:, 2 * n :])
            h = np.where(keep[:, t, None], new + z * (h - new), h)
        return h

    def _attention(self, x: Floats, keep: NDArray[np.bool_], place: NDArray[np.int64]) -> Floats:
        n, heads = self.units, ATTENTION_HEADS
        size = (*x.shape[:2], heads, n // heads)
        position = self.arrays["encoder_position"][place]
        query = np.take_along_axis(x[:, :, :n], keep.argmax(axis=1)[:, None, None], axis=1)
        key, value = ((x[:, :, n:] + position)[:, :, part].reshape(size) for part in (slice(n), slice(n, 2 * n)))
        score = (query.reshape(-1, 1, heads, n // heads) * key).sum(axis=3) / np.float32((n // heads) ** 0.5)
        score += self.arrays["encoder_recency"][place]
        score = np.where(keep[:, :, None], score, np.float32(-np.inf))
        some: NDArray[np.bool_] = np.asarray(keep.any(axis=1))
        score -= np.where(some[:, None], score.max(axis=1), np.float32(0.0))[:, None]
        weight = np.exp(score)
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-30))
        return np.asarray((weight[..., None] * value).sum(axis=1).reshape(-1, n), np.float32)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5), np.float32)
