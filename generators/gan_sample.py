"""Drawing lines from the recurrent generator: tokens for the policy gradient, soft tokens for Gumbel-softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recenv.generators.gan_networks import LineRNN

Processor = Callable[..., Tensor]
"""(ids (B, prefix + t), scores (B, V)) -> scores, as a `transformers` logits processor."""


@torch.no_grad()
def draw(
    model: LineRNN,
    prefix: Tensor,
    length: int,
    barred: Tensor,
    end: int,
    pad: int,
    temperature: float = 1.0,
    processor: Processor | None = None,
) -> Tensor:
    """(B, T <= length) ids after prefixes (B, prefix), padded behind the end token; dropout off.

    To be called within a `torch_session`, whose seed decides the lines.

    Args:
        barred: (V,) float added to the logits: -inf for tokens that are no part of a line. processor: more of the kind,
            asked at every step, before the temperature.
    """
    model.eval()
    given, inputs = model.start(prefix)
    state, ids = model.first(given), prefix
    open_rows = torch.ones(len(prefix), dtype=torch.bool)
    for _ in range(length):
        logits, state = model.step(inputs, state, given)
        scores = logits[:, 0] + barred
        if processor is not None:
            scores = processor(ids, scores)
        chosen = torch.multinomial(torch.softmax(scores / temperature, -1), 1)[:, 0]
        chosen = torch.where(open_rows, chosen, pad)
        ids = torch.cat([ids, chosen[:, None]], 1)
        open_rows &= chosen != end
        if not open_rows.any():
            break
        inputs = model.embedding(chosen)[:, None]
    return ids[:, prefix.shape[1] :]


def drawn_logs(
    model: LineRNN, prefix: Tensor, ids: Tensor, barred: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """(B, T) log-probability of tokens under what `draw` draws from, 0 where `mask` is; dropout off."""
    model.eval()
    logits = model(torch.cat([prefix, ids], 1)).logits[:, prefix.shape[1] - 1 : -1] + barred
    logs = torch.log_softmax(logits / temperature, -1).gather(-1, ids[..., None])[..., 0]
    return torch.where(mask > 0, logs, 0.0)


def draw_soft(
    model: LineRNN, prefix: Tensor, length: int, barred: Tensor, end: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """((B, T, V) one-hot tokens with the gradient of a softmax, (B, T) ids) by the straight-through Gumbel-softmax.

    y = softmax((logits + g) / temperature), g ~ Gumbel(0, 1); one_hot(argmax y) + y - stop(y) goes on.
    (Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", ICLR 2017, section 2.2.)
    """
    model.eval()
    given, inputs = model.start(prefix)
    state = model.first(given)
    rows, ids = list[Tensor](), list[Tensor]()
    open_rows = torch.ones(len(prefix), dtype=torch.bool)
    for _ in range(length):
        logits, state = model.step(inputs, state, given)
        noise = -torch.log(-torch.log(torch.rand(logits[:, 0].shape).clamp(1e-9, 1.0 - 1e-7)))
        soft = torch.softmax((logits[:, 0] + barred + noise) / temperature, -1)
        chosen = soft.argmax(-1)
        rows.append(torch.nn.functional.one_hot(chosen, model.size).float() + soft - soft.detach())
        ids.append(chosen)
        open_rows = open_rows & (chosen != end)
        if not open_rows.any():
            break
        inputs = (rows[-1] @ model.embedding.weight)[:, None]
    return torch.stack(rows, 1), torch.stack(ids, 1)
