"""The test slice is read in `recenv.trust` alone: looked for in the source with `ast`, so that no read goes unnoticed.

Every read of it is counted in the data set's `meta.json`; this says where in the source one may stand.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOME = "recenv/trust/"

NAMES: dict[str, str] = {
    "recenv/data/columns.py": "the slices' names, in one place",
    "recenv/data/schema.py": "where a read is counted",
    "recenv/data/sources/complete_journey.py": "which weeks are which slice",
    "recenv/start.py": "the names that start states carry",
    "recenv/response/rows.py": "the names that rows carry",
    "recenv/response/starts.py": "marks states of the test slice, where recenv.trust replays it",
    "recenv/response/text_effect.py": "a headline test, no slice",
    "recenv/response/text_metrics.py": "a headline test, no slice",
    "agents/off_policy.py": "says in its result which slice recenv.trust read",
}
"""Files outside recenv.trust in which the word `test` may stand as a value, and why."""

READS: dict[str, str] = {
    "scripts/bench_copy*.py": "headlines made for the study, held out by story: no world was fitted on them",
    "recenv/core/free.py": "lists the names of a finished folder's files, opens none",
    "scripts/demo.py": "reads the table of events for one shopper's history, train slice only",
}
"""Files (patterns) outside recenv.trust that choose slices, or open the table of events by themselves, and why."""


def _names_test(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == "test"


def _chooses_slices(node: ast.AST) -> bool:
    """`splits=...`, `Dataset.load(path, something)`, `SPLITS[3]`, or the table of events opened by its name."""
    if isinstance(node, ast.Call):
        named = any(k.arg == "splits" for k in node.keywords)
        text = ast.unparse(node.func)
        return named or ((text == "Dataset.load" or text.endswith(".Dataset.load")) and len(node.args) > 1)
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("SPLITS"):
        return ast.unparse(node.slice) in ("3", "-1") or isinstance(node.slice, ast.Slice)
    return isinstance(node, ast.Constant) and node.value == "events.parquet"


def _breaches(name: str, source: str) -> Iterator[str]:
    """What a file of the repository does that only recenv.trust may."""
    if name.startswith(HOME):
        return
    for node in ast.walk(ast.parse(source)):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if _names_test(node) and name not in NAMES and not _listed(name):
            yield f"{where} names the test slice"
        if _chooses_slices(node) and not _listed(name):
            yield f"{where} chooses slices"


def _listed(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in READS)


def _sources() -> Iterator[tuple[str, str]]:
    for folder in ("recenv", "agents", "generators", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_only_trust_reads_the_test_slice() -> None:
    found = [breach for name, source in _sources() for breach in _breaches(name, source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "source", "seen"),
    [
        ("scripts/train.py", "d = Dataset.load(p, splits=SPLITS)", True),
        ("agents/dqn/learner.py", "d = schema.Dataset.load(p, wanted)", True),
        ("agents/dqn/learner.py", "d = Dataset.load(p)", False),
        ("recenv/response/fit.py", "rows = rows.of('test')", True),
        ("recenv/response/fit.py", "held = log.split == SPLITS.index('test')", True),
        ("recenv/response/fit.py", "held = log.split == SPLITS.index(SPLITS[-1])", True),
        ("recenv/response/fit.py", "held = log.split == SPLITS.index('validation')", False),
        ("recenv/env/shop.py", "def f():\n    return SPLITS[2:]", True),
        ("scripts/benchmark.py", "held_out_visits(w, d, split='test')", True),
        ("generators/quality.py", "pq.read_table(data / 'events.parquet')", True),
        ("recenv/start.py", "Dataset.load(p, splits=SPLITS)", True),
        ("recenv/trust/held_out.py", "Dataset.load(p, splits=SPLITS)", False),
        ("scripts/bench_copy_headlines.py", "Dataset.load(p, ('test',))", False),
    ],
)
def test_a_read_elsewhere_is_seen(name: str, source: str, seen: bool) -> None:
    assert bool(list(_breaches(name, source))) == seen


def test_every_exception_is_needed() -> None:
    sources = dict(_sources())
    for name in NAMES:
        assert any(_names_test(node) for node in ast.walk(ast.parse(sources[name]))), name
    for pattern in READS:
        mine = [source for name, source in sources.items() if fnmatch(name, pattern)]
        assert any(_chooses_slices(node) for source in mine for node in ast.walk(ast.parse(source))), pattern
