"""The numba twin: equal to the numpy forward, bit-equal for any number of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recenv.core.errors import InputError
from recenv.env.kernels import RowPredictor
from recenv.response.forward import ResponseForward
from recenv.response.model import ResponseNet, Scaling, Widths, export


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    user, inputs, pair = (rng.normal(size=s).astype(np.float32) for s in ((600, 21), (30, 6), (600, 32)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResponseNet(Scaling.of(user), Scaling.of(inputs), Scaling.of(pair), 3, Widths(30, 16, 18, 33, 17), 4)
        torch.nn.init.normal_(net.pair_skip.weight)
        torch.nn.init.normal_(net.head_first.weight)
    forward = ResponseForward(export(net, inputs), {"heads": ["click", "purchase", "leave"]})
    return forward, user * 1.5, rng.integers(0, 30, 600), pair[:, :29] * 1.5, pair[:, 29:] * 1.5


def test_equal_to_numpy(model):
    forward, user, item, cross, treat = model
    offset = np.linspace(-1, 1, 600).astype(np.float32)
    got, want = RowPredictor(forward).predict(user, item, cross, treat, offset), forward.predict(*model[1:], offset)
    for name in ("click", "purchase", "leave_logit"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), atol=1e-5, rtol=1e-5)
    assert got.click.std() > 0.1


@pytest.mark.parametrize("size", [1, 7, 256])
def test_bit_equal_for_any_number_of_rows(model, size):
    forward, *arrays = model
    predictor = RowPredictor(forward)
    together = predictor.predict(*arrays)
    for start in (0, 5, 211):
        part = predictor.predict(*(np.asarray(a)[start : start + size] for a in arrays))
        for name in ("click", "purchase", "leave_logit"):
            assert (getattr(part, name) == getattr(together, name)[start : start + size]).all()


def test_owner_shares_users_without_changing_a_bit(model):
    forward, user, item, cross, treat = model
    predictor = RowPredictor(forward)
    owner = np.repeat(np.arange(60), 10)
    shared = predictor.logits(user[:60], item, cross, treat, owner)
    assert (shared == predictor.logits(user[:60][owner], item, cross, treat)).all()


def test_wrong_indices_and_shapes_are_refused(model):
    forward, user, item, cross, treat = model
    predictor = RowPredictor(forward)
    for bad in ((user, item + 30, cross, treat), (user[:, 1:], item, cross, treat), (user[:9], item, cross, treat)):
        with pytest.raises(InputError):
            predictor.predict(*bad)
    with pytest.raises(InputError, match="cross"):
        predictor.predict(user, item, cross[:, 1:], treat)
