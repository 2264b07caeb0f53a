"""Fit a(text), what wording does to clicks, on headline A/B tests; writes the weights that the package ships.

Figures are out of fold: every test is scored by a model that saw none of its arms, whose ridge was chosen without them.
    python scripts/fit_copy_effect.py --path PATH/upworthy --out recenv/response/weights
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recenv.data.sources.upworthy import TEST
from recenv.data.sources.upworthy_arms import arms_table
from recenv.generators.corpus import read_corpus
from recenv.response.text_effect import Arms, fit, folds, held_out_scores, slope_and_noise, spread
from recenv.response.text_embeddings import SentenceEmbedder
from recenv.response.text_metrics import figures

ATTRIBUTION = (
    "Fitted on the Upworthy Research Archive (Matias, Munger, Aubin Le Quere, Ebersole; Scientific Data 8:195, 2021; "
    "OSF DOI 10.17605/OSF.IO/JD64P; CC BY 4.0): news headlines of 2013-2015, not shop copy."
)


@dataclass(frozen=True)
class CopyEffectConfig:
    """Fit the effect of wording on headline tests, measure it on held-out tests, write the weights."""

    path: Path
    """Folder or file of the Upworthy archive."""
    out: Path
    """Folder for headlines.safetensors and headlines.json."""
    ridges: tuple[float, ...] = (50.0, 100.0, 200.0, 400.0)
    """Ridge penalties to choose from."""
    embeddings: Path | None = None
    """Folder of a sentence encoder (transformers, safetensors) whose embeddings are features as well."""
    folds: int = 5
    """Folds of whole tests."""
    seed: int = 0
    """Seed of the folds and of the bootstrap."""


def run(config: CopyEffectConfig) -> dict[str, Any]:
    """Fit; prints and returns the held-out figures."""
    arms, source = _arms(config.path)
    embed = None if config.embeddings is None else SentenceEmbedder(config.embeddings)
    if embed is not None:
        arms = replace(arms, dense=embed(arms.texts))
    outer = folds(arms.test, config.folds, config.seed)
    score, chosen = np.zeros(len(arms.texts)), []
    for f in range(config.folds):
        inside, outside = np.flatnonzero(outer != f), np.flatnonzero(outer == f)
        part = arms.take(inside)
        ridge, slope, _ = _choose(part, config)
        score[outside] = slope * fit(part, ridge).of_features(*arms.take(outside).features)
        chosen.append(ridge)
        print(f"fold {f}: ridge {ridge:g}, slope {slope:.2f}", flush=True)
    found = figures(arms, score, seed=config.seed)
    ridge, slope, noise = _choose(arms, config)
    whole = replace(fit(arms, ridge), embed=embed)
    corpus = read_corpus()
    lines = whole.score([line.text for line in corpus.lines])
    left, _ = slope_and_noise(arms, score)
    sd = spread(arms, score)
    card = {
        "attribution": ATTRIBUTION,
        "source": source,
        "held_out": found | {"slope_after_shrinking": left, "ridges": chosen, "score_sd": sd},
        "ridge": ridge,
        "shop_lines": {"lines": len(corpus.lines), "hash": corpus.hash},
        "label": "transferred",
    }
    scale = min(1.0, sd / (slope * float(lines.std())))
    made = replace(whole, slope=slope, noise_sd=noise, center=float(lines.mean()), shop_scale=scale, card=card)
    config.out.mkdir(parents=True, exist_ok=True)
    made.save(config.out)
    print(json.dumps(found | {"slope": slope, "noise_sd": noise, "score_sd": sd, "shop_scale": scale}, indent=1))
    return {"out": str(config.out), "ridge": ridge, "slope": slope, "noise_sd": noise, **found}


def _arms(path: Path) -> tuple[Arms, dict[str, Any]]:
    table, source = arms_table(path)
    test = np.unique(table[TEST].to_numpy(str), return_inverse=True)[1]
    clicks, impressions = (table[name].to_numpy(np.float64) for name in ("clicks", "impressions"))
    texts = tuple(table["headline"].astype(str))
    return Arms(texts, clicks, impressions, table["group"].to_numpy(np.int64), test.astype(np.int64)), source


def _choose(arms: Arms, config: CopyEffectConfig) -> tuple[float, float, float]:
    """The ridge with the least held-out error after its own slope, that slope, and the noise beyond it."""
    best: tuple[float, float, float, float] | None = None
    for ridge in config.ridges:
        slope, noise = slope_and_noise(arms, held_out_scores(arms, ridge, config.folds, config.seed + 1))
        if best is None or noise < best[0]:
            best = (noise, ridge, slope, noise)
    assert best is not None
    return best[1:]


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CopyEffectConfig))
