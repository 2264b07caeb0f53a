"""Tables keep their schema, on disk too; data that no model can be fitted to is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers_logs import ALL_TRAIN, attributed, stream

from recenv.core.errors import ArtefactError, InputError
from recenv.data.logs import BuildOptions, build
from recenv.data.schema import EVENT_COLUMNS, SPLITS, TABLES, Dataset, RawTables, clock, require_fittable, validate


@pytest.fixture(scope="module")
def data() -> Dataset:
    return build(attributed())


def test_columns_and_types(data: Dataset) -> None:
    types = {name: str(dtype) for name, dtype in data.events.dtypes.items()}
    assert list(types) == [c.name for c in EVENT_COLUMNS]
    assert types["timestamp"] == "datetime64[us, UTC]"
    assert (types["click"], types["weight"], types["propensity"], types["position"]) == (
        "float32", "float32", "float64", "Int32")  # fmt: skip
    assert types["kind"] == types["split"] == "category"
    assert pd.api.types.is_string_dtype(data.events["user_id"].dtype)


def test_clock_is_whole_seconds(data: Dataset) -> None:
    seconds = clock(data.events, data.meta)
    assert seconds.dtype == np.int64
    assert seconds[0] == int(data.events["timestamp"].iloc[0].timestamp())
    assert clock(pd.DataFrame({"timestamp": [3, 9]}), {"time": "order"}).tolist() == [3, 9]


def test_save_and_load_give_the_same_tables(data: Dataset, tmp_path: Path) -> None:
    data.save(tmp_path / "d")
    back = Dataset.load(tmp_path / "d", splits=SPLITS)
    for table in TABLES:
        pd.testing.assert_frame_equal(getattr(back, table), getattr(data, table))
    validate(back)
    with pytest.raises(InputError, match="not an empty folder"):
        data.save(tmp_path / "d")


def test_the_test_split_is_hidden_and_its_reads_are_counted(data: Dataset, tmp_path: Path) -> None:
    data.save(tmp_path / "d")
    plain = Dataset.load(tmp_path / "d")
    assert not (plain.events["split"] == "test").any()
    assert len(plain.events) == sum(plain.meta["counts"][s] for s in SPLITS[:3])
    assert plain.meta["test_reads"] == 0
    Dataset.load(tmp_path / "d", splits=["test"])
    assert Dataset.load(tmp_path / "d", splits=["test"]).meta["test_reads"] == 2
    assert Dataset.load(tmp_path / "d").meta["test_reads"] == 2
    with pytest.raises(InputError, match="unknown split 'tset'"):
        Dataset.load(tmp_path / "d", splits=["tset"])


def test_a_changed_or_missing_file_is_named(data: Dataset, tmp_path: Path) -> None:
    data.save(tmp_path / "d")
    file = tmp_path / "d" / "users.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ArtefactError, match=r"users\.parquet.*hash"):
        Dataset.load(tmp_path / "d")
    file.unlink()
    with pytest.raises(ArtefactError, match=r"users\.parquet.*missing"):
        Dataset.load(tmp_path / "d")
    (tmp_path / "d" / "meta.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"meta\.json"):
        Dataset.load(tmp_path / "d")
    with pytest.raises(ArtefactError, match="missing"):
        Dataset.load(tmp_path / "nowhere")


def spoiled(table: str, **columns: Any) -> Callable[[Dataset], Dataset]:
    return lambda d: dataclasses.replace(d, **{table: getattr(d, table).assign(**columns)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoiled("events", propensity=0.0), r"events row 0 column 'propensity'.*0\.0"),
        (spoiled("events", propensity=1.5), "'propensity'"),
        (spoiled("events", click=0.3), "'click'.*not 0 or 1"),
        (spoiled("events", weight=np.inf), "'weight'"),
        (spoiled("events", revenue=-1.0), "'revenue'"),
        (spoiled("events", item_id="stranger"), "'item_id'.*'stranger' is not in its table"),
        (spoiled("events", exp_x=np.nan), "'exp_x'"),
        (spoiled("events", split=pd.Categorical(["prod"] * 400)), "'split'"),
        (spoiled("items", price="dear"), "'price'.*type"),
        (spoiled("items", item_id="same"), "twice"),
        (lambda d: dataclasses.replace(d, users=d.users.iloc[1:]), "'user_id'.*not in its table"),
        (lambda d: dataclasses.replace(d, events=d.events.drop(columns="weight")), "'weight' is missing"),
        (lambda d: dataclasses.replace(d, events=d.events.iloc[::-1]), "earlier"),
        (lambda d: dataclasses.replace(d, meta=d.meta | {"time": "lunar"}), "'lunar'"),
        (lambda d: dataclasses.replace(d, meta={}), "is missing"),
    ],
)
def test_validate_names_the_break(data: Dataset, spoil: Callable[[Dataset], Dataset], words: str) -> None:
    with pytest.raises(InputError, match=words):
        validate(spoil(data))


def test_one_user_can_be_prepared_but_not_fitted() -> None:
    data = build(attributed(users=1))
    assert "one user only: no response model can be fitted" in data.meta["warnings"]
    with pytest.raises(InputError, match="one user only"):
        require_fittable(data)


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "no positive 'click'"), (1.0, "every 'click'"), (np.nan, "no click")]
)
def test_no_variation_in_the_response_can_be_prepared_but_not_fitted(value: float, words: str) -> None:
    log = attributed()
    data = build(RawTables(log.events.assign(click=value), attributed=True))
    assert any("no response model can be fitted" in w for w in data.meta["warnings"])
    with pytest.raises(InputError, match=words):
        require_fittable(data)


def test_a_log_without_impressions_cannot_be_fitted() -> None:
    data = build(stream([("a", "view", "i", 0), ("b", "purchase", "i", 5)]), ALL_TRAIN)
    assert data.meta["exposure"] == "none"
    with pytest.raises(InputError, match="no impression"):
        require_fittable(data)


def test_meta_says_what_is_known_and_what_is_assumed(data: Dataset) -> None:
    counts = data.meta["counts"]
    assert counts["rows"] == len(data.events) == sum(counts[s] for s in SPLITS)
    assert (counts["users"], counts["items"]) == (data.events["user_id"].nunique(), data.events["item_id"].nunique())
    assert data.meta["responses"] == ["click"]
    assert data.meta["propensity"] == "known"
    assert len(data.meta["split_times"]) == 3
    assert any("price" in note for note in data.meta["assumed"])
    with pytest.raises(InputError, match="key 'colour': is unknown"):
        build(RawTables(attributed().events, meta={"colour": "red"}))


def test_treatment_has_reference_values() -> None:
    log = attributed()
    log.events["exp_mail"] = np.tile([0.0, 1.0], len(log.events) // 2)
    meta = build(log, ALL_TRAIN).meta
    assert (meta["exp_reference"], meta["exp_unshown"]) == ({"exp_mail": 0.5}, {"exp_mail": 0.0})
    declared = build(RawTables(log.events, meta={"exp_reference": {"exp_mail": 1.0}}, attributed=True)).meta
    assert declared["exp_reference"] == {"exp_mail": 1.0}
    with pytest.raises(InputError, match="no column 'exp_post'"):
        build(RawTables(log.events, meta={"exp_reference": {"exp_post": 1.0}}, attributed=True))


def test_uniform_propensity_is_filled_in_and_said() -> None:
    log = attributed()
    data = build(RawTables(log.events.drop(columns="propensity"), meta={"propensity": "uniform"}, attributed=True))
    assert data.events["propensity"].eq(1 / 9).all()
    assert any(note.startswith("propensity: uniform") for note in data.meta["assumed"])


def test_options_come_from_the_source_unless_given() -> None:
    log = dataclasses.replace(attributed(), options=BuildOptions(fractions=(0.5, 0.5, 0.0, 0.0)))
    assert build(log).meta["counts"]["test"] == 0
    assert build(log, BuildOptions()).meta["counts"]["test"] > 0
