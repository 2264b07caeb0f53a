"""From full observations to the tensors that the world's Q network reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from recenv.observation import layout
from recenv.state import EXPOSURE, MAX_AGE, N_KINDS, PURCHASE

if TYPE_CHECKING:
    from recenv.world import World

SUMMARY = ("profile", "context", "session", "mass", "totals", "ages", "interest")
SESSIONS = 1
"""Column of `sessions` in the session slice."""
PAIR = 2 * (N_KINDS + 2) + N_KINDS + 2
"""Features of a memory item: own counts, rate and age, its category's, the user's totals and sessions, the item's rate."""
CATEGORY = 2 * N_KINDS + 3
"""Features of a touched category: counts, rate and age, the user's totals and sessions."""


@dataclass
class Parts:
    """The pieces of n full observations: counts and totals as log(1 + count), ages in [0, 1].

    summary (n, U); totals (n, 5); sessions (n, 1); memory_item (n, M) int64, -1 empty; memory_counts (n, M, 5);
    memory_age (n, M); category_counts (n, C, 5); category_age (n, C); seen_style (n, S): exposures of each style in
    this session.
    """

    summary: Tensor
    totals: Tensor
    sessions: Tensor
    memory_item: Tensor
    memory_counts: Tensor
    memory_age: Tensor
    category_counts: Tensor
    category_age: Tensor
    seen_style: Tensor

    @property
    def activity(self) -> Tensor:
        """(n, 6) the user's totals and sessions."""
        return torch.cat([self.totals, self.sessions], 1)


def _rate(counts: Tensor, sessions: Tensor) -> Tensor:
    """log of purchases per session, each plus one: (..., 1)."""
    return counts[..., PURCHASE : PURCHASE + 1] - sessions


def pair_features(
    counts: Tensor, age: Tensor, category_counts: Tensor, category_age: Tensor, activity: Tensor, rate: Tensor
) -> Tensor:
    """(m, PAIR) features of m memory items; counts (m, 5), ages (m,), activity (m, 6), rate (m,) the item's logit."""
    sessions = activity[:, -1:]
    own = [counts, _rate(counts, sessions), age[:, None]]
    category = [category_counts, _rate(category_counts, sessions), category_age[:, None]]
    return torch.cat([*own, *category, activity, rate[:, None] / 4.0], 1)


def category_features(counts: Tensor, age: Tensor, activity: Tensor) -> Tensor:
    """(m, CATEGORY) features of m touched categories; counts (m, 5), age (m,), activity (m, 6)."""
    return torch.cat([counts, _rate(counts, activity[:, -1:]), age[:, None], activity], 1)


class Split(nn.Module):
    """Cuts full observations into `Parts`; the summary is standardised by `mean` and `scale`.

    Args:
        world: gives layout and copies' styles.
        copy_style: (n_copies,) int64 index of each copy's style, -1 for none.
        n_styles: number of styles.
    """

    mean: Tensor
    scale: Tensor
    copy_style: Tensor

    def __init__(self, world: World, copy_style: np.ndarray, n_styles: int) -> None:
        super().__init__()
        self.slices = layout(world.spec, "full")
        self.n_styles = n_styles
        size = self.slices["interest"][1]
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("copy_style", torch.from_numpy(np.append(copy_style, -1).astype(np.int64)), persistent=False)

    @torch.no_grad()
    def standardise(self, obs: np.ndarray) -> None:
        """Take mean and scale of the summary from example observations (n, size); constant columns become 0."""
        summary = obs[:, : self.mean.numel()].astype(np.float64)
        deviation = summary.std(axis=0)
        self.mean.copy_(torch.from_numpy(summary.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-3), 0.0)))

    def part(self, obs: Tensor, name: str) -> Tensor:
        """The named slice, (n, width)."""
        start, stop = self.slices[name]
        return obs[:, start:stop]

    def forward(self, obs: Tensor) -> Parts:
        """Parts of observations (n, size) float32."""
        n = obs.shape[0]
        width = self.mean.numel()
        return Parts(
            summary=((obs[:, :width] - self.mean) * self.scale).clamp(-5.0, 5.0),
            totals=self.part(obs, "totals"),
            sessions=self.part(obs, "session")[:, SESSIONS : SESSIONS + 1],
            memory_item=self.part(obs, "memory_item").long(),
            memory_counts=torch.log1p(self.part(obs, "memory_counts")).reshape(n, -1, N_KINDS),
            memory_age=self.part(obs, "memory_age") / MAX_AGE,
            category_counts=torch.log1p(self.part(obs, "category_counts")).reshape(n, -1, N_KINDS),
            category_age=self.part(obs, "category_age") / MAX_AGE,
            seen_style=self._seen(obs),
        )

    def _seen(self, obs: Tensor) -> Tensor:
        shown = (self.part(obs, "recent_in_session") > 0) & (self.part(obs, "recent_kind") == EXPOSURE)
        copy = self.part(obs, "recent_copy").long()
        # Index -1 reads the appended last entry, 'no style'.
        style = self.copy_style[copy]
        counted = (shown & (copy >= 0) & (style >= 0)).to(obs.dtype)
        seen = torch.zeros(obs.shape[0], max(self.n_styles, 1), dtype=obs.dtype, device=obs.device)
        return seen.scatter_add(1, style.clamp(min=0), counted)
