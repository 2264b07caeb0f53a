"""`recenv prepare`: read a source and write its tables."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from recenv.core.config import read_config
from recenv.core.errors import InputError
from recenv.core.free import require_free, unfinished
from recenv.core.runs import CONFIG
from recenv.data import sources
from recenv.data.logs import build
from recenv.data.meta import check_name
from recenv.data.schema import read_meta
from recenv.data.summary import kind_lines, summary_lines

SOURCE_FIELDS = (
    "mapping", "seed", "items", "users", "sessions", "households", "policy", "campaign", "negatives", "copies",
    "faulty_weeks", "progress",
)  # fmt: skip
"""Fields of the command that are options of a source."""


@dataclass(frozen=True)
class PrepareConfig:
    """Turn a source into the tables that `recenv fit` reads."""

    source: Positional[str]
    """Where the logs come from: csv, complete-journey, open-bandit, online-retail, upworthy, synthetic or
    synthetic-email."""
    out: Path
    """Folder to write; it must be empty or missing."""
    path: str | None = None
    """Folder of the source's files (csv: the mapping file's folder, complete-journey and open-bandit: that of the
    installed package if not given)."""
    mapping: str | None = None
    """csv: the mapping file; mapping.json below --path if not given."""
    seed: int = 0
    """Seed of whatever the source or the split draws."""
    items: int | None = None
    """complete-journey, online-retail, synthetic, synthetic-email: number of items."""
    users: int | None = None
    """synthetic, synthetic-email: number of users."""
    sessions: float | None = None
    """synthetic: mean number of sessions of a user."""
    households: int | None = None
    """complete-journey: number of households, drawn by the seed; all if not given."""
    policy: str | None = None
    """open-bandit: who chose what was shown: random or bts."""
    campaign: str | None = None
    """open-bandit: all, men or women."""
    negatives: int | None = None
    """online-retail: items drawn for each invoice among those not on it."""
    copies: int | None = None
    """synthetic-email: number of texts an item."""
    faulty_weeks: bool = False
    """upworthy: keep the tests of the weeks in which assignment may not have been random."""
    overwrite: bool = False
    """Replace tables written to `out` before."""
    progress: bool = True
    """Show what is being done."""


def run(config: PrepareConfig) -> dict[str, Any]:
    """Read, build, write; returns where the tables are, their counts, what was set aside, and what is assumed.

    Raises:
        InputError: `out` is not empty, an option that the source does not take, or whatever the source refuses.
    """
    check_name(config.out.resolve().name)
    _check_free(config.out, config.overwrite)
    raw = sources.load(config.source, config.path, _options(config))
    options = dataclasses.replace(raw.options, seed=config.seed, progress=config.progress)
    dataset = build(raw, options)
    _clear(config.out)
    dataset.save(config.out)
    meta = dataset.meta
    print("\n".join(summary_lines(config.out, meta, options)))
    keys = ("name", "source", "licence", "provenance", "kind", "exposure", "propensity", "negatives", "responses")
    more = ("time", "counts", "quarantined", "split_times", "assumed", "warnings")
    return {"out": str(config.out), "uses": kind_lines(meta), **{key: meta[key] for key in (*keys, *more)}}


def _options(config: PrepareConfig) -> Any:
    """The source's own options, filled from the fields that it declares; a field that it lacks is refused."""
    kind = sources.options_type(config.source)
    known = {field.name for field in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    for name in SOURCE_FIELDS:
        value = getattr(config, name)
        if name in known and value is not None:
            given[name] = value
        elif name not in known and name not in ("seed", "progress") and value not in (None, False):
            takes = ", ".join(sorted(known & {f.name for f in dataclasses.fields(config)}))
            raise InputError(f"option {name!r}", f"source {config.source!r} does not take it", f"It takes {takes}.")
    return kind(**given)


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(str(out), "is a file", "Give a folder.")
    found = sorted(p.name for p in out.iterdir())
    # What has no meta.json may be raw logs of the same names: nobody but their owner removes them.
    if not overwrite or unfinished(out):
        require_free(out, "--out" if unfinished(out) else "--out, or --overwrite")
    ours = {"meta.json", *read_meta(out)["hashes"]} if found else set()
    if CONFIG in found and _wrote(out / CONFIG):
        ours.add(CONFIG)
    other = [name for name in found if name not in ours]
    if other:
        raise InputError(str(out), f"holds {other[0]!r}, which prepare did not write", "Choose another folder.")


def _wrote(config: Path) -> bool:
    """Whether prepare wrote a config.json: many programs call theirs so, and such a one is not to be lost."""
    if not config.is_file():
        return False
    try:
        read_config(config, "prepare", ())
    except InputError:
        return False
    return True


def _clear(out: Path) -> None:
    """Take out tables written before; only after the new ones have been built."""
    if out.is_dir():
        shutil.rmtree(out)


if __name__ == "__main__":
    import tyro

    print(json.dumps(run(tyro.cli(PrepareConfig)), indent=1))
