"""The transformer's distribution mixed, token by token, with Kneser-Ney n-grams that know the style.

On a few thousand lines a small neural model foretells better than counts do, but the two err in different places: a
linear mixture is better than either. (Bengio et al., "A neural probabilistic language model", JMLR 2003, section 3;
Mikolov et al., "Empirical evaluation and combination of advanced language modeling techniques", Interspeech 2011.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from recenv.core.errors import ArtefactError
from recenv.generators.corpus import Line
from recenv.generators.ngram import GroupedKneserNey
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import IGNORED, Codec, Examples
from recenv.generators.transformer_fit import token_logs
from recenv.generators.vocabulary import Condition

ORDER = 4
"""Of the n-grams."""
SHARES = tuple(k / 10 for k in range(1, 10))
TEMPERATURES = (1.0, 1.15, 1.3, 1.5)
"""What `choose` tries."""
_START = -1
_CHUNK = 128


class Mixture:
    """p(w | h) = (1 - share) softmax(logits / temperature)(w) + share p_ngram(w | last 3 tokens, style).

    The n-grams are counted on the training lines; tokens that are no part of a line have probability 0 there.

    Args:
        lines: training lines. codec: of the tokens. share: of the n-grams, above 0 and below 1. temperature: that
            divides the transformer's logits.

    Raises:
        ArtefactError: share or temperature out of range.
    """

    def __init__(self, lines: Sequence[Line], codec: Codec, share: float, temperature: float) -> None:
        numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (share, temperature))
        if not numbers or not 0.0 < share < 1.0 or not 0.0 < temperature < math.inf:
            raise ArtefactError("mixture", f"share {share!r}, temperature {temperature!r}", "Fit the generator again")
        self.codec, self.share, self.temperature = codec, float(share), float(temperature)
        self.prefix = len(codec.prefix(Condition()))
        tokens = sorted((set(codec.texts) - codec.controls - {codec.pad}) | {codec.end, codec.unknown})
        self.tokens = torch.tensor(tokens)
        self.place = {token: k for k, token in enumerate(tokens)}
        self.grams = GroupedKneserNey(ORDER, len(tokens), self.place[codec.end], self.place[codec.unknown])
        self.grams.fit([self._ids(line) for line in lines], [line.style for line in lines])
        self._rows: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def _ids(self, line: Line) -> list[int]:
        return [self.place[token] for token in self.codec.encode(line.text)]

    def gram_logs(self, lines: Sequence[Line]) -> NDArray[np.float64]:
        """(tokens,) log p_ngram of each token of the lines and of each end, in order."""
        return np.concatenate([self.grams.token_log_probs(self._ids(line), line.style) for line in lines])

    def rows(self, histories: Sequence[Sequence[int]], styles: Sequence[str]) -> Tensor:
        """(n, codec) float32 p_ngram after token ids of lines as far as written; histories of training are kept."""
        return torch.stack([self._row(history, style) for history, style in zip(histories, styles, strict=True)])

    def _row(self, history: Sequence[int], style: str) -> Tensor:
        last = [self.place.get(token, _START) for token in history[-ORDER + 1 :]]
        known = self.grams.all.known((*[_START] * (ORDER - 1 - len(last)), *last))
        if (style, known) not in self._rows:
            row = torch.zeros(len(self.codec))
            row[self.tokens] = torch.from_numpy(self.grams.distribution(known, style)).float()
            self._rows[(style, known)] = row
        return self._rows[(style, known)]

    def logs(self, logits: Tensor, histories: Sequence[Sequence[int]], styles: Sequence[str]) -> Tensor:
        """(n, codec) log p of the mixture, from the transformer's logits (n, codec) after the histories."""
        neural = torch.softmax(logits.float() / self.temperature, dim=-1)
        return torch.log((1.0 - self.share) * neural + self.share * self.rows(histories, styles))

    def to_json(self) -> dict[str, Any]:
        """Share, temperature and order; the counts are those of the training lines."""
        return {"ngram_share": self.share, "temperature": self.temperature, "order": ORDER}


class Mixed(LogitsProcessor):
    """First in a list: the transformer's logits become the log-probabilities of the mixture."""

    def __init__(self, mixture: Mixture, style: str) -> None:
        self.mixture, self.style = mixture, style

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        histories = input_ids[:, self.mixture.prefix :].tolist()
        return self.mixture.logs(scores, histories, [self.style] * len(histories))


@torch.no_grad()
def mixture_logs(
    model: PreTrainedModel,
    examples: Examples,
    mixture: Mixture,
    skip: int | None = None,
    temperature: float = 1.0,
) -> list[NDArray[np.float64]]:
    """For each line the log-probabilities of its tokens and end; tokens equal to `skip` left out.

    `temperature` t: of p^(1/t) over its sum, p the mixture.
    """
    model.eval()
    found = []
    for start in range(0, len(examples.lines), _CHUNK):
        lines = examples.lines[start : start + _CHUNK]
        batch = examples.batch(range(start, start + len(lines)), None)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[:, mixture.prefix - 1 : -1]
        for line, row, given in zip(lines, batch.targets[:, mixture.prefix :], logits):
            goal = row[row != IGNORED]
            histories = [goal[:n].tolist() for n in range(len(goal))]
            logs = mixture.logs(given[: len(goal)], histories, [line.style] * len(goal)).double()
            picked = torch.log_softmax(logs / temperature, dim=-1).gather(-1, goal[:, None])[:, 0]
            found.append(picked[goal != skip].numpy() if skip is not None else picked.numpy())
    return found


@torch.no_grad()
def choose(
    model: PreTrainedModel, lines: Sequence[Line], held: Sequence[Line], codec: Codec, config: TransformerConfig
) -> Mixture | None:
    """The mixture whose share (unless `config.ngram_share` says it) and temperature make `held` likeliest.

    None where the share is 0: the transformer alone, at temperature 1.
    """
    if config.ngram_share == 0.0:
        return None
    first = Mixture(lines, codec, 0.5, 1.0)
    grams = np.exp(first.gram_logs(held))
    shares = SHARES if config.ngram_share is None else (config.ngram_share,)
    batch = Examples(held, codec, config).batch(range(len(held)), None)
    counted = (batch.targets[:, 1:] != IGNORED).numpy()
    found: dict[tuple[float, float], float] = {}
    for temperature in TEMPERATURES:
        neural = np.exp(token_logs(model.eval(), batch, temperature).double().numpy()[counted])
        for share in shares:
            found[(share, temperature)] = float(np.log((1.0 - share) * neural + share * grams).sum())
    return Mixture(lines, codec, *max(found, key=lambda pair: found[pair]))
