"""Options of the small transformer."""

from __future__ import annotations

from dataclasses import dataclass

from recenv.core.checks import check_type, check_whole
from recenv.core.errors import InputError


@dataclass(frozen=True)
class TransformerConfig:
    """A causal transformer from scratch (GPT-2 layers) on a few thousand lines.

    Attributes:
        layers: blocks. width: length of the hidden vectors. heads: of attention; a divisor of the width.
        dropout: share of activations hidden in training.
        word_drop: share of input tokens replaced by the unknown token in training, not as targets.
        rare_drop: share of words that occur once taken for unknown words in training, as inputs and targets.
        turn: share of lines "X: {product}." read as "{product}. X." in training and the other way round.
        style_drop: share of lines whose style is hidden in training. control_drop: the same for every other control.
        learning_rate: AdamW's, constant: the average of weights does what a falling one would.
        weight_decay: AdamW's decoupled weight decay.
        batch: lines a step. epochs: most passes. patience: passes beyond `slack` before stopping.
        slack: of passes whose validation perplexity is at most (1 + slack) times the best, the last is kept: the best
            alone is too flat a distribution to sample good grammar from.
        average: decay a step of the moving average of weights that is kept (Polyak averaging).
        pool: lines sampled together for one style, evidence and set of slots. blocks: most such pools a request draws.
        ngram_share: share of the n-grams in the mixture (`transformer_mixture.Mixture`); None chooses it on the lines
            that stop training, 0 leaves the transformer alone. `gan` and `pretrained` have no n-grams, whatever it is.
        unseen: most new runs of tokens in a line (`Known.unseen`); more are read as bad grammar.
        max_tokens: most tokens of a line, end included. threads: torch threads.
    """

    layers: int = 2
    width: int = 96
    heads: int = 4
    dropout: float = 0.2
    word_drop: float = 0.1
    rare_drop: float = 0.3
    turn: float = 0.1
    style_drop: float = 0.05
    control_drop: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    batch: int = 32
    epochs: int = 30
    patience: int = 5
    slack: float = 0.25
    average: float = 0.98
    pool: int = 1800
    blocks: int = 2
    ngram_share: float | None = None
    unseen: int = 0
    max_tokens: int = 28
    threads: int = 1

    def __post_init__(self) -> None:
        for name, annotation in self.__annotations__.items():
            check_type("TransformerConfig", name, annotation, getattr(self, name))
        for name in ("layers", "heads", "batch", "epochs", "patience", "pool", "blocks", "threads"):
            check_whole(name, getattr(self, name))
        check_whole("unseen", self.unseen, 0)
        check_whole("max_tokens", self.max_tokens, 4, 256)
        check_whole("width", self.width, 8, 2048)
        if self.width % self.heads:
            raise InputError("option width", f"{self.width} with {self.heads} heads", "Give a multiple of the heads.")
        for name in ("dropout", "word_drop", "rare_drop", "turn", "style_drop", "control_drop", "average"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"option {name}", f"{getattr(self, name)}", "Give a share from 0 to below 1.")
        if self.ngram_share is not None and not 0.0 <= self.ngram_share < 1.0:
            raise InputError("option ngram_share", f"{self.ngram_share}", "Give a share from 0 to below 1.")
        if not 0.0 <= self.slack < 10.0:
            raise InputError("option slack", f"{self.slack}", "Give a number from 0 to below 10.")
        if self.learning_rate <= 0.0 or self.weight_decay < 0.0:
            raise InputError(
                "option learning_rate or weight_decay",
                f"{self.learning_rate}, {self.weight_decay}",
                "Give a rate above 0 and a decay of 0 or more.",
            )
