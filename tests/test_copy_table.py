"""`copies.parquet`: each line stands with its generator, seed, channel, temperature and probability, old tables too."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers_logs import attributed
from helpers_world import small_world

from recenv.core.errors import InputError
from recenv.data.columns import COPY_COLUMNS
from recenv.data.logs import build
from recenv.data.schema import Dataset, sha256, validate, write_json
from recenv.generators.base import COPY_SCHEMA, Variant, make_generator, to_table
from recenv.generators.guardrails import write_copies
from recenv.generators.templates import TemplateGenerator
from recenv.scripts.make_copy import CopyConfig, run
from recenv.variants import REJECTED_FILE, add_copies
from recenv.world import World

ITEMS: list[dict[str, Any]] = [
    {"item_id": f"i{i}", "text": name, "size": None, "price": 1.29}
    for i, name in enumerate(("Bananas", "Cat litter", "Greeting card", "AA batteries"))
]
SAMPLED = Variant(
    "i0", "plain", "plain-1", "Psst: {product}.", "gan", "h", 3, "auto-passed", (), -12.345678, 0.7, channel="sms"
)
ORIGIN = ("generator", "generator_hash", "seed", "channel", "temperature", "log_prob")


def with_logged_copies() -> Dataset:
    """A data set whose log names two copies."""
    raw = attributed()
    raw.events["copy_id"] = [f"c{i % 2}" for i in range(len(raw.events))]
    return build(raw)


def test_table_has_the_columns_of_copies() -> None:
    made = write_copies(make_generator("templates"), ITEMS, n=2, seed=0, currency="USD", channel="push")
    table = to_table(made.kept)
    assert table.schema == COPY_SCHEMA
    assert table.column_names == [column.name for column in COPY_COLUMNS]
    assert table.num_rows == 8
    assert set(table["status"].to_pylist()) == {"auto-passed"}
    assert set(table["channel"].to_pylist()) == {"push"}
    assert all(json.loads(checks) == [] for checks in table["checks"].to_pylist())
    assert to_table([]).schema == COPY_SCHEMA


def test_templates_have_a_probability_but_no_temperature() -> None:
    generator = TemplateGenerator()
    lines = write_copies(generator, ITEMS, n=3, seed=0).kept
    table = to_table(lines)
    assert set(table["temperature"].to_pylist()) == {None}
    of_style = {v.style: -math.log(sum(x.style == v.style for x in generator.lines)) for v in lines}
    assert table["log_prob"].to_pylist() == pytest.approx([of_style[v.style] for v in lines], abs=5e-4)


def test_probabilities_are_rounded_beyond_the_noise_of_sums_and_null_where_there_are_none() -> None:
    noise = replace(SAMPLED, log_prob=-12.345678 + 4e-6)
    table = to_table([SAMPLED, noise, replace(SAMPLED, log_prob=-np.inf), replace(SAMPLED, log_prob=None)])
    assert table["log_prob"].to_pylist() == [-12.346, -12.346, None, None]
    assert table["temperature"].to_pylist() == [0.7] * 4


def test_lines_keep_where_they_came_from_in_worlds_and_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_world(copies=0).save(tmp_path / "w")
    waits = replace(SAMPLED, text="Avast: {product}.", status="needs review", checks=("word:avast",))
    add_copies(tmp_path / "w", to_table([SAMPLED]), tmp_path / "a", rejected=to_table([waits]))
    wanted = {"generator": "gan", "generator_hash": "h", "seed": 3} | {
        "channel": "sms", "temperature": 0.7, "log_prob": -12.346,
    }  # fmt: skip
    for rows in (World.load(tmp_path / "a").copies, pq.read_table(tmp_path / "a" / REJECTED_FILE)):
        assert [{name: row[name] for name in ORIGIN} for row in rows.to_pylist()] == [wanted]
    (listed,) = run(CopyConfig(world=tmp_path / "a", review=True))["lines"]
    assert [listed[name] for name in ("channel", "generator", "temperature", "log_prob")] == [
        "sms",
        "gan",
        0.7,
        -12.346,
    ]
    assert f"{waits.copy_id}  [plain, sms, gan] " in capsys.readouterr().out
    run(CopyConfig(world=tmp_path / "a", review=True, approve=(waits.copy_id,), out=tmp_path / "b"))
    made = World.load(tmp_path / "b").copies.to_pylist()
    assert [{name: row[name] for name in ORIGIN} for row in made] == [wanted] * 2


def test_older_copies_get_null_when_lines_are_added(tmp_path: Path) -> None:
    world = small_world(copies=1, n_items=2)
    assert "channel" not in world.copies.column_names
    world.save(tmp_path / "w")
    old = pa.Table.from_pylist([{"copy_id": "old", "item_id": "i0", "status": "rejected", "checks": "[]"}])
    pq.write_table(old, tmp_path / "w" / REJECTED_FILE)
    out = replace(SAMPLED, text="Avast: {product}.", status="rejected", checks=("word:avast",))
    add_copies(tmp_path / "w", to_table([SAMPLED]), tmp_path / "a", rejected=to_table([out]))
    made = World.load(tmp_path / "a").copies
    assert made["channel"].to_pylist() == [None, None, "sms"]
    assert made["log_prob"].to_pylist() == [None, None, -12.346]
    kept_out = {row["copy_id"]: row["temperature"] for row in pq.read_table(tmp_path / "a" / REJECTED_FILE).to_pylist()}
    assert kept_out == {out.copy_id: 0.7, "old": None}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    small_world(copies=0).save(tmp_path / "w")
    for out in ("a", "b"):
        run(CopyConfig(world=tmp_path / "w", variants=2, seed=4, out=tmp_path / out))
    assert (tmp_path / "a" / "copies.parquet").read_bytes() == (tmp_path / "b" / "copies.parquet").read_bytes()


def test_data_sets_made_before_a_column_was_known_load(tmp_path: Path) -> None:
    data = with_logged_copies()
    data.save(tmp_path / "d")
    file = tmp_path / "d" / "copies.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["channel", "temperature", "log_prob"]), file)
    data.meta["hashes"][file.name] = sha256(file)
    write_json(tmp_path / "d" / "meta.json", data.meta)
    back = Dataset.load(tmp_path / "d")
    validate(back)
    assert list(back.copies) == [column.name for column in COPY_COLUMNS]
    assert back.copies[["channel", "temperature", "log_prob"]].isna().all(axis=None)


@pytest.mark.parametrize(("column", "value"), [("temperature", 0.0), ("log_prob", 0.1), ("log_prob", -np.inf)])
def test_numbers_of_copies_have_ranges(column: str, value: float) -> None:
    data = with_logged_copies()
    data.copies[column] = [value, np.nan]
    with pytest.raises(InputError, match=f"copies row 0 column '{column}'"):
        validate(data)
