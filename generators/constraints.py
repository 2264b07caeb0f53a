"""Logits processors: what a line may not say is given probability 0 while it is written.

All work on `input_ids` (B, prefix + t) int64 and `scores` (B, vocabulary) float32 and look only at what stands after
the prefix. A row is never left without a token: where nothing is allowed the end of the line is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from recenv.core.errors import InputError

_MARKS = frozenset("\ufffd%‰‱٪％{}<>[]|\\/@#*_=^~`\n\r\t")


def states_fact(text: str) -> bool:
    """Whether a token's text holds a digit, a currency or percent sign, a control character, markup or a brace."""
    return any(c in _MARKS or unicodedata.category(c)[0] in ("N", "C") or unicodedata.category(c) == "Sc" for c in text)


def forbidden_tokens(texts: Mapping[int, str], slots: Collection[int], words: Collection[str]) -> frozenset[int]:
    """Ids of tokens that no line may hold.

    Args:
        texts: id -> text of the token. slots: ids that stay allowed whatever their text.
        words: lower-case words that are claims.
    """
    bad = {n for n, text in texts.items() if states_fact(text) or text.strip(" .,:;!?'’“”()-").lower() in words}
    return frozenset(bad - set(slots))


class Only(LogitsProcessor):
    """Allows some tokens at every step.

    Args:
        allowed: ids. size: length of the vocabulary.
    """

    def __init__(self, allowed: Iterable[int], size: int) -> None:
        self.mask = torch.full((size,), float("-inf"))
        self.mask[sorted(allowed)] = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores + self.mask


class Once(LogitsProcessor):
    """Each of some tokens (the slots) at most once in a line."""

    def __init__(self, ids: Sequence[int], prefix: int) -> None:
        self.ids, self.prefix = torch.tensor(list(ids), dtype=torch.int64), prefix

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        used = (input_ids[:, self.prefix :, None] == self.ids).any(dim=1)  # (B, slots)
        scores = scores.clone()
        scores[:, self.ids] = scores[:, self.ids].masked_fill(used, float("-inf"))
        return scores


class Needed(LogitsProcessor):
    """The line may not end before each of some tokens stands in it."""

    def __init__(self, ids: Sequence[int], end: int, prefix: int) -> None:
        self.ids, self.end, self.prefix = torch.tensor(list(ids), dtype=torch.int64), end, prefix

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        there = (input_ids[:, self.prefix :, None] == self.ids).any(dim=1).all(dim=1)  # (B,)
        scores = scores.clone()
        scores[:, self.end] = scores[:, self.end].masked_fill(~there, float("-inf"))
        return scores


@dataclass(frozen=True)
class Neighbours:
    """Which tokens may stand beside a slot.

    Args:
        ids: (slots,) int64. left, right: (slots, size) bool, token may stand right before, right after it.
        first: (slots,) bool, may begin a line.
    """

    ids: Tensor
    left: Tensor
    right: Tensor
    first: Tensor


class Beside(LogitsProcessor):
    """Slots stand only between neighbours that they have in the corpus."""

    def __init__(self, neighbours: Neighbours, prefix: int) -> None:
        self.known, self.prefix = neighbours, prefix

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        known, last = self.known, input_ids[:, -1]
        begun = input_ids.shape[1] > self.prefix
        fits = known.left[:, last].T if begun else known.first.expand(len(last), -1)  # (B, slots)
        scores = scores.clone()
        scores[:, known.ids] = scores[:, known.ids].masked_fill(~fits, float("-inf"))
        if begun:
            for k, slot in enumerate(known.ids.tolist()):
                scores[last == slot] = scores[last == slot].masked_fill(~known.right[k], float("-inf"))
        return scores


class NeverEmpty(LogitsProcessor):
    """Last in a list: a row in which nothing is allowed ends."""

    def __init__(self, end: int) -> None:
        self.end = end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        stuck = torch.isneginf(scores).all(dim=1)
        scores = scores.clone()
        scores[stuck, self.end] = 0.0
        return scores


def constraints(
    allowed: Iterable[int],
    size: int,
    slots: Sequence[int],
    needed: Sequence[int],
    end: int,
    prefix: int,
    beside: Neighbours | None = None,
) -> LogitsProcessorList:
    """The list for one batch of lines with a prefix of one length.

    Args:
        allowed: ids of words, marks and slots that the line may hold. size: length of the vocabulary.
        slots: ids that may stand once. needed: ids that must stand. end: id that ends a line.
        beside: for `Beside`.

    Raises:
        InputError: a needed token is not allowed.
    """
    usable = frozenset(allowed) | {end}
    if not usable.issuperset(needed):
        raise InputError("constraints", "a needed token is forbidden", "Allow it, or do not ask for the line")
    chain: list[LogitsProcessor] = [Only(usable, size), Once(slots, prefix), Needed(needed, end, prefix)]
    if beside is not None:
        chain.append(Beside(beside, prefix))
    return LogitsProcessorList([*chain, NeverEmpty(end)])
