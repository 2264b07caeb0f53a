"""Standard errors and intervals of an estimate, clustered by user: rows of one user come and go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from recenv.core.errors import InputError
from recenv.trust.ope.estimators import Terms
from recenv.trust.ope.inputs import Array, Floats, numbers, scalar

METHODS = ("studentised", "t", "percentile", "bca", "bernstein")
_BLOCK = 2_000_000  # counts held at a time
_POOLS = 20_000  # clusters drawn from, at most


@dataclass(frozen=True)
class Clustered:
    """Sums of an estimate's terms by cluster: columns s, s b, s c, s d (see Terms)."""

    sums: Floats
    """(G, 4)."""

    @classmethod
    def of(cls, terms: Terms, user: Array) -> Clustered:
        """Sum the rows of each cluster; `user` (n,) of any integers."""
        _, group = np.unique(user, return_inverse=True)
        s = terms.row_weight
        d = np.ones_like(s) if terms.normaliser is None else terms.normaliser
        columns = (s, s * terms.base, s * terms.corrected, s * d)
        return cls(np.stack([np.bincount(group, c) for c in columns], axis=1))

    def value(self) -> float:
        """B / S + C / D of the totals; NaN where D is 0."""
        return float(_values(self.sums.sum(axis=0)[None])[0])

    def influence(self) -> Floats:
        """(G,) first-order change of the value by each cluster: ((b_g - B/S s_g) + S/D (c_g - C/D d_g)) / S."""
        return self.sums @ _direction(self.sums.sum(axis=0)[None])[0]

    def se(self) -> float:
        """sqrt(G / (G - 1) sum_g influence_g^2) (Liang and Zeger, Biometrika 1986), NaN for one cluster."""
        g = len(self.sums)
        return float(np.sqrt(g / (g - 1) * (self.influence() ** 2).sum())) if g > 1 else float("nan")


def _values(totals: Floats) -> Floats:
    """(b,) values of totals (b, 4)."""
    s, b, c, d = totals.T
    ratio = np.divide(c, d, out=np.full(len(c), np.nan), where=d != 0)
    return np.divide(b, s, out=np.full(len(b), np.nan), where=s != 0) + ratio


def _direction(totals: Floats) -> Floats:
    """(b, 4) gradient of the value in the totals (b, 4)."""
    s, b, c, d = np.where(totals == 0, np.nan, totals).T
    b, c = totals[:, 1], totals[:, 2]
    return np.stack([-b / s**2, 1.0 / s, 1.0 / d, -c / d**2], axis=1)


@dataclass(frozen=True)
class Draws:
    """Cluster bootstrap of one estimate."""

    values: Floats
    """(B,) values."""
    errors: Floats
    """(B,) standard errors within each draw."""


def bootstrap(tables: list[Clustered], n_boot: int, seed: int) -> list[Draws]:
    """The same draws of clusters with replacement for several estimates (G, 4) of one log.

    Field and Welsh, "Bootstrapping clustered data", JRSS B 2007. The error within a draw is a quadratic form in the
    draw's sums of products, so a draw costs one product of its counts with (G, 14) numbers an estimate. Above 20,000
    clusters these are first pooled at random into 20,000 of equal number: independent sums again, with the same
    variance and skewness of the total.

    Raises:
        InputError: n_boot below 1.
    """
    if isinstance(n_boot, bool) or not isinstance(n_boot, (int, np.integer)) or n_boot < 1:
        raise InputError("n_boot", repr(n_boot), "Give a whole number of draws, at least 1.")
    rng = np.random.default_rng(seed)
    tables = _pooled(tables, rng)
    g = len(tables[0].sums)
    upper = np.triu_indices(4)
    # scaled by the totals, for sums of squares that keep their digits
    scale = [np.where((t := np.abs(table.sums).sum(axis=0)) > 0, t, 1.0) for table in tables]
    features = []
    for table, by in zip(tables, scale, strict=True):
        x = table.sums / by
        features.append(np.concatenate([x, x[:, upper[0]] * x[:, upper[1]]], axis=1))
    stacked = np.concatenate(features, axis=1)  # (G, 14 E)
    sums = np.empty((n_boot, stacked.shape[1]))
    step = max(1, _BLOCK // g)
    for start in range(0, n_boot, step):
        b = min(step, n_boot - start)
        drawn = rng.integers(0, g, (b, g)) + g * np.arange(b)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=b * g).reshape(b, g)
        sums[start : start + b] = counts.astype(np.float64) @ stacked
    return [_draws(part, by, g) for part, by in zip(np.split(sums, len(tables), axis=1), scale, strict=True)]


def _pooled(tables: list[Clustered], rng: np.random.Generator) -> list[Clustered]:
    g = len(tables[0].sums)
    if g <= _POOLS:
        return tables
    order, start = rng.permutation(g), np.arange(_POOLS) * g // _POOLS
    return [Clustered(np.add.reduceat(table.sums[order], start, axis=0)) for table in tables]


def _draws(sums: Floats, scale: Floats, g: int) -> Draws:
    totals = sums[:, :4] * scale
    direction = _direction(totals) * scale
    products = np.zeros((len(sums), 4, 4))
    row, column = np.triu_indices(4)
    products[:, row, column] = products[:, column, row] = sums[:, 4:]
    variance = np.einsum("bi,bij,bj->b", direction, products, direction)
    return Draws(_values(totals), np.sqrt(np.maximum(variance, 0.0) * (g / (g - 1) if g > 1 else np.nan)))


def interval(table: Clustered, draws: Draws | None, method: str, level: float) -> tuple[float, float]:
    """(low, high) of the value; NaN where none can be given (one cluster, no weight at all).

    `studentised`: value - t* se with t* the quantiles of (value* - value) / se* (Hall, "The bootstrap and Edgeworth
    expansion", 1992, section 3.3: second-order right on skewed sums, as importance-weighted rewards are);
    `t`: value +- t(G - 1) se; `percentile`; `bca`: bias corrected and accelerated (Efron, JASA 1987).
    """
    value, se, g = table.value(), table.se(), len(table.sums)
    tail = (1.0 - level) / 2.0
    if not np.isfinite([value, se]).all():
        return float("nan"), float("nan")
    if se <= 1e-14 * abs(value):
        return value, value
    if method == "t":
        half = float(stats.t.ppf(1.0 - tail, g - 1)) * se
        return value - half, value + half
    if draws is None:
        raise InputError("interval", f"{method} needs draws", "Give n_boot >= 1.")
    if method == "studentised":
        return _studentised(value, se, draws, tail)
    finite = draws.values[np.isfinite(draws.values)]
    if not len(finite):
        return float("nan"), float("nan")
    levels = (tail, 1.0 - tail) if method == "percentile" else _bca_levels(table, finite, value, tail)
    low, high = np.quantile(finite, levels)
    return float(low), float(high)


def _studentised(value: float, se: float, draws: Draws, tail: float) -> tuple[float, float]:
    # a draw that misses every rewarded cluster has no spread: its t is infinite, with the sign of its distance
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (draws.values - value) / draws.errors
    t = np.sort(t[~np.isnan(t)])
    if not len(t):
        return float("nan"), float("nan")
    low, high = np.quantile(t, [tail, 1.0 - tail], method="inverted_cdf")
    return value - float(high) * se, value - float(low) * se


def _bca_levels(table: Clustered, draws: Floats, value: float, tail: float) -> tuple[float, float]:
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    z0 = stats.norm.ppf(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    u = table.influence()
    acceleration = (u**3).sum() / (6.0 * (u**2).sum() ** 1.5)
    z = stats.norm.ppf([tail, 1.0 - tail])
    low, high = stats.norm.cdf(z0 + (z0 + z) / (1.0 - acceleration * (z0 + z)))
    return float(low), float(high)


def empirical_bernstein(values: Array, low: float, high: float, delta: float = 0.05) -> tuple[float, float]:
    """Two-sided bound on the mean of independent values in [low, high], true at any size with probability 1 - delta.

    mean +- (sqrt(2 V log(4 / delta) / n) + (high - low) 7 log(4 / delta) / (3 (n - 1))), V the sample variance.
    Maurer and Pontil, "Empirical Bernstein bounds and sample variance penalization", COLT 2009, theorem 4, at
    delta / 2 a side.

    Raises:
        InputError: fewer than 2 values, or values outside [low, high].
    """
    x = numbers("values", values)
    scalar("delta", delta, 0.0, 1.0, open_low=True, open_high=True)
    if x.ndim != 1 or len(x) < 2:
        raise InputError("values", f"has shape {x.shape}", "Give at least 2 values.")
    slack = 1e-9 * (high - low)
    if not low < high or x.min() < low - slack or x.max() > high + slack:
        raise InputError("values", f"[{x.min():g}, {x.max():g}] leaves [{low:g}, {high:g}]", "Give their true range.")
    n, term = len(x), np.log(4.0 / delta)
    half = float(np.sqrt(2.0 * x.var(ddof=1) * term / n) + (high - low) * 7.0 * term / (3.0 * (n - 1)))
    return float(x.mean()) - half, float(x.mean()) + half


def bernstein_interval(
    terms: Terms, user: Array, reward_range: tuple[float, float], weight_bound: float, level: float
) -> tuple[float, float]:
    """Empirical Bernstein interval of an estimate that is no ratio, over y_g = G / S sum_{i in g} s_i (b_i + c_i).

    Their range: rewards (and the model) lie in `reward_range`, weights in [0, weight_bound], clusters are no larger
    than the largest.

    Raises:
        InputError: a self-normalised estimate; an empty range.
    """
    if terms.normaliser is not None:
        raise InputError("interval", "empirical Bernstein needs a mean, not a ratio", "Use ipw, clipped_ipw, dr.")
    low, high = reward_range
    table = Clustered.of(terms, user).sums
    factor = len(table) / table[:, 0].sum()
    y = factor * (table[:, 1] + table[:, 2])
    largest = factor * table[:, 0].max()
    if terms.base.any():
        bottom, top = low - (high - low) * weight_bound, high + (high - low) * weight_bound
    else:
        bottom, top = low * weight_bound, high * weight_bound
    return empirical_bernstein(y, min(bottom * largest, 0.0), max(top * largest, 0.0), 1.0 - level)


def iid_error(terms: Terms) -> float:
    """sd(rows) / sqrt(n), as packages quote it that take rows as independent; for comparison only."""
    rows = terms.rows()
    return float(rows.std(ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else float("nan")
