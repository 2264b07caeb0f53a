"""The study of what choosing copy is worth, on worlds that are their own truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers_world import small_world

from recenv.agents.intervals import t_interval
from recenv.data.synthetic_email import EmailOptions, EmailTruth, load
from recenv.response.copy_effect import CopyEffect
from recenv.scripts.bench_copy_agents import (
    BOUNDS,
    MIXED,
    _users,
    best_of_item,
    expected,
    held_to,
    markdown,
    part_of,
    shop_values,
    size_table,
    styles_of,
)
from recenv.variants import with_effect
from recenv.world import World


@pytest.fixture
def world() -> World:
    made = small_world(n_items=5, copies=2, n_starts=60, has_unshown=False)
    assert made.copy_effect is not None
    rng = np.random.default_rng(3)
    # Centred: means would be the item's own, and the style's.
    base = (rng.normal(0, 0.5, (5, 1)) * [1, -1]).astype(np.float32).ravel()
    cross = rng.normal(0, 1.5, (3, 2)).astype(np.float32)
    cross -= cross.mean(axis=0)
    counts = {"shown": np.full(made.n_copies, 7.0, np.float32)}
    return with_effect(made, replace(made.copy_effect, base=base, segment_style=cross, wear=0.0, posterior=counts))


def truth_of(world: World) -> EmailTruth:
    """The truth that the world itself expects, in an order of actions of its own."""
    users = np.unique(world.start.user_id)
    copies = world.copies["copy_id"].to_pylist()
    blank = np.full((len(users), 1 + len(copies)), 0.5)
    ids = np.array(["", *copies])
    truth = EmailTruth(users, ids, ids, blank, blank, blank, blank[0])
    obs, user = _users(world, truth)
    click = blank.copy()
    click[user, 1:] = expected(world, obs)
    order = np.append(0, 1 + np.random.default_rng(1).permutation(len(copies)))
    return replace(truth, item_id=ids[order], copy_id=ids[order], click=click[:, order])


def test_an_agent_that_knows_the_truth_gets_the_optimum_and_loses_by_being_held(world: World) -> None:
    found = shop_values(world, world, truth_of(world), 0, 0)
    assert found["free choice"] == pytest.approx(found["best for each user"], rel=1e-6)
    for name in MIXED[:1]:
        assert found[name] == pytest.approx(found["free choice"], rel=1e-6)
    for rival in ("one copy per item", "constant copy, by the truth"):
        assert found[rival] < found["free choice"]
    assert found["constant copy, own choice"] == pytest.approx(found["constant copy, by the truth"], rel=1e-6)
    assert found["random item and copy"] < found["constant copy, by the truth"]
    assert found["best for each segment"] <= found["best for each user"]
    for part in ("a + e", "segment x style"):
        assert found[f"{part}, correlation"] == pytest.approx(1, abs=1e-4)
        assert found[f"{part}, slope"] == pytest.approx(1, abs=1e-3)
    assert found["impressions a copy"] == 7


def test_attenuated_and_wrong_effects_are_told_apart(world: World) -> None:
    effect = world.copy_effect
    assert effect is not None
    none = np.zeros_like(effect.category_style)
    half = replace(effect, base=effect.base / 2, segment_style=effect.segment_style / 2, category_style=none)
    exact = replace(effect, category_style=none)
    truth = truth_of(with_effect(world, exact))
    found = shop_values(with_effect(world, half), world, truth, 0, 0)
    assert found["a + e, slope"] == pytest.approx(2, abs=1e-3)
    assert found["segment x style, slope"] == pytest.approx(2, abs=1e-3)
    wrong = shop_values(with_effect(world, replace(exact, base=-effect.base)), world, truth, 0, 0)
    assert wrong["a + e, correlation"] < 0.5
    assert wrong["free choice"] < found["free choice"]
    assert wrong["estimated items, true copies"] == pytest.approx(found["best for each user"], rel=1e-6)


def test_held_worlds_offer_what_was_kept(world: World) -> None:
    style = styles_of(world)
    assert style.tolist() == [-1, *[style[1], style[2]] * 5]
    held = held_to(world, style == 1)
    assert held.n_actions == 6
    assert (styles_of(held)[1:] == 1).all()
    assert held.action_item.tolist() == [-1, 0, 1, 2, 3, 4]
    best = best_of_item(world)
    assert np.bincount(world.action_item[best], minlength=5).tolist() == [1] * 5
    effect = world.copy_effect
    assert isinstance(effect, CopyEffect)
    zero = replace(effect, segment_style=0 * effect.segment_style, category_style=0 * effect.category_style)
    value = np.append(zero.base, -np.inf)[world.action_copy]
    pairs = value[1:].reshape(5, 2).argmax(axis=1) + np.arange(1, 11, 2)
    assert np.flatnonzero(best_of_item(with_effect(world, zero))).tolist() == pairs.tolist()


def test_shorter_logs_are_parts_of_longer_ones_and_hold_no_region() -> None:
    raw = load(options=EmailOptions(users=200, mails=2))
    small, large = part_of(raw, 50), part_of(raw, 120)
    assert small.users is not None
    assert list(small.users.columns) == ["user_id", "segment"]
    assert len(small.events) == 100
    assert len(large.events) == 240
    key = ["user_id", "session_id", "copy_id", "click"]
    joined = small.events[key].merge(large.events[key], how="left", on=key, indicator=True)
    assert (joined["_merge"] == "both").all()
    assert raw.users is not None
    assert "region" in raw.users


def test_gains_are_in_pairs_within_a_shop() -> None:
    ways = ("constant copy, own choice", "one copy per item", *MIXED, *BOUNDS, "a + e, slope")
    cells = [
        {"seed": seed, "users": 9, **dict.fromkeys(ways, level), "constant copy, by the truth": level,
         "free choice": level * gain}
        for seed, (level, gain) in enumerate([(0.1, 1.04), (0.2, 1.05), (0.4, 1.06)])
    ]  # fmt: skip
    table = size_table(cells)
    gain = table["gains"]["free choice over constant copy, own choice"]
    assert gain[:3] == pytest.approx(t_interval(np.array([0.04, 0.05, 0.06])).as_list())
    assert gain[3:] == [3, 3]
    assert gain[1] > 0, "levels differ fourfold, the gain hardly"
    assert not any(name.startswith("dqn") for name in table["gains"])
    text = markdown({9: table})
    assert "| free choice over constant copy, own choice | +5.0 % [+2.5, +7.5], 3 of 3 shops |" in text
