"""Training of causal models on lines: AdamW, averaged weights, early stop on held-out perplexity per token."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.core.errors import InputError
from recenv.core.progress import Bar
from recenv.core.progress import bar as progress_bar
from recenv.generators.corpus import Line
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import IGNORED, Batch, Codec, Examples

Model = TypeVar("Model", bound=nn.Module)
_CHUNK = 128


def token_logs(model: nn.Module, batch: Batch, temperature: float = 1.0) -> Tensor:
    """(B, T - 1) log-probability of each token given those before it; 0 where the target is ignored."""
    logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[:, :-1].float() / temperature
    goal = batch.targets[:, 1:]
    logs = torch.log_softmax(logits, dim=-1).gather(-1, goal.clamp(min=0)[..., None])[..., 0]
    return logs.masked_fill(goal == IGNORED, 0.0)


def barred_logits(codec: Codec, hidden: bool = False) -> Tensor:
    """(V,) -inf for control tokens, padding and, unless `hidden`, the unknown token; 0 for the others."""
    spoken = {codec.end, codec.unknown} if hidden else {codec.end}
    barred = (codec.controls | {codec.pad, codec.unknown}) - spoken
    found = torch.zeros(len(codec))
    # A codec without an unknown token has -1 for it, which is the index of the last token here.
    found[sorted(n for n in barred if n >= 0)] = float("-inf")
    return found


def drawn_logs(model: nn.Module, batch: Batch, codec: Codec, temperature: float) -> Tensor:
    """(B,) log-probability of each line under what `transformer_sample.sample` draws from without constraints.

    Tokens that are no part of a line have none; the others' logits are divided by the temperature.
    """
    logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[:, :-1].float() + barred_logits(codec)
    goal = batch.targets[:, 1:]
    logs = torch.log_softmax(logits / temperature, dim=-1).gather(-1, goal.clamp(min=0)[..., None])[..., 0]
    # Where nothing is counted the goal may be a barred token, whose -inf must not meet the gradient.
    return torch.where(goal == IGNORED, torch.zeros_like(logs), logs).sum(1)


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    """- mean log-probability per target token."""
    return -token_logs(model, batch).sum() / (batch.targets[:, 1:] != IGNORED).float().sum()


@torch.no_grad()
def token_logs_of(
    model: nn.Module, examples: Examples, skip: int | None = None, temperature: float = 1.0
) -> list[NDArray[np.float64]]:
    """For each line the log-probabilities of its tokens and end; tokens equal to `skip` left out."""
    model.eval()
    found = []
    for start in range(0, len(examples.lines), _CHUNK):
        batch = examples.batch(range(start, min(start + _CHUNK, len(examples.lines))), None)
        if skip is not None:
            batch.targets[batch.targets == skip] = IGNORED
        logs, counted = token_logs(model, batch, temperature).double(), batch.targets[:, 1:] != IGNORED
        found += [row[kept].numpy() for row, kept in zip(logs, counted)]
    return found


def line_logs(model: nn.Module, examples: Examples) -> tuple[NDArray[np.float64], int]:
    """((n,) log-probability of each line with its end, number of tokens)."""
    found = token_logs_of(model, examples)
    return np.array([logs.sum() for logs in found], np.float64), sum(len(logs) for logs in found)


def held_out_perplexity(model: nn.Module, lines: Sequence[Line], codec: Codec, config: TransformerConfig) -> float:
    """exp(- mean log-probability per token), ends counted.

    Raises:
        InputError: no line.
    """
    if not lines:
        raise InputError("perplexity", "no line", "Give at least one")
    logs, count = line_logs(model, Examples(lines, codec, config))
    return math.exp(-float(logs.sum()) / count)


def fit_model(
    model: nn.Module,
    lines: Sequence[Line],
    validation: Sequence[Line],
    codec: Codec,
    config: TransformerConfig,
    seed: int,
    progress: bool = True,
    alike: bool = False,
) -> list[dict[str, float]]:
    """Train in place and keep the weights of the last pass within `slack` of the best.

    Returns {epoch, train, validation} (perplexities) of each pass. `alike`: batches hold lines of nearly one length,
    since padding costs a large model as much as lines do.

    To be called within a `torch_session`. Parameters that want no gradient stay as they are.

    Raises:
        InputError: the loss is not finite.
    """
    noise = np.random.default_rng([seed, 1])
    examples = Examples(lines, codec, config, validation)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    mean = [p.detach().clone() for p in trained]
    best, kept, since, history = math.inf, mean, 0, list[dict[str, float]]()
    step, steps = 0, -(-len(examples.lines) // config.batch)
    with progress_bar("maximum likelihood", config.epochs * steps, show=progress) as bar:
        for epoch in range(config.epochs):
            batches = _batches(examples, config.batch, noise, alike)
            loss, step = _epoch(model, examples, optimiser, mean, noise, config, step, batches, bar)
            check = math.exp(loss)
            if validation:
                with _weights(trained, mean):
                    check = held_out_perplexity(model, validation, codec, config)
            history.append({"epoch": epoch, "train": math.exp(loss), "validation": check})
            bar.set_postfix(train=f"{math.exp(loss):.2f}", validation=f"{check:.2f}")
            best = min(best, check)
            if check <= (1.0 + config.slack) * best:
                kept, since = [p.clone() for p in mean], 0
            else:
                since += 1
                if since >= config.patience:
                    break
    _put(trained, kept)
    model.eval()
    return history


def _epoch(
    model: nn.Module,
    examples: Examples,
    optimiser: torch.optim.Optimizer,
    mean: list[Tensor],
    noise: np.random.Generator,
    config: TransformerConfig,
    step: int,
    batches: Sequence[NDArray[np.int64]],
    bar: Bar,
) -> tuple[float, int]:
    model.train()
    losses = []
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    for index in batches:
        loss = mean_loss(model, examples.batch(index, noise))
        if not torch.isfinite(loss):
            raise InputError("transformer", f"loss {float(loss.detach())} is not finite", "Lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        step += 1
        # Early weights would weigh long on the average, so it forgets faster at first.
        decay = min(config.average, step / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(mean, trained):
                slow.lerp_(fast, 1.0 - decay)
        losses.append(float(loss.detach()))
        bar.update()
    return float(np.mean(losses)), step


def _batches(examples: Examples, size: int, noise: np.random.Generator, alike: bool) -> list[NDArray[np.int64]]:
    """Positions of all lines in random batches; `alike`: of lines of nearly one length, in random order."""
    order = noise.permutation(len(examples.lines))
    if alike:
        order = order[np.argsort([examples.length(i) for i in order], kind="stable")]
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [parts[k] for k in noise.permutation(len(parts))] if alike else parts


class _weights:
    """Other values in parameters for the length of a block."""

    def __init__(self, parameters: list[nn.Parameter], values: list[Tensor]) -> None:
        self.parameters, self.values = parameters, values

    def __enter__(self) -> None:
        self.before = [p.detach().clone() for p in self.parameters]
        _put(self.parameters, self.values)

    def __exit__(self, *_: Any) -> None:
        _put(self.parameters, self.before)


@torch.no_grad()
def _put(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def twin(model: Model) -> Model:
    """A copy that shares nothing."""
    return copy.deepcopy(model)
