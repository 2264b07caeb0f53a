"""States of a line, and who may move it on: draft -> auto-passed | needs review | rejected -> approved -> retired.

A person approves or rejects what needs review and retires what is shown; what the guard rejected stays rejected, and
nothing comes back from `retired`. Each decision is written into the line's `checks`, as provenance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from recenv.core.errors import InputError
from recenv.generators.base import COPY_SCHEMA, Row

TRANSITIONS: dict[str, tuple[str, ...]] = {
    "draft": ("auto-passed", "needs review", "rejected"),
    "needs review": ("approved", "rejected"),
    "auto-passed": ("approved", "retired"),
    "logged": ("retired",),
    "approved": ("retired",),
    "rejected": (),
    "retired": (),
}
"""State -> states that it may become. `logged` lines came with the logs: the shop showed them already."""


def check_transition(line: str, old: str, new: str) -> None:
    """Raises InputError unless a line may go from state `old` to state `new`."""
    for state in (old, new):
        if state not in TRANSITIONS:
            raise InputError(f"copy {line!r}", f"unknown state {state!r}", f"Use one of {', '.join(TRANSITIONS)}")
    if new not in TRANSITIONS[old]:
        mend = f"From there it may become {', '.join(TRANSITIONS[old])}" if TRANSITIONS[old] else "That state is final"
        raise InputError(f"copy {line!r}", f"is {old!r} and cannot become {new!r}", mend)


def decide(lines: Iterable[Row], decisions: Mapping[str, str], by: str = "") -> list[dict[str, Any]]:
    """Lines (rows of `copies.parquet`) with decisions carried out, in the same order.

    Args:
        decisions: copy_id -> new state. by: who decided; written into `checks` as "approved:NAME".

    Raises:
        InputError: a state that does not follow, or a decision about a line that is not there.
    """
    left, moved = dict(decisions), []
    for line in lines:
        new = left.pop(str(line["copy_id"]), None)
        if new is None:
            moved.append(dict(line))
            continue
        check_transition(str(line["copy_id"]), str(line["status"]), new)
        checks = [*reasons_of(line), f"{new}:{by}" if by else new]
        moved.append({**line, "status": new, "checks": json.dumps(checks)})
    if left:
        raise InputError("review", f"no copy {sorted(left)[0]!r}", "List the lines with --review and copy an id")
    return moved


def decisions_of(**asked: Sequence[str]) -> dict[str, str]:
    """`decisions_of(approved=ids, retired=ids, rejected=ids)`: copy_id -> new state.

    Raises:
        InputError: an id is asked to become two things.
    """
    decided: dict[str, str] = {}
    for state, ids in asked.items():
        for copy_id in ids:
            if decided.setdefault(copy_id, state) != state:
                raise InputError("review", f"copy {copy_id!r} is to be {decided[copy_id]} and {state}", "Say one thing")
    return decided


def reasons_of(line: Row) -> list[str]:
    """The reasons in a line's `checks`.

    Raises:
        InputError: `checks` is no JSON list of texts.
    """
    raw = line.get("checks") or "[]"
    try:
        reasons = json.loads(raw)
    except ValueError:
        reasons = None
    if not isinstance(reasons, list) or not all(isinstance(r, str) for r in reasons):
        raise InputError(f"copy {line.get('copy_id')!r}", f"checks {raw!r} are no list of reasons", "Write a JSON list")
    return reasons


def settled(lines: Iterable[Row]) -> frozenset[str]:
    """Ids of lines that a person refused or retired: final, so that nobody proposes them to this world again.

    What the guard alone rejected is not among them: it may judge otherwise once the product has the evidence.
    """
    return frozenset(
        str(line["copy_id"])
        for line in lines
        if line.get("status") == "retired"
        or (line.get("status") == "rejected" and any(r.partition(":")[0] == "rejected" for r in reasons_of(line)))
    )


def as_table(lines: Sequence[Row]) -> pa.Table:
    """Rows as a table with the columns of `copies.parquet`."""
    return pa.Table.from_pylist([{n: line.get(n) for n in COPY_SCHEMA.names} for line in lines], schema=COPY_SCHEMA)
