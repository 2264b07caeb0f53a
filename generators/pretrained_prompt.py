"""A prompt that many lines share is read once: what the model keeps of it stands before each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache, PreTrainedModel

from recenv.generators.corpus import Line
from recenv.generators.transformer_data import Codec
from recenv.generators.vocabulary import Condition

_CHUNK = 64


@torch.no_grad()
def after_prompt(model: PreTrainedModel, prompt: Sequence[int], count: int) -> Cache | None:
    """What the model keeps of a prompt but for its last token, for `count` lines; None where there is no more."""
    if len(prompt) < 2:
        return None
    past: Cache = model(input_ids=torch.tensor([list(prompt[:-1])]), use_cache=True).past_key_values
    past.batch_repeat_interleave(count)
    return past


@torch.no_grad()
def prompted_logs(
    model: PreTrainedModel, codec: Codec, lines: Sequence[Line], temperature: float = 1.0
) -> list[NDArray[np.float64]]:
    """For each line log p of its tokens and its end after its condition's prompt; `temperature` divides the logits."""
    model.eval()
    places: defaultdict[Condition, list[int]] = defaultdict(list)
    for position, line in enumerate(lines):
        places[Condition.of(line)].append(position)
    found: dict[int, NDArray[np.float64]] = {}
    for condition, positions in places.items():
        for start in range(0, len(positions), _CHUNK):
            part = positions[start : start + _CHUNK]
            goals = [[*codec.encode(lines[i].text), codec.end] for i in part]
            logs = _logs(model, codec.prefix(condition), goals, codec.pad, temperature)
            found |= {i: row[: len(goal)].numpy() for i, row, goal in zip(part, logs, goals, strict=True)}
    return [found[i] for i in range(len(lines))]


def _logs(model: PreTrainedModel, prompt: list[int], goals: list[list[int]], pad: int, temperature: float) -> Tensor:
    """(lines, longest) float64 log p of each token of the lines after one prompt; anything behind their ends."""
    longest = max(map(len, goals))
    padded = torch.tensor([goal + [pad] * (longest - len(goal)) for goal in goals])
    past = after_prompt(model, prompt, len(goals))
    inputs = torch.cat([torch.tensor([prompt[-1:]] * len(goals), dtype=torch.int64), padded[:, :-1]], dim=1)
    # What is padded stands behind each line's end, where a causal model's lines do not see it.
    mask = torch.ones(len(goals), len(prompt) - 1 + longest, dtype=torch.int64)
    logits = model(input_ids=inputs, attention_mask=mask, past_key_values=past).logits.float() / temperature
    return torch.log_softmax(logits, dim=-1).gather(-1, padded[..., None])[..., 0].double()
