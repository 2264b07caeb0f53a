"""The policy bundle: one folder that serves recommendations with numpy, pyarrow and onnxruntime alone.

| file | what |
|---|---|
| `policy.onnx` | observation (n, size) float32, mask (n, A) bool -> action (n,) int64, score (n, A) float32 |
| `manifest.json` | schema version, layout, state settings, profile encoder, policy, fidelity, what is assumed, hashes |
| `catalogue.parquet`, `copies.parquet`, `actions.parquet` | items and texts in index order, action -> item, copy |
| | items with what copy is filled from and rests on; copies with `needs`, the clauses of `recenv.core.evidence` |
| `catalogue.safetensors` | item vectors, item categories, logged response rates (for the fallback) |
| `golden.safetensors` | observations, masks and actions of made-up users, checked at load |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from recenv.core.artefacts import check_version, file_hash, manifest_hash, read_json, verify_hashes
from recenv.core.encoding import ProfileEncoder
from recenv.core.errors import ArtefactError, InputError
from recenv.core.folders import kind_of, wrong_folder
from recenv.observation import FEATURE_BOUND, SESSION_FEATURES, bounds, layout
from recenv.serving.choice import RULES
from recenv.state import KINDS, MAX_AGE, MAX_COUNT, StateSpec

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
FILES = (
    "policy.onnx",
    "catalogue.parquet",
    "copies.parquet",
    "actions.parquet",
    "catalogue.safetensors",
    "golden.safetensors",
)
KEYS = (
    "policy", "layout_hash", "feature_hash", "state", "profile", "context_columns", "session_gap", "repeats",
    "exclude", "currency", "world", "fidelity",
)  # fmt: skip
"""Entries of the manifest without which nothing can be served."""
GOLDEN_TOLERANCE = 1e-4
"""By how much another machine's arithmetic may tip a choice between two actions of nearly equal score."""
_MEND = "Export the bundle anew"


class PolicyGraph:
    """`policy.onnx` on one thread; `run` may be called from several threads.

    Raises:
        ArtefactError: the file cannot be read, or has other inputs and outputs than a bundle's graph.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, which share no public base
            raise ArtefactError(str(path), f"is no graph that onnxruntime reads ({error})", _MEND) from error
        inputs = [i.name for i in self._session.get_inputs()]
        outputs = [o.name for o in self._session.get_outputs()]
        if inputs != ["observation", "mask"] or outputs != ["action", "score"]:
            raise ArtefactError(str(path), f"inputs {inputs}, outputs {outputs}", _MEND)

    def run(self, observation: Floats, mask: Bools) -> tuple[NDArray[np.int64], Floats]:
        """Actions (n,) and scores (n, A) of observations (n, size) and allowed actions (n, A)."""
        action, score = self._session.run(["action", "score"], {"observation": observation, "mask": mask})
        return action, score


@dataclass
class Bundle:
    """A loaded bundle.

    Args:
        path: its folder. manifest: `manifest.json`. spec: of the user state. encoder: of user features.
        items, copies: rows in index order. action_item, action_copy: (A,) int32; action 0 shows nothing (-1, -1).
        item_rate: (n_items,) float32, logged response rate. policy: the graph.
    """

    path: Path
    manifest: dict[str, Any]
    spec: StateSpec
    encoder: ProfileEncoder
    items: list[dict[str, Any]]
    copies: list[dict[str, Any]]
    action_item: NDArray[np.int32]
    action_copy: NDArray[np.int32]
    item_rate: Floats
    policy: PolicyGraph

    def __post_init__(self) -> None:
        self.item_index = {row["item_id"]: i for i, row in enumerate(self.items)}
        self.copy_index = {row["copy_id"]: i for i, row in enumerate(self.copies)}
        self.low, self.high = bounds(self.spec, len(self.copies), "full")

    @property
    def n_actions(self) -> int:
        return len(self.action_item)

    @property
    def policy_name(self) -> str:
        return str(self.manifest["policy"]["name"])

    @property
    def rule(self) -> str:
        """How scores become a choice: one of `recenv.serving.choice.RULES`."""
        return str(self.manifest["policy"]["rule"])

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle, compare every file with its hash, and let the graph repeat the golden decisions.

        Raises:
            ArtefactError: a file or key is missing, a byte was changed, the schema version or the layout of the
                observation is another, or the graph decides otherwise than when it was exported.
        """
        folder = Path(path)
        if kind_of(folder) in ("run", "benchmark"):  # which hold a manifest too
            raise wrong_folder(folder, "bundle")
        manifest = read_json(folder / MANIFEST)
        check_version(folder / MANIFEST, manifest, SCHEMA_VERSION)
        if manifest.get("manifest_hash") != manifest_hash(manifest):
            raise ArtefactError(str(folder / MANIFEST), "was changed after it was written", _MEND)
        verify_hashes(folder, manifest, FILES)
        missing = [key for key in KEYS if key not in manifest]
        if missing:
            raise ArtefactError(str(folder / MANIFEST), f"has no entry {missing[0]!r}", _MEND)
        try:
            bundle = cls._read(folder, manifest)
        except (KeyError, TypeError, OSError, InputError, pa.ArrowException, SafetensorError) as error:
            raise ArtefactError(str(folder), f"cannot be read ({type(error).__name__}: {error})", _MEND) from error
        bundle._check_layout()
        bundle._check_golden()
        return bundle

    @classmethod
    def _read(cls, folder: Path, manifest: dict[str, Any]) -> Bundle:
        arrays = load_file(folder / "catalogue.safetensors")
        actions = _table(folder / "actions.parquet")
        return cls(
            path=folder,
            manifest=manifest,
            spec=StateSpec(arrays["item_vectors"], arrays["item_category"], **manifest["state"]),
            encoder=ProfileEncoder.from_json(manifest["profile"]),
            items=rows_of(_table(folder / "catalogue.parquet")),
            copies=rows_of(_table(folder / "copies.parquet")),
            action_item=np.array(actions["item"].to_pylist(), np.int32),
            action_copy=np.array(actions["copy"].to_pylist(), np.int32),
            item_rate=arrays["item_rate"],
            policy=PolicyGraph(folder / "policy.onnx"),
        )

    def _check_layout(self) -> None:
        where = str(self.path / MANIFEST)
        if self.manifest["layout_hash"] != layout_hash(self.spec):
            raise ArtefactError(where, "another layout of the observation than this recenv's", _MEND)
        if self.manifest["feature_hash"] != feature_hash(self.encoder):
            raise ArtefactError(where, "other features of the observation than this recenv's", _MEND)
        if self.rule not in RULES:
            raise ArtefactError(where, f"unknown rule of choice {self.rule!r}", _MEND)
        unknown = [i for i in self.manifest["exclude"] if i not in self.item_index]
        if unknown:
            raise ArtefactError(where, f"excludes {unknown[0]!r}, which is not in the catalogue", _MEND)

    def _check_golden(self) -> None:
        where = self.path / "golden.safetensors"
        golden = load_file(where)
        try:
            action, score = self.policy.run(golden["observation"], golden["mask"])
        except Exception as error:  # see PolicyGraph
            raise ArtefactError(str(where), f"the graph does not run on it ({error})", _MEND) from error
        row = np.arange(len(action))
        short = np.abs(score[row, action] - score[row, golden["action"]])
        if not np.isfinite(short).all() or (short > GOLDEN_TOLERANCE).any():
            raise ArtefactError(str(where), f"row {int(short.argmax())}: the graph decides otherwise", _MEND)


def _table(path: Path) -> pa.Table:
    """A parquet file; not by `read_table`, which (like `to_numpy`) imports pandas where it is installed."""
    with pq.ParquetFile(path) as file:
        return file.read()


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows by column name; moments as ISO 8601 text, since pyarrow makes them objects with the help of pandas."""
    for at, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            whole = table.column(at).cast(pa.timestamp("us", column.type.tz), safe=False)
            table = table.set_column(at, column.name, whole.cast(pa.string()))
    return list(table.to_pylist())


def layout_hash(spec: StateSpec) -> str:
    """SHA-256 of the names and places of the full observation's slices."""
    return _digest(layout(spec, "full"))


def feature_hash(encoder: ProfileEncoder) -> str:
    """SHA-256 of what stands in the slices: event kinds, session features, caps, the profile's columns."""
    return _digest([KINDS, SESSION_FEATURES, MAX_AGE, MAX_COUNT, FEATURE_BOUND, encoder.to_json()])


def seal(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write `manifest.json` with the schema version and the hash of every file in the folder; returns it."""
    sealed = manifest | {
        "schema_version": SCHEMA_VERSION,
        "hashes": {name: file_hash(folder / name) for name in FILES},
    }
    sealed["manifest_hash"] = manifest_hash(sealed)
    text = json.dumps(sealed, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return sealed


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
