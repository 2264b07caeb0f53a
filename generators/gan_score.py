"""What the adversarial phase trains on, and the held-out quality and diversity by which it chooses a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recenv.generators.gan_networks import LineRNN, line_mask
from recenv.generators.gan_reference import Reference
from recenv.generators.gan_sample import draw, drawn_logs
from recenv.generators.quality import bleu, distinct_n, self_bleu
from recenv.generators.transformer_data import Batch, Examples
from recenv.generators.transformer_fit import line_logs

_SEED = 20_177
_READ = 200
"""Lines of a check that BLEU and its kin are taken of: they cost more than drawing does, and choose nothing."""


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


def quality_diversity(nll: float, reference_nll: float, entropy: float) -> float:
    """- (H(p, q) + H(q, r) - H(q)), nats a token: the higher the better.

    H(p, q), the loss of validation lines, falls with coverage: the generator q must know all that real lines p say.
    H(q, r) - H(q) = KL(q || r) falls with quality: what q writes must be likely to a reference r of real lines. With
    r = p the sum is KL(p || q) + KL(q || p) + H(p) (Jeffreys' divergence, "An invariant form for the prior probability
    in estimation problems", Proc. R. Soc. A 186, 1946), least at q = p. Without H(q) it would be forward plus reverse
    cross-entropy (Zhao et al., "Adversarially regularized autoencoders", ICML 2018, section 5), which a colder q
    always lowers.

    Args:
        nll: H(p, q). reference_nll: H(q, r) of samples. entropy: H(q), on the same samples.
    """
    return entropy - reference_nll - nll


class LineCheck:
    """`Material.check` for lines of the corpus: every look draws with the same random stream, so that looks differ by
    the model alone.

    Args:
        examples: validation lines. barred: (V,), see `Material`. samples: lines to draw, for the conditions of the
            validation lines in turn. length: most tokens of a line. reference: of real lines, by style.
    """

    def __init__(self, examples: Examples, barred: Tensor, samples: int, length: int, reference: Reference) -> None:
        self.examples, self.barred, self.samples, self.length = examples, barred, samples, length
        self.reference = reference

    def __call__(self, model: LineRNN) -> Check:
        codec, rows = self.examples.codec, self.examples.lines
        logs, tokens = line_logs(model, self.examples)
        chosen = [k % len(rows) for k in range(self.samples)]
        prefix = self.examples.batch(chosen, None).ids[:, : model.prefix]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            ids = draw(model, prefix, self.length, self.barred, codec.end, codec.pad)
        sampled = sample_losses(model, prefix, ids, self.barred, self.reference, [rows[k].style for k in chosen])
        lines = [codec.decode(row) for row in ids.tolist()]
        return judged(-float(logs.sum()) / tokens, *sampled, lines, [line.text for line in rows])


@torch.no_grad()
def sample_losses(
    model: LineRNN, prefix: Tensor, ids: Tensor, barred: Tensor, reference: Reference, groups: Sequence[str]
) -> tuple[float, float]:
    """(H(q, r), H(q)) of lines (B, T) that the generator drew after prefixes (B, prefix), nats a token."""
    mask = line_mask(ids, reference.end)
    own = -(drawn_logs(model, prefix, ids, barred, mask)).sum(1).double().numpy()
    counts = mask.sum(1).long().tolist()
    other = [reference.loss(row[:n], group) for row, n, group in zip(ids.tolist(), counts, groups, strict=True)]
    return float(np.sum(other)) / sum(counts), float(own.sum()) / sum(counts)


def judged(nll: float, reference_nll: float, entropy: float, lines: Sequence[str], references: Sequence[str]) -> Check:
    """The check of samples; a generator that writes nothing has no likeness to references and says the same.

    Args:
        nll, reference_nll, entropy: see `quality_diversity`. lines: samples. references: validation lines.
    """
    full = [line for line in lines[:_READ] if line]
    likeness = bleu(full, references) if full else 0.0
    sameness = self_bleu(full) if len(full) > 1 else 1.0
    figures = {"bleu": likeness, "self_bleu": sameness, "distinct_2": distinct_n(full)}
    figures |= {"reference_nll": reference_nll, "entropy": entropy}
    return Check(nll, quality_diversity(nll, reference_nll, entropy), figures, tuple(lines[:12]))
