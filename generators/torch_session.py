"""Deterministic torch for generators: seed, threads and flags for the length of a block, then as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_session(seed: int, threads: int = 1) -> Iterator[None]:
    """Run torch seeded and deterministic; the caller's global generator, threads and flags are put back."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(strict)
