"""Training rows as tensors, and the order in which batches take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recenv.response.model import ResponseNet
from recenv.response.recent import Recent
from recenv.response.rows import TrainingRows

_RUN = 8
"""Rows of one visit that go into a batch together where histories are encoded."""


@dataclass
class Tensors:
    """`TrainingRows` as `train` reads them.

    user (V, U) and pair (n, F + 1 + E) are standardised; acts (n, 2) click and purchase, 0 where unknown; response
    (n, heads), NaN where it does not count; the rest as in `TrainingRows`.
    """

    user: Tensor
    visit: Tensor
    item: Tensor
    pair: Tensor
    offset: Tensor
    acts: Tensor
    response: Tensor
    weight: Tensor
    recent: Recent | None

    def __len__(self) -> int:
        return len(self.item)


@torch.no_grad()
def tensors(net: ResponseNet, rows: TrainingRows, heads: tuple[str, ...]) -> Tensors:
    """Inputs scaled once, not in every batch."""
    tensor = torch.from_numpy
    pair = np.concatenate([rows.cross, rows.treat], axis=1)
    acts = np.nan_to_num(np.stack([rows.click, rows.purchase], axis=1))
    return Tensors(
        user=net.user_scale(tensor(rows.visit_obs)),
        visit=tensor(rows.visit.astype(np.int64)),
        item=tensor(rows.item.astype(np.int64)),
        pair=net.pair_scale(tensor(pair)),
        offset=tensor(rows.offset),
        acts=tensor(acts.astype(np.float32)),
        response=tensor(np.stack([rows.response(h) for h in heads], axis=1)),
        weight=tensor((rows.weight / rows.weight.mean()).astype(np.float32)) if len(rows) else tensor(rows.weight),
        recent=rows.recent,
    )


def users(net: ResponseNet, data: Tensors, index: Tensor, inputs: Tensor) -> Tensor:
    """(n, U + H) user inputs of the rows `index`; each visit's history is encoded once."""
    if net.encoder is None:
        return data.user[data.visit[index]]
    assert data.recent is not None
    visit, row = torch.unique(data.visit[index], return_inverse=True)
    events = net.encoder.prepare(data.recent.take(visit.numpy()))
    # The first n_items rows of the inputs are those counted on all rows: only vectors are read, equal in all folds.
    history = net.histories(events, inputs)
    return torch.cat([data.user[data.visit[index]], nn.functional.embedding(row, history)], dim=1)


def order(net: ResponseNet, data: Tensors, generator: torch.Generator) -> Tensor:
    """(n,) the rows in random order; with an encoder in runs of rows of one visit, so that a batch encodes fewer."""
    shuffled = torch.randperm(len(data), generator=generator)
    if net.encoder is None:
        return shuffled
    by_visit = shuffled[torch.argsort(data.visit[shuffled], stable=True)]
    visit = data.visit[by_visit]
    start = torch.searchsorted(visit, visit)
    place = torch.arange(len(visit)) - start
    _, run = torch.unique_consecutive(visit * len(visit) + place // _RUN, return_inverse=True)
    place = torch.randperm(int(run[-1]) + 1, generator=generator)[run]
    return by_visit[torch.argsort(place, stable=True)]
