"""States of a line and who may move them; evidence that logs show; copies that wait, enter and leave worlds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers_world import small_world

from recenv.core.errors import ArtefactError, InputError
from recenv.core.evidence import has_evidence
from recenv.generators.base import STATUSES
from recenv.generators.evidence import Counted, EvidenceRules, count_purchases, lower_share, with_evidence
from recenv.generators.review import TRANSITIONS, as_table, check_transition, decide, decisions_of
from recenv.scripts.make_copy import CopyConfig, _noted, run
from recenv.variants import REJECTED_FILE, add_copies
from recenv.world import World


def line(copy_id: str, status: str, item_id: str | None = None, text: str = "{product}") -> dict[str, Any]:
    return {
        "copy_id": copy_id, "item_id": item_id, "style": "plain", "template": "plain-1", "text": text, "seed": 1,
        "generator": "templates", "generator_hash": "h", "status": status, "checks": json.dumps(["word:quixotic"]),
    }  # fmt: skip


def test_a_line_moves_only_forward() -> None:
    assert set(STATUSES) <= set(TRANSITIONS)
    for old, allowed in TRANSITIONS.items():
        for new in TRANSITIONS:
            if new in allowed:
                check_transition("c", old, new)
            else:
                with pytest.raises(InputError, match=r"cannot become"):
                    check_transition("c", old, new)
    with pytest.raises(InputError, match="unknown state 'lost'"):
        check_transition("c", "draft", "lost")


def test_decisions_are_carried_out_once_and_kept_with_the_line() -> None:
    lines = [line("a", "needs review"), line("b", "needs review"), line("c", "auto-passed")]
    moved = decide(lines, {"a": "approved", "c": "retired"}, by="Kim")
    assert [x["status"] for x in moved] == ["approved", "needs review", "retired"]
    assert json.loads(moved[0]["checks"]) == ["word:quixotic", "approved:Kim"]
    assert lines[0]["status"] == "needs review"
    with pytest.raises(InputError, match="no copy 'z'"):
        decide(lines, {"z": "approved"})
    with pytest.raises(InputError, match="cannot become"):
        decide(moved, {"c": "approved"})
    with pytest.raises(InputError, match="no list of reasons"):
        decide([line("a", "needs review") | {"checks": "maybe"}], {"a": "approved"})
    assert decisions_of(approved=["a"], retired=["b"]) == {"a": "approved", "b": "retired"}
    with pytest.raises(InputError, match="Say one thing"):
        decisions_of(approved=["a"], rejected=["a"])


def test_only_admitted_lines_enter_a_world_and_none_is_lost(tmp_path: Path) -> None:
    world = small_world(copies=0)
    world.save(tmp_path / "w")
    item = world.items["item_id"].to_pylist()[0]
    states = [*STATUSES]
    table = as_table([line(f"c{i}", state, item, f"{{product}} {i}") for i, state in enumerate(states)])
    add_copies(tmp_path / "w", table, tmp_path / "out")
    made = World.load(tmp_path / "out")
    assert set(made.copies["status"].to_pylist()) == {"auto-passed", "approved"}
    assert made.meta["copies_left_out"] == 4
    kept_out = pq.read_table(tmp_path / "out" / REJECTED_FILE)
    assert set(kept_out["status"].to_pylist()) == set(states) - {"auto-passed", "approved"}


def test_review_lists_approves_and_retires_in_a_new_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = small_world(copies=0)
    world.save(tmp_path / "w")
    item = world.items["item_id"].to_pylist()[0]
    first = as_table([line("shown", "auto-passed", item, "{product}."), line("waits", "needs review", item)])
    add_copies(tmp_path / "w", first, tmp_path / "a")
    listed = run(CopyConfig(world=tmp_path / "a", review=True))
    assert [x["copy_id"] for x in listed["lines"]] == ["waits"]
    assert listed["lines"][0]["reasons"] == ["word:quixotic"]
    assert listed["lines"][0]["channel"] is None
    assert "waits  [plain, templates] " in capsys.readouterr().out
    done = run(CopyConfig(world=tmp_path / "a", review=True, approve=("waits",), retire=("shown",), by="Kim"))
    made = World.load(done["world"])
    assert dict(zip(made.copies["copy_id"].to_pylist(), made.copies["status"].to_pylist())) == {
        "shown": "retired", "waits": "approved",
    }  # fmt: skip
    offered = {int(c) for c in made.action_copy if c >= 0}
    assert offered == {made.copies["copy_id"].to_pylist().index("waits")}
    assert run(CopyConfig(world=Path(done["world"]), review=True))["needs_review"] == 0
    with pytest.raises(InputError, match="no copy 'nobody'"):
        run(CopyConfig(world=tmp_path / "a", review=True, approve=("nobody",), out=tmp_path / "b"))
    with pytest.raises(InputError, match="--review"):
        run(CopyConfig(world=tmp_path / "a", approve=("waits",)))


def test_a_shown_line_is_retired_whatever_was_kept_out_under_its_id(tmp_path: Path) -> None:
    world = small_world(copies=0)
    world.save(tmp_path / "w")
    item = world.items["item_id"].to_pylist()[0]
    shown, twin = line("shown", "auto-passed", item), line("shown", "rejected", item)
    add_copies(tmp_path / "w", as_table([shown]), tmp_path / "a", rejected=as_table([twin]))
    done = run(CopyConfig(world=tmp_path / "a", review=True, retire=("shown",)))
    assert World.load(done["world"]).copies["status"].to_pylist() == ["retired"]


def test_lines_that_nobody_judged_do_not_enter_a_world(tmp_path: Path) -> None:
    small_world(copies=0).save(tmp_path / "w")
    with pytest.raises(InputError, match="no column 'status'"):
        add_copies(tmp_path / "w", as_table([line("a", "approved")]).drop_columns(["status"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_line_that_cannot_be_shown_hides_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = small_world(copies=0)
    names = world.items["text"].to_pylist()
    names[0] = "\u200b\u2060"
    replace(world, items=world.items.set_column(1, "text", pa.array(names))).save(tmp_path / "w")
    ids = world.items["item_id"].to_pylist()
    waits = [line("blank", "needs review", ids[0]), line("other", "needs review", ids[1])]
    waits.append(line("gone", "needs review", "no such item"))
    add_copies(tmp_path / "w", as_table(waits), tmp_path / "a")
    listed = run(CopyConfig(world=tmp_path / "a", review=True))
    shown = {x["copy_id"]: x["shown"] for x in listed["lines"]}
    assert "{product}  (cannot be shown" in shown["blank"]
    assert "no value for slot" in shown["blank"]
    assert shown["other"] == names[1]
    assert "not in the world" in shown["gone"]
    assert "blank" in capsys.readouterr().out


def test_more_copy_keeps_what_waits_and_what_a_person_decided(tmp_path: Path) -> None:
    world = small_world(copies=0, n_items=4)
    world.save(tmp_path / "w")
    ids = world.items["item_id"].to_pylist()
    first = run(CopyConfig(world=tmp_path / "w", variants=3, out=tmp_path / "a"))
    made = World.load(first["world"])
    refused, retired = made.copies["copy_id"].to_pylist()[:2]
    # One of the lines as a person would have it who had to look at it, and one that waits.
    row = made.copies.to_pylist()[0]
    waits = line("waits", "needs review", ids[0])
    add_copies(tmp_path / "w", as_table([row | {"status": "needs review"}, waits]), tmp_path / "b")
    no = run(CopyConfig(world=tmp_path / "b", review=True, reject=(refused,), by="Kim", out=tmp_path / "c"))
    again = run(CopyConfig(world=Path(no["world"]), variants=3, out=tmp_path / "d"))
    more = World.load(again["world"])
    assert refused not in more.copies["copy_id"].to_pylist()
    kept_out = {x["copy_id"]: x for x in pq.read_table(tmp_path / "d" / REJECTED_FILE).to_pylist()}
    assert kept_out["waits"]["status"] == "needs review"
    assert again["needs_review"] == 1
    assert json.loads(kept_out[refused]["checks"])[-1] == "rejected:Kim"
    done = run(CopyConfig(world=tmp_path / "d", review=True, approve=("waits",), out=tmp_path / "e"))
    assert "waits" in World.load(done["world"]).copies["copy_id"].to_pylist()
    assert "waits" not in pq.read_table(tmp_path / "e" / REJECTED_FILE)["copy_id"].to_pylist()
    # What was retired is not proposed again either: another line takes its place.
    run(CopyConfig(world=tmp_path / "a", review=True, retire=(retired,), out=tmp_path / "f"))
    run(CopyConfig(world=tmp_path / "f", variants=3, out=tmp_path / "g"))
    states = World.load(tmp_path / "g").copies.to_pylist()
    assert [x["status"] for x in states if x["copy_id"] == retired] == ["retired"]
    assert sum(x["item_id"] == ids[0] and x["status"] == "auto-passed" for x in states) == 3


def test_places_that_cannot_be_written_or_read_are_told_first(tmp_path: Path) -> None:
    small_world(copies=0).save(tmp_path / "w")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is a file"):
            run(CopyConfig(world=tmp_path / "w", out=out))
        with pytest.raises(InputError, match="is a file"):
            run(CopyConfig(world=tmp_path / "w", out=out, review=True, approve=("x",)))
    with pytest.raises(InputError, match="no moment"):
        run(CopyConfig(world=tmp_path / "w", at="soon"))
    kept = tmp_path / "kept" / "transformer"
    kept.mkdir(parents=True)
    for content in ("{", "[]", "\x00"):
        (kept / "fit.json").write_text(content, encoding="utf-8")
        with pytest.raises(ArtefactError, match=r"fit\.json"):
            run(CopyConfig(world=tmp_path / "w", generator=("transformer",), model=tmp_path / "kept"))


def test_counted_evidence_stays_with_the_items(tmp_path: Path) -> None:
    world = small_world(copies=0, n_items=3)
    world.save(tmp_path / "w")
    rows = world.items.to_pylist()
    items = _noted(world, [rows[0] | {"often_bought": True}, *rows[1:]])
    assert items["often_bought"].to_pylist() == [True, None, None]
    assert "bought_again" not in items.column_names
    own = world.items.append_column("often_bought", pa.array(["yes", "no", "no"]))
    assert _noted(replace(world, items=own), [rows[0] | {"often_bought": True}, *rows[1:]]).equals(own)
    shown = as_table([line("a", "approved", rows[0]["item_id"])])
    add_copies(tmp_path / "w", shown, tmp_path / "a", items=items)
    made = World.load(tmp_path / "a")
    assert has_evidence(made.items.to_pylist()[0], "often_bought")
    assert made.n_actions == World.load(tmp_path / "w").n_actions
    with pytest.raises(InputError, match="item ids"):
        add_copies(tmp_path / "w", shown, tmp_path / "b", items=items.take([1, 0, 2]))


def test_evidence_is_what_was_counted_and_no_more() -> None:
    item = np.concatenate([np.zeros(200, int), np.ones(40, int), np.full(10, 2)])
    times = np.concatenate([np.ones(200), np.full(40, 3), np.full(10, 9)])
    counted = count_purchases(item, times, 4, 400)
    assert counted.buyers.tolist() == [200, 40, 10, 0]
    assert counted.repeaters.tolist() == [0, 40, 10, 0]
    rows, report = with_evidence([{"item_id": str(i)} for i in range(4)], counted, EvidenceRules(often_share=0.2))
    assert rows == [{"item_id": "0", "often_bought": True}, {"item_id": "1", "bought_again": True},
                    {"item_id": "2"}, {"item_id": "3"}]  # fmt: skip
    assert (report["often_bought"], report["bought_again"], report["shoppers"]) == (1, 1, 400)
    own, _ = with_evidence([{"item_id": "0", "often_bought": False}], counted.of([0]))
    assert own[0]["often_bought"] is False
    assert lower_share(np.array([50]), 100)[0] == pytest.approx(0.4038, abs=1e-4)
    assert lower_share(np.array([0]), np.array([0]))[0] == 0


@pytest.mark.parametrize(
    ("item", "times", "shoppers"),
    [
        ([0, 1], [1], 9),
        ([0, 9], [1, 1], 9),
        ([-1], [1], 9),
        ([0], [-1], 9),
        ([0], [float("nan")], 9),
        ([0, 0], [1, 1], 1),
    ],
)
def test_counts_that_cannot_be_are_named_errors(item: list[int], times: list[float], shoppers: int) -> None:
    with pytest.raises(InputError, match="purchases"):
        count_purchases(np.array(item), np.array(times), 3, shoppers)


def test_evidence_wants_a_count_an_item() -> None:
    with pytest.raises(InputError, match="1 items, 2 counts"):
        with_evidence([{"item_id": "0"}], Counted(np.zeros(2, np.int64), np.zeros(2, np.int64), 0))


def test_items_without_a_name_are_counted_and_go_without_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = small_world(copies=0)
    names = world.items["text"].to_pylist()
    at = world.items.column_names.index("text")
    blank = world.items.set_column(at, "text", pa.array([" ", *names[1:]]))
    replace(world, items=blank, path=None).save(tmp_path / "w")
    run(CopyConfig(world=tmp_path / "w", variants=1, out=tmp_path / "made"))
    assert "1 items have no text" in capsys.readouterr().out
    made = World.load(tmp_path / "made")
    items = world.items["item_id"].to_pylist()
    assert set(made.copies["item_id"].to_pylist()) == set(items[1:])
    assert made.action_copy[made.action_item == 0].tolist() == [-1]
    nameless = world.items.set_column(at, "text", pa.array([None] * len(names), pa.string()))
    replace(world, items=nameless, path=None).save(tmp_path / "none")
    with pytest.raises(InputError, match="none has a text"):
        run(CopyConfig(world=tmp_path / "none", out=tmp_path / "never"))
