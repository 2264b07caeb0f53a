"""Baselines that choose copy by counting: `best-by-count` and `thompson-copy`, each within the item that is shown.

Both start from what the logs counted of each copy, where the world learned from copy exposures, and count on in
training. They know no user and no text: each item's copies are a bandit of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from recenv.agents.base import BasePolicy, Bools, EnvFactory, Floats, TrainLog
from recenv.agents.items import ActionTable
from recenv.core.artefacts import write_tensors
from recenv.core.errors import ArtefactError, InputError

if TYPE_CHECKING:
    from recenv.world import World

COUNTS = "copy_counts.safetensors"
_DRAWS = 512
_REFRESHED = 100
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class CopyBanditConfig:
    """Settings of the counting baselines.

    Args:
        items: which item is shown: `popular`, the allowed one of the highest logged rate, or `random`.
        prior: weight, in impressions, of the overall response rate in each copy's.
        envs: parallel training sessions.
    """

    items: str = "popular"
    prior: float = 20.0
    envs: int = 64

    def __post_init__(self) -> None:
        if self.items not in ("popular", "random"):
            raise InputError("copy bandit option items", f"{self.items!r}", "Choose popular or random.")
        if not 0 < self.prior < float("inf") or self.envs < 1:
            raise InputError("copy bandit options", f"{self}", "Give a finite prior above 0 and envs >= 1.")


class BestByCountPolicy(BasePolicy):
    """The copy with the highest counted response rate, (got + prior * rate) / (shown + prior), the first among equals.

    Training shows each item's copies evenly: test, then pick the winner.

    Attributes:
        shown, got: (A,) float64, impressions and responses counted of each action. A copy that fits every item begins
            with the same logged counts on each.
    """

    name = "best-by-count"
    config_class = CopyBanditConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self.table = ActionTable(world)
        logged = {} if world.copy_effect is None else world.copy_effect.posterior
        self.shown, self.got = (self._of_copies(logged.get(name)) for name in ("shown", "responses"))
        self.refresh()

    def _of_copies(self, counts: NDArray[np.float32] | None) -> Doubles:
        copy, found = self.world.action_copy, np.zeros(self.world.n_actions)
        if counts is not None:
            found[copy >= 0] = counts[copy[copy >= 0]]
        return found

    def refresh(self) -> None:
        """Choose anew from the counts."""
        self.share = self.shares().astype(np.float32)

    def rate(self) -> float:
        """Response rate over all counts; of the world's items where nothing was counted."""
        total = float(self.shown.sum())
        return float(self.got.sum()) / total if total else float(self.world.item_rate.mean())

    def shares(self) -> Doubles:
        """(A,) probability of each action's copy among its item's copies."""
        mean = (self.got + self.config.prior * self.rate()) / (self.shown + self.config.prior)
        return self._best(mean[:, None])

    def _best(self, values: Doubles) -> Doubles:
        """(A,) share of the columns of `values` (A, m) in which the action is the first best of its item."""
        first = self.table.start[:-1]
        share = np.zeros(len(values))
        if len(first):
            best = np.maximum.reduceat(values, first, axis=0)[self.table.item[1:]]
            wins = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values[1:] >= best]), axis=0)
            # Among equals the first: its item's wins before it are none.
            begun = wins[first - 1][self.table.item[1:]]
            share[1:] = ((values[1:] >= best) & (wins[1:] - begun == 1)).mean(axis=1)
        return share

    def exploring(self) -> Floats:
        """(A,) weights with which training draws among an item's copies."""
        return np.ones(self.world.n_actions, np.float32)

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        return self._choice(mask, self.share)

    def _choice(self, mask: Bools, share: Floats) -> Floats:
        allowed = self.table.allowed_items(mask)
        if self.config.items == "popular":
            best = np.where(allowed, self.world.item_rate, -np.inf).argmax(axis=1)
            items = np.zeros(allowed.shape, np.float32)
            items[np.arange(len(items)), best] = 1.0
        else:
            items = allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1)
        first, of_action = self.table.start[:-1] - 1, self.table.item[1:]
        free = mask[:, 1:]
        weight = np.where(free, share[1:], np.float32(0))
        total = np.add.reduceat(weight, first, axis=1)[:, of_action]
        # Where all that is left was never best: evenly among it.
        weight = np.where(total > 0, weight, free)
        total = np.where(total > 0, total, self.table.copies(mask)[:, of_action])
        chance = np.where(allowed, items, np.float32(0))[:, of_action] * weight / np.maximum(total, np.float32(1e-30))
        result = np.concatenate([np.zeros((len(mask), 1)), chance], axis=1).astype(np.float32)
        result[~allowed.any(axis=1), 0] = 1.0
        return result

    def train(self, env_factory: EnvFactory, steps: int, seed: int, logger: TrainLog) -> None:
        """Show copies by `exploring` and count, until `steps` slots were seen; items as when trained."""
        options = replace(env_factory.options, observation=self.observation, slate=1)
        sim = replace(env_factory, options=options)(self.config.envs)
        sim.reset(seed=seed)
        rng, rows = np.random.default_rng([seed, 63]), np.arange(sim.n)
        head = "click" if "click" in self.world.responses else "purchase"
        seen, refreshed = 0, 0
        while seen < steps:
            p = self._choice(sim.masks() & (np.arange(self.world.n_actions) > 0), self.exploring())
            total = np.cumsum(p, axis=1, dtype=np.float64)
            u = np.minimum(rng.random(sim.n) * total[:, -1], np.nextafter(total[:, -1], 0.0))
            actions = (total <= u[:, None]).sum(axis=1)
            outcome = sim.step(actions)
            counted = outcome.info["item"][rows, 0] >= 0
            np.add.at(self.shown, actions[counted], 1.0)
            np.add.at(self.got, actions[counted], outcome.info[head][counted])
            seen += sim.n
            if seen * _REFRESHED >= (refreshed + 1) * steps or seen >= steps:
                refreshed = seen * _REFRESHED // steps
                self.refresh()
            sim.restart(np.flatnonzero(outcome.terminated | outcome.truncated))
            logger.checkpoint(seen, self)

    def save(self, directory: Path) -> None:
        """Write `policy.json` and the counts."""
        super().save(directory)
        write_tensors(Path(directory) / COUNTS, {"shown": self.shown, "got": self.got})

    @classmethod
    def load(cls, directory: Path, world: World) -> BestByCountPolicy:
        """The policy as saved.

        Raises:
            ArtefactError: the counts are missing or of another action table.
        """
        policy = super().load(directory, world)
        assert isinstance(policy, cls)
        path = Path(directory) / COUNTS
        if not path.is_file():
            raise ArtefactError(str(directory), f"holds no {COUNTS}", "Give a folder written by `recenv train`.")
        arrays = load_file(path)
        if arrays["shown"].shape != policy.shown.shape or arrays["got"].shape != policy.got.shape:
            raise ArtefactError(str(path), f"counts {len(arrays['shown'])} actions", "Load it with its own world.")
        policy.shown, policy.got = arrays["shown"], arrays["got"]
        policy.refresh()
        return policy


class ThompsonCopyPolicy(BestByCountPolicy):
    """Thompson sampling (Thompson, Biometrika 25, 1933) with a Beta-Bernoulli model of each copy within its item:

        p_c ~ Beta(prior * rate + got_c, prior * (1 - rate) + shown_c - got_c), show the copy of the largest draw.

    The probability of being drawn is estimated from 512 draws by the policy's seed, so that `act` and `probabilities`
    agree; in training it is estimated anew a hundred times.
    """

    name = "thompson-copy"

    def shares(self) -> Doubles:
        rng = np.random.default_rng([self.seed, 64, int(self.shown.sum())])
        prior, rate = self.config.prior, min(max(self.rate(), 1e-6), 1 - 1e-6)
        a = prior * rate + self.got
        b = prior * (1 - rate) + np.maximum(self.shown - self.got, 0.0)
        return self._best(rng.beta(a[:, None], b[:, None], (len(a), _DRAWS)))

    def exploring(self) -> Floats:
        return self.share
