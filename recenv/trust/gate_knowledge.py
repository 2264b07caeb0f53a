"""Gates on what a world knows and repeats: no knowledge of the future, same seed same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.trust.gate_base import FAIL, PASS, QUESTIONS, Gate, gate_of_lines, line, not_measured
from recenv.trust.gate_intervals import Clusters, Floats, numbered, simultaneous
from recenv.trust.metrics import entropy
from recenv.trust.slices import PredictionSlice
from recenv.trust.tolerances import Tolerances

_SAME = 1e-6


def leaked_future(
    s: PredictionSlice,
    tol: Tolerances,
    simulated: PredictionSlice | None = None,
    changed: NDArray[Any] | None = None,
    seed: int = 0,
) -> Gate:
    """Does the model know only what could be known at the time?

    A leak is invisible to calibration and looks like skill in discrimination, since the held-out replay leaks like the
    training rows. Two tests see it:
    - the altered future, exact: predictions of rows up to some time, recomputed after everything at or after that time
      was altered in the log. One that moves has seen the future. It cannot see a leak in the raw rows themselves (a
      cart row written at the purchase, but dated earlier).
    - claimed gain in replay less claimed gain in the world's own roll-outs under `logged`, with
      gain(p) = 1 - sum w H(p) / (sum w H(mean p)), H(p) = -p log p - (1 - p) log(1 - p): in a roll-out there is no
      future to look at, so what a leaking model claims to tell apart shrinks. Sees any leak that sharpens predictions
      by more than the tolerance, in raw rows too.

    Args:
        s: the replayed slice. simulated: the same head's predictions in roll-outs (its y is not used).
        changed: (n,) predictions of `s` after the future was altered; NaN where a row is not to be compared.

    Raises:
        InputError: `changed` of another length, or a value of it outside [0, 1], or nothing in it to compare.
    """
    s.check()
    lines = []
    if changed is not None:
        lines.append(_altered(s, changed))
    if simulated is not None:
        lines.append(_claims(s, simulated.check(), tol, seed))
    if not lines:
        return not_measured("leaked_future", "Give predictions in roll-outs, or after altering the future.", s.head)
    detail = "; ".join(f"{x['label']}: {x['figure'] if x['figure'] is None else round(x['figure'], 4)}" for x in lines)
    return gate_of_lines("leaked_future", lines, detail + ".", "difference", "bars", s.head)


def _altered(s: PredictionSlice, changed: NDArray[Any]) -> dict[str, Any]:
    if changed.shape != s.p.shape:
        raise InputError("changed", f"has shape {changed.shape}", f"Give one prediction a row: {s.p.shape}.")
    known = ~np.isnan(changed)
    if not known.any():
        raise InputError("changed", "is NaN everywhere", "Give the predictions of rows before the altered time.")
    if ((changed[known] < 0) | (changed[known] > 1)).any():
        raise InputError("changed", "has a value outside [0, 1]", "Give probabilities, or NaN for rows left out.")
    share = float((np.abs(changed - s.p)[known] > _SAME).mean())
    return line("share of predictions moved by an altered future", share, share, share, (None, 0.0), int(known.sum()))


def _claims(s: PredictionSlice, simulated: PredictionSlice, tol: Tolerances, seed: int) -> dict[str, Any]:
    label = "gain claimed in replay less in roll-outs"
    clusters = Clusters.of(np.concatenate([s.user, simulated.user]))
    n, allowed = len(s), (None, tol.max_foresight)
    users = min(len(numbered(side.user)[0]) for side in (s, simulated))
    if min((s.w * s.p).sum(), (simulated.w * simulated.p).sum()) < tol.floor_positives or users < tol.min_users:
        return line(label, None, None, None, allowed, n)
    sides = ((s, clusters.index[:n]), (simulated, clusters.index[n:]))
    (own, own_psi), (there, there_psi) = (_claimed_gain(part, Clusters(i, clusters.size)) for part, i in sides)
    bands = simultaneous(np.array([own - there]), (own_psi - there_psi)[:, None], tol.gate_level, seed)
    return line(label, bands.value[0], bands.low[0], bands.high[0], allowed, n)


def _claimed_gain(s: PredictionSlice, clusters: Clusters) -> tuple[float, Floats]:
    """1 - sum w H(p) / (W H(mean p)) and its influence (U,)."""
    sums = clusters.sums(s.w, s.w * s.p, s.w * entropy(s.p))
    mass, told, loss = sums.sum(axis=0)
    rate = float(np.clip(told / mass, 1e-7, 1 - 1e-7))
    base = mass * entropy(rate)
    base_u = sums[:, 0] * entropy(rate) + (sums[:, 1] - rate * sums[:, 0]) * np.log((1 - rate) / rate)
    return float(1 - loss / base), -sums[:, 2] / base + loss * base_u / base**2


def determinism(a: bytes, b: bytes) -> Gate:
    """Two runs with the same seed give the same bytes (trajectories, or hashes of them).

    Raises:
        InputError: nothing to compare.
    """
    if not a and not b:
        raise InputError("determinism", "both runs are empty", "Give the bytes of two runs with the same seed.")
    same = a == b
    if same:
        detail = f"{len(a):,} bytes equal."
    else:
        first = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        detail = f"runs of {len(a):,} and {len(b):,} bytes differ first at byte {first:,}."
    figure = 0.0 if same else 1.0
    return Gate(
        "determinism", QUESTIONS["determinism"], PASS if same else FAIL, figure, figure, figure, (None, 0.0), detail
    )
