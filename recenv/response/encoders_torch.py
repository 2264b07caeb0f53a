"""The history encoders as torch modules, and how they become the arrays of `recenv.response.encoders`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.response.encoders import ATTENTION_HEADS
from recenv.response.recent import Recent
from recenv.state import EXPOSURE, N_KINDS

Floats = NDArray[np.float32]
_SLOPES = (2.0, 1.0, 0.5, 0.25)
"""How fast the attention of each head falls from one place to the next before training."""


@dataclass(frozen=True)
class Seen:
    """What training saw in the events that are read.

    Args:
        low, high, mean, std: (3,) float32, of age, in_session and copied; what never varied has std 0 and no weight.
        known: (5,) float32, 1 for the kinds of event that occurred: others are not read.
    """

    low: Floats
    high: Floats
    mean: Floats
    std: Floats
    known: Floats

    @classmethod
    def of(cls, recent: Recent, events: int) -> Seen:
        """Of the newest `events` events of each row of `recent`."""
        there = recent.item[:, :events] >= 0
        kinds = np.bincount(recent.kind[:, :events][there].astype(np.int64), minlength=N_KINDS)
        parts = (recent.age, recent.in_session, recent.copied)
        x = np.stack([p[:, :events][there].astype(np.float64) for p in parts], axis=1)
        x = x if len(x) else np.zeros((1, len(parts)))
        std = np.where(x.min(axis=0) == x.max(axis=0), 0.0, x.std(axis=0))
        low, high, mean, spread = (r.astype(np.float32) for r in (x.min(axis=0), x.max(axis=0), x.mean(axis=0), std))
        return cls(low, high, mean, spread, (kinds > 0).astype(np.float32))


@dataclass
class Events:
    """`Recent` as tensors, (n, width): item int64 (0 where none), kind int64, features (n, width, 3) standardised, keep
    bool, place int64 (`encoders.Encoder.read`)."""

    item: Tensor
    kind: Tensor
    features: Tensor
    keep: Tensor
    place: Tensor


class EventEncoder(nn.Module):
    """(n, H) encodings of events: the inputs x_t of every encoder; see `recenv.response.encoders`.

    Args:
        vector_dim: D. units: H, a multiple of 4. events: most events read. seen: what training saw.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    scale: Tensor
    known: Tensor

    def __init__(self, vector_dim: int, units: int, events: int, seen: Seen) -> None:
        super().__init__()
        self.units, self.events = units, events
        # Rows of norm 1 become entries of size 1. Not standardised column by column: that would make the last singular
        # directions of the items as loud as the first.
        self.loud = vector_dim**0.5
        scale = np.where(seen.std > 0, 1.0 / np.maximum(seen.std, 1e-12), 0.0).astype(np.float32)
        for name, value in (("low", seen.low), ("high", seen.high), ("mean", seen.mean), ("scale", scale)):
            self.register_buffer(name, torch.from_numpy(value))
        self.register_buffer("known", torch.from_numpy(seen.known))
        self.of_item = nn.Linear(vector_dim, 3 * units, bias=False)
        self.of_kind = nn.Parameter(torch.zeros(N_KINDS, 3 * units))
        self.of_feature = nn.Linear(3, 3 * units, bias=False)
        nn.init.normal_(self.of_kind, std=0.3)

    def prepare(self, recent: Recent) -> Events:
        """What `forward` reads of `recent`, cut to the longest history."""
        item, kind = (torch.from_numpy(a.astype(np.int64)) for a in (recent.item, recent.kind))
        known = (item >= 0) & (self.known[kind] > 0)
        keep = known & (torch.cumsum(known, dim=1) <= self.events)
        shown = keep & (kind == EXPOSURE)
        acted = torch.cumsum(keep & ~shown, dim=1) - 1
        place = torch.where(shown, self.events + torch.cumsum(shown, dim=1) - 1, acted.clamp(min=0))
        width = int(keep.any(dim=0).nonzero().max()) + 1 if bool(keep.any()) else 1
        parts = (recent.age, recent.in_session, recent.copied)
        features = torch.from_numpy(np.stack([p[:, :width].astype(np.float32) for p in parts], axis=2))
        features = (torch.clamp(features, self.low, self.high) - self.mean) * self.scale
        cut = [x[:, :width] for x in (item.clamp(min=0), kind.clamp(min=0), keep, place)]
        return Events(cut[0], cut[1], features, cut[2], cut[3])

    def inputs(self, events: Events, vectors: Tensor) -> Tensor:
        """(n, width, 3 H) x_t; vectors (m, D), which `events.item` counts."""
        x = nn.functional.embedding(events.item, self.of_item(vectors * self.loud))
        x = x + nn.functional.embedding(events.kind, self.of_kind)
        return x + self.of_feature(events.features)  # type: ignore[no-any-return]

    def forward(self, events: Events, vectors: Tensor) -> Tensor:
        """(n, H)."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Floats]:
        """Those of `encoders.SHAPES` that belong to the encoder alone, without `encoder_item`."""
        found = {
            "encoder_low": self.low,
            "encoder_high": self.high,
            "encoder_mean": self.mean,
            "encoder_known": self.known,
            "encoder_kind": self.of_kind,
            "encoder_feature": self.of_feature.weight.T * self.scale[:, None],
            "encoder_item_w": self.of_item.weight.T * self.loud,
        }
        return {name: _array(value) for name, value in (found | self._own()).items()}

    def _own(self) -> dict[str, Tensor]:
        raise NotImplementedError


class GRUEncoder(EventEncoder):
    """Gated recurrent unit over the events, oldest first."""

    def __init__(self, vector_dim: int, units: int, events: int, seen: Seen) -> None:
        super().__init__(vector_dim, units, events, seen)
        self.hidden = nn.Linear(units, 3 * units)
        nn.init.orthogonal_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)

    def forward(self, events: Events, vectors: Tensor) -> Tensor:
        x, n = self.inputs(events, vectors), self.units
        h = torch.zeros(len(x), n)
        for t in range(x.shape[1] - 1, -1, -1):
            g = self.hidden(h)
            gates = torch.sigmoid(x[:, t, : 2 * n] + g[:, : 2 * n])
            new = torch.tanh(x[:, t, 2 * n :] + gates[:, :n] * g[:, 2 * n :])
            h = torch.where(events.keep[:, t, None], new + gates[:, n:] * (h - new), h)
        return h

    def _own(self) -> dict[str, Tensor]:
        return {"encoder_hidden": self.hidden.weight.T, "encoder_hidden_b": self.hidden.bias}


class AttentionEncoder(EventEncoder):
    """The newest event asks, all answer: one layer of 4 heads with learned positions."""

    def __init__(self, vector_dim: int, units: int, events: int, seen: Seen) -> None:
        super().__init__(vector_dim, units, events, seen)
        self.position = nn.Parameter(torch.zeros(2 * events, 2 * units))
        nn.init.normal_(self.position, std=0.3)
        rank = torch.arange(events, dtype=torch.float32).repeat(2)
        self.recency = nn.Parameter(-rank[:, None] * torch.tensor(_SLOPES))

    def forward(self, events: Events, vectors: Tensor) -> Tensor:
        x, n = self.inputs(events, vectors), self.units
        size = (*x.shape[:2], ATTENTION_HEADS, n // ATTENTION_HEADS)
        newest = events.keep.to(torch.int64).argmax(dim=1)
        query = x[torch.arange(len(x)), newest, :n].reshape(-1, 1, *size[2:])
        both = x[:, :, n:] + nn.functional.embedding(events.place, self.position)
        key, value = both[..., :n].reshape(size), both[..., n:].reshape(size)
        score = (query * key).sum(dim=3) / size[3] ** 0.5 + nn.functional.embedding(events.place, self.recency)
        # A finite mask: a row without any event would otherwise be NaN, also in its gradient.
        score = score.masked_fill(~events.keep[:, :, None], -1e9)
        weight = torch.softmax(score, dim=1) * events.keep[:, :, None]
        return (weight[..., None] * value).sum(dim=1).reshape(-1, n)

    def _own(self) -> dict[str, Tensor]:
        return {"encoder_position": self.position, "encoder_recency": self.recency}


def make_encoder(name: str, vector_dim: int, units: int, events: int, seen: Seen) -> EventEncoder | None:
    """The module of an encoder; None for `decay`."""
    classes: dict[str, Any] = {"gru": GRUEncoder, "attention": AttentionEncoder}
    return classes[name](vector_dim, units, events, seen) if name in classes else None


def _array(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))
