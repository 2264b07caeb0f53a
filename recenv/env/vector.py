"""`RecVectorEnv`: many sessions in one batch, with each of Gymnasium's autoreset modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.env.ansi import render_session
from recenv.env.autoreset import AutoresetMode, autoreset_mode
from recenv.env.learned import ResponseProtocol
from recenv.env.options import EnvOptions
from recenv.env.outcomes import Outcome
from recenv.env.shop import SEED_BOUND, action_space, check_render_mode, named, start_rows_of
from recenv.env.simulator import make_simulator
from recenv.state import Floats

if TYPE_CHECKING:
    from recenv.world import World

Bools = NDArray[np.bool_]


class RecVectorEnv(gym.vector.VectorEnv[Floats, Any, NDArray[Any]]):
    """`num_envs` sessions side by side; environment i is `RecEnv(env_index=env_index + i)` bit for bit, in every mode.

    Autoreset modes, which differ in when the next session is seen and in nothing else:
    - `NextStep` (Gymnasium's default): a step after the end ignores its action and returns the next session's first
      observation with reward 0;
    - `SameStep`: the ending step returns it at once; the last observation is in `info["final_obs"]`;
    - `Disabled`: `reset(options={"reset_mask": ended})` begins it.

    `info` holds arrays of `num_envs` rows (see `Simulator.step`), which describe this step also where it was the last.

    Args:
        num_envs: number of sessions. world, env_index, response, options: as in `RecEnv`.
        autoreset_mode: a mode or its value.

    Raises:
        InputError: an unknown option or a bad value.
        UnsupportedError: the world's logs cannot give what is asked.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        world: World | str | None = None,
        env_index: int = 0,
        render_mode: str | None = None,
        autoreset_mode: Any = AutoresetMode.NEXT_STEP,
        response: ResponseProtocol | None = None,
        **options: Any,
    ) -> None:
        check_render_mode(render_mode)
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            raise InputError("num_envs", f"{num_envs!r}", "Give a whole number of 1 or more.")
        self.num_envs, self.render_mode = num_envs, render_mode
        self.mode = _mode(autoreset_mode)
        self.metadata = type(self).metadata | {"autoreset_mode": self.mode}
        self.sim = make_simulator(world, num_envs, EnvOptions.build(options), response, env_index)
        self.single_observation_space = gym.spaces.Box(self.sim.low, self.sim.high, dtype=np.float32)
        self.single_action_space = action_space(self.sim)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._ended = np.ones(num_envs, bool)
        self._begun = False
        self._last: Outcome | None = None
        self.final_masks: Bools = np.zeros((0, self.sim.world.n_actions), bool)
        """Mode `SameStep`: what was still allowed (ended, A) in the sessions that the last step ended."""

    @property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Name -> (start, stop) of each slice of one observation."""
        return self.sim.layout

    @property
    def world(self) -> World:
        return self.sim.world

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin the next sessions; with `seed` the first ones of that seed.

        Args:
            seed: one for all (each environment's index is part of its key), or one per environment.
            options: `reset_mask` (num_envs,) bool: only these; `start_row`: begin in these start states.
        """
        first = next((s for s in seed if s is not None), None) if isinstance(seed, (list, tuple)) else seed
        super().reset(seed=first)
        given = dict(options or {})
        rows = self._rows(given.pop("reset_mask", None))
        starts = start_rows_of(given, len(rows))
        if not self._begun and seed is None:
            seed = int(self.np_random.integers(SEED_BOUND))
        if isinstance(seed, (list, tuple)):
            self._reset_each(list(seed), rows, starts)
        else:
            self.sim.reset(seed, rows, starts)
        self._ended[rows], self._begun, self._last = False, True, None
        info = {"start_row": self.sim.start_row.copy(), "extrapolation": self._extrapolation()}
        return self.sim.observations(), info

    def _reset_each(self, seeds: list[int | None], rows: NDArray[np.int64], starts: NDArray[np.int64] | None) -> None:
        if len(seeds) != self.num_envs:
            raise InputError("seed", f"{len(seeds)} seeds", f"Give one for each of {self.num_envs} environments.")
        for i, row in enumerate(rows):
            start = None if starts is None else starts[i : i + 1]
            seed = seeds[row]
            if seed is None and not self._begun:
                seed = int(self.np_random.integers(SEED_BOUND))
            self.sim.reset(seed, np.array([row]), start)

    def _rows(self, mask: Any) -> NDArray[np.int64]:
        if mask is None:
            return np.arange(self.num_envs)
        array = np.asarray(mask)
        if array.shape != (self.num_envs,) or array.dtype != np.bool_ or not array.any():
            what = f"{array.dtype} of shape {array.shape}"
            raise InputError("reset_mask", what, f"Give ({self.num_envs},) bool with at least one True.")
        if not self._begun and not array.all():
            raise InputError("reset_mask", "the first reset leaves environments out", "Reset all of them first.")
        return np.flatnonzero(array)

    def _extrapolation(self) -> Bools:
        return np.full(self.num_envs, self.sim.options.candidates == "all")

    def step(self, actions: Any) -> tuple[Floats, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """One slot of every session.

        Raises:
            InputError: a bad action; a step before `reset`; in mode `Disabled`, a step of a session that is over.
        """
        if not self._begun:
            raise InputError("step", "no session has begun", "Call reset() first.")
        if self.mode == AutoresetMode.DISABLED and self._ended.any():
            first = int(np.flatnonzero(self._ended)[0])
            raise InputError("step", f"session {first} is over", "Call reset(options={'reset_mask': ended}).")
        array = np.array(actions)
        if self.mode == AutoresetMode.NEXT_STEP and self._ended.any():
            return self._step_some(array)
        outcome = self._last = self.sim.step(array)
        self._ended = outcome.terminated | outcome.truncated
        if self.mode == AutoresetMode.SAME_STEP and self._ended.any():
            return self._next_at_once(outcome)
        return outcome.obs, outcome.reward, outcome.terminated, outcome.truncated, outcome.info

    def _next_at_once(self, outcome: Outcome) -> tuple[Floats, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        rows = np.flatnonzero(self._ended)
        last = np.full(self.num_envs, None, dtype=object)
        for row in rows:
            last[row] = outcome.obs[row].copy()
        self.final_masks = self.sim.masks_.table[rows]
        self.sim.restart(rows)
        outcome.obs[rows] = self.sim.observations(rows)
        info = outcome.info | {"final_obs": last, "_final_obs": self._ended.copy()}
        info |= {"final_info": _some(outcome.info, self._ended), "_final_info": self._ended.copy()}
        return outcome.obs, outcome.reward, outcome.terminated, outcome.truncated, info

    def _step_some(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Sessions that are over take an empty slot, wiped out by their restart; their action is ignored."""
        rows = np.flatnonzero(self._ended)
        actions[rows] = 0
        outcome = self._last = self.sim.step(actions)
        self.sim.restart(rows)
        outcome.obs[rows] = self.sim.observations(rows)
        outcome.reward[rows] = 0.0
        outcome.terminated[rows], outcome.truncated[rows] = False, False
        outcome.info["left"][rows] = False
        outcome.info["start_row"][rows] = self.sim.start_row[rows]
        self._ended = outcome.terminated | outcome.truncated
        return outcome.obs, outcome.reward, outcome.terminated, outcome.truncated, outcome.info

    def action_masks(self) -> Bools:
        """(num_envs, A) allowed actions; (num_envs, k * A) for slates."""
        return np.tile(self.sim.masks_.table, (1, self.sim.options.slate))

    def describe(self) -> dict[str, Any]:
        """Options as resolved, what is learned, what is assumed or extrapolated."""
        return self.sim.describe()

    def render(self) -> tuple[str, ...] | None:
        """Each session as text under `render_mode="ansi"`, else None."""
        if self.render_mode is None:
            return None
        return tuple(render_session(self.sim, row, self._last) for row in range(self.num_envs))


def world_vector_env(num_envs: int = 1, world: World | str | None = None, **kwargs: Any) -> RecVectorEnv:
    """What `recenv/World-v0` makes as a vector; raises InputError where no world is named."""
    return RecVectorEnv(num_envs, named(world), **kwargs)


def _mode(value: Any) -> AutoresetMode:
    return autoreset_mode(value)


def _some(info: dict[str, Any], rows: Bools) -> dict[str, Any]:
    """Gymnasium's vector form of an info that only `rows` have: name -> array, _name -> rows."""
    result: dict[str, Any] = {}
    for name, values in info.items():
        result[name] = _some(values, rows) if isinstance(values, dict) else values.copy()
        result[f"_{name}"] = rows.copy()
    return result
