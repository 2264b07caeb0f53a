"""The transition rule: by hand on a few events, and independent of how users are grouped."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recenv.core.errors import InputError
from recenv.observation import bounds, layout, observe, shown_in_session
from recenv.start import concatenate_packed, pack, take_packed
from recenv.state import (
    CART,
    CLICK,
    EXPOSURE,
    KINDS,
    NEVER,
    PURCHASE,
    VIEW,
    StateSpec,
    UserState,
    apply,
    begin_session,
    decay,
    new_state,
)

DAY = 86_400


def make_spec(n_items: int = 12, **changes: object) -> StateSpec:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n_items, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings_ = {"n_categories": 3, "profile_dim": 2, **changes}
    return StateSpec(vectors, (np.arange(n_items) % 3).astype(np.int32), **settings_)  # type: ignore[arg-type]


def one(spec: StateSpec) -> UserState:
    return new_state(spec, np.zeros((1, spec.profile_dim), np.float32))


def put(spec: StateSpec, state: UserState, item: int, kind: int, time: int, row: int = 0) -> None:
    apply(spec, state, np.array([row]), np.array([item]), np.array([kind]), np.array([time]))


def test_a_purchase_enters_memory_sums_and_category() -> None:
    spec = make_spec()
    state = one(spec)
    put(spec, state, 4, PURCHASE, 1000)
    assert state.memory_item[0, 0] == 4
    assert state.memory_counts[0, 0].tolist() == [0, 0, 0, 0, 1]
    assert state.memory_time[0, 0] == 1000
    np.testing.assert_array_equal(state.sums[0, PURCHASE], spec.item_vectors[4])
    assert state.category_counts[0, 1, PURCHASE] == 1
    assert state.last_time[0].tolist() == [NEVER, NEVER, NEVER, NEVER, 1000]


def test_an_exposure_neither_enters_nor_touches_the_memory_but_counts_there() -> None:
    spec = make_spec()
    state = one(spec)
    put(spec, state, 4, EXPOSURE, 10)
    assert (state.memory_item == -1).all()
    put(spec, state, 4, VIEW, 20)
    put(spec, state, 4, EXPOSURE, 30)
    assert state.memory_counts[0, 0, EXPOSURE] == 1
    assert state.memory_time[0, 0] == 20


def test_derived_exposures_stand_in_recent_alone() -> None:
    spec = make_spec(exposures_count=False)
    state, untouched = one(spec), one(spec)
    put(spec, state, 4, EXPOSURE, 10)
    assert state.recent_item[0, 0] == 4
    assert state.step[0] == 1
    for name, array in state.arrays():
        if not name.startswith("recent") and name != "step":
            np.testing.assert_array_equal(array, getattr(untouched, name), err_msg=name)


def test_a_full_memory_forgets_what_was_touched_longest_ago() -> None:
    spec = make_spec(memory=3)
    state = one(spec)
    for time, item in enumerate([0, 1, 2]):
        put(spec, state, item, PURCHASE, time)
    put(spec, state, 0, CART, 3)
    put(spec, state, 5, PURCHASE, 4)
    assert sorted(state.memory_item[0].tolist()) == [0, 2, 5]
    slot = state.memory_item[0].tolist().index(5)
    assert state.memory_counts[0, slot].tolist() == [0, 0, 0, 0, 1]


def test_sums_lose_half_their_mass_in_a_half_life() -> None:
    spec = make_spec(half_life=30 * DAY)
    state = one(spec)
    put(spec, state, 1, VIEW, 0)
    put(spec, state, 2, VIEW, 30 * DAY)
    np.testing.assert_allclose(state.mass[0, VIEW], 1.5, rtol=1e-6)
    expected = 0.5 * spec.item_vectors[1] + spec.item_vectors[2]
    np.testing.assert_allclose(state.sums[0, VIEW], expected, rtol=1e-6)


@given(st.lists(st.integers(0, 400 * DAY), min_size=3, max_size=3).map(sorted))
@settings(max_examples=60, deadline=None)
def test_decay_over_adjacent_intervals_multiplies_to_that_over_their_union(times: list[int]) -> None:
    spec = make_spec()
    a, b, c = (np.array([t], np.int64) for t in times)
    np.testing.assert_allclose(decay(spec, a, b) * decay(spec, b, c), decay(spec, a, c), rtol=3e-7)
    exact = 2.0 ** (-(c - a) / spec.half_life)
    np.testing.assert_allclose(decay(spec, a, c), exact, rtol=2 / 64)


def test_what_never_happened_decays_to_nothing() -> None:
    assert decay(make_spec(), np.array([NEVER]), np.array([5])) == 0.0


def random_events(n: int, spec: StateSpec, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, spec.n_items, n), rng.integers(0, len(KINDS), n), np.sort(rng.integers(0, 50 * DAY, n))


@pytest.mark.parametrize("n", [1, 3, 17, 64])
def test_results_do_not_depend_on_how_many_users_are_handled_together(n: int) -> None:
    spec = make_spec(memory=5, recent=8)
    together = new_state(spec, np.zeros((n, 2), np.float32))
    streams = [random_events(40, spec, seed) for seed in range(n)]
    for step in range(40):
        item, kind, time = (np.array([s[part][step] for s in streams]) for part in range(3))
        if step % 10 == 0:
            begin_session(together, np.arange(n), time)
        apply(spec, together, np.arange(n), item, kind, time)
    now = np.full(n, 60 * DAY)
    seen = observe(spec, together, np.arange(n), now, mode="full")
    for row, (items, kinds, times) in enumerate(streams):
        alone = one(spec)
        for step in range(40):
            if step % 10 == 0:
                begin_session(alone, np.array([0]), times[step : step + 1])
            put(spec, alone, items[step], kinds[step], times[step])
        single = observe(spec, alone, np.array([0]), now[:1], mode="full")
        assert single.tobytes() == seen[row : row + 1].tobytes()


def test_the_session_knows_what_was_shown_in_it() -> None:
    spec = make_spec(recent=4)
    state = one(spec)
    begin_session(state, np.array([0]), np.array([0]))
    put(spec, state, 1, EXPOSURE, 1)
    begin_session(state, np.array([0]), np.array([100]))
    put(spec, state, 2, EXPOSURE, 101)
    put(spec, state, 2, CLICK, 101)
    put(spec, state, 3, EXPOSURE, 102)
    marks = shown_in_session(spec, state, np.array([0]))[0]
    assert state.recent_item[0, marks].tolist() == [2, 3]
    assert state.step[0] == 2
    assert state.sessions[0] == 2
    assert state.previous_end[0] == 1


@pytest.mark.parametrize("mode", ["summary", "full"])
def test_layout_and_bounds_cover_the_whole_observation(mode: str) -> None:
    spec = make_spec(context_dim=2)
    slices = layout(spec, mode)
    edges = sorted(slices.values())
    assert edges[0][0] == 0
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    low, high = bounds(spec, 5, mode)
    obs = observe(spec, one(spec), np.array([0]), np.array([DAY]), mode=mode)
    assert obs.shape == (1, edges[-1][1]) == (1, len(low))
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
    assert ((obs >= low) & (obs <= high)).all()


def test_packed_states_come_back_as_they_were() -> None:
    spec = make_spec(memory=4, recent=6)
    n = 5
    state = new_state(spec, np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32))
    for seed in range(30):
        item, kind, time = random_events(n, spec, seed)
        apply(spec, state, np.arange(n), item, kind, time + seed * 50 * DAY)
    packed = concatenate_packed([pack(state.take(np.array([0, 1]))), pack(state.take(np.array([2, 3, 4])))])
    back = unpack(spec, take_packed(packed, np.array([4, 0, 2])))
    for name, array in back.arrays():
        np.testing.assert_array_equal(array, getattr(state, name)[[4, 0, 2]], err_msg=name)


def unpack(spec: StateSpec, packed: dict[str, np.ndarray]) -> UserState:
    from recenv.start import StartStates

    n, none = len(packed["profile"]), np.zeros(0, np.int32)
    zeros = np.zeros(n, np.int64)
    starts = StartStates(
        np.full(n, "u"), none, none.astype(np.int8), zeros, np.zeros((n, 0), np.float32),
        np.zeros(n + 1, np.int64), none, none, np.zeros((0, 0), np.float32), packed,
    )  # fmt: skip
    return starts.state(spec, np.arange(n))


@pytest.mark.parametrize(
    ("vectors", "categories"),
    [
        (np.zeros((3, 4)), 2),
        (np.zeros((3, 65), np.float32), 2),
        (np.zeros(3, np.float32), 2),
        (np.zeros((3, 4), np.float32), 2000),
    ],
)
def test_a_specification_that_cannot_hold_is_refused(vectors: np.ndarray, categories: int) -> None:
    with pytest.raises(InputError):
        StateSpec(vectors, np.zeros(3, np.int32), n_categories=categories, profile_dim=1)


def test_a_profile_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="profile"):
        new_state(make_spec(), np.zeros((2, 5), np.float32))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="summary, full"):
        layout(make_spec(), "everything")
