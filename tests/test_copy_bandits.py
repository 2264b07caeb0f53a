"""Counting baselines over copies, and what tables tell of choosing copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_world import small_world

from recenv.agents.base import REGISTRY, EnvFactory, NullLog, load_policy
from recenv.agents.copy_bandits import COUNTS, BestByCountPolicy, ThompsonCopyPolicy
from recenv.agents.evaluate import evaluate
from recenv.agents.report import columns
from recenv.core.errors import ArtefactError, InputError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.copy_effect import CopyEffect
from recenv.variants import with_effect
from recenv.world import World

OPTIONS = EnvOptions(candidates="all", leave="never", reward="gross", w_click=1.0)


@pytest.fixture
def world() -> World:
    return small_world()


def effect_of(world: World, **changes: object) -> CopyEffect:
    assert world.copy_effect is not None
    return replace(world.copy_effect, **changes)  # type: ignore[arg-type]


def logged(world: World, shown: float, best: float) -> World:
    """The world with logged counts: of each item's copies the last got `best` of `shown`, the others half of it."""
    got = np.full(world.n_copies, best / 2, np.float32)
    last = world.action_copy[world.item_action_start[1:] - 1]
    got[last] = best
    counts = {"shown": np.full(world.n_copies, shown, np.float32), "responses": got}
    return with_effect(world, effect_of(world, posterior=counts))


def test_the_best_counted_copy_of_the_popular_item_is_shown(world: World) -> None:
    policy = BestByCountPolicy(logged(world, 1000, 100))
    sim = Simulator(world, 6, replace(OPTIONS, observation="full"))
    obs, _ = sim.reset(seed=0)
    item = int(world.item_rate.argmax())
    assert (policy.act(obs, sim.masks(), np.random.default_rng(0)) == world.item_action_start[item + 1] - 1).all()
    ends = world.item_action_start[1:] - 1
    assert policy.share[ends].sum() == world.n_items == policy.share.sum()
    mask = sim.masks()
    mask[:, world.item_action_start[item + 1] - 1] = False
    left = policy.probabilities(obs, mask)
    width = world.item_action_start[item + 1] - world.item_action_start[item]
    assert left[0].max() == pytest.approx(1 / (width - 1)), "what was never best is left: evenly"


def test_ties_go_to_the_first_copy_and_no_count_to_the_prior(world: World) -> None:
    policy = BestByCountPolicy(world)
    assert not policy.shown.any()
    assert policy.rate() == pytest.approx(float(world.item_rate.mean()))
    assert (policy.share[world.item_action_start[:-1]] == 1).all()


def test_thompson_draws_what_the_posterior_says(world: World) -> None:
    sure, unsure = (ThompsonCopyPolicy(logged(world, n, n / 10), {"prior": 1.0}) for n in (100_000, 100))
    ends = world.item_action_start[1:] - 1
    assert (sure.share[ends] == 1).all()
    share = unsure.share[ends]
    assert 0.6 < share.mean() < 0.97
    rng, a = np.random.default_rng(0), 10 + 1.0 * unsure.rate()
    width = int(np.diff(world.item_action_start)[0])
    others = rng.beta(5 + unsure.rate(), 96 - unsure.rate(), (20_000, width - 1)).max(axis=1)
    exact = (rng.beta(a, 101 - a, 20_000) > others).mean()
    assert share.mean() == pytest.approx(exact, abs=0.04)


@pytest.mark.parametrize("name", ["best-by-count", "thompson-copy"])
def test_training_counts_what_was_shown_and_finds_the_better_copy(world: World, name: str, tmp_path: Path) -> None:
    base = np.zeros(world.n_copies, np.float32)
    ends = world.item_action_start[1:] - 1
    base[world.action_copy[ends]] = 2.0
    assert world.copy_effect is not None
    flat = [np.zeros_like(getattr(world.copy_effect, n)) for n in ("segment_style", "category_style")]
    better = with_effect(world, effect_of(world, base=base, segment_style=flat[0], category_style=flat[1], wear=0.0))
    policy = REGISTRY[name](better, {"items": "random"})
    policy.train(EnvFactory(better, OPTIONS), 8_000, 1, NullLog())
    assert policy.shown.sum() == pytest.approx(8_000, abs=64)
    assert policy.shown[0] == 0
    assert policy.share[ends].mean() > 0.85
    width = int(np.diff(world.item_action_start)[0])
    even = policy.shown[ends].sum() / policy.shown.sum()
    assert even == pytest.approx(1 / width, abs=0.02) if name == "best-by-count" else even > 1.3 / width
    policy.save(tmp_path / "p")
    np.testing.assert_array_equal(load_policy(tmp_path / "p", better).share, policy.share)
    (tmp_path / "p" / COUNTS).unlink()
    with pytest.raises(ArtefactError, match="holds no"):
        load_policy(tmp_path / "p", better)


@pytest.mark.parametrize("option", [{"items": "best"}, {"prior": 0.0}, {"prior": float("nan")}, {"envs": 0}])
def test_bad_options_are_named_errors(world: World, option: dict[str, object]) -> None:
    with pytest.raises(InputError, match="option"):
        BestByCountPolicy(world, option)


def test_copy_gain_is_the_value_over_the_best_constant_style(world: World) -> None:
    """Against each constant style run by itself: one slot, the items of `popular`, no wear."""
    assert world.copy_effect is not None
    options = replace(OPTIONS, horizon=1)
    styles = len(world.copy_effect.styles)
    style = world.copy_effect.copy_style[world.action_copy[1:]]

    class Fixed:
        name, observation = "fixed", "full"

        def __init__(self, chosen: int | None) -> None:
            self.chosen, self.rng = chosen, np.random.default_rng(3)

        def act(self, obs: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            items = (np.arange(len(obs)) * 7 + int(100 * abs(obs).sum())) % world.n_items
            start, width = world.item_action_start[items], np.diff(world.item_action_start)[items]
            own = self.rng.integers(0, width)
            if self.chosen is not None:
                for k, item in enumerate(items):
                    of_item = style[world.item_action_start[item] - 1 : world.item_action_start[item + 1] - 1]
                    found = np.flatnonzero(of_item == self.chosen)
                    own[k] = found[0] if len(found) else own[k]
            return start + own

    free = evaluate(Fixed(None), world, options, 300, 0, envs=50)  # type: ignore[arg-type]
    constant = [evaluate(Fixed(s), world, options, 300, 0, envs=50) for s in range(styles)]  # type: ignore[arg-type]
    gross = [float(e.totals["gross"].sum()) for e in constant]
    assert free.copy_gain == pytest.approx(float(free.totals["gross"].sum()) - max(gross), abs=1e-3)
    best = constant[int(np.argmax(gross))]
    assert best.copy_gain == pytest.approx(0.0, abs=1e-3)
    metrics = free.metrics()
    assert metrics["shop/copy_gain_per_session"] == pytest.approx(free.copy_gain / 300)
    assert metrics["shop/top_style_share"] == free.styles.sum(axis=0).max() / 300
    assert metrics["shop/top_style_share"] < best.metrics()["shop/top_style_share"]
    assert columns({"rows": [{"metrics": metrics}]})[-2:] == ("top style", "copy gain")
    assert "top style" not in columns({"rows": [{"metrics": {}}]})
