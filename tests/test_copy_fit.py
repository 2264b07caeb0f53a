"""Effects of copy learned from logged exposures: planted ones are found, absent ones shrink to nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recenv.core.errors import InputError
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.sources import upworthy
from recenv.data.synthetic_email import EmailOptions, EmailTruth, load
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.copy_effect import ASSUMED, LEARNED, TRANSFERRED, CopyAssumptions, CopyEffect
from recenv.response.copy_fit import CopyPosterior, Exposures, extended, fit_copies, learned_effect
from recenv.response.copy_logs import earlier_sights
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.variants import with_effect
from recenv.world import World

ITEMS, STYLES, SEGMENTS, CATEGORIES = 24, 5, 4, 3
SHAPE = (SEGMENTS, CATEGORIES, STYLES)
STYLE = np.tile(np.arange(STYLES), ITEMS)


def planted(seed: int, base: float, cross: float, wear: float, n: int = 40_000) -> tuple[Exposures, dict[str, Any]]:
    """Exposures drawn from the model itself, and what was planted."""
    rng = np.random.default_rng(seed)
    item_of = np.repeat(np.arange(ITEMS), STYLES)
    true = {
        "base": rng.normal(0, base, ITEMS * STYLES),
        "segment_style": rng.normal(0, cross, (SEGMENTS, STYLES)),
        "category_style": rng.normal(0, cross / 2, (CATEGORIES, STYLES)),
        "wear": np.array([wear]),
    }
    copy, segment, seen = (rng.integers(k, size=n) for k in (ITEMS * STYLES, SEGMENTS, 3))
    item, offset = item_of[copy], rng.normal(-1.5, 0.6, n)
    category, style = item % CATEGORIES, STYLE[copy]
    logit = offset + rng.normal(0, 0.1, ITEMS)[item] + true["base"][copy] - wear * seen
    logit += true["segment_style"][segment, style] + true["category_style"][category, style]
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    return Exposures(copy, item, segment, category, seen, offset, y, np.ones(n)), true


def fitted(rows: Exposures, prior: float = 0.0) -> CopyPosterior:
    return fit_copies(rows, STYLE, np.full(len(STYLE), prior), SHAPE, 0)


def test_planted_effects_are_recovered_and_intervals_cover_them() -> None:
    hit: dict[str, list[bool]] = {"base": [], "segment_style": [], "category_style": [], "wear": []}
    for seed in range(4):
        rows, true = planted(seed, 0.25, 0.15, 0.1)
        found = fitted(rows)
        for part, inside in hit.items():
            inside += list((np.abs(found.mean[part] - true[part]) < 1.96 * found.sd[part]).ravel())
        for part in ("base", "segment_style"):
            assert np.corrcoef(found.mean[part].ravel(), true[part].ravel())[0, 1] > 0.65, part
        assert found.size["base"] == pytest.approx(0.25, abs=0.08)
        assert found.size["segment_style"] == pytest.approx(0.15, abs=0.08)
    assert 0.90 < np.mean(hit["base"]) < 0.99
    assert 0.85 < np.mean(hit["segment_style"]) <= 1.0
    assert np.mean(hit["category_style"]) > 0.8
    assert np.mean(hit["wear"]) >= 0.75


def test_without_effects_every_part_shrinks_to_nothing() -> None:
    for seed in range(3):
        found = fitted(planted(seed, 0.0, 0.0, 0.0)[0])
        assert found.size["base"] < 0.09
        assert found.size["segment_style"] < 0.06
        assert found.size["category_style"] < 0.06
        assert np.abs(found.mean["base"]).max() < 0.1
        assert abs(found.mean["wear"][0]) < 4 * found.sd["wear"][0]


def test_draws_have_the_posteriors_mean_and_spread() -> None:
    found = fitted(planted(1, 0.25, 0.15, 0.1, n=8_000)[0])
    drawn = [found.draw(seed) for seed in range(400)]
    for part in ("base", "segment_style", "wear"):
        many = np.stack([d[part] for d in drawn])
        assert np.abs(many.mean(0) - found.mean[part]).max() < 0.25 * found.sd[part].max()
        np.testing.assert_allclose(many.std(0).mean(), found.sd[part].mean(), rtol=0.06)
    np.testing.assert_array_equal(drawn[0]["base"], found.draw(0)["base"])
    assert (drawn[0]["base"] != drawn[1]["base"]).all()


def test_what_the_item_does_is_not_the_copys() -> None:
    rows, _ = planted(0, 0.0, 0.0, 0.0)
    shifted = Exposures(**{**vars(rows), "offset": rows.offset - 0.8 * (rows.item % 2)})
    assert np.abs(fitted(shifted).mean["base"]).max() < 0.15


def test_the_model_s_error_on_an_item_stays_with_its_copies() -> None:
    """Else the error would come back as soon as items with copies are compared with each other."""
    rows, _ = planted(5, 0.25, 0.0, 0.0)
    error = 0.5 * (rows.item % 2) - 0.25
    found = fitted(Exposures(**{**vars(rows), "offset": rows.offset - error}))
    plain = fitted(rows)
    more = [(f.mean["base"] + f.level(f.mean)).reshape(ITEMS, STYLES).mean(axis=1) for f in (found, plain)]
    np.testing.assert_allclose(more[0] - more[1], 0.5 * (np.arange(ITEMS) % 2) - 0.25, atol=0.08)
    drawn = found.draw(3)
    assert (found.level(drawn) != found.level(found.mean)).all()
    # A copy of several items has no item of its own: their errors are not its.
    shared = fitted(Exposures(**{**vars(rows), "copy": np.where(rows.item < 2, 0, rows.copy)}))
    assert shared.copy_item[0] == -1
    assert shared.level(shared.mean)[0] == shared.mean["level"][0]


def test_a_known_size_is_not_estimated_again() -> None:
    """With a response or two a copy the estimate would be too small, and what was counted would be ignored."""
    rows, _ = planted(6, 0.25, 0.0, 0.0, n=3_000)
    prior = np.zeros(len(STYLE))
    found = fit_copies(rows, STYLE, prior, SHAPE, 0, known={"base": 0.25})
    assert found.size["base"] == 0.25
    assert found.size["item"] != fitted(rows).size["base"]
    rare = Exposures(**{name: value[::5] for name, value in vars(rows).items()})
    assert fitted(rare).mean["base"].std() < fit_copies(rare, STYLE, prior, SHAPE, 0, {"base": 0.25}).mean["base"].std()


def test_weights_count_as_impressions() -> None:
    rows, _ = planted(2, 0.25, 0.15, 0.0, n=6_000)
    doubled = Exposures(**{name: np.concatenate([value, value]) for name, value in vars(rows).items()})
    weighted = Exposures(**{**vars(rows), "weight": np.full(6_000, 2.0)})
    a, b = fitted(doubled), fitted(weighted)
    np.testing.assert_allclose(a.mean["base"], b.mean["base"], atol=1e-6)
    np.testing.assert_allclose(a.shown, b.shown)
    assert a.shown.sum() == 12_000
    assert a.responses.sum() == 2 * rows.response.sum()


def test_an_unseen_copy_keeps_its_prior() -> None:
    rows, _ = planted(3, 0.25, 0.0, 0.0, n=6_000)
    kept = rows.copy != 7
    found = fitted(Exposures(**{name: value[kept] for name, value in vars(rows).items()}), prior=0.3)
    assert found.shown[7] == 0
    assert found.mean["base"][7] == pytest.approx(0.0, abs=1e-9)
    assert found.sd["base"][7] == pytest.approx(found.size["base"], rel=0.02)


def test_parts_that_a_log_cannot_tell_stay_as_they_were() -> None:
    rows, _ = planted(4, 0.25, 0.15, 0.0, n=6_000)
    zero = np.zeros(len(rows.copy), np.int64)
    blind = Exposures(**{**vars(rows), "segment": zero, "seen": zero})
    found = fitted(blind)
    assert "segment_style" not in found.mean
    assert "wear" not in found.mean
    table = {"copy_id": [str(i) for i in range(len(STYLE))], "style": [f"s{s}" for s in STYLE]}
    table["text"] = table["copy_id"]
    base = CopyEffect.assume(table, n_segments=SEGMENTS, n_categories=CATEGORIES, seed=1, world_seed=2)
    effect = learned_effect(base, found, np.zeros(len(STYLE)), 5, {})
    assert {part for part, source in effect.sources.items() if source == LEARNED} == {"e(text)", "category x style"}
    assert effect.sources["a(text)"] == effect.sources["segment x style"] == effect.sources["wear"] == ASSUMED
    np.testing.assert_array_equal(effect.segment_style, base.segment_style)
    assert effect.wear == base.wear
    assert (effect.base != base.base).all()
    assert "learned: e(text), category x style" in effect.label
    back = CopyEffect.from_arrays(effect.to_arrays())
    assert back.describe() == effect.describe()
    np.testing.assert_array_equal(back.at_mean().base, effect.posterior["base_mean"])
    more = {name: [*values, "new"] for name, values in table.items()}
    other = CopyEffect.assume(more, n_segments=SEGMENTS, n_categories=CATEGORIES, seed=1, world_seed=2)
    grown = extended(effect, other)
    np.testing.assert_array_equal(grown.base[:-1], effect.base)
    assert grown.base[-1] == other.base[-1]
    place = [grown.styles.index(s) for s in effect.styles]
    np.testing.assert_array_equal(grown.category_style[:, place], effect.category_style)
    assert CopyEffect.from_arrays(grown.to_arrays()).describe() == grown.describe()


@pytest.mark.parametrize(
    ("change", "where"),
    [({"offset": np.nan}, "offset"), ({"weight": 0.0}, "weight"), ({"response": np.inf}, "response")],
)
def test_bad_exposures_are_named_errors(change: dict[str, float], where: str) -> None:
    rows, _ = planted(0, 0.1, 0.0, 0.0, n=100)
    name, value = next(iter(change.items()))
    with pytest.raises(InputError, match=where):
        Exposures(**{**vars(rows), name: np.full(100, value)})
    with pytest.raises(InputError, match="no response"):
        fitted(Exposures(**{**vars(rows), "response": np.zeros(100)}))


@pytest.fixture(scope="module")
def email(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EmailTruth]:
    folder = tmp_path_factory.mktemp("email")
    raw = load(options=EmailOptions(users=6_000, mails=3, items=3, copies=4, base_sd=0.4, style_sd=0.0))
    build(raw, BuildOptions(progress=False)).save(folder / "data")
    fit_worlds(folder / "data", folder / "world", FitOptions(training=TrainConfig(epochs=2, threads=1)), False)
    return folder, EmailTruth.from_bytes(raw.extras)


def test_a_world_fitted_on_logs_with_copy_learns_it(email: tuple[Path, EmailTruth]) -> None:
    folder, truth = email
    world, judge = World.load(folder / "world"), World.load(folder / "world-judge")
    effect = world.copy_effect
    assert effect is not None
    assert judge.copy_effect is not None
    assert effect.sources["e(text)"] == effect.sources["segment x style"] == LEARNED
    assert effect.sources["a(text)"] == TRANSFERRED
    assert effect.sources["wear"] == ASSUMED, "one mail a session: no style is seen twice"
    assert "news headlines, not shop copy" in world.meta["copy_label"]
    card = world.describe()
    assert "copy effect: e(text), segment x style, from logged exposures" in card
    assert "copy effect, transferred: a(text); measured on tests of news headlines, not shop copy" in card
    written = json.loads((folder / "world" / "world.json").read_text())
    assert written["copy_label"] == effect.label
    assert written["copy_effect"]["parts"]["e(text)"]["assignment"] == "assigned at random"
    column = [truth.copy_id.tolist().index(c) for c in world.copies["copy_id"].to_pylist()]
    logit = np.log(truth.click / (1 - truth.click)).mean(axis=0)[column].reshape(3, 4)
    told = effect.posterior["base_mean"].reshape(3, 4)
    inside = [x - x.mean(axis=1, keepdims=True) for x in (logit, told)]
    assert np.corrcoef(inside[0].ravel(), inside[1].ravel())[0, 1] > 0.7
    assert (effect.base != effect.posterior["base_mean"]).all()
    # A draw stays within what the posterior leaves open.
    assert (np.abs(effect.base - effect.posterior["base_mean"]) < 5 * effect.posterior["base_sd"] + 0.1).all()
    assert (judge.copy_effect.base != effect.base).all()
    assert effect.posterior["shown"].sum() > 5_000


def test_earlier_sights_count_moments_of_the_session(email: tuple[Path, EmailTruth]) -> None:
    from recenv.response.log import IMPRESSION, Log

    n = 7
    zero, float_zero = np.zeros(n, np.int32), np.zeros(n, np.float32)
    log = Log(
        user=zero, item=zero, kind=np.full(n, IMPRESSION, np.int8), time=np.array([0, 1, 1, 2, 3, 0, 1]),
        session=np.array([0, 0, 0, 0, 0, 1, 1]), copy=np.array([0, 0, 2, 1, 0, 0, -1], np.int32), click=float_zero,
        purchase=float_zero, click_now=zero > 0, purchase_now=zero > 0, weight=float_zero + 1, leave=float_zero,
        revenue=float_zero, split=np.zeros(n, np.int8), treat=np.ones((n, 1), np.float32),
        context=np.zeros((n, 0), np.float32), user_id=np.array(["u"]), observed=True,
    )  # fmt: skip
    # copies 0 and 2 are of style 0, copy 1 of style 1; two rows of one moment do not count for each other
    assert earlier_sights(log, np.array([0, 1, 0], np.int32)).tolist() == [0, 1, 1, 0, 3, 0, 0]
    log.observed = False
    assert not earlier_sights(log, np.array([0, 1, 0], np.int32)).any()


def _archive(folder: Path, tests: int = 60) -> Path:
    rng = np.random.default_rng(0)
    words = ["why", "this", "man", "never", "told", "her", "secret", "you", "will", "see", "watch", "how"]
    rows = [
        {
            "clickability_test_id": f"t{test:03d}",
            "headline": " ".join(rng.choice(words, 6)).capitalize() + f" {test}{arm}",
            "test_week": 201320,
            "impressions": 4000,
            "clicks": int(rng.binomial(4000, 0.02 * np.exp(rng.normal(0, 0.3)))),
        }
        for test in range(tests)
        for arm in range(3)
    ]
    path = folder / "headline_only_arms.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_headline_tests_make_a_world_of_stories_and_headlines(tmp_path: Path) -> None:
    build(upworthy.load(str(_archive(tmp_path))), BuildOptions(progress=False)).save(tmp_path / "data")
    options = FitOptions(training=TrainConfig(epochs=1, threads=1))
    world, judge = fit_worlds(tmp_path / "data", tmp_path / "world", options, progress=False)
    effect = world.copy_effect
    assert effect is not None
    assert world.n_items == 60
    assert world.n_actions == 181
    assert effect.sources["a(text)"] == ASSUMED, "the shipped weights were fitted on these tests: not used here"
    assert (effect.posterior["prior"] == 0).all()
    assert effect.sources["e(text)"] == LEARNED
    assert (effect.segment_style == 0).all()
    assert (effect.category_style == 0).all()
    sim = Simulator(judge, 40, EnvOptions())
    assert sim.options.candidates == "logged"
    sim.reset(seed=0)
    masks = sim.masks()
    assert (masks.sum(axis=1) == 4).all(), "nothing, or one of the story's three headlines"
    assert all(len(np.unique(judge.action_item[np.flatnonzero(row)[1:]])) == 1 for row in masks)
    assert sim.step(masks[:, 1:].argmax(axis=1) + 1).terminated.all()
    rate = effect.posterior["responses"] / effect.posterior["shown"]
    means = effect.at_mean().base.reshape(60, 3)
    assert (means.argmax(axis=1) == rate.reshape(60, 3).argmax(axis=1)).mean() > 0.9
    assert with_effect(world, effect.at_mean()).meta["copy_label"] == effect.label


def test_sizes_transferred_are_those_of_the_weights(small_shop: Path) -> None:
    import pyarrow as pa

    from recenv.response.text_effect import shipped
    from recenv.variants import with_copies

    world = World.load(small_shop / "world")
    ids = world.items["item_id"].to_pylist()
    lines = ["{product} for a quiet evening", "Who would not want {product}?"]
    rows = [
        {"copy_id": f"{i}-{k}", "item_id": i, "style": ["plain", "question"][k], "template": t, "text": t}
        for i in ids
        for k, t in enumerate(lines)
    ]
    made, judge = (with_copies(world, pa.Table.from_pylist(rows), 0, seed) for seed in (1, 2))
    effect, other = made.copy_effect, judge.copy_effect
    assert effect is not None
    assert other is not None
    np.testing.assert_allclose(effect.posterior["base_mean"][:2], shipped().for_shop(lines), rtol=1e-6)
    np.testing.assert_allclose(effect.at_mean().base, other.at_mean().base)
    assert (effect.base != other.base).all()
    assert effect.sources["a(text)"] == effect.sources["e(text)"] == TRANSFERRED
    assert effect.sources["segment x style"] == effect.sources["wear"] == ASSUMED
    assert effect.assumptions == CopyAssumptions(text_sd=0.0748, noise_sd=0.2412)
    told = "transferred from news headlines, not shop copy: a(text), the size of e(text), whose values are drawn"
    assert told in made.meta["copy_label"]
    assert effect.describe()["parts"]["a(text)"]["from"] == "news headlines, not shop copy"
