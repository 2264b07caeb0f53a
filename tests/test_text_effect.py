"""What wording does to clicks: recovered from planted tests, honest about new ones, the same from disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recenv.core.errors import ArtefactError, InputError
from recenv.response.text_effect import (
    Arms,
    TextEffect,
    fit,
    folds,
    held_out_scores,
    shipped,
    slope_and_noise,
    spread,
)
from recenv.response.text_embeddings import SentenceEmbedder
from recenv.response.text_features import BUCKETS, FORM, form_features, ngram_features, without_slots
from recenv.response.text_metrics import figures, pairs

WORDS = (
    "river", "stone", "cloud", "window", "table", "garden", "engine", "letter", "music", "winter", "orange", "paper",
    "bridge", "candle", "forest", "silver",
)  # fmt: skip


def planted(effect: float, noise: float, tests: int = 300, seed: int = 0) -> Arms:
    """Tests of four arms; the word "winter" adds `effect` to the log odds, each test has its own level."""
    rng = np.random.default_rng(seed)
    texts = tuple(" ".join(rng.choice(WORDS, 5, replace=False)) for _ in range(4 * tests))
    test = np.repeat(np.arange(tests), 4)
    odds = -3.5 + rng.normal(0, 0.5, tests)[test] + noise * rng.normal(size=len(test))
    odds += effect * np.array(["winter" in t for t in texts])
    shown = np.full(len(test), 4000.0)
    return Arms(texts, rng.binomial(4000, 1 / (1 + np.exp(-odds))).astype(float), shown, test, test)


def test_slots_are_no_part_of_the_text() -> None:
    assert without_slots("For {product}, at {price}.") == "For , at ."
    same = ngram_features(["Look: {product}.", "Look: {brand}."])
    assert (same[0] != same[1]).nnz == 0
    np.testing.assert_array_equal(form_features(["{product}"]), form_features([""]))


def test_rows_have_length_one_in_each_family() -> None:
    table = ngram_features(["one two two", "x"])
    assert table.shape == (2, 2 * BUCKETS)
    squared = table.multiply(table)
    np.testing.assert_allclose(squared[:, :BUCKETS].sum(axis=1), 1.0)
    np.testing.assert_allclose(squared[:, BUCKETS:].sum(axis=1), 1.0)
    assert ngram_features([]).shape == (0, 2 * BUCKETS)
    assert form_features(["Who, ME? “Yes” - 3..."]).shape == (1, len(FORM))


def test_a_planted_word_is_found_on_tests_never_seen() -> None:
    arms = planted(effect=0.5, noise=0.1)
    score = held_out_scores(arms, ridge=30.0, k=5, seed=0)
    slope, noise = slope_and_noise(arms, score)
    assert 0.7 < slope < 1.8
    assert noise < 0.2
    found = figures(arms, slope * score, n_boot=200)
    accuracy, low, _ = found["significant_pair_accuracy"]
    assert accuracy > 0.75
    assert low > 0.65
    assert found["lift_of_chosen"][1] > 1.05


def test_where_wording_does_nothing_the_slope_is_nothing() -> None:
    arms = planted(effect=0.0, noise=0.3)
    score = held_out_scores(arms, ridge=30.0, k=5, seed=0)
    slope, noise = slope_and_noise(arms, score)
    assert abs(slope) < 0.5
    assert noise == pytest.approx(0.3, abs=0.06)
    low, high = figures(arms, score, n_boot=200)["pair_accuracy"][1:]
    assert low < 0.5 < high


def test_tests_are_held_out_whole() -> None:
    test = np.repeat(np.arange(50), 3)
    fold = folds(test, 5, seed=1)
    assert all(len(set(fold[test == t])) == 1 for t in range(50))
    assert np.bincount(fold).tolist() == [30] * 5


def test_pairs_worked_out_by_hand() -> None:
    arms = Arms(
        ("a", "b", "c", "d"), np.array([10.0, 30, 10, 5]), np.full(4, 1000.0), np.array([0, 0, 0, 1]), np.zeros(4, int)
    )
    found = pairs(arms, np.array([0.0, 1.0, 0.0, 9.0]))
    assert found["correct"].tolist() == [1.0, 1.0]  # a and c are equal, d has no other arm
    expected = (np.log(30.5 / 970.5) - np.log(10.5 / 990.5)) / np.sqrt(1 / 30.5 + 1 / 970.5 + 1 / 10.5 + 1 / 990.5)
    np.testing.assert_allclose(found["z"], expected)


def test_the_weights_come_back_from_disk(tmp_path: Path) -> None:
    made = replace(fit(planted(0.5, 0.1), 30.0), slope=0.8, center=0.1, noise_sd=0.2, shop_scale=0.5)
    made.save(tmp_path, "w")
    import json

    card = json.loads((tmp_path / "w.json").read_text())
    back = TextEffect.from_bytes((tmp_path / "w.safetensors").read_bytes(), card)
    texts = ["winter river", "stone"]
    np.testing.assert_allclose(back.score(texts), made.score(texts), atol=2e-3)
    np.testing.assert_allclose(back.for_shop(texts), 0.5 * back.score(texts), rtol=1e-6)
    with pytest.raises(ArtefactError, match="text effect"):
        TextEffect.from_bytes((tmp_path / "w.safetensors").read_bytes(), card | {"slope": None})
    with pytest.raises(ArtefactError, match="other features"):
        TextEffect.from_bytes((tmp_path / "w.safetensors").read_bytes(), card | {"form": []})


def test_the_shipped_weights_say_what_they_are_and_move_shop_lines_no_more_than_headlines() -> None:
    from recenv.generators.corpus import read_corpus

    made = shipped()
    assert made.card["label"] == "transferred"
    assert "CC BY 4.0" in made.card["attribution"]
    assert made.card["held_out"]["pair_accuracy"][0] >= 0.58
    assert made.card["held_out"]["significant_pair_accuracy"][0] >= 0.65
    assert made.card["held_out"]["lift_of_chosen"][1] > 1.0
    # Made again whenever the corpus changes: scores of its lines are centred and scaled by them.
    corpus = read_corpus()
    assert made.card["shop_lines"] == {"lines": len(corpus.lines), "hash": corpus.hash}
    score = made.for_shop([line.text for line in corpus.lines])
    assert score.std() == pytest.approx(made.card["held_out"]["score_sd"], rel=1e-3)
    assert abs(float(score.mean())) < 1e-4


def test_held_out_figures_are_those_of_the_data(shared_data: Path) -> None:
    """A quarter of the tests, scored by weights fitted on the others: not those of the card, but like them."""
    from recenv.data.sources.upworthy import TEST
    from recenv.data.sources.upworthy_arms import arms_table

    table, _ = arms_table(shared_data / "upworthy")
    test = np.unique(table[TEST].to_numpy(str), return_inverse=True)[1].astype(np.int64)
    numbers = (table[name].to_numpy(float) for name in ("clicks", "impressions"))
    arms = Arms(tuple(table["headline"].astype(str)), *numbers, table["group"].to_numpy(np.int64), test)
    fold = folds(test, 4, seed=3)
    held = arms.take(np.flatnonzero(fold == 0))
    score = fit(arms.take(np.flatnonzero(fold != 0)), 100.0).of_features(*held.features)
    found = figures(held, score, n_boot=200)
    assert found["pair_accuracy"][1] > 0.53
    assert found["significant_pair_accuracy"][1] > 0.57
    assert spread(held, score) > 0.02


@pytest.mark.parametrize(
    "change",
    [{"clicks": np.array([5.0, np.nan])}, {"clicks": np.array([5.0, 200.0])}, {"group": np.zeros(3, int)}],
)
def test_bad_arms_are_named_errors(change: dict[str, np.ndarray]) -> None:
    good = {
        "clicks": np.array([5.0, 6]), "impressions": np.full(2, 100.0), "group": np.zeros(2, int),
        "test": np.zeros(2, int),
    }  # fmt: skip
    with pytest.raises(InputError, match="arms"):
        Arms(("a", "b"), **(good | change))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sentence encoder that knows WORDS, untrained, as `transformers` saves one."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: k for k, word in enumerate(("[PAD]", "[UNK]", *WORDS))}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, **sizes)
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_embeddings_are_features_where_they_are_given(encoder: Path, tmp_path: Path) -> None:
    embed = SentenceEmbedder(encoder)
    vectors = embed(["winter river", "winter {product} river", "stone", ""])
    assert vectors.shape == (4, embed.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors[:3], axis=1), 1.0)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)  # slots are no part of the text
    plain = planted(effect=0.5, noise=0.1)
    arms = replace(plain, dense=embed(plain.texts))
    made = replace(fit(arms, ridge=10.0), embed=embed)
    assert made.form_mean.shape == (len(FORM) + embed.dimension,)
    assert made.score(["winter stone"])[0] > made.score(["paper stone"])[0]
    assert np.abs(made.weights[-embed.dimension :]).max() > 0

    made.save(tmp_path)
    card = json.loads((tmp_path / "headlines.json").read_text())
    tensors = (tmp_path / "headlines.safetensors").read_bytes()
    back = TextEffect.from_bytes(tensors, card, embed)
    np.testing.assert_allclose(back.score(["winter stone"]), made.score(["winter stone"]), atol=1e-3)
    with pytest.raises(ArtefactError, match="other features"):
        TextEffect.from_bytes(tensors, card)


def test_what_is_no_encoder_is_named(tmp_path: Path, encoder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no config\.json"):
        SentenceEmbedder(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(encoder, broken)
    (broken / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        SentenceEmbedder(broken)
