"""The native vector environment as Stable-Baselines3 wants it: sessions restart in the step that ends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from recenv.core.errors import InputError
from recenv.env.autoreset import AutoresetMode
from recenv.env.vector import RecVectorEnv
from recenv.env.wrappers import CandidateVector

_SUMS = ("click", "purchase", "revenue", "gross", "incremental", "cost", "invalid")


class ShopVecEnv(VecEnv):
    """SB3 `VecEnv` over `RecVectorEnv`, with or without candidates.

    Infos of sessions that go on are one shared, empty dict (hundreds of dicts a step are dear): do not write to them.
    Of an ended session, the info holds `terminal_observation`, `TimeLimit.truncated`, `start_row` and `episode` with
    `r`, `l`, `t` as SB3's Monitor gives them and the session's sums of click, purchase, revenue, gross, incremental,
    cost, invalid as far as known. `last_info` holds the arrays of the last step.

    Args:
        env: a `RecVectorEnv` in mode `SameStep`, or a `CandidateVector` over one.

    Raises:
        InputError: another mode.
    """

    def __init__(self, env: RecVectorEnv | CandidateVector) -> None:
        base: Any = env.unwrapped
        if base.mode != AutoresetMode.SAME_STEP:
            raise InputError("autoreset_mode", base.mode.value, "SB3 needs 'SameStep'.")
        self.env = env
        self.base: RecVectorEnv = base
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.last_info: dict[str, Any] = {}
        self._actions: NDArray[Any] = np.zeros(env.num_envs, np.int64)
        self._empty: dict[str, Any] = {}
        self._length = np.zeros(env.num_envs, np.int64)
        self._return = np.zeros(env.num_envs)
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._clock = time.monotonic()

    def reset(self) -> NDArray[np.float32]:  # type: ignore[override]
        """First observations; a seed set by `seed` holds for this reset."""
        seed, options = self._seeds[0], self._options[0]
        if any(given != options for given in self._options):
            raise InputError("options", "differ by environment", "Give one dict for all.")
        obs, info = self.env.reset(seed=seed, options=options or None)
        self._length[:], self._return[:], self._sums = 0, 0.0, {}
        self.reset_infos = [{"start_row": int(row)} for row in info["start_row"]]
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        """Observations, rewards (float32), dones and infos."""
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        self.last_info = info
        self._length += 1
        self._return += reward
        for name in _SUMS:
            if name in info:
                self._sums[name] = self._sums.get(name, 0.0) + info[name].astype(np.float64)
        dones = terminated | truncated
        infos = [self._empty] * self.num_envs
        for row in np.flatnonzero(dones):
            infos[row] = self._ended(int(row), info, bool(truncated[row]))
        return obs, reward.astype(np.float32), dones, infos

    def _ended(self, row: int, info: dict[str, Any], truncated: bool) -> dict[str, Any]:
        sums = {name: float(values[row]) for name, values in self._sums.items()}
        known = {"r": float(self._return[row]), "l": int(self._length[row]), "t": time.monotonic() - self._clock}
        self._length[row], self._return[row] = 0, 0.0
        for values in self._sums.values():
            values[row] = 0.0
        return {
            "terminal_observation": info["final_obs"][row],
            "TimeLimit.truncated": truncated,
            "start_row": int(info["start_row"][row]),
            "episode": known | sums,
        }

    def action_masks(self) -> NDArray[np.bool_]:
        """(n, A) or (n, k) allowed actions."""
        return self.env.action_masks()

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector, once for each of `indices`."""
        value = getattr(self.env if hasattr(self.env, attr_name) else self.base, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: environments of one batch share their attributes."""
        raise InputError(f"attribute {attr_name!r}", "cannot be set", "Make the environment anew with other options.")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Row by row, `action_masks`; other methods of the environments do not exist apart from the batch."""
        if method_name != "action_masks" or method_args or method_kwargs:
            raise InputError(f"method {method_name!r}", "is not one of a single environment", "Use action_masks.")
        masks = self.action_masks()
        return [masks[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Whether episodes are recorded (Monitor): this class does it; no other wrapper."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        return [None] * self.num_envs


def make_vec_env(
    num_envs: int, world: Any = None, k: int | None = None, copies_per_item: int | None = None, **options: Any
) -> ShopVecEnv:
    """SB3 environment of `num_envs` sessions; with `k`, over that many retrieved actions (see `Candidates`).

    Args:
        options: of `RecVectorEnv` and `EnvOptions`.

    Raises:
        InputError, UnsupportedError: as `RecVectorEnv`.
    """
    if k is not None:
        options = {"observation": "full"} | options
    env = RecVectorEnv(num_envs, world, autoreset_mode=AutoresetMode.SAME_STEP, **options)
    return ShopVecEnv(env if k is None else CandidateVector(env, k, copies_per_item))
