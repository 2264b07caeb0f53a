"""What logged copy exposures tell of the effect of copy: hierarchical logistic regression over the response model.

    logit P(response) = o + u_item + m + b_c + G[segment, style(c)] + K[category, style(c)] - wear * seen_style
    u ~ N(0, tau^2),  b_c ~ N(a(text of c), sigma^2),  G ~ N(0, s^2),  K ~ N(0, k^2),  wear ~ N(0, WEAR_SD^2)

o is the response model's calibrated logit of the row, which knows the item and the user and not the copy. u takes up
its error on an item, so that copies are compared within their item; m is free. Both stay with the copies (u with those
of one item alone). The mode is found by Newton, the four variances by MacKay's fixed point ("Bayesian interpolation",
Neural Computation 4, 1992, section 4), sigma^2 = sum b^2 / (q - tr(H^-1) / sigma^2), with the Laplace approximation
N(mode, H^-1): parts that the logs do not support shrink to 0. A world's effect is one draw from that posterior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack
from scipy.sparse.linalg import SuperLU, splu

from recenv.core.errors import InputError
from recenv.response.copy_effect import LEARNED, CopyEffect

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]
Shape = tuple[int, int, int]
WEAR_SD = 0.2
_BIN = 0.02
"""Rows of one cell whose offsets differ by less are one binomial row."""
_DENSE = 1500
_PROBES, _DRAWS = 64, 256
_ROUNDS = 60
_LEAST, _FLAT = 1e-3, 3.0
"""Smallest standard deviation of a part; that of the prior of m, all but flat."""
_WORN = 50


@dataclass(frozen=True)
class Exposures:
    """n rows on which copies were shown.

    Attributes:
        copy, item, segment, category: (n,) integers from 0. seen: (n,) earlier sights of the style in the session.
        offset: (n,) float64 logit. response: (n,) 0 or 1. weight: (n,) > 0, number of impressions that the row stands
            for (of sampled negatives: 1 / rate; then intervals are slightly too short).
    """

    copy: Ints
    item: Ints
    segment: Ints
    category: Ints
    seen: Ints
    offset: Floats
    response: Floats
    weight: Floats

    def __post_init__(self) -> None:
        for name in ("offset", "response", "weight"):
            values = getattr(self, name)
            if not np.isfinite(values).all() or (name == "weight" and not (values > 0).all()):
                raise InputError(f"copy exposures, {name}", "a value that is not finite, or no weight", "Clean the log")


@dataclass(frozen=True)
class _Cells:
    """Binomial rows: exposures of one cell whose offsets are alike."""

    rows: Exposures
    n: Floats
    k: Floats


@dataclass(frozen=True)
class CopyPosterior:
    """Laplace approximation of the effect's posterior.

    Attributes:
        mean, sd: part -> array; parts `item` (I,), `base` (C,), `segment_style` (G, S), `category_style` (K, S), `wear`
            (1,), `level` (1,). A part that the logs cannot tell is absent.
        size: part -> estimated standard deviation of the part.
        shown, responses: (C,) float64, logged impressions and responses of each copy. copy_item: (C,) the item of each
            copy, -1 where it was shown on several or none.
    """

    mean: dict[str, Floats]
    sd: dict[str, Floats]
    size: dict[str, float]
    shown: Floats
    responses: Floats
    copy_item: Ints
    _design: csr_matrix
    _weight: Floats
    _precision: Floats
    _order: tuple[str, ...]

    def level(self, parts: dict[str, Floats]) -> Floats:
        """(C,) m + u of each copy's own item, of the mean or of a draw."""
        own = np.where(self.copy_item >= 0, parts["item"][self.copy_item], 0.0)
        return np.asarray(parts["level"][0] + own, np.float64)

    def draw(self, seed: int) -> dict[str, Floats]:
        """One draw of every part: mean + H^-1 (X^T W^(1/2) z + D^(1/2) z'), which has covariance H^-1 exactly."""
        rng = np.random.default_rng([seed, 61])
        noise = self._design.T @ (np.sqrt(self._weight) * rng.standard_normal(len(self._weight)))
        noise = noise + np.sqrt(self._precision) * rng.standard_normal(len(self._precision))
        return _split(_flat(self.mean, self._order) + _hessian(self).solve(noise), self.mean, self._order)


def fit_copies(
    rows: Exposures,
    copy_style: Ints,
    prior: Floats,
    shape: Shape,
    seed: int,
    known: Mapping[str, float] | None = None,
) -> CopyPosterior:
    """Fit the regression.

    Args:
        rows: exposures. copy_style: (C,) style of each copy, -1 for none. prior: (C,) a(text), the prior mean of b.
        shape: numbers of segments, categories and styles. seed: of the probes that estimate traces.
        known: part -> standard deviation that is not estimated again. With fewer than five responses a copy or so the
            Laplace approximation makes estimates too small: take those of a larger log.

    Raises:
        InputError: no exposure, or none with a response.
    """
    if not len(rows.copy) or not (rows.response > 0).any():
        raise InputError("copy exposures", f"{len(rows.copy)} rows, no response", "Bring a log with copy_id and clicks")
    cells = _cells(rows)
    blocks = _blocks(cells.rows, copy_style, shape)
    order = tuple(blocks)
    design = csr_matrix(hstack([blocks[name] for name in order]))
    sizes = {name: blocks[name].shape[1] for name in order}
    start = cells.rows.offset + prior[cells.rows.copy]
    size = {"item": 0.1, "base": 0.1, "segment_style": 0.1, "category_style": 0.1, "wear": WEAR_SD, "level": _FLAT}
    size = {name: (known or {}).get(name, size[name]) for name in order}
    fixed = {"wear", "level", *(known or {})}
    theta, rng = np.zeros(design.shape[1]), np.random.default_rng([seed, 60])
    probes = rng.choice([-1.0, 1.0], (design.shape[1], _PROBES))
    for round_ in range(_ROUNDS):
        precision = np.concatenate([np.full(sizes[name], size[name] ** -2) for name in order])
        p = 1.0 / (1.0 + np.exp(-(start + design @ theta)))
        weight = cells.n * p * (1 - p)
        factor = _factor(design, weight, precision)
        step = factor.solve(design.T @ (cells.k - cells.n * p) - precision * theta)
        theta = theta + step * min(1.0, 1.0 / max(np.abs(step).max(), 1e-12))
        if round_ < 2:
            continue
        before = dict(size)
        variance = _diagonal(factor, probes)
        for name, at in _places(sizes, order).items():
            if name not in fixed:
                size[name] = _mackay(theta[at], variance[at], size[name])
        change = max(abs(np.log(size[name] / before[name])) for name in order)
        if change < 0.01 and np.abs(step).max() < 1e-3:
            break
    mean = _shaped(theta, sizes, order, shape)
    made = CopyPosterior(
        mean,
        {},
        size,
        *_counts(rows, len(copy_style)),
        _item_of(rows, len(copy_style)),
        design,
        weight,
        precision,
        order,
    )
    sd = _split(np.sqrt(_exact(factor, made, seed)), mean, order)
    return replace(made, sd=sd)


def learned_effect(
    base: CopyEffect, found: CopyPosterior, prior: Floats, draw_seed: int, notes: dict[str, Any]
) -> CopyEffect:
    """`base`, the effect without logs, with what the logs told in its place.

    Args:
        base: transferred or assumed. found: the posterior, prior: (C,) the a(text) it was fitted with.
        draw_seed: another one in each world. notes: part -> what else is to be known of it.
    """
    drawn = found.draw(draw_seed)
    posterior = {"shown": found.shown, "responses": found.responses}
    made: dict[str, Any] = {"base": drawn["base"] + found.level(drawn) + prior}
    posterior |= {
        "prior": prior,
        "base_mean": found.mean["base"] + found.level(found.mean) + prior,
        "base_sd": found.sd["base"],
    }
    sources = dict(base.sources) | {"e(text)": LEARNED}
    told: dict[str, Any] = {"e(text)": {"size": found.size["base"], "copies": int((found.shown > 0).sum())}}
    for name, part in (("segment_style", "segment x style"), ("category_style", "category x style")):
        if name in found.mean:
            made[name] = drawn[name]
            posterior |= {f"{name}_mean": found.mean[name], f"{name}_sd": found.sd[name]}
            sources[part], told[part] = LEARNED, {"size": found.size[name]}
        elif getattr(base, name).shape[0] < 2:
            # One level alone: nothing beyond what each copy's own effect holds already.
            made[name] = np.zeros_like(getattr(base, name))
            told[part] = {"value": 0.0, "why": "one level alone: part of each copy's own effect"}
    wear = base.wear
    if "wear" in found.mean:
        wear, sources["wear"] = float(drawn["wear"][0]), LEARNED
        told["wear"] = {"mean": float(found.mean["wear"][0]), "sd": float(found.sd["wear"][0])}
    for part, note in notes.items():
        told[part] = told.get(part, {}) | {k: v for k, v in note.items() if k != "label"}
        sources[part] = note.get("label", sources[part])
    arrays = {name: np.asarray(array, np.float32) for name, array in posterior.items()}
    made = {name: np.asarray(array, np.float32) for name, array in made.items()}
    return replace(base, **made, wear=wear, world_seed=draw_seed, sources=sources, notes=told, posterior=arrays)


def extended(effect: CopyEffect, other: CopyEffect) -> CopyEffect:
    """`effect` for the copies of `other`, the first of which are its own; what is new is as `other` has it."""
    place = [other.styles.index(style) for style in effect.styles]
    made = {name: getattr(other, name).copy() for name in ("base", "segment_style", "category_style")}
    made["base"][: len(effect.base)] = effect.base
    for name in ("segment_style", "category_style"):
        made[name][:, place] = getattr(effect, name)
    posterior = {}
    for name, array in effect.posterior.items():
        table = np.zeros_like(made.get(name.rpartition("_")[0], made["base"]))
        table[: len(table)] = other.posterior.get(name, table)
        table[(slice(len(array)),) if array.ndim == 1 else (slice(None), place)] = array
        posterior[name] = table
    return replace(effect, styles=other.styles, copy_style=other.copy_style, posterior=posterior, **made)


def _cells(rows: Exposures) -> _Cells:
    keys = (rows.copy, rows.item, rows.segment, rows.category, rows.seen, np.round(rows.offset / _BIN).astype(np.int64))
    table = np.stack([np.asarray(k, np.int64) for k in keys])
    sort = np.lexsort(table[::-1])
    fresh = np.r_[True, (np.diff(table[:, sort], axis=1) != 0).any(axis=0)]
    cell = np.empty(len(sort), np.int64)
    cell[sort] = np.cumsum(fresh) - 1
    n = np.bincount(cell, rows.weight)
    first = sort[fresh]
    offset = np.bincount(cell, rows.weight * rows.offset) / n
    picked = {name: getattr(rows, name)[first] for name in ("copy", "item", "segment", "category", "seen")}
    one = np.ones(len(n))
    hits = np.bincount(cell, rows.weight * rows.response)
    rest = Exposures(**picked, offset=offset, response=one, weight=one)
    return _Cells(rest, np.asarray(n, np.float64), np.asarray(hits, np.float64))


def _blocks(rows: Exposures, copy_style: Ints, shape: Shape) -> dict[str, csr_matrix]:
    """Part -> design (n, width), for the parts that these rows can tell."""
    segments, categories, styles = shape
    style = copy_style[rows.copy]
    several = len(np.unique(style[style >= 0])) > 1
    found = {"item": _one_hot(rows.item, int(rows.item.max()) + 1), "base": _one_hot(rows.copy, len(copy_style))}
    for name, level, count in (
        ("segment_style", rows.segment, segments),
        ("category_style", rows.category, categories),
    ):
        if several and len(np.unique(level)) > 1:
            found[name] = _one_hot(np.where(style >= 0, level * styles + style, -1), count * styles)
    if (rows.seen > 0).sum() >= _WORN:
        found["wear"] = csr_matrix(-np.where(style >= 0, rows.seen, 0).astype(np.float64)[:, None])
    found["level"] = csr_matrix(np.ones((len(style), 1)))
    return found


def _one_hot(index: Ints, width: int) -> csr_matrix:
    rows = np.flatnonzero(index >= 0)
    return csr_matrix((np.ones(len(rows)), (rows, index[rows])), shape=(len(index), width))


def _factor(design: csr_matrix, weight: Floats, precision: Floats) -> SuperLU:
    return splu((design.T @ diags(weight) @ design + diags(precision)).tocsc())


def _hessian(found: CopyPosterior) -> SuperLU:
    return _factor(found._design, found._weight, found._precision)


def _diagonal(factor: SuperLU, probes: Floats) -> Floats:
    """(p,) diagonal of H^-1: exact up to _DENSE unknowns, above by Rademacher probes (sums of it are well told)."""
    if len(probes) <= _DENSE:
        return np.asarray(np.diag(factor.solve(np.eye(len(probes)))))
    return np.maximum((probes * factor.solve(probes)).mean(axis=1), 0.0)


def _exact(factor: SuperLU, made: CopyPosterior, seed: int) -> Floats:
    """(p,) posterior variances: the diagonal of H^-1, above _DENSE unknowns from draws."""
    p = made._design.shape[1]
    if p <= _DENSE:
        return _diagonal(factor, np.zeros((p, 1)))
    rng = np.random.default_rng([seed, 62])
    noise = made._design.T @ (np.sqrt(made._weight)[:, None] * rng.standard_normal((len(made._weight), _DRAWS)))
    noise += np.sqrt(made._precision)[:, None] * rng.standard_normal((p, _DRAWS))
    return np.asarray((factor.solve(noise) ** 2).mean(axis=1))


def _mackay(theta: Floats, variance: Floats, size: float) -> float:
    told = len(theta) - variance.sum() / size**2
    total = (theta**2).sum()
    # The fixed point where it is safe, the EM step (Dempster et al., 1977) where hardly anything is told.
    found = total / told if told > 0.05 * len(theta) else (total + variance.sum()) / len(theta)
    return float(np.clip(np.sqrt(found), _LEAST, 2.0))


def _places(sizes: dict[str, int], order: tuple[str, ...]) -> dict[str, slice]:
    ends = np.cumsum([sizes[name] for name in order])
    return {name: slice(int(end) - sizes[name], int(end)) for name, end in zip(order, ends)}


def _shaped(theta: Floats, sizes: dict[str, int], order: tuple[str, ...], shape: Shape) -> dict[str, Floats]:
    found = {name: theta[at] for name, at in _places(sizes, order).items()}
    return {n: v.reshape(-1, shape[2]) if n.endswith("_style") else v for n, v in found.items()}


def _flat(parts: dict[str, Floats], order: tuple[str, ...]) -> Floats:
    return np.concatenate([parts[name].reshape(-1) for name in order])


def _split(values: Floats, like: dict[str, Floats], order: tuple[str, ...]) -> dict[str, Floats]:
    places = _places({name: like[name].size for name in order}, order)
    return {name: values[places[name]].reshape(like[name].shape) for name in order}


def _counts(rows: Exposures, copies: int) -> tuple[Floats, Floats]:
    hits = np.bincount(rows.copy, rows.weight * rows.response, copies)
    return np.asarray(np.bincount(rows.copy, rows.weight, copies), np.float64), np.asarray(hits, np.float64)


def _item_of(rows: Exposures, copies: int) -> Ints:
    """(C,) the item that each copy was shown on; -1 where there were several, or none."""
    low, high = np.full(copies, np.iinfo(np.int64).max), np.full(copies, -1)
    np.minimum.at(low, rows.copy, rows.item)
    np.maximum.at(high, rows.copy, rows.item)
    return np.where(low == high, high, -1)
