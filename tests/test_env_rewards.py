"""Reward terms, what the world can and cannot support, and options that do not exist."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from helpers_world import small_world

from recenv.core.errors import InputError, UnsupportedError
from recenv.env.options import EnvOptions
from recenv.env.shop import RecEnv
from recenv.env.simulator import Simulator
from recenv.env.vector import RecVectorEnv
from recenv.response.features import cross_features
from recenv.state import CLICK, EXPOSURE, PURCHASE, apply
from recenv.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return small_world()


def first_step(world: World, **options: Any) -> Any:
    sim = Simulator(world, 40, EnvOptions.build(options))
    sim.reset(seed=6)
    return sim.step(np.array([np.flatnonzero(m)[-1] for m in sim.masks()]))


@pytest.mark.parametrize("mode", ["sampled", "expected"])
@pytest.mark.parametrize("reward", ["gross", "incremental"])
def test_terms_add_up(world: World, reward: str, mode: str) -> None:
    weights = {"w_click": 0.5, "w_purchase": 2.0, "w_revenue": 0.25}
    out = first_step(world, reward=reward, reward_mode=mode, cost=0.1, **weights)
    info, prefix = out.info, "expected_" if mode == "expected" else ""
    terms = info["reward_terms"]
    assert set(terms) == {"click", "purchase", "revenue", "cost"} | ({"unshown"} if reward == "incremental" else set())
    assert np.allclose(sum(terms.values()), out.reward)
    value = sum(w * info[prefix + name.removeprefix("w_")] for name, w in weights.items())
    without = sum(w * info["unshown_" + name.removeprefix("w_")] for name, w in weights.items())
    assert np.allclose(out.reward, value - 0.1 - (without if reward == "incremental" else 0))
    expected = sum(w * info["expected_" + name.removeprefix("w_")] for name, w in weights.items())
    assert np.allclose(info["gross"], expected - 0.1)
    assert np.allclose(info["incremental"], expected - 0.1 - without)


def test_what_happens_does_not_depend_on_the_reward(world: World) -> None:
    outcomes = [
        first_step(world, reward=r, reward_mode=m) for r in ("gross", "incremental") for m in ("sampled", "expected")
    ]
    for other in outcomes[1:]:
        for name in ("click", "purchase", "start_row", "left"):
            assert np.array_equal(outcomes[0].info[name], other.info[name])


def test_expectations_are_those_of_the_response_model(world: World) -> None:
    """The simulator's whole path against the numpy forward, with the logged treatment and the copy's effect by hand."""
    sim = Simulator(world, 1, EnvOptions(split="validation"))
    obs, (row,) = sim.reset(seed=0)
    items, exposure = world.start.offers(int(row))
    action = int(world.item_action_start[items[2]]) + 1
    item = items[2:3]
    cross = cross_features(world.spec, sim.state, np.array([0]), sim.now, item)
    assert world.copy_effect is not None
    segment = world.segment_of(sim.state.profile)
    copy = world.action_copy[[action]]
    offset = world.copy_effect.effect(copy, segment, world.spec.item_category[item], np.zeros(1))
    shown = world.response.predict(obs, item, cross, np.concatenate([[[1.0]], exposure[2:3]], axis=1), offset)
    unshown = world.response.predict(obs, item, cross, np.array([[0.0, *world.exp_unshown]]))
    info = sim.step(np.array([action])).info
    assert shown.click is not None
    assert np.allclose(info["expected_click"], shown.click, atol=1e-5)
    assert np.allclose(info["expected_purchase"], shown.expected_purchase, atol=1e-5)
    assert np.allclose(info["unshown_purchase"], unshown.expected_purchase, atol=1e-5)
    price = world.revenue_per_purchase[item]
    assert np.allclose(info["expected_revenue"], shown.expected_purchase * price, atol=1e-4)


def test_wear_out_is_felt(world: World) -> None:
    sim = Simulator(world, 1, EnvOptions(candidates="all", leave="never"))
    sim.reset(seed=1)
    same_style, other_style = world.item_action_start[[7, 8]]
    fresh = sim.response._offset(sim.state, np.array([0]), np.array([8]), world.action_copy[[other_style]])  # type: ignore[attr-defined]
    sim.step(np.array([same_style]))
    worn = sim.response._offset(sim.state, np.array([0]), np.array([8]), world.action_copy[[other_style]])  # type: ignore[attr-defined]
    assert world.copy_effect is not None
    assert np.allclose(fresh - worn, world.copy_effect.wear)


def test_defaults_follow_the_logs() -> None:
    rich = EnvOptions().resolve(small_world())
    assert (rich.reward, rich.candidates, rich.repeats, rich.leave) == ("incremental", "logged", "forbid", "model")
    assert (rich.w_click, rich.w_purchase, rich.w_revenue, rich.horizon) == (0.0, 1.0, 0.0, 5)
    poor = small_world(responses=("click",), leave=False, has_unshown=False, offers_known=False, repeats_logged=True)
    plain = EnvOptions().resolve(poor)
    assert (plain.reward, plain.candidates, plain.repeats, plain.leave) == ("gross", "all", "allow", "never")
    assert (plain.w_click, plain.w_purchase) == (1.0, 0.0)


@pytest.mark.parametrize(
    "option",
    [{"w_revenue": 1.0}, {"w_purchase": 1.0}, {"reward": "incremental"}, {"candidates": "logged"}, {"leave": "model"}],
    ids=str,
)
def test_what_the_logs_do_not_tell_is_refused(option: dict[str, Any]) -> None:
    poor = small_world(responses=("click",), leave=False, has_unshown=False, offers_known=False)
    with pytest.raises(UnsupportedError):
        RecEnv(poor, **option)
    env = RecEnv(poor)
    env.reset(seed=0)
    *_, info = env.step(3)
    assert "unshown_click" not in info
    assert "incremental" not in info
    assert "purchase" not in info


def test_purchases_without_clicks() -> None:
    out = first_step(small_world(responses=("purchase",), leave=False))
    assert "click" not in out.info
    assert set(out.info["reward_terms"]) == {"purchase", "cost", "unshown"}
    assert 0 < out.info["purchase"].mean() < 1


BAD: list[dict[str, Any]] = [
    {"rewards": "gross"},
    {"reward": "net"},
    {"reward_mode": None},
    {"observation": "pixels"},
    {"slate": 0},
    {"slate": 1.0},
    {"slate": True},
    {"slate": 21},
    {"slate_response": "random"},
    {"horizon": 0},
    {"candidates": "some"},
    {"repeats": True},
    {"invalid_action": "ignore"},
    {"w_click": float("nan")},
    {"w_purchase": "1"},
    {"cost": -1.0},
    {"cost": float("inf")},
    {"split": "calibration"},
    {"split": "test"},
    {"seconds_per_slot": -1},
    {"leave": "always"},
    {"exclude": ["nothing"]},
    {"exclude": "i1"},
]


@pytest.mark.parametrize("options", BAD, ids=str)
def test_bad_options(options: dict[str, Any], world: World) -> None:
    for make in (lambda: RecEnv(world, **options), lambda: RecVectorEnv(2, world, **options)):
        with pytest.raises(InputError) as caught:
            make()
        assert next(iter(options)) in caught.value.where


def test_extrapolation_is_labelled(world: World) -> None:
    wide = RecEnv(world, candidates="all", repeats="allow", slate=2, slate_response="position")
    assert wide.reset(seed=0)[1]["extrapolation"] is True
    told = "\n".join(wide.describe()["assumed"])
    for word in ("everything", "candidates='all'", "repeats='allow'", "'position'", "1 / log2(1 + rank)"):
        assert word in told
    narrow = RecEnv(world)
    assert narrow.reset(seed=0)[1]["extrapolation"] is False
    assert "extrapolation" not in "\n".join(narrow.describe()["assumed"])
    assert json.loads(json.dumps(narrow.describe()))["options"]["candidates"] == "logged"


@pytest.mark.parametrize("mode", ["human", "rgb_array", "text"])
def test_other_render_modes_are_refused(mode: str, world: World) -> None:
    with pytest.raises(InputError, match="render_mode"):
        RecEnv(world, render_mode=mode)


def test_unknown_reset_option(world: World) -> None:
    with pytest.raises(InputError, match="reset option"):
        RecEnv(world).reset(options={"user": 3})
    assert RecEnv(world).reset(options={"start_row": 7})[1]["start_row"] == 7


def test_splits_keep_to_their_start_states(world: World) -> None:
    for number, split in enumerate(("train", "validation")):
        sim = Simulator(world, 64, EnvOptions(split=split))
        sim.reset(seed=0)
        assert (world.start.split[sim.start_row] == number).all()


def test_horizon_truncates_and_leaving_terminates() -> None:
    stays = RecVectorEnv(20, small_world(leave=False), horizon=3, autoreset_mode="SameStep")
    stays.reset(seed=0)
    flags = [stays.step(np.full(20, 0))[2:4] for _ in range(3)]
    assert not any(terminated.any() for terminated, _ in flags)
    assert [truncated.all() for _, truncated in flags] == [False, False, True]
    leaves = RecVectorEnv(200, small_world(), horizon=9, candidates="all", autoreset_mode="SameStep")
    leaves.reset(seed=0)
    _, _, terminated, truncated, info = leaves.step(np.full(200, 3))
    assert 0 < terminated.mean() < 1
    assert np.array_equal(terminated, info["left"])
    assert not truncated.any()
    once = RecVectorEnv(20, small_world(leave=False), horizon=1)
    once.reset(seed=0)
    _, _, terminated, truncated, _ = once.step(np.full(20, 3))
    assert terminated.all()
    assert not truncated.any()


def test_forced_responses_move_the_state_like_the_rule(world: World) -> None:
    """`advance` with given responses is `recenv.state.apply` of exposure, click, purchase at the slot's time."""
    sim = Simulator(world, 3, EnvOptions(candidates="all", leave="never"))
    sim.reset(seed=5)
    twin, now = sim.state.take(sim.rows), sim.now.copy()
    items, copies = np.array([[4], [-1], [9]], np.int32), np.array([[8], [-1], [-1]], np.int32)
    click, purchase = np.array([[True], [False], [True]]), np.array([[True], [False], [False]])
    sim.advance(items, copies, click, purchase)
    for rows, kind in (([0, 2], EXPOSURE), ([0, 2], CLICK), ([0], PURCHASE)):
        at = np.array(rows)
        apply(world.spec, twin, at, items[at, 0], np.full(len(at), kind), now[at], copies[at, 0])
    for name, array in twin.arrays():
        assert np.array_equal(array, getattr(sim.state, name)), name
    assert (sim.now == now + world.seconds_per_slot).all()


def test_values_beyond_the_bounds_are_clipped_and_counted() -> None:
    world = small_world()
    world.start.packed["profile"][:, 0] = 35.0
    env = RecEnv(world)
    obs, _ = env.reset(seed=0)
    assert obs[0] == 20.0
    assert obs in env.observation_space
    *_, info = env.step(0)
    assert info["clipped"] == 1


def test_a_session_as_text(world: World) -> None:
    env = RecEnv(world, render_mode="ansi", candidates="all", leave="never", invalid_action="null")
    env.reset(seed=0, options={"start_row": 4})
    assert env.render() == "user u4 (age 24)\nslot 0 of 5\nnothing shown yet"
    env.step(int(world.item_action_start[6]) + 1)
    text = str(env.render())
    price = world.items["price"][6].as_py()
    assert f'Thing 6 [i6], price: "Thing 6 for ${price:.2f}, way 1"' in text
    assert "happened: " in text
    env.step(int(world.item_action_start[6]))
    assert "not allowed, nothing shown instead: 1" in str(env.render())
    assert RecEnv(world).render() is None
    vector = RecVectorEnv(2, world, render_mode="ansi")
    vector.reset(seed=0)
    frames = vector.render()
    assert frames is not None
    assert len(frames) == 2
