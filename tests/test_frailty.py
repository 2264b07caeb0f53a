"""The shared session effect: chances stay, counts spread, nothing leaks, and logs that have it give it back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers_world import small_world

from recenv.core.errors import InputError
from recenv.env.options import EnvOptions, assumptions
from recenv.env.simulator import Simulator
from recenv.response import frailty
from recenv.response.forward import ResponseForward
from recenv.world import World

THETAS = (0.05, 0.5, 1.5, 4.0)


def shared(world: World, theta: float) -> World:
    """The world with a session effect of variance `theta`."""
    config = {**world.response.config, "frailty": {"theta": theta}}
    return replace(world, response=ResponseForward(world.response.to_arrays(), config))


def trajectory(
    world: World, n: int = 64, steps: int = 8, env_index: int = 0, **options: object
) -> dict[str, np.ndarray]:
    """What N sessions bring under actions that depend on nothing that was seen; steps x n."""
    sim = Simulator(
        world,
        n,
        EnvOptions.build({"candidates": "all", "repeats": "allow", "leave": "never", **options}),
        env_index=env_index,
    )
    obs, _ = sim.reset(seed=3)
    seen, k = [], sim.options.slate
    for step in range(steps):
        actions = 1 + (np.arange(k)[None] + step * k + np.zeros((n, 1), int)) % (world.n_actions - 1)
        out = sim.step(actions)
        seen.append((obs, out.info["click"], out.info["purchase"], out.info["expected_click"], out.obs))
    names = ("obs", "click", "purchase", "expected", "next")
    return {name: np.stack([s[j] for s in seen]) for j, name in enumerate(names)}


@pytest.mark.parametrize("theta", THETAS)
def test_averaged_over_the_effect_every_chance_is_exact(theta: float) -> None:
    p = np.array([1e-6, 0.004, 0.1, 0.5, 0.93])
    u = (np.arange(200_000) + 0.5) / 200_000
    mean = frailty.conditional(p[:, None], theta, frailty.draw(theta, u)[None]).mean(axis=1)
    np.testing.assert_allclose(mean, p, rtol=2e-3)
    g, w = frailty.quadrature(theta)
    np.testing.assert_allclose((w * frailty.conditional(p[:, None], theta, g)).sum(axis=1), p, rtol=1e-3)
    assert np.isclose(frailty.draw(theta, u).mean(), 1.0, atol=2e-3)
    assert np.isclose(frailty.draw(theta, u).var(), theta, rtol=2e-2)


@pytest.mark.parametrize("theta", THETAS)
def test_pair_covariance_is_the_clayton_copulas(theta: float) -> None:
    p = np.array([0.02, 0.3, 0.7])
    s = 1.0 - p
    expected = 0.0
    for i in range(3):
        for j in range(3):
            both = (s[i] ** -theta + s[j] ** -theta - 1.0) ** (-1.0 / theta)
            expected += (both - s[i] * s[j]) * (i != j)
    found = frailty.pair_covariance(p, theta, np.zeros(3, np.int64), np.ones(3), 1)
    assert np.isclose(found[0], expected, rtol=1e-3)


def test_no_effect_changes_nothing_and_one_is_drawn_at_random() -> None:
    p = np.array([0.2, 0.4], np.float32)
    assert frailty.conditional(p, 0.0, np.ones(2)) is p
    assert (frailty.draw(0.0, np.array([0.1, 0.9])) == 1.0).all()
    assert frailty.conditional(np.array([1.0, 0.0]), 1.0, np.array([0.3, 0.3])).tolist() == [1.0, 0.0]


def logged(theta: float, sessions: int, seed: int = 0, rows: int = 12) -> tuple[np.ndarray, ...]:
    """(p, y, session, weight, user): sessions of `rows` responses with a planted effect, five sessions a user."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(sessions), rows)
    p = rng.beta(1.0, 8.0, len(session)).clip(1e-4)
    g = frailty.draw(theta, rng.random(sessions))
    y = (rng.random(len(p)) < frailty.conditional(p, theta, g[session])).astype(float)
    keep = (y > 0) | (rng.random(len(p)) < 0.5)
    return p[keep], y[keep], session[keep], np.where(y > 0, 1.0, 2.0)[keep], session[keep] // 5


@pytest.mark.parametrize("theta", [0.3, 1.5])
def test_a_planted_effect_comes_back_from_sampled_rows(theta: float) -> None:
    found = frailty.estimate(*logged(theta, 4000))
    assert found.low <= theta <= found.high
    assert abs(found.theta - theta) < 0.25 * theta


def test_independent_responses_give_no_effect_and_small_logs_are_not_trusted() -> None:
    found = [frailty.estimate(*logged(0.0, 800, seed), n_boot=200) for seed in range(20)]
    assert sum(f.theta > 0 for f in found) <= 3
    assert np.mean([f.estimate for f in found]) < 0.05
    few = frailty.estimate(*logged(0.5, 6))
    assert few.theta == 0.0
    assert few.high > 0.5
    none = frailty.estimate(*(np.zeros(0),) * 2, *(np.zeros(0, int),) * 1, np.zeros(0), np.zeros(0, int))
    assert none.theta == 0.0


def test_variance_of_counts_is_what_sampling_gives_whether_or_not_rows_were_sampled() -> None:
    p, y, session, weight, _ = logged(0.8, 6000)
    told = frailty.count_variance(p, 0.8, session, weight, 6000)
    real = np.bincount(session, weight * y, minlength=6000).var()
    assert abs(told / real - 1) < 0.08
    assert frailty.count_variance(p, 0.0, session, weight, 6000) < 0.8 * real


def test_bad_rows_are_refused() -> None:
    p, y, session, weight, user = logged(0.5, 20)
    with pytest.raises(InputError, match="outside"):
        frailty.estimate(p + 1, y, session, weight, user)
    with pytest.raises(InputError, match="unequal"):
        frailty.estimate(p[:-1], y, session, weight, user)
    with pytest.raises(InputError, match="other than 0 or 1"):
        frailty.estimate(p, y + 0.5, session, weight, user)


def test_without_an_effect_trajectories_are_those_of_a_world_that_knows_none() -> None:
    world = small_world(copies=0)
    assert world.frailty == 0.0
    a, b = trajectory(world), trajectory(shared(world, 0.0))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_sessions_spread_more_while_the_expectation_and_the_mean_stay() -> None:
    world = small_world(copies=0)
    plain, wide = (trajectory(shared(world, t), n=4000, steps=5) for t in (0.0, 1.5))
    np.testing.assert_array_equal(plain["expected"][0], wide["expected"][0])
    counts = [t["click"].sum(axis=0) for t in (plain, wide)]
    assert counts[1].var() > 1.5 * counts[0].var()
    assert abs(wide["click"][0].mean() - wide["expected"][0].mean()) < 0.03


def test_a_session_does_not_depend_on_its_neighbours_nor_the_observation_on_the_effect() -> None:
    world = shared(small_world(copies=0), 1.0)
    many, few = trajectory(world, n=16), trajectory(world, n=4, env_index=8)
    np.testing.assert_array_equal(many["click"][:, 8:12], few["click"])
    plain = trajectory(shared(world, 0.0), n=16)
    np.testing.assert_array_equal(many["obs"][0], plain["obs"][0])
    same = (many["click"] == plain["click"]).all(axis=0) & (many["purchase"] == plain["purchase"]).all(axis=0)
    assert 0 < same.sum() < 16  # who responded alike has the same observation, whatever the hidden effect was
    np.testing.assert_array_equal(many["next"][:, same], plain["next"][:, same])


def test_the_effect_is_drawn_once_a_session_and_anew_in_the_next() -> None:
    sim = Simulator(shared(small_world(copies=0), 1.0), 8, EnvOptions(candidates="all", leave="never"))
    sim.reset(seed=1)
    first = sim.effect.copy()
    sim.step(np.ones(8, int))
    np.testing.assert_array_equal(sim.effect, first)
    sim.restart(np.array([2]))
    assert (sim.effect != first).tolist() == [i == 2 for i in range(8)]
    sim.reset(seed=1)
    np.testing.assert_array_equal(sim.effect, first)


@pytest.mark.parametrize("kind", ["independent", "position"])
def test_slates_keep_their_expectation(kind: str) -> None:
    found = trajectory(shared(small_world(copies=0), 1.5), n=6000, steps=1, slate=3, slate_response=kind)
    assert abs(found["click"].mean() - found["expected"].mean()) < 0.04


@pytest.mark.parametrize("kind", ["cascade", "choice"])
def test_slates_that_share_a_response_leave_the_effect_out_and_say_so(kind: str) -> None:
    world = shared(small_world(copies=0), 1.5)
    options = {"slate": 3, "slate_response": kind}
    found, plain = trajectory(world, **options), trajectory(shared(world, 0.0), **options)
    np.testing.assert_array_equal(found["click"], plain["click"])
    assumed = Simulator(world, 1, EnvOptions(slate=3, slate_response=kind)).describe()["assumed"]
    assert any("session effect is left out" in line for line in assumed)


def test_later_slots_of_a_session_are_said_to_leave_p_and_they_do() -> None:
    world = small_world()
    several, one = (EnvOptions(horizon=h).resolve(world) for h in (4, 1))
    assert frailty.LATER_SLOTS in assumptions(several, shared(world, 0.8))
    assert frailty.LATER_SLOTS not in assumptions(several, world)
    assert frailty.LATER_SLOTS not in assumptions(one, shared(world, 0.8))
    told = shared(world, 0.8)
    told = replace(told, meta={**told.meta, "assumed": [*told.meta["assumed"], frailty.LATER_SLOTS]})
    assert frailty.LATER_SLOTS not in assumptions(several, told)  # the world says it already
    p = np.array([0.1])
    g, share = frailty.quadrature(0.8)
    chance = frailty.conditional(p, 0.8, g[:, None])[:, 0]
    after = (share * chance * chance).sum() / (share * chance).sum()
    without = (share * chance * (1 - chance)).sum() / (share * (1 - chance)).sum()
    assert (share * chance).sum() == pytest.approx(0.1, rel=1e-3)
    assert after > 1.5 * p[0]
    assert without < 0.98 * p[0]
