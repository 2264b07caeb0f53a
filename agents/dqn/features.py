"""From full observations to the tensors that the world's Q network reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from recenv.observation import layout
from recenv.state import CART, CLICK, EXPOSURE, MAX_AGE, N_KINDS, PURCHASE, VIEW

if TYPE_CHECKING:
    from recenv.world import World

SUMMARY = ("profile", "context", "session", "mass", "totals", "ages", "interest")
ACTS = (VIEW, CART, CLICK, PURCHASE)
SESSIONS = 1
"""Column of `sessions` in the session slice."""
ACTIVITY = N_KINDS + 1
PAIR = 2 * (N_KINDS + 2) + 1 + ACTIVITY + 1
"""Features of a memory item: own counts, rate, age, age less that of the last act; its category's; the user's activity;
the item's rate."""
CATEGORY = N_KINDS + 3 + ACTIVITY
"""Features of a touched category: counts, rate, age, times shown in this session; the user's activity."""


@dataclass
class Parts:
    """The pieces of n full observations: counts as they are, totals as log(1 + count), ages in [0, 1].

    summary (n, U), standardised; activity (n, 6): totals and sessions; last_act (n,): age of the last act; memory_item
    (n, M) int64, -1 empty; memory_counts (n, M, 5); memory_age (n, M); category_counts (n, C, 5); category_age (n, C);
    seen_category (n, C): times shown in this session; touched (n, C) bool; seen_style (n, S): times shown in
    this session; recent_item (n, R) int64; recent_lately, recent_here (n, R): 1 where the event is an exposure, and one
    of this session.
    """

    summary: Tensor
    activity: Tensor
    last_act: Tensor
    memory_item: Tensor
    memory_counts: Tensor
    memory_age: Tensor
    category_counts: Tensor
    category_age: Tensor
    seen_category: Tensor
    touched: Tensor
    seen_style: Tensor
    recent_item: Tensor
    recent_lately: Tensor
    recent_here: Tensor


def _rate(counts: Tensor, sessions: Tensor) -> Tensor:
    """log of purchases per session, each plus one: (..., 1)."""
    return counts[..., PURCHASE : PURCHASE + 1] - sessions


def pair_features(
    counts: Tensor,
    age: Tensor,
    category_counts: Tensor,
    category_age: Tensor,
    activity: Tensor,
    last_act: Tensor,
    rate: Tensor,
) -> Tensor:
    """(m, PAIR) features of m memory items; counts (m, 5), ages (m,), activity (m, 6), rate (m,) the item's logit."""
    sessions, counts, category_counts = activity[:, -1:], counts.log1p(), category_counts.log1p()
    own = [counts, _rate(counts, sessions), age[:, None], (age - last_act)[:, None]]
    category = [category_counts, _rate(category_counts, sessions), category_age[:, None]]
    return torch.cat([*own, *category, activity, rate[:, None] / 4.0], 1)


def category_features(counts: Tensor, age: Tensor, seen: Tensor, activity: Tensor) -> Tensor:
    """(m, CATEGORY) features of m touched categories; counts (m, 5), age, seen (m,), activity (m, 6)."""
    counts = counts.log1p()
    return torch.cat([counts, _rate(counts, activity[:, -1:]), age[:, None], seen.log1p()[:, None], activity], 1)


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
    item_category: Tensor

    def __init__(self, world: World, copy_style: np.ndarray, n_styles: int) -> None:
        super().__init__()
        self.slices = layout(world.spec, "full")
        self.n_styles = n_styles
        size = self.slices["interest"][1]
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        style, category = np.append(copy_style, -1).astype(np.int64), world.spec.item_category.astype(np.int64)
        self.register_buffer("copy_style", torch.from_numpy(style), persistent=False)
        self.register_buffer("item_category", torch.from_numpy(category), persistent=False)

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
        n, width = obs.shape[0], self.mean.numel()
        counts = self.part(obs, "category_counts").reshape(n, -1, N_KINDS)
        item, shown = self.part(obs, "recent_item").long(), self.part(obs, "recent_kind") == EXPOSURE
        here = (shown & (self.part(obs, "recent_in_session") > 0)).to(obs.dtype)
        seen = torch.zeros_like(counts[:, :, 0])
        seen = seen.scatter_add(1, self.item_category[item.clamp(min=0)], here)
        sessions = self.part(obs, "session")[:, SESSIONS : SESSIONS + 1]
        return Parts(
            summary=((obs[:, :width] - self.mean) * self.scale).clamp(-5.0, 5.0),
            activity=torch.cat([self.part(obs, "totals"), sessions], 1),
            last_act=self.part(obs, "ages")[:, list(ACTS)].amin(1) / MAX_AGE,
            memory_item=self.part(obs, "memory_item").long(),
            memory_counts=self.part(obs, "memory_counts").reshape(n, -1, N_KINDS),
            memory_age=self.part(obs, "memory_age") / MAX_AGE,
            category_counts=counts,
            category_age=self.part(obs, "category_age") / MAX_AGE,
            seen_category=seen,
            touched=(counts.amax(2) > 0) | (seen > 0),
            seen_style=self._seen_style(obs, here),
            recent_item=item,
            recent_lately=shown.to(obs.dtype),
            recent_here=here,
        )

    def _seen_style(self, obs: Tensor, here: Tensor) -> Tensor:
        # Index -1 reads the appended last entry, 'no style'.
        style = self.copy_style[self.part(obs, "recent_copy").long()]
        seen = torch.zeros(obs.shape[0], max(self.n_styles, 1), dtype=obs.dtype, device=obs.device)
        return seen.scatter_add(1, style.clamp(min=0), here * (style >= 0))
