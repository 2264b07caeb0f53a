"""The three autoreset modes, step by step, against sessions of the single environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers_world import small_world

from recenv.core.errors import InputError
from recenv.env.autoreset import AutoresetMode, autoreset_mode
from recenv.env.check import same
from recenv.env.shop import RecEnv
from recenv.env.vector import RecVectorEnv
from recenv.world import World

N, STEPS, SEED = 5, 24, 4


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(1, horizon=4)


def action_of(env: int, episode: int, step: int, n: int) -> int:
    return int(np.random.default_rng([env, episode, step]).integers(0, n))


Episode = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def episodes(world: World) -> list[list[Episode]]:
    """What each environment alone sees: per episode [(first obs,), (obs, reward, terminated, truncated), ...]."""
    result = []
    for i in range(N):
        env = RecEnv(world, env_index=i)
        obs, _ = env.reset(seed=SEED)
        mine: list[Episode] = []
        for e in range(STEPS):
            episode: Episode = [(obs,)]
            while len(episode[-1]) == 1 or not (episode[-1][2] or episode[-1][3]):
                step = env.step(action_of(i, e, len(episode) - 1, world.n_actions))
                episode.append(step[:4])
            obs, _ = env.reset()
            mine.append(episode)
        result.append(mine)
    return result


def actions(at: list[list[int]], n: int) -> Any:
    return np.array([action_of(i, e, s, n) for i, (e, s) in enumerate(at)])


def test_same_step(world: World, episodes: list[list[Episode]]) -> None:
    env = RecVectorEnv(N, world, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=SEED)
    at = [[0, 0] for _ in range(N)]
    ends = 0
    for _ in range(STEPS):
        obs, reward, terminated, truncated, info = env.step(actions(at, world.n_actions))
        for i, where in enumerate(at):
            where[1] += 1
            last, r, term, trunc = episodes[i][where[0]][where[1]]
            assert (reward[i], terminated[i], truncated[i]) == (r, term, trunc)
            if not (term or trunc):
                assert same(obs[i], last)
                assert not info.get("_final_obs", np.zeros(N, bool))[i]
                continue
            ends += 1
            assert info["_final_obs"][i]
            assert same(info["final_obs"][i], last)
            assert info["_final_info"][i]
            assert info["final_info"]["reward_terms"]["purchase"].shape == (N,)
            at[i] = [where[0] + 1, 0]
            assert same(obs[i], episodes[i][where[0] + 1][0][0])
    assert ends > N


def test_next_step(world: World, episodes: list[list[Episode]]) -> None:
    env = RecVectorEnv(N, world)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset(seed=SEED)
    at, over, resets = [[0, 0] for _ in range(N)], [False] * N, 0
    for _ in range(STEPS):
        obs, reward, terminated, truncated, info = env.step(actions(at, world.n_actions))
        for i, where in enumerate(at):
            if over[i]:
                resets += 1
                at[i], over[i] = [where[0] + 1, 0], False
                assert same(obs[i], episodes[i][where[0] + 1][0][0])
                assert (reward[i], terminated[i], truncated[i]) == (0.0, False, False)
                assert (info["item"][i] == -1).all()
                continue
            where[1] += 1
            last, r, term, trunc = episodes[i][where[0]][where[1]]
            assert same(obs[i], last)
            assert (reward[i], terminated[i], truncated[i]) == (r, term, trunc)
            over[i] = term or trunc
    assert resets > N


def test_disabled(world: World, episodes: list[list[Episode]]) -> None:
    env = RecVectorEnv(N, world, autoreset_mode="Disabled")
    env.reset(seed=SEED)
    at, resets = [[0, 0] for _ in range(N)], 0
    for _ in range(STEPS):
        obs, reward, terminated, truncated, _ = env.step(actions(at, world.n_actions))
        for i, where in enumerate(at):
            where[1] += 1
            last, r, term, trunc = episodes[i][where[0]][where[1]]
            assert same(obs[i], last)
            assert (reward[i], terminated[i], truncated[i]) == (r, term, trunc)
        ended = terminated | truncated
        if ended.any():
            with pytest.raises(InputError, match="is over"):
                env.step(actions(at, world.n_actions))
            obs, _ = env.reset(options={"reset_mask": ended})
            resets += 1
            for i in np.flatnonzero(ended):
                at[i] = [at[i][0] + 1, 0]
                assert same(obs[i], episodes[i][at[i][0]][0][0])
    assert resets > 2


def test_modes_agree_with_gymnasiums_own_layer(world: World) -> None:
    """`SyncVectorEnv` over single environments is the outside oracle of the modes' semantics."""
    for mode in AutoresetMode:
        if mode == AutoresetMode.DISABLED:
            continue
        makers = [lambda i=i: RecEnv(world, env_index=i) for i in range(3)]
        oracle = gym.vector.SyncVectorEnv(makers, autoreset_mode=mode)
        ours = RecVectorEnv(3, world, autoreset_mode=mode)
        assert same(oracle.reset(seed=[8, 8, 8])[0], ours.reset(seed=8)[0])
        rng = np.random.default_rng(0)
        for _ in range(20):
            action = rng.integers(0, world.n_actions, 3)
            expected, found = oracle.step(action), ours.step(action)
            assert same(list(expected[:4]), list(found[:4]))
            if "final_obs" in expected[4]:
                assert same(expected[4]["final_obs"].tolist(), found[4]["final_obs"].tolist())


def test_bad_use(world: World) -> None:
    env = RecVectorEnv(2, world)
    with pytest.raises(InputError, match="reset"):
        env.step(np.zeros(2, int))
    with pytest.raises(InputError, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=0)
    for mask in (np.zeros(2, bool), np.ones(3, bool), np.ones(2)):
        with pytest.raises(InputError, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(InputError, match="seed"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(InputError, match="mode"):
        RecVectorEnv(2, world, autoreset_mode="sometimes")
    with pytest.raises(InputError, match="num_envs"):
        RecVectorEnv(0, world)
    assert autoreset_mode("SameStep") is AutoresetMode.SAME_STEP


def test_a_session_that_is_over_cannot_go_on(world: World) -> None:
    env = RecEnv(world, horizon=1)
    with pytest.raises(InputError, match="reset"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(InputError, match="reset"):
        env.step(0)
