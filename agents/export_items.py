"""Graphs of the counting policies: full observations in, action scores out, in torch so that they can be exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.agents.baselines import popularity
from recenv.agents.knn import TIE
from recenv.core.errors import UnsupportedError
from recenv.observation import layout
from recenv.serving.choice import NOTHING
from recenv.state import CART, CLICK, EXPOSURE, MAX_AGE, N_KINDS, PURCHASE, VIEW

if TYPE_CHECKING:
    from recenv.agents.baselines import PersonalPopularPolicy
    from recenv.agents.knn import KNNPolicy
    from recenv.agents.mf import MFPolicy
    from recenv.world import World

MAX_DENSE_ITEMS = 5_000
"""Items up to which a table of all pairs of items goes into a graph (100 MB)."""


def constant(array: NDArray[np.generic]) -> Tensor:
    """A copy of an array as a tensor."""
    return torch.from_numpy(np.array(array))


class ItemScores(nn.Module):
    """(n, A) scores from item scores; all actions of an item score alike, action 0 below everything."""

    action_item: Tensor

    def __init__(self, world: World) -> None:
        super().__init__()
        self.slices = layout(world.spec, "full")
        self.n_items = world.n_items
        self.register_buffer("action_item", constant(world.action_item[1:].astype(np.int64)))

    def part(self, obs: Tensor, name: str) -> Tensor:
        """The named slice of observations, (n, width)."""
        start, stop = self.slices[name]
        return obs[:, start:stop]

    def items(self, obs: Tensor) -> Tensor:
        """(n, n_items) scores."""
        raise NotImplementedError

    def forward(self, obs: Tensor) -> Tensor:
        scores = self.items(obs)[:, self.action_item]
        return torch.cat([torch.full_like(scores[:, :1], NOTHING), scores], 1)


class FixedScores(ItemScores):
    """The same item scores (n_items,) for everybody."""

    score: Tensor

    def __init__(self, world: World, score: NDArray[np.generic]) -> None:
        super().__init__(world)
        self.register_buffer("score", constant(score.astype(np.float32)))

    def items(self, obs: Tensor) -> Tensor:
        return self.score.expand(obs.shape[0], -1)


class SegmentWeights(ItemScores):
    """P(item | segment) of the logged policy, the segment being that of the nearest centroid."""

    rates: Tensor
    centroids: Tensor

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.register_buffer("rates", constant(world.logged_rates.astype(np.float32)))
        self.register_buffer("centroids", constant(world.segment_centroids.astype(np.float32)))

    def items(self, obs: Tensor) -> Tensor:
        distance = ((self.part(obs, "profile")[:, None, :] - self.centroids) ** 2).sum(2)  # (n, S)
        return self.rates[distance.argmin(1)]


class MemoryScores(ItemScores):
    """Popularity, plus a score of each item in the user's memory. A subclass gives `remembered`."""

    base: Tensor

    def __init__(self, world: World, scale: float) -> None:
        super().__init__(world)
        self.register_buffer("base", constant((popularity(world) * scale).astype(np.float32)))

    def remembered(self, counts: Tensor, age: Tensor) -> Tensor:
        """(n, M) scores of memory slots with counts (n, M, 5) and ages (n, M)."""
        raise NotImplementedError

    def memory(self, obs: Tensor) -> Tensor:
        """(n, n_items) scores of what is in the memory, 0 elsewhere."""
        item = self.part(obs, "memory_item").long()
        counts = self.part(obs, "memory_counts").reshape(-1, item.shape[1], N_KINDS)
        score = self.remembered(counts, self.part(obs, "memory_age"))
        # Empty slots write into a column of their own.
        table = score.new_zeros(obs.shape[0], self.n_items + 1)
        return table.scatter_add(1, torch.where(item >= 0, item, self.n_items), score)[:, :-1]

    def items(self, obs: Tensor) -> Tensor:
        return self.memory(obs) + self.base


class PersonalPopularScores(MemoryScores):
    """1,000 (purchases + click_weight * other acts) + popularity."""

    def __init__(self, policy: PersonalPopularPolicy) -> None:
        super().__init__(policy.world, 1.0)
        self.weight = float(policy.config.click_weight)

    def remembered(self, counts: Tensor, age: Tensor) -> Tensor:
        acts = counts[..., CLICK] + counts[..., VIEW] + counts[..., CART]
        return 1_000.0 * (counts[..., PURCHASE] + self.weight * acts)


class LastSeenScores(MemoryScores):
    """1 + largest age - age. In float32: two ages nearer than 1e-5 may go by popularity."""

    def __init__(self, world: World) -> None:
        super().__init__(world, 1e-5)

    def remembered(self, counts: Tensor, age: Tensor) -> Tensor:
        return 1.0 + MAX_AGE - age


class NeighbourScores(MemoryScores):
    """log(1 + acts) of the user's items times the similarities of items, as a dense product.

    Raises:
        UnsupportedError: more than `MAX_DENSE_ITEMS` items.
    """

    similarity: Tensor

    def __init__(self, policy: KNNPolicy) -> None:
        super().__init__(policy.world, TIE)
        n = policy.world.n_items
        if n > MAX_DENSE_ITEMS:
            raise UnsupportedError(
                policy.name, f"a table of {n} x {n} similarities is too large for a graph", "Export another policy"
            )
        self.register_buffer("similarity", constant(policy.similarity.toarray().astype(np.float32)))

    def remembered(self, counts: Tensor, age: Tensor) -> Tensor:
        return torch.log1p(counts.sum(2) - counts[..., EXPOSURE] + counts[..., PURCHASE])

    def items(self, obs: Tensor) -> Tensor:
        return self.memory(obs) @ self.similarity + self.base


_TINY = 1e-30
"""Below any squared residual that matters; keeps the steps of a solved system, or of an empty memory, finite."""


class FactorScores(MemoryScores):
    """Scores x_u . y_i of folded-in users: ONNX has no solver, so the system is solved by conjugate gradients.

    As many steps as factors, which is exact but for rounding; preconditioned by (Y'Y + lambda I)^-1, from which the
    system differs by the few items of the memory (Shewchuk, "An introduction to the conjugate gradient method without
    the agonizing pain", 1994, section 12).
    """

    factors: Tensor
    normal: Tensor
    inverse: Tensor

    def __init__(self, policy: MFPolicy) -> None:
        super().__init__(policy.world, TIE)
        self.config = policy.config
        y = policy.factors.astype(np.float64)
        normal = y.T @ y + self.config.regularization * np.eye(y.shape[1])
        for name, value in (("factors", y), ("normal", normal), ("inverse", np.linalg.inv(normal))):
            self.register_buffer(name, constant(value.astype(np.float32)))

    def remembered(self, counts: Tensor, age: Tensor) -> Tensor:
        """Confidence of each memory slot, 0 without an act."""
        acts = counts.sum(2) - counts[..., EXPOSURE] + counts[..., PURCHASE]
        return torch.where(acts > 0, 1.0 + self.config.alpha * torch.log1p(acts / self.config.epsilon), 0.0)

    def items(self, obs: Tensor) -> Tensor:
        confidence = self.memory(obs)  # (n, n_items)
        return self.users(confidence) @ self.factors.T + self.base

    def users(self, confidence: Tensor) -> Tensor:
        """(n, K) user factors of confidences (n, n_items), 0 where an item is not preferred."""
        extra = torch.where(confidence > 0, confidence - 1.0, 0.0)
        left = confidence @ self.factors  # what is still to be solved for
        x = torch.zeros_like(left)
        z = left @ self.inverse
        direction, size = z, (left * z).sum(1, keepdim=True)
        for _ in range(self.factors.shape[1]):
            image = direction @ self.normal + (direction @ self.factors.T * extra) @ self.factors
            step = size / (direction * image).sum(1, keepdim=True).clamp(min=_TINY)
            x, left = x + step * direction, left - step * image
            z = left @ self.inverse
            before, size = size, (left * z).sum(1, keepdim=True)
            direction = z + size / before.clamp(min=_TINY) * direction
        return x
