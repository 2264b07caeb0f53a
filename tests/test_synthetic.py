"""The synthetic shop: its truth, its log, and what policies are worth in it."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recenv.core.errors import ArtefactError, InputError
from recenv.data.logs import build
from recenv.data.schema import Dataset, RawTables
from recenv.data.synthetic import SyntheticOptions, load
from recenv.data.synthetic_shop import make_shop
from recenv.data.true_values import reference_values
from recenv.data.truth import LEAVE_WEIGHTS, WARMTH_AT_START, Sessions, Truth, leave_chance
from recenv.env.true_response import TrueResponse

SMALL = SyntheticOptions(users=400, items=60, sessions=5.0)


@pytest.fixture(scope="module")
def raw() -> RawTables:
    return load(options=SyntheticOptions())


@pytest.fixture(scope="module")
def truth(raw: RawTables) -> Truth:
    return Truth.from_bytes(raw.extras)


@pytest.mark.parametrize("reward", ["gross", "incremental"])
def test_policies_are_clearly_apart(truth: Truth, reward: str) -> None:
    found = reference_values(truth, np.arange(1000), reward, seed=3, repeats=2)
    names = ["random", "logged", "best-fixed", "myopic", "planned"]
    for low, high in pairwise(names):
        gap = found[high].mean - found[low].mean
        assert gap > 4 * np.hypot(found[low].error, found[high].error), (low, high, found)
    assert found["planned"].mean > 1.08 * found["myopic"].mean
    assert found["logged"].mean < 0.35 * found["myopic"].mean


def test_logged_sessions_are_worth_what_the_truth_says(raw: RawTables, truth: Truth) -> None:
    shown = raw.events[raw.events["kind"] == "impression"]
    bought = shown.groupby(["user_id", "session_id"])["purchase"].sum().groupby("user_id").mean()
    expected = reference_values(truth, None, "gross", seed=1)["logged"]
    assert abs(bought.mean() - expected.mean) < 4 * np.hypot(bought.std() / np.sqrt(len(bought)), expected.error)
    assert (shown.groupby("session_id").size().mean() - expected.length) == pytest.approx(0, abs=0.2)


def test_propensities_sum_to_one_over_what_may_be_shown(truth: Truth) -> None:
    shown = np.zeros((50, truth.n_items), np.bool_)
    shown[:, :7] = True
    chance = truth.propensities(np.arange(50), shown)
    assert chance.sum(axis=1) == pytest.approx(np.ones(50))
    assert (chance[:, :7] == 0).all()
    assert (chance[:, 7:] >= truth.epsilon / truth.n_items).all()


def test_propensities_are_the_frequencies(raw: RawTables, truth: Truth) -> None:
    """Logged propensities are those of the policy, and first items are drawn by them: chi-square over the items."""
    first = raw.events[(raw.events["kind"] == "impression") & (raw.events["position"] == 1)]
    user, item = truth.users(first["user_id"].to_numpy(str)), truth.items(first["item_id"].to_numpy(str))
    chance = truth.propensities(user, np.zeros((len(user), truth.n_items), np.bool_))
    assert first["propensity"].to_numpy() == pytest.approx(chance[np.arange(len(user)), item])
    seen, expected = np.bincount(item, minlength=truth.n_items), chance.sum(axis=0)
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert statistic < truth.n_items - 1 + 4 * np.sqrt(2 * (truth.n_items - 1))


def _bias_of_prestige(raw: RawTables, truth: Truth) -> tuple[float, float, float]:
    """Click rate of prestige items at first slots over their true rate: naive, by propensity, and the latter's error.

    The true rate is that of the same items, as often as logged, shown to everybody.
    """
    first = raw.events[(raw.events["kind"] == "impression") & (raw.events["position"] == 1)]
    item, user = truth.items(first["item_id"].to_numpy(str)), truth.users(first["user_id"].to_numpy(str))
    chosen = np.flatnonzero(truth.prestige[item] > 1.0)
    share = np.bincount(item[chosen], minlength=truth.n_items) / len(chosen)
    actual = float(Sessions(truth, user).table().click.mean(axis=0) @ share)
    click = first["click"].to_numpy(float)[chosen]
    weight = share[item[chosen]] / first["propensity"].to_numpy()[chosen]
    weighted = (click * weight).sum() / weight.sum()
    error = np.sqrt(((weight * (click - weighted)) ** 2).sum()) / weight.sum()
    return click.mean() / actual, weighted / actual, error / actual


def test_the_hidden_trait_confounds_the_logged_rates(raw: RawTables, truth: Truth) -> None:
    naive, weighted, error = _bias_of_prestige(raw, truth)
    plain = load(options=SyntheticOptions(confounding=0.0))
    unconfounded = _bias_of_prestige(plain, Truth.from_bytes(plain.extras))[0]
    assert naive > 1.25 * unconfounded, (naive, unconfounded)
    assert abs(weighted - 1.0) < 4 * error, (weighted, error)


def test_responses_held_back_follow_the_truth(raw: RawTables, truth: Truth) -> None:
    held = raw.events[(raw.events["kind"] == "opportunity") & (raw.events["position"] == 1)]
    user, item = truth.users(held["user_id"].to_numpy(str)), truth.items(held["item_id"].to_numpy(str))
    chance = Sessions(truth, user).chances(np.arange(len(user)), item, shown=False)
    for name, expected in (("click", chance.click), ("purchase", chance.click * chance.purchase)):
        count = held[name].sum()
        assert abs(count - expected.sum()) < 4 * np.sqrt(expected.sum())
    assert (Sessions(truth, user[:50]).table().click > Sessions(truth, user[:50]).table(shown=False).click).all()


def test_same_options_same_bytes_and_another_seed_another_shop(tmp_path: Path) -> None:
    first, again = build(load(options=SMALL)), build(load(options=SMALL))
    first.save(tmp_path / "a")
    again.save(tmp_path / "b")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert "truth.npz" in names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    other = build(load(options=dataclasses.replace(SMALL, seed=1)))
    assert not first.events["item_id"].head(50).equals(other.events["item_id"].head(50))


def test_data_set_and_truth_come_back_from_disk(tmp_path: Path) -> None:
    raw = load(options=SMALL)
    build(raw).save(tmp_path / "shop")
    back, truth = Dataset.load(tmp_path / "shop"), make_shop(SMALL).truth
    assert back.meta["propensity"] == "known"
    assert not back.meta["quarantined"]
    assert back.extras == raw.extras
    loaded = Truth.load(tmp_path / "shop")
    for field in dataclasses.fields(Truth):
        assert np.array_equal(getattr(loaded, field.name), getattr(truth, field.name)), field.name
    (tmp_path / "shop" / "truth.json").write_text('{"version": 0}')
    with pytest.raises(ArtefactError, match="another shop model"):
        Truth.load(tmp_path / "shop")
    with pytest.raises(ArtefactError, match="hash"):
        Dataset.load(tmp_path / "shop")
    with pytest.raises(ArtefactError, match="missing"):
        Truth.load(tmp_path)


def test_the_log_shows_no_item_twice_a_session_and_can_leave_parts_out() -> None:
    bare = load(options=dataclasses.replace(SMALL, opportunities=False, acts=False)).events
    assert set(bare["kind"]) == {"impression"}
    assert not bare.duplicated(["session_id", "item_id"]).any()
    assert bare.groupby("session_id").size().max() <= SMALL.slots
    full = load(options=SMALL).events
    assert set(full["kind"]) == {"impression", "opportunity", "view", "cart", "purchase"}
    held = full[full["kind"] == "opportunity"]
    both = held.merge(full[full["kind"] == "impression"], on=["session_id", "timestamp", "item_id"])
    assert both.empty
    assert full.loc[full["kind"].isin(["view", "cart"]), "click"].isna().all()


def test_hidden_state_moves_as_described(truth: Truth) -> None:
    one = Sessions(truth, np.array([0, 0]))
    item = int(np.flatnonzero(truth.depth > 0.5)[0])
    before = one.table()
    one.observe(np.arange(2), np.full(2, item), np.array([True, False]), np.zeros(2))
    assert one.warmth[0] > WARMTH_AT_START > one.warmth[1]
    assert one.interest[0] @ truth.factor[item] > truth.taste[0] @ truth.factor[item]
    assert np.array_equal(one.interest[1], truth.taste[0])
    same = np.flatnonzero(truth.category == truth.category[item])
    assert (one.table().click[1, same] < before.click[1, same]).all()
    assert (one.table().leave_logit[1] > before.leave_logit[1]).all()
    one.begin(np.array([1]), np.array([0]))
    assert one.table().click[1] == pytest.approx(before.click[1])


def test_pairs_and_tables_agree(truth: Truth) -> None:
    sessions = Sessions(truth, np.arange(20))
    rng = np.random.default_rng(0)
    for _ in range(3):
        sessions.observe(np.arange(20), rng.permutation(truth.n_items)[:20], rng.random(20) < 0.5, np.zeros(20))
    rows, item = np.repeat(np.arange(20), truth.n_items), np.tile(np.arange(truth.n_items), 20)
    for shown in (True, False):
        pairs, table = sessions.chances(rows, item, shown), sessions.table(shown)
        for name in ("click", "purchase", "leave_logit"):
            assert getattr(pairs, name).reshape(20, -1) == pytest.approx(getattr(table, name), abs=1e-12)


def test_true_response_finds_users_and_items_by_id(truth: Truth) -> None:
    order = np.random.default_rng(0).permutation(truth.n_items)
    users = truth.user_id[[7, 3, 3]]
    world = SimpleNamespace(
        items=pa.table({"item_id": truth.item_id[order].tolist()}), start=SimpleNamespace(user_id=users)
    )
    response = TrueResponse(truth, world, 2)  # type: ignore[arg-type]
    response.begin(np.array([0, 1]), np.array([0, 2]))
    empty = np.zeros((4, 0), np.float32)
    treat = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32)
    pair, item = np.array([0, 0, 1, 1]), np.array([5, 5, 9, 9])
    arguments = (pair, np.zeros(4, np.int64), empty, item, np.full(4, -1), treat, np.ones(4, np.int64))
    seen = response.predict(None, *arguments)  # type: ignore[arg-type]
    real = Sessions(truth, np.array([7, 3]))
    for row, shown in enumerate((True, False, True, False)):
        expected = real.table(shown).click[pair[row], order[item[row]]]
        assert seen.click is not None
        assert seen.click[row] == pytest.approx(expected, rel=1e-6)
    response.observe(np.array([1]), np.array([9]), np.array([-1]), np.array([True]), np.array([False]))
    assert response.sessions.shown[1, order[9]]
    assert not response.sessions.shown[0].any()
    assert response.leave_weights == pytest.approx(LEAVE_WEIGHTS)
    with pytest.raises(InputError, match="not in the truth"):
        truth.users(np.array(["nobody"]))


def test_who_clicks_stays_and_who_has_bought_leaves_sooner() -> None:
    logit = np.zeros(3)
    chance = leave_chance(logit, np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert chance[1] < chance[2] < chance[0] == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("users", 0),
        ("users", 1.5),
        ("epsilon", 0.0),
        ("items", 5),
        ("days", 3),
        ("acts", 1),
        ("seed", -1),
        ("slots", True),
    ],
)
def test_bad_options_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        SyntheticOptions(**{name: value})  # type: ignore[arg-type]


def test_a_path_is_refused() -> None:
    with pytest.raises(InputError, match="path"):
        load("somewhere")


def test_prices_and_revenue_agree(raw: RawTables) -> None:
    assert raw.items is not None
    price = raw.items.set_index("item_id")["price"]
    shown = raw.events[raw.events["kind"].isin(["impression", "opportunity"])]
    expected = (shown["purchase"] * shown["item_id"].map(price)).astype("float32")
    pd.testing.assert_series_equal(shown["revenue"], expected, check_names=False)
