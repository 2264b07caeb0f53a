"""Cross features: equal from state and from the full observation, bit-equal for any number of pairs, right by hand."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_response import lived_states, small_spec

from recenv.observation import observe
from recenv.response.features import CROSS, cross_features, cross_from_full, treatment
from recenv.state import EXPOSURE, MAX_AGE, PURCHASE, VIEW, apply, begin_session, new_state

NOW = np.int64(1_602_000_000)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    spec = small_spec(rng)
    return spec, lived_states(spec, rng), rng


@pytest.mark.parametrize("m", [1, 3, 40])
def test_full_observation_gives_the_same_features(world, m):
    spec, state, _ = world
    n = len(state)
    now = np.full(n, NOW)
    item = np.random.default_rng(m).integers(0, spec.n_items, (n, m))
    direct = cross_features(spec, state, np.repeat(np.arange(n), m), np.repeat(now, m), item.reshape(-1))
    full = cross_from_full(spec, observe(spec, state, np.arange(n), now, mode="full"), item)
    assert full.shape == (n, m, len(CROSS))
    np.testing.assert_allclose(full.reshape(-1, len(CROSS)), direct, atol=1e-5, rtol=1e-5)
    assert np.isfinite(direct).all()
    # Every feature but the flat ones varies on lived states, so that the comparison is not of zeros.
    if m == 40:
        assert (direct.std(axis=0) > 0).sum() >= len(CROSS) - 1


def test_features_are_bit_equal_for_any_number_of_pairs(world):
    spec, state, _ = world
    rows = np.repeat(np.arange(len(state)), spec.n_items)
    item = np.tile(np.arange(spec.n_items), len(state))
    now = NOW + 1000 * rows.astype(np.int64)
    together = cross_features(spec, state, rows, now, item)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    assert (cross_features(spec, state, rows[shuffled], now[shuffled], item[shuffled]) == together[shuffled]).all()
    for size in (1, 7, 256):
        part = slice(31, 31 + size)
        assert (cross_features(spec, state, rows[part], now[part], item[part]) == together[part]).all()
    assert cross_features(spec, state, rows[:0], now[:0], item[:0]).shape == (0, len(CROSS))


def test_values_by_hand():
    spec = small_spec(np.random.default_rng(0))
    state = new_state(spec, np.zeros((1, 3), np.float32))
    row, start = np.array([0]), np.array([1_600_000_000], np.int64)
    begin_session(state, row, start)
    for item, kind, hour in ((5, VIEW, 0), (5, PURCHASE, 1), (6, PURCHASE, 2)):
        apply(spec, state, row, np.array([item]), np.array([kind]), start + 3600 * hour)
    begin_session(state, row, start + 36_000)
    apply(spec, state, row, np.array([5]), np.array([EXPOSURE]), start + 36_000)
    value = dict(zip(CROSS, cross_features(spec, state, row, start + 36_000, np.array([5]))[0], strict=True))
    assert value["item_view"] == value["item_purchase"] == value["item_exposure"] == np.float32(np.log(2))
    assert value["item_age"] == pytest.approx(np.log1p(9))
    assert value["item_behind_last_act"] == pytest.approx(np.log1p(9) - np.log1p(8))
    assert value["item_rate"] == pytest.approx(1 / 4)
    assert value["shown_in_session"] == 1
    assert value["acted_in_session"] == 0
    assert value["shown_lately"] == np.float32(np.log(2))
    never = dict(zip(CROSS, cross_features(spec, state, row, start + 36_000, np.array([7]))[0], strict=True))
    assert never["item_known"] == 0
    assert never["item_age"] == MAX_AGE


def test_treatment_takes_the_reference_where_not_shown():
    got = treatment(np.array([True, False]), np.array([[1, 2], [3, 4]], np.float32), np.array([7, 8], np.float32))
    np.testing.assert_array_equal(got, np.array([[1, 1, 2], [0, 7, 8]], np.float32))
