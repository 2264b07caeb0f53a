"""Files of a saved transformer: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from transformers import PreTrainedModel

from recenv.core.errors import ArtefactError
from recenv.generators.corpus import Line


def weight_bytes(model: PreTrainedModel) -> bytes:
    """Parameters as safetensors; an output layer that shares the embedding is left out."""
    shared = bool(model.config.tie_word_embeddings)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not (shared and k == "lm_head.weight")}
    return safetensors.torch.save(dict(sorted(state.items())))


def load_weights(model: PreTrainedModel, path: Path) -> None:
    """Fill a model from a safetensors file.

    Raises:
        ArtefactError: it is missing, no safetensors file, or holds other tensors than the model has.
    """
    try:
        state = safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtefactError(str(path), f"cannot be read ({error})", "Save the generator again") from error
    try:
        missing, strange = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ArtefactError(str(path), "its tensors have other shapes than the settings say", "Save again") from error
    missing = [name for name in missing if name != "lm_head.weight"]
    if missing or strange:
        raise ArtefactError(str(path), f"tensors {[*missing, *strange][:3]} do not fit", "Save the generator again")


def read_settings(directory: Path, form: str) -> dict[str, Any]:
    """`generator.json` of a saved generator.

    Raises:
        ArtefactError: it is missing, no JSON, of another format, or lacks a key.
    """
    path = directory / "generator.json"
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(str(path), f"cannot be read ({error})", "Give the folder of a saved generator") from error
    if not isinstance(saved, dict) or saved.get("format") != form:
        found = saved.get("format") if isinstance(saved, dict) else type(saved).__name__
        raise ArtefactError(str(path), f"format {found!r}, not {form!r}", "Give the folder of a saved generator")
    missing = [k for k in ("slots", "config", "claims", "vocabulary", "lines", "hash") if k not in saved]
    if missing:
        raise ArtefactError(str(path), f"has no {missing[0]!r}", "Save the generator again")
    return saved


def read_lines(saved: dict[str, Any]) -> list[Line]:
    """The training lines in `generator.json`.

    Raises:
        ArtefactError: an entry is no line.
    """
    try:
        return [Line(**{**x, "needs": tuple(x["needs"])}) for x in saved["lines"]]
    except (TypeError, KeyError) as error:
        raise ArtefactError("generator.json", f"lines cannot be read ({error})", "Save the generator again") from error
