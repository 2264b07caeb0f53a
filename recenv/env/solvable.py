"""`recenv/Solvable-v0`: a small shop whose optimum is known exactly, as single and as vector environment."""

from __future__ import annotations

from enum import Enum
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.env.mdp import Array, FiniteMDP
from recenv.env.solvable_shop import (
    FEATURES,
    HORIZON,
    KERNEL_STATES,
    LASTS,
    LEVELS,
    N_ACTIONS,
    Users,
    check_horizon,
    shop,
)

try:
    from gymnasium.vector import AutoresetMode
except ImportError:  # gymnasium 1.0 has no such class

    class AutoresetMode(Enum):  # type: ignore[no-redef]
        """The modes as later versions of Gymnasium name them."""

        NEXT_STEP = "NextStep"
        SAME_STEP = "SameStep"
        DISABLED = "Disabled"


def _spaces() -> tuple[Any, Any]:
    return gym.spaces.Box(0.0, 1.0, (FEATURES,), np.float32), gym.spaces.Discrete(N_ACTIONS)


class SolvableEnv(gym.Env[NDArray[np.float32], np.int64]):
    """
    ## Description
    Sell now or feed the interest from which later sales come, to a user whose state is seen in full. The expected
    number of purchases of the best policy, and of any other, is known exactly (`mdp`), and planning matters:
    random < best fixed action < myopic < optimum, each gap at least 15 % of the optimum.

    ## Action space
    `Discrete(9)`: 0 shows nothing; 1 + 2i sells item i, 2 + 2i feeds interest in it. Items 0 to 2 are made for segments
    0 to 2; item 3 is the bestseller. `action_masks()` allows all.

    ## Observation space
    `Box(0, 1, (13,), float32)`
    | slice | meaning |
    |---|---|
    | 0:3 | segment, one-hot |
    | 3:7 | level of interest, one-hot |
    | 7:12 | item shown last, one-hot; 11 = none |
    | 12 | step / horizon |

    ## Rewards
    1 for a purchase, else 0.

    ## Starting state
    Segment and level drawn from START_SEGMENT and START_LEVEL, nothing shown yet.

    ## Episode end
    `terminated` when the user leaves, and at the horizon: the clock is part of the state, so nothing comes after it.
    `truncated` never.

    ## Arguments
    `horizon` (2 to 20, default 12); `env_index`: this environment equals environment `env_index` of
    `SolvableVectorEnv` under the same seed; `render_mode` None or "ansi".

    ## Version history
    v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, horizon: int = HORIZON, env_index: int = 0, render_mode: str | None = None) -> None:
        check_horizon(horizon)
        if render_mode not in (None, "ansi"):
            raise InputError("render_mode", f"{render_mode!r}", "Choose None or 'ansi'.")
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces()
        self._users = Users(1, env_index, horizon)
        self._row = np.zeros(1, np.int64)
        self._last = "begins"

    @property
    def mdp(self) -> FiniteMDP:
        """The exact decision process behind this environment."""
        return shop(self._users.horizon)

    def action_masks(self) -> NDArray[np.bool_]:
        """(9,) bool; every action is always allowed."""
        return np.ones(N_ACTIONS, np.bool_)

    def state_index(self) -> int:
        """Row of the present state in the arrays of `mdp`."""
        return int(self._users.step[0] * KERNEL_STATES + self._users.state[0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        _seed(self, self._users, seed)
        _no_options(options)
        self._users.reset(self._row)
        self._last = "begins"
        return self._users.observe()[0], {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        actions = _actions(np.asarray([action]), 1)
        bought, end = self._users.move(self._row, actions)
        self._last = f"action {int(actions[0])}, {'purchase' if bought[0] else 'no purchase'}{', end' * bool(end[0])}"
        return self._users.observe()[0], float(bought[0]), bool(end[0]), False, {}

    def render(self) -> str | None:  # type: ignore[override]
        if self.render_mode is None:
            return None
        state, step = int(self._users.state[0]), int(self._users.step[0])
        who = f"segment {state // (LEVELS * LASTS)}, interest {state // LASTS % LEVELS}, last item {state % LASTS}"
        return f"step {step}/{self._users.horizon}: {self._last}; now {who}"


class SolvableVectorEnv(gym.vector.VectorEnv):  # type: ignore[type-arg]
    """`num_envs` shops of `SolvableEnv` in one batch; environment i equals `SolvableEnv(env_index=i)`.

    Args:
        num_envs: number of environments. horizon: as in `SolvableEnv`.
        autoreset_mode: `NextStep` (default; the action given to an ended environment is ignored), `SameStep` (the last
            observation is infos["final_obs"]) or `Disabled` (reset with options={"reset_mask": (num_envs,) bool}).
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        horizon: int = HORIZON,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        check_horizon(horizon)
        if num_envs < 1 or render_mode is not None:
            raise InputError(
                "SolvableVectorEnv", f"num_envs={num_envs}, render_mode={render_mode!r}", "Give 1 or more, and no mode."
            )
        self.num_envs = num_envs
        self.autoreset_mode = as_autoreset(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space, self.single_action_space = _spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._users = Users(num_envs, 0, horizon)
        self._ended = np.zeros(num_envs, np.bool_)
        self.final_masks = np.ones((0, N_ACTIONS), np.bool_)
        """Mode `SameStep`: what was still allowed (ended, 9), everything, where the last step ended an episode."""

    @property
    def mdp(self) -> FiniteMDP:
        """The exact decision process behind each environment."""
        return shop(self._users.horizon)

    def action_masks(self) -> NDArray[np.bool_]:
        """(num_envs, 9) bool; every action is always allowed."""
        return np.ones((self.num_envs, N_ACTIONS), np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, np.bool_)))
        _no_options(options)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise InputError("reset_mask", f"{mask.dtype} {mask.shape}", f"Give ({self.num_envs},) bool, some True.")
        rows = np.flatnonzero(mask)
        _seed(self, self._users, seed, rows)
        self._users.reset(rows)
        self._ended[rows] = False
        return self._users.observe(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Array, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        actions = _actions(np.asarray(actions), self.num_envs)
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise InputError("step", f"environments {np.flatnonzero(self._ended)} have ended", "Reset them first.")
        rewards, ended = np.zeros(self.num_envs), np.zeros(self.num_envs, np.bool_)
        over, live = np.flatnonzero(self._ended), np.flatnonzero(~self._ended)
        self._users.reset(over)
        rewards[live], ended[live] = self._users.move(live, actions[live])
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            infos = self._reset_now(ended)
        else:
            self._ended = ended.copy()
        return self._users.observe(), rewards, ended, np.zeros(self.num_envs, np.bool_), infos

    def _reset_now(self, ended: NDArray[np.bool_]) -> dict[str, Any]:
        if not ended.any():
            return {}
        final = np.full(self.num_envs, None, dtype=object)
        observation = self._users.observe()
        for row in np.flatnonzero(ended):
            final[row] = observation[row]
        self._users.reset(np.flatnonzero(ended))
        self.final_masks = np.ones((int(ended.sum()), N_ACTIONS), np.bool_)
        return {"final_obs": final, "_final_obs": ended.copy(), "final_info": {}, "_final_info": ended.copy()}


def as_autoreset(mode: str | AutoresetMode) -> AutoresetMode:
    """The mode for a member, its value ("SameStep") or its name ("SAME_STEP")."""
    for member in AutoresetMode:
        if mode in (member, member.value, member.name):
            return member
    raise InputError("autoreset_mode", f"{mode!r}", "Choose NextStep, SameStep or Disabled.")


def _seed(env: Any, users: Users, seed: int | None, rows: NDArray[np.int64] | None = None) -> None:
    """A seed starts its episodes anew; without one they go on, from a random seed where there was none yet."""
    rows = np.arange(len(users.seed)) if rows is None else rows
    if seed is not None:
        users.seed[rows], users.episode[rows] = seed % 2**63, -1
    elif (users.episode < 0).all():
        users.seed[:] = env.np_random.integers(2**63)


def _actions(actions: NDArray[Any], n: int) -> NDArray[np.int64]:
    if actions.shape != (n,) or actions.dtype.kind not in "iu" or ((actions < 0) | (actions >= N_ACTIONS)).any():
        raise InputError("action", f"{actions!r}", f"Give {n} whole numbers from 0 to {N_ACTIONS - 1}.")
    return actions.astype(np.int64)


def _no_options(options: dict[str, Any] | None) -> None:
    if options:
        raise InputError("options", f"unknown {sorted(options)}", "Leave them out.")
