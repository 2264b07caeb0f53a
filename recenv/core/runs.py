"""Run folders: what was asked (`config.json`), with what (`manifest.json`), and what came of it. Never overwritten."""

from __future__ import annotations

import csv
import json
import platform
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from recenv.core.artefacts import file_hash, read_json
from recenv.core.errors import InputError
from recenv.core.free import require_free
from recenv.core.tags import check_tag
from recenv.core.verdict import CARD, world_identity

VERSIONS_OF = ("recenv", "numpy", "gymnasium", "numba", "scipy", "pyarrow", "torch", "stable-baselines3", "pandas")
MANIFEST, CONFIG, PROGRESS = "manifest.json", "config.json", "progress.csv"


class Run:
    """A run folder being written.

    Args:
        path: the folder, which must not exist or be empty.
        config: JSON-able settings, replayable with `--config`.
        seeds: every seed used. inputs: name -> folder or file; each is hashed.

    Raises:
        InputError: the folder holds something already.
    """

    def __init__(
        self,
        path: str | Path,
        config: Mapping[str, Any],
        seeds: Iterable[int] = (),
        inputs: Mapping[str, str | Path] | None = None,
    ) -> None:
        self.path = Path(path)
        require_free(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._began = time.monotonic()
        self.manifest: dict[str, Any] = {
            "schema_version": 1,
            "complete": False,
            "versions": versions(),
            "python": platform.python_version(),
            "seeds": [int(seed) for seed in seeds],
            "inputs": {name: input_hash(source) for name, source in (inputs or {}).items()},
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self.write_json(CONFIG, config)
        self.write_json(MANIFEST, self.manifest)

    def write_json(self, name: str, value: Any) -> Path:
        """A JSON file in the folder; NaN and infinity are refused, since JSON has no such numbers."""
        return self.write_text(name, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """A UTF-8 file in the folder."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """Append to `progress.csv`, one line a value: step, tag, value. Long, since tags come and go in a run.

        Raises:
            InputError: a tag that is not listed in `recenv.core.tags`.
        """
        target = self.path / PROGRESS
        fresh = not target.exists()
        with target.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if fresh:
                writer.writerow(("step", "tag", "value"))
            writer.writerows((int(step), check_tag(tag), repr(float(value))) for tag, value in values.items())

    def finish(self, **facts: Any) -> None:
        """Mark the run as complete, with what else is to be known about it."""
        self.manifest |= {"complete": True, "seconds": round(time.monotonic() - self._began, 3), **facts}
        self.write_json(MANIFEST, self.manifest)


def versions() -> dict[str, str]:
    """Versions of what results depend on; those not installed are left out."""
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def input_hash(source: str | Path) -> dict[str, str]:
    """Path and SHA-256 of an input: of the file, or of a folder's `world.json`, `meta.json` or `manifest.json`.

    Those in turn hold the hashes of what lies beside them. A world's `identity` leaves the verdict on it out.

    Raises:
        InputError: there is no such input.
    """
    path = Path(source)
    names = ("world.json", "meta.json", MANIFEST)
    files = [path] if path.is_file() else [path / name for name in names if (path / name).is_file()]
    if not files:
        raise InputError(str(path), f"is no file and holds none of {', '.join(names)}", "Check the path.")
    found = {"path": str(path), "file": files[0].name, "sha256": file_hash(files[0])}
    return found | ({"identity": world_identity(path)} if files[0].name == CARD else {})


def read_run(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config and manifest of a run on disk; raises ArtefactError where they are missing or unreadable."""
    folder = Path(path)
    return read_json(folder / CONFIG), read_json(folder / MANIFEST)


def read_progress(path: str | Path) -> list[tuple[int, str, float]]:
    """Rows (step, tag, value) of a run's `progress.csv`, in the order written."""
    with (Path(path) / PROGRESS).open(encoding="utf-8", newline="") as stream:
        return [(int(row["step"]), row["tag"], float(row["value"])) for row in csv.DictReader(stream)]
