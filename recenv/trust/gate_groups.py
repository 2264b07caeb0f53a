"""Rows grouped into deciles, weeks and segments, merged until each group holds enough responses to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.trust.gate_intervals import numbered
from recenv.trust.metrics import quantile_bins

Groups = tuple[NDArray[np.int64], list[str]]
WEEK = 604_800


def merge_neighbours(group: NDArray[Any], y: NDArray[Any], least: int) -> tuple[NDArray[np.int64], list[list[int]]]:
    """Joins groups in their order until each holds `least` responses; what is left over joins the last.

    Args:
        group: (n,) int, ordered groups. y: (n,) 0 or 1. least: responses.

    Returns:
        (n,) new group of each row, and the old groups in each new one.
    """
    known, index = numbered(group)
    hits = np.bincount(index, y > 0.5, len(known))
    parts: list[list[int]] = [[]]
    count = 0.0
    for k, mine in zip(known.tolist(), hits, strict=True):
        if count >= least:
            parts.append([])
            count = 0.0
        parts[-1].append(k)
        count += mine
    if count < least and len(parts) > 1:
        last = parts.pop()
        parts[-1] += last
    place = {k: i for i, part in enumerate(parts) for k in part}
    return np.array([place[k] for k in known.tolist()], np.int64)[index], parts


def by_decile(p: NDArray[Any], w: NDArray[Any], y: NDArray[Any], least: int) -> Groups:
    """Deciles of prediction (equal weight), neighbours merged."""
    group, parts = merge_neighbours(quantile_bins(p, w, 10), y, least)
    return group, [_span(part, 1) for part in parts]


def by_week(time: NDArray[Any], y: NDArray[Any], least: int) -> Groups:
    """Weeks since the first row, neighbours merged."""
    group, parts = merge_neighbours((time - time.min()) // WEEK, y, least)
    return group, [_span(part, 1) for part in parts]


def by_segment(segment: NDArray[Any], y: NDArray[Any], least: int, names: Mapping[int, str] | None = None) -> Groups:
    """Segments by falling number of responses; those with too few are merged into one, "others"."""
    known, index = numbered(segment)
    hits = np.bincount(index, y > 0.5, len(known))
    falling = np.argsort(-hits, kind="stable")
    place = np.empty(len(known), np.int64)
    place[falling] = np.arange(len(known))
    group, parts = merge_neighbours(place[index], y, least)
    labels = []
    for part in parts:
        mine = [str((names or {}).get(int(known[falling[k]]), known[falling[k]])) for k in part]
        labels.append(
            mine[0] if len(mine) == 1 else f"{len(mine)} segments: {', '.join(mine[:3])}" + ", …" * (len(mine) > 3)
        )
    return group, labels


def _span(part: list[int], first: int) -> str:
    low, high = part[0] + first, part[-1] + first
    return f"{low}" if low == high else f"{low}–{high}"
