"""Policies that look at k retrieved candidates instead of the whole action table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import BasePolicy, Bools, Floats
from recenv.env.candidates import Candidates

if TYPE_CHECKING:
    from recenv.env.simulator import Simulator
    from recenv.world import World


class CandidatePolicy(BasePolicy):
    """Takes the valid candidate of the highest value, the first among equals. A subclass gives `values`.

    Its configuration has the fields `k` and `copies_per_item` (see `Candidates`). Where retrieval finds nothing, the
    first allowed action is taken: nothing (action 0), unless a rule forbids even that.
    """

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self.candidates = Candidates(world, self.config.k, self.config.copies_per_item)

    def values(self, described: Floats) -> NDArray[Any]:
        """(n, k) values of candidates described as `Candidates.observation` does, (n, size)."""
        raise NotImplementedError

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        actions, valid = self.candidates.retrieve(obs, mask)
        values = np.where(valid, self.values(self.candidates.observation(obs, actions, valid)), -np.inf)
        rows = np.arange(len(obs))
        chosen = np.where(valid.any(axis=1), actions[rows, values.argmax(axis=1)], mask.argmax(axis=1))
        result = np.zeros(mask.shape, np.float32)
        result[rows, chosen] = 1.0
        return result


def example_descriptions(candidates: Candidates, simulator: Simulator, seed: int) -> Floats:
    """(n, size) descriptions of a simulator's sessions at their start, by which features are standardised."""
    obs, _ = simulator.reset(seed=seed)
    return candidates.describe(obs, simulator.masks())


def standard(examples: Floats) -> tuple[Floats, Floats]:
    """Mean and 1 / deviation (size,) of columns; columns that never vary are left as they are."""
    mean = examples.mean(axis=0, dtype=np.float64)
    deviation = examples.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-3
    return np.where(varies, mean, 0.0).astype(np.float32), (1.0 / np.where(varies, deviation, 1.0)).astype(np.float32)
