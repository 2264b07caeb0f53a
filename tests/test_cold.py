"""Items and users wholly held out: nothing of them leaks, and what is said of them is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import small_fit
from helpers_response import simulated_rows

from recenv.core.errors import InputError
from recenv.data.schema import Dataset
from recenv.response.features import CROSS
from recenv.response.fit import fit_worlds
from recenv.response.forward import ResponseForward, item_tables
from recenv.response.shared import divide_users
from recenv.response.train import Folds, TrainConfig, train
from recenv.response.vectors import from_content
from recenv.trust.cold import HISTORIES, Cold, Scored, choose_cold, hold_out, score, slice_report
from recenv.trust.fidelity import predicted
from recenv.trust.metrics import auc
from recenv.world import World

SHARE = 0.2


@pytest.fixture(scope="module")
def dataset(small_shop: Path) -> Dataset:
    return Dataset.load(small_shop / "data")


@pytest.fixture(scope="module")
def cold(dataset: Dataset) -> Cold:
    return choose_cold(dataset, SHARE, seed=1, fit_seed=small_fit().seed)


@pytest.fixture(scope="module")
def worlds(dataset: Dataset, cold: Cold, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, World]:
    folder = tmp_path_factory.mktemp("cold")
    hold_out(dataset, cold).save(folder / "data")
    return fit_worlds(folder / "data", folder / "world", small_fit(), progress=False)


def test_the_rest_is_divided_as_everybody_was(dataset: Dataset, cold: Cold) -> None:
    ids = dataset.events["user_id"].unique().astype(str)
    before = divide_users(ids, small_fit().seed)
    after = divide_users(np.setdiff1d(ids, cold.users), small_fit().seed)
    for half, rest in zip(before, after):
        np.testing.assert_array_equal(rest, np.setdiff1d(half, cold.users))
        assert len(half) - len(rest) == len(cold.users) // 2
    np.testing.assert_array_equal(cold.world_users, after[0])
    assert len(cold.items) == 3
    assert len(cold.users) == pytest.approx(SHARE * len(ids), abs=2)
    other = choose_cold(dataset, SHARE, seed=2, fit_seed=small_fit().seed)
    assert set(other.users) != set(cold.users)
    for share in (0.0, 1.0, 0.001):
        with pytest.raises(InputError, match="share"):
            choose_cold(dataset, share, 0, 0)


def test_no_row_of_the_cold_is_left_but_the_judges(dataset: Dataset, cold: Cold) -> None:
    rest = hold_out(dataset, cold).events
    assert not rest["user_id"].isin(cold.users).any()
    of_cold = rest[rest["item_id"].isin(cold.items)]
    assert len(of_cold) > 0
    assert not of_cold["user_id"].isin(cold.world_users).any()
    lost = len(dataset.events) - len(rest)
    gone = dataset.events["user_id"].isin(cold.users) | (
        dataset.events["item_id"].isin(cold.items) & dataset.events["user_id"].isin(cold.world_users)
    )
    assert lost == int(gone.sum())


def test_what_the_cold_did_changes_nothing_that_is_fitted(
    dataset: Dataset, cold: Cold, worlds: tuple[World, World]
) -> None:
    planted = dataset.events.copy()
    secret = planted["user_id"].isin(cold.users) | (
        planted["item_id"].isin(cold.items) & planted["user_id"].isin(cold.world_users)
    )
    for name in ("click", "purchase"):
        planted.loc[secret, name] = 1.0 - planted.loc[secret, name]
    assert hold_out(replace(dataset, events=planted), cold).events.equals(hold_out(dataset, cold).events)
    world, judge = worlds
    mark = np.isin(np.array(world.items["item_id"].to_pylist()), cold.items)
    half = world.spec.vector_dim // 2
    blind = world.spec.item_vectors.copy()
    blind[mark, half:] = 0.0
    np.testing.assert_allclose(world.spec.item_vectors[mark], from_content(blind)[mark], atol=1e-6)
    assert world.spec.item_vectors[mark, :half].any(axis=1).all(), "content is known"
    assert world.spec.item_vectors[~mark, half:].any(axis=1).all()
    shown = 4  # log of how often an item was shown, see `catalogue.item_features`
    assert not world.item_features[mark, shown].any()
    assert (judge.item_features[mark, shown] > 0).all()
    assert not world.logged_rates[:, mark].any()
    memory = world.start.packed["memory_item"]
    assert not np.isin(memory, np.flatnonzero(mark)).any(), "no start state has met a cold item"
    assert not set(world.users["user_id"].to_pylist() + judge.users["user_id"].to_pylist()) & set(cold.users)


@pytest.mark.parametrize("history", HISTORIES)
def test_histories_are_what_they_say(history: str, dataset: Dataset, cold: Cold, worlds: tuple[World, World]) -> None:
    world = worlds[0]
    scored = score(world, dataset, cold, history)
    ids = np.sort(np.concatenate([cold.world_users, cold.users]))
    events = dataset.events[(dataset.events["split"] == "validation") & dataset.events["user_id"].isin(ids)]
    expected = events[events["kind"].isin(["impression", "opportunity"])]
    assert len(scored.rows) == len(expected)
    assert scored.cold_item.sum() == expected["item_id"].isin(cold.items).sum()
    assert scored.cold_user.sum() == expected["user_id"].isin(cold.users).sum()
    np.testing.assert_array_equal(np.isin(ids[scored.rows.user], cold.users), scored.cold_user)
    acts = scored.rows.cross[:, [CROSS.index(f"item_{kind}") for kind in ("view", "click", "purchase")]]
    sessions = scored.rows.visit_obs[scored.rows.visit][:, slice(*world.layout["session"])][:, 1]
    begun = np.log1p(1.0)
    if history == "launch":
        assert not acts[scored.cold_item].any()
        np.testing.assert_allclose(sessions[scored.cold_user], begun)
    else:
        assert acts[scored.cold_item].any()
        assert sessions[scored.cold_user].max() > begun + 0.1
    assert sessions[~scored.cold_user].max() > begun + 0.1
    for head in ("click", "purchase"):
        p = predicted(world.response, scored.rows, head)
        assert np.isfinite(p).all()
        assert ((p > 0) & (p < 1)).all()


def test_at_launch_warm_users_are_as_if_they_had_never_acted_on_a_cold_item(
    dataset: Dataset, cold: Cold, worlds: tuple[World, World]
) -> None:
    events = dataset.events[~dataset.events["item_id"].isin(cold.items)].reset_index(drop=True)
    without = score(worlds[0], replace(dataset, events=events), cold, "met")
    launch, met = (score(worlds[0], dataset, cold, history) for history in HISTORIES)
    acts = [CROSS.index(name) for name in ("category_view", "category_click", "category_purchase", "item_click")]

    def seen(scored: Scored) -> np.ndarray:
        return scored.rows.cross[~scored.cold_item & ~scored.cold_user][:, acts]

    np.testing.assert_array_equal(seen(launch), seen(without))
    assert (seen(met) != seen(without)).any()


def test_an_unknown_item_is_placed_among_those_like_it() -> None:
    rng = np.random.default_rng(0)
    kind = np.arange(40) % 2
    content = np.eye(3)[kind] + 0.1 * rng.normal(size=(40, 3))
    together = np.eye(3)[kind + 1] + 0.1 * rng.normal(size=(40, 3))
    vectors = np.concatenate([content, together], axis=1)
    vectors[:4, 3:] = 0.0
    found = from_content(vectors)
    np.testing.assert_array_equal(found[:, :3], content)
    np.testing.assert_allclose(found[:, 3:], np.eye(3)[kind + 1], atol=0.3)
    assert (found[:, 3:].argmax(axis=1) == kind + 1).all()
    other = vectors.copy()
    other[7, 3:] = [9.0, 9.0, 9.0]
    np.testing.assert_array_equal(from_content(other)[7], found[7], "its own second half is left out")
    assert not from_content(np.pad(content, ((0, 0), (0, 3))))[:, 3:].any(), "nothing known, nothing guessed"


def test_training_gets_the_level_of_unseen_items_right() -> None:
    """Rates of known items say all; an item that was never met has none, and must not be taken for a bad one."""
    n_items = 40
    rng = np.random.default_rng(0)
    rows, *_ = simulated_rows(0, 12_000, n_items)
    rate = np.linspace(0.05, 0.55, n_items)
    rows.purchase = (rng.random(len(rows)) < rate[rows.item]).astype(np.float32)
    rows.weight = np.ones(len(rows), np.float32)
    vectors = rng.normal(size=(n_items, 4)).astype(np.float32)
    known = np.stack([np.log(rate / (1 - rate)), np.linspace(4, 6, n_items)], axis=1).astype(np.float32)
    never = np.tile(np.array([np.log(0.3 / 0.7), 0.0], np.float32), (n_items, 1))
    unseen = np.concatenate([np.zeros((n_items, 4), np.float32), never], axis=1)
    told = {}
    for name, block in (("blanked", None), ("unseen", unseen)):
        folds = Folds(known[None], np.zeros(len(rows), np.int64), block)
        forward = train(rows, vectors, known, TrainConfig(epochs=4, item_drop=0.2), 0, False, folds)
        arrays = forward.to_arrays()
        blind = ResponseForward(arrays | item_tables(arrays, unseen), forward.config)
        told[name] = float(predicted(blind, rows, "purchase").sum() / rows.purchase.sum())
        assert predicted(forward, rows, "purchase").sum() / rows.purchase.sum() == pytest.approx(1.0, abs=0.08)
    assert told["unseen"] == pytest.approx(1.0, abs=0.2), told
    assert abs(told["blanked"] - 1.0) > 0.3, "what is tested here is not there of itself"


def test_slices_add_up_and_their_figures_are_those_of_their_rows(
    dataset: Dataset, cold: Cold, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    scored = score(world, dataset, cold, "met")
    lines = slice_report(world, scored, "click", n_boot=20)
    assert [(x["item"], x["user"]) for x in lines] == [
        ("warm", "warm"), ("cold", "warm"), ("warm", "cold"), ("cold", "cold")
    ]  # fmt: skip
    assert sum(line["rows"] for line in lines) == int(scored.rows.shown.sum())
    mask = scored.rows.shown & scored.cold_item & ~scored.cold_user
    rows = scored.rows.select(mask)
    p, y = predicted(world.response, rows, "click"), rows.response("click")
    line = lines[1]
    assert line["positives"] == int(y.sum())
    assert line["auc"]["value"] == pytest.approx(auc(p, y, rows.weight))
    assert line["predicted_real"]["value"] == pytest.approx(p.sum() / y.sum(), rel=1e-5)
    loss = -np.where(y > 0.5, np.log(p), np.log1p(-p)).mean()
    rate = y.mean()
    entropy = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
    assert line["gain"]["value"] == pytest.approx(1 - loss / entropy, abs=1e-5)
    assert lines[0]["auc"]["value"] > 0.6
    with pytest.raises(InputError, match="history"):
        score(world, dataset, cold, "later")
