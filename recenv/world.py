"""A world on disk: catalogue, start states, response model and what is assumed, in one folder with hashes."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file

from recenv.core.artefacts import (
    check_manifest,
    check_version,
    file_hash,
    manifest_hash,
    read_json,
    verify_hashes,
    write_tensors,
)
from recenv.core.encoding import ProfileEncoder
from recenv.core.errors import InputError
from recenv.core.free import require_free
from recenv.observation import layout
from recenv.start import StartStates
from recenv.state import StateSpec

if TYPE_CHECKING:
    from recenv.response.copy_effect import CopyEffect
    from recenv.response.forward import ResponseForward

SCHEMA_VERSION = 1
TABLES = ("items", "users", "copies", "action_table")
MEMBERS = "members.safetensors"
"""Optional: the ensemble's arrays, member k's under the prefix `k.`; their configs are `members` in `world.json`."""
SEGMENT_VARIANCE = "segment_variance"
"""Name of that array in the ensemble's file; optional too."""
FILES = (*(f"{name}.parquet" for name in TABLES), "catalogue.safetensors", "response.safetensors", "start_states.npz")


@dataclass
class World:
    """All that an environment needs; see `World.load`.

    Args:
        meta: `world.json`: name, dataset hash, responses, what is learned and what assumed, seeds.
        spec: of the user state, with the item vectors (shared by a world and its judge).
        items: rows in index order, with item_id, text, category, price. users: features. copies: rows in index order.
        item_features: (n_items, F) float32, numeric features for the item tower of the response model.
        item_rate: (n_items,) float32, shrunk logged response rate when shown (purchase where logged, else click).
        logged_rates: (n_segments, n_items) float32, P(item shown | segment) under the logged policy, rows sum to 1.
        segment_centroids: (n_segments, P) float32. revenue_per_purchase: (n_items,) float32, in the shop's currency.
        exp_reference, exp_unshown: (E,) float32, how an item is shown, or not shown, where nothing else is said; NaN in
            exp_unshown: not shown, an item keeps its own value (`recenv.response.features.unshown_exposure`).
        action_item, action_copy: (A,) int32; action 0 shows nothing (-1, -1); a copy of -1 is the item without copy.
        response: the fitted model's forward pass. start: start states. copy_effect: None in a world without copies.
        members: the model refitted on bootstraps of users (`recenv.response.ensemble`); none unless asked for at fit.
        segment_variance: (n_segments, n_items, heads) float32 of what the logs leave open of an item's log odds in a
            segment (`recenv.response.ensemble.segment_variance`); None unless asked for at fit.
    """

    meta: dict[str, Any]
    spec: StateSpec
    items: pa.Table
    users: pa.Table
    copies: pa.Table
    item_features: NDArray[np.float32]
    item_rate: NDArray[np.float32]
    logged_rates: NDArray[np.float32]
    segment_centroids: NDArray[np.float32]
    revenue_per_purchase: NDArray[np.float32]
    exp_reference: NDArray[np.float32]
    exp_unshown: NDArray[np.float32]
    action_item: NDArray[np.int32]
    action_copy: NDArray[np.int32]
    response: ResponseForward
    start: StartStates
    copy_effect: CopyEffect | None = None
    members: tuple[ResponseForward, ...] = ()
    segment_variance: NDArray[np.float32] | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def n_items(self) -> int:
        return self.spec.n_items

    @property
    def n_actions(self) -> int:
        return len(self.action_item)

    @property
    def n_copies(self) -> int:
        return int(self.copies.num_rows)

    @property
    def responses(self) -> tuple[str, ...]:
        return tuple(self.meta["responses"])

    @property
    def exp_columns(self) -> tuple[str, ...]:
        return tuple(self.meta["exp_columns"])

    @property
    def context_columns(self) -> tuple[str, ...]:
        return tuple(self.meta["context_columns"])

    @property
    def horizon_default(self) -> int:
        """Slots in a session unless told otherwise."""
        return int(self.meta["horizon"])

    @property
    def seconds_per_slot(self) -> int:
        return int(self.meta["seconds_per_slot"])

    @property
    def leave_known(self) -> bool:
        """Whether P(leave | response) was learned."""
        return "leave" in self.response.heads

    @property
    def frailty(self) -> float:
        """Variance of the session effect that root responses share (`recenv.response.frailty`); 0: none."""
        return float(self.response.config.get("frailty", {}).get("theta", 0.0))

    def disagreement_scale(self, head: str) -> float:
        """What the members' standard deviation of `head` is multiplied by to have the size of the model's error."""
        return float(self.meta.get("disagreement", {}).get(head, {}).get("scale", 1.0))

    @property
    def open_by_segment(self) -> bool:
        """Whether pessimism counts what is assumed to be open of an item in a segment (`recenv fit --segment-sd`)."""
        return self.segment_variance is not None

    def open_variance(self, head: str) -> NDArray[np.float32] | None:
        """(n_segments, n_items) `segment_variance` of a head; None where there is none."""
        if self.segment_variance is None:
            return None
        found: NDArray[np.float32] = self.segment_variance[..., self.response.heads.index(head)]
        return found

    def with_response(self, response: ResponseForward) -> World:
        """This world with another response model over the same catalogue, one of its members say."""
        return replace(self, response=response, members=(), segment_variance=None, path=None)

    @property
    def has_unshown(self) -> bool:
        """Whether P(response | not shown) was learned."""
        return bool(self.meta["has_unshown"])

    @property
    def offers_known(self) -> bool:
        """Whether start states carry what was on offer in their visit."""
        return bool(self.meta["offers_known"])

    @property
    def repeats_logged(self) -> bool:
        """Whether the logs hold an item shown twice in a session."""
        return bool(self.meta["repeats_logged"])

    @cached_property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Slices of the `summary` observation."""
        return layout(self.spec, "summary")

    @cached_property
    def profile_encoder(self) -> ProfileEncoder:
        return ProfileEncoder.from_json(self.meta["profile"])

    @cached_property
    def item_action_start(self) -> NDArray[np.int64]:
        """(n_items + 1,): the actions of item i are range(start[i], start[i + 1])."""
        return np.searchsorted(self.action_item, np.arange(self.n_items + 1)).astype(np.int64)

    def segment_of(self, profile: NDArray[np.float32]) -> NDArray[np.int32]:
        """Nearest centroid (n,) of each profile (n, P)."""
        return nearest(self.segment_centroids, profile)

    def describe(self) -> str:
        """The world card: sizes, what is learned, what is assumed."""
        m = self.meta
        slots = f"horizon {self.horizon_default} slots of {self.seconds_per_slot} s"
        lines = [
            f"world {m['name']} ({m['role']}) from {m['source']}, {m['kind']} logs, exposure {m['exposure']}",
            f"{self.n_items} items, {self.n_copies} copies, {self.n_actions} actions, {len(self.start)} start states",
            f"responses: {', '.join(self.responses)}; {slots}",
            *self._ensemble_card(),
            "learned: " + "; ".join(m["learned"]),
            "assumed:",
            *(f"  - {line.rstrip('.')}" for line in m["assumed"]),
        ]
        return "\n".join(lines)

    def _ensemble_card(self) -> list[str]:
        if not self.members:
            return []
        scales = (f"{head} {self.disagreement_scale(head):.2f}" for head in self.response.heads if head != "leave")
        told = f"ensemble: {len(self.members)} members, refitted on bootstraps of users"
        lines = [f"{told}; their disagreement counts {', '.join(scales)} times, by held-out error"]
        if self.open_by_segment:
            sd = self.meta["segment_sd"]
            lines.append(f"for pessimism, assumed: log odds of an item in a segment differ by +- {sd:g}")
        return lines

    def save(self, path: str | Path) -> Path:
        """Write the world into a new folder; same world, same bytes.

        Raises:
            InputError: the folder exists and is not empty.
        """
        folder = Path(path)
        require_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        actions = pa.table({"item": self.action_item, "copy": self.action_copy})
        for name, table in zip(TABLES, (self.items, self.users, self.copies, actions)):
            pq.write_table(table.replace_schema_metadata(None), folder / f"{name}.parquet", compression="zstd")
        write_tensors(folder / "catalogue.safetensors", self._catalogue_arrays())
        copy = {} if self.copy_effect is None else self.copy_effect.to_arrays()
        arrays = self.response.to_arrays() | {f"copy.{k}": v for k, v in copy.items()}
        write_tensors(folder / "response.safetensors", arrays)
        np.savez_compressed(folder / "start_states.npz", allow_pickle=False, **self.start.to_arrays())
        files = FILES
        if self.open_by_segment and not self.members:
            raise InputError("world.segment_variance", "no members beside it", "Pessimism needs both, or neither")
        if self.members:
            files = (*FILES, MEMBERS)
            parts = {f"{k}.{n}": a for k, m in enumerate(self.members) for n, a in m.to_arrays().items()}
            if self.segment_variance is not None:
                parts[SEGMENT_VARIANCE] = self.segment_variance
            write_tensors(folder / MEMBERS, parts)
        meta = self.meta | {
            "schema_version": SCHEMA_VERSION,
            "state": _spec_settings(self.spec),
            "response": self.response.config,
            "copy_effect": None if self.copy_effect is None else self.copy_effect.describe(),
            "layout": self.layout,
            "members": [member.config for member in self.members],
            "hashes": {name: file_hash(folder / name) for name in files},
        }
        meta = json.loads(json.dumps(meta, allow_nan=False))
        meta["manifest_hash"] = manifest_hash(meta)
        (folder / "world.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        self.path = folder
        return folder

    def _catalogue_arrays(self) -> dict[str, NDArray[Any]]:
        names = ("item_features", "item_rate", "logged_rates", "segment_centroids", "revenue_per_purchase")
        own = {name: getattr(self, name) for name in (*names, "exp_reference", "exp_unshown")}
        own |= {"item_vectors": self.spec.item_vectors, "item_category": self.spec.item_category}
        return own

    @classmethod
    def load(cls, path: str | Path, verify: bool = True) -> World:
        """Read a world folder.

        Args:
            path: the folder. verify: compare every file with its hash in `world.json`.

        Raises:
            ArtefactError: the folder, a file or a key is missing, a file was changed, or the schema version is another.
        """
        from recenv.response.copy_effect import CopyEffect
        from recenv.response.forward import ResponseForward

        folder = Path(path)
        meta = read_json(folder / "world.json")
        check_version(folder / "world.json", meta, SCHEMA_VERSION)
        if verify:
            check_manifest(folder / "world.json", meta)
            verify_hashes(folder, meta, (*FILES, MEMBERS) if meta.get("members") else FILES)
        tables = [pq.read_table(folder / f"{name}.parquet") for name in TABLES]
        catalogue = load_file(folder / "catalogue.safetensors")
        vectors, category = catalogue.pop("item_vectors"), catalogue.pop("item_category")
        arrays = load_file(folder / "response.safetensors")
        copy = {k.removeprefix("copy."): v for k, v in arrays.items() if k.startswith("copy.")}
        response = {k: v for k, v in arrays.items() if not k.startswith("copy.")}
        with np.load(folder / "start_states.npz", allow_pickle=False) as packed:
            start = StartStates.from_arrays(dict(packed))
        members, variance = _members(folder, meta.get("members", []))
        return cls(
            meta=meta,
            spec=StateSpec(vectors, category, **meta["state"]),
            items=tables[0],
            users=tables[1],
            copies=tables[2],
            action_item=tables[3]["item"].to_numpy().astype(np.int32),
            action_copy=tables[3]["copy"].to_numpy().astype(np.int32),
            response=ResponseForward.from_arrays(response, meta["response"]),
            start=start,
            copy_effect=CopyEffect.from_arrays(copy) if copy else None,
            members=members,
            segment_variance=variance,
            path=folder,
            **catalogue,
        )


def _members(
    folder: Path, configs: list[dict[str, Any]]
) -> tuple[tuple[ResponseForward, ...], NDArray[np.float32] | None]:
    """The ensemble, and the variance by segment where the file has it."""
    from recenv.response.forward import ResponseForward

    if not configs:
        return (), None
    parts: list[dict[str, NDArray[Any]]] = [{} for _ in configs]
    arrays = load_file(folder / MEMBERS)
    variance = arrays.pop(SEGMENT_VARIANCE, None)
    for name, array in arrays.items():
        number, _, rest = name.partition(".")
        parts[int(number)][rest] = array
    return tuple(ResponseForward.from_arrays(own, config) for own, config in zip(parts, configs)), variance


def nearest(centroids: NDArray[np.float32], profile: NDArray[np.float32]) -> NDArray[np.int32]:
    """Index (n,) of the centroid nearest to each profile; the first among equals."""
    distance = ((profile[:, None, :] - centroids[None]) ** 2).sum(axis=2)  # (n, S)
    return distance.argmin(axis=1).astype(np.int32)


def judge_path(path: str | Path) -> Path:
    """Folder of a world's judge."""
    folder = Path(path)
    return folder.with_name(f"{folder.name}-judge")


def tiny_world_path() -> Path:
    """Folder of the small synthetic world that ships inside the package."""
    return Path(str(importlib.resources.files("recenv"))) / "worlds" / "tiny"


def _spec_settings(spec: StateSpec) -> dict[str, Any]:
    names = (
        "n_categories",
        "profile_dim",
        "context_dim",
        "half_life",
        "exposures_count",
        "calendar",
        "memory",
        "recent",
    )
    return {name: getattr(spec, name) for name in names}
