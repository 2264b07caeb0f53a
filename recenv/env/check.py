"""Conformance tester for anyone's Gymnasium environment: what ours go through, as one function.

Each check is independent and says what is wrong; warnings count as failures.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env as gymnasium_check

from recenv.core.errors import InputError
from recenv.env.autoreset import AutoresetMode

Maker = Callable[[], gym.Env[Any, Any]]


@dataclass
class Report:
    """Outcome of every check: name -> `ok`, `skipped: why`, or what is wrong."""

    env_id: str
    results: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(r == "ok" or r.startswith("skipped") for r in self.results.values())

    def lines(self) -> list[str]:
        """One line a check."""
        return [f"{name:<22} {result}" for name, result in self.results.items()]


class CheckFailed(AssertionError):
    """A check found something wrong."""


class Skipped(Exception):
    """A check does not apply."""


def check(env_id: str, kwargs: Mapping[str, Any] | None = None, seed: int = 0, steps: int = 200) -> Report:
    """Run every check on a registered environment.

    Args:
        env_id: a registered id (with `module:` in front where a module must be imported first).
        kwargs: keyword arguments of `gym.make`. seed: of resets and actions. steps: length of the roll-outs.

    Raises:
        InputError: there is no such id, or its module cannot be imported. RecenvError: `kwargs` are refused.
    """
    if steps < 1:
        raise InputError("steps", f"{steps}", "Give a whole number of 1 or more.")
    options = dict(kwargs or {})
    report = Report(env_id)

    def make() -> gym.Env[Any, Any]:
        return gym.make(env_id, **options)

    try:
        make().close()
    except (gym.error.UnregisteredEnv, ModuleNotFoundError) as error:
        raise InputError(f"--env {env_id}", str(error).rstrip(".?!"), "Give a registered id, or MODULE:ID.") from error
    checks: dict[str, Callable[[], None]] = {
        "gymnasium": lambda: _gymnasium(make),
        "stable_baselines3": lambda: _sb3(make),
        "finite spaces": lambda: _spaces(make),
        "twin roll-outs": lambda: _twins(make, seed, steps),
        "values": lambda: _values(make, seed, steps),
        "masks": lambda: _masks(make, seed, steps),
        "copy": lambda: _copy(make, seed),
        "spec as JSON": lambda: _spec(make, seed),
        "make_vec sync": lambda: _sync(env_id, options, seed),
        "make_vec native": lambda: _native(env_id, options, seed, steps),
    }
    for name, run in checks.items():
        report.results[name] = _outcome(run)
    return report


def _outcome(run: Callable[[], None]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run()
    except Skipped as why:
        return f"skipped: {why}"
    # A tester must survive whatever a foreign environment raises, and name it.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CheckFailed(message)


def _gymnasium(make: Maker) -> None:
    gymnasium_check(make().unwrapped)


def _sb3(make: Maker) -> None:
    if importlib.util.find_spec("stable_baselines3") is None:
        raise Skipped("stable_baselines3 is not installed")
    from stable_baselines3.common.env_checker import check_env

    check_env(make().unwrapped)


def _spaces(make: Maker) -> None:
    env = make()
    for name, space in (("observation", env.observation_space), ("action", env.action_space)):
        if isinstance(space, gym.spaces.Box):
            _require(bool(np.isfinite(space.low).all() and np.isfinite(space.high).all()), f"infinite {name} bounds")


def rollout(env: gym.Env[Any, Any], seed: int, steps: int) -> list[Any]:
    """What `steps` random steps bring, flat: observations, rewards, flags, infos; episodes follow without a seed."""
    env.action_space.seed(seed)
    obs, info = env.reset(seed=seed)
    trace: list[Any] = [obs, info]
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        trace.extend(result)
        if result[2] or result[3]:
            trace.extend(env.reset())
    return trace


def same(a: Any, b: Any) -> bool:
    """Equal in type, shape and every bit (NaN equals NaN)."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return same(a.tolist(), b.tolist()) if a.dtype == object else a.tobytes() == b.tobytes()
    return type(a) is type(b) and bool(a == b or (a != a and b != b))


def _twins(make: Maker, seed: int, steps: int) -> None:
    first, second = rollout(make(), seed, steps), rollout(make(), seed, steps)
    for i, (a, b) in enumerate(zip(first, second)):
        _require(same(a, b), f"two environments with one seed differ in value {i} of their roll-outs")
    other = rollout(make(), seed + 1, steps)
    if all(same(a, b) for a, b in zip(first, other)):
        raise CheckFailed("another seed gives the same roll-out")


def _values(make: Maker, seed: int, steps: int) -> None:
    env = make()
    env.action_space.seed(seed)
    obs, _ = env.reset(seed=seed)
    for step in range(steps):
        _require(obs in env.observation_space, f"observation before step {step} lies outside its space")
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        _require(bool(np.isfinite(float(reward))), f"reward {reward} in step {step}")
        _require(bool(np.isfinite(np.asarray(obs, dtype=np.float64)).all()), f"NaN or infinity in step {step}")
        _require(type(terminated) is bool and type(truncated) is bool, "terminated and truncated must be bool")
        if terminated or truncated:
            _require(obs in env.observation_space, f"last observation of step {step} lies outside its space")
            obs, _ = env.reset()


def _masks(make: Maker, seed: int, steps: int) -> None:
    env = make()
    base: Any = env.unwrapped
    if not hasattr(base, "action_masks"):
        raise Skipped("the environment has no action_masks()")
    size = _mask_size(env.action_space)
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    for step in range(steps):
        mask = np.asarray(base.action_masks())
        _require(
            mask.dtype == np.bool_ and mask.shape == (size,), f"mask of {mask.dtype} {mask.shape}, not bool {size}"
        )
        space: Any = env.action_space
        parts = np.split(mask, np.cumsum(space.nvec)[:-1]) if _is_multi(space) else [mask]
        _require(all(part.any() for part in parts), f"no action is allowed in step {step}")
        chosen = [int(rng.choice(np.flatnonzero(part))) for part in parts]
        action: Any = np.array(chosen) if _is_multi(space) else chosen[0]
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()


def _is_multi(space: Any) -> bool:
    return isinstance(space, gym.spaces.MultiDiscrete)


def _mask_size(space: Any) -> int:
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if _is_multi(space):
        return int(space.nvec.sum())
    raise Skipped("masks are for discrete actions")


def _copy(make: Maker, seed: int) -> None:
    env = make()
    env.action_space.seed(seed)
    env.reset(seed=seed)
    twin = copy.deepcopy(env)
    action = env.action_space.sample()
    _require(same(list(env.step(action)), list(twin.step(action))), "a copy of the environment goes another way")


def _spec(make: Maker, seed: int) -> None:
    env = make()
    if env.spec is None:
        raise CheckFailed("the environment has no spec")
    try:
        text = env.spec.to_json()
    except TypeError as error:
        raise CheckFailed(f"keyword arguments that JSON does not hold: {error}") from error
    again = EnvSpec.from_json(text)
    _require(again == env.spec, "the spec read back from JSON is another")
    _require(same(env.reset(seed=seed)[0], gym.make(again).reset(seed=seed)[0]), "made from its JSON spec, it differs")


def _sync(env_id: str, options: dict[str, Any], seed: int) -> None:
    vector = gym.make_vec(env_id, 2, vectorization_mode="sync", **options)
    vector.action_space.seed(seed)
    obs, _ = vector.reset(seed=seed)
    _require(obs in vector.observation_space, "the first observation lies outside its space")
    obs, *_ = vector.step(vector.action_space.sample())
    _require(obs in vector.observation_space, "an observation lies outside its space")
    vector.close()


def _native(env_id: str, options: dict[str, Any], seed: int, steps: int) -> None:
    if gym.spec(env_id).vector_entry_point is None:
        raise Skipped("no vector_entry_point")
    vector = gym.make_vec(env_id, 3, vectorization_mode="vector_entry_point", **options)
    mode = vector.metadata.get("autoreset_mode")
    _require(isinstance(mode, AutoresetMode), "metadata['autoreset_mode'] is missing")
    vector.action_space.seed(seed)
    obs, _ = vector.reset(seed=seed)
    ended = np.zeros(3, bool)
    for step in range(steps):
        _require(obs in vector.observation_space, f"observation before step {step} lies outside its space")
        obs, reward, terminated, truncated, info = vector.step(vector.action_space.sample())
        _require(bool(np.isfinite(reward).all()), f"rewards {reward} in step {step}")
        if mode == AutoresetMode.NEXT_STEP:
            _require(not reward[ended].any(), f"step {step} only resets and must not be rewarded")
            _require(not (terminated | truncated)[ended].any(), f"a session ends in step {step}, where it begins")
        ended = terminated | truncated
        if mode == AutoresetMode.SAME_STEP and ended.any():
            _require("final_obs" in info, f"info['final_obs'] is missing in step {step}")
        if mode == AutoresetMode.DISABLED and ended.any():
            obs, _ = vector.reset(options={"reset_mask": ended})
    vector.close()
