"""What every agent promises (`Policy`, `Trainable`), the registry of agents, and the parts that policies share.

A policy chooses an ACTION = item x copy (row of the action table; 0 shows nothing) for a batch of users. `act` draws
from exactly the distribution that `probabilities` states, so that logged propensities are right.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_type
from recenv.core.errors import ArtefactError, InputError
from recenv.observation import layout

if TYPE_CHECKING:
    from recenv.env.options import EnvOptions
    from recenv.env.simulator import Simulator
    from recenv.world import World

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Actions = NDArray[np.int64]
Config = TypeVar("Config")

POLICY_FILE = "policy.json"


class Policy(Protocol):
    """A batched decision rule over the action table of one world."""

    name: str
    observation: str

    def act(self, obs: Floats, mask: Bools, rng: np.random.Generator) -> Actions:
        """Actions (n,) int64 for observations (n, size) float32 and allowed actions (n, A); 0 where none is allowed."""
        ...

    def probabilities(self, obs: Floats, mask: Bools) -> Floats:
        """(n, A) float32 from which `act` draws: 0 where masked, rows sum to 1, action 0 where nothing is allowed."""
        ...

    def save(self, directory: Path) -> None:
        """Write the policy below `directory` (JSON and safetensors only)."""
        ...


class TrainLog(Protocol):
    """Where a learner reports. `recenv.agents.tracking.RunLog` writes it to disk; `NullLog` drops it."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars at an environment step, by tag of `recenv.core.tags`."""
        ...

    def checkpoint(self, step: int, policy: Policy) -> None:
        """Called often: moves the progress bar, and evaluates and saves the policy when that is due."""
        ...


class NullLog:
    """A log that keeps nothing."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        del step, values

    def checkpoint(self, step: int, policy: Policy) -> None:
        del step, policy


@dataclass(frozen=True)
class EnvFactory:
    """How a learner gets its training environment: `factory(64)` is a `Simulator` of 64 users.

    Args:
        world: the world to train in.
        options: options of the environment; a learner sets `observation` to what it wants by `dataclasses.replace`.
    """

    world: World
    options: EnvOptions

    def __call__(self, n: int) -> Simulator:
        from recenv.env.simulator import Simulator

        return Simulator(self.world, n, self.options)


class Trainable(Policy, Protocol):
    """A policy that learns in a training environment. `steps` counts user slots over all parallel environments."""

    def train(self, env_factory: EnvFactory, steps: int, seed: int, logger: TrainLog) -> None: ...

    @classmethod
    def load(cls, directory: Path, world: World) -> Trainable: ...


@dataclass(frozen=True)
class Entry:
    """One registered agent; calling it makes the policy. The module is imported only then."""

    name: str
    target: str
    summary: str
    trainable: bool = False

    def resolve(self) -> Any:
        """The policy's class."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __call__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
        """The policy `name` for `world`; `config` holds options of the policy's own configuration dataclass."""
        return self.resolve()(world, config, seed)


REGISTRY: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("logged", "recenv.agents.baselines:LoggedPolicy", "what the shop did, fitted from its logs by segment"),
        Entry("random", "recenv.agents.baselines:RandomPolicy", "any allowed item, any of its copies, evenly"),
        Entry("popular", "recenv.agents.baselines:PopularPolicy", "the item with the highest logged response rate"),
        Entry("personal-popular", "recenv.agents.baselines:PersonalPopularPolicy", "what this user acted on most"),
        Entry("last-seen", "recenv.agents.baselines:LastSeenPolicy", "what this user acted on last"),
        Entry("item-knn-cosine", "recenv.agents.knn:CosinePolicy", "items that go with the user's own (cosine)"),
        Entry("item-knn-pearson", "recenv.agents.knn:PearsonPolicy", "items that go with the user's own (Pearson)"),
        Entry("mf", "recenv.agents.mf:MFPolicy", "matrix factorisation by alternating least squares"),
        Entry("two-stage", "recenv.agents.two_stage:TwoStagePolicy", "a short list, re-ranked by the response model"),
        Entry("model-greedy", "recenv.agents.greedy:ModelGreedyPolicy", "best next reward by the response model"),
        Entry("best-by-count", "recenv.agents.copy_bandits:BestByCountPolicy", "the copy that counted best", True),
        Entry("thompson-copy", "recenv.agents.copy_bandits:ThompsonCopyPolicy", "Thompson sampling over copies", True),
        Entry("linucb", "recenv.agents.linucb:LinUCBPolicy", "linear bandit on candidate features", True),
        Entry("dqn", "recenv.agents.dqn:DQNPolicy", "own deep Q network over items and copies", True),
        Entry("sb3-dqn", "recenv.agents.sb3:SB3DQNPolicy", "Stable-Baselines3 DQN over a candidate set", True),
        Entry("sb3-ppo", "recenv.agents.sb3:SB3PPOPolicy", "Stable-Baselines3 PPO over a candidate set", True),
        Entry("sb3-a2c", "recenv.agents.sb3:SB3A2CPolicy", "Stable-Baselines3 A2C over a candidate set", True),
        Entry("sb3-qrdqn", "recenv.agents.sb3_contrib:SB3QRDQNPolicy", "sb3-contrib QR-DQN over candidates", True),
        Entry("sb3-maskable-ppo", "recenv.agents.sb3_contrib:SB3MaskablePPOPolicy", "PPO that learns by masks", True),
    )
}


def entry(name: str) -> Entry:
    """The registry's entry of that name.

    Raises:
        InputError: no such agent.
    """
    if name not in REGISTRY:
        raise InputError("agent", f"{name!r} is not registered", f"Choose one of {', '.join(REGISTRY)}.")
    return REGISTRY[name]


def load_policy(directory: str | Path, world: World) -> Any:
    """The policy saved in `directory`, for `world` (its action table must be the one trained on).

    Raises:
        ArtefactError: no policy there, or one of another action table.
    """
    path = Path(directory) / POLICY_FILE
    if not path.is_file():
        raise ArtefactError(str(directory), f"holds no {POLICY_FILE}", "Give a folder written by `recenv train`.")
    saved = json.loads(path.read_text(encoding="utf-8"))
    if saved.get("n_actions", world.n_actions) != world.n_actions:
        raise ArtefactError(
            str(path),
            f"made for {saved['n_actions']} actions, the world has {world.n_actions}",
            "Load it with the world that it was trained in, or with that world's judge.",
        )
    return entry(saved["name"]).resolve().load(Path(directory), world)


def config_from(kind: type[Config], options: Mapping[str, Any] | None, where: str) -> Config:
    """A configuration dataclass from a mapping of options.

    Raises:
        InputError: an option that the dataclass does not have, or a value of another type than its own.
    """
    known = {field.name: str(field.type) for field in fields(cast(Any, kind))}
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise InputError(where, f"unknown option {', '.join(unknown)}", f"Choose among {', '.join(sorted(known))}.")
    for name, value in (options or {}).items():
        check_type(where, name, known[name], value)
    return kind(**(options or {}))


@dataclass(frozen=True)
class NoConfig:
    """Configuration of a policy that has nothing to configure."""


class BasePolicy:
    """Shared part of the policies here: checked inputs, one sampling rule, plain saving.

    A subclass gives `distribution(obs, mask)`, (n, A) probabilities for rows that have an allowed action.
    """

    name: str = ""
    observation: str = "full"
    config_class: ClassVar[type] = NoConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.world, self.seed = world, seed
        self.config: Any = config_from(self.config_class, config, f"agent {self.name}")
        self.slices = layout(world.spec, self.observation)
        self.obs_size = max((stop for _, stop in self.slices.values()), default=0)

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        """(n, A) probabilities for rows with at least one allowed action."""
        raise NotImplementedError

    def probabilities(self, obs: Floats, mask: Bools) -> Floats:
        """See `Policy.probabilities`.

        Raises:
            InputError: wrong shapes, or an observation that is not finite.
        """
        obs, mask = self.check(obs, mask)
        result = np.zeros(mask.shape, np.float32)
        some = mask.any(axis=1)
        if some.all():
            return self.distribution(obs, mask)
        result[~some, 0] = 1.0
        if some.any():
            result[some] = self.distribution(obs[some], mask[some])
        return result

    def act(self, obs: Floats, mask: Bools, rng: np.random.Generator) -> Actions:
        """See `Policy.act`: one uniform number a row, whatever the distribution.

        Raises:
            InputError: wrong shapes, or an observation that is not finite.
        """
        return draw(self.probabilities(obs, mask), rng)

    def check(self, obs: Floats, mask: Bools) -> tuple[Floats, Bools]:
        """The inputs as arrays, or an `InputError` that says what is wrong with them."""
        return check_inputs(obs, mask, self.obs_size, self.world.n_actions)

    def part(self, obs: Floats, name: str) -> Floats:
        """The named slice of observations, (n, width)."""
        start, stop = self.slices[name]
        return obs[:, start:stop]

    def save(self, directory: Path) -> None:
        """Write `policy.json`: name, configuration, seed, size of the action table."""
        write_policy_file(Path(directory), self.name, vars(self.config), self.seed, self.world.n_actions)

    @classmethod
    def load(cls, directory: Path, world: World) -> BasePolicy:
        """The policy as saved."""
        saved = json.loads((Path(directory) / POLICY_FILE).read_text(encoding="utf-8"))
        return cls(world, saved["config"], saved["seed"])


def write_policy_file(directory: Path, name: str, config: Mapping[str, Any], seed: int, n_actions: int) -> None:
    """`policy.json` of a saved policy."""
    directory.mkdir(parents=True, exist_ok=True)
    saved = {"name": name, "config": dict(config), "seed": seed, "n_actions": n_actions}
    (directory / POLICY_FILE).write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_inputs(obs: Floats, mask: Bools, obs_size: int, n_actions: int) -> tuple[Floats, Bools]:
    """Observations (n, obs_size) float32, finite, and mask (n, n_actions) bool.

    A NaN would otherwise end as action 0 without a word, since every comparison with it is false.

    Raises:
        InputError: wrong shape or a value that is not finite.
    """
    obs, mask = np.asarray(obs, np.float32), np.asarray(mask, np.bool_)
    if obs.ndim != 2 or obs.shape[1] != obs_size:
        raise InputError("observation", f"shape {obs.shape}", f"Give (n, {obs_size}).")
    if mask.shape != (len(obs), n_actions):
        raise InputError("mask", f"shape {mask.shape}", f"Give ({len(obs)}, {n_actions}).")
    finite = np.isfinite(obs)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InputError("observation", f"{obs[row, column]} at row {row}, column {column}", "Give finite numbers.")
    return obs, mask


def draw(probabilities: Floats, rng: np.random.Generator) -> Actions:
    """One action a row by inversion of the row's cumulative sum; takes exactly one uniform number a row."""
    cumulative = np.cumsum(probabilities, axis=1, dtype=np.float64)
    # Scaled by the row's own total, so that rounding cannot lead past the last possible action.
    total = cumulative[:, -1]
    u = np.minimum(rng.random(len(probabilities)) * total, np.nextafter(total, 0.0))
    return (cumulative <= u[:, None]).sum(axis=1).astype(np.int64)
