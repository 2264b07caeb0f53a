"""The own DQN in any vector environment: a known optimum, transitions in every autoreset mode."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorWrapper
from helpers_world import small_world

from recenv.agents.dqn import PlainDQN
from recenv.agents.dqn.collect import collect
from recenv.core.errors import ArtefactError, InputError
from recenv.env.solvable import SolvableVectorEnv
from recenv.env.vector import RecVectorEnv
from recenv.env.wrappers import CandidateVector
from recenv.world import World

SMALL = {"hidden": 32, "rank": 8, "memory_hidden": 16, "envs": 32, "batch": 128, "warmup": 200, "capacity": 5_000}


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_items=30, n_starts=90, horizon=5)


class Values:
    """Keeps the exact value, as a share of the optimum, of the policy at each report."""

    def __init__(self, env: SolvableVectorEnv) -> None:
        self.mdp, self.optimum, self.shares = env.mdp, float(env.mdp.start @ env.mdp.solve()[0]), []

    def log(self, step: int, values: dict) -> None:
        assert all(np.isfinite(v) for v in values.values())

    def checkpoint(self, step: int, policy: PlainDQN) -> None:
        from recenv.env.solvable_shop import KERNEL_STATES, N_ACTIONS, features

        if len(self.shares) % 2 == 0 or step > 45_000:
            state, at = np.tile(np.arange(KERNEL_STATES), 12), np.repeat(np.arange(12), KERNEL_STATES)
            table = np.vstack([policy.probabilities(features(state, at, 12)), np.eye(1, N_ACTIONS)])
            self.shares.append(self.mdp.value_of(table.astype(np.float64)) / self.optimum)


@pytest.mark.parametrize("seed", [0])
def test_reaches_and_holds_the_optimum_of_the_solvable_shop(seed: int) -> None:
    env = SolvableVectorEnv(64)
    policy = PlainDQN(env.single_observation_space, env.single_action_space, seed=seed)
    values = Values(env)
    policy.train(env, 50_000, seed, values)
    assert values.shares[-1] >= 0.95
    assert min(values.shares[-3:]) >= 0.95, values.shares


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_no_transition_crosses_a_reset(mode: str) -> None:
    env = SolvableVectorEnv(8, autoreset_mode=mode)

    def always(obs: np.ndarray, mask: np.ndarray, progress: float) -> np.ndarray:
        return np.full(8, 1)

    returns: list[float] = []
    batches = [batch for _, batch in collect(env, 4, 600, always, returns)]
    obs, after = (np.concatenate([getattr(b, n) for b in batches]) for n in ("obs", "next_obs"))
    reward = np.concatenate([b.reward for b in batches])
    # The clock moves by one step in every transition, across no reset.
    np.testing.assert_allclose(after[:, -1] - obs[:, -1], 1 / 12, atol=1e-6)
    assert len(returns) > 20
    assert sum(returns) <= reward.sum() <= sum(returns) + 8 * 12


def _by_environment(mode: str, world: World, k: int | None) -> list[list[tuple[bytes, ...]]]:
    """The transitions of each of 4 environments, in order, with actions that depend on what is seen and allowed."""
    base = RecVectorEnv(4, world, autoreset_mode=mode, observation="full", repeats="forbid")
    env = base if k is None else CandidateVector(base, k)
    live = np.ones(4, np.bool_)

    def choose(obs: np.ndarray, mask: np.ndarray, progress: float) -> np.ndarray:
        live[:] = ~base._ended if mode == "NextStep" else True
        allowed = [np.flatnonzero(row) for row in mask]
        return np.array([a[int(1_000 * abs(o).sum()) % len(a)] for a, o in zip(allowed, obs)])

    found: list[list[tuple[bytes, ...]]] = [[] for _ in range(4)]
    for _, batch in collect(env, 4, 300, choose, []):
        for i, row in enumerate(np.flatnonzero(live)):
            found[row].append(tuple(np.asarray(getattr(batch, f.name)[i]).tobytes() for f in fields(batch)))
    return found


@pytest.mark.parametrize("k", [None, 60])
def test_transitions_are_the_same_in_every_autoreset_mode(world: World, k: int | None) -> None:
    """Bit for bit, masks of ended sessions included: those of the session that ended, not of the next one."""
    same, then, none = (_by_environment(mode, world, k) for mode in ("SameStep", "NextStep", "Disabled"))
    for i in range(4):
        n = min(len(run[i]) for run in (same, then, none))
        assert n > 40
        assert same[i][:n] == none[i][:n]
        assert then[i][:n] == none[i][:n]


def test_masks_without_the_last_ones_of_ended_sessions_are_refused() -> None:
    class Foreign(VectorWrapper):
        def action_masks(self) -> np.ndarray:
            return np.ones((self.num_envs, self.single_action_space.n), np.bool_)

    def always(obs: np.ndarray, mask: np.ndarray, progress: float) -> np.ndarray:
        return np.full(8, 1)

    assert list(collect(Foreign(SolvableVectorEnv(8)), 4, 300, always, []))
    with pytest.raises(InputError, match="final_masks"):
        list(collect(Foreign(SolvableVectorEnv(8, autoreset_mode="SameStep")), 4, 300, always, []))


def test_plain_policy_saves_loads_and_refuses(tmp_path: Path) -> None:
    box, actions = Box(-2.0, 2.0, (3,), np.float32), Discrete(4)
    policy = PlainDQN(box, actions, {"hidden": 8, "rank": 4}, seed=3)
    obs = np.random.default_rng(0).uniform(-2, 2, (10, 3)).astype(np.float32)
    policy.save(tmp_path)
    np.testing.assert_array_equal(PlainDQN.load(tmp_path).probabilities(obs), policy.probabilities(obs))
    with pytest.raises(InputError, match="finite"):
        policy.act(np.full((1, 3), np.nan, np.float32), None, np.random.default_rng(0))
    with pytest.raises(InputError, match="Discrete"):
        PlainDQN(box, Box(0, 1, (2,)))
    with pytest.raises(ArtefactError, match="plain_dqn"):
        PlainDQN.load(tmp_path / "nothing")
