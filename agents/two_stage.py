"""`two-stage`: retrieve a short list by cheap means, re-rank it by the response model; what large shops run.

Covington, Adams and Sargin, "Deep neural networks for YouTube recommendations", RecSys 2016, section 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import POLICY_FILE, BasePolicy, Bools, Floats
from recenv.agents.greedy import GreedyConfig, ModelGreedyPolicy
from recenv.agents.mf import FACTORS, MFConfig, MFPolicy, load_factors, mf_options
from recenv.core.artefacts import write_tensors
from recenv.core.errors import InputError
from recenv.env.candidates import Candidates

if TYPE_CHECKING:
    from recenv.world import World


@dataclass(frozen=True)
class TwoStageConfig(MFConfig, GreedyConfig):
    """Settings of `two-stage`: those of the reward (as `model-greedy`), of matrix factorisation (as `mf`), and

    Args:
        k: items retrieved.
    """

    k: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise InputError("two-stage option k", f"{self.k}", "Give a whole number of 1 or more.")


class TwoStagePolicy(BasePolicy):
    """Retrieves k allowed items and shows the one of them that `model-greedy` values most.

    Retrieval takes turns between three rankings, each adding its best item that is not yet in: what the user acted on
    (as `Candidates` ranks it), `mf`, popularity. An exhausted ranking is passed over. With k of the catalogue's size or
    more it is `model-greedy`.
    """

    name = "two-stage"
    config_class = TwoStageConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        reward = {field.name: getattr(self.config, field.name) for field in fields(GreedyConfig)}
        self.greedy = ModelGreedyPolicy(world, reward, seed)
        self.mf = MFPolicy(world, mf_options(self.config), seed)
        self.table = self.greedy.table
        self.candidates = Candidates(world, self.config.k)

    def shortlist(self, obs: Floats, allowed: Bools) -> Bools:
        """(n, n_items) marks of the k items retrieved among the allowed ones, for full observations (n, size)."""
        marks = self.candidates.item_scores(obs)
        own = np.where(allowed & (marks > 1.0), marks, -np.inf)
        rankings = (own, np.where(allowed, self.mf.scores(obs, allowed), -np.inf), self._popular(allowed))
        # Turn t of ranking s is call 3 t + s: an item comes in at the earliest call that names it.
        calls = np.minimum.reduce([_calls(score, len(rankings), s) for s, score in enumerate(rankings)])
        k = min(self.config.k, allowed.shape[1])
        last = np.partition(calls, k - 1, axis=1)[:, k - 1 : k]
        return allowed & (calls <= last)

    def _popular(self, allowed: Bools) -> NDArray[np.float64]:
        return np.where(allowed, self.world.item_rate.astype(np.float64), -np.inf)

    def values(self, obs: Floats, mask: Bools) -> Floats:
        """(n, A) expected reward of each action as `model-greedy` has it; -inf off the short list."""
        listed = mask & self._listed(obs, mask)
        return np.where(listed, self.greedy.values(obs, listed), np.float32(-np.inf))

    def _listed(self, obs: Floats, mask: Bools) -> Bools:
        """(n, A) actions of the short list; action 0 always."""
        listed = self.shortlist(obs, self.table.allowed_items(mask))
        result = np.ones(mask.shape, np.bool_)
        result[:, 1:] = listed[:, self.table.item[1:]]
        return result

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        return self.greedy.distribution(obs, mask & self._listed(obs, mask))

    def save(self, directory: Path) -> None:
        """Write `policy.json` and the item factors of the retrieval."""
        super().save(directory)
        write_tensors(Path(directory) / FACTORS, {"item_factors": self.mf.factors})

    @classmethod
    def load(cls, directory: Path, world: World) -> TwoStagePolicy:
        """The policy as saved; raises ArtefactError where the factors are missing or do not fit the world."""
        saved = json.loads((Path(directory) / POLICY_FILE).read_text(encoding="utf-8"))
        made = cls(world, saved["config"], saved["seed"])
        made.mf.factors = load_factors(Path(directory), world.n_items, made.config.factors)
        return made


def _calls(score: NDArray[Any], rankings: int, turn: int) -> NDArray[np.int64]:
    """(n, n_items) at which call each item comes in by this ranking alone; -inf scores: never. Ties by index."""
    order = np.argsort(-score, axis=1, kind="stable")
    place = np.empty(score.shape, np.int64)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(score.shape[1]), score.shape), axis=1)
    return np.where(np.isneginf(score), np.iinfo(np.int64).max, place * rankings + turn)
