"""Tokens of the small transformer: words, marks, slots and control tokens, through a word-level `tokenizers` tokenizer.

Words are kept in lower case but for names that are never written so ("Sunday"); `join` puts sentence capitals and
spaces back. Slots and control tokens are ordinary added tokens: special ones would vanish when decoded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import WordLevelTrainer

from recenv.core.errors import ArtefactError, InputError
from recenv.core.render import SLOT_COLUMNS
from recenv.generators.corpus import Line

PAD, UNKNOWN, END = "<pad>", "<unk>", "<end>"
ANY = "any"

_PIECE = re.compile(r"\{[^{}]*\}|\w+(?:['’-]\w+)*(?:(?<=s)['’])?|[^\w\s]")
_CLOSING, _OPENING, _STOPS = frozenset(".,:;!?)”…"), frozenset("“("), frozenset(".!?")


@dataclass(frozen=True)
class Condition:
    """What a line is asked for; "" where anything will do.

    Attributes:
        style: name of the style. needs: evidence on which the line may rest, sorted.
        category, segment, channel: as in `recenv.generators.corpus.Line`.
    """

    style: str = ""
    needs: tuple[str, ...] = ()
    category: str = ""
    segment: str = ""
    channel: str = ""

    @classmethod
    def of(cls, line: Line) -> Condition:
        """The condition under which a line of the corpus was written."""
        return cls(line.style, tuple(sorted(line.needs)), line.category, line.segment, line.channel)

    def controls(self) -> tuple[str, ...]:
        """Its control tokens in fixed order, e.g. ("<style=plain>", "<needs=any>", ...)."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"needs": "+".join(self.needs)}
        return tuple(f"<{name}={value or ANY}>" for name, value in values.items())


def cut(text: str) -> list[str]:
    """Slots, words and marks of a text in order; case as written."""
    return _PIECE.findall(text)


def join(pieces: Iterable[str]) -> str:
    """The text of pieces: spaces between words, none before closing marks, a capital where a sentence begins."""
    out, capital, glued = "", True, True
    for piece in pieces:
        if piece in _CLOSING:
            out += piece
        else:
            shown = piece[:1].upper() + piece[1:] if capital and piece[:1] != "{" else piece
            out += shown if glued else f" {shown}"
        glued = piece in _OPENING
        capital = piece in _STOPS or (capital and (piece in _CLOSING or piece in _OPENING))
    return out


class Vocabulary:
    """Word-level tokenizer with slots and control tokens.

    Args:
        tokenizer: as made by `train`. names: lower-case form -> form of words that always have a capital.
    """

    closed = True

    def __init__(self, tokenizer: Tokenizer, names: dict[str, str]) -> None:
        self.tokenizer, self.names = tokenizer, dict(names)
        self.ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        missing = [t for t in (PAD, UNKNOWN, END, "{product}", f"<style={ANY}>") if t not in self.ids]
        if missing:
            raise ArtefactError("tokenizer", f"has no token {missing[0]}", "Use one that this package saved")
        self.texts = {number: text for text, number in self.ids.items()}
        self.pad, self.unknown, self.end = self.ids[PAD], self.ids[UNKNOWN], self.ids[END]
        self.slots = {slot: self.ids[f"{{{slot}}}"] for slot in SLOT_COLUMNS}
        self.controls = frozenset(n for t, n in self.ids.items() if len(t) > 1 and t[0] == "<")

    @classmethod
    def train(cls, lines: Sequence[Line]) -> Vocabulary:
        """Words of the lines, all slots, and the control tokens of their conditions.

        Raises:
            InputError: no line, or one with an unknown slot.
        """
        if not lines:
            raise InputError("corpus", "no line to make a vocabulary of", "Give the lines to train on")
        names = _names(lines)
        tokenizer = Tokenizer(WordLevel({}, unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        trainer = WordLevelTrainer(special_tokens=[PAD, UNKNOWN, END], show_progress=False)
        words = (_lower(piece, names) for line in lines for piece in cut(line.text))
        tokenizer.train_from_iterator((w for w in words if w[0] != "{"), trainer)
        for slot in sorted({s for line in lines for s in line.slots}):
            if slot not in SLOT_COLUMNS:
                raise InputError("corpus", f"a line has the unknown slot {slot!r}", f"Use {sorted(SLOT_COLUMNS)}")
        controls = {c for line in lines for c in Condition.of(line).controls()} | set(Condition().controls())
        added = [f"{{{slot}}}" for slot in SLOT_COLUMNS] + sorted(controls)
        tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in added])
        return cls(tokenizer, names)

    def __len__(self) -> int:
        return len(self.ids)

    def pieces(self, text: str) -> list[str]:
        """Tokens of a text as strings; unknown words as they are."""
        return [_lower(piece, self.names) for piece in cut(text)]

    def encode(self, text: str) -> list[int]:
        """Token ids of a line, without the end token; `unknown` for words that the vocabulary lacks."""
        return list(self.tokenizer.encode(" ".join(self.pieces(text)), add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids up to the first end token; padding left out."""
        kept: list[int] = []
        for number in ids:
            if number == self.end:
                break
            if number != self.pad:
                kept.append(int(number))
        return join(self.tokenizer.decode([n], skip_special_tokens=False) for n in kept)

    def prefix(self, condition: Condition) -> list[int]:
        """Control tokens before a line; values that the corpus never had become "any"."""
        wild = Condition().controls()
        return [self.ids.get(control, self.ids[other]) for control, other in zip(condition.controls(), wild)]

    def to_json(self) -> dict[str, Any]:
        """As plain data; `from_json` is the inverse."""
        return {"names": self.names, "tokenizer": self.tokenizer.to_str()}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Vocabulary:
        """From `to_json`."""
        return cls(Tokenizer.from_str(saved["tokenizer"]), saved["names"])


def _names(lines: Sequence[Line]) -> dict[str, str]:
    """Words that stand with a capital inside a sentence and never without one."""
    forms: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        before = "."
        for piece in cut(line.text):
            if piece[0] != "{":
                first = before in _STOPS or (before in _OPENING)
                if not first:
                    forms[piece.lower()].add(piece)
            before = piece
    return {low: next(iter(f)) for low, f in sorted(forms.items()) if len(f) == 1 and low not in f}


def _lower(piece: str, names: dict[str, str]) -> str:
    low = piece if piece[0] == "{" else piece.lower()
    return names.get(low, low)
