"""Retrieval and the candidate wrappers: order, padding, masks, single = vector = Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from helpers_world import small_world

from recenv.core.errors import InputError
from recenv.env.candidates import Candidates, _top
from recenv.env.check import same
from recenv.env.options import EnvOptions
from recenv.env.shop import RecEnv
from recenv.env.simulator import Simulator
from recenv.env.vector import RecVectorEnv
from recenv.env.wrappers import CandidateSet, CandidateVector
from recenv.response.features import CROSS, cross_features
from recenv.state import PURCHASE, VIEW, apply
from recenv.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(horizon=4)


def full(world: World, n: int = 1, **options: Any) -> Simulator:
    sim = Simulator(world, n, EnvOptions(observation="full", **options))
    sim.reset(seed=0)
    return sim


def test_own_items_first_then_popular_ones() -> None:
    world = small_world(copies=0, leave=False)
    sim = full(world, candidates="all")
    sim.reset(seed=0, start_rows=np.array([0]))  # a user without history
    for item, kind in ((15, VIEW), (12, PURCHASE), (12, PURCHASE), (18, PURCHASE)):
        apply(world.spec, sim.state, np.array([0]), np.array([item]), np.array([kind]), sim.now)
    sim._refresh(sim.rows)
    actions, valid = Candidates(world, 6).retrieve(sim.observations(), sim.masks())
    # item_rate falls with the index, so the popular ones are 0, 1, 2.
    assert (actions[0] - 1).tolist() == [12, 18, 15, 0, 1, 2]
    assert valid.all()


def test_only_what_is_allowed_and_padding(world: World) -> None:
    sim = full(world, 8)
    found = Candidates(world, 30)
    actions, valid = found.retrieve(sim.observations(), sim.masks())
    assert sim.masks_.allows(actions).all()
    assert (valid.sum(axis=1) == 20).all()  # 10 items on offer with 2 copies each
    assert (actions[~valid] == 0).all()
    assert all(len(set(a[v])) == v.sum() for a, v in zip(actions, valid))
    none, nothing = found.retrieve(sim.observations(), np.zeros_like(sim.masks()))
    assert not nothing.any()
    assert not none.any()
    assert found.mask(nothing)[:, 0].all()
    assert found.mask(nothing).sum() == 8


def test_copies_of_an_item_stand_side_by_side(world: World) -> None:
    sim = full(world, 4, candidates="all")
    actions, _ = Candidates(world, 6).retrieve(sim.observations(), sim.masks())
    items = world.action_item[actions]
    assert (items[:, ::2] == items[:, 1::2]).all()
    single, _ = Candidates(world, 6, copies_per_item=1).retrieve(sim.observations(), sim.masks())
    assert (single == world.item_action_start[world.action_item[single]]).all()
    assert np.array_equal(world.action_item[single][:, :3], items[:, ::2])


def test_features_are_those_of_the_response_model(world: World) -> None:
    sim = full(world, 3)
    found = Candidates(world, 5)
    actions, valid = found.retrieve(sim.observations(), sim.masks())
    obs = found.observation(sim.observations(), actions, valid)
    features = obs[:, found.summary_size :].reshape(3, 5, -1)
    rows = np.repeat(np.arange(3), 5)
    cross = cross_features(world.spec, sim.state, rows, sim.now[rows], world.action_item[actions].reshape(-1))
    assert np.allclose(features[:, :, : len(CROSS)].reshape(15, -1), cross, atol=1e-4)
    assert (features[:, :, -1] == 1).all()
    at = len(CROSS)
    assert np.array_equal(features[:, :, at : at + 6], world.spec.item_vectors[world.action_item[actions]])


@pytest.mark.parametrize(("k", "each"), [(1, None), (7, None), (20, 1), (60, None)])
def test_retrieval_is_a_stable_sort_of_the_allowed_actions(k: int, each: int | None) -> None:
    """Against the plain definition: all actions, sorted by their item's score."""
    world = small_world(5, n_items=25, copies=3)
    sim = full(world, 12)
    found = Candidates(world, k, each)
    mask = sim.masks() & (np.random.default_rng(0).random((12, world.n_actions)) < 0.7)
    actions, valid = found.retrieve(sim.observations(), mask)
    scores = found.item_scores(sim.observations())[:, world.action_item]
    number = np.arange(world.n_actions) - world.item_action_start[world.action_item]
    allowed = mask & (number < (each or 99))
    allowed[:, 0] = False
    for row in range(12):
        order = np.argsort(-scores[row], kind="stable")
        expected = order[allowed[row, order]][:k]
        assert np.array_equal(actions[row, valid[row]], expected)


def test_top_is_a_stable_sort() -> None:
    scores = np.random.default_rng(0).integers(0, 5, (30, 60)).astype(np.float32)
    assert np.array_equal(_top(scores, 9), np.argsort(-scores, axis=1, kind="stable")[:, :9])


def test_single_and_vector_agree(world: World) -> None:
    ours = CandidateVector(RecVectorEnv(3, world, observation="full", autoreset_mode="SameStep"), 6)
    alone = [CandidateSet(RecEnv(world, observation="full", env_index=i), 6) for i in range(3)]
    obs, _ = ours.reset(seed=3)
    for i, env in enumerate(alone):
        assert same(env.reset(seed=3)[0], obs[i])
    ends, rng = 0, np.random.default_rng(0)
    for _ in range(15):
        action = rng.integers(0, 6, 3)
        assert obs in ours.observation_space
        obs, reward, terminated, truncated, info = ours.step(action)
        for i, env in enumerate(alone):
            last, r, term, trunc, told = env.step(int(action[i]))
            assert (reward[i], terminated[i], truncated[i]) == (r, term, trunc)
            assert told["action"] == info["action"][i]
            if term or trunc:
                ends += 1
                assert same(info["final_obs"][i], last)
                last, _ = env.reset()
            assert same(obs[i], last)
            assert same(env.action_masks(), ours.action_masks()[i])
    assert ends > 3


def test_wrong_environments_and_actions(world: World) -> None:
    with pytest.raises(InputError, match="full"):
        CandidateSet(RecEnv(world), 5)
    with pytest.raises(InputError, match="slate"):
        CandidateSet(RecEnv(world, observation="full", slate=2), 5)
    with pytest.raises(InputError, match="env"):
        CandidateSet(gym.make("CartPole-v1"), 5)
    for k in (0, 1.5, True):
        with pytest.raises(InputError, match="k"):
            Candidates(world, k)  # type: ignore[arg-type]
    env = CandidateSet(RecEnv(world, observation="full"), 5)
    env.reset(seed=0)
    for bad in (-1, 5, 1.0):
        with pytest.raises(InputError, match="action"):
            env.step(bad)
    with pytest.raises(InputError, match="NaN"):
        Candidates(world, 2).retrieve(
            np.full((1, len(env.unwrapped.sim.low)), np.nan, np.float32), np.ones((1, 41), bool)
        )


def test_stable_baselines(world: World) -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_checker import check_env

    from recenv.env.sb3 import ShopVecEnv, make_vec_env

    check_env(CandidateSet(RecEnv(world, observation="full"), 5))
    with pytest.raises(InputError, match="SameStep"):
        ShopVecEnv(RecVectorEnv(2, world))
    venv, twin = make_vec_env(4, world, k=5), make_vec_env(4, world, k=5)
    oracle = CandidateVector(RecVectorEnv(4, world, observation="full", autoreset_mode="SameStep"), 5)
    for env in (venv, twin):
        env.seed(7)
    obs, first = venv.reset(), oracle.reset(seed=7)[0]
    assert same(obs, first)
    lengths, returns = np.zeros(4, int), np.zeros(4)
    ended = 0
    for _ in range(12):
        action = venv.action_masks().argmax(axis=1)
        assert np.array_equal(np.stack(venv.env_method("action_masks")), oracle.action_masks())
        obs, reward, dones, infos = venv.step(action)
        expected, gain, terminated, truncated, info = oracle.step(action)
        assert same(obs, expected)
        assert reward.dtype == np.float32
        assert np.array_equal(dones, terminated | truncated)
        lengths, returns = lengths + 1, returns + gain
        for i in range(4):
            if not dones[i]:
                assert infos[i] == {}
                continue
            ended += 1
            assert same(infos[i]["terminal_observation"], info["final_obs"][i])
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            assert infos[i]["episode"]["l"] == lengths[i]
            assert np.isclose(infos[i]["episode"]["r"], returns[i])
            lengths[i], returns[i] = 0, 0.0
    assert ended > 2
    with pytest.raises(InputError, match="cannot be set"):
        venv.set_attr("x", 1)
    model = DQN("MlpPolicy", twin, learning_starts=8, buffer_size=200, seed=0).learn(60)
    assert model.ep_info_buffer is not None
    assert len(model.ep_info_buffer) > 0
