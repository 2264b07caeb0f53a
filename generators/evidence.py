"""Evidence that the logs themselves show: which products many shoppers buy, and which they buy again.

Nothing is invented: a flag stands only where enough shoppers were counted, and what was counted stands beside it in the
report. Counts come as rows of tables (one row a shopper and product), so this file knows no world and no log format.
Offers, stock and earlier prices are not to be read from purchases: a shop brings those columns itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.generators.base import Row

COUNTED = ("often_bought", "bought_again")
"""Evidence columns that purchases can show."""


@dataclass(frozen=True)
class EvidenceRules:
    """From what on the logs count as evidence. Declared, not learned."""

    buyers: int = 30
    """Fewest different shoppers who bought the product, for any flag."""
    often_share: float = 0.10
    """`often_bought`: the lower end of the 95 % interval of the share of shoppers who bought it."""
    again_share: float = 0.5
    """`bought_again`: the lower end of the 95 % interval of the share of its buyers who bought it more than once."""


@dataclass(frozen=True)
class Counted:
    """What the logs show of each product.

    Attributes:
        buyers: (n_items,) int64, different shoppers who bought it. repeaters: (n_items,) int64, those who did more than
            once. shoppers: how many shoppers there are at all.
    """

    buyers: NDArray[np.int64]
    repeaters: NDArray[np.int64]
    shoppers: int

    def of(self, index: Sequence[int]) -> Counted:
        """The counts of some products, in that order."""
        chosen = np.asarray(index, np.int64)
        return Counted(self.buyers[chosen], self.repeaters[chosen], self.shoppers)


def count_purchases(item: NDArray[Any], times: NDArray[Any], n_items: int, shoppers: int) -> Counted:
    """Counts from one row for each (shopper, product).

    Args:
        item: (n,) int, index of the product. times: (n,) how often this shopper bought it; 0 counts as not bought.
        n_items: size of the catalogue. shoppers: number of shoppers, those who bought nothing included.

    Raises:
        InputError: unequal lengths, an index outside the catalogue, a count that is negative or not finite, or more
            buyers of one product than shoppers.
    """
    item, times = np.asarray(item), np.asarray(times, np.float64)
    if item.shape != times.shape or item.ndim != 1:
        raise InputError("purchases", f"{item.shape} items, {times.shape} counts", "Give one count a row")
    if len(item) and (item.min() < 0 or item.max() >= n_items):
        raise InputError("purchases", f"item index up to {item.max()} of {n_items}", "Give indices of the catalogue")
    if not np.isfinite(times).all() or (times < 0).any():
        raise InputError("purchases", "a count is negative or not finite", "Give counts of 0 or more")
    buyers = np.bincount(item[times >= 1], minlength=n_items)
    if len(buyers) and buyers.max() > shoppers:
        raise InputError("purchases", f"{buyers.max()} buyers of one product, {shoppers} shoppers", "Give a row a pair")
    return Counted(buyers, np.bincount(item[times >= 2], minlength=n_items), shoppers)


def lower_share(hits: NDArray[np.int64], of: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Lower end of the 95 % Wilson interval of hits / of; 0 where `of` is 0.

    (p + z^2 / 2n - z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z = 1.96 (Wilson, JASA 1927).
    """
    n = np.maximum(np.broadcast_to(np.asarray(of, np.float64), np.shape(hits)), 1.0)
    share, z2 = np.asarray(hits) / n, 1.96**2
    return np.asarray((share + z2 / (2 * n) - np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2)))) / (1 + z2 / n))


def with_evidence(
    items: Sequence[Row], counted: Counted, rules: EvidenceRules = EvidenceRules()
) -> tuple[list[Row], dict[str, Any]]:
    """Catalogue rows with `often_bought` and `bought_again` where the logs show it, and a report of what was counted.

    A value that the catalogue has already is left as it is: the shop knows better.

    Raises:
        InputError: as many rows as counts are not given.
    """
    if len(items) != len(counted.buyers):
        raise InputError("evidence", f"{len(items)} items, {len(counted.buyers)} counts", "Give one count an item")
    enough = counted.buyers >= rules.buyers
    flags = {
        "often_bought": enough & (lower_share(counted.buyers, counted.shoppers) >= rules.often_share),
        "bought_again": enough & (lower_share(counted.repeaters, counted.buyers) >= rules.again_share),
    }
    filled: list[Row] = [
        {**row, **{name: True for name, flag in flags.items() if flag[i] and row.get(name) is None}}
        for i, row in enumerate(items)
    ]
    report: dict[str, Any] = {"source": "purchases in the logs", "shoppers": counted.shoppers, "rules": asdict(rules)}
    return filled, report | {name: int(flag.sum()) for name, flag in flags.items()}
