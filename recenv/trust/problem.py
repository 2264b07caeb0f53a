"""A log's decisions ready to be valued: propensities settled and audited, what the model expects at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.trust.action_groups import Groups, groups_of
from recenv.trust.behaviour import Behaviour, Training, allowed_actions, behaviour
from recenv.trust.decisions import Decisions
from recenv.trust.ope import Audit, LoggedBandit, audit
from recenv.trust.ope.estimators import get
from recenv.trust.ope.inputs import MIN_PROPENSITY, scalar
from recenv.trust.ope.intervals import METHODS
from recenv.world import World

Floats = NDArray[np.float64]
Choose = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[Any]]
"""(observations (k, size), allowed actions (k, n_actions)) -> probabilities, or expected rewards, (k, n_actions)."""
LARGEST_TABLE = 20_000_000
"""Entries of a (decisions, actions) table above which only the logged actions' entries are kept."""
_CHUNK = 256


@dataclass(frozen=True)
class Settings:
    """How policies are valued.

    Args:
        reward: response that counts: "click", "purchase" or "revenue".
        seed: of folds and bootstrap. folds: groups of users for the cross-fitted reward model.
        n_boot: bootstrap resamples. level: of the intervals.
        clip: propensities below it are raised to it (a bias towards 0); None: refuse those below `MIN_PROPENSITY`.
        estimators: names of one-step estimators; empty: the usual ones. interval: of theirs, see `intervals.METHODS`.
        groups: for `mips`, see `groups_of`. largest: most that one decision can bring; 1 for clicks and purchases.
    """

    reward: str = "click"
    seed: int = 0
    folds: int = 5
    n_boot: int = 1000
    level: float = 0.95
    clip: float | None = None
    estimators: tuple[str, ...] = ()
    interval: str = "studentised"
    groups: int = 0
    largest: float | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_whole("folds", self.folds, 2, 100)
        check_whole("bootstraps", self.n_boot, 10)
        scalar("level", self.level, 0.5, 1.0, open_high=True)
        if self.clip is not None:
            scalar("clip", self.clip, 0.0, 1.0, open_low=True)
        if len(set(self.estimators)) < len(self.estimators):
            raise InputError("estimators", f"{self.estimators} names one twice", "Name each once.")
        for name in self.estimators:
            if get(name).normalised and self.interval == "bernstein":
                what = f"bernstein needs a mean, and {name} is a ratio"
                raise InputError("interval", what, "Use ipw, dr, switch_dr or mips.")
        if self.interval not in METHODS:
            raise InputError("interval", f"{self.interval!r} is not known", f"Choose from {', '.join(METHODS)}.")
        if self.largest is not None:
            scalar("largest", self.largest, 0.0, float("inf"), open_low=True)

    def reward_range(self) -> tuple[float, float]:
        """(lowest, highest) reward that a decision can bring.

        Raises:
            InputError: revenue, whose highest only the user knows.
        """
        if self.largest is not None:
            return 0.0, self.largest
        if self.reward == "revenue":
            what = "bernstein needs the most that one decision can bring"
            raise InputError("interval", what, "Give it by --largest, or choose another interval.")
        return 0.0, 1.0


@dataclass
class Problem:
    """Everything about a log's decisions that does not depend on the policy to be valued.

    Args:
        found: the decisions. world: names the actions. log: as the estimators want it. behaviour: the logging policy.
        audit: of logged propensities; None where they are estimated. model: (m, A) expected rewards by the response
            model, or None. rate: (A,) mean rewards in training. settings: see there.
    """

    found: Decisions
    world: World
    log: LoggedBandit
    behaviour: Behaviour
    audit: Audit | None
    rate: Floats
    settings: Settings
    model: Choose | None = None
    _cache: dict[int, Floats] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        found: Decisions,
        reward: Floats,
        world: World,
        train: Training,
        settings: Settings,
        model: Choose | None = None,
    ) -> Problem:
        """Settle propensities, audit them where they were logged.

        Args:
            found: decisions whose reward (n,) is known. train: see `behaviour.training`. model: gives each action's
                expected reward; a feature of the reward model, whatever its scale.

        Raises:
            InputError: bad arrays, propensities below the floor.
        """
        floor = MIN_PROPENSITY if settings.clip is None else 0.0
        base = behaviour(found, world, train, floor)
        n, size = len(found), found.actions.size
        small = n * size <= LARGEST_TABLE
        table = base.table(found, world, slice(None)) if small else None
        log = LoggedBandit(
            found.action, reward, base.propensity, found.user, size, found.position, found.weight, behaviour=table
        )
        checked = None
        if base.known:  # what was logged is audited, not what clipping makes of it
            allowed = allowed_actions(found, world).astype(np.float64) if small else _row_counts(found, world)
            checked = audit(log, allowed, min_propensity=floor)
        if settings.clip is not None:
            log = LoggedBandit(
                log.action, log.reward, log.clipped(settings.clip).propensity, log.user, size, log.position, log.weight
            )
        log = log.check()
        return cls(found, world, log, base, checked, train.rate, settings, model)

    @cached_property
    def groups(self) -> Groups:
        """Groups of alike actions, for `mips`; raises InputError for a number of groups that cannot be."""
        return groups_of(self.world, self.found.actions, self.settings.groups)

    def moments(self) -> list[slice]:
        """The moments in parts."""
        m = len(self.found.obs)
        return [slice(at, min(at + _CHUNK, m)) for at in range(0, m, _CHUNK)]

    def expected(self, part: slice, mask: NDArray[np.bool_]) -> Floats:
        """(k, A) the response model's expected reward of each action (an item's: mean of its copies); 0 without one."""
        size = self.found.actions.size
        if self.model is None:
            return np.zeros((part.stop - part.start, size))
        if part.start not in self._cache:
            values = np.where(mask, np.nan_to_num(self.model(self.found.obs[part], mask)), 0.0)
            total, count = self.found.actions.collapse(values), self.found.actions.collapse(mask)
            made = total / np.maximum(count, 1)
            if len(self.found.obs) * size > LARGEST_TABLE:
                return np.asarray(made)
            self._cache[part.start] = np.asarray(made)
        return self._cache[part.start]


def _row_counts(found: Decisions, world: World) -> Floats:
    """(A,) weighted decisions in which each action was allowed."""
    of_moment = np.bincount(found.moment, found.weight, minlength=len(found.obs))
    item = world.action_item if found.actions.copies else np.arange(-1, world.n_items)
    count = np.append(of_moment @ found.allowed, of_moment.sum() * found.nothing)
    return np.asarray(count[item])
