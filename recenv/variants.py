"""Copy variants in a world: the action table of items and copies, and worlds with more copies."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.core.free import require_free
from recenv.core.verdict import NOTE, PAGE, REPORT, land, read_report
from recenv.response.copy_effect import ASSUMED, LEARNED, NEWS, PARTS, TRANSFERRED, CopyAssumptions, CopyEffect
from recenv.response.copy_fit import extended
from recenv.response.text_effect import shipped
from recenv.start import SPLITS
from recenv.state import KINDS
from recenv.world import World, judge_path

ADMITTED = ("auto-passed", "approved")
"""States of a line that the guardrails or a person let through: only these enter a world."""
RETIRED = "retired"
"""State of a line that is shown no more; its row stays, since histories name copies by their row."""
REJECTED_FILE = "copies_rejected.parquet"
"""Beside a world: lines kept out of it, with their state and reasons."""

_CARD = ("learned", "assumed")
"""Lists in a world's card that say where the effect of copy comes from."""


def action_table(n_items: int, copy_item: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Actions for a catalogue: 0 shows nothing, then each item with each of its copies, or bare where it has none.

    Args:
        copy_item: (n_copies,) int32, the item of each copy; -1 for a copy that fits every item, -2 for a retired one.
    """
    shared = np.flatnonzero(copy_item == -1)
    item, copy = [-1], [-1]
    for i in range(n_items):
        own = np.concatenate([np.flatnonzero(copy_item == i), shared])
        copies = own.tolist() or [-1]
        item += [i] * len(copies)
        copy += copies
    return np.array(item, np.int32), np.array(copy, np.int32)


def with_copies(world: World, copies: pa.Table, seed: int, world_seed: int) -> World:
    """The world with these copies, after its own, in its action table, and the effect of each (`transferred_effect`).

    A copy whose id the world has already is left as it is; so is the effect of copies that was learned from logs.

    Raises:
        InputError: a copy names an item that the world does not have.
    """
    index = {item_id: i for i, item_id in enumerate(world.items["item_id"].to_pylist())}
    known = set(world.copies["copy_id"].to_pylist())
    fresh = copies.filter(pa.array([c not in known for c in copies["copy_id"].to_pylist()], pa.bool_()))
    # Appended, never replaced: the users' histories name copies by their row.
    copies = pa.concat_tables([world.copies, fresh], promote_options="permissive") if world.n_copies else fresh
    copy_item = np.full(copies.num_rows, -1, np.int32)
    for row, item_id in enumerate(copies["item_id"].to_pylist()):
        if item_id is not None and item_id not in index:
            raise InputError(f"copies row {row}", f"item {item_id!r} is not in the world", "Remove the row")
        copy_item[row] = -1 if item_id is None else index[item_id]
    if "status" in copies.column_names:
        copy_item[np.array([state == RETIRED for state in copies["status"].to_pylist()], bool)] = -2
    item, copy = action_table(world.n_items, copy_item)
    effect = transferred_effect(world, copies, seed, world_seed)
    if world.copy_effect is not None and LEARNED in world.copy_effect.sources.values():
        effect = extended(world.copy_effect, effect)
    made = replace(world, copies=copies, action_item=item, action_copy=copy, path=None)
    return with_effect(made, effect)


def transferred_effect(world: World, copies: pa.Table, seed: int, world_seed: int) -> CopyEffect:
    """What is known of copies that no log shows: a(text) and the size of e(text) from tests of news headlines, and the
    rest assumed. Where the world was made from those very tests a(text) would be told by the answers: it is drawn.
    """
    texts = ["" if t is None else str(t) for t in copies["text"].to_pylist()]
    told: dict[str, Any] = {}
    if world.meta["source"] != "upworthy":
        model = shipped()
        distinct = sorted(set(texts))
        score = dict(zip(distinct, model.for_shop(distinct), strict=True))
        told["text_effect"] = np.array([score[t] for t in texts], np.float32)
        sd = model.card["held_out"]["score_sd"]
        told["assumptions"] = CopyAssumptions(text_sd=round(sd, 4), noise_sd=round(model.noise_sd, 4))
    return CopyEffect.assume(
        copies,
        n_segments=len(world.segment_centroids),
        n_categories=world.spec.n_categories,
        seed=seed,
        world_seed=world_seed,
        **told,
    )


def with_effect(world: World, effect: CopyEffect) -> World:
    """The world with this effect of its copies, said in its card."""
    card = {key: [line for line in world.meta[key] if not line.startswith("copy effect")] for key in _CARD}
    by_source = {name: [p for p in PARTS if effect.sources[p] == name] for name in (LEARNED, TRANSFERRED, ASSUMED)}
    if by_source[LEARNED]:
        card["learned"].append(f"copy effect: {', '.join(by_source[LEARNED])}, from logged exposures")
    if by_source[TRANSFERRED]:
        parts = ", ".join(by_source[TRANSFERRED]).replace("e(text)", "the size of e(text), whose values are drawn")
        card["assumed"].append(f"copy effect, transferred: {parts}; measured on tests of {NEWS}")
    if by_source[ASSUMED]:
        parts = ", ".join(by_source[ASSUMED])
        card["assumed"].append(f"copy effect, assumed: {parts} (sizes: see copy_effect), not learned from these logs")
    return replace(world, meta=world.meta | card | {"copy_label": effect.label}, copy_effect=effect, path=None)


def add_copies(
    path: str | Path,
    copies: pa.Table,
    out: str | Path,
    seed: int = 0,
    rejected: pa.Table | None = None,
    shown: pa.Table | None = None,
    items: pa.Table | None = None,
) -> Path:
    """Write the world at `path` with copies as a new world at `out`, and its judge, if there is one, beside it.

    World and judge share a(text) and the style terms; e(text), which no model knows beforehand, is drawn for each anew.
    Lines whose `status` is none of ADMITTED stay out: with `rejected` they are kept in REJECTED_FILE, and counted as
    `copies_left_out` in the world's card; lines kept out of the world at `path` stay so in the new one, unless they are
    among these here. `shown`: the world's own copies with other states, row by row; one that is
    RETIRED there is offered no more. `items`: the world's own items with more columns, such as the evidence that lines
    rest on, so that it stays with them.

    Raises:
        InputError: `out` or its judge's folder is not free, `shown` or `items` has not the world's copies or items in
            their order, a copy names an item that the world lacks, or `copies` has no column `status` (logged copies
            come with the fit: `with_copies`).
    """
    copies, left_out = admitted(copies)
    earlier = Path(path) / REJECTED_FILE
    tables = [rejected, left_out, pq.read_table(earlier) if earlier.is_file() else None]
    kept_out = _first_of_each([t for t in tables if t is not None], set(copies["copy_id"].to_pylist()))
    folders = [(Path(path), Path(out)), (judge_path(path), judge_path(out))]
    places = [(n, *pair) for n, pair in enumerate(folders, 1) if pair[0].exists()]
    for _, _, target in places:
        require_free(target)
    made = [
        with_copies(_restated(World.load(source), shown, items), copies, seed, world_seed=1000 * (seed + 1) + n)
        for n, source, _ in places
    ]
    # Written when both are there: interrupted, no world is left without its judge.
    for world, (_, source, target) in zip(made, places):
        if left_out.num_rows:
            world.meta["copies_left_out"] = left_out.num_rows
        world.save(target)
        _copy_reports(source, target, world.meta["copy_label"])
        if kept_out.num_rows:
            pq.write_table(kept_out, target / REJECTED_FILE, compression="zstd")
    return Path(out)


def admitted(copies: pa.Table) -> tuple[pa.Table, pa.Table]:
    """(lines that may enter a world, all others), by `status`.

    Raises:
        InputError: the table has no such column, so that nothing says whether anybody checked its lines.
    """
    if "status" not in copies.column_names:
        mend = f"Let the guardrails judge the lines, or a person; only {' or '.join(ADMITTED)} ones enter a world"
        raise InputError("copies", "no column 'status'", mend)
    enters = pa.array([state in ADMITTED for state in copies["status"].to_pylist()], pa.bool_())
    return copies.filter(enters), copies.filter(pc.invert(enters))


def _first_of_each(tables: list[pa.Table], without: set[str]) -> pa.Table:
    """The tables in one, each copy id once, where it stands first; none of `without`."""
    table = pa.concat_tables(tables, promote_options="permissive")
    first: dict[str, int] = {}
    for row, copy_id in enumerate(table["copy_id"].to_pylist()):
        first.setdefault(copy_id, row)
    return table.take(pa.array([row for copy_id, row in first.items() if copy_id not in without], pa.int64()))


def _restated(world: World, shown: pa.Table | None, items: pa.Table | None) -> World:
    for name, own, table in (("copy", world.copies, shown), ("item", world.items, items)):
        if table is not None and table[f"{name}_id"].to_pylist() != own[f"{name}_id"].to_pylist():
            what = f"not the {name} ids of the world, in their order"
            raise InputError("copies" if name == "copy" else "items", what, "Change other columns only")
    copies, rows = world.copies if shown is None else shown, world.items if items is None else items
    return replace(world, copies=copies, items=rows, path=None)


def purchase_counts(world: World) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
    """What the world's own users bought, from the latest training snapshot of each: one row a user and item.

    Returns:
        (n,) int32 item index; (n,) float32 times bought, among the user's last 256 items; number of users.
    """
    start = world.start
    rows = np.flatnonzero(start.split == SPLITS.index("train"))
    latest = rows[np.lexsort((start.clock[rows], start.user[rows]))]
    latest = latest[np.append(start.user[latest][1:] != start.user[latest][:-1], [True] * (len(latest) > 0))]
    pointer = start.packed["memory_ptr"]
    own = [np.arange(pointer[r], pointer[r + 1]) for r in latest]
    flat = np.concatenate(own) if own else np.zeros(0, np.int64)
    item = start.packed["memory_item"][flat]
    times = start.packed["memory_counts"][flat][:, KINDS.index("purchase")]
    return item[item >= 0], times[item >= 0], len(latest)


def _copy_reports(source: Path, target: Path, label: str) -> None:
    """The source's report, marked as measured without the copy: the response to items is the same model's."""
    if not (source / REPORT).is_file():
        return
    report = read_report(source)
    report.setdefault("measured_on", source.name)
    page = (source / PAGE).read_text(encoding="utf-8") if (source / PAGE).is_file() else None
    note = f"Measured on {report['measured_on']}, before copy was added. Effect of copy: {label}."
    land(target, report, page and page.replace(NOTE, f'<p class="note">{html.escape(note)}</p>', 1))
