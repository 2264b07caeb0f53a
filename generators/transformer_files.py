"""Files of a saved transformer: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from transformers import PreTrainedModel

from recenv.core.errors import ArtefactError, InputError
from recenv.generators.corpus import Line
from recenv.generators.templates import check_slots
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Codec
from recenv.generators.transformer_mixture import ORDER, Mixture

T = TypeVar("T")


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


@dataclass(frozen=True)
class Saved:
    """`generator.json`, checked.

    Attributes:
        directory: where it was read. slots, config, claims, lines: as given to or learned by the generator.
        entries: the whole document.
    """

    directory: Path
    slots: frozenset[str]
    config: TransformerConfig
    claims: frozenset[str]
    lines: list[Line]
    entries: dict[str, Any]

    def read(self, make: Callable[[dict[str, Any]], T]) -> T:
        """What `make` makes of the entries.

        Raises:
            ArtefactError: it cannot.
        """
        try:
            return make(self.entries)
        except ArtefactError:
            raise
        # A broken tokenizer raises a plain Exception in `tokenizers`.
        except Exception as error:
            what = f"settings cannot be read ({type(error).__name__}: {error})"
            raise ArtefactError(str(self.directory), what, "Save the generator again") from error

    def check_hash(self, found: str) -> None:
        """Raises ArtefactError unless `found` is the hash that was saved."""
        if found != self.entries["hash"]:
            raise ArtefactError(str(self.directory), "weights or settings were changed after saving", "Fit it again")


def read_settings(directory: Path, form: str) -> Saved:
    """`generator.json` of a saved generator.

    Raises:
        ArtefactError: it is missing, no JSON, of another format, lacks a key, or an entry is of another kind.
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
    for name, kind in (("slots", list), ("claims", list), ("lines", list), ("config", dict), ("vocabulary", dict)):
        if not isinstance(saved[name], kind):
            what = f"{name!r} is a {type(saved[name]).__name__}, no {kind.__name__}"
            raise ArtefactError(str(path), what, "Save the generator again")
    for name in ("slots", "claims"):
        if not all(isinstance(x, str) for x in saved[name]):
            raise ArtefactError(str(path), f"{name!r} holds an entry that is no text", "Save the generator again")
    try:
        slots, config = check_slots(saved["slots"]), TransformerConfig(**saved["config"])
    except (InputError, TypeError) as error:
        raise ArtefactError(str(path), f"settings cannot be read ({error})", "Save the generator again") from error
    return Saved(directory, slots, config, frozenset(saved["claims"]), _read_lines(path, saved["lines"]), saved)


def _read_lines(path: Path, saved: list[Any]) -> list[Line]:
    try:
        lines = [Line(**{**x, "needs": tuple(x["needs"])}) for x in saved]
    except (TypeError, KeyError) as error:
        raise ArtefactError(str(path), f"lines cannot be read ({error})", "Save the generator again") from error
    if not lines or not all(isinstance(x, str) for line in lines for x in (line.style, line.text, *line.needs)):
        raise ArtefactError(str(path), "lines cannot be read (none, or not text)", "Save the generator again")
    return lines


def read_mixture(saved: Saved, codec: Codec) -> Mixture | None:
    """The mixture with n-grams in `generator.json`, counted again on the training lines; None where there is none.

    Raises:
        ArtefactError: it lacks an entry, has another order, or a number out of range.
    """
    found = saved.entries.get("mixture")
    if found is None:
        return None
    if not isinstance(found, dict) or set(found) != {"ngram_share", "temperature", "order"} or found["order"] != ORDER:
        raise ArtefactError("generator.json", f"mixture {found!r} cannot be read", "Save the generator again")
    return Mixture(saved.lines, codec, found["ngram_share"], found["temperature"])
