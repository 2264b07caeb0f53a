"""Transitions out of any Gymnasium vector environment, whatever its autoreset mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.dqn.replay import Batch
from recenv.core.errors import InputError

Choose = Callable[[NDArray[np.float32], NDArray[np.bool_], float], NDArray[np.int64]]


def collect(env: Any, seed: int, steps: int, choose: Choose, returns: list[float]) -> Iterator[tuple[int, Batch]]:
    """Step `env` until `steps` transitions are seen, yielding (transitions so far, the new ones).

    Args:
        env: a vector environment with flat Box observations; its `action_masks()` (num_envs, A) is used if it has one,
            with `final_masks` (ended, A), what was allowed in the sessions that the last step ended, in mode SameStep.
        seed: of the environment. choose: (obs, mask, progress) -> actions. returns: gets the return of each episode.

    Raises:
        InputError: an autoreset mode that is none of Gymnasium's; masks without `final_masks` in mode SameStep.
    """
    mode = _autoreset(env)
    n, n_actions = env.num_envs, int(env.single_action_space.n)
    obs, _ = env.reset(seed=seed)
    mask = _masks(env, n, n_actions)
    total, seen = np.zeros(n), 0
    live = np.ones(n, np.bool_)
    while seen < steps:
        obs = np.asarray(obs, np.float32)
        action = choose(obs, mask, seen / steps)
        after, reward, terminated, truncated, info = env.step(action)
        done = np.asarray(terminated) | np.asarray(truncated)
        after = np.asarray(after, np.float32)
        now = _masks(env, n, n_actions)
        final, next_mask = after, now
        if mode == "SameStep" and done.any():
            final, next_mask = _final(after, done, info), _final_masks(env, now, done)
        # In mode NextStep the step after an end is the reset: its action was ignored.
        batch = Batch(obs, action, np.asarray(reward, np.float32), final, next_mask, np.asarray(terminated)).take(
            np.flatnonzero(live)
        )
        total[live] += np.asarray(reward, np.float64)[live]
        ended = done & live
        returns.extend(total[ended].tolist())
        total[ended] = 0.0
        seen += len(batch)
        yield seen, batch
        if mode == "NextStep":
            live = ~ended
        elif mode == "Disabled" and done.any():
            after, _ = env.reset(options={"reset_mask": done})
            now = _masks(env, n, n_actions)
        obs, mask = after, now


def _autoreset(env: Any) -> str:
    """Value of the environment's autoreset mode; NextStep where it declares none, as in Gymnasium."""
    mode = (env.metadata or {}).get("autoreset_mode", "NextStep")
    name = str(getattr(mode, "value", mode))
    if name not in ("NextStep", "SameStep", "Disabled"):
        raise InputError("autoreset_mode", f"{mode!r}", "Use NextStep, SameStep or Disabled.")
    return name


def _final(after: NDArray[np.float32], done: NDArray[np.bool_], info: dict[str, Any]) -> NDArray[np.float32]:
    """Observations with the last ones of ended episodes in place of the first ones of the next."""
    final = after.copy()
    for row in np.flatnonzero(done):
        final[row] = info["final_obs"][row]
    return final


def _final_masks(env: Any, now: NDArray[np.bool_], done: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Masks with the last ones of ended episodes in place of the first ones of the next."""
    if not hasattr(env, "action_masks"):
        return now
    if not hasattr(env, "final_masks"):
        raise InputError("action_masks", "come without final_masks in mode SameStep", "Use NextStep or Disabled.")
    final = now.copy()
    final[done] = env.final_masks
    return final


def _masks(env: Any, n: int, n_actions: int) -> NDArray[np.bool_]:
    if not hasattr(env, "action_masks"):
        return np.ones((n, n_actions), np.bool_)
    return np.asarray(env.action_masks(), np.bool_).reshape(n, n_actions)
