"""`recenv copy`: add copy variants to a world's catalogue, or decide about waiting ones, as a new world beside it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import ArtefactError, InputError
from recenv.core.evidence import moment
from recenv.core.free import require_free
from recenv.core.render import render
from recenv.data.columns import NONE_ITEM
from recenv.generators.base import (
    ADMITTED,
    PRETRAINED,
    Generator,
    Row,
    digest,
    load_generator,
    make_generator,
    rows,
    to_table,
)
from recenv.generators.corpus import read_corpus
from recenv.generators.evidence import COUNTED, count_purchases, with_evidence
from recenv.generators.guardrails import CopySet, write_copies
from recenv.generators.pretrained_config import PretrainedConfig
from recenv.generators.review import as_table, decide, decisions_of, reasons_of, settled
from recenv.variants import REJECTED_FILE, add_copies, purchase_counts
from recenv.world import World, judge_path

CURVES = "curves"
"""In the folder of a kept GAN: TensorBoard curves and samples of its training, under `gan/`."""
FIT_FILE = "fit.json"
"""In the folder of a kept generator: what it was trained on and how that went."""


@dataclass(frozen=True)
class CopyConfig:
    """Add copy variants to a world; with --review, list or decide about the lines that wait for a person."""

    world: Path
    """Folder of the world."""
    generator: tuple[str, ...] = ("templates",)
    """Where the lines come from; several share the lines of an item. Templates fill what neural ones leave open."""
    pretrained: str = ""
    """With `pretrained` among the generators: its checkpoint, a model folder (safetensors), a GGUF file or a hub id."""
    tune: str = "none"
    """How that is fitted to the seed corpus: none (its prompt shows lines of the style), or lora, which writes far
    better lines and takes a model of 135 million weights a quarter of an hour on one core."""
    checkpoint: Path | None = None
    """Folder of a saved generator of that kind; without it the generator trains itself on the seed corpus."""
    model: Path | None = None
    """Folder that keeps generators trained on the corpus, each in a folder of its name: read if trained there on the
    same lines with the same options and seed, else written after training. OUT-generators if not given."""
    variants: int = 3
    """Lines for each item."""
    styles: tuple[str, ...] = ()
    """Styles to write in; all that an item's evidence allows if none is given."""
    channel: str = "description"
    """Where the lines will stand, which limits their length: headline, description, sms, push, subject, banner."""
    temperature: float = 1.0
    """How freely a neural generator writes; templates do not mind."""
    slots: tuple[str, ...] = ("product", "size", "price")
    """Facts that a line may ask the catalogue for: product, brand, size, price, was_price, category."""
    evidence: bool = True
    """Read from the world's users which products many buy, and buy again: lines may then say so."""
    at: str = ""
    """When the lines are to be true (ISO 8601, UTC unless it says otherwise): offers that are over then count as none.
    The world's last moment if not given."""
    seed: int = 0
    """Seed of the choice of lines and of their effect. With --review: the seed that the lines were made with."""
    show: int = 0
    """Print so many random lines as a shopper would read them."""
    review: bool = False
    """List the lines that need review, with their reasons; with --approve, --reject or --retire carry decisions out."""
    approve: tuple[str, ...] = ()
    """With --review: ids of waiting lines to let in."""
    reject: tuple[str, ...] = ()
    """With --review: ids of waiting lines to refuse."""
    retire: tuple[str, ...] = ()
    """With --review: ids of the world's lines to show no more."""
    by: str = ""
    """With --review: who decides; kept with each line."""
    out: Path | None = None
    """Folder of the new world; WORLD-copy, or WORLD-reviewed, if not given."""


def run(config: CopyConfig) -> dict[str, Any]:
    """Generate, check, add; returns counts, reasons of rejected lines and a few rendered samples."""
    _check_options(config)
    if config.review:
        return _review(config)
    world = World.load(config.world)
    out = _target(config.world, config.out, "copy")
    currency = str(world.meta.get("currency", ""))
    items, evidence = _evidence(world, config.evidence)
    generators = _generators(config, config.model or out.with_name(f"{out.name}-generators"))
    made = write_copies(
        generators, items, config.variants, config.seed, currency,
        styles=config.styles, channel=config.channel, temperature=config.temperature,
        gap=None if "templates" in config.generator else make_generator("templates", config.slots),
        at=_moment(world, config.at), settled=settled([*_kept_out(config.world), *world.copies.to_pylist()]),
    )  # fmt: skip
    waiting = [*made.waiting, *(v for v in made.kept if v.status not in ADMITTED)]
    accepted = [v for v in made.kept if v.status in ADMITTED]
    rejected = to_table([*made.rejected, *waiting])
    path = add_copies(config.world, to_table(accepted), out, config.seed, rejected=rejected, items=_noted(world, items))
    _tell(path, made, len(accepted), len(items), config)
    by_id = {row["item_id"]: row for row in items}
    shown = [render(v.text, by_id[v.item_id], currency) for v in accepted]
    picked = np.random.default_rng(config.seed).permutation(len(shown))[: config.show].tolist()
    _print_lines([(accepted[i].style, shown[i]) for i in picked])
    return {
        "world": str(path),
        "items": len(items),
        "copies": len(accepted),
        "rejected": len(made.rejected),
        "reasons": made.counts,
        "needs_review": sum(line["status"] == "needs review" for line in _kept_out(path)),
        "styles": dict(sorted(Counter(v.style for v in accepted).items())),
        "generators": dict(sorted(Counter(v.generator for v in accepted).items())),
        "channel": config.channel,
        "evidence": evidence,
        "samples": shown[:5],
        "shown": [shown[i] for i in picked],
        "effect": str(World.load(path).meta["copy_label"]),
    }


def _check_options(config: CopyConfig) -> None:
    check_seed(config.seed)
    check_whole("variants", config.variants)
    check_whole("show", config.show, 0)
    if not np.isfinite(config.temperature) or config.temperature <= 0:
        raise InputError("option temperature", f"{config.temperature}", "Give a finite number above 0")
    if not config.review and (config.approve or config.reject or config.retire):
        raise InputError("option approve, reject or retire", "without --review", "Add --review")


def _generators(config: CopyConfig, kept: Path) -> list[Generator]:
    if len(set(config.generator)) != len(config.generator):
        raise InputError("option generator", f"{' '.join(config.generator)} names one twice", "Name each once")
    if config.checkpoint is not None and len(config.generator) != 1:
        raise InputError("option checkpoint", f"with {len(config.generator)} generators", "Name the one it is of")
    chosen = _pretrained(config)
    if config.checkpoint is not None:
        return [load_generator(config.generator[0], config.checkpoint)]
    # All are made before the first is trained: what is wrong with the last is told at once.
    made = {n: make_generator(n, config.slots, chosen if n == PRETRAINED else None) for n in config.generator}
    return [_fitted(generator, name, config.seed, kept / name) for name, generator in made.items()]


def _pretrained(config: CopyConfig) -> PretrainedConfig:
    """The checkpoint asked for; without a name if none is.

    Raises:
        InputError: it, or a tuning, is given without its generator or with `checkpoint`, or the tuning is unknown.
    """
    chosen = PretrainedConfig(config.pretrained, config.tune)
    if chosen != PretrainedConfig():
        if PRETRAINED not in config.generator:
            raise InputError("option pretrained or tune", "without its generator", f"Add --generator {PRETRAINED}")
        if config.checkpoint is not None:
            raise InputError("option pretrained or tune", "with --checkpoint, which is fitted", "Give one of the two")
    return chosen


def _fitted(generator: Generator, name: str, seed: int, folder: Path) -> Generator:
    """The generator as kept in `folder`, or trained now and kept there; as it is if it needs no training."""
    if getattr(generator, "fitted", True):
        return generator
    corpus = read_corpus()
    wanted = {
        "corpus": corpus.hash,
        "slots": sorted(getattr(generator, "slots", ())),
        "options": [repr(getattr(generator, name, None)) for name in ("config", "gan")],
        "claims": digest(" ".join(sorted(getattr(generator, "claims", ())))),
        "seed": seed,
        **({"source": source} if (source := getattr(generator, "source", "")) else {}),
    }
    note = folder / FIT_FILE
    if note.is_file() and _trained(note) == wanted:
        print(f"{generator.name} as trained before: {folder}")
        return load_generator(name, folder)
    train, held_out = corpus.split()
    print(f"fitting {generator.name} to {len(train)} lines less a tenth to stop by; {len(held_out)} it never sees")
    curves: dict[str, Any] = {"board": folder / CURVES} if name == "gan" else {}
    report = generator.fit(train, (), seed, **curves)
    generator.save(folder)
    note.write_text(json.dumps({"trained": wanted, "report": report}, indent=1) + "\n", encoding="utf-8")
    return generator


def _trained(note: Path) -> Any:
    try:
        read = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(str(note), f"cannot be read ({error})", "Remove its folder to train anew") from error
    if not isinstance(read, dict):
        raise ArtefactError(str(note), "no JSON object", "Remove its folder to train anew")
    return read.get("trained")


def _target(world: Path, asked: Path | None, ending: str) -> Path:
    """Where the new world goes; told before anything is trained where that cannot be."""
    out = asked or world.with_name(f"{world.name}-{ending}")
    blocked = next((p for p in (out, *out.parents) if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise InputError(f"option out {out}", f"{blocked} is a file", "Give a folder that can be made")
    require_free(out)
    if judge_path(world).exists():
        require_free(judge_path(out))
    return out


def _kept_out(world: Path) -> list[dict[str, Any]]:
    """The lines kept out of a world, with their state and reasons."""
    file = world / REJECTED_FILE
    return pq.read_table(file).to_pylist() if file.is_file() else []


def _moment(world: World, asked: str) -> datetime:
    at = moment(asked) if asked else datetime.fromtimestamp(int(world.start.clock.max()), UTC)
    if at is None:
        raise InputError("option at", f"{asked!r} is no moment", "Write it as 2026-05-01 or 2026-05-01T12:00:00+02:00")
    return at


def _evidence(world: World, wanted: bool) -> tuple[list[Row], dict[str, Any]]:
    items = rows(_named(world))
    if not wanted:
        return items, {}
    item, times, shoppers = purchase_counts(world)
    counted = count_purchases(item, times, world.n_items, shoppers)
    # The first row of a world's catalogue may stand for showing nothing: counts are by the table's own rows.
    index = {item_id: i for i, item_id in enumerate(world.items["item_id"].to_pylist())}
    return with_evidence(items, counted.of([index[str(row["item_id"])] for row in items]))


def _named(world: World) -> pa.Table:
    """The items that copy can name; the others are counted and go on being shown without copy.

    Raises:
        InputError: no item has a name.
    """
    table = world.items.filter(pc.not_equal(world.items["item_id"], NONE_ITEM))
    has = [isinstance(text, str) and bool(text.strip()) for text in table["text"].to_pylist()]
    if not any(has):
        raise InputError("world items", "none has a text, so no copy can name it", "Fill the column 'text'")
    if not all(has):
        print(f"{has.count(False):,} items have no text: they are shown without copy")
    return table.filter(pa.array(has))


def _noted(world: World, items: list[Row]) -> pa.Table:
    """The world's items with the flags that were counted (null where none was): the evidence stays with the lines."""
    table, by_id = world.items, {row["item_id"]: row for row in items}
    for name in COUNTED:
        flags = [by_id.get(item_id, {}).get(name) for item_id in table["item_id"].to_pylist()]
        # A column of the shop's own in another form is left as it is.
        if any(flags) and name not in table.column_names:
            table = table.append_column(name, pa.array(flags, pa.bool_()))
    return table


def _tell(path: Path, made: CopySet, accepted: int, items: int, config: CopyConfig) -> None:
    print(f"wrote {path}: {accepted:,} lines for {items:,} items")
    for reason, count in sorted(made.counts.items(), key=lambda pair: -pair[1]):
        print(f"  {count:,} refused or kept waiting for {reason}")
    if accepted < items * config.variants:
        print(
            f"  {items * config.variants - accepted:,} fewer than asked: no more distinct lines passed the guardrails"
        )
    if made.waiting:
        print(f"  {len(made.waiting):,} need review: recenv copy --world {path} --review")


def _print_lines(lines: list[tuple[str, str]]) -> None:
    for style, text in lines:
        print(f"  [{style}] {text}")


def _review(config: CopyConfig) -> dict[str, Any]:
    world = World.load(config.world)
    kept_out = _kept_out(config.world)
    waiting = [line for line in kept_out if line["status"] == "needs review"]
    decisions = decisions_of(approved=config.approve, rejected=config.reject, retired=config.retire)
    by_id = {row["item_id"]: row for row in rows(_named(world))}
    currency = str(world.meta.get("currency", ""))
    result: dict[str, Any] = {"world": str(config.world), "needs_review": len(waiting), "decided": len(decisions)}
    if not decisions:
        for line in waiting:
            line["shown"] = _shown(line, by_id, currency)
            print(f"{line['copy_id']}  [{_origin(line)}] {line['shown']}  ({', '.join(reasons_of(line))})")
        print(f"{len(waiting):,} lines need review")
        names = ("copy_id", "style", "channel", "text", "shown", "generator", "temperature", "log_prob")
        return result | {"lines": [{n: x.get(n) for n in names} | {"reasons": reasons_of(x)} for x in waiting]}
    out = _target(config.world, config.out, "reviewed")
    # A line that the world shows is the one meant, whatever was once kept out under the same id.
    ids = {line["copy_id"] for line in kept_out} - set(world.copies["copy_id"].to_pylist())
    about_shown = {k: v for k, v in decisions.items() if k not in ids}
    shown = decide(world.copies.to_pylist(), about_shown, config.by)
    moved = decide(kept_out, {k: v for k, v in decisions.items() if k in ids}, config.by)
    fresh = as_table([line for line in moved if line["status"] in ADMITTED])
    rest = as_table([line for line in moved if line["status"] not in ADMITTED])
    table = type(world.copies).from_pylist(shown, schema=world.copies.schema)
    path = add_copies(config.world, fresh, out, config.seed, rejected=rest, shown=table)
    print(f"wrote {path}: {', '.join(f'{n} {state}' for state, n in Counter(decisions.values()).items())}")
    return result | {"world": str(path), "states": dict(Counter(decisions.values())), "by": config.by}


def _origin(line: Row) -> str:
    """Style, channel and generator of a line; lines of older worlds name no channel."""
    return ", ".join(str(line[name]) for name in ("style", "channel", "generator") if line.get(name))


def _shown(line: Row, by_id: dict[str, Row], currency: str) -> str:
    """The line as a shopper would read it; its template and the reason where it cannot be shown."""
    item = by_id.get(line["item_id"])
    if item is None:
        return f"{line['text']}  (cannot be shown: item {line['item_id']!r} is not in the world)"
    try:
        return render(line["text"], item, currency)
    except InputError as error:
        return f"{line['text']}  (cannot be shown: {error})"


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CopyConfig))
