"""What every copy generator promises: proposals without facts, the same for the same seed, as rows of one table."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.core.render import slots as slots_in
from recenv.data.columns import MAX_ID, NONE_ITEM
from recenv.generators.pretrained_config import PretrainedConfig

if TYPE_CHECKING:
    from recenv.generators.corpus import Line

Row = Mapping[str, Any]

STATUSES = ("draft", "auto-passed", "needs review", "approved", "retired", "rejected")
"""A line's states: `draft` as generated; `auto-passed` or `needs review` by the guardrails, or `rejected` with its
reasons; `approved` or `retired` by a person."""
ADMITTED = ("auto-passed", "approved")
"""States with which a line may enter a world."""

_TYPES: dict[str, pa.DataType] = {
    "copy_id": pa.string(),
    "item_id": pa.string(),
    "style": pa.string(),
    "template": pa.string(),
    "text": pa.string(),
    "generator": pa.string(),
    "generator_hash": pa.string(),
    "seed": pa.int64(),
    "channel": pa.string(),
    "temperature": pa.float64(),
    "log_prob": pa.float64(),
    "status": pa.string(),
    "checks": pa.string(),
}

COPY_SCHEMA = pa.schema(_TYPES)
"""Columns of `copies.parquet` in order, as `Variant` describes them; `temperature` and `log_prob` may be null."""
LOG_PROB_DIGITS = 3
"""Decimals of `log_prob` in tables: float32 sums differ by some millionths of a nat with the lines scored beside."""


@dataclass(frozen=True)
class Request:
    """One product for which lines are wanted.

    Attributes:
        item: its row of `items.parquet`, evidence columns (`recenv.generators.corpus.EVIDENCE`) included.
        styles: styles asked for; empty: all that the generator knows and the item's evidence allows.
        channel: where the line will stand, one of the guardrails' channels. segment: for whom; "" for everybody.
    """

    item: Row
    styles: tuple[str, ...] = ()
    channel: str = "description"
    segment: str = ""

    @property
    def item_id(self) -> str:
        """Raises InputError where the row has none."""
        if not isinstance(self.item.get("item_id"), str) or not self.item["item_id"]:
            raise InputError("item", f"no item_id in {dict(self.item)!r:.80}", "Give each row its id as text")
        return str(self.item["item_id"])


@dataclass(frozen=True)
class Variant:
    """One line of copy for one item.

    Attributes:
        item_id: the item it is for.
        style: name of its style.
        template: stable id of the line: style and hash of the delexicalised text.
        text: the line with its slots unfilled ("delexicalised"): `recenv.core.render.render` fills them.
        generator: name in GENERATORS; of a pretrained checkpoint "pretrained:CHECKPOINT:TUNING".
        generator_hash: hash of all that decides the generator's lines except the seed.
        seed: the seed that it was drawn with.
        status: one of STATUSES.
        checks: reasons from the guardrails, "reason" or "reason:detail"; empty where all passed.
        log_prob: log p(text | style) in nats, natural logarithm, summed over the line's tokens and its end, under the
            generator that wrote it, without constraints and at temperature 1; None where unknown.
        temperature: that `generate` was asked for, whatever factor of its own the generator has; None for lines that
            were not sampled.
        channel, segment: what it was asked for.
    """

    item_id: str
    style: str
    template: str
    text: str
    generator: str
    generator_hash: str
    seed: int
    status: str = "draft"
    checks: tuple[str, ...] = ()
    log_prob: float | None = None
    temperature: float | None = None
    channel: str = "description"
    segment: str = ""

    @property
    def copy_id(self) -> str:
        """`item_id#hash of the text`: independent of order, seed and of the item's other variants.

        An item id that would make it longer than an id may be (MAX_ID) is replaced by its own hash.
        """
        item = self.item_id if len(self.item_id) <= MAX_ID - 9 else digest(self.item_id)[:32]
        return f"{item}#{digest(self.text)[:8]}"

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots that the line asks for."""
        return slots_in(self.text)


class Generator(Protocol):
    """A source of copy.

    Attributes:
        name: as in `Variant.generator`. hash: of all that decides its lines except the seed. styles: that it can write.
    """

    name: str
    hash: str

    @property
    def styles(self) -> tuple[str, ...]: ...

    def fit(self, rows: Sequence[Line], validation: Sequence[Line], seed: int = 0) -> dict[str, Any]:
        """Train on lines; validation lines stop the training and are never trained on. Returns a JSON-able report."""
        ...

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        """Up to `n` distinct proposals for each request, best first, grouped by request in the order given.

        What a request gets does not depend on the other requests; the same seed gives the same lines.
        """
        ...

    def log_prob(self, lines: Sequence[Line]) -> NDArray[np.float64]:
        """(n,) natural log-probability of each line's text, given its style; -inf where it cannot be written."""
        ...

    def save(self, directory: Path) -> None:
        """Write what was learned below `directory`: safetensors and JSON only."""
        ...


GENERATORS: dict[str, str] = {
    "templates": "recenv.generators.templates:TemplateGenerator",
    "transformer": "recenv.generators.transformer:TransformerGenerator",
    "gan": "recenv.generators.gan:GanGenerator",
    "pretrained": "recenv.generators.pretrained:PretrainedGenerator",
}
"""Name on the command line -> "module:class"; imported only when asked for."""
PRETRAINED = "pretrained"
"""The one that needs to be told which checkpoint."""


def make_generator(
    name: str, slots: Iterable[str] = ("product", "size", "price"), pretrained: PretrainedConfig | None = None
) -> Generator:
    """The generator of that name; `slots` are the facts that its lines may ask for. `pretrained`: the checkpoint of
    the generator of that name, which nothing is loaded of yet.

    Raises:
        InputError: no generator has this name, a slot is unknown, or a checkpoint is given to another generator than
            `pretrained`, or not to that, or needs packages that are missing.
        ArtefactError: there is no such checkpoint.
    """
    if name != PRETRAINED:
        if pretrained is not None:
            raise InputError("option pretrained", f"with the generator {name!r}", f"Choose {PRETRAINED!r}")
        made: Generator = _class_of(name)(slots=tuple(slots))
        return made
    chosen = pretrained or PretrainedConfig()
    chosen.check()
    made = _class_of(name)(slots=tuple(slots), pretrained=chosen)
    return made


def load_generator(name: str, directory: Path) -> Generator:
    """The generator of that name as saved in `directory`.

    Raises:
        InputError: no generator has this name, or there is no such folder.
    """
    found = _class_of(name)
    if not directory.is_dir():
        raise InputError(f"checkpoint {directory}", "is no folder", "Give the folder that the generator was saved in")
    made: Generator = found.load(directory)
    return made


def _class_of(name: str) -> Any:
    if name not in GENERATORS:
        raise InputError("generator", f"unknown name {name!r}", f"Choose one of {sorted(GENERATORS)}")
    module, _, attribute = GENERATORS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def check_asked(n: Any, seed: Any, temperature: Any) -> None:
    """What `generate` may be asked for.

    Raises:
        InputError: `n` is no whole number of 1 or more, `seed` is no seed, or `temperature` not finite and above 0.
    """
    check_whole("variants", n)
    check_seed(seed)
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not math.isfinite(temperature) or temperature <= 0:
        raise InputError("option temperature", f"{temperature!r}", "Give a finite number above 0")


def requests_for(items: Iterable[Row], styles: Sequence[str] = (), channel: str = "description") -> list[Request]:
    """One request for each catalogue row."""
    return [Request(item, tuple(styles), channel) for item in items]


def digest(text: str | bytes) -> str:
    """SHA-256 in hex of text (as UTF-8) or bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()


def rows(items: pa.Table | Iterable[Row]) -> list[Row]:
    """Catalogue rows as mappings, from an arrow table or from mappings already; `__none__` (show nothing) left out.

    Raises:
        InputError: a row lacks item_id or text, an id is no string, or an id occurs twice.
    """
    listed = [dict(row) for row in (items.to_pylist() if isinstance(items, pa.Table) else items)]
    kept: list[Row] = [row for row in listed if row.get("item_id") != NONE_ITEM]
    seen: set[str] = set()
    for position, row in enumerate(kept):
        item = row.get("item_id")
        if not isinstance(item, str) or not item or item in seen:
            raise InputError(
                f"items row {position}", f"item_id {item!r} is missing, no string or not unique", "Mend it"
            )
        if not isinstance(row.get("text"), str) or not row["text"].strip():
            raise InputError(f"item {item!r}", "no text, so no copy can name it", "Fill the column 'text'")
        seen.add(item)
    return kept


def to_table(variants: Iterable[Variant]) -> pa.Table:
    """Variants as the table `copies.parquet` (COPY_SCHEMA).

    `checks` is a JSON list of reasons; `log_prob` is rounded (LOG_PROB_DIGITS), and null where it is not finite.
    """
    return pa.Table.from_pylist([_row(v) for v in variants], schema=COPY_SCHEMA)


def _row(variant: Variant) -> dict[str, Any]:
    found = {name: getattr(variant, name) for name in COPY_SCHEMA.names} | {"checks": json.dumps(variant.checks)}
    known = variant.log_prob is not None and math.isfinite(variant.log_prob)
    return found | {"log_prob": round(found["log_prob"], LOG_PROB_DIGITS) if known else None}
