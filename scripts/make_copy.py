"""`recenv copy`: add copy variants to a world's catalogue, as a new world beside the old."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.core.checks import check_seed, check_whole
from recenv.core.render import render
from recenv.generators.base import ADMITTED, make_generator, rows, to_table
from recenv.generators.guardrails import write_copies
from recenv.variants import add_copies
from recenv.world import World


@dataclass(frozen=True)
class CopyConfig:
    """Add copy variants to a world."""

    world: Path
    """Folder of the world."""
    generator: str = "templates"
    """Where the lines come from."""
    variants: int = 3
    """Lines for each item."""
    slots: tuple[str, ...] = ("product", "size", "price")
    """Facts that a line may ask the catalogue for: product, brand, size, price, category."""
    seed: int = 0
    """Seed of the choice of lines and of their assumed effect."""
    out: Path | None = None
    """Folder of the new world; WORLD-copy if not given."""


def run(config: CopyConfig) -> dict[str, Any]:
    """Generate, check, add; returns counts, reasons of rejected lines and a few rendered samples."""
    check_seed(config.seed)
    check_whole("variants", config.variants)
    world = World.load(config.world)
    out = config.out or config.world.with_name(f"{config.world.name}-copy")
    currency = str(world.meta.get("currency", ""))
    items = rows(world.items)
    made = write_copies(make_generator(config.generator, config.slots), items, config.variants, config.seed, currency)
    waiting = [v for v in made.kept if v.status not in ADMITTED]
    accepted, rejected = to_table(v for v in made.kept if v.status in ADMITTED), to_table([*made.rejected, *waiting])
    path = add_copies(config.world, accepted, out, config.seed, rejected=rejected)
    by_id = {row["item_id"]: row for row in items}
    few = len(items) * config.variants - len(made.kept)
    print(f"wrote {path}: {len(made.kept):,} lines for {len(items):,} items; their effect is assumed, not learned")
    if few:
        print(f"  {few:,} fewer than asked: no more distinct lines passed the guardrails")
    return {
        "world": str(path),
        "items": len(items),
        "copies": len(made.kept),
        "rejected": len(made.rejected),
        "reasons": made.counts,
        "needs_review": len(waiting),
        "styles": dict(sorted(Counter(v.style for v in made.kept).items())),
        "samples": [render(v.text, by_id[v.item_id], currency) for v in made.kept[:5]],
        "effect": "assumed",
    }


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CopyConfig))
