"""Networks of the sequence GAN: a recurrent generator of tokens, and a discriminator that is read at every token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Output:
    """`logits` (B, T, V): of the token that follows each position."""

    logits: Tensor


class LineRNN(PreTrainedModel):
    """A GRU over tokens; the mean embedding of the control tokens starts it and is added to every input.

    Output weights are the embeddings (Press and Wolf, "Using the output embedding to improve language models", EACL
    2017).

    Args:
        size: V, length of the vocabulary. width: of embeddings and state. layers: of the GRU. prefix: control tokens
            before a line. dropout: share of activations hidden in training.
    """

    config_class = PreTrainedConfig

    def __init__(self, size: int, width: int, layers: int, prefix: int, dropout: float) -> None:
        super().__init__(PreTrainedConfig.from_dict({"tie_word_embeddings": False}))
        self.prefix, self.layers, self.size = prefix, layers, size
        self.embedding = nn.Embedding(size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.condition = nn.Linear(width, width)
        self.rnn = nn.GRU(width, width, layers, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(size))
        self.drop = nn.Dropout(dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        """Logits (B, prefix + T, V) for ids (B, prefix + T); those inside the prefix are 0. The mask is not needed:
        padding stands behind a line."""
        del attention_mask
        given, _ = self.start(input_ids[:, : self.prefix])
        inputs = self.embedding(input_ids[:, self.prefix - 1 :])
        logits, _ = self.step(inputs, self.first(given), given)
        return Output(nn.functional.pad(logits, (0, 0, self.prefix - 1, 0)))

    def start(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """((B, width) condition, (B, 1, width) embedding of the last control token) for a prefix (B, prefix)."""
        found = self.embedding(prefix)
        return self.condition(found.mean(1)), found[:, -1:]

    def first(self, given: Tensor) -> Tensor:
        """(layers, B, width) state before the first token."""
        return torch.tanh(given).expand(self.layers, -1, -1).contiguous()

    def step(self, inputs: Tensor, state: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """((B, T, V) logits, state) after embedded inputs (B, T, width)."""
        out, state = self.rnn(self.drop(inputs + given[:, None]), state)
        return self.drop(out) @ self.embedding.weight.T + self.bias, state


class PatchCritic(nn.Module):
    """Discriminator: what each token adds to the log-odds that a line is real, given its control tokens.

    Convolutions over the last 2 and 3 tokens (Kim, "Convolutional neural networks for sentence classification", EMNLP
    2014) that look back only, so that it can be read at every position of an unfinished line: a reward for each token
    without roll-outs. A few hundred lines are too few for one that remembers more: it knows them by heart before it
    tells other real lines from generated ones.

    Args:
        size: V. width: of its vectors. dropout: share of activations hidden in training.
    """

    windows = (2, 3)

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.condition = nn.Linear(width, width)
        self.filters = nn.ModuleList(nn.Conv1d(width, width, window) for window in self.windows)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width * len(self.windows), 1)

    def forward(self, prefix: Tensor, line: Tensor) -> Tensor:
        """(B, T) parts of the log-odds; prefix (B, prefix) ids, line (B, T) ids or (B, T, V) weights of tokens."""
        inputs = line @ self.embedding.weight if line.dtype.is_floating_point else self.embedding(line)
        given = self.condition(self.embedding(prefix).mean(1))
        rows = self.drop(inputs + given[:, None]).transpose(1, 2)  # (B, width, T)
        found = [
            torch.relu(kernel(nn.functional.pad(rows, (window - 1, 0))))
            for kernel, window in zip(self.filters, self.windows, strict=True)
        ]
        odds: Tensor = self.head(self.drop(torch.cat(found, 1).transpose(1, 2)))[..., 0]
        return odds


def line_mask(ids: Tensor, end: int) -> Tensor:
    """(B, T) float: 1 up to and with the first end token."""
    ended = (ids == end).long().cumsum(1) - (ids == end).long()
    return (ended == 0).float()


def line_score(odds: Tensor, mask: Tensor) -> Tensor:
    """(B,) log-odds of whole lines: the sum over their tokens."""
    return (odds * mask).sum(1)
