"""Which lines a request gets: drawn by its own key from pools that are the same for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recenv.core import rng
from recenv.generators.base import Request, Variant
from recenv.generators.corpus import Line
from recenv.generators.known_lines import Group
from recenv.generators.templates import usable_slots
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.vocabulary import Condition

Chosen = tuple[str, str, float]
"""Style, text, log-probability."""


@dataclass(frozen=True)
class PoolKey:
    """All that decides the lines of a pool.

    Attributes:
        group: style and evidence. slots: that its lines may ask for. condition: controls. temperature: of sampling.
        seed: the caller's. block: 0 for the first pool of this kind, 1 for the next.
    """

    group: Group
    slots: frozenset[str]
    condition: Condition
    temperature: float
    seed: int
    block: int

    @property
    def text(self) -> str:
        """The key as text, in a fixed order."""
        return repr((sorted(self.slots), self.condition.controls(), self.temperature, self.seed, self.block))

    def __hash__(self) -> int:
        return hash(self.text)


class Pools(Protocol):
    """What `choose` asks of a generator."""

    name: str
    hash: str
    slots: frozenset[str]
    config: TransformerConfig

    @property
    def styles(self) -> tuple[str, ...]: ...

    def groups(self, style: str) -> tuple[Group, ...]: ...

    def known_condition(self, condition: Condition) -> Condition: ...

    def pool(self, key: PoolKey) -> list[tuple[str, float]]: ...


def choose(pools: Pools, request: Request, n: int, seed: int, temperature: float) -> list[Chosen]:
    """Up to `n` distinct lines: styles in turn, in the order of draws keyed by (seed, item, style).

    More lines asked for continue the same sequence.
    """
    slots = usable_slots(request.item) & pools.slots
    key = rng.word(request.item_id)
    styles = [s for s in pools.styles if not request.styles or s in request.styles]
    for style in request.styles:
        pools.groups(style)
    order = np.argsort(rng.uniform(seed, key, np.array([rng.word(s) for s in styles], np.int64)), kind="stable")
    queues = [_queue(pools, styles[i], request, slots, seed, temperature) for i in order]
    chosen: dict[str, Chosen] = {}
    while queues and len(chosen) < n:
        for queue in list(queues):
            line = next((x for x in queue if x[1] not in chosen), None)
            if line is None:
                queues.remove(queue)
            elif len(chosen) < n:
                chosen[line[1]] = line
    return list(chosen.values())


def variant(pools: Pools, request: Request, chosen: Chosen, seed: int, temperature: float) -> Variant:
    """A chosen line as a variant of the request's item."""
    style, text, log_prob = chosen
    return Variant(
        item_id=request.item_id,
        style=style,
        template=Line(style, text).line_id,
        text=text,
        generator=pools.name,
        generator_hash=pools.hash,
        seed=seed,
        log_prob=log_prob,
        temperature=temperature,
        channel=request.channel,
        segment=request.segment,
    )


def _queue(
    pools: Pools, style: str, request: Request, slots: frozenset[str], seed: int, temperature: float
) -> Iterator[Chosen]:
    """Lines of a style for a request, pool after pool, each pool in an order of the request's own."""
    own = rng.word(request.item_id)
    groups = [g for g in pools.groups(style) if g.open_to(request.item, slots)]
    for block in range(pools.config.blocks):
        found: list[tuple[str, float]] = []
        for group in groups:
            asked = Condition(
                style, group.needs, str(request.item.get("category") or ""), request.segment, request.channel
            )
            key = PoolKey(group, slots, pools.known_condition(asked), temperature, seed, block)
            found += pools.pool(key)
        ranks = rng.uniform(seed, own, np.array([rng.word(text) for text, _ in found] or [0], np.int64))
        for i in np.argsort(ranks[: len(found)], kind="stable"):
            yield (style, *found[int(i)])
