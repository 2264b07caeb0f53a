"""Gates on held-out predictions: power, discrimination, calibration, transfer to another policy's log, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.trust.gate_base import NOT_ENOUGH, PASS, Gate, gate_of_lines, line, undecided
from recenv.trust.gate_groups import WEEK, by_decile, by_segment, by_week
from recenv.trust.gate_intervals import Bands, Clusters, Floats, log_ratio, numbered, simultaneous
from recenv.trust.metrics import entropy, row_losses
from recenv.trust.slices import PredictionSlice
from recenv.trust.tolerances import Band, Tolerances, band

RATIO_AXIS = "predicted / real"


def too_few(name: str, s: PredictionSlice, clusters: Clusters, tol: Tolerances) -> Gate | None:
    """NOT ENOUGH DATA below the floors of responses and users, else None."""
    if s.positives < tol.floor_positives:
        why = f"{s.positives} responses; no interval below {tol.floor_positives}."
        return undecided(name, why, s.head)
    if clusters.size < tol.min_users:
        return undecided(name, f"{clusters.size} users; no interval below {tol.min_users}.", s.head)
    return None


def power(s: PredictionSlice, tol: Tolerances) -> Gate:
    """Enough responses and users? The figure is the number of responses; the detail is the smallest error to be seen.

    A wrong level of all predictions is seen with about 90 % probability once |log ratio| exceeds the tolerance by
    (c + 1.28) se, where se is the standard error of log(sum w p / sum w y) over users and c the gate's critical value.
    """
    s.check()
    clusters = Clusters.of(s.user)
    enough = s.positives >= tol.min_positives and clusters.size >= tol.min_users
    detail = f"{s.positives:,} responses of {clusters.size:,} users in {len(s):,} rows"
    if s.positives and s.p.any():
        bands = _ratios(s, clusters, np.zeros(len(s), np.int64), 1, tol, 0)
        seen = np.exp(np.log(tol.ratio_large) + (bands.critical[0] + 1.28) * bands.se[0])
        if np.isfinite(seen):
            detail += f"; a level wrong by x{seen:.2f} or more would be seen"
    counts = (("responses", s.positives, tol.min_positives), ("users", clusters.size, tol.min_users))
    lines = [line(label, n, n, n, (float(least), None), len(s)) for label, n, least in counts]
    lines = [x | {"verdict": PASS if x["verdict"] == PASS else NOT_ENOUGH} for x in lines]
    gate = gate_of_lines("power", lines, detail + ".", "count", "bars", s.head)
    return replace(gate, verdict=PASS if enough else NOT_ENOUGH)


def discrimination(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    """Log-loss gain over the base rate and over item rates: 1 - LL / H(rate) and 1 - LL / LL(item rates).

    A gain over the base rate above `max_gain` fails too: nobody foresees shoppers that well (see `leaked_future`).
    """
    s.check()
    clusters = Clusters.of(s.user)
    few = too_few("discrimination", s, clusters, tol)
    if few or s.positives == len(s):
        return few or undecided("discrimination", "every row has a response.", s.head)
    value, psi = gains(s, clusters)
    bands = simultaneous(value, psi, tol.gate_level, seed)
    allowed: tuple[Band, Band] = ((tol.min_gain, tol.max_gain), (tol.min_gain_items, None))
    lines = [
        line(label, bands.value[k], bands.low[k], bands.high[k], allowed[k], len(s))
        for k, label in enumerate(("over the base rate", "over item rates"))
    ]
    detail = f"log-loss gain {value[0]:.3f} over the base rate, {value[1]:.3f} over item rates."
    return gate_of_lines("discrimination", lines, detail, "log-loss gain", "bars", s.head)


def gains(s: PredictionSlice, clusters: Clusters) -> tuple[Floats, Floats]:
    """(2,) gains over base and item rates, and their influence (U, 2)."""
    own, items = row_losses(s.p, s.y), row_losses(s.item_rate, s.y)
    sums = clusters.sums(s.w, s.w * s.y, s.w * own, s.w * items)
    mass, hits, loss, other = sums.sum(axis=0)
    rate = hits / mass
    base = mass * entropy(rate)
    slope = np.log((1 - rate) / rate)
    base_u = sums[:, 0] * entropy(rate) + (sums[:, 1] - rate * sums[:, 0]) * slope
    psi = [-sums[:, 2] / ref + loss * ref_u / ref**2 for ref, ref_u in ((base, base_u), (other, sums[:, 3]))]
    return np.array([1 - loss / base, 1 - loss / other]), np.stack(psi, axis=1)


def _ratios(
    s: PredictionSlice, clusters: Clusters, group: NDArray[np.int64], groups: int, tol: Tolerances, seed: int
) -> Bands:
    """Log of sum w p / sum w y in each group, with simultaneous intervals over users."""
    told, real = clusters.table(group, groups, s.w * s.p), clusters.table(group, groups, s.w * s.y)
    value, psi = log_ratio(told, real)
    return simultaneous(value, psi, tol.gate_level, seed)


def _calibration(
    name: str,
    s: PredictionSlice,
    tol: Tolerances,
    ratio: float,
    group: NDArray[np.int64],
    labels: Sequence[str],
    seed: int,
    words: str,
    asked: int,
) -> Gate:
    """Predicted / real in each group; of `asked` groups that merging leaves as one, none was looked into: no PASS."""
    clusters = Clusters.of(s.user)
    few = too_few(name, s, clusters, tol)
    if few:
        return few
    bands = _ratios(s, clusters, group, len(labels), tol, seed).exp()
    weight = np.bincount(group, s.w, len(labels))
    lines = [
        line(labels[k], bands.value[k], bands.low[k], bands.high[k], band(ratio), weight[k]) for k in range(len(labels))
    ]
    shown = (
        f"{np.nanmin(bands.value):.2f}"
        if len(labels) == 1
        else f"{np.nanmin(bands.value):.2f} to {np.nanmax(bands.value):.2f}"
    )
    gate = gate_of_lines(name, lines, f"predicted / real {shown}{words}.", RATIO_AXIS, "ratio", s.head)
    if gate.verdict == PASS and len(labels) == 1 and asked > 1:
        why = f" {asked} groups were merged into one: at least {2 * tol.min_positives} responses tell two apart."
        return replace(gate, verdict=NOT_ENOUGH, detail=gate.detail + why)
    return gate


def calibration_large(s: PredictionSlice, tol: Tolerances) -> Gate:
    """sum w p / sum w y over the whole slice."""
    s.check()
    return _calibration("calibration_large", s, tol, tol.ratio_large, np.zeros(len(s), np.int64), ["all"], 0, "", 1)


def calibration_deciles(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    """sum w p / sum w y by decile of prediction; neighbours merged to at least `min_positives` responses."""
    s.check()
    group, labels = by_decile(s.p, s.w, s.y, tol.min_positives)
    words = f" over {len(labels)} groups of deciles"
    asked = 1 if s.p.min() == s.p.max() else 10
    return _calibration("calibration_deciles", s, tol, tol.ratio_decile, group, labels, seed, words, asked)


def calibration_segments(
    s: PredictionSlice, tol: Tolerances, seed: int = 0, names: Mapping[int, str] | None = None
) -> Gate:
    """sum w p / sum w y by segment of users; small segments merged into one. `names`: segment -> label."""
    s.check()
    group, labels = by_segment(s.segment, s.y, tol.min_positives, names)
    words = f" over {len(labels)} segments"
    return _calibration(
        "calibration_segments", s, tol, tol.ratio_segment, group, labels, seed, words, len(np.unique(s.segment))
    )


def calibration_weeks(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    """sum w p / sum w y by week; neighbours merged."""
    s.check()
    group, labels = by_week(s.time, s.y, tol.min_positives)
    words = f" over {len(labels)} periods"
    asked = len(numbered((s.time - s.time.min()) // WEEK)[0])
    return _calibration("calibration_weeks", s, tol, tol.ratio_week, group, labels, seed, words, asked)


def transfer(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    """The log of a second policy: level of the predictions, and gain over the base rate there.

    The gain may fail the gate; it need not be proved for the gate to pass (a policy may show items so alike that there
    is little to tell apart).
    """
    s.check()
    clusters = Clusters.of(s.user)
    few = too_few("transfer", s, clusters, tol)
    if few or s.positives == len(s):
        return few or undecided("transfer", "every row has a response.", s.head)
    ratio, ratio_psi = log_ratio(clusters.sums(s.w * s.p), clusters.sums(s.w * s.y))
    gain, gain_psi = gains(s, clusters)
    bands = simultaneous(
        np.concatenate([ratio, gain[:1]]), np.concatenate([ratio_psi, gain_psi[:, :1]], axis=1), tol.gate_level, seed
    )
    level = bands.exp()
    lines = [
        line(RATIO_AXIS, level.value[0], level.low[0], level.high[0], band(tol.ratio_transfer), len(s)),
        line("log-loss gain", gain[0], bands.low[1], bands.high[1], (0.0, tol.max_gain), len(s), required=False),
    ]
    detail = f"on the other policy's log: predicted / real {level.value[0]:.2f}, gain over the base rate {gain[0]:.3f}."
    return gate_of_lines("transfer", lines, detail, RATIO_AXIS, "ratio", s.head, plotted=lines[:1])


def drift(s: PredictionSlice, tol: Tolerances, earlier: PredictionSlice | None = None, seed: int = 0) -> Gate:
    """Predicted / real late over predicted / real early: does the model age?

    Late and early are the two halves of the slice by responses; where an earlier slice is given (validation), the
    slice against it is a second line.
    """
    s.check()
    clusters = Clusters.of(s.user)
    few = too_few("drift", s, clusters, tol)
    if few:
        return few
    if earlier is None:
        first, psi = _ageing(s, clusters, s.time > np.median(s.time[s.y > 0.5]))
        values, labels = [first], ["second half of the slice / first half"]
        psis = [psi]
    else:
        earlier.check()
        both = _joined(earlier, s)
        clusters = Clusters.of(both.user)
        is_late = np.arange(len(both)) >= len(earlier)
        cut = np.median(s.time[s.y > 0.5])
        inside = _ageing(both, clusters, both.time > cut, is_late)
        across = _ageing(both, clusters, is_late)
        values, psis = [inside[0], across[0]], [inside[1], across[1]]
        labels = ["second half of the slice / first half", "this slice / the earlier one"]
    bands = simultaneous(np.array(values), np.stack(psis, axis=1), tol.gate_level, seed).exp()
    lines = [
        line(labels[k], bands.value[k], bands.low[k], bands.high[k], band(tol.ratio_drift), len(s))
        for k in range(len(labels))
    ]
    detail = "; ".join(f"{x['label']}: " + ("unknown" if x["figure"] is None else f"{x['figure']:.2f}") for x in lines)
    return gate_of_lines("drift", lines, detail + ".", "predicted / real, later over earlier", "ratio", s.head)


def _ageing(
    s: PredictionSlice, clusters: Clusters, late: NDArray[np.bool_], among: NDArray[np.bool_] | None = None
) -> tuple[float, Floats]:
    """Log ratio of ratios, late over early, and its influence (U,)."""
    use = np.ones(len(s), bool) if among is None else among
    group = np.where(use, late.astype(np.int64), 2)
    value, psi = log_ratio(clusters.table(group, 3, s.w * s.p), clusters.table(group, 3, s.w * s.y))
    return float(value[1] - value[0]), psi[:, 1] - psi[:, 0]


def _joined(a: PredictionSlice, b: PredictionSlice) -> PredictionSlice:
    names = ("p", "y", "w", "user", "item", "session", "time", "segment", "item_rate")
    parts: dict[str, Any] = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in names}
    return PredictionSlice(b.head, **parts)
