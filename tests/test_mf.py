"""Matrix factorisation against the textbook, its fold-in, its graph; and the two stages built on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_world import small_world
from scipy import sparse

from recenv.agents.base import REGISTRY, load_policy
from recenv.agents.export import exporter
from recenv.agents.mf import MFConfig, confidence, fold_in, item_factors
from recenv.core.errors import ArtefactError, InputError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.world import World


def acts(users: int, items: int, seed: int = 0) -> np.ndarray:
    """(users, items) counts: half of the users act on the first half of the items, half on the second."""
    rng = np.random.default_rng(seed)
    own = (np.arange(users)[:, None] < users // 2) == (np.arange(items)[None] < items // 2)
    return rng.poisson(np.where(own, 0.8, 0.02)).astype(np.float64)


def memory(counts: np.ndarray, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Items (n, width) in random slots, -1 where empty, and acts on each."""
    item, n_acts = np.full((len(counts), width), -1), np.zeros((len(counts), width))
    for row, own in enumerate(counts):
        known = rng.permutation(np.flatnonzero(own))
        slot = rng.choice(width, len(known), replace=False)
        item[row, slot], n_acts[row, slot] = known, own[known]
    return item, n_acts


def textbook(counts: np.ndarray, config: MFConfig, seed: int) -> np.ndarray:
    """Item factors by the paper's equations 4 and 5, dense, from the package's own first factors."""
    rng = np.random.default_rng(seed)
    x = rng.random((counts.shape[0], config.factors), dtype=np.float32).astype(np.float64) * 0.01
    y = rng.random((counts.shape[1], config.factors), dtype=np.float32).astype(np.float64) * 0.01
    c, p = np.where(counts > 0, confidence(counts, config), 1.0), (counts > 0).astype(float)
    for _ in range(config.iterations):
        x = np.stack([_solve(y, c[u], p[u], config) for u in range(len(x))])
        y = np.stack([_solve(x, c[:, i], p[:, i], config) for i in range(len(y))])
    return y


def _solve(y: np.ndarray, c: np.ndarray, p: np.ndarray, config: MFConfig) -> np.ndarray:
    left = y.T @ np.diag(c) @ y + config.regularization * np.eye(y.shape[1])
    return np.linalg.solve(left, y.T @ (c * p))


def test_item_factors_are_those_of_the_paper() -> None:
    counts, config = acts(60, 14), MFConfig(factors=3, iterations=6)
    found = item_factors(sparse.csr_matrix(counts), config, 5)
    np.testing.assert_allclose(found, textbook(counts, config, 5), atol=2e-4)
    np.testing.assert_array_equal(found, item_factors(sparse.csr_matrix(counts), config, 5))
    assert np.abs(found - item_factors(sparse.csr_matrix(counts), config, 6)).max() > 1e-3


def test_folding_in_solves_for_users_whom_the_fit_never_met() -> None:
    config = MFConfig(factors=3, alpha=4.0, epsilon=0.5)
    factors = item_factors(sparse.csr_matrix(acts(60, 14)), config, 0)
    counts = acts(20, 14, seed=9)
    counts[3] = 0
    item, n_acts = memory(counts, 16, np.random.default_rng(1))
    found = fold_in(factors, item, n_acts, config)
    for row, own in enumerate(counts):
        c = np.where(own > 0, confidence(own, config), 1.0)
        np.testing.assert_allclose(found[row], _solve(factors.astype(float), c, own > 0, config), atol=1e-10)
    assert not found[3].any(), "no memory, no taste"
    shown = n_acts.copy()
    shown[:, 0] = 0.0
    without = item.copy()
    without[:, 0] = -1
    np.testing.assert_array_equal(fold_in(factors, item, shown, config), fold_in(factors, without, shown, config))


def test_it_finds_what_goes_together() -> None:
    config = MFConfig(factors=4)
    factors = item_factors(sparse.csr_matrix(acts(200, 20)), config, 0)
    item = np.full((1, 8), -1)
    item[0, :2] = [12, 15]
    score = (fold_in(factors, item, (item >= 0).astype(float), config) @ factors.T)[0]
    assert score[10:].min() > score[:10].max()


def full(world: World, n: int = 24) -> np.ndarray:
    sim = Simulator(world, n, EnvOptions(observation="full", candidates="all", leave="never", split="validation"))
    return sim.reset(seed=3)[0]


def test_saved_factors_serve_in_another_world_too(tmp_path: Path) -> None:
    world, judge = small_world(1, n_items=12, n_starts=90), small_world(1, n_items=12, n_starts=60)
    obs, mask = full(world), np.ones((24, world.n_actions), bool)
    for name in ("mf", "two-stage"):
        made = REGISTRY[name](world, {"factors": 4}, 2)
        made.save(tmp_path / name)
        again = load_policy(tmp_path / name, judge)
        expected = made.factors if name == "mf" else made.mf.factors
        np.testing.assert_array_equal(again.factors if name == "mf" else again.mf.factors, expected)
        fresh = REGISTRY[name](judge, {"factors": 4}, 2)
        assert np.abs((fresh.factors if name == "mf" else fresh.mf.factors) - expected).max() > 1e-3
    np.testing.assert_array_equal(
        load_policy(tmp_path / "mf", world).probabilities(obs, mask),
        REGISTRY["mf"](world, {"factors": 4}, 2).probabilities(obs, mask),
    )
    (tmp_path / "mf" / "mf.safetensors").unlink()
    with pytest.raises(ArtefactError, match="holds no"):
        load_policy(tmp_path / "mf", world)


@pytest.mark.parametrize("name", ["mf", "two-stage"])
@pytest.mark.parametrize("option", [{"factors": 0}, {"alpha": 0.0}, {"regularization": -1.0}, {"iterations": 0}])
def test_bad_options_are_refused(name: str, option: dict[str, float]) -> None:
    world = small_world(1, n_items=6, n_starts=9)
    with pytest.raises(InputError, match="mf options"):
        REGISTRY[name](world, option, 0)
    with pytest.raises(InputError, match="k"):
        REGISTRY["two-stage"](world, {"k": 0}, 0)


@pytest.mark.parametrize("factors", [2, 24])
def test_the_graph_solves_the_same_system(factors: int) -> None:
    world = small_world(3, n_items=30, n_starts=90)
    policy, obs = REGISTRY["mf"](world, {"factors": factors}, 0), full(world)
    obs[0, slice(*policy.slices["memory_item"])] = -1
    with torch.no_grad():
        found = exporter("mf").scores(policy)(torch.from_numpy(obs)).numpy()
    expected = policy.scores(obs, None)
    np.testing.assert_allclose(found[:, 1:], expected[:, world.action_item[1:]], atol=2e-6)


def test_two_stage_takes_turns_between_its_rankings() -> None:
    world = small_world(5, n_items=24, n_starts=90)
    obs, allowed = full(world), np.ones((24, world.n_items), bool)
    allowed[:, 0] = False
    policy = REGISTRY["two-stage"](world, {"k": 3, "factors": 4}, 0)
    short = policy.shortlist(obs, allowed)
    assert not short[:, 0].any()
    assert (short.sum(axis=1) == 3).all()
    own = np.where(allowed, policy.candidates.item_scores(obs), -1.0)
    mf = np.where(allowed, policy.mf.scores(obs, allowed), -np.inf)
    rows = np.arange(len(obs))
    known = own.max(axis=1) > 1.0
    assert known.any()
    assert short[rows, own.argmax(axis=1)][known].all()
    assert short[rows, mf.argmax(axis=1)].all()
    assert short[:, 1].all(), "the most popular item that is allowed"
    wider = REGISTRY["two-stage"](world, {"k": 10, "factors": 4}, 0).shortlist(obs, allowed)
    assert (wider.sum(axis=1) == 10).all()
    assert (wider | ~short).all(), "a longer list holds the shorter one"


def test_two_stage_is_greedy_on_its_short_list() -> None:
    world = small_world(5, n_items=24, n_starts=90, copies=2)
    obs, mask = full(world), np.ones((24, world.n_actions), bool)
    greedy = REGISTRY["model-greedy"](world)
    whole = REGISTRY["two-stage"](world, {"k": 24}, 0)
    np.testing.assert_array_equal(whole.probabilities(obs, mask), greedy.probabilities(obs, mask))
    policy = REGISTRY["two-stage"](world, {"k": 4}, 0)
    short = policy.shortlist(obs, np.ones((24, world.n_items), bool))
    listed = np.concatenate([np.ones((24, 1), bool), short[:, world.action_item[1:]]], axis=1)
    best = np.where(listed, greedy.values(obs, mask), -np.inf)
    np.testing.assert_array_equal(policy.probabilities(obs, mask).argmax(axis=1), best.argmax(axis=1))
    assert (policy.probabilities(obs, mask) != greedy.probabilities(obs, mask)).any()
