"""A synthetic task for sequence GANs: a fixed random LSTM writes lines of tokens and knows their probability."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recenv.generators.gan_board import GanBoard
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_networks import LineRNN
from recenv.generators.gan_reference import Reference
from recenv.generators.gan_sample import draw, drawn_logs
from recenv.generators.gan_score import Check, Material, judged, sample_losses
from recenv.generators.gan_train import Adversary
from recenv.generators.transformer_data import IGNORED, Batch

_WIDTH, _JUDGED = 32, 2000
"""Of embeddings and state, the oracle's and the generator's; lines that the oracle judges."""
_CHECKED, _MEASURED = 40_127, 40_128
"""Streams of the lines that choose a checkpoint and of those that the oracle judges: a choice must not be judged by
the luck that made it."""


class Oracle(nn.Module):
    """An LSTM whose weights are all drawn from N(0, 1); never trained.

    (Yu et al., "SeqGAN", AAAI 2017, section 4.)

    Args:
        size: tokens.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.embedding, self.rnn = nn.Embedding(size + 1, _WIDTH), nn.LSTM(_WIDTH, _WIDTH, batch_first=True)
        self.head = nn.Linear(_WIDTH, size)
        for weight in self.parameters():
            nn.init.normal_(weight)

    @torch.no_grad()
    def draw(self, count: int, length: int) -> Tensor:
        """(count, length) ids."""
        last, state, found = torch.full((count, 1), self.size), None, list[Tensor]()
        for _ in range(length):
            out, state = self.rnn(self.embedding(last), state)
            last = torch.multinomial(torch.softmax(self.head(out[:, 0]), -1), 1)
            found.append(last)
        return torch.cat(found, 1)

    @torch.no_grad()
    def nll(self, ids: Tensor) -> float:
        """- mean log-probability a token of lines (B, T), nats."""
        before = torch.cat([torch.full((len(ids), 1), self.size), ids[:, :-1]], 1)
        logs = torch.log_softmax(self.head(self.rnn(self.embedding(before))[0]), -1)
        return -float(logs.gather(-1, ids[..., None]).double().mean())


class Task:
    """An oracle's lines to learn from, a generator, and what training and judging it take.

    Lines have a fixed length: a start token stands for the condition, the end token is barred. `reference`: n-grams
    of the training lines.

    Args:
        oracle: writes the lines. train, validation: (n, T) ids.
    """

    def __init__(self, oracle: Oracle, train: Tensor, validation: Tensor) -> None:
        size = oracle.size
        self.oracle, self.train_lines, self.validation = oracle, train, validation
        self.start, self.end = size, size + 1
        self.barred = torch.zeros(size + 2)
        self.barred[size:] = -math.inf
        self.model = LineRNN(size + 2, _WIDTH, 1, 1, 0.0)
        self.references = [_text(row) for row in validation.tolist()]
        known, held = train.tolist(), validation.tolist()
        groups = [[""] * len(x) for x in (known, held)]
        self.reference = Reference(known, groups[0], held, groups[1], size + 1, self.end, -1, ends=False)

    def train(self, config: GanConfig, seed: int, until: Callable[[], bool] | None = None) -> dict[str, Any]:
        """Run `Adversary` on the model in place; its report."""
        n = len(self.train_lines)
        material = Material(
            batch=lambda index, noise: self._batch(self.train_lines[torch.as_tensor(np.asarray(index))]),
            count=n,
            validation=self._batch(self.validation[:250]),
            check=lambda model: self._check(model, config),
            barred=self.barred,
            end=self.end,
            pad=self.end,
            length=self.train_lines.shape[1],
        )
        return Adversary(self.model, material, config, seed, GanBoard(None)).run(False, until)

    def oracle_nll(self, model: LineRNN | None = None) -> float:
        """Of `_JUDGED` lines of the generator, the same random stream at every call."""
        return self.oracle.nll(self._drawn(model or self.model, _JUDGED, 1.0, _MEASURED))

    @torch.no_grad()
    def worth(self, temperature: float = 1.0) -> dict[str, float]:
        """What the oracle knows of the model at a temperature, nats a token.

        Returns:
            oracle_nll: H(q, p), quality alone. validation_nll: H(p, q), coverage. entropy: H(q). divergence:
            H(p, q) + H(q, p) - H(q), Jeffreys' divergence plus the oracle's own entropy: what cooling alone does not
            lower.
        """
        ids = self._drawn(self.model, _JUDGED, temperature, _MEASURED)
        found = {"oracle_nll": self.oracle.nll(ids), "validation_nll": self.validation_nll(temperature=temperature)}
        entropy = -float(self._logs(self.model, ids, temperature).double().mean())
        return found | {"entropy": entropy, "divergence": sum(found.values()) - entropy}

    @torch.no_grad()
    def validation_nll(self, model: LineRNN | None = None, temperature: float = 1.0) -> float:
        """Loss of validation lines, nats a token."""
        return -float(self._logs(model or self.model, self.validation, temperature).double().mean())

    def _check(self, model: LineRNN, config: GanConfig) -> Check:
        ids = self._drawn(model, config.samples, 1.0, _CHECKED)
        prefix = self._prefix(len(ids))
        sampled = sample_losses(model, prefix, ids, self.barred, self.reference, [""] * len(ids))
        lines = [_text(row) for row in ids.tolist()]
        found = judged(self.validation_nll(model), *sampled, lines, self.references)
        # Only written down: no choice is made by it.
        return Check(found.nll, found.score, found.figures | {"oracle_nll": self.oracle_nll(model=model)})

    def _logs(self, model: LineRNN, ids: Tensor, temperature: float) -> Tensor:
        return drawn_logs(model, self._prefix(len(ids)), ids, self.barred, torch.ones(ids.shape), temperature)

    def _prefix(self, count: int) -> Tensor:
        return torch.full((count, 1), self.start)

    def _drawn(self, model: LineRNN, count: int, temperature: float, stream: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream)
            prefix = self._prefix(count)
            return draw(model, prefix, self.validation.shape[1], self.barred, self.end, self.end, temperature)

    def _batch(self, lines: Tensor) -> Batch:
        ids = torch.cat([torch.full((len(lines), 1), self.start), lines], 1)
        targets = torch.cat([torch.full((len(lines), 1), IGNORED), lines], 1)
        return Batch(ids, targets, torch.ones_like(ids))


def oracle_task(vocabulary: int, length: int, lines: int, seed: int) -> Task:
    """An oracle and its lines (a quarter as many to validate), within a `torch_session`."""
    torch.manual_seed(seed)
    oracle = Oracle(vocabulary)
    drawn = oracle.draw(lines + lines // 4, length)
    return Task(oracle, drawn[:lines], drawn[lines:])


def _text(ids: list[int]) -> str:
    return " ".join(f"w{n}" for n in ids)
