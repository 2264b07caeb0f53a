"""Source `online-retail`: a year of invoices of a British gift shop. Purchases only: what was shown is not recorded.

Every negative is SAMPLED: a catalogue item that was not on an invoice, drawn evenly, with weight one over its sampling
rate. The fitted world therefore knows what people buy, not what showing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.columns import SPLITS
from recenv.data.quarantine import ROW, SOURCE, Quarantine
from recenv.data.schema import RawTables
from recenv.data.sources.files import find_file, read_columns

TYPES: dict[str, Any] = {
    "InvoiceNo": str, "StockCode": str, "Description": str, "Quantity": int, "InvoiceDate": "time",
    "UnitPrice": float, "CustomerID": int, "Country": str,
}  # fmt: skip
PRODUCT = r"\d{5}[A-Za-z]*"
"""Stock codes of goods; the others are postage, fees, samples, vouchers and corrections."""
MOST_UNITS, PRICE_FACTOR = 10_000, 10.0
"""A line of more units, or at a price this many times above or below the product's median, is set aside."""
SHARES = (0.7, 0.8, 0.9)
NOUNS = 40
SLOTS = 10


@dataclass(frozen=True)
class RetailOptions:
    """Options of the source.

    Args:
        items: how many products the catalogue holds: those on most invoices of the train split.
        negatives: items drawn for each invoice among those not on it.
        seed: key of that draw.
    """

    items: int = 1000
    negatives: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("items", "negatives"):
            if getattr(self, name) < 1:
                raise InputError(f"option {name!r}", f"is {getattr(self, name)}", "Give a whole number above 0.")
        if self.negatives >= self.items:
            what = f"{self.negatives} negatives from {self.items} items"
            raise InputError("option 'negatives'", what, "Draw fewer than there are items.")


def load(path: str | None = None, options: RetailOptions | None = None) -> RawTables:
    """Read the invoices, set aside what is no sale, and sample negatives.

    Args:
        path: folder with `online_retail.parquet` or `.csv`, or the file itself.
        options: see `RetailOptions`.

    Raises:
        InputError: no such file, another file's columns, or fewer products than asked for.
    """
    options = options or RetailOptions()
    file = find_file("online-retail", path, ("online_retail", "Online Retail", "data"))
    lines = read_columns(file, TYPES)
    lines[SOURCE], lines[ROW] = file.name, np.arange(len(lines))
    quarantine = Quarantine()
    lines = _merged(quarantine.sift(lines, faults(lines)))
    if lines.empty:
        raise InputError(str(file), f"no sale is left; set aside: {quarantine.counts}", "Give the source's own file.")
    visits = _visits(lines)
    training = lines[lines["InvoiceNo"].isin(visits.loc[visits["split"] == "train", "InvoiceNo"])]
    chosen = choose_products(training, options.items)
    sold = lines[lines["StockCode"].isin(chosen)]
    events = _events(sold, visits, chosen, options)
    items, users = _items(training, chosen), _users(lines)
    meta = _meta(options, len(lines) - len(sold), len(lines))
    return RawTables(events, items, users, None, meta, attributed=True, quarantine=quarantine.frame())


def faults(lines: pd.DataFrame) -> NDArray[np.object_]:
    """Why each line is no sale that can be used, "" where it is one: (rows,). The first reason counts."""
    price, quantity = lines["UnitPrice"], lines["Quantity"]
    median = price.where(price > 0).groupby(lines["StockCode"]).transform("median")
    ratio = price / median
    reasons: list[tuple[str, pd.Series]] = [
        ("cancelled_invoice", lines["InvoiceNo"].str.startswith("C")),
        ("not_a_product", ~lines["StockCode"].str.fullmatch(PRODUCT)),
        ("line_incomplete", lines[["InvoiceNo", "StockCode", "InvoiceDate"]].isna().any(axis=1)),
        ("returned_or_corrected", ~(quantity > 0)),
        ("price_not_positive", ~(price > 0)),
        ("customer_missing", lines["CustomerID"].isna()),
        ("quantity_extreme", quantity > MOST_UNITS),
        ("price_extreme", (ratio > PRICE_FACTOR) | (ratio < 1 / PRICE_FACTOR)),
        ("duplicate_line", lines.drop(columns=[SOURCE, ROW], errors="ignore").duplicated()),
    ]
    why = np.full(len(lines), "", dtype=object)
    for reason, bad in reasons:
        why[bad.fillna(True).to_numpy(bool) & (why == "")] = reason
    return why


def choose_products(training: pd.DataFrame, count: int) -> NDArray[np.object_]:
    """The `count` stock codes on most invoices of `training`, ties by code, in the order of their code.

    Raises:
        InputError: there are fewer.
    """
    found = training.groupby("StockCode")["InvoiceNo"].nunique().reset_index()
    ranked = found.sort_values(["InvoiceNo", "StockCode"], ascending=[False, True])["StockCode"].to_numpy(object)
    if len(ranked) < count:
        raise InputError("option 'items'", f"is {count}, but {len(ranked)} products were sold", "Ask for fewer.")
    return np.asarray(np.sort(ranked[:count]), dtype=object)


def _merged(lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each product on an invoice: units and revenue summed."""
    lines = lines.assign(revenue=lines["Quantity"] * lines["UnitPrice"])
    return lines.groupby(["InvoiceNo", "StockCode"], as_index=False).agg(
        CustomerID=("CustomerID", "first"), InvoiceDate=("InvoiceDate", "min"), Country=("Country", "first"),
        Description=("Description", "first"), revenue=("revenue", "sum"), Quantity=("Quantity", "sum"),
    )  # fmt: skip


def _visits(lines: pd.DataFrame) -> pd.DataFrame:
    """One row an invoice, with its time and split: cut in time at 70, 80 and 90 % of the invoices."""
    visits = lines.groupby("InvoiceNo", as_index=False).agg(
        CustomerID=("CustomerID", "first"), InvoiceDate=("InvoiceDate", "min")
    )
    cuts = np.sort(visits["InvoiceDate"].to_numpy())[[int(share * len(visits)) for share in SHARES]]
    code = np.searchsorted(cuts, visits["InvoiceDate"].to_numpy(), side="right")
    return visits.assign(split=np.array(SPLITS, dtype=object)[code])


def _events(
    sold: pd.DataFrame, visits: pd.DataFrame, chosen: NDArray[np.object_], options: RetailOptions
) -> pd.DataFrame:
    place = pd.Index(visits["InvoiceNo"])
    visit, item = place.get_indexer(sold["InvoiceNo"]), np.searchsorted(chosen, sold["StockCode"].to_numpy(object))
    away_visit, away_item, weight = _negatives(visit, item, len(chosen), options)
    row = np.concatenate([visit, away_visit])
    zero = np.zeros(len(away_visit))
    facts = visits.iloc[row].reset_index(drop=True)
    return pd.DataFrame(
        {
            "user_id": _customer(facts["CustomerID"]),
            "item_id": chosen[np.concatenate([item, away_item])],
            "session_id": facts["InvoiceNo"],
            "timestamp": facts["InvoiceDate"].dt.tz_localize("UTC"),
            "kind": "impression",
            "split": facts["split"],
            "purchase": np.concatenate([np.ones(len(visit)), zero]),
            "revenue": np.concatenate([sold["revenue"].to_numpy(), zero]),
            "weight": np.concatenate([np.ones(len(visit)), weight]),
        }
    )


def _negatives(
    visit: NDArray[np.int64], item: NDArray[np.int64], n_items: int, options: RetailOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each invoice `negatives` items not on it, drawn evenly without repeats, and one over the sampling rate.

    The rate is (items drawn) / (items not on the invoice); an invoice with fewer items left over gives them all.
    """
    rng = np.random.default_rng([options.seed, 31])
    order = np.argsort(visit, kind="stable")
    visits, first = np.unique(visit[order], return_index=True)
    bought = np.split(item[order], first[1:])
    drawn_visit, drawn_item, weights = [], [], []
    for number, own in zip(visits, bought):
        free = np.ones(n_items, bool)
        free[own] = False
        left = np.flatnonzero(free)
        take = rng.choice(left, min(options.negatives, len(left)), replace=False)
        drawn_visit.append(np.full(len(take), number))
        drawn_item.append(np.sort(take))
        weights.append(np.full(len(take), len(left) / max(len(take), 1)))
    return np.concatenate(drawn_visit), np.concatenate(drawn_item), np.concatenate(weights)


def _customer(ids: pd.Series) -> pd.Series:
    return ids.astype("int64").astype("str")


def _users(lines: pd.DataFrame) -> pd.DataFrame:
    users = lines.groupby("CustomerID", as_index=False).agg(country=("Country", "first"))
    return pd.DataFrame({"user_id": _customer(users["CustomerID"]), "country": users["country"].fillna("unknown")})


def _items(training: pd.DataFrame, chosen: NDArray[np.object_]) -> pd.DataFrame:
    known = training[training["StockCode"].isin(chosen)]
    names = known.groupby("StockCode")["Description"].agg(lambda texts: texts.mode().iloc[0]).reindex(chosen)
    text = names.str.strip().str.rstrip(".,").str.capitalize()
    price = (known["revenue"] / known["Quantity"]).groupby(known["StockCode"]).median().reindex(chosen)
    noun = text.str.split().str[-1].str.lower()
    common = noun.value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:NOUNS]
    table = {
        "item_id": chosen.astype(str),
        "text": text.to_numpy(),
        "category": noun.where(noun.isin(common), "other").to_numpy(),
        "price": price.round(2).to_numpy(),
    }
    return pd.DataFrame(table)


def _meta(options: RetailOptions, left_out: int, lines: int) -> dict[str, Any]:
    return {
        "name": f"online-retail-{options.items}",
        "source": "online-retail",
        "licence": "CC BY 4.0",
        "provenance": [
            "Chen, D. (2015). Online Retail. UCI Machine Learning Repository, doi 10.24432/C5BW33: all invoices of a "
            "British online gift shop, 1 December 2010 to 9 December 2011; many customers are wholesalers."
        ],
        "kind": "real",
        "exposure": "none",
        "propensity": "unknown",
        "negatives": "sampled",
        "currency": "GBP",
        "one_visit_rows": True,
        "slots_per_visit": SLOTS,
        "assumed": [
            "No exposure is recorded: each catalogue item counts as one that could have been bought at every invoice; "
            "nothing is said about what SHOWING changes",
            f"The negatives are sampled: {options.negatives} items not on each invoice, drawn evenly, weight = 1 / "
            "sampling rate",
            f"The catalogue is what stood on most invoices of the train split; {left_out:,} of {lines:,} lines, of "
            "other products, are left out",
            "Visits that end without a purchase are not recorded: rates are rates given that something was bought",
            "Lines of cancelled invoices are set aside; the sale that they cancel stays a sale",
            "Times carry no zone: taken as UTC (in British summer an hour off)",
            f"items.category: the last word of the description if among the {NOUNS} most frequent, else 'other'",
            f"The number of slots of a visit is assumed: {SLOTS}",
        ],
    }
