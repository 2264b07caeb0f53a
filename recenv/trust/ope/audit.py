"""Propensity audit: do the logged propensities fit what was shown?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recenv.core.errors import InputError
from recenv.trust.ope.inputs import MIN_PROPENSITY, Array, Floats, Ints, LoggedBandit, numbers, scalar

OK = "OK"
PROPENSITIES_WRONG = "PROPENSITIES WRONG"
MIN_HITS = 10
"""Rows an action needs for a test of its own: fewer do not tell how its propensities are spread."""
_COLUMNS = 64  # actions at a time, where a table (n, A) is summed by cluster


@dataclass(frozen=True)
class Audit:
    """Outcome of the audit."""

    verdict: str
    """OK or PROPENSITIES WRONG."""
    mean_weight: float
    """Mean of 1 / (propensity x number of eligible actions): 1 in expectation."""
    mean_weight_p: float
    """p-value of mean weight 1, clustered by user."""
    alpha: float
    """Family-wise level of all tests together."""
    lines: tuple[dict[str, Any], ...] = ()
    """One an action and position: action, position, rows (eligible), estimated (sum 1{a=k}/p), ratio, p, wrong."""
    unseen: int = 0
    """Eligible actions (by position) that were never logged: nothing can be said of their propensities."""
    reasons: tuple[str, ...] = ()
    """What does not fit, in plain words."""

    def headline(self) -> str:
        """One sentence."""
        if self.verdict == OK:
            return f"The logged propensities fit what was shown (mean weight {self.mean_weight:.3f})."
        return f"{self.verdict}: {'; '.join(self.reasons)}."

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self) | {"lines": list(self.lines), "reasons": list(self.reasons), "headline": self.headline()}


@dataclass(frozen=True)
class _Cells:
    """Sums over the rows in which action k was eligible (at one position): all (A,)."""

    rows: Floats
    estimated: Floats
    variance: Floats
    jump: Floats
    hits: Ints


def audit(
    log: LoggedBandit,
    eligible: Array | None = None,
    alpha: float = 0.01,
    tolerance: float = 0.01,
    cluster: bool = True,
    min_propensity: float = MIN_PROPENSITY,
) -> Audit:
    """Test the logged propensities: sum_i 1{a_i = k} / p_i against the rows in which k was eligible; mean weight 1.

    For action k (at each position) S_k = sum_i s_i 1{a_i = k} / p_i has expectation N_k = sum_i s_i e_ik, if each p_i
    is the probability of what was drawn. S_k is a sum of few large jumps s_i / p_i, and those that have not come yet
    are the largest: a normal test calls right logs wrong. So the p-value is Bernstein's in form (Maurer and Pontil,
    COLT 2009): 2 exp(-L) where |S_k - N_k| = sqrt(2 V L) + J L, V the variance that S_k has when the propensities are
    right, times the design effect of clusters, J the largest sum of jumps of one cluster. The mean weight
    u_i = 1 / (p_i |E_i|) likewise. Actions logged fewer than 10 times are not tested one by one. Holm's correction
    over all these tests; a deviation fails where it is significant after `tolerance`.

    It cannot see wrong propensities whose errors cancel in each action (permuted among rows of one action), nor
    anything of actions that were never logged (`unseen`). Without `log.behaviour` V and J come from what was logged:
    in a log so small that much of the eligible mass has propensities far below 1 / n, that mass has not come up, the
    sums fall short, and right propensities are called wrong. With it V and J are known, and this does not happen.

    Args:
        log: the logged decisions.
        eligible: (n, A) bool: what could have been shown, |E_i| actions in row i; or (A,) numbers of rows; None: where
            `log.behaviour` is above 0, else all actions in all rows.
        alpha: family-wise level: a right log is called wrong at most this often. tolerance: relative deviation of S_k
            that is let pass (logs round their propensities). cluster: by `log.user`.

    Raises:
        InputError: bad arrays or options; a logged action that was not eligible.
    """
    scalar("alpha", alpha, 0.0, 1.0, open_low=True, open_high=True)
    scalar("tolerance", tolerance, 0.0, 1.0, open_high=True)
    log = log.check(min_propensity)
    table, counts, size = _eligible(log, eligible)
    _, group = np.unique(log.user if cluster else np.arange(len(log)), return_inverse=True)
    lines: list[dict[str, Any]] = []
    unseen = 0
    for position, index in _parts(log, counts):
        part = log.rows(index)
        cells = _cells(part, None if table is None else table[index], counts, group[index])
        unseen += int(((cells.hits == 0) & (cells.rows > 0)).sum())
        lines += _lines(cells, position, tolerance)
    mean, mean_p = _mean_weight(log, size, group, tolerance)
    return _judge(lines, mean, mean_p, alpha, unseen)


def _eligible(log: LoggedBandit, eligible: Array | None) -> tuple[Array | None, Floats | None, Floats]:
    """(table (n, A) or None, counts (A,) or None, |E_i| (n,)); neither table nor counts where all were eligible."""
    n, a = len(log), log.n_actions
    if eligible is None:
        if log.behaviour is None:
            return None, None, np.full(n, float(a))
        table: Array = log.behaviour > 0
    else:
        given = numbers("eligible", eligible)
        if given.shape == (a,):
            if (given < 0).any() or given.sum() <= 0:
                raise InputError("eligible", "negative or all 0", "Give the number of rows for each action.")
            assert log.weight is not None
            return None, given, np.full(n, given.sum() / log.weight.sum())
        if given.shape != (n, a) or not np.isin(given, (0.0, 1.0)).all():
            what = f"has shape {given.shape} or values other than 0 and 1"
            raise InputError("eligible", what, f"Give booleans ({n}, {a}), or row counts ({a},).")
        table = given > 0
    shown = table[np.arange(n), log.action]
    if not shown.all():
        row = int(np.flatnonzero(~shown)[0])
        raise InputError(f"eligible, row {row}", "the logged action was not eligible", "Mend the eligible sets.")
    return table, None, table.sum(axis=1).astype(np.float64)


def _parts(log: LoggedBandit, counts: Floats | None) -> list[tuple[int | None, Ints]]:
    assert log.position is not None
    if counts is not None:  # numbers of rows are over all positions
        return [(None, np.arange(len(log)))]
    return [(int(k), np.flatnonzero(log.position == k)) for k in np.unique(log.position)]


def _cells(log: LoggedBandit, table: Array | None, counts: Floats | None, group: Ints) -> _Cells:
    assert log.weight is not None
    a, s, jump = log.n_actions, log.weight, log.weight / log.propensity
    _, group = np.unique(group, return_inverse=True)
    size = np.bincount(group, s).astype(np.float64)
    hits = np.bincount(log.action, minlength=a)
    estimated = np.bincount(log.action, jump, minlength=a).astype(np.float64)
    rows = counts
    if rows is None:
        rows = np.full(a, s.sum()) if table is None else np.asarray(s @ table.astype(np.float64))
    square = s**2
    cover = np.full(a, square.sum()) if table is None else np.asarray(square @ table.astype(np.float64))
    # variance of sum s (1{a = k} / p - e) when the propensities are right: the hits' share is scaled to its expectation
    scale = np.divide(rows, estimated, out=np.zeros(a), where=estimated > 0)
    twice = np.bincount(log.action, jump**2 - 2.0 * s * jump, minlength=a)
    variance = np.maximum(scale * twice + cover, 0.0)
    design, largest = _design(log, table, rows, group, size, twice + cover)
    if log.behaviour is not None:  # then the variance is known, with what has not come yet
        inverse = _inverse(log.behaviour)
        variance = np.maximum(square @ inverse - cover, 0.0)
        largest = np.maximum(largest, (s[:, None] * inverse).max(axis=0))
    return _Cells(rows, estimated, variance * design, largest, hits)


def _inverse(table: Floats) -> Floats:
    """1 / p, 0 where p is 0."""
    return np.divide(1.0, table, out=np.zeros_like(table), where=table > 0)


def _design(
    log: LoggedBandit, table: Array | None, rows: Floats, group: Ints, size: Floats, raw: Floats
) -> tuple[Floats, Floats]:
    """(A,) variance over clusters / variance over rows, at least 1: rows of one user may be drawn together; and (A,)
    the largest sum of s / p in one cluster."""
    assert log.weight is not None
    a = log.n_actions
    key, back = np.unique(group * a + log.action, return_inverse=True)
    hit = np.bincount(back, log.weight / log.propensity)
    cluster, action = key // a, key % a
    largest = np.zeros(a)
    np.maximum.at(largest, action, hit)
    if len(size) == len(log):
        return np.ones(a), largest
    if table is None:  # e_ik alike in all rows: the cluster's share of the rows
        expected, squares = size[cluster] * rows[action] / size.sum(), (size**2).sum() * (rows / size.sum()) ** 2
    else:
        expected, squares = np.empty(len(key)), np.empty(a)
        order = np.argsort(group, kind="stable")
        start = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
        for first in range(0, a, _COLUMNS):
            block = slice(first, first + _COLUMNS)
            by = np.add.reduceat(table[order][:, block] * log.weight[order, None], start, axis=0)  # (G, columns)
            squares[block] = (by**2).sum(axis=0)
            inside = (action >= first) & (action < first + _COLUMNS)
            expected[inside] = by[cluster[inside], action[inside] - first]
    clustered = np.bincount(action, hit**2 - 2.0 * hit * expected, minlength=a) + squares
    return np.maximum(1.0, np.divide(clustered, raw, out=np.ones(a), where=raw > 0)), largest


def _lines(cells: _Cells, position: int | None, tolerance: float) -> list[dict[str, Any]]:
    lines = []
    for k in np.flatnonzero((cells.hits >= MIN_HITS) & (cells.rows > 0)):
        rows, estimated = float(cells.rows[k]), float(cells.estimated[k])
        p = _bernstein_p(estimated, rows, float(cells.variance[k]), float(cells.jump[k]), tolerance)
        lines.append({"action": int(k), "position": position, "rows": rows, "estimated": estimated,
                      "ratio": estimated / rows, "p": p, "wrong": False})  # fmt: skip
    return lines


def _bernstein_p(estimated: float, expected: float, variance: float, jump: float, tolerance: float) -> float:
    """Two-sided p of a sum of jumps: 2 exp(-L), where |estimated - expected| - tolerance = sqrt(2 V L) + jump L."""
    deviation = abs(estimated - expected) - tolerance * expected
    if deviation <= 0:
        return 1.0
    if jump <= 1e-9 * deviation and variance <= (1e-9 * deviation) ** 2:
        return 0.0
    root = (np.sqrt(2.0 * variance + 4.0 * jump * deviation) - np.sqrt(2.0 * variance)) / (2.0 * jump)
    return float(min(1.0, 2.0 * np.exp(-(root**2))))


def _mean_weight(log: LoggedBandit, size: Floats, group: Ints, tolerance: float) -> tuple[float, float]:
    """(mean of u = 1 / (p |E|), p-value of 1), by cluster, t with G - 1 degrees of freedom."""
    assert log.weight is not None
    s, u = log.weight, 1.0 / (log.propensity * size)
    mean = float(np.average(u, weights=s))
    total = np.bincount(group, s * (u - mean))
    g = len(total)
    if g < 2:
        return mean, 1.0
    variance = float(g / (g - 1) * (total**2).sum()) / max(mean, 1.0)  # see _cells: scaled to its expectation
    jump = float(np.abs(total).max())
    if log.behaviour is not None:
        inverse = _inverse(log.behaviour)
        known = float((s**2 * (inverse.sum(axis=1) / size**2 - 1.0)).clip(0.0).sum())
        rows = float((s**2 * (u - mean) ** 2).sum())
        variance = known * (max(1.0, float((total**2).sum()) / rows) if rows > 0 else 1.0)
        jump = max(jump, float((s * inverse.max(axis=1) / size).max()))
    return mean, _bernstein_p(mean * s.sum(), s.sum(), variance, jump, tolerance)


def _judge(lines: list[dict[str, Any]], mean: float, mean_p: float, alpha: float, unseen: int) -> Audit:
    values = np.array([mean_p, *(line["p"] for line in lines)])
    wrong = _holm(values, alpha)
    for line, bad in zip(lines, wrong[1:], strict=True):
        line["wrong"] = bool(bad)
    reasons = []
    if wrong[0]:
        reasons.append(f"the mean weight is {mean:.3f}, not 1 (p = {mean_p:.1g})")
    bad_lines = sorted((line for line in lines if line["wrong"]), key=lambda line: float(line["p"]))
    if bad_lines:
        worst = bad_lines[0]
        place = "" if worst["position"] is None else f" at position {worst['position']}"
        reasons.append(
            f"{len(bad_lines)} of {len(lines)} actions do not fit, worst action {worst['action']}{place}: sum of "
            f"1 / propensity {worst['estimated']:,.0f} for {worst['rows']:,.0f} eligible rows"
        )
    if reasons:
        reasons.append("either the propensities are wrong or the eligible sets")
    verdict = PROPENSITIES_WRONG if reasons else OK
    return Audit(verdict, mean, mean_p, alpha, tuple(lines), unseen, tuple(reasons))


def _holm(p: Floats, alpha: float) -> Array:
    """(m,) bool: rejected by Holm's step-down procedure (Scandinavian Journal of Statistics 1979)."""
    order = np.argsort(p, kind="stable")
    fails = p[order] > alpha / np.arange(len(p), 0, -1)
    stop = int(np.argmax(fails)) if fails.any() else len(p)
    rejected = np.zeros(len(p), bool)
    rejected[order[:stop]] = True
    return rejected
