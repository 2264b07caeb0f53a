"""Is a folder free to be written? Said where it is not: what it holds, and whether that was ever finished."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from recenv.core.errors import InputError
from recenv.core.folders import KINDS, kind_of

CONFIG, MANIFEST, RUNS = "config.json", "manifest.json", "runs"
PARTS: dict[str, tuple[str, ...]] = {
    "world": (
        "items.parquet", "users.parquet", "copies.parquet", "action_table.parquet", "catalogue.safetensors",
        "response.safetensors", "start_states.npz", "members.safetensors", "world.json",
    ),
    "data": (
        "events.parquet", "items.parquet", "users.parquet", "copies.parquet", "quarantine.parquet", "offers.parquet",
        "visits.parquet", "meta.json",
    ),
    "bundle": (
        "policy.onnx", "golden.safetensors", "catalogue.parquet", "copies.parquet", "actions.parquet",
        "catalogue.safetensors", MANIFEST,
    ),
    "benchmark": (CONFIG, MANIFEST, RUNS, "benchmark.json", "benchmark.md", "benchmark.html"),
    "run": (CONFIG, MANIFEST, "policy", "eval.json"),
}  # fmt: skip
"""What a finished folder of a kind holds, in the order of writing: the last of a world, data or bundle makes it one."""
OPTIONAL = ("members.safetensors", "offers.parquet", "visits.parquet")
"""Not in every folder of their kind; nor is config.json, which may lie in any."""


@dataclass(frozen=True)
class Unfinished:
    """A folder whose making was interrupted: its kind, a key of PARTS, and what of that is there and missing."""

    kind: str
    there: list[str]
    missing: list[str]


def require_free(folder: str | Path, option: str = "--out") -> None:
    """Refuse a folder that something lies in.

    Args:
        folder: where to write. option: what it was named by.

    Raises:
        InputError: it is a file, or holds something: a finished artefact, an unfinished one, or what is not ours.
    """
    here = Path(folder)
    if not here.exists() or (here.is_dir() and not any(here.iterdir())):
        return
    if not here.is_dir():
        raise InputError(str(here), "exists and is not an empty folder: it is a file", f"Choose another {option}.")
    part = unfinished(here)
    what = "exists and is not an empty folder"
    if part is None:
        raise InputError(str(here), f"{what}: it holds {_content(here)}", f"Choose another {option}.")
    looks = "an unfinished" if MANIFEST in part.there else "what looks like an unfinished"
    what = f"{what}: it holds {looks} {KINDS[part.kind].name}, interrupted or still being written"
    what += f" (there: {', '.join(part.there)}; missing: {', '.join(part.missing)})"
    mend = f"Choose another {option}; or, if it is that and nothing writes it now, remove it and start again."
    raise InputError(str(here), what, _kept(here) + mend)


def unfinished(here: Path) -> Unfinished | None:
    """What a folder would have become, if its making was interrupted; None where it is finished or not ours."""
    names = {path.name for path in here.iterdir()}
    if {CONFIG, MANIFEST} <= names:
        if _read(here / MANIFEST).get("complete") is not False:
            return None
        kind = "benchmark" if "agents" in _read(here / CONFIG) else "run"
        return _missing(kind, names, here)
    if kind_of(here):
        return None
    # The parts of worlds and data share names: the kind is that whose first file is there, and most of whose others.
    begun = [kind for kind in ("world", "data", "bundle") if PARTS[kind][0] in names and PARTS[kind][-1] not in names]
    whole = [kind for kind in begun if names <= {*PARTS[kind], CONFIG}]
    return _missing(max(whole, key=lambda kind: len(names & set(PARTS[kind]))), names, here) if whole else None


def _missing(kind: str, names: set[str], here: Path) -> Unfinished:
    there = [name if name != RUNS else _runs(here) for name in PARTS[kind] if name in names]
    return Unfinished(kind, there, [n for n in PARTS[kind] if n not in names and n not in OPTIONAL])


def _finished(here: Path) -> list[Path]:
    runs = sorted((here / RUNS).iterdir()) if (here / RUNS).is_dir() else []
    return [run for run in runs if _read(run / MANIFEST).get("complete") is True]


def _runs(here: Path) -> str:
    """`runs/ with 3 finished runs of 12`, as the settings ask for them."""
    config = _read(here / CONFIG)
    agents, seeds = config.get("agents"), config.get("seeds")
    total = f" of {len(agents) * seeds}" if isinstance(agents, list) and isinstance(seeds, int) else ""
    return f"{RUNS}/ with {len(_finished(here))} finished runs{total}"


def _kept(here: Path) -> str:
    """What a benchmark's finished runs are still good for; "" where there are none."""
    done = _finished(here)
    return f"It cannot be gone on with, but its finished runs stand on their own, {done[0]} say. " if done else ""


def _content(here: Path) -> str:
    kind = kind_of(here)
    names = sorted(path.name for path in here.iterdir())
    if not kind:
        return repr(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    return "several runs" if kind == "runs" else f"a finished {KINDS[kind].name}"


def _read(file: Path) -> dict[str, object]:
    """A JSON object; empty where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
