"""What kind of folder is this? Said where another kind was wanted: a bundle for a world, a benchmark for a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from recenv.core.errors import ArtefactError


@dataclass(frozen=True)
class Kind:
    """A kind of folder: `files`, all of which it holds and the first of which names it; `name`; `mend`: where one
    comes from."""

    files: tuple[str, ...]
    name: str
    mend: str


KINDS = {
    "world": Kind(("world.json",), "world", "Give a folder that `recenv fit` or `recenv copy` wrote, worlds/shop say."),
    "benchmark": Kind(("benchmark.json",), "benchmark", "Give a folder that `recenv benchmark` wrote, runs/shop say."),
    "bundle": Kind(
        ("manifest.json", "policy.onnx"), "exported bundle",
        "Give a folder that `recenv export` wrote, bundles/shop say.",
    ),
    "run": Kind(
        ("config.json", "manifest.json"), "run",
        "Give a folder that `recenv train` wrote, or one of runs/ in a benchmark's: runs/shop/runs/dqn-seed0 say.",
    ),
    "data": Kind(
        ("meta.json", "items.parquet"), "folder of prepared data", "Give the folder that `recenv prepare` wrote."
    ),
    "policy": Kind(("policy.json",), "policy, a part of a run", "Give a folder that a policy was saved in."),
    "logs": Kind(("mapping.json",), "folder of raw logs", "Give the folder with mapping.json and the logs."),
}  # fmt: skip
"""In the order in which they are looked for: a benchmark is a run too."""
_HINTS = {
    ("data", "world"): "Make a world of it: `recenv fit --data {here} --out worlds/{name}`.",
    ("logs", "data"): "Prepare it first: `recenv prepare csv --path {here} --out data/{name}`.",
    ("logs", "world"): "Prepare it first: `recenv prepare csv --path {here} --out data/{name}`, then `recenv fit`.",
    ("world", "run"): "Make a run in it: `recenv train dqn --world {here} --out runs/{name}`.",
    ("world", "benchmark"): "Make a benchmark in it: `recenv benchmark --world {here} --out runs/{name}`.",
    ("run", "bundle"): "Make a bundle of it: `recenv export --run {here} --out bundles/{name}`.",
    ("benchmark", "bundle"): "Make a bundle of one of its runs: `recenv export --run {run} --out bundles/{name}`.",
    ("benchmark", "run"): "Give one of its runs, {run} say.",
    ("runs", "run"): "Give one of them, {run} say.",
    ("policy", "run"): "Give the run's folder around it, {parent}.",
    ("runs", "benchmark"): "Give the benchmark's folder around it, {parent}.",
    ("run", "world"): "Give the world that it was made in, {world}.",
    ("benchmark", "world"): "Give the world that it was made in, {world}.",
}


def kind_of(folder: str | Path) -> str:
    """The kind, a key of KINDS; `runs` for a folder of runs; "" where it is none of these."""
    here = Path(folder)
    found = next((kind for kind, it in KINDS.items() if all((here / name).is_file() for name in it.files)), "")
    return found or ("runs" if _first_run(here) else "")


def wrong_folder(folder: str | Path, wanted: str) -> ArtefactError:
    """The error of a folder that is not of the kind `wanted`, a key of KINDS: what it is, and what to give."""
    here, want = Path(folder), KINDS[wanted]
    kind = kind_of(here)
    hint = _HINTS.get((kind, wanted), "")
    known = {"here": here, "name": here.resolve().name, "parent": here.resolve().parent}
    known |= {"run": _first_run(here) or _first_run(here / "runs"), "world": _world_of(here)}
    mend = hint.format(**known) if hint and "None" not in hint.format(**known) else want.mend
    return ArtefactError(str(folder), f"is no {want.name}: {_what(here, kind, want)}", mend)


def missing_file(file: Path) -> ArtefactError:
    """The error of a file that is not there: of a folder of another kind, where its name tells which was wanted."""
    wanted = next((kind for kind, it in KINDS.items() if it.files[0] == file.name), "")
    # Damaged, but of that kind; a run's second file has the name of a bundle's first.
    others = (*KINDS[wanted].files[1:], *(KINDS["run"].files[:1] if wanted == "bundle" else ())) if wanted else ()
    damaged = not kind_of(file.parent) and any((file.parent / name).is_file() for name in others)
    if wanted and not damaged:
        return wrong_folder(file.parent, wanted)
    return ArtefactError(str(file), "is missing", "Check the path, or make the folder anew")


def _what(here: Path, kind: str, want: Kind) -> str:
    if not here.exists():
        return "there is no such folder"
    if not here.is_dir():
        return "it is a file"
    if kind:
        name = "folder of several runs" if kind == "runs" else KINDS[kind].name
        return f"it is {'an' if name[0] in 'aeiou' else 'a'} {name}"
    return f"it has no {want.files[0]}" if any(here.iterdir()) else "it is empty"


def _first_run(folder: Path) -> Path | None:
    """The first run in a folder of runs; a DQN's before others', since it exports."""
    files = KINDS["run"].files
    parts = sorted(folder.iterdir()) if folder.is_dir() else []
    runs = [part for part in parts if all((part / name).is_file() for name in files)]
    return min(runs, key=lambda run: (not run.name.startswith("dqn"), run.name), default=None)


def _world_of(folder: Path) -> str | None:
    """Folder of the world named in a run's settings."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["world"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
