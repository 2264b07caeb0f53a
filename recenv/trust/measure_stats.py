"""Statistics of sessions, real and simulated, from responses by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.trust.slices import SessionStats
from recenv.world import World

Floats = NDArray[np.float64]
CATEGORIES = 6
"""Categories with most responses that are compared one by one; each more costs the others width."""

REPEATS = 4
"""Simulated sessions for each real one: their own noise then adds a quarter, not as much again."""


@dataclass(frozen=True)
class Responses:
    """Root responses of n sessions on one side: session (k,), item (k,), known (k,) whether the user had responded to
    the item before; `purchases` (n,) where clicks are the root, else None; `length` (n,) slots, None where given."""

    n: int
    session: NDArray[np.int64]
    item: NDArray[np.int64]
    known: NDArray[np.bool_]
    purchases: Floats | None = None
    length: Floats | None = None


def stacked(parts: Sequence[Responses]) -> Responses:
    """Several draws of the same sessions as one side, one after the other."""
    sizes = np.cumsum([0, *(part.n for part in parts)])
    session = np.concatenate([part.session + start for part, start in zip(parts, sizes)])
    item, known = (np.concatenate([getattr(part, name) for part in parts]) for name in ("item", "known"))
    lengths = [part.length for part in parts if part.length is not None]
    purchases = [part.purchases for part in parts if part.purchases is not None]
    return Responses(
        int(sizes[-1]),
        session,
        item,
        known,
        np.concatenate(purchases) if purchases else None,
        np.concatenate(lengths) if lengths else None,
    )


def top_categories(world: World, real: Responses) -> NDArray[np.int64]:
    """Categories of most real responses, at most `CATEGORIES`."""
    count = np.bincount(world.spec.item_category[real.item], minlength=world.spec.n_categories)
    order = np.argsort(-count, kind="stable")[:CATEGORIES]
    return np.asarray(order[count[order] > 0], np.int64)


def category_names(world: World) -> dict[int, str]:
    """Text of each category index; where several texts share one (hashed), the first."""
    names: dict[int, str] = {}
    for index, text in zip(world.spec.item_category.tolist(), world.items["category"].to_pylist()):
        names.setdefault(int(index), str(text))
    return names


def statistics(world: World, side: Responses, categories: NDArray[np.int64]) -> dict[str, Floats]:
    """Name -> (n,): responses, responses_purchase, length; repeat_share and category_<name>, shares of responses.

    A share R = sum x / sum r of all responses is given as R + (x_i - R r_i) / mean r, whose mean is R and whose spread
    is that of the ratio estimator: sessions without a response need no made-up share (Cochran, "Sampling techniques",
    1977, section 6.4).
    """
    responses = np.bincount(side.session, minlength=side.n).astype(np.float64)
    found: dict[str, Floats] = {"responses": responses}
    if side.length is not None:
        found["length"] = side.length
    if side.purchases is not None:
        found["responses_purchase"] = side.purchases
    names, category = category_names(world), world.spec.item_category[side.item]
    marks = {"repeat_share": side.known} | {f"category_{names[int(k)]}": category == k for k in categories}
    for name, mark in marks.items():
        found[name] = _share(np.bincount(side.session[mark], minlength=side.n).astype(np.float64), responses)
    return found


def _share(x: Floats, responses: Floats) -> Floats:
    total = responses.sum()
    if not total:
        return np.zeros(len(x))
    ratio = x.sum() / total
    return np.asarray(ratio + (x - ratio * responses) / responses.mean())


def features(world: World, side: Responses, categories: NDArray[np.int64]) -> tuple[Floats, tuple[str, ...]]:
    """(n, F) what a classifier sees of each session, and the names: counts of responses, repeats, by category."""
    category = world.spec.item_category[side.item]
    names = category_names(world)
    columns = {"responses": np.bincount(side.session, minlength=side.n).astype(np.float64)}
    columns["repeats"] = np.bincount(side.session[side.known], minlength=side.n).astype(np.float64)
    for k in categories:
        columns[names[int(k)]] = np.bincount(side.session[category == k], minlength=side.n).astype(np.float64)
    kinds = np.unique(np.stack([side.session, category.astype(np.int64)]), axis=1)
    columns["kinds of category"] = np.bincount(kinds[0], minlength=side.n).astype(np.float64)
    if side.purchases is not None:
        columns["purchases"] = side.purchases
    if side.length is not None:
        columns["length"] = side.length
    return np.stack(list(columns.values()), axis=1), tuple(columns)


def with_drift(
    stats: dict[str, Floats], drift: dict[int, dict[str, Floats]], rows: dict[int, NDArray[Any]], n: int
) -> dict[str, Floats]:
    """The statistics with `drift_<step>_<feature>`: each track's value in its session's row, NaN elsewhere.

    Args:
        drift: step -> feature -> (T,). rows: step -> (T,) session of each track at that step, -1 where it was over.
    """
    out = dict(stats)
    for step, found in drift.items():
        for name, values in found.items():
            column, here = np.full(n, np.nan), rows[step] >= 0
            column[rows[step][here]] = values[here]
            out[f"drift_{step}_{name}"] = column
    return out


def joined(
    real: dict[str, Floats], simulated: dict[str, Floats], user: NDArray[Any], simulated_user: NDArray[Any]
) -> SessionStats:
    """Both sides, with the names that both have; a drift statistic that neither side reached is left out."""
    names = [
        k for k in real
        if k in simulated and not (np.isnan(real[k]).all() or np.isnan(simulated[k]).all())
    ]  # fmt: skip
    return SessionStats({k: real[k] for k in names}, user, {k: simulated[k] for k in names}, simulated_user)
