"""The response model: learns a known response, is reproducible, calibrated, and equal in numpy and torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_response import simulated_rows

from recenv.core.errors import ArtefactError, InputError
from recenv.response.calibrate import platt
from recenv.response.forward import ResponseForward
from recenv.response.model import ResponseNet, Scaling, Widths, export
from recenv.response.train import TrainConfig, supported_heads, train

CONFIG = TrainConfig(epochs=6, least_steps=0, batch=512, learning_rate=3e-3, widths=Widths(16, 16, 8, 16, 8))


@pytest.fixture(scope="module")
def purchase_model():
    rows, vectors, features, p = simulated_rows(0, n=60_000)
    return train(rows, vectors, features, CONFIG, seed=1, progress=False), rows, p


@pytest.fixture(scope="module")
def full_model():
    rows, vectors, features, p = simulated_rows(5, n=40_000, heads=("click", "purchase", "leave"))
    return train(rows, vectors, features, CONFIG, seed=1, progress=False), rows, p


def test_numpy_forward_equals_torch():
    rng = np.random.default_rng(2)
    obs = (rng.normal(size=(300, 9)) * 5 + 100).astype(np.float32)
    inputs, pair = rng.normal(size=(30, 6)).astype(np.float32), rng.normal(size=(300, 11)).astype(np.float32)
    torch.manual_seed(0)
    net = ResponseNet(Scaling.of(obs[:200]), Scaling.of(inputs), Scaling.of(pair[:200]), 3, Widths(), 4)
    torch.nn.init.normal_(net.pair_skip.weight)
    forward = ResponseForward(export(net, inputs), {"heads": ["click", "purchase", "leave"]})
    item = rng.integers(0, 30, 300)
    with torch.no_grad():
        tensors = [torch.from_numpy(a) for a in (obs, item, pair)]
        user, z = net.user_scale(tensors[0]), net.pair_scale(tensors[2])
        want = net(user, net.items(torch.from_numpy(inputs)), tensors[1], z).numpy()
    got = forward.logits(obs, item, pair[:, :8], pair[:, 8:])
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)
    again = forward.with_items(inputs[:, :4], inputs[:, 4:])
    np.testing.assert_array_equal(again.item_hidden, forward.item_hidden)


def test_it_learns_the_known_response(purchase_model):
    forward, rows, p = purchase_model
    held = rows.split == 3
    test, truth = rows.select(held), p[held]
    got = forward.predict(test.visit_obs, test.item, test.cross, test.treat, owner=test.visit).purchase
    logit, want = np.log(got / (1 - got)), np.log(truth / (1 - truth))
    assert np.corrcoef(logit, want)[0, 1] > 0.9
    # Sampled negatives carry weight 2: ignoring weights would double the predicted rate.
    assert np.average(got, weights=test.weight) == pytest.approx(np.average(truth, weights=test.weight), rel=0.08)


def test_showing_raises_the_response_by_what_it_does(purchase_model):
    forward, rows, _ = purchase_model
    some = rows.of("test")
    on, off = some.treat.copy(), some.treat.copy()
    on[:], off[:] = (1, 0), (0, 0)

    def mean_logit(treat):
        p = forward.predict(some.visit_obs, some.item, some.cross, treat, owner=some.visit).purchase
        return np.log(p / (1 - p)).mean()

    assert mean_logit(on) - mean_logit(off) == pytest.approx(0.6, abs=0.3)


def test_same_seed_same_bytes_and_the_global_generator_is_left_alone():
    rows, vectors, features, _ = simulated_rows(4, n=3000)
    config = replace(CONFIG, epochs=2)
    torch.manual_seed(99)
    first = train(rows, vectors, features, config, seed=7, progress=False)
    drawn = torch.rand(1)
    second = train(rows, vectors, features, config, seed=7, progress=False)
    other = train(rows, vectors, features, config, seed=8, progress=False)
    torch.manual_seed(99)
    assert torch.rand(1) == drawn
    for name, array in first.to_arrays().items():
        assert array.tobytes() == second.to_arrays()[name].tobytes(), name
    assert other.user_w1.tobytes() != first.user_w1.tobytes()
    assert first.config["history"] == second.config["history"]


def test_heads_follow_the_data(full_model):
    forward, rows, _ = full_model
    assert forward.heads == ("click", "purchase", "leave")
    test = rows.of("test")
    prediction = forward.predict(test.visit_obs, test.item, test.cross, test.treat, owner=test.visit)
    np.testing.assert_array_equal(prediction.expected_purchase, prediction.click * prediction.purchase)
    leaving = forward.leave_probability(prediction, test.click, test.purchase)
    for group in (test.purchase == 1, test.click == 0):
        assert leaving[group].mean() == pytest.approx(test.leave[group].mean(), abs=0.05)
    # What the response does to leaving is 1.2 in truth.
    assert forward.leave_weights.sum() == pytest.approx(1.2, abs=0.5)


def test_offset_moves_the_first_responses_logit(full_model):
    forward, rows, _ = full_model
    some = rows.select(np.arange(50))
    plain = forward.predict(some.visit_obs, some.item, some.cross, some.treat, owner=some.visit)
    moved = forward.predict(some.visit_obs, some.item, some.cross, some.treat, np.full(50, 0.4), some.visit)
    odds = moved.click / (1 - moved.click) / (plain.click / (1 - plain.click))
    np.testing.assert_allclose(odds, np.exp(0.4), rtol=1e-4)
    np.testing.assert_array_equal(moved.purchase, plain.purchase)


def test_purchase_without_click_counts_as_clicked():
    rows, *_ = simulated_rows(5, n=500, heads=("click", "purchase"))
    rows.click[:3], rows.purchase[:3] = (0, 0, 1), (1, 0, 0)
    assert rows.response("click")[:3].tolist() == [1, 0, 1]
    assert np.isnan(rows.response("purchase")[:3]).tolist() == [False, True, False]


def test_constant_columns_are_ignored_and_inputs_clipped_to_what_was_seen(purchase_model):
    forward, rows, _ = purchase_model
    some = rows.select(np.arange(20))
    user = rows.visit_obs[some.visit].copy()
    before = forward.predict(user, some.item, some.cross, some.treat).purchase
    user[:, 3] = 1e6
    np.testing.assert_array_equal(forward.predict(user, some.item, some.cross, some.treat).purchase, before)
    user[:, 0] = 1e9
    far = forward.predict(user, some.item, some.cross, some.treat).purchase
    user[:, 0] = rows.visit_obs[:, 0].max()
    np.testing.assert_allclose(forward.predict(user, some.item, some.cross, some.treat).purchase, far, atol=1e-3)


def test_platt_finds_a_known_distortion_and_is_shrunk_where_positives_are_few():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=60_000) - 1
    y = (rng.random(60_000) < 1 / (1 + np.exp(-(0.7 * logit + 0.5)))).astype(float)
    slope, intercept = platt(logit, y, np.ones(60_000))
    assert slope == pytest.approx(0.7, abs=0.03)
    assert intercept == pytest.approx(0.5, abs=0.03)
    few = platt(logit[:100], y[:100], np.ones(100))
    assert abs(few[0] - 1) < 0.5
    assert platt(logit, np.zeros(60_000), np.ones(60_000)) == (1.0, 0.0)
    # An uninformative logit must not turn the ranking round.
    assert platt(logit, (rng.random(60_000) < 0.2).astype(float), np.ones(60_000))[0] == 1.0


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [("cross", np.nan, "rows.cross"), ("weight", 0.0, "rows.weight"), ("item", 50, "rows.item"), ("click", 2, "click")],
)
def test_bad_rows_are_refused(name, value, where):
    rows, vectors, features, _ = simulated_rows(4, n=500, heads=("click", "purchase"))
    getattr(rows, name)[3] = value
    with pytest.raises(InputError, match=where):
        train(rows, vectors, features, CONFIG, seed=0, progress=False)


def test_one_sided_responses_are_refused():
    rows, *_ = simulated_rows(4, n=500)
    rows.purchase[:] = 0
    with pytest.raises(InputError, match="both values"):
        supported_heads(rows)


def test_damaged_arrays_are_refused(purchase_model):
    forward, _, _ = purchase_model
    arrays = forward.to_arrays()
    for broken in (
        {k: v for k, v in arrays.items() if k != "platt"},
        arrays | {"head_w2": arrays["head_w2"][:-1]},
        arrays | {"user_w1": arrays["user_w1"] * np.float32(np.nan)},
    ):
        with pytest.raises(ArtefactError, match="response"):
            ResponseForward.from_arrays(broken, forward.config)
