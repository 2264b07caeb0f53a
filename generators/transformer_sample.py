"""Sampling lines under constraints: batches of one condition, and what of them may be offered."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import Cache, GenerationConfig, LogitsProcessorList, PreTrainedModel

from recenv.core.render import SLOT_COLUMNS
from recenv.core.render import slots as slots_in
from recenv.generators.constraints import Neighbours, constraints, forbidden_tokens
from recenv.generators.known_lines import Group, Known
from recenv.generators.transformer_data import Codec
from recenv.generators.transformer_mixture import Mixed, Mixture
from recenv.generators.vocabulary import Condition, cut


@dataclass(frozen=True)
class Plan:
    """What one batch of lines may hold.

    Attributes:
        group: style and evidence. slots: that the lines may ask for. condition: the control tokens.
        claims: words that are claims, unless the group's own lines have them.
    """

    group: Group
    slots: frozenset[str]
    condition: Condition
    claims: frozenset[str]

    @property
    def barred(self) -> frozenset[str]:
        """Claim words of which the group's evidence says nothing."""
        return self.claims - (self.group.own if self.group.needs else frozenset())

    def allowed(self, codec: Codec) -> frozenset[int]:
        """Ids of tokens that a line may hold, its end not counted."""
        filled = {codec.slots[slot] for slot in self.slots}
        bad = forbidden_tokens(codec.texts, codec.slots.values(), self.barred)
        words = {n for n, text in codec.texts.items() if n not in bad and (not codec.closed or self._fits(text))} - set(
            codec.slots.values()
        )
        return frozenset((words | filled) - codec.controls - {codec.end, codec.pad, codec.unknown})

    def constraints(self, codec: Codec, prefix: int, beside: Neighbours | None) -> LogitsProcessorList:
        """What a line may not say, for lines behind `prefix` tokens; `beside`: see `constraints.Beside`."""
        needed = [codec.slots[slot] for slot in sorted(self.group.always)]
        slots = list(codec.slots.values())
        return constraints(self.allowed(codec), len(codec), slots, needed, codec.end, prefix, beside)

    def _fits(self, piece: str) -> bool:
        return piece.lower() in self.group.words


def sample(
    model: PreTrainedModel,
    codec: Codec,
    plan: Plan,
    count: int,
    temperature: float,
    max_tokens: int,
    beside: Neighbours | None = None,
    constrained: bool = True,
    mixture: Mixture | None = None,
    past: Cache | None = None,
) -> list[list[int]]:
    """Token ids of `count` lines, end token included where one was reached.

    To be called within a `torch_session`, whose seed decides the lines. Without `constrained` nothing is forbidden but
    control tokens: for comparisons. With `mixture` lines are drawn from it; `temperature` then acts on the mixture.
    `past`: what the model keeps of the prefix but for its last token, for all lines; used up.
    """
    prefix = codec.prefix(plan.condition)
    if constrained:
        chain = plan.constraints(codec, len(prefix), beside)
    else:
        words = set(codec.texts) - codec.controls - {codec.pad, codec.unknown}
        chain = constraints(words, len(codec), [], [], codec.end, len(prefix))
    if mixture is not None:
        chain = LogitsProcessorList([Mixed(mixture, plan.condition.style), *chain])
    ids = torch.tensor([prefix] * count)
    settings = GenerationConfig(
        do_sample=True, temperature=float(temperature), top_k=0, top_p=1.0, max_new_tokens=max_tokens,
        pad_token_id=codec.pad, eos_token_id=codec.end, bos_token_id=None, use_cache=True,
    )  # fmt: skip
    model.eval()
    with torch.no_grad(), _ended_rows_are_padded():
        out = model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), generation_config=settings, logits_processor=chain,
            past_key_values=past,
        )  # fmt: skip
    return [_until(row[len(prefix) :], codec.end) for row in out.tolist()]


@contextmanager
def _ended_rows_are_padded() -> Iterator[None]:
    """Without the library's warning that ids hold padding: it stands behind lines that have ended, read by nobody."""
    logger = logging.getLogger("transformers.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _until(ids: Sequence[int], end: int) -> list[int]:
    """Up to the first end token, which stays."""
    return list(ids[: ids.index(end) + 1]) if end in ids else list(ids)


def neighbours(codec: Codec, known: Known) -> Neighbours:
    """Which tokens may stand beside a slot: those that do in training lines."""
    slots = sorted(codec.slots.values())
    row = {slot: k for k, slot in enumerate(slots)}
    left, right = (torch.zeros(len(slots), len(codec), dtype=torch.bool) for _ in range(2))
    first = torch.zeros(len(slots), dtype=torch.bool)
    for line in known.lines:
        ids = [*codec.encode(line.text), codec.end]
        if ids[0] in row:
            first[row[ids[0]]] = True
        for before, after in pairwise(ids):
            if after in row:
                left[row[after], before] = True
            if before in row:
                right[row[before], after] = True
    return Neighbours(torch.tensor(slots), left, right, first)


def line_reasons(
    text: str, ended: bool, slots: Collection[str], needed: Iterable[str], barred: Collection[str]
) -> list[str]:
    """What is wrong with a sampled line before the guard sees it, in the guard's words."""
    found = slots_in(text)
    pieces = [piece.lower() for piece in cut(text)]
    runs = [pair for pair in pairwise(pieces) if all(p[0].isalpha() for p in pair)]
    checks = {
        "unfinished": not ended,
        "digit": any(c.isnumeric() for piece in pieces if piece[0] != "{" for c in piece),
        "unknown_word": "<unk>" in text or "<pad>" in text,
        "unbalanced": any(text.count(a) != text.count(b) for a, b in ("()", "“”")),
        "repeated": len(set(runs)) < len(runs),
        "claim": any(piece in barred for piece in pieces),
    }
    reasons = [name for name, bad in checks.items() if bad]
    reasons += [f"unknown_slot:{s}" for s in found if s not in SLOT_COLUMNS]
    reasons += [f"missing_slot:{s}" for s in found if s in SLOT_COLUMNS and s not in slots]
    reasons += [f"repeated_slot:{s}" for s in found if text.count(f"{{{s}}}") > 1]
    return reasons + [f"needed_slot:{s}" for s in sorted(needed) if s not in found]
