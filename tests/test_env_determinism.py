"""A session is a function of (seed, environment index, episode, actions): not of its neighbours, mode or process."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers_world import small_world

from recenv.core import rng
from recenv.env.check import same
from recenv.env.draws import uniforms
from recenv.env.options import EnvOptions
from recenv.env.shop import RecEnv
from recenv.env.simulator import Simulator
from recenv.env.vector import RecVectorEnv

OPTIONS: list[dict[str, Any]] = [
    {},
    {"observation": "full", "reward_mode": "expected"},
    {"slate": 3, "slate_response": "cascade", "candidates": "all"},
    {"slate": 2, "slate_response": "choice", "cost": 0.01},
    {"slate": 2, "slate_response": "position"},
]


def chosen(env_index: int, episode: int, step: int, slate: int, n: int) -> Any:
    """Some action that depends on what the session's number is, and on nothing else."""
    action = np.random.default_rng([env_index, episode, step]).integers(0, n, slate)
    return action if slate > 1 else int(action[0])


def single_trace(world: Any, options: dict[str, Any], index: int, steps: int, seed: int) -> list[Any]:
    """(obs, reward, terminated, truncated, start row, click, item) of each step of environment `index` alone."""
    env = RecEnv(world, env_index=index, **options)
    obs, info = env.reset(seed=seed)
    trace: list[Any] = [obs]
    episode = step = 0
    for _ in range(steps):
        action = chosen(index, episode, step, options.get("slate", 1), env.sim.world.n_actions)
        obs, reward, terminated, truncated, info = env.step(action)
        trace.append((obs, reward, terminated, truncated, info["start_row"], info["click"], info["item"].tolist()))
        step += 1
        if terminated or truncated:
            obs, _ = env.reset()
            trace.append(obs)
            episode, step = episode + 1, 0
    return trace


def vector_traces(world: Any, options: dict[str, Any], n: int, steps: int, seed: int) -> list[list[Any]]:
    env = RecVectorEnv(n, world, autoreset_mode="SameStep", **options)
    obs, _ = env.reset(seed=seed)
    traces: list[list[Any]] = [[obs[i].copy()] for i in range(n)]
    episode, step = np.zeros(n, int), np.zeros(n, int)
    slate, actions = options.get("slate", 1), env.world.n_actions
    for _ in range(steps):
        action = np.array([chosen(i, episode[i], step[i], slate, actions) for i in range(n)])
        obs, reward, terminated, truncated, info = env.step(action)
        step += 1
        for i in range(n):
            over = bool(terminated[i] or truncated[i])
            last = info["final_obs"][i] if over else obs[i]
            flags = (float(reward[i]), bool(terminated[i]), bool(truncated[i]))
            told = (int(info["start_row"][i]), float(info["click"][i]), info["item"][i].tolist())
            traces[i].append((last.copy(), *flags, *told))
            if over:
                traces[i].append(obs[i].copy())
                episode[i], step[i] = episode[i] + 1, 0
    return traces


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())) or "default")
def test_any_number_of_environments_gives_the_same_bits(options: dict[str, Any]) -> None:
    world = small_world(3)
    seven = vector_traces(world, options, 7, 25, seed=11)
    many = vector_traces(world, options, 64, 25, seed=11)
    for i in range(7):
        alone = single_trace(world, options, i, 25, seed=11)
        assert same(alone, seven[i]), i
        assert same(alone, many[i]), i
    assert not same(many[0], many[1])


def test_compiled_draws_are_those_of_the_rng_module() -> None:
    """Bit for bit, so that what other parts draw by `rng.uniform` is the same stream."""
    words = np.random.default_rng(0).integers(-(2**62), 2**62, (4, 50))
    stream, slot = np.array([2, 2, 3, 4]), np.array([0, 1, 0, 0])
    expected = rng.uniform(*(w[:, None] for w in words), stream, slot)
    assert same(uniforms(*words, stream, slot), expected)
    assert 0 <= expected.min() < expected.max() < 1


def test_start_states_are_drawn_by_episode_number() -> None:
    """Episode e of environment i begins where its key says, however the episodes before it ended."""
    world = small_world(n_starts=300)
    env = RecVectorEnv(3, world, env_index=2, autoreset_mode="SameStep", horizon=2)
    env.reset(seed=13)
    starts, episode = env.sim.starts, np.zeros(3, int)
    for _ in range(12):
        u = rng.uniform(13, np.arange(3) + 2, episode, 0, rng.STREAMS["start"], 0)
        assert np.array_equal(env.sim.start_row, starts[(u * len(starts)).astype(int)])
        _, _, terminated, truncated, _ = env.step(np.ones(3, int))
        episode += terminated | truncated
    assert episode.min() > 3


def test_seeds_differ_and_repeat() -> None:
    world = small_world()
    assert same(single_trace(world, {}, 0, 30, 1), single_trace(world, {}, 0, 30, 1))
    assert not same(single_trace(world, {}, 0, 30, 1), single_trace(world, {}, 0, 30, 2))


def test_one_seed_for_each_environment() -> None:
    world = small_world()
    env = RecVectorEnv(3, world)
    by_list, _ = env.reset(seed=[4, 5, 4])
    four, _ = RecVectorEnv(3, world).reset(seed=4)
    five, _ = RecVectorEnv(3, world).reset(seed=5)
    assert same(by_list, np.stack([four[0], five[1], four[2]]))


def test_without_a_seed_sessions_differ_between_environments() -> None:
    world = small_world(n_starts=300)
    rows = [RecEnv(world).reset()[1]["start_row"] for _ in range(12)]
    assert len(set(rows)) > 1


def test_reset_moves_on_to_another_session() -> None:
    env = RecEnv(small_world(n_starts=300))
    rows = [env.reset(seed=3)[1]["start_row"]] + [env.reset()[1]["start_row"] for _ in range(12)]
    assert len(set(rows)) > 6
    again = [env.reset(seed=3)[1]["start_row"]] + [env.reset()[1]["start_row"] for _ in range(12)]
    assert rows == again


@pytest.mark.parametrize("saved", [False, True], ids=["in memory", "on disk"])
def test_pickled_and_copied_environments_go_on_alike(saved: bool, tmp_path: Any) -> None:
    world: Any = small_world()
    if saved:
        world = str(world.save(tmp_path / "w"))
    for env in (RecEnv(world, observation="full"), RecVectorEnv(3, world)):
        n = getattr(env, "num_envs", None)
        action = 5 if n is None else np.full(n, 5)
        env.reset(seed=9)
        env.step(action)
        for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
            original = copy.deepcopy(env)
            for _ in range(3):
                if twin.sim.step_count.min() < 3 and not getattr(twin, "_over", False):
                    assert same(list(original.step(action)), list(twin.step(action)))
            assert same(original.action_masks(), twin.action_masks())
    if saved:
        assert len(pickle.dumps(RecEnv(world))) < 60_000


def test_environments_share_one_world_by_path(tmp_path: Any) -> None:
    path = str(small_world().save(tmp_path / "w"))
    assert RecEnv(path).world is RecEnv(path).world


def test_observations_returned_are_never_written_to_again() -> None:
    sim = Simulator(small_world(), 4, EnvOptions())
    first, _ = sim.reset(seed=1)
    kept = first.copy()
    outcome = sim.step(np.full(4, 3))
    later = copy.deepcopy(outcome)
    sim.step(np.full(4, 7))
    assert same(first, kept)
    assert same(outcome.obs, later.obs)
    assert same(outcome.info, later.info)
