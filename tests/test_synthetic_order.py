"""The order-dependent shop: its truth is what its log shows, counts tell nothing, and an encoder of order finds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset
from recenv.data.synthetic_order import OrderOptions, load, next_category, ring_places, true_click
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.shared import prepare, training_rows
from recenv.response.train import TrainConfig, train
from recenv.trust.fidelity import predicted
from recenv.trust.metrics import entropy, log_loss
from recenv.world import World

OPTIONS = OrderOptions(users=500, items=20, categories=5, views=1, high=0.8, low=0.05)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(load(options=OPTIONS), BuildOptions(progress=False))


def _truth(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(n,) true P(click), click and propensity of the impressions, through the log that fit reads."""
    shared = prepare(dataset, FitOptions())
    place = ring_places(shared.items["category"].tolist())
    told, click = [], []
    for log in shared.logs:
        acted = ~log.scored | (log.click == 1)
        told.append(true_click(OPTIONS, log.user, log.time, place[log.item], acted)[log.shown])
        click.append(log.click[log.shown])
    propensity = dataset.events.loc[dataset.events["kind"] == "impression", "propensity"]
    return np.concatenate(told), np.concatenate(click), propensity.to_numpy(np.float64)


def test_interest_moves_on_in_its_direction_and_stays_where_it_did_not_move() -> None:
    last, before = np.array([2, 1, 3, 0, 4]), np.array([1, 2, 3, 4, 0])
    assert next_category(last, before, 5).tolist() == [3, 0, 3, 1, 3]


def test_the_truth_of_the_rows_is_what_made_them(dataset: Dataset) -> None:
    p, click, propensity = _truth(dataset)
    assert set(np.unique(p)) == {OPTIONS.low, OPTIONS.high}
    for value in (OPTIONS.low, OPTIONS.high):
        mine = p == value
        assert mine.sum() > 1000
        assert click[mine].mean() == pytest.approx(value, abs=4 * (value * (1 - value) / mine.sum()) ** 0.5)
    assert propensity.min() >= 1 / OPTIONS.items
    assert propensity.max() <= 1 / (OPTIONS.items - OPTIONS.slots)


def test_rows_of_one_moment_do_not_know_each_other() -> None:
    user, moment = np.zeros(4, int), np.array([0, 1, 2, 2])
    category, act = np.array([1, 2, 3, 3]), np.array([True, True, True, False])
    assert true_click(OPTIONS, user, moment, category, act).tolist() == [0.05, 0.05, 0.8, 0.8]
    assert true_click(OPTIONS, np.array([0, 1, 2, 2]), moment, category, act).tolist() == [0.05] * 4


def test_same_seed_same_log() -> None:
    again = load(options=OPTIONS).events
    assert again.equals(load(options=OPTIONS).events)
    assert not again.equals(load(options=OrderOptions(**{**vars(OPTIONS), "seed": 1})).events)


@pytest.mark.parametrize(
    ("option", "value"), [("categories", 4), ("items", 3), ("high", 1.5), ("users", 1), ("days", 2), ("seed", True)]
)
def test_bad_options_are_named(option: str, value: object) -> None:
    with pytest.raises(InputError, match=option):
        OrderOptions(**{option: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reads no files"):
        load("somewhere")


def test_attention_finds_the_order_that_the_sums_do_not_tell() -> None:
    options = replace(OPTIONS, users=1400)
    shared = prepare(build(load(options=options), BuildOptions(progress=False)), FitOptions())
    settings = TrainConfig(epochs=10, patience=10, batch=256, learning_rate=5e-3, encoder="attention", encoder_events=8)
    done, _ = training_rows(shared, shared.logs[0], FitOptions(start_states=1, training=settings), "", False)
    features = np.zeros((options.items, 1), np.float32)
    forward = train(done.rows, shared.spec.item_vectors, features, settings, 0, progress=False)
    held = done.rows.of("validation")
    rate = float(held.click.mean())
    found = log_loss(predicted(forward, held, "click"), held.click, held.weight)
    # Decay stays at the entropy of the rate; the truth reaches .55 of it.
    assert found < 0.75 * entropy(rate)


def test_a_world_fitted_with_an_encoder_simulates(dataset: Dataset, tmp_path: Path) -> None:
    dataset.save(tmp_path / "data")
    training = TrainConfig(epochs=1, least_steps=0, encoder="gru", encoder_events=8, encoder_units=8)
    fit_worlds(tmp_path / "data", tmp_path / "world", FitOptions(training=training, start_states=100), progress=False)
    world = World.load(tmp_path / "world")
    assert world.response.encoder is not None
    assert world.response.config["train"]["encoder"] == "gru"
    simulator = Simulator(world, 8, EnvOptions(split="train"))
    simulator.reset(seed=0)
    for _ in range(4):
        mask = simulator.masks()
        mask[:, 0] = False
        outcome = simulator.step(mask.argmax(axis=1))
    click = outcome.info["expected_click"]
    assert np.isfinite(click).all()
    assert len(np.unique(click)) > 3
