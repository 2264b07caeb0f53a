"""From replayed rows to prediction slices: what each head told beside what happened, on one split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.response.forward import ResponseForward
from recenv.response.rows import SPLITS, TrainingRows
from recenv.trust import gates as g
from recenv.trust.fidelity import GROUPS, ItemRates, predicted
from recenv.trust.slices import PredictionSlice
from recenv.trust.tolerances import Tolerances
from recenv.world import World

UNSHOWN = ", not shown"


@dataclass(frozen=True)
class Replay:
    """Replayed rows with what the rows do not say: session (n,) of each, segment (U,) of each user in `rows.user`."""

    rows: TrainingRows
    session: NDArray[np.int64]
    segment: NDArray[np.integer[Any]]


def prediction_slices(
    forward: ResponseForward, replayed: Replay, item_rates: ItemRates, split: str | None
) -> list[PredictionSlice]:
    """One slice a head and group (shown, and not shown where that is modelled) that has rows, of a split (all if None).

    Heads not shown carry the name `<head>, not shown`. `leave` is of what was shown.
    """
    rows, session = replayed.rows, replayed.session
    if split is not None:
        mine = rows.split == SPLITS.index(split)
        rows, session = rows.select(mine), session[mine]
    found = []
    for head in forward.heads:
        for group in GROUPS[:1] if head == "leave" else GROUPS:
            use = ~np.isnan(rows.response(head)) & (rows.shown == (group == "shown"))
            if use.any():
                name = head if group == "shown" else head + UNSHOWN
                part = rows.select(use)
                rates = item_rates[head][group][part.item]
                found.append(_slice(forward, part, session[use], replayed.segment, head, name, rates))
    return found


def _slice(
    forward: ResponseForward,
    rows: TrainingRows,
    session: NDArray[np.int64],
    segment: NDArray[np.integer[Any]],
    head: str,
    name: str,
    item_rate: NDArray[np.float64],
) -> PredictionSlice:
    return PredictionSlice(
        head=name,
        p=predicted(forward, rows, head).astype(np.float64),
        y=rows.response(head).astype(np.float64),
        w=rows.weight.astype(np.float64),
        user=rows.user.astype(np.int64),
        item=rows.item.astype(np.int64),
        session=session.astype(np.int64),
        time=rows.time.astype(np.int64),
        segment=np.asarray(segment)[rows.user].astype(np.int64),
        item_rate=item_rate.astype(np.float64),
    )


def prediction_gates(
    slices: list[PredictionSlice],
    tol: Tolerances,
    seed: int,
    names: dict[int, str] | None = None,
    earlier: dict[str, PredictionSlice] | None = None,
) -> list[g.Gate]:
    """The gates on predictions, head by head.

    What is not shown is judged on its level and on telling who responds, not by segment and week: it enters values only
    as what is taken off. Leaving is judged on its level: a head that knows no more than the base rate harms nobody.
    """
    found: list[g.Gate] = []
    for s in slices:
        found.append(g.power(s, tol))
        judges: dict[str, Callable[[], g.Gate]] = {
            "discrimination": partial(g.discrimination, s, tol, seed),
            "calibration_large": partial(g.calibration_large, s, tol),
            "calibration_deciles": partial(g.calibration_deciles, s, tol, seed),
            "calibration_segments": partial(g.calibration_segments, s, tol, seed, names),
            "calibration_weeks": partial(g.calibration_weeks, s, tol, seed),
            "item_rates": partial(g.item_rates, s, tol, seed),
            "drift": partial(g.drift, s, tol, (earlier or {}).get(s.head), seed),
        }
        found += [judges[name]() for name in judged(s)]
    return found


def judged(s: PredictionSlice) -> tuple[str, ...]:
    """Names of the gates with an interval that a slice is put to."""
    if s.head.endswith(UNSHOWN):
        return ("discrimination", "calibration_large", "calibration_deciles")
    levels = ("calibration_large", "calibration_deciles", "calibration_segments", "calibration_weeks")
    return (*(() if s.head == "leave" else ("discrimination",)), *levels, "item_rates", "drift")


def segment_names(world: World) -> dict[int, str]:
    """Segments are clusters of profiles; they have numbers, no names."""
    return {k: f"segment {k}" for k in range(len(world.segment_centroids))}


def family(slices: list[PredictionSlice], tol: Tolerances, others: int = 0) -> Tolerances:
    """`tol` with the number of gates that are judged together: those of the slices and `others` with an interval.

    Never fewer than `tol.family`: a report with few gates is not judged more laxly than the gates' own study. What has
    no interval is not counted (power, determinism).
    """
    return replace(tol, family=max(tol.family, sum(len(judged(s)) for s in slices) + others))
