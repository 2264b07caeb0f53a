"""The assumed effect of a text: formula, sizes, what each seed decides, and numbers that do not depend on position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from recenv.core.errors import ArtefactError, InputError
from recenv.response.copy_effect import CopyAssumptions, CopyEffect


def copies(n: int = 40) -> dict[str, list[Any]]:
    styles = ["plain", "playful", "premium"]
    return {
        "copy_id": [f"c{i}" for i in range(n)],
        "style": [styles[i % 3] for i in range(n)],
        "text": [f"line {'x' * i} {{product}}" for i in range(n)],
    }


def assume(table: Any = None, seed: int = 1, world_seed: int = 2, **sizes: float) -> CopyEffect:
    return CopyEffect.assume(
        copies() if table is None else table,
        n_segments=4,
        n_categories=5,
        seed=seed,
        world_seed=world_seed,
        assumptions=CopyAssumptions(**sizes),
    )


def test_effect_is_the_formula_written_out() -> None:
    made = assume()
    rng = np.random.default_rng(0)
    copy, segment = rng.integers(-1, 40, 200), rng.integers(0, 4, 200)
    category, seen = rng.integers(0, 5, 200), rng.integers(0, 6, 200).astype(np.float32)
    got = made.effect(copy, segment, category, seen)
    assert got.dtype == np.float32
    for i in range(200):
        want = 0.0
        if copy[i] >= 0:
            style = ["plain", "playful", "premium"].index(copies()["style"][copy[i]])
            want = made.base[copy[i]] + made.segment_style[segment[i], style] + made.category_style[category[i], style]
            want -= 0.1 * seen[i]
        assert got[i] == pytest.approx(want, abs=1e-6)
    assert (got[copy == -1] == 0).all()


def test_sizes_are_those_assumed() -> None:
    many = {
        "copy_id": [str(i) for i in range(6000)],
        "style": [f"s{i % 60}" for i in range(6000)],
        "text": [f"t{i}" for i in range(6000)],
    }
    made = CopyEffect.assume(many, n_segments=100, n_categories=100, seed=5, world_seed=6)
    assert made.base.std() == pytest.approx(np.hypot(0.07, 0.26), rel=0.05)
    assert made.segment_style.std() == pytest.approx(0.15, rel=0.05)
    assert made.category_style.std() == pytest.approx(0.05, rel=0.05)
    assert abs(made.base.mean()) < 4 * 0.27 / np.sqrt(6000)
    assert abs(np.corrcoef(made.segment_style.ravel(), made.category_style.ravel())[0, 1]) < 0.05
    text_only = CopyEffect.assume(
        many, n_segments=1, n_categories=1, seed=5, world_seed=9, assumptions=CopyAssumptions(noise_sd=0)
    )
    assert text_only.base.std() == pytest.approx(0.07, rel=0.05)


def test_the_judge_shares_all_but_the_noise() -> None:
    world, judge = assume(world_seed=2), assume(world_seed=3)
    np.testing.assert_array_equal(world.segment_style, judge.segment_style)
    np.testing.assert_array_equal(world.category_style, judge.category_style)
    assert (world.base != judge.base).all()
    np.testing.assert_array_equal(assume(world_seed=2, noise_sd=0).base, assume(world_seed=3, noise_sd=0).base)
    other = assume(seed=8, noise_sd=0)
    assert (other.base != assume(noise_sd=0).base).all()
    assert (other.segment_style != world.segment_style).all()
    np.testing.assert_array_equal(assume(seed=1, text_sd=0).base, assume(seed=8, text_sd=0).base)


def test_adding_variants_styles_segments_leaves_the_others_alone() -> None:
    small, table = assume(), copies()
    grown = {name: [extra, *values] for (name, values), extra in zip(table.items(), ["new", "aloud", "new text"])}
    large = CopyEffect.assume(grown, n_segments=6, n_categories=9, seed=1, world_seed=2)
    assert large.styles == ("aloud", *small.styles)
    np.testing.assert_array_equal(large.base[1:], small.base)
    np.testing.assert_array_equal(large.segment_style[:4, 1:], small.segment_style)
    np.testing.assert_array_equal(large.category_style[:5, 1:], small.category_style)


def test_one_text_has_one_effect_on_every_item() -> None:
    made = assume(
        {"copy_id": ["a", "b", "c"], "style": ["plain"] * 3, "text": ["{product}", "{product}", "{product}."]}
    )
    assert made.base[0] == made.base[1] != made.base[2]


def test_drawn_numbers_are_pinned() -> None:
    made = assume({"copy_id": ["a"], "style": ["plain"], "text": ["{product}"]})
    np.testing.assert_allclose(
        [made.base[0], made.segment_style[1, 0], made.category_style[2, 0]],
        [0.1787497, -0.3894977, -0.0490308],
        atol=1e-6,
    )


def test_arrow_table_missing_style_and_text() -> None:
    table = pa.table({"copy_id": ["a", "b"], "style": pa.array([None, "plain"]), "text": pa.array([None, "x"])})
    made = assume(table)
    assert made.copy_style.tolist() == [-1, 0]
    zero = np.zeros(1, np.int64)
    assert made.effect(zero, zero, zero, [7.0])[0] == made.base[0] != 0
    unstyled = assume({"copy_id": ["a"], "style": [""], "text": ["x"]})
    assert unstyled.styles == ()
    assert unstyled.effect(zero, zero, zero, [1.0])[0] == unstyled.base[0]


def test_a_world_without_copies_has_no_effect() -> None:
    made = assume({"copy_id": [], "style": [], "text": []})
    assert made.effect([-1, -1], [0, 3], [4, 0], [0.0, 2.0]).tolist() == [0.0, 0.0]
    assert CopyEffect.from_arrays(made.to_arrays()).base.shape == (0,)


@pytest.mark.parametrize(
    ("copy", "segment", "category", "seen", "where"),
    [
        ([40], [0], [0], [0.0], "copy"),
        ([-2], [0], [0], [0.0], "copy"),
        ([0], [4], [0], [0.0], "segment"),
        ([0], [-1], [0], [0.0], "segment"),
        ([0], [0], [5], [0.0], "category"),
        ([0.0], [0], [0], [0.0], "copy"),
        ([0], [0], [0], [-1.0], "seen_style"),
        ([0], [0], [0], [np.nan], "seen_style"),
    ],
)
def test_bad_indices_are_named_errors(copy: Any, segment: Any, category: Any, seen: Any, where: str) -> None:
    with pytest.raises(InputError) as caught:
        assume().effect(copy, segment, category, seen)
    assert caught.value.where == where


def test_bad_tables_and_sizes_are_named_errors() -> None:
    with pytest.raises(InputError, match="missing"):
        assume({"copy_id": ["a"], "text": ["x"]})
    with pytest.raises(InputError, match="lengths"):
        assume({"copy_id": ["a"], "style": ["s", "t"], "text": ["x"]})
    with pytest.raises(InputError, match="wear"):
        CopyAssumptions(wear=float("nan"))
    with pytest.raises(InputError, match="noise_sd"):
        CopyAssumptions(noise_sd=-0.1)


def test_arrays_round_trip_through_safetensors() -> None:
    made = assume(wear=0.25)
    back = CopyEffect.from_arrays(load(save(made.to_arrays())))
    assert back.styles == made.styles
    assert (back.wear, back.seed, back.world_seed, back.assumptions) == (0.25, 1, 2, made.assumptions)
    index = np.arange(4)
    np.testing.assert_array_equal(back.effect(index, index, index, index), made.effect(index, index, index, index))
    assert back.describe() == made.describe()


@pytest.mark.parametrize("fault", ["missing", "short", "nan", "style", "dtype", "meta"])
def test_changed_arrays_are_refused(fault: str) -> None:
    arrays = dict(assume().to_arrays())
    if fault == "missing":
        del arrays["base"]
    elif fault == "short":
        arrays["base"] = arrays["base"][:-1]
    elif fault == "nan":
        arrays["base"] = np.full_like(arrays["base"], np.nan)
    elif fault == "style":
        arrays["copy_style"] = arrays["copy_style"] + np.int32(1)
    elif fault == "dtype":
        arrays["base"] = arrays["base"].astype(np.float64)
    else:
        arrays["copy_meta"] = arrays["copy_meta"][:-3]
    with pytest.raises(ArtefactError, match="copy effect"):
        CopyEffect.from_arrays(arrays)


def test_description_labels_every_part_assumed() -> None:
    parts = assume().describe()["parts"]
    assert set(parts) == {"a(text)", "e(text)", "segment x style", "category x style", "wear"}
    assert {part["label"] for part in parts.values()} == {"assumed"}
    assert parts["e(text)"]["sd"] == 0.26
    assert parts["e(text)"]["seed"] == 2
    assert parts["a(text)"]["seed"] == 1
    assert parts["wear"]["value"] == 0.1
