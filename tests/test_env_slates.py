"""Joint response of a slate: formulas against hand counts, samples against formulas."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_world import small_world

from recenv.env import slate
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator

KINDS = ("independent", "cascade", "position", "choice")
ROOT = np.array([[0.5, 0.2, 0.8], [0.0, 0.1, 0.0]])


def test_marginals_by_hand() -> None:
    assert np.allclose(slate.marginal("independent", ROOT), ROOT)
    assert np.allclose(slate.marginal("cascade", ROOT)[0], [0.5, 0.5 * 0.2, 0.5 * 0.8 * 0.8])
    assert np.allclose(slate.marginal("position", ROOT)[0], [0.5, 0.2 / np.log2(3), 0.8 / 2])
    assert np.allclose(slate.marginal("choice", ROOT)[0], np.array([1, 0.25, 4]) / 6.25)
    assert np.allclose(slate.marginal("choice", ROOT)[1], [0, 0.1, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_marginals(kind: str) -> None:
    rng, n = np.random.default_rng(0), 40_000
    root = np.repeat(ROOT[:1], n, axis=0)
    hit = slate.sample(kind, root, rng.random((n, 3)), rng.random((n, 3)))
    expected = slate.marginal(kind, ROOT[:1])[0]
    assert np.abs(hit.mean(axis=0) - expected).max() < 4 * 0.5 / np.sqrt(n)
    if kind in ("cascade", "choice"):
        assert hit.sum(axis=1).max() == 1
    else:
        assert hit.sum(axis=1).max() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_slate_of_one_is_the_item_alone(kind: str) -> None:
    root = np.linspace(0, 0.99, 7)[:, None]
    assert np.allclose(slate.marginal(kind, root), root)


def test_an_item_twice_gets_one_response_and_is_counted() -> None:
    world = small_world(leave=False, rate=0.9)
    for kind in KINDS:
        options = EnvOptions(slate=3, slate_response=kind, candidates="all", cost=1.0)
        sim = Simulator(world, 50, options)
        sim.reset(seed=0)
        before = sim.state.recent_n.copy()
        # Item 2 with its first copy, then with its second, then item 5.
        actions = np.tile(
            [world.item_action_start[2], world.item_action_start[2] + 1, world.item_action_start[5]], (50, 1)
        )
        response = sim.respond(actions)
        assert not response.click[:, 1].any()
        assert response.click[:, 0].any()
        outcome = sim.step(actions)
        assert (outcome.info["duplicate"] == 1).all()
        assert (outcome.info["cost"] == 3).all()
        acts = outcome.info["click"] + outcome.info["purchase"]
        assert (sim.state.recent_n - before == 2 + acts).all()


def test_expected_values_are_means_of_sampled_ones() -> None:
    world = small_world(leave=False)
    for kind in KINDS:
        sim = Simulator(world, 4000, EnvOptions(slate=3, slate_response=kind, candidates="all", split="train"))
        sim.reset(seed=3, start_rows=np.zeros(4000, int))
        info = sim.step(np.tile([1, 9, 20], (4000, 1))).info
        for name in ("click", "purchase", "revenue"):
            assert np.ptp(info[f"expected_{name}"]) < 1e-6
            error = info[name].std() / np.sqrt(4000)
            assert abs(info[name].mean() - info[f"expected_{name}"][0]) < 4.5 * error, (kind, name)
