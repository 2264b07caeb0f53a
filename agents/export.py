"""From a policy to a bundle: its graph as ONNX, and all that serving needs beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from recenv.agents.base import REGISTRY
from recenv.agents.export_graph import Masked, check_graph, write_onnx
from recenv.agents.export_greedy import GreedyScores
from recenv.agents.export_items import (
    FactorScores,
    FixedScores,
    LastSeenScores,
    NeighbourScores,
    PersonalPopularScores,
    SegmentWeights,
)
from recenv.core.artefacts import read_json, write_tensors
from recenv.core.errors import InputError, RecenvError, UnsupportedError
from recenv.core.evidence import ATTRIBUTES, EVIDENCE, Clauses
from recenv.core.free import require_free
from recenv.core.render import SLOT_COLUMNS, render
from recenv.core.runs import versions
from recenv.core.verdict import REPORT, read_report, verdicts
from recenv.env.options import EnvOptions
from recenv.observation import layout
from recenv.serving.bundle import feature_hash, layout_hash, seal
from recenv.serving.choice import RULES
from recenv.serving.golden import made_up_masks, made_up_observations
from recenv.state import StateSpec
from recenv.trust.summary import verdict_of

if TYPE_CHECKING:
    from recenv.world import World

GOLDEN = 16
_SESSION_GAP = 1800
_COPY_COLUMNS = ("copy_id", "item_id", "style", "text")
_ITEM_COLUMNS = tuple(dict.fromkeys(("item_id", *SLOT_COLUMNS.values(), *ATTRIBUTES, *EVIDENCE, "claims")))
"""What a line is filled from and may rest on."""
_NEEDS = pa.list_(pa.list_(pa.string()))


@dataclass(frozen=True)
class Exporter:
    """How a policy becomes a graph: `scores` makes the module (n, size) -> (n, A); `rule` is one of `RULES`."""

    rule: str
    scores: Callable[[Any], nn.Module]


def _dqn(policy: Any) -> nn.Module:
    network: nn.Module = policy.network
    return network


EXPORTERS: dict[str, Exporter] = {
    "logged": Exporter("weights", lambda policy: SegmentWeights(policy.world)),
    "random": Exporter("weights", lambda policy: FixedScores(policy.world, np.ones(policy.world.n_items))),
    "popular": Exporter("best-item", lambda policy: FixedScores(policy.world, policy.world.item_rate)),
    "personal-popular": Exporter("best-item", PersonalPopularScores),
    "last-seen": Exporter("best-item", lambda policy: LastSeenScores(policy.world)),
    "item-knn-cosine": Exporter("best-item", NeighbourScores),
    "item-knn-pearson": Exporter("best-item", NeighbourScores),
    "mf": Exporter("best-item", FactorScores),
    "model-greedy": Exporter("best", GreedyScores),
    "dqn": Exporter("best", _dqn),
}
_CANDIDATES = "it looks at retrieved candidates, and their retrieval is not part of the graph yet"
_DRAWN = "it draws or counts copies: a table to be kept up to date, not a function of the user"
UNSUPPORTED: dict[str, str] = {
    "best-by-count": _DRAWN,
    "thompson-copy": _DRAWN,
    "two-stage": _CANDIDATES,
    "linucb": _CANDIDATES,
    "sb3-dqn": _CANDIDATES,
    "sb3-ppo": _CANDIDATES,
    "sb3-a2c": _CANDIDATES,
    "sb3-qrdqn": _CANDIDATES,
    "sb3-maskable-ppo": _CANDIDATES,
}
"""Registered policies that do not export, and why."""


def exporter(name: str) -> Exporter:
    """How the registered policy `name` exports.

    Raises:
        UnsupportedError: it does not, and why. InputError: no such policy.
    """
    if name in UNSUPPORTED:
        raise UnsupportedError(f"export of {name}", UNSUPPORTED[name], f"Choose among {', '.join(EXPORTERS)}.")
    if name not in EXPORTERS:
        raise InputError("policy", f"{name!r} is not registered", f"Choose one of {', '.join(REGISTRY)}.")
    return EXPORTERS[name]


def export_bundle(
    policy: Any,
    world: World,
    out: str | Path,
    seed: int = 0,
    value: dict[str, Any] | None = None,
    env: EnvOptions | None = None,
    needs: Sequence[Clauses | None] | None = None,
) -> dict[str, Any]:
    """Write a bundle of `policy` into a new folder.

    Args:
        policy: a registered policy made for `world`. out: folder, missing or empty. seed: of the made-up users of the
            golden pairs. value: what is known of the policy's worth (evaluation or benchmark), for the manifest.
        env: options of the environment that it was trained in (the defaults where None): whether an item may come twice
            in a session and which are never shown holds in service too. needs: what each of the world's copies rests on
            (`recenv.generators.needs.needs_of`), so that a copy whose evidence is gone is not served; None where nobody
            knows: the server then checks its slots alone, and says so.

    Returns:
        the manifest.

    Raises:
        UnsupportedError: the policy does not export, or the world cannot give what `env` asks.
        InputError: the folder is not empty, a copy cannot be rendered, an excluded item is not in the catalogue, or
            `needs` has another length than the world's copies.
        ArtefactError: the graph does not give what torch gives.
    """
    how = exporter(policy.name)
    folder = Path(out)
    require_free(folder)
    check_texts(world)
    if needs is not None and len(needs) != world.n_copies:
        raise InputError("needs", f"{len(needs)} entries, {world.n_copies} copies", "Give one for each copy.")
    rules = (env or EnvOptions()).resolve(world)
    encoder = world.profile_encoder
    obs = made_up_observations(world.spec, encoder, world.n_copies, GOLDEN, seed)
    mask = made_up_masks(GOLDEN, world.n_actions, seed)
    folder.mkdir(parents=True, exist_ok=True)
    module = Masked(how.scores(policy)).eval()
    write_onnx(module, obs, mask, folder / "policy.onnx")
    action = check_graph(module, folder / "policy.onnx", obs, mask)
    write_tensors(folder / "golden.safetensors", {"observation": obs, "mask": mask, "action": action})
    _write_catalogue(world, folder, needs)
    return seal(folder, _manifest(policy, world, how, seed, value, rules))


def check_texts(world: World) -> None:
    """Every copy must render for every item that it can be shown with; raises InputError where one does not."""
    if not world.n_copies:
        return
    rows, text = world.items.to_pylist(), world.copies["text"].to_pylist()
    currency = str(world.meta.get("currency") or "")
    for item, copy in zip(world.action_item[1:].tolist(), world.action_copy[1:].tolist()):
        if copy >= 0:
            render(text[copy], rows[item], currency)


def _write_catalogue(world: World, folder: Path, needs: Sequence[Clauses | None] | None) -> None:
    columns = [c for c in _ITEM_COLUMNS if c in world.items.column_names]
    copies = world.copies.select([c for c in _COPY_COLUMNS if c in world.copies.column_names])
    if needs is not None:
        copies = copies.append_column("needs", pa.array(needs, _NEEDS))
    tables = {
        "catalogue": world.items.select(columns).append_column("category_index", pa.array(world.spec.item_category)),
        "copies": copies,
        "actions": pa.table({"item": world.action_item, "copy": world.action_copy}),
    }
    for name, table in tables.items():
        pq.write_table(table.replace_schema_metadata(None), folder / f"{name}.parquet", compression="zstd")
    arrays = {
        "item_vectors": world.spec.item_vectors,
        "item_category": world.spec.item_category,
        "item_rate": world.item_rate.astype(np.float32),
    }
    write_tensors(folder / "catalogue.safetensors", arrays)


def _manifest(
    policy: Any, world: World, how: Exporter, seed: int, value: dict[str, Any] | None, rules: EnvOptions
) -> dict[str, Any]:
    meta, encoder = world.meta, world.profile_encoder
    facts = {"name", "source", "kind", "exposure", "propensity", "dataset_hashes", "responses", "learned", "provenance"}
    return {
        "policy": {
            "name": policy.name,
            "label": getattr(policy, "label", policy.name),
            "config": json.loads(json.dumps(vars(policy.config))),
            "rule": how.rule,
            "propensity": RULES[how.rule],
        },
        "observation": {"mode": "full", "size": policy.obs_size, "layout": layout(world.spec, "full")},
        "layout_hash": layout_hash(world.spec),
        "feature_hash": feature_hash(encoder),
        "state": _settings(world.spec),
        "profile": encoder.to_json(),
        "context_columns": list(world.context_columns),
        "session_gap": int(meta.get("session_gap", _SESSION_GAP)),
        "repeats": rules.repeats,
        "exclude": sorted(set(rules.exclude)),
        "currency": str(meta.get("currency") or ""),
        "sizes": {"items": world.n_items, "copies": world.n_copies, "actions": world.n_actions},
        "world": {key: meta[key] for key in sorted(facts & set(meta))} | {"hashes": _world_hashes(world)},
        "fidelity": _fidelity(world),
        "value": value,
        "copy_effect": meta.get("copy_label"),
        "assumed": list(meta.get("assumed", [])),
        "golden_seed": seed,
        "versions": versions() | {name: metadata.version(name) for name in ("onnx", "onnxscript", "onnxruntime")},
    }


def _settings(spec: StateSpec) -> dict[str, Any]:
    """The state rule's settings, all but the catalogue's arrays."""
    return {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in ("item_vectors", "item_category")}


def _world_hashes(world: World) -> dict[str, str]:
    if world.path is None:
        return {}
    return dict(read_json(world.path / "world.json")["hashes"])


def _fidelity(world: World) -> dict[str, Any] | None:
    """The world's verdicts and fidelity figures without their breakdowns; None where it was never measured."""
    if world.path is None or not (world.path / REPORT).is_file():
        return None
    report = read_report(world.path)
    kept: dict[str, Any] = {
        key: report[key] for key in ("world", "split", "seen", "exposure", "heads") if key in report
    }
    return {**_figures(kept), **verdicts(report), "line": verdict_of(world.path)}


def _figures(value: dict[str, Any]) -> dict[str, Any]:
    kept = {key: entry for key, entry in value.items() if not isinstance(entry, list)}
    return {key: _figures(entry) if isinstance(entry, dict) else entry for key, entry in kept.items()}


def why_not(name: str) -> str | None:
    """Why a registered policy does not export; None where it does."""
    try:
        exporter(name)
    except RecenvError as error:
        return str(error)
    return None
