"""Which held-out visits are walked, and with which copy: drawn by key, scored with what the log showed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from off_policy_logs import randomised_email

from recenv.trust.held_out import HeldOut, read_held_out
from recenv.trust.measure_visits import _tracks, visits
from recenv.trust.tracks import plan
from recenv.trust.walk import walk
from recenv.world import World


@pytest.fixture(scope="module")
def email(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, HeldOut]:
    folder = randomised_email(tmp_path_factory.mktemp("email"), 3000)
    world = World.load(folder / "world")
    return world, read_held_out(world, folder / "data", 2000, 0)


def test_visits_are_drawn_by_key_whatever_their_order(email: tuple[World, HeldOut]) -> None:
    _, held = email
    tracks = _tracks(held, 60, 0)
    user = held.start.user[tracks.start]
    assert 30 < len(user) < len(held.start) / 2
    assert tracks.start.max() > 3 * len(user), "not the first ones"
    assert set(user.tolist()) != set(held.start.user[_tracks(held, 60, 1).start].tolist())
    back = np.arange(len(held.start))[::-1]
    packed = {"start": replace(held.start, user=held.start.user[back]), "start_session": held.start_session[back]}
    again = _tracks(replace(held, **packed), 60, 0)
    np.testing.assert_array_equal(held.start.user[back][again.start], user)


def test_what_was_shown_is_scored_with_the_copy_that_it_was_shown_with(email: tuple[World, HeldOut]) -> None:
    world, held = email
    assert held.visits
    assert world.copy_effect is not None
    tracks = _tracks(held, 200, 0)
    way = plan(world, held, tracks, pairs=True)
    shown = held.log.shown[tracks.row]
    np.testing.assert_array_equal(np.sort(way.copy[way.copy >= 0]), np.sort(held.log.copy[tracks.row][shown]))
    with_copy, without = (
        walk(world, held, tracks, w, False, 0) for w in (way, replace(way, copy=np.full_like(way.copy, -1)))
    )
    segment = held.segment[held.start.user[tracks.start]][way.track[np.repeat(np.arange(len(way.slot)),
                                                                               np.diff(way.pair_ptr))]]  # fmt: skip
    category = world.spec.item_category[way.item]
    told = world.copy_effect.effect(way.copy, segment, category, np.zeros(len(way.copy), np.int64))
    moved = np.log(with_copy.p / (1 - with_copy.p)) - np.log(without.p / (1 - without.p))
    assert np.abs(told).max() > 0.05
    np.testing.assert_allclose(moved, told, atol=1e-3)


def test_the_report_says_what_is_scored(email: tuple[World, HeldOut]) -> None:
    rolled = visits(*email, 200, 0)
    assert not isinstance(rolled, str)
    for words in ("drawn by lot", "one visit ahead", "With the logged copy"):
        assert words in rolled.how


def test_where_none_of_its_own_users_comes_again_a_world_meets_strangers(email: tuple[World, HeldOut]) -> None:
    world, held = email
    own = set(world.users["user_id"].to_pylist())
    assert held.strangers
    assert len(held.log.user_id) > 500
    assert not own & set(held.log.user_id.tolist())
    assert len(held.before) > 500, "item rates are counted on the world's own users"
