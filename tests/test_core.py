"""Random numbers, profile encoding, errors."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from recenv.core import rng
from recenv.core.encoding import ProfileEncoder
from recenv.core.errors import InputError


def test_a_draw_depends_on_its_key_alone() -> None:
    grid = rng.uniform(1, np.arange(50)[:, None], np.arange(20)[None, :])
    assert grid[7, 3] == rng.uniform(1, 7, 3)[0]
    assert len(np.unique(grid)) == grid.size
    assert (rng.uniform(2, np.arange(50)) != rng.uniform(1, np.arange(50))).all()


def test_uniform_numbers_are_uniform_and_uncorrelated_between_neighbouring_keys() -> None:
    u = rng.uniform(3, np.arange(200_000))
    counts = np.histogram(u, 50, (0, 1))[0]
    chi2 = ((counts - 4000) ** 2 / 4000).sum()
    assert 20 < chi2 < 95  # 49 degrees of freedom: outside with probability below 1e-4
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(rng.uniform(3, np.arange(100_000)), rng.uniform(4, np.arange(100_000)))[0, 1]) < 0.015


def test_normal_numbers_have_mean_zero_and_variance_one() -> None:
    z = rng.normal(5, np.arange(200_000))
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01


def test_streams_keep_their_numbers_and_each_is_drawn_from() -> None:
    assert rng.STREAMS == {"start": 1, "click": 2, "purchase": 3, "leave": 4, "choice": 7, "frailty": 8}
    environments = Path(rng.__file__).parents[1] / "env"
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(environments.glob("*.py")))
    assert [name for name in rng.STREAMS if f'"{name}"' not in source] == []


def test_negative_words_are_keys_too() -> None:
    assert rng.uniform(-1, 0) != rng.uniform(1, 0)


def columns() -> dict[str, list[object]]:
    return {"age": ["young", "old", "old", None], "spend": [1.0, 2.0, 3.0, float("nan")]}


def test_a_profile_is_one_hot_and_standardised() -> None:
    encoder = ProfileEncoder.fit(columns())
    assert encoder.names == ("age=old", "age=young", "spend", "spend:missing")
    profile = encoder.encode(columns(), 4)
    assert profile[:, :2].tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]
    np.testing.assert_allclose(profile[:3, 2], [-1.2247, 0, 1.2247], atol=1e-4)
    assert profile[3].tolist() == [0, 0, 0, 1]


def test_an_absent_feature_counts_as_missing_and_an_unseen_level_as_none() -> None:
    encoder = ProfileEncoder.fit(columns())
    assert encoder.encode({"age": ["middle"]}, 1).tolist() == [[0, 0, 0, 1]]


def test_the_encoder_survives_json() -> None:
    encoder = ProfileEncoder.fit(columns())
    assert ProfileEncoder.from_json(encoder.to_json()) == encoder


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"size": [1]}, "unknown"),
        ({"spend": [float("inf")]}, "inf"),
        ({"spend": ["much"]}, "much"),
        ({"age": []}, "0 values"),
    ],
)
def test_bad_features_are_named(given: dict[str, list[object]], word: str) -> None:
    with pytest.raises(InputError, match=word):
        ProfileEncoder.fit(columns()).encode(given, 1)


def test_errors_cross_process_borders_whole() -> None:
    error = InputError("row 3", "price is -1", "Give a price of 0 or more.")
    back = pickle.loads(pickle.dumps(error))
    assert (back.where, back.what, back.mend) == (error.where, error.what, error.mend)
    assert str(back) == "row 3: price is -1. Give a price of 0 or more."
