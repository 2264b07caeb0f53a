"""What may be shown, and what happens when an agent does not care."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_world import small_world

from recenv.core.errors import InputError
from recenv.env.options import EnvOptions
from recenv.env.shop import RecEnv
from recenv.env.simulator import Simulator
from recenv.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(leave=False)


def begun(world: World, n: int = 6, **options: Any) -> Simulator:
    sim = Simulator(world, n, EnvOptions.build(options))
    sim.reset(seed=2)
    return sim


def items_allowed(sim: Simulator, row: int) -> set[int]:
    return set(sim.world.action_item[np.flatnonzero(sim.masks()[row])].tolist()) - {-1}


def test_logged_candidates_are_what_was_on_offer(world: World) -> None:
    sim = begun(world)
    for row in range(sim.n):
        offered, _ = world.start.offers(int(sim.start_row[row]))
        assert items_allowed(sim, row) == set(offered.tolist())
    assert sim.masks()[:, 0].all()


def test_all_candidates_and_exclusions(world: World) -> None:
    assert begun(world, candidates="all").masks().all()
    sim = begun(world, candidates="all", exclude=("i3", "i7"))
    assert items_allowed(sim, 0) == set(range(world.n_items)) - {3, 7}
    assert 3 not in items_allowed(begun(world, exclude=["i3"]), 0)


def test_no_repeats_within_a_session_whichever_copy(world: World) -> None:
    sim = begun(world, candidates="all", horizon=3)
    first = int(world.item_action_start[4])
    sim.step(np.full(sim.n, first))
    assert not sim.masks()[:, first : first + 2].any()
    assert sim.masks().sum() == sim.n * (world.n_actions - 2)
    sim.restart(np.array([0]))
    assert sim.masks()[0].all()
    assert not sim.masks()[1, first]
    free = begun(world, candidates="all", repeats="allow")
    free.step(np.full(free.n, first))
    assert free.masks().all()


def test_a_masked_action_shows_nothing_costs_and_is_counted(world: World) -> None:
    sim = begun(world, cost=0.25)
    forbidden = np.array([int(np.flatnonzero(~m)[0]) for m in sim.masks()])
    before = sim.state.recent_n.copy()
    outcome = sim.step(forbidden)
    assert (outcome.info["invalid"] == 1).all()
    assert (outcome.info["item"] == -1).all()
    assert (outcome.reward == -0.25).all()
    assert (outcome.info["expected_purchase"] == 0).all()
    assert (sim.state.recent_n == before).all()
    assert (sim.step_count == 1).all()


def test_a_masked_action_is_refused_where_asked(world: World) -> None:
    sim = begun(world, invalid_action="raise")
    with pytest.raises(InputError, match="masked"):
        sim.step(np.array([int(np.flatnonzero(~m)[0]) for m in sim.masks()]))
    sim.step(np.array([int(np.flatnonzero(m)[-1]) for m in sim.masks()]))


def test_showing_nothing_is_free_and_changes_only_the_clock(world: World) -> None:
    sim = begun(world, cost=0.25)
    before, now = sim.state.take(sim.rows), sim.now.copy()
    outcome = sim.step(np.zeros(sim.n, int))
    assert (outcome.reward == 0).all()
    assert (outcome.info["invalid"] == 0).all()
    assert (sim.now == now + 60).all()
    for name, array in before.arrays():
        assert np.array_equal(array, getattr(sim.state, name)), name


def test_once_all_was_shown_only_nothing_is_left() -> None:
    world = small_world(n_items=4, leave=False, copies=0)
    env = RecEnv(world, horizon=6)
    env.reset(seed=0)
    for _ in range(2):
        env.step(int(np.flatnonzero(env.action_masks())[-1]))
    assert env.action_masks().tolist() == [True, False, False, False, False]
    *_, info = env.step(3)
    assert info["invalid"] == 1
    # A wrapper of the user's own may leave nothing at all: then showing nothing still goes.
    env.sim.masks_.table[:] = False
    *_, info = env.step(0)
    assert info["invalid"] == 0


@pytest.mark.parametrize("bad", [-1, 41, 2**40, 1.0, [1, 2], "one", None])
def test_actions_outside_the_table(bad: Any, world: World) -> None:
    env = RecEnv(world)
    env.reset(seed=0)
    with pytest.raises(InputError, match="action"):
        env.step(bad)


def test_masks_of_a_slate_are_repeated_for_each_place(world: World) -> None:
    env = RecEnv(world, slate=3)
    env.reset(seed=0)
    assert env.action_masks().shape == (3 * world.n_actions,)


def test_copies_of_masks_do_not_reach_the_simulator(world: World) -> None:
    env = RecEnv(world)
    env.reset(seed=0)
    kept = env.action_masks()
    env.action_masks()[:] = False
    assert np.array_equal(env.action_masks(), kept)
