"""The csv source serves, without code, three shapes of log; the mapping refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers_logs import moment, write_mapping

from recenv.core.errors import InputError
from recenv.data.schema import SPLITS, Dataset, require_fittable
from recenv.scripts.prepare import PrepareConfig, run


def prepare(folder: Path, mapping: dict, out: str = "out") -> Dataset:
    run(PrepareConfig("csv", folder / out, mapping=str(write_mapping(folder, mapping)), progress=False))
    return Dataset.load(folder / out, splits=SPLITS)


def write_email(folder: Path, rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    arm = rng.choice(["Mens E-Mail", "Womens E-Mail", "No E-Mail"], rows)
    visit = rng.random(rows) < np.where(arm == "No E-Mail", 0.1, 0.2)
    bought = visit & (rng.random(rows) < 0.3)
    frame = pd.DataFrame(
        {
            "recency": rng.integers(1, 13, rows),
            "zip_code": rng.choice(["Urban", "Rural", "Surburban"], rows),
            "history": rng.gamma(2, 120, rows).round(2),
            "segment": arm,
            "visit": visit.astype(int),
            "conversion": bought.astype(int),
            "spend": np.where(bought, rng.gamma(2, 50, rows).round(2), 0),
        }
    )
    frame.to_csv(folder / "mail.csv", index=False)
    return frame


EMAIL = {
    "name": "mail",
    "propensity": "known",
    "events": {
        "path": "mail.csv",
        "columns": {"user_id": None, "copy_id": "segment", "item_id": "segment", "click": "visit",
                    "purchase": "conversion", "revenue": "spend"},
        "constants": {"kind": "impression", "propensity": 1 / 3},
        "values": {"item_id": {"Mens E-Mail": "mail", "Womens E-Mail": "mail", "No E-Mail": "__none__"}},
    },
    "items": {"path": "items.csv", "columns": {"item_id": "id", "price": "price"}},
    "users": {"from_events": True, "columns": {"recency": "recency", "zip": "zip_code", "history": "history"}},
    "copies": {"rows": [{"copy_id": "Mens E-Mail", "text": "For him"}, {"copy_id": "Womens E-Mail", "text": "For her"},
                        {"copy_id": "No E-Mail", "text": ""}]},
}  # fmt: skip


def test_one_shot_email_test_with_three_arms(tmp_path: Path) -> None:
    source = write_email(tmp_path)
    (tmp_path / "items.csv").write_text("id,price\nmail,0\n")
    data = prepare(tmp_path, EMAIL)
    events = data.events
    assert len(events) == len(source) == events["user_id"].nunique() == events["session_id"].nunique()
    assert events["item_id"].value_counts()["__none__"] == (source["segment"] == "No E-Mail").sum()
    assert events["copy_id"].value_counts().to_dict() == source["segment"].value_counts().to_dict()
    assert events["propensity"].eq(1 / 3).all()
    np.testing.assert_allclose(events["revenue"].sum(), source["spend"].sum(), rtol=1e-5)
    assert (events["click"].sum(), events["purchase"].sum()) == (source["visit"].sum(), source["conversion"].sum())
    assert data.meta["responses"] == ["click", "purchase", "revenue"]
    assert data.meta["time"] == "order"
    assert data.users["zip"].tolist() == source["zip_code"].tolist()
    np.testing.assert_array_equal(data.users["history"], source["history"])
    assert set(events["split"].unique()) == set(SPLITS)
    require_fittable(data)


def write_stream(folder: Path) -> None:
    day = 86400.0
    rows = [
        ("7", "view", "0012", 0), ("7", "reco", "0345", 60), ("7", "reco", "0012", 60), ("7", "view", "0345", 90),
        ("7", "addtocart", "0345", 120), ("7", "transaction", "0345", 2 * day),
        ("8", "reco", "0012", 3 * day), ("8", "transaction", "0345", 3 * day + 5),
        ("8", "view", "0012", 3 * day + 7200),
        ("7", "view", "0012", 20 * day), ("8", "view", "0012", 21 * day), ("7", "view", "0012", 22 * day),
        ("9", "view", "0012", 23 * day),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["visitorid", "event", "itemid", "seconds"])
    frame["timestamp"] = [int(moment(s).timestamp() * 1000) for s in frame["seconds"]]
    frame["paid"] = ["19.90" if e == "transaction" else "" for e in frame["event"]]
    frame.drop(columns="seconds").to_csv(folder / "events.csv", index=False)


STREAM = {
    "events": {
        "path": "events.csv",
        "columns": {"user_id": "visitorid", "item_id": "itemid", "timestamp": "timestamp", "kind": "event",
                    "revenue": "paid"},
        "kinds": {"addtocart": "cart", "transaction": "purchase", "reco": "impression"},
        "time_unit": "ms",
    },
    "click_kinds": ["click", "view"],
    "split": {"fractions": [1.0, 0.0, 0.0, 0.0]},
}  # fmt: skip


def test_event_stream_with_recommendations_in_between(tmp_path: Path) -> None:
    write_stream(tmp_path)
    data = prepare(tmp_path, STREAM)
    assert "leading zeros" not in str(data.meta)
    shown = data.events[data.events["kind"] == "impression"].set_index(["user_id", "item_id"])
    assert sorted(shown.index) == [("7", "0012"), ("7", "0345"), ("8", "0012")]
    assert shown.loc[("7", "0345"), ["click", "purchase"]].tolist() == [1.0, 1.0]
    assert shown.loc[("7", "0345"), "revenue"] == np.float32(19.9)
    assert shown.loc[("7", "0012"), ["click", "purchase", "revenue"]].tolist() == [0.0, 0.0, 0.0]
    assert shown.loc[("8", "0012"), ["click", "purchase"]].tolist() == [0.0, 0.0]
    own = data.events[data.events["kind"] != "impression"]
    assert own["kind"].value_counts().to_dict() == {
        "view": 6,
        "cart": 1,
        "purchase": 1,
        "impression": 0,
        "opportunity": 0,
    }
    assert own.loc[own["kind"] == "purchase", "user_id"].tolist() == ["8"]
    assert data.meta["counts"]["clicks_joined"] == 1


def test_kinds_of_no_use_are_set_aside_when_told(tmp_path: Path) -> None:
    write_stream(tmp_path)
    frame = pd.read_csv(tmp_path / "events.csv", dtype=str)
    frame.loc[len(frame)] = {**frame.iloc[0].to_dict(), "event": "scroll"}
    frame.to_csv(tmp_path / "events.csv", index=False)
    with pytest.raises(InputError, match=r"events.csv events row 14 .*'scroll'.*null"):
        prepare(tmp_path, STREAM)
    kinds = STREAM["events"]["kinds"] | {"scroll": None}
    data = prepare(tmp_path, STREAM | {"events": STREAM["events"] | {"kinds": kinds}})
    assert data.meta["quarantined"]["kind_missing"] == 1


def test_flat_files_with_their_own_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, rows in (("train", 500), ("val", 100), ("test", 120)):
        item = rng.integers(0, 30, rows)
        frame = pd.DataFrame({"item_id": [f"{i:05d}" for i in item], "category": [f"c{i % 4}" for i in item],
                              "brand": [f"b{i % 7}" for i in item], "price": item + 0.5, "rating": (item % 5) + 1,
                              "clicked": (rng.random(rows) < 0.2).astype(int)})  # fmt: skip
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    table = {"columns": {"user_id": None, "item_id": "item_id", "click": "clicked"}}
    events = [
        table | {"path": f"{name}.csv", "constants": {"kind": "impression", "split": split}}
        for name, split in (("train", "train"), ("val", "validation"), ("test", "test"))
    ]
    names = ("item_id", "category", "brand", "price", "rating")
    items = {"from_events": True, "columns": {n: n for n in names}}
    data = prepare(tmp_path, {"events": events, "items": items})
    assert {s: data.meta["counts"][s] for s in SPLITS} == {
        "train": 500,
        "calibration": 0,
        "validation": 100,
        "test": 120,
    }
    assert data.meta["counts"]["sessions"] == 720
    assert "split 'calibration' is empty" in data.meta["warnings"]
    assert data.items["item_id"].tolist() == [f"{i:05d}" for i in range(30)]
    assert data.items.loc[3, ["category", "brand", "price", "rating"]].tolist() == ["c3", "b3", 3.5, 4.0]
    assert data.meta["responses"] == ["click"]
    require_fittable(data)
    assert Dataset.load(tmp_path / "out").events["split"].isin(["test"]).sum() == 0


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"sesion_gap_minutes": 3}, "sesion_gap_minutes.*Did you mean 'session_gap_minutes'"),
        ({"events": {"path": "mail.csv", "colums": {}}}, "colums.*Did you mean 'columns'"),
        ({"events": {**EMAIL["events"], "separator": ";"}}, "separator.*Did you mean 'delimiter'"),
        ({"events": {"path": "mail.csv", "columns": {"item_id": "segment"}}}, "'kind'"),
        ({"events": {"path": "mail.csv", "columns": {"item_id": "a"}, "constants": {"kind": "view"}}}, "'user_id'"),
        ({"propensity": "sure"}, "propensity"),
        ({"events": []}, "empty list"),
        ({"split": {"by": "moon"}}, "split.by"),
        ({"events": {**EMAIL["events"], "delimiter": "ab"}}, "one character"),
        ({"events": {**EMAIL["events"], "encoding": "utf-99"}}, "utf-99"),
    ],
)
def test_mapping_refuses_and_names_the_key(tmp_path: Path, change: dict, key: str) -> None:
    write_email(tmp_path, 50)
    with pytest.raises(InputError, match=key):
        prepare(tmp_path, EMAIL | change)


def test_mapping_must_be_there_and_be_json(tmp_path: Path) -> None:
    config = PrepareConfig("csv", tmp_path / "out", mapping=str(tmp_path / "no.json"), progress=False)
    with pytest.raises(InputError, match="mapping file is missing"):
        run(config)
    (tmp_path / "no.json").write_text('{"name": "a",\n "name": "b"}')
    with pytest.raises(InputError, match="'name': occurs twice"):
        run(config)
    (tmp_path / "no.json").write_text('{"name": "a",\n oops}')
    with pytest.raises(InputError, match="line 2"):
        run(config)


def test_out_is_never_overwritten_unasked(tmp_path: Path) -> None:
    write_email(tmp_path, 200)
    (tmp_path / "items.csv").write_text("id,price\nmail,0\n")
    prepare(tmp_path, EMAIL)
    with pytest.raises(InputError, match="not an empty folder"):
        prepare(tmp_path, EMAIL)
    mapping = str(tmp_path / "mapping.json")
    assert run(PrepareConfig("csv", tmp_path / "out", mapping=mapping, overwrite=True, progress=False))["counts"]
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match=r"mine\.txt"):
        run(PrepareConfig("csv", tmp_path / "out", mapping=mapping, overwrite=True, progress=False))
    assert (tmp_path / "out" / "mine.txt").exists()


@pytest.mark.parametrize("theirs", ['{"theme": "dark"}', '{"command": "fit"}', "[1]", "no JSON", "\0"])
def test_a_config_of_somebody_else_is_not_overwritten(tmp_path: Path, theirs: str) -> None:
    write_email(tmp_path, 200)
    (tmp_path / "items.csv").write_text("id,price\nmail,0\n")
    prepare(tmp_path, EMAIL)
    config = PrepareConfig(
        "csv", tmp_path / "out", mapping=str(tmp_path / "mapping.json"), overwrite=True, progress=False
    )
    kept = tmp_path / "out" / "config.json"
    kept.write_text(theirs)
    with pytest.raises(InputError, match=r"holds 'config\.json', which prepare did not write"):
        run(config)
    assert kept.read_text() == theirs
    kept.write_text('{"command": "prepare"}')
    assert run(config)["counts"]


def test_option_of_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not take it"):
        run(PrepareConfig("csv", tmp_path / "out", mapping="m.json", items=10))
    with pytest.raises(InputError, match="unknown 'cvs'"):
        run(PrepareConfig("cvs", tmp_path / "out"))


def test_same_bytes_in_same_bytes_out(tmp_path: Path) -> None:
    write_stream(tmp_path)
    prepare(tmp_path, STREAM, "a")
    prepare(tmp_path, STREAM, "b")
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_parquet_and_csv_of_the_same_log_agree(tmp_path: Path) -> None:
    write_stream(tmp_path)
    frame = pd.read_csv(tmp_path / "events.csv", dtype={"itemid": "str"})
    frame.to_parquet(tmp_path / "events.parquet", index=False)
    a = prepare(tmp_path, STREAM, "a")
    b = prepare(tmp_path, STREAM | {"events": {**STREAM["events"], "path": "events.parquet"}}, "b")
    pd.testing.assert_frame_equal(a.events, b.events)


def test_windows_longer_than_the_slices_are_warned_of(tmp_path: Path) -> None:
    times = pd.date_range("2024-03-01", periods=900, freq="h", tz="UTC")
    frame = pd.DataFrame({"user_id": [f"u{k % 40}" for k in range(900)], "item_id": [f"i{k % 7}" for k in range(900)],
                          "timestamp": times.strftime("%Y-%m-%dT%H:%M:%SZ"),
                          "kind": ["impression", "purchase", "impression"] * 300})  # fmt: skip
    frame.to_csv(tmp_path / "events.csv", index=False)
    names = {name: name for name in ("user_id", "item_id", "timestamp", "kind")}
    events = {"path": "events.csv", "columns": names}
    data = prepare(tmp_path, {"events": events, "items": {"from_events": True, "columns": {"item_id": "item_id"}}})
    assert any("no impressions in" in w and "purchase_window_days" in w for w in data.meta["warnings"])
    short = {"events": events, "items": {"from_events": True, "columns": {"item_id": "item_id"}},
             "purchase_window_days": 1}  # fmt: skip
    assert not any("no impressions in" in w for w in prepare(tmp_path, short, "short").meta["warnings"])
