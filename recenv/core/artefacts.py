"""Reading artefact folders: JSON, schema versions and content hashes, with named errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from recenv.core.errors import ArtefactError
from recenv.core.folders import missing_file


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from disk; raises ArtefactError where it is missing, which tells of a wrong folder, or not JSON."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing_file(path) from error
    except (ValueError, OSError) as error:
        raise ArtefactError(str(path), f"cannot be read as JSON ({error})", "Make the folder anew") from error
    if not isinstance(value, dict):
        raise ArtefactError(str(path), "does not hold a JSON object", "Make the folder anew")
    return value


def check_version(path: Path, meta: dict[str, Any], version: int) -> None:
    """Raises ArtefactError where the artefact's schema version is not `version`."""
    found = meta.get("schema_version")
    if found != version:
        raise ArtefactError(
            str(path), f"schema version {found!r}", f"This recenv reads version {version}: make it anew"
        )


def verify_hashes(folder: Path, meta: dict[str, Any], names: tuple[str, ...]) -> None:
    """Raises ArtefactError where a file is missing or does not have its hash."""
    hashes = meta.get("hashes", {})
    for name in names:
        if not (folder / name).is_file():
            raise ArtefactError(str(folder / name), "is missing", "Make the folder anew")
        if file_hash(folder / name) != hashes.get(name):
            raise ArtefactError(str(folder / name), "was changed after it was written", "Make the folder anew")


def manifest_hash(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest's content, its own `manifest_hash` left out."""
    content = {key: value for key, value in manifest.items() if key != "manifest_hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Raises ArtefactError where a manifest's content is not that which was written."""
    if "manifest_hash" not in manifest:
        raise ArtefactError(str(path), "holds no hash of its own: an older recenv wrote it", "Make the folder anew")
    if manifest["manifest_hash"] != manifest_hash(manifest):
        raise ArtefactError(str(path), "was changed after it was written", "Make the folder anew")


def write_tensors(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors, with any other file's permissions (the library's own writer makes it private)."""
    Path(path).write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
