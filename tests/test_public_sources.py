"""Sources `open-bandit`, `online-retail`, `upworthy`: real files where found, small made ones for the faults."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recenv.core.errors import InputError
from recenv.data import sources
from recenv.data.logs import build
from recenv.data.schema import Dataset
from recenv.data.sources.online_retail import RetailOptions
from recenv.data.sources.open_bandit import OpenBanditOptions
from recenv.data.sources.upworthy import TEST, UpworthyOptions, divide
from recenv.data.sources.upworthy_text import headline_form, shared_words

ALL = ("train", "calibration", "validation", "test")


def retail(tmp_path: Path, rows: list[dict[str, object]] | None = None) -> Path:
    """An invoice file: 60 good invoices of 3 customers over 6 products, then `rows`."""
    made = []
    for k in range(60):
        for code in range(3):
            made.append(line(f"5{k:05d}", f"1000{(k + code) % 6}", k, 10 + k % 3))
    table = pd.DataFrame([*made, *(rows or [])])
    table.to_parquet(tmp_path / "online_retail.parquet")
    return tmp_path


def line(invoice: str, code: str, day: int = 0, customer: float = 10.0, **other: object) -> dict[str, object]:
    """One line of an invoice; `other` overwrites columns."""
    made: dict[str, object] = {
        "InvoiceNo": invoice, "StockCode": code, "Description": f"RED MUG {code}", "Quantity": 2,
        "InvoiceDate": pd.Timestamp("2011-01-01") + pd.Timedelta(days=day), "UnitPrice": 2.5,
        "CustomerID": customer, "Country": "France",
    }  # fmt: skip
    return made | other


def archive(tmp_path: Path, rows: list[dict[str, object]] | None = None) -> Path:
    """A file of packages: 20 tests of three headlines, one of them in two packages; then `rows`."""
    made = []
    for k in range(20):
        for j, words in enumerate(("A cat on a roof", "A cat, really?", "A cat on a roof", "Ten cats and 1 roof")):
            made.append(package(f"t{k:02d}", f"{words} number {'x' * k}", 3000 + k + j, 60 + j))
    pd.DataFrame([*made, *(rows or [])]).to_parquet(tmp_path / "upworthy_exploratory.parquet")
    return tmp_path


def package(test: str, headline: str | None, impressions: float, clicks: float, **other: object) -> dict[str, object]:
    made = {TEST: test, "headline": headline, "impressions": impressions, "clicks": clicks, "test_week": 201420.0}
    return made | {"eyecatcher_id": "picture"} | other


def need_obp() -> None:
    try:
        importlib.metadata.distribution("obp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("obp is not installed")


# --- open-bandit


@pytest.mark.parametrize("policy", ["random", "bts"])
@pytest.mark.parametrize(("campaign", "items"), [("all", 80), ("men", 34), ("women", 46)])
def test_open_bandit_reads_every_cell_of_the_package_without_importing_it(
    policy: str, campaign: str, items: int
) -> None:
    need_obp()
    data = build(sources.load("open-bandit", options=OpenBanditOptions(policy, campaign)))
    assert "obp" not in sys.modules
    assert len(data.events) == 10_000
    assert len(data.items) == items
    assert data.meta["quarantined"] == {}
    assert data.meta["propensity"] == ("uniform" if policy == "random" else "known")
    assert data.events["position"].between(1, 3).all()
    if policy == "random":
        assert np.allclose(data.events["propensity"], 1 / items)
    assert (data.meta["exposure"], data.meta["kind"], data.meta["licence"][:9]) == ("observed", "real", "CC BY 4.0")
    assert any("no person" in note for note in data.meta["assumed"])
    assert data.events["user_id"].is_unique


def test_open_bandit_has_287_clicks_in_its_six_files() -> None:
    need_obp()
    cells = [OpenBanditOptions(p, c) for p in ("random", "bts") for c in ("all", "men", "women")]
    assert sum(sources.load("open-bandit", options=cell).events["click"].sum() for cell in cells) == 287


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"propensity_score": None}, "propensity_score"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2019-11-24 00:00:00"}, "zone"),
        ({"position": 1.5}, "position"),
        ({"click": "yes"}, "click"),
    ],
)
def test_open_bandit_names_what_is_wrong_with_a_file(tmp_path: Path, change: dict[str, object], named: str) -> None:
    folder = tmp_path / "random" / "all"
    folder.mkdir(parents=True)
    features = {f"user_feature_{k}": "ab" for k in range(4)}
    row = {"timestamp": "2019-11-24 00:00:00+00:00", "item_id": 0, "position": 1, "click": 0, "propensity_score": 0.5}
    table = pd.DataFrame([row | features | {k: v for k, v in change.items() if v is not None}] * 3)
    table.drop(columns=[k for k, v in change.items() if v is None]).to_csv(folder / "all.csv")
    with pytest.raises(InputError, match=named):
        sources.load("open-bandit", str(tmp_path))


def test_open_bandit_refuses_a_folder_without_it_and_unknown_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Open Bandit"):
        sources.load("open-bandit", str(tmp_path))
    with pytest.raises(InputError, match="policy"):
        OpenBanditOptions(policy="greedy")
    with pytest.raises(InputError, match="campaign"):
        OpenBanditOptions(campaign="kids")


# --- online-retail


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (line("C500001", "10001", Quantity=-2), "cancelled_invoice"),
        (line("500001", "10001", Quantity=-2), "returned_or_corrected"),
        (line("500001", "10001", UnitPrice=0.0), "price_not_positive"),
        (line("500001", "10001", UnitPrice=-11062.06), "price_not_positive"),
        (line("500001", "10001", UnitPrice=38970.0), "price_extreme"),
        (line("500001", "10001", UnitPrice=0.01), "price_extreme"),
        (line("500001", "10001", Quantity=80995), "quantity_extreme"),
        (line("500001", "10001", CustomerID=None), "customer_missing"),
        (line("500001", "POST"), "not_a_product"),
        (line("500001", "10001", InvoiceDate=pd.NaT), "line_incomplete"),
        (line("500001", "10001", 1, 11), "duplicate_line"),
    ],
)
def test_a_line_that_is_no_sale_is_set_aside_with_its_reason(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    raw = sources.load("online-retail", str(retail(tmp_path, [row, row])), RetailOptions(items=6, negatives=2))
    data = build(raw)
    found = data.quarantine
    assert data.meta["quarantined"] == {reason: 2} or (reason, 1) in data.meta["quarantined"].items()
    assert set(found["reason"]) <= {reason, "duplicate_line"}
    assert found["source"].unique().tolist() == ["online_retail.parquet"]
    assert found["row"].max() == 181


def test_sampled_negatives_stand_for_all_that_was_not_bought(tmp_path: Path) -> None:
    data = build(sources.load("online-retail", str(retail(tmp_path)), RetailOptions(items=6, negatives=2)))
    weight = data.events.groupby("session_id")["weight"].sum()
    assert np.allclose(weight, 6)  # each invoice: as much weight as there are items
    assert data.events.groupby("session_id")["purchase"].sum().eq(3).all()
    assert (data.meta["exposure"], data.meta["negatives"], data.meta["propensity"]) == ("none", "sampled", "unknown")
    assert not data.events.duplicated(["session_id", "item_id"]).any()
    bought = data.events[data.events["purchase"] == 1]
    assert np.allclose(bought["revenue"], 5.0)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"items": 7}, "6 products"), ({"items": 0}, "items"), ({"negatives": 6, "items": 6}, "negatives")],
)
def test_online_retail_refuses_what_it_cannot_give(tmp_path: Path, options: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        sources.load("online-retail", str(retail(tmp_path)), RetailOptions(**({"negatives": 2} | options)))


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("online_retail.parquet", b"no parquet", "cannot be read"),
        ("online_retail.csv", b"InvoiceNo,StockCode\n1,2\n", "Description"),
        ("other.csv", b"a,b\n", "holds no file"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, named: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=named):
        sources.load("online-retail", str(tmp_path))


@pytest.mark.parametrize("name", ["online-retail", "upworthy"])
def test_a_source_without_files_of_its_own_asks_for_the_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--path"):
        sources.load(name)
    (tmp_path / "book.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="Parquet or CSV"):
        sources.load(name, str(tmp_path / "book.xlsx"))


def test_online_retail_as_it_is(shared_data: Path) -> None:
    raw = sources.load("online-retail", str(shared_data / "online_retail"), RetailOptions(items=300, negatives=10))
    data = build(raw)
    aside = data.meta["quarantined"]
    assert aside["cancelled_invoice"] == 9288
    assert sum(aside.values()) == 541_909 - round(len(_lines(shared_data, data)))
    assert data.items["text"].str.len().min() > 2
    assert data.events.groupby("split", observed=True)["timestamp"].max().is_monotonic_increasing


def _lines(shared_data: Path, data: Dataset) -> pd.DataFrame:
    """Lines of the file that were not set aside."""
    table = pd.read_parquet(shared_data / "online_retail" / "online_retail.parquet")
    return table.drop(index=data.quarantine["row"].to_numpy())


# --- upworthy


def test_no_impression_and_no_click_is_lost_on_the_way(tmp_path: Path) -> None:
    data = build(sources.load("upworthy", str(archive(tmp_path))))
    table = pd.read_parquet(tmp_path / "upworthy_exploratory.parquet")
    assert data.events["weight"].sum() == table["impressions"].sum()
    assert data.events.loc[data.events["click"] == 1, "weight"].sum() == table["clicks"].sum()
    assert data.meta["quarantined"] == {}


def test_headlines_are_copies_and_propensities_are_shares_of_packages(tmp_path: Path) -> None:
    data = build(sources.load("upworthy", str(archive(tmp_path))))
    chance = data.events.drop_duplicates(["item_id", "copy_id"]).merge(data.copies, on="copy_id")
    assert chance.groupby("item_id_x")["propensity"].sum().round(9).eq(1).all()
    twice = chance["text"].str.startswith("A cat on a roof")
    assert np.allclose(chance.loc[twice, "propensity"], 0.5)
    assert np.allclose(chance.loc[~twice, "propensity"], 0.25)
    assert set(chance["style"]) == {"plain", "number", "several"}
    assert data.offers is not None
    assert data.offers["item_id"].is_unique


def test_splits_share_each_arm_and_no_reader(tmp_path: Path) -> None:
    data = build(sources.load("upworthy", str(archive(tmp_path)), UpworthyOptions(groups=3)))
    share = data.events.groupby("split", observed=True)["weight"].sum() / data.events["weight"].sum()
    assert share["test"] == pytest.approx(0.4, abs=0.01)
    assert data.events.groupby("user_id")["split"].nunique().max() == 1
    assert data.events["user_id"].nunique() == 20 * 4 * 3


def test_division_is_binomial() -> None:
    rng = np.random.default_rng(0)
    parts = divide(np.full(4000, 100), (0.4, 0.1, 0.1, 0.4), 2, rng)
    assert parts.sum(axis=(1, 2)).tolist() == [100] * 4000
    train = parts[:, 0].sum(axis=1)
    assert train.mean() == pytest.approx(40, abs=0.3)
    assert train.var() == pytest.approx(24, rel=0.1)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([package("bad", "a", 3000, 10), package("bad", "b", 9000, 30)], "unequal_assignment"),
        ([package("bad", "a", 3000, 10), package("bad", "b", 3001, 30, eyecatcher_id="other")], "several_images"),
        ([package("bad", "a", 3000, 10)], "one_headline"),
        ([package("bad", h, 3000, 10, test_week=201340.0) for h in "ab"], "randomisation_risk"),
        ([package("bad", h, 3000, 3001) for h in "ab"], "clicks_impossible"),
        ([package("bad", h, 0, 0) for h in "ab"], "no_impressions"),
        ([package("bad", h, 3000, 10, test_week=12.0) for h in "ab"], "week_unreadable"),
        ([package("bad", None, 3000, 10)], "headline_missing"),
    ],
)
def test_a_test_that_cannot_be_used_is_set_aside(tmp_path: Path, rows: list[dict[str, object]], reason: str) -> None:
    data = build(sources.load("upworthy", str(archive(tmp_path, rows))))
    assert data.meta["quarantined"] == {reason: len(rows)}
    assert "bad" not in set(data.events["item_id"])


def test_arms_alone_will_do(tmp_path: Path) -> None:
    arms = [package(f"t{k}", h, n, 30) for k in range(9) for h, n in (("a cat", 2990), ("a dog", 6020))]
    table = pd.DataFrame(arms).drop(columns="eyecatcher_id")
    table.to_csv(tmp_path / "headline_only_arms.csv", index=False)
    data = build(sources.load("upworthy", str(tmp_path)))
    # shares guessed from the impressions fit them whatever happened: they are no propensities
    assert data.meta["propensity"] == "unknown"
    assert data.events["propensity"].isna().all()
    assert any("guessed" in note for note in data.meta["assumed"])


def test_uneven_tests_are_said_to_be_set_aside_before_any_audit(tmp_path: Path) -> None:
    data = build(sources.load("upworthy", str(archive(tmp_path))))
    assert data.meta["propensity"] == "known"
    assert any("before any audit" in note for note in data.meta["assumed"])


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (float("nan"), 0.5, 0.25, 0.25)])
def test_bad_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="shares"):
        UpworthyOptions(shares=shares)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="groups"):
        UpworthyOptions(groups=0)


def test_same_seed_same_bytes_and_another_seed_another_division(tmp_path: Path) -> None:
    folder = archive(tmp_path)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(sources.load("upworthy", str(folder), UpworthyOptions(seed=seed))).save(tmp_path / name)
    events = [(tmp_path / name / "events.parquet").read_bytes() for name in "abc"]
    assert events[0] == events[1] != events[2]


def test_upworthy_as_it_is(shared_data: Path) -> None:
    data = build(sources.load("upworthy", str(shared_data / "upworthy")))
    assert data.meta["quarantined"]["randomisation_risk"] > 1000
    assert data.meta["quarantined"]["unequal_assignment"] < 40  # 1 test in 10,000 by chance
    assert data.meta["counts"]["items"] > 1700
    assert data.events.groupby("session_id")["timestamp"].nunique().max() == 1
    rate = np.average(data.events["click"], weights=data.events["weight"])
    assert rate == pytest.approx(0.0135, abs=0.004)


@pytest.mark.parametrize(
    ("text", "form"),
    [("Why?", "question"), ("'No,' she said", "quote"), ("7 ways", "number"), ("Go!", "exclamation"),
     ("One. Two.", "several"), ("A cat on a roof", "plain")],
)  # fmt: skip
def test_forms(text: str, form: str) -> None:
    assert headline_form(text) == form


def test_shared_words() -> None:
    assert shared_words(["The Creationist loses", "A creationist wins", "Who cares"]) == "Creationist"
    assert shared_words(["a b", "c d"]) == "story"


@pytest.mark.parametrize("name", ["open-bandit", "online-retail", "upworthy"])
def test_options_are_frozen_and_refuse_strangers(name: str) -> None:
    kind = sources.options_type(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().seed = 3
    with pytest.raises(InputError, match="takes"):
        sources.load(name, None, object())
