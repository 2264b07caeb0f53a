"""The trained network as one torch module for export: observation and mask in, scores and the chosen action out."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recenv.agents.dqn.network import LOWEST

if TYPE_CHECKING:
    from recenv.agents.dqn.policy import DQNPolicy


class ExportedPolicy(nn.Module):
    """(obs, mask) -> (scores, action), the greedy policy with mask, memory and argmax inside the graph.

    obs (n, size) float32 full observations; mask (n, A) bool; scores (n, A) float32, `LOWEST` where masked; action (n,)
    int64, 0 where nothing is allowed. n is free: export with `dynamic_shapes={"obs": {0: n}, "mask": {0: n}}`.
    """

    def __init__(self, policy: DQNPolicy) -> None:
        super().__init__()
        self.network = copy.deepcopy(policy.network).cpu().eval().requires_grad_(False)

    def forward(self, obs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.where(mask, self.network(obs), LOWEST)
        return scores, scores.argmax(1)


def exportable(policy: DQNPolicy) -> ExportedPolicy:
    """The module to give to `torch.onnx.export(..., dynamo=True)`; of weights as they are now."""
    return ExportedPolicy(policy)
