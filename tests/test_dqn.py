"""The own DQN in a world: rebuilt observations, the factorised network, learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_world import small_world

from recenv.agents.base import EnvFactory, entry, load_policy
from recenv.agents.dqn import DQNConfig, DQNPolicy
from recenv.agents.dqn.learner import greedy_probabilities
from recenv.agents.dqn.policy import Actor, item_value
from recenv.agents.dqn.replay import EpisodeReplay
from recenv.core.errors import ArtefactError, InputError, UnsupportedError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.world import World

SMALL = {"hidden": 32, "rank": 8, "memory_hidden": 16, "envs": 32, "batch": 128, "warmup": 200, "capacity": 5_000}


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(n_items=30, n_starts=90, horizon=5)


def play(world: World, options: EnvOptions, slots: int = 12, n: int = 16) -> tuple[EpisodeReplay, dict[tuple, list]]:
    """Random play; the replay, and by (start row, first action) what the simulator itself showed of each session."""
    simulator = Simulator(world, n, replace(options, observation="full"))
    rng = np.random.default_rng(0)
    replay = EpisodeReplay(world, simulator.options, 1_000, n)
    obs, _ = simulator.reset(seed=3)
    running: list[list] = [[] for _ in range(n)]
    seen: dict[tuple, list] = {}
    for _ in range(slots):
        mask, at, start = simulator.masks(), simulator.step_count.copy(), simulator.start_row.copy()
        action = np.array([rng.choice(np.flatnonzero(row)) for row in mask])
        out = simulator.step(action)
        after = simulator.masks()
        replay.add(at, action, out.info["click"] > 0, out.info["purchase"] > 0, out.reward.astype(np.float32))
        done = out.terminated | out.truncated
        for i in range(n):
            running[i].append((obs[i], action[i], out.reward[i], out.obs[i], after[i], out.terminated[i]))
        rows = np.flatnonzero(done)
        for i in rows:
            seen[(start[i], tuple(int(step[1]) for step in running[i]))] = running[i]
            running[i] = []
        obs = out.obs.copy()
        if len(rows):
            replay.close(rows, start[rows], at[rows] + 1, out.terminated[rows])
            simulator.restart(rows)
            obs[rows] = simulator.observations(rows)
    return replay, seen


@pytest.mark.parametrize("candidates", ["all", "logged"])
def test_replay_rebuilds_what_the_simulator_showed_bit_for_bit(world: World, candidates: str) -> None:
    replay, seen = play(world, EnvOptions(candidates=candidates))
    assert len(replay) > 20
    assert len(set(replay.length[: len(replay)])) > 1, "all sessions of one length: leaving is not tested"
    for place in range(len(replay)):
        batch = replay.rebuild(np.array([place]), following=True)
        shown = seen[(replay.start_row[place], tuple(batch.action.tolist()))]
        obs, _, reward, after, mask, terminated = (np.stack(column) for column in zip(*shown))
        np.testing.assert_array_equal(batch.obs, obs)
        np.testing.assert_array_equal(batch.next_obs, after)
        np.testing.assert_array_equal(batch.next_mask, mask)
        np.testing.assert_array_equal(batch.terminated, terminated)
        np.testing.assert_array_equal(batch.reward, reward.astype(np.float32))


def test_replay_rebuilds_many_sessions_as_it_rebuilds_one(world: World) -> None:
    replay, _ = play(world, EnvOptions(candidates="all"))
    drawn = np.arange(len(replay))
    every = replay.rebuild(drawn, following=False)
    assert len(every) == replay.length[: len(replay)].sum()
    assert every.next_obs is None
    ones = {tuple(row) for place in drawn for row in replay.rebuild(drawn[[place]], following=False).obs}
    assert {tuple(row) for row in every.obs} == ones


def test_replay_keeps_less_than_a_hundred_bytes_a_transition(world: World) -> None:
    options = EnvOptions(candidates="all").resolve(world)
    assert EpisodeReplay(world, options, 10_000, 16).bytes_per_transition < 100


def lively(world: World, discount: float = 0.0) -> tuple[DQNPolicy, np.ndarray, np.ndarray]:
    """A policy whose parameters are all away from 0, with observations and masks from the middle of sessions."""
    policy = DQNPolicy(world, SMALL | {"discount": discount, "top_items": 8})
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    simulator = Simulator(world, 40, EnvOptions(observation="full", candidates="all", leave="never"))
    simulator.reset(seed=1)
    rng = np.random.default_rng(2)
    for _ in range(3):
        simulator.step(rng.integers(0, world.n_actions, 40))
    return policy, simulator.observations(), simulator.masks()


@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_value_of_an_action_is_the_same_alone_and_among_all(world: World, discount: float) -> None:
    policy, obs, _ = lively(world, discount)
    x = torch.from_numpy(obs)
    with torch.no_grad():
        q = policy.network(x)
        for action in range(0, world.n_actions, 7):
            alone = policy.network.taken(x, torch.full((len(obs),), action))
            torch.testing.assert_close(alone, q[:, action], atol=2e-6, rtol=1e-5)


def test_best_value_is_the_maximum_over_the_allowed_actions(world: World) -> None:
    policy, obs, mask = lively(world, 0.9)
    mask[:5] = False
    mask[:, 1] = False
    x, allowed = torch.from_numpy(obs), torch.from_numpy(mask)
    with torch.no_grad():
        q = policy.network(x).masked_fill(~allowed, -torch.inf)
        best = policy.network.best(x, allowed, policy.network)
    torch.testing.assert_close(best[5:], q.amax(1)[5:], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(best[:5], policy.network(x)[:5, 0].detach(), atol=2e-6, rtol=1e-5)


def test_memory_moves_the_remembered_items_alone(world: World) -> None:
    policy, obs, _ = lively(world)
    start, stop = policy.slices["memory_age"]
    older = obs.copy()
    older[:, start:stop] = np.minimum(older[:, start:stop] + 1.0, 12.0)
    with torch.no_grad():
        moved = (policy.network(torch.from_numpy(older)) != policy.network(torch.from_numpy(obs))).numpy()
    first, last = policy.slices["memory_item"]
    remembered = [set(row[row >= 0].astype(int)) for row in obs[:, first:last]]
    changed = [set(world.action_item[row]) for row in moved]
    assert all(some <= items for some, items in zip(changed, remembered))
    # A dead unit may leave a single one where it was.
    assert sum(map(len, changed)) > 0.9 * sum(map(len, remembered)) > 0


def test_graph_of_fixed_shapes_for_export_gives_the_same_values(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, obs, _ = lively(world)
    with torch.no_grad():
        sparse = policy.network(torch.from_numpy(obs))
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        dense = policy.network(torch.from_numpy(obs))
    torch.testing.assert_close(dense, sparse, atol=2e-6, rtol=1e-5)


def test_item_never_learned_about_has_a_value_of_its_own(world: World) -> None:
    policy, obs, _ = lively(world)
    network = policy.network
    with torch.no_grad():
        network.item_bias.zero_()
        network.text_bias.zero_()
        before = network(torch.from_numpy(obs))
        network.item_x[4] = network.item_x[9] * -1.0
        after = network(torch.from_numpy(obs))
    changed = (before != after).any(0).numpy()
    assert set(world.action_item[changed]) == {4}


def train(world: World, config: dict, steps: int = 4_000, seed: int = 0, **options: object) -> DQNPolicy:
    policy = DQNPolicy(world, SMALL | config, seed)
    policy.train(EnvFactory(world, EnvOptions(reward="gross", candidates="all", **options)), steps, seed)
    return policy


def gross(world: World, policy: object, n: int = 400) -> float:
    """Expected purchases in a session of validation users, common random numbers."""
    simulator = Simulator(
        world,
        n,
        EnvOptions(reward="gross", reward_mode="expected", candidates="all", observation="full", split="validation"),
    )
    obs, _ = simulator.reset(seed=11)
    total, live, rng = np.zeros(n), np.ones(n, bool), np.random.default_rng(0)
    for _ in range(simulator.options.horizon):
        out = simulator.step(policy.act(obs, simulator.masks(), rng))  # type: ignore[attr-defined]
        total += out.reward * live
        live &= ~(out.terminated | out.truncated)
        obs = out.obs
    return float(total.mean())


def test_learns_a_world_nearly_as_well_as_the_response_model_knows_it() -> None:
    world = small_world(n_items=30, n_starts=600, horizon=5)
    learned = gross(world, train(world, {"envs": 16}, steps=6_000))
    greedy = gross(world, entry("model-greedy")(world, {"reward": "gross"}))
    popular = gross(world, entry("popular")(world))
    assert learned > popular
    assert learned >= 0.95 * greedy


def test_looking_ahead_learns_the_world_too(world: World) -> None:
    assert gross(world, train(world, {"discount": 0.7}, steps=3_000)) > gross(world, entry("popular")(world))


def test_same_seed_same_weights_and_another_seed_others(world: World) -> None:
    torch.manual_seed(0)
    one = train(world, {}, 1_000).network.state_dict()
    before = torch.random.get_rng_state()
    two = train(world, {}, 1_000).network.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator was touched"
    other = train(world, {}, 1_000, seed=1).network.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_saved_policy_acts_as_before_and_needs_its_weights(world: World, tmp_path: Path) -> None:
    policy = train(world, {}, 1_000, w_revenue=1.0)
    policy.save(tmp_path)
    again = load_policy(tmp_path, world)
    _, obs, mask = lively(world)
    np.testing.assert_array_equal(again.probabilities(obs, mask), policy.probabilities(obs, mask))
    (tmp_path / "dqn.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"dqn\.safetensors"):
        load_policy(tmp_path, world)


def test_value_of_a_response_counts_what_is_rewarded(world: World) -> None:
    revenue = EnvOptions(w_revenue=1.0).resolve(world)
    np.testing.assert_allclose(item_value(world, revenue), world.revenue_per_purchase)
    np.testing.assert_array_equal(item_value(world, EnvOptions(w_click=0.5, w_purchase=1.0).resolve(world)), 1.5)


def test_exploring_tries_other_copies_and_never_a_masked_action(world: World) -> None:
    policy, obs, mask = lively(world)
    simulator = Simulator(world, len(obs), EnvOptions(observation="full", candidates="all"))
    config = DQNConfig(copy_share=1.0)
    learner = type("Online", (), {"online": policy.network})()
    actor = Actor(simulator, learner, config, np.random.default_rng(0))
    greedy = actor.explore(obs, mask, 0.0)
    copies = np.array([actor.explore(obs, mask, 1.0) for _ in range(20)])
    assert (world.action_item[copies] == world.action_item[greedy]).all()
    assert (copies != greedy).any()
    actor.config = DQNConfig(copy_share=0.0)
    anything = np.array([actor.explore(obs, mask, 1.0) for _ in range(20)])
    assert mask[np.arange(len(obs)), anything].all()
    assert len(np.unique(anything)) > 0.8 * world.n_actions


def test_discount_of_nought_is_called_a_bandit(world: World) -> None:
    assert DQNPolicy(world).label == "dqn-0"
    assert DQNPolicy(world, {"discount": 0.5}).label == "dqn"


@pytest.mark.parametrize("option", [{"discount": 1.0}, {"epsilon_end": -0.1}, {"batch": 0}, {"lr": float("nan")}])
def test_settings_out_of_range_are_refused(world: World, option: dict) -> None:
    with pytest.raises(InputError, match=next(iter(option))):
        DQNPolicy(world, option)


def test_unknown_option_and_slates_are_refused(world: World) -> None:
    with pytest.raises(InputError, match="n_step"):
        DQNPolicy(world, {"n_step": 3})
    with pytest.raises(UnsupportedError, match="slate"):
        train(world, {}, 100, slate=2)


def test_epsilon_greedy_spreads_over_the_allowed_actions_alone() -> None:
    values = np.array([[1.0, 5.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0]], np.float32)
    mask = np.array([[True, False, True, True], [False, False, False, False]])
    p = greedy_probabilities(values, mask, 0.3)
    np.testing.assert_allclose(p[0], [0.1, 0.0, 0.1, 0.8], atol=1e-6)
    np.testing.assert_allclose(p[1], [1.0, 0.0, 0.0, 0.0])
