"""`CandidateSet(k)`: k candidates a step with their features, the action among them; single and vector."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.env.candidates import Candidates
from recenv.env.shop import RecEnv
from recenv.env.vector import RecVectorEnv
from recenv.state import Floats


class CandidateSet(gym.Wrapper[Floats, Any, Floats, Any]):
    """`Discrete(k)` over retrieved candidates; see `Candidates` for how they are chosen and described.

    Args:
        env: a `RecEnv` with observation="full" and slate=1, wrapped or not. k, copies_per_item: see `Candidates`.

    Raises:
        InputError: another environment, observation or slate.
    """

    def __init__(self, env: gym.Env[Any, Any], k: int, copies_per_item: int | None = None) -> None:
        super().__init__(env)
        base = env.unwrapped
        if not isinstance(base, RecEnv):
            raise InputError("env", type(base).__name__, "Wrap a recenv shop or world environment.")
        self.candidates = candidates_of(base, k, copies_per_item)
        self._base = base
        low, high = self.candidates.bounds(base.sim.low, base.sim.high)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(k)
        self._actions = np.zeros((1, k), np.int64)
        self._valid = np.zeros((1, k), bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._observe(obs), info

    def step(self, action: Any) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """One slot; `action` is a candidate's number."""
        if not self.action_space.contains(action):
            raise InputError("action", f"{action!r}", f"Candidates run from 0 to {self.candidates.k - 1}.")
        chosen = int(self._actions[0, int(action)])
        obs, reward, terminated, truncated, info = self.env.step(chosen)
        return self._observe(obs), float(reward), terminated, truncated, info | {"action": chosen}

    def _observe(self, obs: Floats) -> Floats:
        self._actions, self._valid = self.candidates.retrieve(obs[None], self._base.sim.masks_.table)
        return self.candidates.observation(obs[None], self._actions, self._valid)[0]

    def action_masks(self) -> NDArray[np.bool_]:
        """(k,) candidates that may be chosen."""
        return self.candidates.mask(self._valid)[0]

    def candidate_actions(self) -> NDArray[np.int64]:
        """(k,) the world's action that each candidate stands for; 0 for padding."""
        return self._actions[0].copy()


class CandidateVector(gym.vector.VectorWrapper):  # type: ignore[type-arg]
    """The same over a `RecVectorEnv`; `info["final_obs"]` and `final_masks` are in the wrapper's space too.

    Raises:
        InputError: another environment, observation or slate.
    """

    def __init__(self, env: Any, k: int, copies_per_item: int | None = None) -> None:
        super().__init__(env)
        base = env.unwrapped
        if not isinstance(base, RecVectorEnv):
            raise InputError("env", type(base).__name__, "Wrap a RecVectorEnv.")
        self.candidates = candidates_of(base, k, copies_per_item)
        self._base = base
        low, high = self.candidates.bounds(base.sim.low, base.sim.high)
        self.single_observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.single_action_space = gym.spaces.Discrete(k)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._actions = np.zeros((self.num_envs, k), np.int64)
        self._valid = np.zeros((self.num_envs, k), bool)
        self.final_masks: NDArray[np.bool_] = np.zeros((0, k), bool)
        """Mode `SameStep`: what could still be chosen (ended, k) in the sessions that the last step ended."""

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return self._observe(obs), info

    def step(self, actions: Any) -> tuple[Floats, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One slot of every session; `actions` (n,) are candidates' numbers."""
        chosen = pick(self._actions, actions)
        obs, reward, terminated, truncated, info = self.env.step(chosen)
        info = info | {"action": chosen}
        if "final_obs" in info:
            info["final_obs"] = self._final(info["final_obs"])
        return self._observe(obs), reward, terminated, truncated, info

    def _observe(self, obs: Floats) -> Floats:
        self._actions, self._valid = self.candidates.retrieve(obs, self._base.sim.masks_.table)
        return self.candidates.observation(obs, self._actions, self._valid)

    def _final(self, last: NDArray[Any]) -> NDArray[Any]:
        """Last observations, with the candidates of that moment."""
        rows = [row for row, obs in enumerate(last) if obs is not None]
        obs = np.stack([last[row] for row in rows])
        result = last.copy()
        actions, valid = self.candidates.retrieve(obs, self._base.final_masks)
        self.final_masks = self.candidates.mask(valid)
        for row, value in zip(rows, self.candidates.observation(obs, actions, valid)):
            result[row] = value
        return result

    def action_masks(self) -> NDArray[np.bool_]:
        """(n, k) candidates that may be chosen."""
        return self.candidates.mask(self._valid)


def candidates_of(base: RecEnv | RecVectorEnv, k: int, copies_per_item: int | None) -> Candidates:
    """Retrieval for an environment; raises InputError unless it gives full observations and slates of 1."""
    options = base.sim.options
    if options.observation != "full":
        raise InputError("observation", f"{options.observation!r}", "Candidates need observation='full'.")
    if options.slate != 1:
        raise InputError("slate", f"{options.slate}", "Candidates need slate=1.")
    return Candidates(base.sim.world, k, copies_per_item)


def pick(table: NDArray[np.int64], choice: Any) -> NDArray[np.int64]:
    """Actions (n,) for chosen candidates (n,); raises InputError outside the candidates."""
    chosen = np.asarray(choice).reshape(-1)
    n, k = table.shape
    whole = np.issubdtype(chosen.dtype, np.integer)
    if len(chosen) != n or not whole or chosen.min() < 0 or chosen.max() >= k:
        raise InputError("action", f"{chosen.dtype} of shape {chosen.shape}", f"Give ({n},) integers below {k}.")
    return table[np.arange(n), chosen]
