"""a(text): how much a text's wording moves the logit of a click, learned from headline A/B tests.

    y_ij = log odds of arm j in test i, s_ij^2 = 1 / (clicks + 1/2) + 1 / (misses + 1/2)
    b = argmin sum_ij ((y_ij - m_i) - (x_ij - n_i) b)^2 / s_ij^2 + ridge |b|^2,   a(text) = slope (x b - center)

m_i and n_i are the test's own weighted means: only differences within a test count, so what a story is cancels. `slope`
is the regression of held-out y on held-out predictions (whole tests held out): below 1, the model was too sure.

Tests: the Upworthy Research Archive (Matias et al., "The Upworthy Research Archive, a time series of experiments in
U.S. media", Scientific Data 8:195, 2021; CC BY 4.0). They are news headlines, not shop copy: in a shop the effect is
transferred, not learned. Shop lines are much shorter, so that scores spread more widely there than on any headline:
`for_shop` scales them down to the spread measured on held-out headlines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from scipy.sparse import csr_matrix, diags, hstack
from scipy.sparse.linalg import lsqr

from recenv.core.artefacts import write_tensors
from recenv.core.errors import ArtefactError, InputError
from recenv.response.text_embeddings import Embedder
from recenv.response.text_features import FORM, form_features, ngram_features

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FORM_SCALE = 0.03
"""Weight of a standardised form feature beside n-grams of length 1: the ridge then shrinks both alike."""
WEIGHTS = "headlines"
NUMBERS = ("center", "slope", "noise_sd", "shop_scale")


@dataclass(frozen=True)
class Arms:
    """n arms of randomised tests, compared within groups of arms that differ in their text alone.

    Attributes:
        texts: n texts. clicks, impressions: (n,) float64. group: (n,) int64, arms compared with each other.
        test: (n,) int64, the whole test of each arm: what is held out together.
        dense: (n, d) float64, further features of the texts (sentence embeddings), if there are any.
    """

    texts: tuple[str, ...]
    clicks: Floats
    impressions: Floats
    group: Ints
    test: Ints
    dense: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.texts)
        for name in ("clicks", "impressions", "group", "test"):
            if getattr(self, name).shape != (n,):
                raise InputError(f"arms.{name}", f"shape {getattr(self, name).shape}", f"Give ({n},).")
        good = np.isfinite(self.clicks) & (self.clicks >= 0) & (self.clicks <= self.impressions)
        if not n or not good.all():
            raise InputError("arms", "none, or clicks outside 0 .. impressions", "Give counts of each arm.")

    @property
    def log_odds(self) -> Floats:
        """(n,) log((clicks + 1/2) / (misses + 1/2))."""
        return np.log((self.clicks + 0.5) / (self.impressions - self.clicks + 0.5))

    @property
    def variance(self) -> Floats:
        """(n,) sampling variance of `log_odds`."""
        return 1.0 / (self.clicks + 0.5) + 1.0 / (self.impressions - self.clicks + 0.5)

    @cached_property
    def features(self) -> tuple[csr_matrix, Floats]:
        """N-gram features of the texts; form features and `dense`."""
        return ngram_features(self.texts), _joined(form_features(self.texts), self.dense)

    def take(self, rows: NDArray[Any]) -> Arms:
        """Some of the arms, their features not computed again."""
        texts = tuple(np.array(self.texts, dtype=object)[rows])
        dense = None if self.dense is None else self.dense[rows]
        part = Arms(texts, self.clicks[rows], self.impressions[rows], self.group[rows], self.test[rows], dense)
        grams, form = self.features
        part.__dict__["features"] = (grams[rows], form[rows])
        return part


@dataclass(frozen=True)
class TextEffect:
    """The fitted model; `score` gives a(text).

    Attributes:
        weights: (2 BUCKETS + len(FORM) + d,) float32. form_mean, form_std: (len(FORM) + d,) float32.
        center: score, before the slope, at which a(text) is 0. slope: what is left on held-out tests.
        noise_sd: standard deviation of e(text) within a test, the part that `score` does not tell.
        shop_scale: at most 1, what brings the spread of scores of shop lines down to that of held-out headlines.
        card: source, licence, figures on held-out tests; JSON-able.
        embed: what makes the d further features, where the model was fitted on some.
    """

    weights: NDArray[np.float32]
    form_mean: NDArray[np.float32]
    form_std: NDArray[np.float32]
    center: float
    slope: float
    noise_sd: float
    shop_scale: float
    card: dict[str, Any]
    embed: Embedder | None = None

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) a(text) in units of the response logit; slots are ignored."""
        if not len(texts):
            return np.zeros(0, np.float32)
        dense = None if self.embed is None else self.embed(texts)
        return np.asarray(self.of_features(ngram_features(texts), _joined(form_features(texts), dense)), np.float32)

    def for_shop(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) a(text) of shop lines: `score` times `shop_scale`."""
        return np.asarray(self.shop_scale * self.score(texts), np.float32)

    def of_features(self, grams: csr_matrix, form: Floats) -> Floats:
        """(n,) a(text) from features of texts, float64."""
        raw = _design(grams, form, self.form_mean, self.form_std) @ self.weights.astype(np.float64)
        return np.asarray(self.slope * (raw - self.center), np.float64)

    def save(self, folder: Path, name: str = WEIGHTS) -> None:
        """Write `name.safetensors` (float16 weights) and `name.json`."""
        arrays: dict[str, NDArray[Any]] = {"weights": self.weights.astype(np.float16)}
        arrays |= {"form_mean": self.form_mean, "form_std": self.form_std}
        write_tensors(folder / f"{name}.safetensors", arrays)
        card = self.card | {name: getattr(self, name) for name in NUMBERS} | {"form": list(FORM)}
        if self.embed is not None:
            card["embeddings"] = {"hash": self.embed.hash, "dimension": self.embed.dimension}
        text = json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_bytes(cls, tensors: bytes, card: dict[str, Any], embed: Embedder | None = None) -> TextEffect:
        """The inverse of `save`.

        Raises:
            ArtefactError: a number or array is missing, or the features are others than this version's or `embed`'s.
        """
        try:
            arrays = load_tensors(tensors)
            center, slope, noise_sd, shop_scale = (float(card[name]) for name in NUMBERS)
            weights = arrays["weights"].astype(np.float32)
            form = (arrays["form_mean"], arrays["form_std"])
            made = cls(weights, *form, center, slope, noise_sd, shop_scale, card, embed)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError("text effect", f"unreadable ({error})", "Fit the weights again") from error
        if card.get("form") != list(FORM) or card.get("embeddings", {}).get("hash") != getattr(embed, "hash", None):
            raise ArtefactError("text effect", "made for other features", "Fit the weights again")
        return made


@lru_cache(maxsize=1)
def shipped() -> TextEffect:
    """The weights inside the package, made by `scripts/fit_copy_effect.py`."""
    folder = resources.files("recenv.response") / "weights"
    card = json.loads((folder / f"{WEIGHTS}.json").read_text(encoding="utf-8"))
    return TextEffect.from_bytes((folder / f"{WEIGHTS}.safetensors").read_bytes(), card)


def fit(arms: Arms, ridge: float) -> TextEffect:
    """Ridge regression within groups; slope 1, center 0 and noise 0 until they are measured on held-out tests."""
    grams, form = arms.features
    mean, std = form.mean(axis=0), np.maximum(form.std(axis=0), 1e-9)
    x = _design(grams, form, mean, std)
    w = 1.0 / arms.variance
    group = np.unique(arms.group, return_inverse=True)[1]
    inside = csr_matrix((w, (group, np.arange(len(w)))))
    means = diags(1.0 / np.asarray(inside.sum(axis=1)).ravel()) @ (inside @ x)
    y = centred(arms.log_odds, w, group)
    root = np.sqrt(w)
    weights = lsqr(
        diags(root) @ (x - csr_matrix(means)[group]), root * y, damp=np.sqrt(ridge), atol=1e-5, btol=1e-5, iter_lim=100
    )[0]
    parts = (weights.astype(np.float32), mean.astype(np.float32), std.astype(np.float32))
    return TextEffect(*parts, center=0.0, slope=1.0, noise_sd=0.0, shop_scale=1.0, card={})


def centred(x: Floats, w: Floats, group: Ints) -> Floats:
    """(n,) x less its weighted mean in each group (groups 0 .. G - 1)."""
    mean = np.bincount(group, w * x) / np.bincount(group, w)
    return np.asarray(x - mean[group], np.float64)


def folds(test: Ints, k: int, seed: int) -> Ints:
    """(n,) fold 0 .. k - 1 of each arm; arms of one test share it."""
    distinct, of_row = np.unique(test, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(distinct)) % k
    return np.asarray(fold[of_row], np.int64)


def held_out_scores(arms: Arms, ridge: float, k: int, seed: int) -> Floats:
    """(n,) score of each arm by a model fitted without its test."""
    fold = folds(arms.test, k, seed)
    score = np.zeros(len(arms.texts))
    for f in range(k):
        rows = np.flatnonzero(fold == f)
        if len(rows):
            score[rows] = fit(arms.take(np.flatnonzero(fold != f)), ridge).of_features(*arms.take(rows).features)
    return score


def slope_and_noise(arms: Arms, score: Floats) -> tuple[float, float]:
    """Slope of log odds on held-out scores within groups, and the standard deviation left beyond sampling noise.

    slope = sum w s y / sum w s^2 (s, y centred),
    Var(e) = sum_g (sum_j w r^2 - (n_g - 1)) / sum_g (W_g - sum w^2 / W_g),
    with r = y - slope s: the DerSimonian and Laird (1986) moment estimator, summed over groups.
    """
    group, w = np.unique(arms.group, return_inverse=True)[1], 1.0 / arms.variance
    s, y = centred(score, w, group), centred(arms.log_odds, w, group)
    slope = float((w * s * y).sum() / max((w * s * s).sum(), 1e-12))
    r = centred(y - slope * s, w, group)
    size, total, square = np.bincount(group), np.bincount(group, w), np.bincount(group, w * w)
    spare = (w * r * r).sum() - (size - 1).sum()
    return slope, float(np.sqrt(max(spare / (total - square / total).sum(), 0.0)))


def spread(arms: Arms, score: Floats) -> float:
    """Weighted standard deviation of scores within groups."""
    group, w = np.unique(arms.group, return_inverse=True)[1], 1.0 / arms.variance
    return float(np.sqrt(np.average(centred(score, w, group) ** 2, weights=w)))


def _joined(form: Floats, dense: Floats | None) -> Floats:
    return form if dense is None else np.hstack([form, dense])


def _design(grams: csr_matrix, form: Floats, mean: NDArray[Any], std: NDArray[Any]) -> csr_matrix:
    return csr_matrix(hstack([grams, csr_matrix(FORM_SCALE * (form - mean) / std)]))
