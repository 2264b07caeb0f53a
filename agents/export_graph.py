"""A policy's scores as an ONNX graph with mask and argmax inside, checked against torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.agents.base import Bools, Floats
from recenv.core.errors import ArtefactError
from recenv.serving.bundle import PolicyGraph

LOWEST = -1e30
"""Score of a masked action: finite, so that sums stay so."""
TOLERANCE = 1e-4


class Masked(nn.Module):
    """(observation, mask) -> (action (n,) int64, score (n, A)): masked actions score `LOWEST`, the first best wins."""

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, observation: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        score = torch.where(mask, self.scores(observation), LOWEST)
        return score.argmax(1), score


def write_onnx(module: nn.Module, obs: Floats, mask: Bools, path: Path) -> None:
    """Export with a free batch size, in one file."""
    inputs = (torch.from_numpy(obs), torch.from_numpy(mask))
    batch = torch.export.Dim.DYNAMIC
    with _quiet():
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=["observation", "mask"],
            output_names=["action", "score"],
            dynamic_shapes=({0: batch}, {0: batch}),
            dynamo=True,
            external_data=False,
            # onnxruntime optimises what it loads: here it would take as long as the rest.
            optimize=False,
            verbose=False,
        )


def check_graph(module: nn.Module, path: Path, obs: Floats, mask: Bools) -> NDArray[np.int64]:
    """The graph's actions (n,), after comparing them and the scores with torch, together and one by one.

    Raises:
        ArtefactError: scores differ by more than `TOLERANCE` (relative above 1), or an action is worse than torch's.
    """
    graph = PolicyGraph(path)
    action, score = graph.run(obs, mask)
    with torch.no_grad():
        expected, reference = (t.numpy() for t in module(torch.from_numpy(obs), torch.from_numpy(mask)))
    allowed = np.where(mask, np.abs(score - reference) / np.maximum(np.abs(reference), 1.0), 0.0)
    row = np.arange(len(action))
    worse = np.abs(score[row, action] - score[row, expected]) / np.maximum(np.abs(score[row, action]), 1.0)
    alone = [int(graph.run(obs[i : i + 1], mask[i : i + 1])[0][0]) for i in range(len(obs))]
    if not np.isfinite(score).all() or allowed.max() > TOLERANCE or worse.max() > TOLERANCE:
        raise ArtefactError(str(path), f"differs from torch by {allowed.max():.2g}", "Report this policy's settings.")
    if alone != action.tolist():
        raise ArtefactError(str(path), "decides otherwise one by one than in a batch", "Report this policy's settings.")
    return action


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own progress and deprecation notes, which concern its code and not this one."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=kind)
            yield
    finally:
        logger.setLevel(level)
