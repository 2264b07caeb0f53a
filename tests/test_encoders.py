"""History encoders: equal in torch, numpy and numba, bit-equal for any batch, and worlds that carry them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers_response import lived_states, simulated_rows, small_spec
from helpers_world import small_world, with_encoder

from recenv.agents.dense import DenseResponse, full_inputs
from recenv.agents.export_greedy import GreedyScores
from recenv.agents.greedy import ModelGreedyPolicy
from recenv.core.errors import ArtefactError, InputError
from recenv.env.check import check
from recenv.env.kernels_recent import RowEncoder
from recenv.env.learned import LearnedResponse
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.observation import observe
from recenv.response.encoders import ENCODERS, SHAPES, Encoder, item_table
from recenv.response.encoders_torch import Seen, make_encoder
from recenv.response.forward import ResponseForward
from recenv.response.frailty import estimate, with_frailty
from recenv.response.model import Widths
from recenv.response.recent import Recent
from recenv.response.train import TrainConfig, train
from recenv.state import EXPOSURE, PURCHASE, VIEW, StateSpec, apply, begin_session, new_state
from recenv.trust.fidelity import predicted
from recenv.world import World

READ = [name for name in ENCODERS if name != "decay"]
NOW = 1_600_900_000
CONFIG = TrainConfig(
    epochs=2, least_steps=0, batch=512, encoder_units=8, encoder_events=6, widths=Widths(16, 16, 8, 16, 8)
)


@pytest.fixture(scope="module")
def lived() -> tuple[StateSpec, Recent]:
    rng = np.random.default_rng(0)
    spec = small_spec(rng)
    state = lived_states(spec, rng)
    return spec, Recent.of_state(spec, state, np.arange(len(state)), np.full(len(state), NOW))


def _pair(name: str, spec: StateSpec, recent: Recent, events: int = 7) -> tuple[Any, Encoder]:
    """The torch module and what it exports to."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make_encoder(name, spec.vector_dim, 16, events, Seen.of(recent, events))
    assert module is not None
    arrays = module.arrays()
    arrays |= item_table(arrays, spec.item_vectors) | {"encoder_product": np.ones((8, 1), np.float32)}
    return module, Encoder(arrays, {"name": name, "units": 16, "events": events})


@pytest.mark.parametrize("name", READ)
def test_numpy_and_numba_equal_torch(name: str, lived: tuple[StateSpec, Recent]) -> None:
    spec, recent = lived
    module, encoder = _pair(name, spec, recent)
    with torch.no_grad():
        want = module(module.prepare(recent), torch.from_numpy(spec.item_vectors)).numpy()
    assert want.shape == (len(recent), 16)
    assert (want[:2] == 0).all()  # no history, no encoding
    assert want[2:].std() > 0.1
    np.testing.assert_allclose(encoder.encode(recent), want, atol=1e-5)
    np.testing.assert_allclose(RowEncoder(encoder).encode(recent), want, atol=1e-5)


@pytest.mark.parametrize("name", READ)
def test_the_row_encoder_is_bit_equal_for_any_number_of_users(name: str, lived: tuple[StateSpec, Recent]) -> None:
    spec, recent = lived
    row = RowEncoder(_pair(name, spec, recent)[1])
    together = row.encode(recent)
    for some in ([5], [7, 3], list(range(4, 29))):
        np.testing.assert_array_equal(row.encode(recent.take(np.array(some))), together[some])


@pytest.mark.parametrize("name", READ)
def test_the_encoding_is_0_without_events_and_knows_the_order(name: str, lived: tuple[StateSpec, Recent]) -> None:
    spec, recent = lived
    row = RowEncoder(_pair(name, spec, recent)[1])
    one = Recent(*(np.repeat(getattr(recent, f)[9:10], 2, axis=0) for f in Recent.__dataclass_fields__))
    one.item[1, :2] = one.item[1, 1::-1].copy()
    one.kind[:, :2], one.age[:, :2] = VIEW, 1.0
    assert one.item[0, 0] != one.item[0, 1]
    forth, back = row.encode(one)
    assert np.abs(forth - back).max() > 1e-3


@pytest.mark.parametrize("name", READ)
def test_kinds_that_training_never_saw_are_not_read(name: str, lived: tuple[StateSpec, Recent]) -> None:
    """Where logs hold no exposures, those that a simulated session shows must not move the encoding."""
    spec, recent = lived
    acts = recent.take(np.arange(2, 12))
    acts.kind[acts.kind == EXPOSURE] = PURCHASE
    encoder = _pair(name, spec, acts, events=4)[1]
    before = [encoder.encode(acts), RowEncoder(encoder).encode(acts)]
    pushed = Recent(*(np.roll(getattr(acts, f), 1, axis=1) for f in Recent.__dataclass_fields__))
    pushed.kind[:, 0] = EXPOSURE
    np.testing.assert_array_equal(RowEncoder(encoder).encode(pushed), before[1])
    np.testing.assert_allclose(encoder.encode(pushed), before[0], atol=1e-6)
    pushed.kind[:, 0] = PURCHASE
    assert np.abs(RowEncoder(encoder).encode(pushed) - before[1]).max() > 1e-3


def test_the_ring_is_read_newest_first_with_its_session(lived: tuple[StateSpec, Recent]) -> None:
    spec, _ = lived
    state, row = new_state(spec, np.zeros((1, 3), np.float32)), np.zeros(1, np.int64)
    for k in range(spec.recent + 3):
        time = np.array([NOW + 60 * k])
        if k == spec.recent:
            begin_session(state, row, time)
        apply(spec, state, row, np.array([k]), np.array([VIEW]), time, np.array([k if k % 2 else -1]))
    found = Recent.of_state(spec, state, row, np.array([NOW + 60 * (spec.recent + 3)]))
    assert found.item[0].tolist() == list(range(spec.recent + 2, 2, -1))
    assert found.in_session[0].tolist() == [True] * 3 + [False] * (spec.recent - 3)
    assert found.copied[0].tolist() == [bool(k % 2) for k in found.item[0]]
    assert (np.diff(found.age[0]) > 0).all()
    full = observe(spec, state, row, np.array([NOW + 60 * (spec.recent + 3)]), mode="full")
    again = Recent.of_full(spec, full)
    for name in Recent.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        assert getattr(again, name).dtype == getattr(found, name).dtype


def _rows_with_history(n: int = 4000) -> tuple[Any, ...]:
    """Training rows whose click follows the item of the newest event: half of all items like each other."""
    rows, vectors, features, _ = simulated_rows(6, n=n, heads=("click", "purchase"))
    rng = np.random.default_rng(1)
    visits = len(rows.visit_obs)
    item = rng.integers(0, len(vectors), (visits, 9)).astype(np.int16)
    item[rng.random(visits) < 0.1] = -1
    kind = np.where(item >= 0, rng.integers(0, 5, item.shape), -1).astype(np.int8)
    ages = np.sort(rng.random(item.shape), axis=1).astype(np.float32)
    rows.recent = Recent(item, kind, ages, np.zeros(item.shape, bool), np.zeros(item.shape, bool))
    return rows, vectors, features


@pytest.mark.parametrize("name", READ)
def test_same_seed_same_bytes_and_a_saved_model_predicts_the_same(name: str) -> None:
    rows, vectors, features = _rows_with_history()
    config = replace(CONFIG, encoder=name)
    first, again, other = (train(rows, vectors, features, config, seed, progress=False) for seed in (1, 1, 2))
    arrays = first.to_arrays()
    assert set(SHAPES[name]) <= set(arrays)
    for key, array in again.to_arrays().items():
        assert array.tobytes() == arrays[key].tobytes(), key
    assert other.to_arrays()["encoder_kind"].tobytes() != arrays["encoder_kind"].tobytes()
    assert first.config["encoder"] == {"name": name, "units": 8, "events": 6}
    held = rows.of("validation")
    loaded = ResponseForward.from_arrays(arrays, first.config)
    np.testing.assert_array_equal(predicted(loaded, held, "click"), predicted(first, held, "click"))
    moved = first.with_items(vectors, features)
    np.testing.assert_array_equal(moved.encoder_item, first.encoder_item)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_session_effect_is_estimated_from_what_the_encoder_predicts(name: str) -> None:
    rows, vectors, features = _rows_with_history(1000)
    forward = train(rows, vectors, features, replace(CONFIG, encoder=name), seed=1, progress=False)
    session = np.arange(len(rows)) // 2
    found = with_frailty(forward, rows, session, 0, 20).config["frailty"]
    use = rows.shown & ~np.isnan(rows.response("click"))
    p, y = predicted(forward, rows, "click")[use], rows.response("click")[use]
    assert found == asdict(estimate(p, y, session[use], rows.weight[use], rows.user[use], "click", 20, 0))


def test_decay_has_no_encoder_and_reads_no_events() -> None:
    rows, vectors, features = _rows_with_history()
    forward = train(rows, vectors, features, CONFIG, seed=1, progress=False)
    assert forward.encoder is None
    assert "encoder" not in forward.config
    assert not [key for key in forward.to_arrays() if key.startswith("encoder")]
    assert forward.user_inputs(rows.visit_obs, rows.recent) is rows.visit_obs
    spec = small_spec(np.random.default_rng(0))
    state = lived_states(spec, np.random.default_rng(0))
    assert forward.encode(spec, state, np.arange(5), np.full(5, NOW)).shape == (5, 0)


def test_rows_without_recent_events_are_refused() -> None:
    rows, vectors, features = _rows_with_history()
    forward = train(rows, vectors, features, replace(CONFIG, encoder="attention"), seed=1, progress=False)
    bare = replace(rows, recent=None)
    with pytest.raises(InputError, match="recent"):
        train(bare, vectors, features, replace(CONFIG, encoder="gru"), seed=1, progress=False)
    with pytest.raises(InputError, match="recent"):
        predicted(forward, bare.of("validation"), "click")
    with pytest.raises(InputError, match="user_inputs"):
        forward.predict(rows.visit_obs, rows.item, rows.cross, rows.treat, owner=rows.visit)
    with pytest.raises(InputError, match="histories"):
        train(replace(rows, recent=rows.recent.take(np.arange(3))), vectors, features, CONFIG, 1, False)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("encoder", "lstm"),
        ("encoder_units", 10),
        ("encoder_units", 0),
        ("encoder_events", 0),
        ("user_drop", 1.0),
        ("weight_decay", -1.0),
    ],
)
def test_bad_options_are_named(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=option):
        replace(CONFIG, **{option: value})


@pytest.mark.parametrize("name", READ)
def test_damaged_encoders_are_refused(name: str) -> None:
    world = with_encoder(small_world(), name)
    arrays, config = world.response.to_arrays(), world.response.config
    for broken in (
        {k: v for k, v in arrays.items() if k != "encoder_kind"},
        arrays | {"encoder_item": arrays["encoder_item"][:-1]},
        arrays | {"encoder_feature": arrays["encoder_feature"] * np.float32(np.nan)},
    ):
        with pytest.raises(ArtefactError, match="encoder_"):
            ResponseForward.from_arrays(broken, config)
    with pytest.raises(ArtefactError, match=r"response\.encoder"):
        ResponseForward.from_arrays(arrays, config | {"encoder": {"name": "lstm", "units": 8, "events": 4}})


def test_indices_outside_the_catalogue_are_refused(lived: tuple[StateSpec, Recent]) -> None:
    spec, recent = lived
    row = RowEncoder(_pair("gru", spec, recent)[1])
    for field, value in (("item", spec.n_items), ("kind", 5), ("item", -2)):
        bad = recent.take(np.arange(3, 6))
        getattr(bad, field)[1, 1] = value
        with pytest.raises(InputError, match=f"recent.{field}"):
            row.encode(bad)


@pytest.fixture(scope="module", params=READ)
def encoder_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    path = with_encoder(small_world(), request.param).save(tmp_path_factory.mktemp("worlds") / request.param)
    return World.load(path)


def test_a_world_with_an_encoder_saves_and_passes_the_conformance_test(encoder_world: World) -> None:
    assert encoder_world.response.encoder is not None
    kwargs = {"world": str(encoder_world.path), "observation": "full"}
    report = check("recenv/World-v0", kwargs, steps=40)
    assert set(report.results.values()) == {"ok"}, "\n".join(report.lines())


def test_simulator_and_forward_expect_the_same(encoder_world: World) -> None:
    """What the simulator asks of its kernels, the numpy forward gives from the state and from the full observation."""
    simulator = Simulator(encoder_world, 12, EnvOptions(observation="full", candidates="all", horizon=9, split="train"))
    simulator.reset(seed=3)
    for action in (5, 9, 2):
        simulator.step(np.full(12, action))
    forward, spec = encoder_world.response, encoder_world.spec
    rows, item = np.arange(12), np.arange(12) % spec.n_items
    treat = np.ones((12, forward.pair_dim - 29), np.float32)
    summary = simulator.raw[:, : simulator.summary_size]
    asked = LearnedResponse(encoder_world, 12).predict(
        simulator.state, rows, simulator.now, summary, item, np.full(12, -1), treat, np.ones(12)
    )
    history = forward.encode(spec, simulator.state, rows, simulator.now)
    assert history.shape == (12, forward.encoder.units)
    full = full_inputs(forward, spec, simulator.observations())
    np.testing.assert_allclose(full, np.concatenate([summary, history], axis=1), atol=1e-6)
    raw = DenseResponse(encoder_world).logits(simulator.observations(), [treat[0]])[0]
    dense = forward.calibrated(raw[rows, item], treat)
    np.testing.assert_allclose(dense.click, asked.click, atol=1e-5)
    other = LearnedResponse(encoder_world, 12)
    other.encoder = None
    with pytest.raises(InputError):
        other.predict(simulator.state, rows, simulator.now, summary, item, np.full(12, -1), treat, np.ones(12))


def test_greedy_reads_the_history_sparse_and_dense(encoder_world: World) -> None:
    simulator = Simulator(encoder_world, 6, EnvOptions(observation="full", candidates="all", split="train"))
    obs, _ = simulator.reset(seed=3)
    policy = ModelGreedyPolicy(encoder_world)
    everything = np.ones((6, encoder_world.n_actions), bool)
    few = np.zeros_like(everything)
    few[:, [0, 3, 4]] = True
    np.testing.assert_allclose(policy.values(obs, few)[:, [3, 4]], policy.values(obs, everything)[:, [3, 4]], atol=1e-5)
    start, stop = simulator.layout["recent_item"]
    blank = obs.copy()
    blank[:, start:stop] = -1
    assert np.abs(policy.values(blank, everything) - policy.values(obs, everything)).max() > 1e-4


def test_the_exported_graph_scores_as_the_policy_does(encoder_world: World) -> None:
    options = EnvOptions(observation="full", candidates="all", split="train")
    simulator = Simulator(encoder_world, 12, options)
    simulator.reset(seed=3)
    for action in (4, 8):
        simulator.step(np.full(12, action))
    obs = simulator.observations()
    policy = ModelGreedyPolicy(encoder_world)
    with torch.no_grad():
        told = GreedyScores(policy).eval()(torch.from_numpy(obs)).numpy()
    np.testing.assert_allclose(told, policy.values(obs, np.ones((12, encoder_world.n_actions), bool)), atol=1e-4)


def test_trajectories_do_not_depend_on_the_number_of_sessions(encoder_world: World) -> None:
    options = EnvOptions(candidates="all", split="train")
    many, one = Simulator(encoder_world, 5, options), Simulator(encoder_world, 1, options, env_index=3)
    many.reset(seed=1)
    one.reset(seed=1)
    for action in (4, 8, 1):
        together, alone = many.step(np.full(5, action)), one.step(np.array([action]))
        assert together.info["expected_click"][3] == alone.info["expected_click"][0]
        np.testing.assert_array_equal(together.obs[3], alone.obs[0])
