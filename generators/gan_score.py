"""What the adversarial phase trains on, and the held-out quality and diversity by which it chooses a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recenv.generators.gan_networks import LineRNN
from recenv.generators.gan_sample import draw
from recenv.generators.quality import bleu, distinct_n, self_bleu
from recenv.generators.transformer_data import Batch, Examples
from recenv.generators.transformer_fit import line_logs

_SEED = 20_177


@dataclass(frozen=True)
class Check:
    """What a generator is worth on validation lines.

    Attributes:
        nll: loss of validation lines, nats a token. score: the higher the better. figures: by name of curve.
        lines: samples to show.
    """

    nll: float
    score: float
    figures: dict[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Material:
    """What the loop trains on; it knows nothing of words.

    Attributes:
        batch: examples by position, with noise or as they are. count: their number. validation: lines that nothing
            trains on. check: the worth of a generator. barred: (V,) -inf for tokens that are no part of a line, else 0.
        end, pad: ids. length: most tokens of a line, end included.
    """

    batch: Callable[[NDArray[np.int64], np.random.Generator | None], Batch]
    count: int
    validation: Batch
    check: Callable[[LineRNN], Check]
    barred: Tensor
    end: int
    pad: int
    length: int


def quality_diversity(nll: float, likeness: float, sameness: float) -> float:
    """- NLL + BLEU - self-BLEU.

    The loss of validation lines (nats a token) falls with both quality and coverage, but a model that also writes much
    rubbish hardly pays for it; BLEU of samples against validation lines sees that; self-BLEU takes back what is had by
    saying the same again.
    """
    return likeness - sameness - nll


class LineCheck:
    """`Material.check` for lines of the corpus: every look draws with the same random stream, so that looks differ by
    the model alone.

    Args:
        examples: validation lines. barred: (V,), see `Material`. samples: lines to draw, for the conditions of the
            validation lines in turn. length: most tokens of a line.
    """

    def __init__(self, examples: Examples, barred: Tensor, samples: int, length: int) -> None:
        self.examples, self.barred, self.samples, self.length = examples, barred, samples, length

    def __call__(self, model: LineRNN) -> Check:
        codec, count = self.examples.codec, len(self.examples.lines)
        logs, tokens = line_logs(model, self.examples)
        prefix = self.examples.batch([k % count for k in range(self.samples)], None).ids[:, : model.prefix]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            ids = draw(model, prefix, self.length, self.barred, codec.end, codec.pad)
        lines = [codec.decode(row) for row in ids.tolist()]
        return judged(-float(logs.sum()) / tokens, lines, [line.text for line in self.examples.lines])


def judged(nll: float, lines: Sequence[str], references: Sequence[str]) -> Check:
    """The check of samples against references; a generator that writes nothing has no likeness and says the same."""
    full = [line for line in lines if line]
    likeness = bleu(full, references) if full else 0.0
    sameness = self_bleu(full) if len(full) > 1 else 1.0
    figures = {"bleu": likeness, "self_bleu": sameness, "distinct_2": distinct_n(full)}
    return Check(nll, quality_diversity(nll, likeness, sameness), figures, tuple(lines[:12]))
