"""The solvable shop: its optimum, the order of its policies, its environments."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.env.mdp import FiniteMDP
from recenv.env.solvable import SolvableEnv, SolvableVectorEnv, as_autoreset
from recenv.env.solvable_shop import KERNEL_STATES, N_ACTIONS, features, shop


def test_gaps_between_random_fixed_myopic_and_optimal() -> None:
    mdp = shop()
    value, q = mdp.solve()
    optimum = float(mdp.start @ value)
    ladder = [mdp.value_of(p) for p in (mdp.uniform(), mdp.always(mdp.best_fixed()), mdp.myopic(), mdp.greedy(q))]
    assert (np.diff(ladder) >= 0.15 * optimum).all(), ladder
    assert ladder[-1] == pytest.approx(optimum, rel=1e-12)
    assert ladder[0] >= 0.1 * optimum


def test_no_improvement_on_the_optimum_is_found_by_policy_iteration() -> None:
    mdp = shop(6)
    policy = mdp.uniform()
    for _ in range(20):
        policy = mdp.greedy(mdp.reward + mdp.transition @ mdp.state_values(policy))
    assert mdp.value_of(policy) == pytest.approx(float(mdp.start @ mdp.solve()[0]), rel=1e-12)


def test_two_state_process_against_the_sums_worked_by_hand() -> None:
    # Stay for 1 with probability 1/2, else end: 1 + 1/2 + 1/4 + ... = 2; the other action takes 1.5 at once.
    transition = np.array([[[0.5, 0.5], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    mdp = FiniteMDP(transition, np.array([[1.0, 1.5], [0.0, 0.0]]), np.array([1.0, 0.0]))
    assert mdp.value_of(mdp.always(0)) == pytest.approx(2.0)
    assert mdp.value_of(mdp.myopic()) == pytest.approx(1.5)
    assert mdp.value_of(mdp.uniform()) == pytest.approx(1.25 / 0.75)
    assert mdp.solve()[0] == pytest.approx([2.0, 0.0])


def test_bad_processes_and_policies_are_named() -> None:
    with pytest.raises(InputError, match="sum to one"):
        FiniteMDP(np.ones((1, 1, 1)) * 0.9, np.zeros((1, 1)), np.ones(1))
    with pytest.raises(InputError, match="policy"):
        shop(3).value_of(np.ones((2, 2)))
    with pytest.raises(InputError, match="fixed point"):
        FiniteMDP(np.ones((1, 1, 1)), np.ones((1, 1)), np.ones(1)).solve(sweeps=10)


@pytest.mark.parametrize("name", ["uniform", "optimal"])
def test_sampled_return_agrees_with_the_exact_value(name: str) -> None:
    mdp = shop()
    policy = mdp.uniform() if name == "uniform" else mdp.greedy(mdp.solve()[1])
    n = 20_000
    env = SolvableVectorEnv(n, autoreset_mode="Disabled")
    env.reset(seed=5)
    rng = np.random.default_rng(0)
    total, live = np.zeros(n), np.ones(n, np.bool_)
    while live.any():
        rows = np.flatnonzero(live)
        state = env._users.step[rows] * KERNEL_STATES + env._users.state[rows]
        u = rng.random(len(rows))[:, None]
        action = np.minimum((u >= policy[state].cumsum(axis=1)).sum(axis=1), N_ACTIONS - 1)
        reward, ended = env._users.move(rows, action)
        total[rows] += reward
        live[rows] = ~ended
    assert abs(total.mean() - mdp.value_of(policy)) < 4 * total.std() / np.sqrt(n)


def test_observation_tells_every_state_apart() -> None:
    state = np.tile(np.arange(KERNEL_STATES), 12)
    seen = features(state, np.repeat(np.arange(12), KERNEL_STATES), 12)
    assert len(np.unique(seen, axis=0)) == 12 * KERNEL_STATES
    assert seen.dtype == np.float32
    assert SolvableEnv().observation_space.contains(seen[-1])


def test_gymnasium_checker_without_warnings() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        # Made by id: only then does the checker try each render mode that the environment declares.
        env = gym.make("recenv/Solvable-v0", render_mode="ansi").unwrapped
        assert env.spec is not None
        assert env.metadata["render_modes"] == ["ansi"]
        check_env(env)
    assert [str(w.message) for w in heard] == []
    env.reset(seed=0)
    env.step(np.int64(1))
    assert "action 1" in str(env.render())
    assert SolvableEnv().render() is None


def test_sb3_checker_without_warnings() -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        sb3.check_env(SolvableEnv())
    assert [str(w.message) for w in heard] == []


def _actions(n: int, steps: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(N_ACTIONS, size=(steps, n))


def _episodes(env: SolvableVectorEnv, actions: NDArray[np.int64], mode: str) -> list[list[list[Any]]]:
    """(observation, reward, ended) of each environment, per episode, in one form for all modes."""
    first, _ = env.reset(seed=11)
    episodes: list[list[list[Any]]] = [[[first[i].tolist()]] for i in range(env.num_envs)]
    used = np.zeros(env.num_envs, np.int64)
    over = np.zeros(env.num_envs, np.bool_)
    for _ in range(60):
        if mode == "Disabled" and over.any():
            seen, _ = env.reset(options={"reset_mask": over})
            for ended in np.flatnonzero(over):
                episodes[ended].append([seen[ended].tolist()])
            over[:] = False
        begins = over.copy()
        seen, reward, over, truncated, info = env.step(actions[used, np.arange(env.num_envs)])
        assert not truncated.any()
        for i in range(env.num_envs):
            if begins[i] and mode == "NextStep":
                assert reward[i] == 0.0
                assert not over[i]
                episodes[i].append([seen[i].tolist()])
                continue
            used[i] += 1
            last = info["final_obs"][i] if mode == "SameStep" and over[i] else seen[i]
            episodes[i][-1].append((last.tolist(), reward[i], bool(over[i])))
            if mode == "SameStep" and over[i]:
                episodes[i].append([seen[i].tolist()])
        if mode == "SameStep":
            over = np.zeros_like(over)
    return [[episode for episode in env_episodes if len(episode) > 1][:3] for env_episodes in episodes]


def test_the_three_autoreset_modes_give_the_same_episodes() -> None:
    actions = _actions(5, 200)
    runs = [_episodes(SolvableVectorEnv(5, autoreset_mode=m), actions, m) for m in ("NextStep", "SameStep", "Disabled")]
    assert runs[0] == runs[1] == runs[2]
    assert all(len(episodes) == 3 for episodes in runs[0])


def test_trajectories_do_not_depend_on_the_number_of_environments() -> None:
    actions = _actions(64, 40)
    batch = SolvableVectorEnv(64, autoreset_mode="SameStep")
    few = SolvableVectorEnv(3, autoreset_mode="SameStep")
    single = SolvableEnv(env_index=2)
    seen = [batch.reset(seed=9)[0], few.reset(seed=9)[0], single.reset(seed=9)[0]]
    for row in actions:
        assert np.array_equal(seen[0][:3], seen[1])
        assert np.array_equal(seen[1][2], seen[2])
        many, some, one = batch.step(row), few.step(row[:3]), single.step(row[2])
        assert np.array_equal(many[1][:3], some[1])
        assert some[1][2] == one[1]
        assert some[2][2] == one[2]
        seen = [many[0], some[0], single.reset()[0] if one[2] else one[0]]


def test_environments_differ_and_so_do_seeds_and_episodes() -> None:
    env = SolvableVectorEnv(200, autoreset_mode="SameStep")
    first, second = env.reset(seed=1)[0], env.reset()[0]
    other, again = env.reset(seed=2)[0], env.reset(seed=1)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert len(np.unique(first, axis=0)) > 4


def test_misuse_is_named() -> None:
    env = SolvableVectorEnv(2, autoreset_mode="Disabled", horizon=2)
    env.reset(seed=0)
    for bad in ([0, 9], [0, -1], [0], [0.5, 1.0]):
        with pytest.raises(InputError, match="action"):
            env.step(np.asarray(bad))
    env.step(np.zeros(2, np.int64))
    env.step(np.zeros(2, np.int64))
    with pytest.raises(InputError, match="ended"):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(InputError, match="reset_mask"):
        env.reset(options={"reset_mask": np.zeros(2, np.bool_)})
    with pytest.raises(InputError, match="unknown"):
        env.reset(options={"colour": 1})
    with pytest.raises(InputError, match="autoreset_mode"):
        as_autoreset("sometimes")
    with pytest.raises(InputError, match="horizon"):
        SolvableEnv(horizon=1)


def test_pickle_goes_on_where_it_was() -> None:
    env: gym.Env[Any, Any] = SolvableEnv(render_mode="ansi")
    env.reset(seed=3)
    env.step(np.int64(1))
    twin = pickle.loads(pickle.dumps(env))
    for action in (2, 7):
        assert np.array_equal(env.step(action)[0], twin.step(action)[0])
    assert "segment" in str(env.render())
