"""What a household of Complete Journey was exposed to: promotions by store and week, and the week's discounts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

WEEKS = 53
NOWHERE = "0"
"""What `display_location` and `mailer_location` hold for a product that is not there."""
LINE = ["manufacturer_id", "product_type", "package_size"]


@dataclass(frozen=True)
class Promotions:
    """Promotions of S pairs of store and week, for N catalogue products.

    keys: int64 (S,), ascending, store_id * 100 + week; the pairs for which the source knows any promotion at all.
    display, mailer: bool (S, N), in catalogue order.
    """

    keys: NDArray[np.int64]
    display: NDArray[np.bool_]
    mailer: NDArray[np.bool_]

    @property
    def promoted(self) -> NDArray[np.bool_]:
        """On display or in the mailer: bool (S, N)."""
        return self.display | self.mailer

    def tables(self) -> dict[str, NDArray[np.bool_]]:
        """The tables by the name of their column in `events`."""
        return {"exp_display": self.display, "exp_mailer": self.mailer}

    def find(self, store: NDArray[np.int64], week: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each (store, week), -1 where the source has no promotion data: int64, shape of `store`."""
        wanted = store * 100 + week
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, place, -1)


def read_promotions(file: Path, product_ids: NDArray[np.int64]) -> Promotions:
    """Read the catalogue's rows of the promotions table (20.9 million rows), batch by batch.

    Locations are read as dictionaries: as strings the table takes 880 MB.
    """
    columns = ("display_location", "mailer_location")
    catalogue = pa.array(product_ids)
    keys: list[NDArray[np.int64]] = []
    rows: list[list[NDArray[Any]]] = []
    for batch in pq.ParquetFile(file, read_dictionary=list(columns)).iter_batches(batch_size=1_000_000):
        keys.append(np.unique(_store_week(batch)))
        kept = batch.filter(pc.is_in(batch["product_id"], value_set=catalogue))
        there = [_somewhere(kept[c]) for c in columns]
        rows.append([_store_week(kept), kept["product_id"].to_numpy(), *there])
    all_keys = np.unique(np.concatenate(keys))
    pair, product, display, mailer = (np.concatenate(part) for part in zip(*rows))
    order = np.argsort(product_ids)
    place = np.searchsorted(all_keys, pair), order[np.searchsorted(product_ids, product, sorter=order)]
    tables = np.zeros((2, len(all_keys), len(product_ids)), bool)
    for table, seen in zip(tables, (display, mailer)):
        # A pair of store and week may name a product twice: it is there if any row says so.
        table[place[0][seen], place[1][seen]] = True
    return Promotions(all_keys, tables[0], tables[1])


def week_discounts(lines: pd.DataFrame, products: pd.DataFrame, product_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Fraction off the shelf price of each catalogue product in each week: float32 (N, 54), index 0 unused.

        d(product, week) = median over all sales of its line in that week of  retail_disc / (sales_value + retail_disc)

    over all stores and households. A line is all products of one maker, type and size (they are priced together; the
    median standard deviation of a product's discount within a week is 0). A week without a sale keeps the week
    before's value, 0 before the first.

    Why not the product's own sales alone: with 4 sales a week on average, that a discount is known would tell that
    the product sold. Such an estimate made from one half of the households "raises" that half's purchases of rarely
    bought products 3.7-fold and the other half's 2.5-fold; the line's, held over empty weeks, 1.6-fold in both.
    """
    line_of = pd.Series(products.groupby(LINE, dropna=False).ngroup().to_numpy(), index=products["product_id"])
    wanted = line_of.reindex(product_ids).to_numpy()
    line = lines["product_id"].map(line_of)
    full = lines["sales_value"] + lines["retail_disc"]
    use = line.isin(wanted) & (full > 0)
    discount = (lines["retail_disc"] / full)[use].clip(0, 1)
    median = discount.groupby([line[use].astype(np.int64), lines.loc[use, "week"]]).median().unstack()
    table = median.reindex(index=wanted, columns=np.arange(WEEKS + 1)).ffill(axis=1).fillna(0.0)
    return table.to_numpy(np.float32)


def _somewhere(locations: Any) -> NDArray[np.bool_]:
    words = np.array([word != NOWHERE for word in locations.dictionary.to_pylist()], bool)
    return np.asarray(words[locations.indices.to_numpy()], bool)


def _store_week(batch: pa.RecordBatch) -> NDArray[np.int64]:
    return np.asarray(batch["store_id"].to_numpy() * 100 + batch["week"].to_numpy(), np.int64)
