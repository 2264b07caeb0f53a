"""A pretrained checkpoint's tokenizer as a codec of lines: a prompt before, slots as ordinary tokens, newline after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer

from recenv.core.errors import ArtefactError
from recenv.core.render import SLOT_COLUMNS
from recenv.generators.corpus import Line
from recenv.generators.vocabulary import Condition

EVIDENCE_WORDS = {
    "price": "its price",
    "was_price": "a lower price than before",
    "often_bought": "many shoppers buy it",
    "bought_again": "shoppers buy it again",
    "offer_ends": "an offer that ends",
    "low_stock": "few are left",
}
"""Evidence as the prompt says it."""


class PretrainedCodec:
    """Implements `recenv.generators.transformer_data.Codec` over a `tokenizers` tokenizer.

    A line is written after a prompt ("Short shop lines, style playful:" and examples of the style) and ends with a
    newline, or with the checkpoint's own end token where a newline is no single token.

    Args:
        tokenizer: the checkpoint's. end: id of its end token. size: length of the model's embedding, at least the
            tokenizer's. examples: lines of which the prompt shows `shown` of the style; none for a fine-tuned model.
    """

    closed = False
    unknown = -1

    def __init__(
        self, tokenizer: Tokenizer, end: int, size: int, examples: Sequence[Line] = (), shown: int = 0
    ) -> None:
        self.tokenizer, self.size, self.examples, self.shown = tokenizer, size, tuple(examples), shown
        self.own_end = end
        newline = tokenizer.encode("\n", add_special_tokens=False).ids
        self.end = newline[0] if len(newline) == 1 and "\n" in tokenizer.decode(newline) else end
        self.pad = end
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        missing = [slot for slot in SLOT_COLUMNS if f"{{{slot}}}" not in vocabulary]
        if missing:
            raise ArtefactError("tokenizer", f"has no token for slot {missing[0]}", "Use `with_slots`")
        self.slots = {slot: vocabulary[f"{{{slot}}}"] for slot in SLOT_COLUMNS}
        self.texts = {n: tokenizer.decode([n], skip_special_tokens=False) for n in vocabulary.values()}
        special = {n for n, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self.controls = frozenset((special | set(range(len(vocabulary), size))) - {self.end})

    @staticmethod
    def with_slots(tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer with a token for each slot; ordinary, since special ones vanish in decoding."""
        made = Tokenizer.from_str(tokenizer.to_str())
        made.add_tokens([AddedToken(f"{{{slot}}}", special=False, normalized=False) for slot in SLOT_COLUMNS])
        return made

    def __len__(self) -> int:
        return self.size

    def encode(self, text: str) -> list[int]:
        """Token ids of a line, without its end."""
        return list(self.tokenizer.encode(f" {text}", add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text up to the end; one space between words, none at either end."""
        kept: list[int] = []
        for number in ids:
            if number in (self.end, self.own_end):
                break
            kept.append(int(number))
        return " ".join(self.tokenizer.decode(kept, skip_special_tokens=False).split())

    def prefix(self, condition: Condition) -> list[int]:
        """Token ids of the prompt."""
        return list(self.tokenizer.encode(self.prompt(condition), add_special_tokens=False).ids)

    def prompt(self, condition: Condition) -> str:
        """The words before a line; parts of the condition that are "" are not named.

        Without examples the model is one that learned what the condition's bare words ask for: more would cost time.
        """
        parts = [f"{'style ' if self.shown else ''}{condition.style.replace('_', ' ')}" if condition.style else ""]
        parts += [EVIDENCE_WORDS.get(need, need) for need in condition.needs]
        named = (("shelf", condition.category), ("for", condition.segment), ("place", condition.channel))
        parts += [f"{name} {value}" for name, value in named if value]
        lines = [x.text for x in self.examples if x.style == condition.style and set(x.needs) <= set(condition.needs)]
        words = ", ".join(p for p in parts if p)
        if not self.shown:
            return f"{words or 'any style'}:"
        step = max(1, len(lines) // max(1, self.shown))
        shown = "".join(f"- {text}\n" for text in lines[::step][: self.shown])
        return f"Short shop lines, {words or 'any style'}:\n{shown}-"

    def to_json(self) -> dict[str, Any]:
        """As plain data, examples apart."""
        return {"tokenizer": self.tokenizer.to_str(), "end": self.own_end, "size": self.size, "shown": self.shown}

    @classmethod
    def from_json(cls, saved: dict[str, Any], examples: Sequence[Line]) -> PretrainedCodec:
        """From `to_json` and the training lines."""
        return cls(Tokenizer.from_str(saved["tokenizer"]), saved["end"], saved["size"], examples, saved["shown"])
