"""Rows of Complete Journey: every purchase of a catalogue product once, and a seeded sample of what was not bought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core import rng
from recenv.data.columns import SPLITS
from recenv.data.sources.journey_exposure import Promotions

BURN_IN = 8
"""Weeks 1 to 8 only fill the users' histories: their purchases are acts, and nothing is sampled there."""
CHUNK_PAIRS = 2_000_000


@dataclass(frozen=True)
class Rows:
    """Rows of one kind and split: visit and item index int64 (R,), revenue float64 (R,); bought or not, one weight."""

    kind: str
    bought: bool
    visit: NDArray[np.int64]
    item: NDArray[np.int64]
    revenue: NDArray[np.float64]
    weight: float


def journey_rows(
    lines: pd.DataFrame,
    visits: pd.DataFrame,
    chosen: NDArray[np.int64],
    promotions: Promotions,
    seed: int,
    wanted: dict[str, int],
    promoted_share: float,
) -> Iterator[tuple[str, Rows]]:
    """All purchases, and a sample of what was not bought, by split and kind.

    `visits` has one row a basket, ascending by basket_id, with split, week and shelf (row of `promotions`, or -1).
    A visit is scored where its store has promotion data and the burn-in is over; elsewhere purchases are acts.
    """
    bought = _bought(lines, visits, chosen)
    shelf, promoted = visits["shelf"].to_numpy(), promotions.promoted
    scored = (shelf >= 0) & (visits["week"].to_numpy() > BURN_IN)
    shown = promoted[shelf[bought.visit], bought.item]
    counted = scored[bought.visit]
    for split in SPLITS:
        inside = visits["split"].to_numpy() == split
        kinds = {"purchase": ~counted, "impression": counted & shown, "opportunity": counted & ~shown}
        for kind, mask in kinds.items():
            keep = inside[bought.visit] & mask
            yield split, Rows(kind, True, bought.visit[keep], bought.item[keep], bought.revenue[keep], 1.0)
        pool = np.flatnonzero(inside & scored)
        mine = inside[bought.visit] & counted
        weights = _weights(pool, shelf, promoted, mine, shown, wanted[split], promoted_share)
        visit, item, is_shown = _sample(pool, visits, chosen, promoted, bought, weights, seed)
        for kind, mask in (("impression", is_shown), ("opportunity", ~is_shown)):
            zeros = np.zeros(int(mask.sum()))
            yield split, Rows(kind, False, visit[mask], item[mask], zeros, float(weights[kind == "impression"]))


def _bought(lines: pd.DataFrame, visits: pd.DataFrame, chosen: NDArray[np.int64]) -> Rows:
    mine = lines[lines["product_id"].isin(chosen)]
    total = mine.groupby(["basket_id", "product_id"], as_index=False)["sales_value"].sum()
    order = np.argsort(chosen)
    item = order[np.searchsorted(chosen, total["product_id"].to_numpy(), sorter=order)]
    visit = np.searchsorted(visits["basket_id"].to_numpy(), total["basket_id"].to_numpy())
    return Rows("purchase", True, visit, item, total["sales_value"].to_numpy(np.float64), 1.0)


def _weights(
    pool: NDArray[np.int64],
    shelf: NDArray[np.int64],
    promoted: NDArray[np.bool_],
    mine: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    rows: int,
    promoted_share: float,
) -> tuple[int, int]:
    """Whole weights (opportunity, impression), one over the sampling rates, that meet the wanted rows about."""
    pairs = int(promoted.sum(1)[shelf[pool]].sum())
    negatives = np.array([len(pool) * promoted.shape[1] - pairs - (mine & ~shown).sum(), pairs - (mine & shown).sum()])
    wanted = max(rows - int(mine.sum()), 1) * np.array([1 - promoted_share, promoted_share])
    unshown, was_shown = np.maximum(np.rint(negatives / wanted), 1).astype(int).tolist()
    return unshown, was_shown


def _sample(
    pool: NDArray[np.int64],
    visits: pd.DataFrame,
    chosen: NDArray[np.int64],
    promoted: NDArray[np.bool_],
    bought: Rows,
    weights: tuple[int, int],
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Visit, item and promoted of the negatives drawn; a pair's draw depends on (seed, basket, product) alone."""
    limit = np.array([2**64 // w - (w == 1) for w in weights], np.uint64)
    basket_key = rng.bits(seed, visits["basket_id"].to_numpy()[pool]).astype(np.int64)
    shelf = visits["shelf"].to_numpy()
    row_of = np.full(len(visits), -1)
    row_of[pool] = np.arange(len(pool))
    row, item = row_of[bought.visit], bought.item
    row, item = row[row >= 0], item[row >= 0]
    order = np.argsort(row, kind="stable")
    row, item = row[order], item[order]
    step = max(CHUNK_PAIRS // len(chosen), 1)
    found = []
    for start in range(0, len(pool), step):
        part = slice(start, min(start + step, len(pool)))
        is_shown = promoted[shelf[pool[part]]]
        drawn = rng.bits(basket_key[part, None], chosen[None, :])
        keep = drawn <= limit[is_shown.astype(np.intp)]
        first, last = np.searchsorted(row, [part.start, part.stop])
        keep[row[first:last] - start, item[first:last]] = False
        visit_at, item_at = np.nonzero(keep)
        found.append((pool[part][visit_at], item_at, is_shown[visit_at, item_at]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool)
    visit, items, flags = (np.concatenate(column) for column in zip(*found))
    return visit, items, flags
