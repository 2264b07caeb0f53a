"""The response model's history encoder as a graph over full observations, `recenv.response.encoders` in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recenv.agents.export_items import constant
from recenv.observation import layout
from recenv.response.encoders import ATTENTION_HEADS
from recenv.state import EXPOSURE

if TYPE_CHECKING:
    from recenv.response.encoders import Encoder
    from recenv.state import StateSpec

_LOW = -1e9


class History(nn.Module):
    """(n, H) encodings of the last events in observations (n, size)."""

    encoder_low: Tensor
    encoder_high: Tensor
    encoder_mean: Tensor
    encoder_known: Tensor
    encoder_kind: Tensor
    encoder_feature: Tensor
    encoder_item: Tensor
    encoder_hidden: Tensor
    encoder_hidden_b: Tensor
    encoder_position: Tensor
    encoder_recency: Tensor

    def __init__(self, encoder: Encoder, spec: StateSpec) -> None:
        super().__init__()
        self.slices = layout(spec, "full")
        self.gru, self.units, self.events = encoder.name == "gru", encoder.units, encoder.events
        for name, array in encoder.arrays.items():
            self.register_buffer(name, constant(array))

    def forward(self, obs: Tensor) -> Tensor:
        item, kind, age, here, copy = (
            obs[:, slice(*self.slices[f"recent_{name}"])] for name in ("item", "kind", "age", "in_session", "copy")
        )
        kinds = kind.long().clamp(min=0)
        known = (item >= 0) & (self.encoder_known[kinds] > 0)
        keep = known & (known.long().cumsum(1) <= self.events)
        features = torch.stack([age, (here > 0.5).to(obs.dtype), (copy >= 0).to(obs.dtype)], 2)
        features = torch.maximum(torch.minimum(features, self.encoder_high), self.encoder_low) - self.encoder_mean
        x = self.encoder_item[item.long().clamp(min=0)] + self.encoder_kind[kinds] + features @ self.encoder_feature
        return self._recurrent(x, keep) if self.gru else self._attention(x, keep, keep & (kinds == EXPOSURE))

    def _recurrent(self, x: Tensor, keep: Tensor) -> Tensor:
        n = self.units
        h = torch.zeros_like(x[:, 0, :n])
        for t in range(x.shape[1] - 1, -1, -1):
            g = h @ self.encoder_hidden + self.encoder_hidden_b
            gates = torch.sigmoid(x[:, t, : 2 * n] + g[:, : 2 * n])
            new = torch.tanh(x[:, t, 2 * n :] + gates[:, :n] * g[:, 2 * n :])
            h = torch.where(keep[:, t, None], new + gates[:, n:] * (h - new), h)
        return h

    def _attention(self, x: Tensor, keep: Tensor, shown: Tensor) -> Tensor:
        n, heads = self.units, ATTENTION_HEADS
        acted = (keep & ~shown).long().cumsum(1) - 1
        place = torch.where(shown, self.events + shown.long().cumsum(1) - 1, acted.clamp(min=0))
        newest = keep.long().argmax(1)
        query = x[:, :, :n].gather(1, newest[:, None, None].expand(-1, 1, n)).reshape(-1, 1, heads, n // heads)
        both = x[:, :, n:] + self.encoder_position[place]
        key, value = (
            both[:, :, part].reshape(-1, x.shape[1], heads, n // heads) for part in (slice(n), slice(n, None))
        )
        score = (query * key).sum(3) / (n // heads) ** 0.5 + self.encoder_recency[place]
        weight = torch.softmax(torch.where(keep[:, :, None], score, _LOW), 1) * keep[:, :, None].to(x.dtype)
        return (weight[..., None] * value).sum(1).reshape(-1, n)
