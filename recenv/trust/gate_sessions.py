"""Gates on whole sessions: their second moment, and how roll-outs under the logged policy compare with the logs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recenv.trust.gate_base import FAIL, Gate, gate_of_lines, in_tolerances, line, undecided
from recenv.trust.gate_intervals import Clusters, Floats, mean_of, numbered, simultaneous
from recenv.trust.slices import RATIO_STATS, SessionStats
from recenv.trust.tolerances import Band, Tolerances, band

Moment = tuple[float, float, Floats]  # value in the log, value simulated, influence (U,) on the comparison


class _Sides:
    """Sessions of both sides over one numbering of users."""

    def __init__(self, stats: SessionStats) -> None:
        self.stats = stats.check()
        user = np.concatenate([stats.real_user, stats.simulated_user])
        self.clusters = Clusters.of(user)
        n = len(stats.real_user)
        self.index = (self.clusters.index[:n], self.clusters.index[n:])
        self.users = min(len(numbered(i)[0]) for i in self.index)

    def sums(self, side: int, values: NDArray[np.float64]) -> Floats:
        """(U,) sums by user of one side's values."""
        return np.bincount(self.index[side], values, self.clusters.size).astype(np.float64)

    def mean(self, side: int, name: str) -> tuple[float, Floats, Floats]:
        """Mean of a statistic where it is known, its influence (U,), and the known values."""
        x = (self.stats.real, self.stats.simulated)[side][name]
        known = np.isfinite(x)
        value, psi = mean_of(
            self.sums(side, np.where(known, x, 0.0))[:, None], self.sums(side, known.astype(np.float64))[:, None]
        )
        return float(value[0]), psi[:, 0], x[known]

    def few(self, name: str, tol: Tolerances) -> Gate | None:
        """NOT ENOUGH DATA below the floor of users, else None."""
        if self.users < tol.min_users:
            return undecided(name, f"{self.users} users on one side; no interval below {tol.min_users}.")
        return None

    def rare(self, name: str, tol: Tolerances) -> bool:
        """Whether a statistic counts responses, or is a share of them, and the log has fewer than the floor of them.

        The simulator's own count is no excuse: one in which nobody responds is wrong, not unknown.
        """
        share = name == "repeat_share" or name.startswith("category_")
        counted = "responses" if share else name
        if counted != "responses" and not counted.startswith("responses_"):
            return False
        real = self.stats.real
        return counted in real and float(real[counted].sum()) < tol.floor_positives


def _variance(sides: _Sides, side: int, name: str) -> tuple[float, Floats]:
    """Variance of a statistic over sessions and the influence (U,) on its logarithm."""
    x = (sides.stats.real, sides.stats.simulated)[side][name]
    centred = (x - x.mean()) ** 2
    value = float(centred.mean())
    if value <= 0:
        return 0.0, np.full(sides.clusters.size, np.nan)
    return value, sides.sums(side, centred - value) / (len(x) * value)


def second_order(stats: SessionStats, tol: Tolerances, seed: int = 0) -> Gate:
    """Variance of responses per session, simulated / real; of "responses" and of every "responses_<head>".

    Responses that share no hidden session effect give baskets that vary too little.
    """
    sides = _Sides(stats)
    few = sides.few("second_order", tol)
    names = [n for n in stats.real if n == "responses" or n.startswith("responses_")]
    if few or not names:
        return few or undecided("second_order", "no responses per session were given.")
    values, psis, pairs = [], [], []
    nothing = np.full(sides.clusters.size, np.nan)
    for name in names:
        (real, real_psi), (simulated, simulated_psi) = (_variance(sides, side, name) for side in (0, 1))
        pairs.append((real, simulated))
        sound = real > 0 and simulated > 0 and not sides.rare(name, tol)
        values.append(np.log(simulated / real) if sound else np.nan)
        psis.append(simulated_psi - real_psi if sound else nothing)
    bands = simultaneous(np.array(values), np.stack(psis, axis=1), tol.gate_level, seed).exp()
    lines = [
        line(name, bands.value[k], bands.low[k], bands.high[k], band(tol.ratio_variance), len(stats.real_user))
        for k, name in enumerate(names)
    ]
    detail = "; ".join(
        f"variance of {name} per session: {simulated:.3g} simulated, {real:.3g} real"
        for name, (real, simulated) in zip(names, pairs, strict=True)
    )
    return gate_of_lines("second_order", lines, detail + ".", "variance, simulated / real", "ratio")


def rollout(stats: SessionStats, tol: Tolerances, seed: int = 0) -> Gate:
    """Roll-outs under `logged` against the logs, statistic by statistic.

    "length" and "responses": ratio of means. "drift_<step>_<feature>": difference of means in real standard
    deviations. Everything else (shares): difference of means.
    """
    sides = _Sides(stats)
    few = sides.few("rollout", tol)
    if few:
        return few
    names = list(stats.real)
    nothing = (np.nan, np.full(sides.clusters.size, np.nan))
    compared = [nothing if sides.rare(name, tol) else _compare(sides, name) for name in names]
    bands = simultaneous(
        np.array([c[0] for c in compared]), np.stack([c[1] for c in compared], axis=1), tol.gate_level, seed
    )
    ratios = bands.exp()
    on_scale = [ratios if _is_ratio(name) else bands for name in names]
    lines = [
        line(name, b.value[k], b.low[k], b.high[k], _band(name, tol), len(stats.real_user))
        for k, (name, b) in enumerate(zip(names, on_scale, strict=True))
    ]
    wrong = [x["label"] for x in lines if x["verdict"] == FAIL]
    open_ = sum(x["figure"] is None for x in lines)
    detail = f"{len(lines)} statistics{f', {open_} of them on too few responses' if open_ else ''}; "
    detail += f"off: {', '.join(wrong[:5])}." if wrong else "none shown to be off."
    plotted = [in_tolerances(x, _is_ratio(name)) for name, x in zip(names, lines, strict=True)]
    axis = "simulated against real, in tolerances (0: as in the logs)"
    return gate_of_lines("rollout", lines, detail, axis, "bars", plotted=plotted)


def _is_ratio(name: str) -> bool:
    return name in RATIO_STATS or name.startswith("responses_")


def _band(name: str, tol: Tolerances) -> Band:
    if _is_ratio(name):
        return band(tol.ratio_session)
    gap = tol.drift_gap if name.startswith("drift_") else tol.share_gap
    return (-gap, gap)


def _compare(sides: _Sides, name: str) -> tuple[float, Floats]:
    """The comparison of one statistic (log ratio, standardised or plain difference) and its influence (U,)."""
    (real, real_psi, x), (simulated, simulated_psi, _) = (sides.mean(side, name) for side in (0, 1))
    nothing = np.full(sides.clusters.size, np.nan)
    if _is_ratio(name):
        if real <= 0:
            return np.nan, nothing
        if simulated <= 0:  # as if one had come in all simulated sessions
            return float(np.log(1.0 / (len(sides.index[1]) * real))), -real_psi / real
        return float(np.log(simulated / real)), simulated_psi / simulated - real_psi / real
    if name.startswith("drift_"):
        spread = float(x.std()) if len(x) else 0.0
        if spread <= 0:
            return (0.0, np.zeros(sides.clusters.size)) if real == simulated else (np.nan, nothing)
        return (simulated - real) / spread, (simulated_psi - real_psi) / spread
    return simulated - real, simulated_psi - real_psi
