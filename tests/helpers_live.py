"""A shop whose facts change after the export, and asking its server."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from helpers_serving import NOW, policy, tiny_world

from recenv.agents.export import export_bundle
from recenv.generators.needs import needs_of
from recenv.serving.bundle import Bundle, seal
from recenv.world import World

DAY = 86_400
NAME0 = "quiet kitchen set 0000"
ENDS = datetime.fromtimestamp(NOW + 2 * DAY, UTC)
LINES = {
    "i0000": [("price", "Just {price}: {product}."), ("plain", "{product}. Plain and simple.")],
    "i0001": [("discount", "Reduced: {product}."), ("discount", "Down from {was_price} to {price}: {product}.")],
    "i0002": [("urgency", "The offer ends soon: {product}."), ("plain", "For the list: {product}.")],
    "i0003": [("urgency", "Only a few left: {product}."), ("social_proof", "Many carts have this: {product}.")],
    "i0004": [("benefit", "An organic choice: {product}."), ("benefit", "A certified choice: {product}.")],
}
"""Two lines of each of these items; the others keep theirs."""
FACTS: dict[str, dict[str, Any]] = {
    "i0001": {"was_price": 9.99},
    "i0002": {"offer_ends": ENDS},
    "i0003": {"low_stock": True, "often_bought": True},
    "i0004": {"text": "Organic tea", "claims": "certified"},
}
_SHARED: dict[str, Bundle] = {}


def shop() -> World:
    """The bundled world with these lines and facts."""
    world = tiny_world()
    items, copies = world.items.to_pylist(), world.copies.to_pylist()
    for row in items:
        row |= dict.fromkeys(("was_price", "offer_ends", "low_stock", "often_bought", "claims"))
        row |= FACTS.get(row["item_id"], {})
    for item_id, lines in LINES.items():
        own = [row for row in copies if row["item_id"] == item_id]
        for row, (style, text) in zip(own, lines, strict=True):
            row |= {"style": style, "text": text}
    return replace(world, items=pa.Table.from_pylist(items), copies=pa.Table.from_pylist(copies), path=None)


def shared_live_bundle(factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of `shop`, exported once for all tests of the process; not to be written to."""
    if "bundle" not in _SHARED:
        world, folder = shop(), factory.mktemp("live") / "b"
        needs = needs_of(world.copies.to_pylist(), world.items.to_pylist())
        export_bundle(policy("popular", world), world, folder, needs=needs)
        _SHARED["bundle"] = Bundle.load(folder)
    return _SHARED["bundle"]


def rows(bundle: Bundle, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The bundle's catalogue as a live one, some items' cells changed."""
    kept = [{n: v for n, v in row.items() if n != "category_index"} for row in bundle.items]
    return [row | changes.get(row["item_id"], {}) for row in kept]


def written(path: Path, listed: list[dict[str, Any]]) -> Path:
    """The rows as CSV or Parquet."""
    table = pa.Table.from_pylist(listed)
    if path.suffix == ".csv":
        pacsv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def older(bundle: Bundle, folder: Path) -> Path:
    """The bundle as recenv wrote it before it knew of evidence."""
    shutil.copytree(bundle.path, folder)
    catalogue, copies = (pq.read_table(folder / f"{table}.parquet") for table in ("catalogue", "copies"))
    pq.write_table(
        catalogue.select(["item_id", "text", "price", "was_price", "category"]), folder / "catalogue.parquet"
    )
    pq.write_table(copies.drop(["needs"]), folder / "copies.parquet")
    sealed = {key: value for key, value in bundle.manifest.items() if key not in ("hashes", "manifest_hash")}
    seal(folder, sealed)
    return folder


def texts(base: str, item: str, now: int = NOW) -> set[str]:
    """What the server shows of an item, whatever the draw among its lines."""
    shown = set()
    for seed in range(8):
        body = {"eligible": [item], "now": now, "seed": seed}
        answer = httpx.post(f"{base}/recommend", json=body, timeout=30).json()["items"][0]
        shown.add(answer["text"] if answer["item_id"] == item else answer["item_id"])
    return shown


def name(bundle: Bundle, item: str) -> str:
    return str(bundle.items[bundle.item_index[item]]["text"])


def until(done: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(0.02)
    return False
