"""Every registered policy through one tester; then what is particular to each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_world import small_world

from recenv.agents.base import REGISTRY, EnvFactory, NullLog, draw, entry, load_policy
from recenv.agents.dense import DenseResponse
from recenv.agents.evaluate import entropy, evaluate
from recenv.agents.knn import KNNConfig, similarities, user_items
from recenv.core.errors import ArtefactError, InputError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.observation import layout
from recenv.response.features import cross_from_full
from recenv.state import N_KINDS, PURCHASE
from recenv.trust.ranking import gini
from recenv.world import World

TRAIN = EnvOptions(reward_mode="expected", candidates="all")
WORLDS = {
    "copies": {"copies": 3},
    "bare": {"copies": 0, "responses": ("purchase",), "leave": False, "has_unshown": False, "offers_known": False},
}


@pytest.fixture(scope="module", params=sorted(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return small_world(1, n_items=12, n_starts=90, **WORLDS[request.param])


@pytest.fixture(scope="module")
def trained(world: World) -> dict[str, Any]:
    """Each policy once, briefly trained where it can be."""
    return {}


def policy_of(name: str, world: World, trained: dict[str, Any]) -> Any:
    if name not in trained:
        policy = REGISTRY[name](world, None, 3)
        if REGISTRY[name].trainable:
            policy.train(EnvFactory(world, TRAIN), 640, 3, NullLog())
        trained[name] = policy
    return trained[name]


def situations(world: World, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Observations of sessions under way and random masks; row 0 allows nothing, row 1 only to show nothing."""
    sim = Simulator(world, n, EnvOptions(observation="full", candidates="all", leave="never", split="validation"))
    sim.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(2):
        sim.step(draw((sim.masks() / sim.masks().sum(axis=1, keepdims=True)).astype(np.float32), rng))
    mask = sim.masks() & (rng.random((n, world.n_actions)) < 0.6)
    mask[:, 0] = rng.random(n) < 0.5
    mask[0], mask[1] = False, False
    mask[1, 0] = True
    return sim.observations(), mask


@pytest.mark.parametrize("name", list(REGISTRY))
def test_every_policy_keeps_the_protocol(name: str, world: World, trained: dict[str, Any], tmp_path: Path) -> None:
    policy = policy_of(name, world, trained)
    obs, mask = situations(world)
    before = obs.copy(), mask.copy()
    p = policy.probabilities(obs, mask)

    assert policy.name == name
    assert policy.observation in ("summary", "full")
    assert p.shape == mask.shape
    assert p.dtype == np.float32
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-5)
    assert (p[1:][~mask[1:]] == 0).all(), "a masked action has probability 0"
    assert p[0, 0] == 1.0, "where nothing is allowed, nothing is shown"
    assert p[1, 0] == 1.0
    one_by_one = np.concatenate([policy.probabilities(obs[i : i + 1], mask[i : i + 1]) for i in range(len(obs))])
    np.testing.assert_allclose(one_by_one, p, atol=1e-5)

    actions = policy.act(obs, mask, np.random.default_rng(7))
    assert actions.shape == (len(obs),)
    assert actions.dtype == np.int64
    assert (p[np.arange(len(obs)), actions] > 0).all()
    np.testing.assert_array_equal(actions, policy.act(obs, mask, np.random.default_rng(7)))
    np.testing.assert_array_equal(obs, before[0])
    np.testing.assert_array_equal(mask, before[1])

    check_frequencies(policy, obs[2], mask[2])
    check_bad_input(policy, obs, mask)
    policy.save(tmp_path / "saved")
    again = load_policy(tmp_path / "saved", world)
    np.testing.assert_array_equal(again.probabilities(obs, mask), p)
    assert {f.suffix for f in (tmp_path / "saved").iterdir()} <= {".json", ".safetensors"}


def check_frequencies(policy: Any, obs: np.ndarray, mask: np.ndarray, n: int = 2_000) -> None:
    """What `act` draws is what `probabilities` says."""
    p = policy.probabilities(obs[None], mask[None])[0].astype(np.float64)
    actions = policy.act(np.tile(obs, (n, 1)), np.tile(mask, (n, 1)), np.random.default_rng(11))
    share = np.bincount(actions, minlength=len(p)) / n
    assert (np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / n) + 1e-6).all()


def check_bad_input(policy: Any, obs: np.ndarray, mask: np.ndarray) -> None:
    for bad in (np.nan, np.inf):
        broken = obs.copy()
        broken[3, 2] = bad
        with pytest.raises(InputError, match="finite"):
            policy.act(broken, mask, np.random.default_rng(0))
    with pytest.raises(InputError, match="shape"):
        policy.act(obs[:, :-1], mask, np.random.default_rng(0))
    with pytest.raises(InputError, match="shape"):
        policy.act(obs, mask[:, :-1], np.random.default_rng(0))


@pytest.mark.parametrize("name", [n for n in REGISTRY if REGISTRY[n].trainable])
def test_learners_repeat_themselves(name: str, world: World, trained: dict[str, Any]) -> None:
    first = policy_of(name, world, trained)
    state = np.random.get_state()[1].copy()
    second = REGISTRY[name](world, None, 3)
    second.train(EnvFactory(world, TRAIN), 640, 3, NullLog())
    obs, mask = situations(world)
    np.testing.assert_array_equal(first.probabilities(obs, mask), second.probabilities(obs, mask))
    np.testing.assert_array_equal(np.random.get_state()[1], state, "the global generator is left alone")


@pytest.mark.parametrize("name", list(REGISTRY))
def test_unknown_option_is_refused(name: str, world: World) -> None:
    with pytest.raises(InputError, match="no_such_option"):
        REGISTRY[name](world, {"no_such_option": 1}, 0)


def test_unknown_agent_and_missing_folder(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not registered"):
        entry("dnq")
    with pytest.raises(ArtefactError, match=r"policy\.json"):
        load_policy(tmp_path, world)


def test_policy_of_another_action_table_is_refused(world: World, tmp_path: Path) -> None:
    REGISTRY["popular"](world).save(tmp_path)
    other = small_world(1, n_items=13, n_starts=9)
    with pytest.raises(ArtefactError, match="actions"):
        load_policy(tmp_path, other)


def test_logged_follows_the_segments_rates(world: World) -> None:
    obs, mask = situations(world)
    mask[:] = True
    start, stop = layout(world.spec, "full")["profile"]
    segment = world.segment_of(obs[:, start:stop])
    p = REGISTRY["logged"](world).probabilities(obs, mask)
    by_item = np.zeros((len(obs), world.n_items))
    np.add.at(by_item.T, world.action_item[1:], p[:, 1:].T)
    np.testing.assert_allclose(by_item, world.logged_rates[segment], atol=1e-6)
    assert len(set(segment.tolist())) > 1


def history(world: World, items: list[int], counts: list[int], ages: list[float]) -> np.ndarray:
    """(1, size) an observation whose memory holds these items with these numbers of purchases and ages."""
    at = layout(world.spec, "full")
    obs = np.zeros((1, max(stop for _, stop in at.values())), np.float32)
    memory = np.full(world.spec.memory, -1.0, np.float32)
    memory[: len(items)] = items
    table = np.zeros((world.spec.memory, N_KINDS), np.float32)
    table[: len(items), PURCHASE] = counts
    age = np.full(world.spec.memory, 12.0, np.float32)
    age[: len(items)] = ages
    for name, value in (("memory_item", memory), ("memory_counts", table.ravel()), ("memory_age", age)):
        obs[0, at[name][0] : at[name][1]] = value
    return obs


@pytest.mark.parametrize(
    ("name", "best", "second", "without_history"),
    [("popular", 0, 1, 0), ("personal-popular", 7, 9, 0), ("last-seen", 9, 4, 0)],
)
def test_counting_policies_choose_as_they_say(
    name: str, best: int, second: int, without_history: int, world: World
) -> None:
    policy = REGISTRY[name](world)
    mask = np.ones((1, world.n_actions), bool)
    obs = history(world, [4, 7, 9], [1, 5, 2], [3.0, 6.0, 1.0])

    def choice(obs: np.ndarray, mask: np.ndarray) -> int:
        return int(world.action_item[policy.probabilities(obs, mask)[0].argmax()])

    assert choice(obs, mask) == best
    assert choice(obs, mask & (world.action_item != best)) == second
    assert choice(history(world, [], [], []), mask) == without_history


@pytest.mark.parametrize("measure", ["cosine", "pearson"])
def test_similarities_equal_the_textbook(measure: str) -> None:
    world = small_world(2, n_items=10, n_starts=60)
    users = user_items(world)
    dense = users.toarray()
    found = similarities(users, measure, KNNConfig(neighbours=10, shrink=0.0)).toarray()
    if measure == "cosine":
        norm = np.linalg.norm(dense, axis=0)
        expected = dense.T @ dense / np.outer(norm, norm)
    else:
        expected = np.where(dense.T @ dense > 0, np.corrcoef(dense.T), 0.0)
    expected = np.maximum(expected, 0.0)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("reward", ["gross", "incremental"])
@pytest.mark.parametrize("weights", [{}, {"w_click": 0.2, "w_revenue": 1.0, "cost": 0.05}])
@pytest.mark.parametrize("responses", [("click", "purchase", "revenue"), ("purchase", "revenue")])
def test_greedy_values_are_the_simulators_expectations(
    reward: str, weights: dict[str, float], responses: tuple[str, ...]
) -> None:
    weights = {k: v for k, v in weights.items() if k.removeprefix("w_") in responses or k == "cost"}
    world = small_world(4, n_items=15, n_starts=60, copies=3, responses=responses)
    options = EnvOptions(observation="full", candidates="all", reward=reward, leave="never", repeats="allow", **weights)
    sim = Simulator(world, 16, options)
    greedy = REGISTRY["model-greedy"](world, {"reward": reward, **weights})
    sim.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(4):
        obs, mask = sim.observations(), sim.masks()
        values = greedy.values(obs, mask)
        actions = rng.integers(0, world.n_actions, sim.n)
        expected = sim.respond(actions).amounts[reward]
        np.testing.assert_allclose(values[np.arange(sim.n), actions], expected, atol=2e-5)
        few = mask & (rng.random(mask.shape) < 0.05)
        np.testing.assert_allclose(greedy.values(obs, few)[few], values[few], atol=2e-5)
        sim.step(actions)


def test_cross_features_of_the_whole_catalogue_equal_those_pair_by_pair() -> None:
    world = small_world(4, n_items=15, n_starts=60)
    sim = Simulator(world, 20, EnvOptions(observation="full", candidates="all", leave="never", repeats="allow"))
    sim.reset(seed=2)
    dense, rng = DenseResponse(world), np.random.default_rng(0)
    for _ in range(4):
        obs = sim.observations()
        every = np.broadcast_to(np.arange(world.n_items), (sim.n, world.n_items))
        np.testing.assert_allclose(dense.cross(obs), cross_from_full(world.spec, obs, every), atol=2e-5)
        sim.step(rng.integers(0, world.n_actions, sim.n))
    assert (dense.cross(obs)[:, :, 25:].max(axis=(0, 1)) > 0).all(), "recent events are among what was compared"


def test_greedy_shows_nothing_where_showing_costs_more_than_it_brings() -> None:
    world = small_world(4, n_items=15, n_starts=60)
    obs, _ = situations(world)
    mask = np.ones((len(obs), world.n_actions), bool)
    assert (REGISTRY["model-greedy"](world, {"cost": 5.0}).act(obs, mask, np.random.default_rng(0)) == 0).all()
    assert (REGISTRY["model-greedy"](world, {"reward": "gross"}).act(obs, mask, np.random.default_rng(0)) > 0).all()


def test_linucb_is_ridge_regression() -> None:
    world = small_world(3, n_items=10, n_starts=30)
    policy = REGISTRY["linucb"](world, {"ridge": 2.0})
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(200, policy.candidates.n_features)), rng.normal(size=200)
    for part in np.array_split(np.arange(200), 7):
        policy._update(x[part], r[part])
    expected = np.linalg.solve(x.T @ x + 2.0 * np.eye(x.shape[1]), x.T @ r)
    np.testing.assert_allclose(policy.theta, expected, atol=1e-10)
    assert policy.bound(x[:1], 1.0) > policy.bound(x[:1], 0.0)


@pytest.mark.parametrize("name", ["linucb", "sb3-dqn", "sb3-ppo", "sb3-a2c", "sb3-qrdqn", "sb3-maskable-ppo"])
def test_learners_over_candidates_beat_chance(name: str) -> None:
    world = small_world(6, n_items=12, n_starts=90, copies=1, leave=False)
    env = EnvOptions(reward_mode="expected", candidates="all", reward="gross", horizon=3)
    policy = REGISTRY[name](world, {"k": 12}, 0)
    policy.train(EnvFactory(world, env), 6_000, 0, NullLog())
    gross = {}
    for who in (policy, REGISTRY["random"](world), REGISTRY["model-greedy"](world, {"reward": "gross"})):
        gross[who.name] = evaluate(who, world, env, 300, 1).totals["gross"].mean()
    assert gross[name] > gross["random"] + 0.3 * (gross["model-greedy"] - gross["random"])


def test_episodes_are_paired_and_repeatable() -> None:
    world = small_world(6, n_items=12, n_starts=90)
    env = EnvOptions(split="validation")
    runs = [
        evaluate(REGISTRY[n](world), world, env, 70, 4, envs=32, samples=2) for n in ("random", "popular", "random")
    ]
    np.testing.assert_array_equal(runs[0].start_row, runs[1].start_row)
    assert set(world.start.split[runs[0].start_row].tolist()) == {1}
    for term, values in runs[0].totals.items():
        np.testing.assert_array_equal(values, runs[2].totals[term])
    assert not np.array_equal(runs[0].totals["gross"], runs[1].totals["gross"])
    assert len(runs[0]) == 70
    assert (runs[0].length > 0).all()
    assert runs[0].samples[0].count("\n") == runs[0].length[0]


def test_metrics_add_up() -> None:
    world = small_world(6, n_items=12, n_starts=90, leave=False, horizon=4)
    result = evaluate(REGISTRY["popular"](world), world, EnvOptions(candidates="all"), 50, 0)
    metrics = result.metrics()
    assert metrics["eval/mean_ep_length"] == 4
    assert metrics["shop/item_coverage"] == pytest.approx(4 / 12)
    assert metrics["shop/masked_share"] == 0
    assert result.shown.sum() == 200
    assert metrics["shop/ctr"] == pytest.approx(result.totals["click"].sum() / 200)
    assert metrics["shop/revenue_per_session"] == pytest.approx(result.totals["revenue"].mean())
    assert result.styles.sum() == 200


def test_gini_and_entropy_of_known_shares() -> None:
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert entropy(np.array([5, 5])) == pytest.approx(1)
    assert entropy(np.array([5, 0])) == 0
