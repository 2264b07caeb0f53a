"""Pessimism and the support mask: what is lowered, by how much, and what is left alone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_ensemble import expected, with_members, with_variance
from helpers_response import simulated_rows
from helpers_world import small_world

from recenv.agents.jobs import masked_alike, pessimistic_value
from recenv.agents.report import caution_lines
from recenv.agents.training import make_policy, validation
from recenv.core.errors import InputError, UnsupportedError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.ensemble import segment_variance
from recenv.response.fit import FitOptions
from recenv.scripts.train import TrainConfig
from recenv.scripts.train import run as train
from recenv.world import World


def test_no_pessimism_changes_nothing_and_more_lowers_more() -> None:
    plain = small_world(copies=2)
    world = with_members(plain)
    amounts = [expected(world, pessimism=k) for k in (0.0, 0.5, 2.0, 1000.0)]
    for name, value in expected(plain).items():
        np.testing.assert_array_equal(amounts[0][name], value)
    for name in ("expected_click", "expected_purchase"):
        assert (amounts[1][name] < amounts[0][name]).all()
        assert (amounts[2][name] < amounts[1][name]).all()
        assert (amounts[3][name] == 0).all()
        np.testing.assert_array_equal(
            amounts[2][name.replace("expected", "unshown")], amounts[0][name.replace("expected", "unshown")]
        )


def test_pessimism_takes_off_k_calibrated_standard_deviations() -> None:
    world = with_members(small_world(copies=0, responses=("purchase",), leave=False))
    world.meta["disagreement"] = {"purchase": {"scale": 0.7}}
    told = [expected(world.with_response(m))["expected_purchase"] for m in world.members]
    main = expected(world)["expected_purchase"]
    wanted = np.maximum(main - 1.5 * 0.7 * np.std(told, axis=0, ddof=1), 0)
    np.testing.assert_allclose(expected(world, pessimism=1.5)["expected_purchase"], wanted, atol=1e-6)


def test_a_pessimistic_environment_can_be_sent_to_another_process(tmp_path: Path) -> None:
    world = with_members(small_world())
    world.save(tmp_path / "w")
    sim = Simulator(world, 4, EnvOptions(pessimism=1.0))
    sim.reset(seed=2)
    twin = pickle.loads(pickle.dumps(sim))
    actions = np.argmax(sim.masks()[:, 1:], axis=1) + 1
    np.testing.assert_array_equal(sim.step(actions).info["expected_click"], twin.step(actions).info["expected_click"])


def test_pessimism_without_members_and_senseless_options_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="--members"):
        EnvOptions(pessimism=1.0).resolve(small_world())
    for name in ("pessimism", "support"):
        for value in (float("nan"), -0.1, float("inf"), "1", None, True):
            with pytest.raises(InputError, match=name):
                EnvOptions.build({name: value})
    with pytest.raises(InputError, match="support"):
        EnvOptions(support=1.0)
    with pytest.raises(InputError, match="pesimism"):
        EnvOptions.build({"pesimism": 1.0})


@pytest.mark.parametrize("candidates", ["all", "logged"])
def test_support_masks_what_the_logged_policy_hardly_shows(candidates: str) -> None:
    world = small_world(copies=2)
    sims = [Simulator(world, 16, EnvOptions(candidates=candidates, support=s)) for s in (0.0, 0.05)]
    for sim in sims:
        sim.reset(seed=1)
    open_, narrow = (sim.masks() for sim in sims)
    segment = world.segment_of(world.start.packed["profile"])[sims[0].start_row]
    for row in range(16):
        offer = np.unique(world.action_item[1:][open_[row, 1:]])
        share = world.logged_rates[segment[row], offer] / world.logged_rates[segment[row], offer].sum()
        np.testing.assert_array_equal(np.unique(world.action_item[1:][narrow[row, 1:]]), offer[share >= 0.05])
    assert 0 < narrow[:, 1:].sum() < open_[:, 1:].sum()
    assert narrow[:, 0].all()


def test_pessimism_counts_what_the_logs_leave_open_of_an_item_in_a_segment(tmp_path: Path) -> None:
    world = with_variance(with_members(small_world(copies=0, responses=("purchase",), leave=False)))
    world.meta["disagreement"] = {"purchase": {"scale": 0.7}}
    world.save(tmp_path / "w")
    world = World.load(tmp_path / "w")
    told = [expected(world.with_response(m))["expected_purchase"] for m in world.members]
    main = expected(world)["expected_purchase"].astype(np.float64)
    sim = Simulator(world, 32, EnvOptions(candidates="all"))
    sim.reset(seed=0)
    segment = world.segment_of(world.start.packed["profile"])[sim.start_row]
    assert len(set(segment)) > 1
    left = world.segment_variance[segment, world.action_item[1 + np.arange(32) % (world.n_actions - 1)], 0]
    sd = np.sqrt((0.7 * np.std(told, axis=0, ddof=1)) ** 2 + left * (main * (1 - main)) ** 2)
    lowered = expected(world, pessimism=0.4)["expected_purchase"]
    np.testing.assert_allclose(lowered, np.maximum(main - 0.4 * sd, 0), atol=1e-6)
    assert "segment_variance" not in world.with_response(world.members[0])._catalogue_arrays()
    assert world.with_response(world.members[0]).segment_variance is None
    with pytest.raises(InputError, match="no members"):
        replace(world, members=()).save(tmp_path / "w2")


def test_the_pessimistic_value_is_by_what_members_disagree_on() -> None:
    """An assumed spread is no estimate of the model's error, and would leave nothing of any policy."""
    plain = with_members(small_world(copies=0))
    env = EnvOptions(candidates="all")
    policy = make_policy("popular", plain, env, {}, 0)
    values = [pessimistic_value(policy, world, env, 8, 3, 4) for world in (plain, with_variance(plain))]
    assert values[0] == values[1] != {}


def test_the_variance_of_an_item_in_a_segment_falls_with_what_was_shown_there() -> None:
    rows, *_ = simulated_rows(3, heads=("click",))
    rows.user = (np.arange(len(rows.item)) % 2).astype(np.int32)
    rows.treat[(rows.item == 0) & (rows.user == 1), 0] = 0.0
    n_items = int(rows.item.max()) + 1
    found = segment_variance(rows, np.array([0, 1]), (2, n_items), ("click", "leave"), 2.5)
    assert found is not None
    assert found.shape == (2, n_items, 2)
    y, w = rows.response("click"), rows.weight
    r = w[rows.shown] @ y[rows.shown] / w[rows.shown].sum()
    mass = w[rows.shown & (rows.item == 0) & (rows.user == 0)].sum()
    np.testing.assert_allclose(found[:, 0, 0], [1 / (1 / 6.25 + mass * r * (1 - r)), 6.25], rtol=1e-5)
    assert (found[..., 1] == 0).all()
    assert segment_variance(rows, np.array([0, 1]), (2, n_items), ("click",), 0.0) is None


def test_an_open_variance_needs_members_and_a_number() -> None:
    with pytest.raises(InputError, match="members"):
        FitOptions(segment_sd=2.5)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="segment_sd"):
            FitOptions(members=4, segment_sd=value)


@pytest.mark.parametrize("open_", [False, True])
def test_greedy_by_a_pessimistic_model_values_what_the_pessimistic_environment_pays(open_: bool) -> None:
    for responses in (("purchase",), ("click", "purchase")):
        world = with_members(small_world(copies=2, responses=responses, has_unshown=False))
        world = with_variance(world) if open_ else world
        world.meta["disagreement"] = {"purchase": {"scale": 1.3}, "click": {"scale": 0.8}}
        options = EnvOptions(candidates="all", observation="full", pessimism=1.2, repeats="allow")
        sim = Simulator(world, 8, options)
        obs, _ = sim.reset(seed=0)
        policy = make_policy("model-greedy", world, options, {}, 0)
        values = policy.values(obs, sim.masks())
        plain = make_policy("model-greedy", world, replace(options, pessimism=0.0), {}, 0).values(obs, sim.masks())
        assert (values[:, 1:] < plain[:, 1:]).all()
        for action in (1, 7, 20):
            paid = sim.respond(np.full(8, action)).amounts["gross"]
            np.testing.assert_allclose(values[:, action], paid, atol=1e-5)


def test_policies_are_looked_at_without_pessimism_but_with_their_mask() -> None:
    look = validation(EnvOptions(pessimism=2.0, support=0.01))
    assert (look.pessimism, look.support, look.split) == (0.0, 0.01, "validation")


def test_the_mask_of_the_training_world_goes_with_the_policy() -> None:
    world, judge = small_world(0), small_world(1)
    assert masked_alike(judge, world, EnvOptions()) is judge
    judged = masked_alike(judge, world, EnvOptions(support=0.01))
    np.testing.assert_array_equal(judged.logged_rates, world.logged_rates)


def test_pessimism_that_leaves_nothing_of_what_was_never_shown_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_variance(with_members(small_world(0, n_items=6, n_starts=40, copies=0, leave=False))).save(tmp_path / "w")
    for k, warned in ((0.39, False), (0.4, True)):
        result = train(TrainConfig("popular", tmp_path / "w", tmp_path / f"r{k}", steps=10, episodes=4, pessimism=k))
        told = capsys.readouterr().out
        assert ("CAUTION, pessimism" in told) == warned == bool(result["warnings"])
        lines = caution_lines({"pessimism": k, "support": 0.0}, segment_sd=2.5)
        assert lines[0].startswith("CAUTION") == warned
    assert "1 / segment_sd = 0.4 " in told
