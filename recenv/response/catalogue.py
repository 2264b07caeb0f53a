"""What a world knows of its items and its logged policy before any network is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import recenv
from recenv.core import rng
from recenv.core.errors import InputError
from recenv.data.columns import NONE_ITEM
from recenv.response.log import OPPORTUNITY, Log, slots
from recenv.response.rows import SPLITS
from recenv.response.vectors import from_content
from recenv.response.vectors import item_vectors as vectors_of
from recenv.state import MAX_CATEGORIES, StateSpec

if TYPE_CHECKING:
    from recenv.response.fit import FitOptions
    from recenv.response.shared import Shared

_PRIOR_ROWS = 50.0
"""Weight, in rows, with which an item's rate is drawn to that of the rest of its category, and that to the mean."""


@dataclass
class ItemBase:
    """Logged rates of each item, over the train split: (n_items,) float32 each.

    Args:
        rate: response rate when shown (purchase where logged, else click), shrunk by 50 rows' weight.
        organic: the same when not shown; equal to `rate` where the logs hold no opportunities.
        shown: weighted number of impressions.
        revenue: median unit price times mean quantity of a purchase; 0 where no revenue is logged.
        prior, organic_prior: the rate of the rest of the category, shrunk to the mean of all: what is known of an item
            that was never met, and what `rate` and `organic` are drawn to.
    """

    rate: NDArray[np.float32]
    organic: NDArray[np.float32]
    shown: NDArray[np.float32]
    revenue: NDArray[np.float32]
    prior: NDArray[np.float32]
    organic_prior: NDArray[np.float32]

    def unseen(self) -> ItemBase:
        """What would be known of each item if it had never been met."""
        return replace(self, rate=self.prior, organic=self.organic_prior, shown=np.zeros_like(self.shown))


def category_index(category: list[str]) -> tuple[NDArray[np.int32], int]:
    """Index of each item's category and their number; hashed into buckets where there are more than 1,024."""
    levels = sorted(set(category))
    if len(levels) > MAX_CATEGORIES:
        return np.array([rng.word(c) % MAX_CATEGORIES for c in category], np.int32), MAX_CATEGORIES
    index = {level: i for i, level in enumerate(levels)}
    return np.array([index[c] for c in category], np.int32), max(len(levels), 1)


def vectors(items: pd.DataFrame, log: Log, dim: int) -> NDArray[np.float32]:
    """Item vectors from content and from the train split of one half of the users."""
    row, _ = log.state_events()
    acted = row[(log.split[row] == 0) & ((log.click[row] == 1) | (log.purchase[row] == 1) | ~log.scored[row])]
    return vectors_of(
        items["text"].astype(str).tolist(),
        items["category"].astype(str).tolist(),
        items["price"].to_numpy(np.float64),
        log.session[acted],
        log.item[acted].astype(np.int64),
        dim,
    )


def centroids(profile: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Segment centroids (S, P): Lloyd's algorithm from farthest-first seeds, so without any draw."""
    distinct = np.unique(profile, axis=0)
    if profile.shape[1] == 0 or len(distinct) < 2:
        return np.zeros((1, profile.shape[1]), np.float32)
    chosen = [distinct[0]]
    while len(chosen) < min(most, len(distinct)):
        distance = np.min([((distinct - c) ** 2).sum(1) for c in chosen], axis=0)
        chosen.append(distinct[distance.argmax()])
    centre = np.stack(chosen).astype(np.float64)
    for _ in range(25):
        label = ((profile[:, None, :] - centre[None]) ** 2).sum(2).argmin(1)
        centre = np.stack(
            [profile[label == s].mean(0) if (label == s).any() else centre[s] for s in range(len(centre))]
        )
    return centre.astype(np.float32)


def measure(spec: StateSpec, items: pd.DataFrame, log: Log, without: NDArray[np.bool_] | None = None) -> ItemBase:
    """Logged rates of each item over the train split; `without`: (n,) rows left out."""
    train = log.split == SPLITS.index("train")
    if without is not None:
        train &= ~without
    response = log.purchase if np.isfinite(log.purchase[log.scored]).any() else log.click
    known = train & np.isfinite(response)
    shown, unshown = known & log.shown, known & (log.kind == OPPORTUNITY)
    n = spec.n_items

    def rate(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        weight = np.bincount(log.item[mask], log.weight[mask], n).astype(np.float64)
        positive = np.bincount(log.item[mask], (log.weight * np.nan_to_num(response))[mask], n)
        mean = positive.sum() / max(weight.sum(), 1e-12)
        rest_weight, rest = (np.bincount(spec.item_category, v)[spec.item_category] - v for v in (weight, positive))
        prior = (rest + _PRIOR_ROWS * mean) / (rest_weight + _PRIOR_ROWS)
        own = (positive + _PRIOR_ROWS * prior) / (weight + _PRIOR_ROWS)
        return own.astype(np.float32), prior.astype(np.float32), weight.astype(np.float32)

    shown_rate, prior, shown_weight = rate(shown)
    organic, organic_prior, _ = rate(unshown) if unshown.any() else (shown_rate, prior, shown_weight)
    return ItemBase(
        rate=shown_rate,
        organic=organic,
        shown=shown_weight,
        revenue=_revenue(items, log, train, n),
        prior=prior,
        organic_prior=organic_prior,
    )


def _revenue(items: pd.DataFrame, log: Log, train: NDArray[np.bool_], n: int) -> NDArray[np.float32]:
    sold = train & (log.purchase == 1.0) & np.isfinite(log.revenue) & (log.revenue > 0)
    if not sold.any():
        return np.zeros(n, np.float32)
    price = items["price"].to_numpy(np.float64)
    weight = log.weight[sold].astype(np.float64)
    mean_sale = float(np.average(log.revenue[sold], weights=weight))
    price = np.where(np.isfinite(price) & (price > 0), price, mean_sale)
    quantity = log.revenue[sold] / price[log.item[sold]]
    overall = float(np.average(quantity, weights=weight))
    count = np.bincount(log.item[sold], weight, n)
    per_item = (np.bincount(log.item[sold], weight * quantity, n) + 5 * overall) / (count + 5)
    return (price * per_item).astype(np.float32)


def item_features(items: pd.DataFrame, base: ItemBase) -> NDArray[np.float32]:
    """(n_items, F) numeric inputs of the item tower: log price and its absence, logged log-odds, how often shown."""
    price = items["price"].to_numpy(np.float64)
    known = np.isfinite(price)
    numeric = [c for c in items.columns if c.startswith("emb_") or _is_feature(items, c)]
    columns = [
        np.where(known, np.log1p(np.where(known, price, 0.0)), 0.0),
        (~known).astype(float),
        _logit(base.rate),
        _logit(base.organic),
        np.log1p(base.shown),
        *(np.nan_to_num(items[c].to_numpy(np.float64)) for c in numeric),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def unseen_inputs(items: pd.DataFrame, item_vectors: NDArray[np.float32], base: ItemBase) -> NDArray[np.float32]:
    """(n_items, D + F) inputs of the item tower if no item had ever been met: content alone."""
    content = from_content(item_vectors)
    return np.concatenate([content, item_features(items, base.unseen())], axis=1).astype(np.float32)


def _is_feature(items: pd.DataFrame, name: str) -> bool:
    known = ("item_id", "text", "category", "price")
    return name not in known and pd.api.types.is_numeric_dtype(items[name]) and items[name].nunique() > 1


def _logit(p: NDArray[np.float32]) -> NDArray[np.float64]:
    clipped = np.clip(p.astype(np.float64), 1e-5, 1 - 1e-5)
    return np.log(clipped / (1 - clipped))


def logged_rates(log: Log, segment: NDArray[np.int32], n_segments: int, n_items: int) -> NDArray[np.float32]:
    """P(item shown | segment) over the train split, (S, n_items), each row drawn to the whole by one row an item.

    An item that was never shown has probability 0.

    Raises:
        InputError: the train split holds no impression.
    """
    rows = np.flatnonzero(log.shown & (log.split == SPLITS.index("train")))
    cell = segment[log.user[rows]].astype(np.int64) * n_items + log.item[rows]
    count = np.bincount(cell, log.weight[rows], n_segments * n_items).reshape(n_segments, n_items)
    if not len(rows):
        raise InputError("events", "no impression in the train split", "Bring logs that hold some")
    overall = count.sum(0) / count.sum()
    smooth = count + n_items * overall
    return (smooth / smooth.sum(axis=1, keepdims=True)).astype(np.float32)


def meta(shared: Shared, log: Log, role: str, name: str, options: FitOptions) -> dict[str, Any]:
    """`world.json` without what `World.save` adds."""
    data = shared.dataset.meta
    events = shared.dataset.events
    first, _, number = slots(log)
    longest = int(number.max()) + 1 if len(number) else 1
    per_visit = int(data.get("slots_per_visit", 0)) or longest
    horizon = options.horizon or per_visit
    gaps = np.diff(log.time[first])[number[1:] > 0] if len(first) > 1 else np.zeros(0)
    seconds = options.seconds_per_slot or (int(np.median(gaps)) if len(gaps) else 30)
    unshown = bool((log.kind == OPPORTUNITY).any())
    return {
        "name": name,
        "role": role,
        "recenv_version": recenv.__version__,
        "dataset_hashes": data["hashes"],
        "seed": options.seed,
        **{key: data[key] for key in ("source", "kind", "exposure", "propensity", "negatives", "licence", "currency")},
        "provenance": data["provenance"],
        "responses": list(data["responses"]),
        "exp_columns": [c for c in events.columns if c.startswith("exp_")],
        "context_columns": [c for c in events.columns if c.startswith("ctx_")],
        "profile": shared.encoder.to_json(),
        "horizon": int(horizon),
        "seconds_per_slot": max(int(seconds), 1),
        "session_gap": int(data["session_gap"]),
        "one_shot": longest == 1 and per_visit == 1,
        "has_unshown": unshown,
        "offers_known": shared.dataset.offers is not None,
        "repeats_logged": _repeats(log, bool(data["one_visit_rows"])),
        "users": int(log.n_users),
        "learned": _learned(data, unshown),
        "assumed": _assumed(data, options, longest, bool((events["item_id"] == NONE_ITEM).any())),
    }


def _repeats(log: Log, one_visit_rows: bool) -> bool:
    if one_visit_rows:
        return False
    rows = np.flatnonzero(log.shown)
    pairs = np.stack([log.session[rows], log.item[rows].astype(np.int64)], axis=1)
    return len(np.unique(pairs, axis=0)) < len(pairs)


def _learned(data: dict[str, Any], unshown: bool) -> list[str]:
    what = [f"P({r} | user, item, how it was shown)" for r in data["responses"] if r != "revenue"]
    return what + (["P(response | not shown)"] if unshown else [])


def _assumed(data: dict[str, Any], options: FitOptions, longest: int, nothing_shown: bool) -> list[str]:
    own = list(data["assumed"])
    if nothing_shown:
        own.append("what people do when nothing is shown is what they do when any one item is not shown")
    own.append("the user's own acts between slots: none within a session")
    own.append("prices and revenue per purchase: constant, median unit price times mean quantity")
    if data["one_visit_rows"]:
        own.append(
            "the simulator moves the state on after each slot; the logs score a whole visit from the state before it"
        )
    if options.horizon or data.get("slots_per_visit"):
        own.append("slots in a session: fixed, not learned")
    if longest == 1 or data["exposure"] != "observed":
        own.append("leaving: nobody leaves before the horizon")
    return own
