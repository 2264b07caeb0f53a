"""What an item would have been like, not shown: a column that is no part of showing keeps the item's own value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers_logs import ALL_TRAIN, attributed
from helpers_world import small_world

from recenv.agents.base import REGISTRY
from recenv.agents.export import exporter
from recenv.core.errors import InputError
from recenv.data.logs import build
from recenv.data.mapping import Mapping
from recenv.data.schema import Dataset, RawTables
from recenv.data.sources.journey_meta import describe
from recenv.env.learned import LearnedResponse
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.features import treatment, unshown_exposure
from recenv.response.fit import _exp
from recenv.response.forward import Prediction
from recenv.response.log import encode_log
from recenv.world import World

DISPLAY, CUT = 0, 1


def shop() -> World:
    """A world whose second exp_* is a price cut: no part of being shown."""
    world = small_world(4, n_items=15, n_starts=60)
    world.exp_reference = np.array([1.0, 0.25], np.float32)
    world.exp_unshown = np.array([0.0, np.nan], np.float32)
    return world


class Listening(LearnedResponse):
    """The world's own response, which keeps the treatments that it was asked about."""

    def predict(self, *args: Any, **named: Any) -> Prediction:
        self.treat = args[6]
        return super().predict(*args, **named)


def asked(world: World, candidates: str) -> np.ndarray:
    """(n, 1 + E) treatments of one slot, shown and not shown in turn."""
    response = Listening(world, 60)
    sim = Simulator(world, 60, EnvOptions(candidates=candidates), response)
    sim.reset(seed=3)
    out = sim.step(np.array([np.flatnonzero(m)[-1] for m in sim.masks()]))
    assert np.isfinite(out.reward).all()
    return response.treat


def test_a_column_without_an_unshown_value_keeps_its_own() -> None:
    exposure = np.array([[1.0, 0.2], [0.0, 0.5]], np.float32)
    found = unshown_exposure(exposure, np.array([0.0, np.nan], np.float32))
    np.testing.assert_array_equal(found, np.array([[0.0, 0.2], [0.0, 0.5]], np.float32))
    assert found.dtype == np.float32
    assert unshown_exposure(np.zeros((3, 0), np.float32), np.zeros(0, np.float32)).shape == (3, 0)
    both = treatment(np.array([True, False]), exposure, np.array([0.0, np.nan], np.float32))
    np.testing.assert_array_equal(both, np.array([[1.0, 1.0, 0.2], [0.0, 0.0, 0.5]], np.float32))


def test_an_offer_not_shown_keeps_the_price_cut_of_its_visit() -> None:
    treat = asked(shop(), "logged")
    shown, unshown = treat[::2, 1:], treat[1::2, 1:]
    assert set(shown[:, CUT]) == {0.0, 1.0}, "both cut and full prices are among the offers"
    np.testing.assert_array_equal(unshown[:, CUT], shown[:, CUT])
    assert (unshown[:, DISPLAY] == 0.0).all()


def test_an_item_that_was_not_on_offer_keeps_the_reference() -> None:
    treat = asked(shop(), "all")
    np.testing.assert_array_equal(treat[1::2, 1:], np.tile(np.array([0.0, 0.25], np.float32), (60, 1)))


def test_a_price_cut_alone_is_no_effect_of_showing() -> None:
    """Where showing changes nothing but the price's column, and that is the item's own, nothing is gained."""
    world = small_world(4, n_items=15, n_starts=60, copies=0)
    world.exp_unshown = np.full(2, np.nan, np.float32)
    forward = world.response
    for name in ("head_pair", "skip_pair"):
        getattr(forward, name)[-3] = 0.0  # the column of `shown`
    forward.platt[:, 0] = forward.platt[:, 1]
    sim = Simulator(world, 60, EnvOptions(reward="incremental", reward_mode="expected"))
    sim.reset(seed=3)
    out = sim.step(np.array([np.flatnonzero(m)[-1] for m in sim.masks()]))
    np.testing.assert_allclose(out.reward, 0.0, atol=1e-6)
    assert out.info["gross"].min() > 0.01


def test_model_greedy_and_its_graph_know_it_too() -> None:
    world = shop()
    options = EnvOptions(observation="full", candidates="all", reward="incremental", leave="never", repeats="allow")
    sim = Simulator(world, 16, options)
    sim.reset(seed=2)
    greedy = REGISTRY["model-greedy"](world, {"reward": "incremental"})
    obs, mask = sim.observations(), sim.masks()
    values, actions = greedy.values(obs, mask), np.arange(16)
    expected = sim.respond(actions).amounts["incremental"]
    np.testing.assert_allclose(values[actions, actions], expected, atol=2e-5)
    few = mask & (np.random.default_rng(0).random(mask.shape) < 0.05)
    np.testing.assert_allclose(greedy.values(obs, few)[few], values[few], atol=2e-5)
    with torch.no_grad():
        graph = exporter("model-greedy").scores(greedy).eval()(torch.from_numpy(obs)).numpy()
    np.testing.assert_allclose(graph, values, atol=1e-5)


def test_a_world_keeps_it_on_disk(tmp_path: Path) -> None:
    shop().save(tmp_path / "w")
    np.testing.assert_array_equal(World.load(tmp_path / "w").exp_unshown, np.array([0.0, np.nan], np.float32))
    assert "NaN" not in (tmp_path / "w" / "world.json").read_text()


def with_cut(**meta: Any) -> Dataset:
    log = attributed()
    log.events["exp_cut"] = np.tile([0.0, 0.5], len(log.events) // 2)
    return build(RawTables(log.events, meta=meta, attributed=True), ALL_TRAIN)


def test_null_is_kept_from_the_source_to_the_world() -> None:
    data = with_cut(exp_unshown={"exp_cut": None})
    assert data.meta["exp_unshown"] == {"exp_cut": None}
    assert not any("exp_unshown" in line for line in data.meta["assumed"])
    json.dumps(data.meta["exp_unshown"], allow_nan=False)
    given: list[dict[str, float | None]] = [{"exp_cut": None}, {}]
    for values in given:
        assert np.isnan(_exp(values, ["exp_cut"], np.nan)).all()
    np.testing.assert_array_equal(_exp({"b": 2.0}, ["a", "b"], 0.0), np.array([0.0, 2.0], np.float32))
    events = {"path": "log.csv", "columns": {"user_id": "u", "item_id": "i", "timestamp": "t", "kind": "k"}}
    mapping = Mapping.model_validate({"events": events, "exp_unshown": {"exp_cut": None}})
    assert mapping.meta()["exp_unshown"] == {"exp_cut": None}


@pytest.mark.parametrize("key", ["exp_reference", "exp_unshown"])
def test_no_other_value_than_a_number_is_taken(key: str) -> None:
    for value in (float("nan"), "0", True, *([None] if key == "exp_reference" else [])):
        with pytest.raises(InputError, match="exp_cut"):
            with_cut(**{key: {"exp_cut": value}})


def test_rows_without_exposure_are_filled_with_0() -> None:
    data = with_cut(exp_unshown={"exp_cut": None})
    data.events.loc[data.events.index[:5], "exp_cut"] = np.nan
    users = np.sort(data.events["user_id"].astype(str).unique())
    log = encode_log(data, list(data.items["item_id"]), users, [])
    assert np.isfinite(log.treat).all()
    assert set(log.treat[:, 1]) == {0.0, 0.5}


def test_complete_journey_says_that_a_discount_is_no_part_of_showing() -> None:
    events = pd.DataFrame({"kind": ["impression"], "split": ["train"], "exp_discount": [0.2], "weight": [1.0]})
    meta = describe(events, 500)
    assert meta["exp_unshown"].get("exp_discount") is None
    assert (meta["exp_unshown"]["exp_display"], meta["exp_unshown"]["exp_mailer"]) == (0.0, 0.0)
    assert meta["exp_reference"]["exp_discount"] == 0.2
