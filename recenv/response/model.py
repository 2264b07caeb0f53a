"""The response model as a torch network: two towers, a small head, a direct linear path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.response.encoders import item_table
from recenv.response.encoders_torch import EventEncoder, Events

Floats = NDArray[np.float32]
_FREE = np.float32(1e6)
"""Bound of an encoding: none that one reaches."""
_LOUD = 0.5
"""Bound of the weights with which encodings enter the user tower at first."""


@dataclass(frozen=True)
class Widths:
    """Layer widths of the response model.

    Args:
        user_hidden: hidden layer of the user tower.
        item_units: hidden layer of the item tower.
        tower: output of both towers.
        hidden1: first layer of the head.
        hidden2: second layer of the head.
    """

    user_hidden: int = 64
    item_units: int = 64
    tower: int = 32
    hidden1: int = 64
    hidden2: int = 32


@dataclass(frozen=True)
class Scaling:
    """Range, mean and standard deviation of input columns on the training rows; (d,) float32 each.

    A column that did not vary in training is pinned to its mean: the model ignores it instead of extrapolating.
    """

    low: Floats
    high: Floats
    mean: Floats
    std: Floats

    @classmethod
    def of(cls, x: Floats, weight: NDArray[Any] | None = None) -> Scaling:
        """Scaling of the rows of x (n, d), weighted by weight (n,)."""
        w = np.ones(len(x)) if weight is None else weight.astype(np.float64)
        w = w / w.sum()
        mean = w @ x
        std = np.sqrt(np.maximum(w @ (x - mean.astype(np.float32)).astype(np.float64) ** 2, 0.0))
        low, high = x.min(axis=0), x.max(axis=0)
        still = (std < 1e-6) | (low == high)
        parts = (np.where(still, mean, low), np.where(still, mean, high), mean, np.where(still, 1.0, std))
        return cls(*(p.astype(np.float32) for p in parts))


class _Scale(nn.Module):
    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        for name in ("low", "high", "mean", "std"):
            self.register_buffer(name, torch.from_numpy(getattr(scaling, name)))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.clamp(x, self.low, self.high) - self.mean) / self.std


class ResponseNet(nn.Module):
    """Logits of the heads from (user inputs, item inputs, cross features, treatment).

    Multi-task: the heads (click, purchase, leave) share the encoder, both towers and all but the last layer.

    Args:
        user, item, pair: scaling of each input; their lengths are the input dimensions.
        heads: number of heads. widths: layer widths. vector_dim: the first columns of the item input are the item's
        vector, which `drop` blanks in training so that an item without one is not out of distribution.
        encoder: adds its units to the user inputs.

    Attributes:
        n_unseen: in training, so many last rows of the item table are inputs of items as if never met; 0: none.
    """

    def __init__(
        self,
        user: Scaling,
        item: Scaling,
        pair: Scaling,
        heads: int,
        widths: Widths,
        vector_dim: int,
        encoder: EventEncoder | None = None,
    ) -> None:
        super().__init__()
        w = widths
        self.vector_dim = vector_dim
        self.n_unseen = 0
        self.user_scale, self.item_scale, self.pair_scale = _Scale(user), _Scale(item), _Scale(pair)
        units = encoder.units if encoder is not None else 0
        self.user_tower = _tower(len(user.mean) + units, w.user_hidden, w.tower)
        self.item_tower = _tower(len(item.mean), w.item_units, w.tower)
        self.head_first = nn.Linear(3 * w.tower + len(pair.mean), w.hidden1)
        self.head_second = nn.Linear(w.hidden1, w.hidden2)
        self.head_last = nn.Linear(w.hidden2, heads)
        self.item_skip = nn.Linear(len(item.mean), heads, bias=False)
        self.pair_skip = nn.Linear(len(pair.mean), heads, bias=False)
        self.leave_weights = nn.Parameter(torch.zeros(2))
        for skip in (self.item_skip, self.pair_skip):
            nn.init.zeros_(skip.weight)
        self.encoder = encoder
        if encoder is not None:
            self.product_skip = nn.Linear(w.tower, heads, bias=False)
            nn.init.ones_(self.product_skip.weight)
            # Beside hundreds of standardised inputs a few small ones would hardly be heard at first.
            first = self.user_tower[0]
            assert isinstance(first, nn.Linear)
            nn.init.uniform_(first.weight[:, -units:], -_LOUD, _LOUD)

    def histories(self, events: Events, inputs: Tensor) -> Tensor:
        """(n, H) encodings of events; inputs (n_items, D + Fi), of which the vectors count."""
        assert self.encoder is not None
        distinct, index = torch.unique(events.item, return_inverse=True)
        return self.encoder(replace(events, item=index), inputs[distinct, : self.vector_dim])  # type: ignore[no-any-return]

    def items(self, inputs: Tensor, drop: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tower output (m, tower) and linear path (m, heads) of item inputs (m, D + Fi); drop (m,) bool."""
        x = self.item_scale(inputs)
        if drop is not None:
            keep = torch.ones_like(x)
            keep[:, : self.vector_dim] = (~drop).to(x.dtype)[:, None]
            x = x * keep
        return self.item_tower(x), self.item_skip(x)

    def forward(self, user: Tensor, items: tuple[Tensor, Tensor], item: Tensor, z: Tensor) -> Tensor:
        """Logits (n, heads) of inputs already scaled: user (n, U + H), z (n, F + 1 + E); item (n,) rows of `items`."""
        u = self.user_tower(user)
        v, skip = nn.functional.embedding(item, items[0]), nn.functional.embedding(item, items[1])
        h = torch.relu(self.head_first(torch.cat([u, v, u * v, z], dim=1)))
        h = torch.relu(self.head_second(h))
        logits = self.head_last(h) + skip + self.pair_skip(z)
        return logits if self.encoder is None else logits + self.product_skip(u * v)  # type: ignore[no-any-return]


def _tower(inputs: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, out))


def export(net: ResponseNet, inputs: Floats) -> dict[str, Floats]:
    """The network as the arrays of `forward.SHAPES`, uncalibrated; inputs (n_items, D + Fi) float32.

    Standard deviations are folded into the weights behind them; means are kept apart, since folding them too would lose
    digits where a mean is large against its deviation.
    """
    from recenv.response.forward import item_tables

    def array(tensor: Tensor) -> Floats:
        return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))

    tower = int(net.head_first.in_features - len(net.pair_scale.mean)) // 3
    first = array(net.head_first.weight).T
    weights: dict[str, Floats] = {}
    for name, scale in (("user", net.user_scale), ("item", net.item_scale), ("pair", net.pair_scale)):
        weights |= {f"{name}_{part}": array(getattr(scale, part)) for part in ("low", "high", "mean")}
    user_std, item_std, pair_std = (array(s.std)[:, None] for s in (net.user_scale, net.item_scale, net.pair_scale))
    if net.encoder is not None:
        user_std = np.concatenate([user_std, np.ones((net.encoder.units, 1), np.float32)])
    for name, std, layers in (("user", user_std, net.user_tower), ("item", item_std, net.item_tower)):
        w1, b1, w2, b2 = (array(p) for p in layers.parameters())
        weights |= {f"{name}_w1": w1.T / std, f"{name}_b1": b1, f"{name}_w2": w2.T, f"{name}_b2": b2}
    weights |= {
        "item_skip_w": array(net.item_skip.weight).T / item_std,
        "head_user": first[:tower],
        "head_item": first[tower : 2 * tower],
        "head_product": first[2 * tower : 3 * tower],
        "head_pair": first[3 * tower :] / pair_std,
        "head_b1": array(net.head_first.bias),
        "head_w2": array(net.head_second.weight).T,
        "head_b2": array(net.head_second.bias),
        "head_w3": array(net.head_last.weight).T,
        "head_b3": array(net.head_last.bias),
        "skip_pair": array(net.pair_skip.weight).T / pair_std,
        "leave_weights": array(net.leave_weights),
    }
    heads = net.head_last.out_features
    weights["platt"] = np.tile(np.array([1.0, 0.0], np.float32), (heads, 2, 1))
    if net.encoder is not None:
        weights |= net.encoder.arrays()
        weights["encoder_product"] = array(net.product_skip.weight).T
        # What the encoder adds comes as it is: no range, no mean.
        none = np.zeros(net.encoder.units, np.float32)
        for part, value in (("low", none - _FREE), ("high", none + _FREE), ("mean", none)):
            weights[f"user_{part}"] = np.concatenate([weights[f"user_{part}"], value])
    weights = {name: np.ascontiguousarray(w) for name, w in weights.items()}
    return weights | item_tables(weights, inputs) | item_table(weights, inputs)
