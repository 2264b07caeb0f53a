"""Placebo tests: effects that cannot be there. Where a log shows one, showing and buying share a hidden cause.

    future_exposure           was an item that would be shown NEXT time bought more THIS time?
    outcome_before_exposure   had those who were shown an item bought it more often BEFORE?
    irrelevant_item           is an item bought more when an unrelated OTHER item is shown?

Each compares like with like: rows of one stratum (item and place, item and week). The effect is the Mantel-Haenszel
rate ratio over strata s, with a the outcomes and n1 the rows of those exposed, b and n0 of those not (weighted):

    R = sum_s (a n0 / N) / sum_s (b n1 / N),  N = n0 + n1          (Greenland and Robins, Biometrics 1985)

Its interval, on the log scale, is clustered by user and by block (the item) at once: neighbours in time or place share
shocks that a user does not. With z = w y n0 / N for exposed rows, -w y R n1 / N for the others, summed by cluster c,

    V_c = G / (G - 1) sum_c (sum_{i in c} z_i)^2,  var(log R) = (V_user + V_block - V_both) / (sum_s a n0 / N)^2

(Cameron, Gelbach and Miller, JBES 2011), at least the larger of V_user and V_block; t quantile of the fewer clusters.
G counts clusters with an outcome, in strata that hold both sides: the rest add nothing to any sum. Of fewer than 20
users or blocks, or where all of them say the same (no spread), nothing can be told: a test neither fails nor passes.
Several tests of one log are judged together (`holm`): one failure makes the log OBSERVATIONAL.
Where negatives are sampled, strata of few rows need the true n1 and n0 (`counts`): noise in them would not cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recenv.core.enough import too_few
from recenv.core.errors import InputError
from recenv.trust.ope.inputs import numbers, scalar, whole

Floats = NDArray[np.float64]
LEVEL = 0.99
"""Of the interval of a test done alone: one that should pass raises a false alarm once in a hundred."""
FAMILY = 0.05
"""Of several tests of one log: chance that any fails where nothing is hidden (a false OBSERVATIONAL), by `holm`."""
SHARP_ENOUGH = 1.25
"""A placebo that could not have told an effect of this factor from none says nothing by passing."""
ONE_SIDED = "too few responses on both sides"
ALIKE = "all who responded show the same ratio, so nothing tells how others would differ"
_ROUNDING = 1e-12  # of a standard error on the log scale


WORDS = {
    "future_exposure": (
        "an item that will be shown next time is bought {ratio} as often this time, before it is shown"
    ),
    "outcome_before_exposure": "those who are shown an item had bought it {ratio} as often the time before, unshown",
    "irrelevant_item": "an item is bought {ratio} as often when an unrelated item is shown",
}
"""What each test says, by its name."""


@dataclass(frozen=True)
class Placebo:
    """Outcome of one placebo test.

    Args:
        name: which test, and within what it compares. ratio: seeming effect, 1 = none; None where it cannot be told.
        low, high: its interval, None with the ratio. failed: the interval leaves out 1. informative: failed, or sharp
            enough to have noticed a factor of 1.25. words: what that means. n: rows compared. level: of the interval.
        real: the same ratio for real exposure, where known, to compare with. se: standard error of log ratio, and df
            its degrees of freedom; None and 0 where it cannot be told.
    """

    name: str
    ratio: float | None
    low: float | None
    high: float | None
    failed: bool
    informative: bool
    words: str
    n: int
    level: float = LEVEL
    real: float | None = None
    se: float | None = None
    df: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """A Mantel-Haenszel rate ratio; `value` None where no stratum holds outcomes on both sides.

    n counts rows in strata that hold both exposed and unexposed rows; se is the standard error of log value, df its
    degrees of freedom. Without interval low, high and se are None, and why says why.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    se: float | None = None
    df: int = 0
    why: str = ""


def _interval(value: float, se: float, df: int, level: float) -> tuple[float, float]:
    reach = float(stats.t.ppf(0.5 + level / 2, df)) * se
    return float(value * np.exp(-reach)), float(value * np.exp(reach))


def future_exposure(
    outcome: Any, shown_next: Any, strata: Any, user: Any, weight: Any = None, block: Any = None, counts: Any = None,
    within: str = "", level: float = LEVEL,
) -> Placebo:  # fmt: skip
    """Does showing an item later seem to raise responses now?

    Args:
        outcome: (n,) float64 >= 0, response now. shown_next: (n,) bool. strata: (n,) int, rows compared with each
            other (let it hold whether the item is shown now). user: (n,) int, cluster. weight: (n,) > 0, 1 if None.
        block: (n,) int, second cluster (the item). counts: (n, 2) true rows of the stratum, exposed and not.
        within: what the strata are, in words.

    Raises:
        InputError: arrays of other shapes, not numbers, NaN, negative outcomes, weights not above 0, a bad level.
    """
    return settle(
        "future_exposure",
        WORDS["future_exposure"],
        stratified_ratio(outcome, shown_next, strata, user, weight, block, counts, level),
        within,
        level,
    )


def outcome_before_exposure(
    before: Any, exposed: Any, strata: Any, user: Any, weight: Any = None, block: Any = None, counts: Any = None,
    within: str = "", level: float = LEVEL,
) -> Placebo:  # fmt: skip
    """Did those who are shown an item respond to it more often before? See `future_exposure`.

    Args:
        before: (n,) float64 >= 0, earlier response of the same user to the same item. exposed: (n,) bool, shown now.
    """
    return settle(
        "outcome_before_exposure",
        WORDS["outcome_before_exposure"],
        stratified_ratio(before, exposed, strata, user, weight, block, counts, level),
        within,
        level,
    )


def irrelevant_item(
    outcome: Any, other_shown: Any, strata: Any, user: Any, weight: Any = None, block: Any = None, counts: Any = None,
    within: str = "", level: float = LEVEL,
) -> Placebo:  # fmt: skip
    """Is an item bought more where an unrelated item is shown? See `future_exposure`.

    Args:
        outcome: (n,) float64 >= 0, response to an item that is NOT shown. other_shown: (n,) bool, whether its unrelated
            partner is.
    """
    return settle(
        "irrelevant_item",
        WORDS["irrelevant_item"],
        stratified_ratio(outcome, other_shown, strata, user, weight, block, counts, level),
        within,
        level,
    )


def stratified_ratio(
    outcome: Any, exposed: Any, strata: Any, user: Any, weight: Any = None, block: Any = None, counts: Any = None,
    level: float = LEVEL,
) -> Ratio:  # fmt: skip
    """Mantel-Haenszel ratio with an interval clustered by user and block; see the module's text.

    Args:
        outcome: (n,) >= 0. exposed: (n,) 0 or 1. strata, user, block: (n,) int; strata lie within blocks. weight: (n,).
        counts: (n, 2) true (n1, n0) of each row's stratum; the sums of the rows' weights if None.
    """
    y = numbers("outcome", outcome)
    if y.ndim != 1 or not len(y):
        raise InputError("outcome", f"has shape {y.shape}", "Give one number a row, at least one row.")
    if (y < 0).any():
        raise InputError("outcome", f"{y.min():g} is negative", "Give counts, or 0 and 1.")
    n = len(y)
    shown = numbers("exposed", exposed, (n,))
    if not np.isin(shown, (0.0, 1.0)).all():
        raise InputError("exposed", "holds values other than 0 and 1", "Give booleans.")
    w = np.ones(n) if weight is None else numbers("weight", weight, (n,))
    if (w <= 0).any():
        raise InputError("weight", f"{w.min():g} is not above 0", "Give 1 / sampling rate.")
    level = scalar("level", level, 0.5, 1.0, open_high=True)
    _, first, group = np.unique(whole("strata", strata, n), return_index=True, return_inverse=True)
    clusters = [whole("user", user, n)] + ([] if block is None else [whole("block", block, n)])
    n1: Floats = np.bincount(group, w * shown).astype(np.float64)
    n0: Floats = np.bincount(group, w * (1.0 - shown)).astype(np.float64)
    if counts is not None:
        known = numbers("counts", counts, (n, 2))[first]
        if (known < 0).any() or (known.sum(axis=1) <= 0).any():
            raise InputError("counts", "are negative or both 0", "Give the rows of each stratum, exposed and not.")
        n1, n0 = known.T
    return _ratio(y, shown > 0, w, group, n1, n0, clusters, level)


def _ratio(
    y: Floats, exposed: NDArray[np.bool_], w: Floats, group: NDArray[np.int64], n1: Floats, n0: Floats,
    clusters: list[NDArray[np.int64]], level: float,
) -> Ratio:  # fmt: skip
    share1, share0 = n1 / (n1 + n0), n0 / (n1 + n0)
    up, down = w * y * exposed * share0[group], w * y * ~exposed * share1[group]
    top, bottom = float(up.sum()), float(down.sum())
    rows = int(((n1 > 0) & (n0 > 0))[group].sum())
    if top <= 0 or bottom <= 0:
        return Ratio(None, None, None, rows, why=ONE_SIDED)
    r = top / bottom
    telling = up + down > 0
    z, clusters = (up - r * down)[telling], [c[telling] for c in clusters]
    counts = [len(np.unique(c)) for c in clusters]
    kinds = ("users with an outcome", "blocks (items) with an outcome")
    if few := [words for count, kind in zip(counts, kinds) if (words := too_few(count, kind))]:
        return Ratio(r, None, None, rows, why=few[0])
    fewest, parts = min(counts), [_clustered(z, c) for c in clusters]
    variance = max(parts)
    if len(clusters) == 2:
        first, second = (np.unique(c, return_inverse=True)[1] for c in clusters)
        both = first * (int(second.max()) + 1) + second
        variance = max(variance, parts[0] + parts[1] - _clustered(z, both))
    se = float(np.sqrt(variance)) / top
    if se <= _ROUNDING:
        return Ratio(r, None, None, rows, why=ALIKE)
    return Ratio(r, *_interval(r, se, fewest - 1, level), rows, se, fewest - 1)


def _clustered(z: Floats, cluster: NDArray[np.int64]) -> float:
    """V: G / (G - 1) sum of squared cluster sums, G clusters, 2 or more."""
    sums = np.bincount(np.unique(cluster, return_inverse=True)[1], z)
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum())


def settle(name: str, words: str, found: Ratio, within: str = "", level: float = LEVEL) -> Placebo:
    """The verdict and its words on a measured ratio; `words` holds "{ratio}"."""
    title = f"{name} within {within}" if within else name
    if found.value is None or found.low is None or found.high is None or not found.se:
        text = f"Cannot be told from this log: {found.why or (ONE_SIDED if found.value is None else ALIKE)}."
        return Placebo(title, None, None, None, False, False, text, found.n, level)
    failed = found.low > 1.0 or found.high < 1.0
    sharp = failed or bool(np.log(found.high / found.low) / 2 <= np.log(SHARP_ENOUGH))
    span = f"{found.low:.2f} to {found.high:.2f}"
    text = words.format(ratio=f"{found.value:.2f} times") + f" ({100 * level:.3g} % interval {span})"
    if failed:
        text += ": this cannot be an effect of showing, so something else drives both"
    elif sharp:
        text += ": no sign of a hidden cause"
    else:
        text += ": too uncertain to say anything"
    text = f"{text[0].upper()}{text[1:]}."
    return Placebo(
        title, found.value, found.low, found.high, failed, sharp, text, found.n, level, None, found.se, found.df
    )  # fmt: skip


def holm(tests: Sequence[Placebo], family: float = FAMILY) -> list[Placebo]:
    """The tests of one log judged anew, so that any fails by chance with probability at most `family`.

    In order of their p-values the i-th of m (from 0) fails if p < family / (m - i), until one does not; that one's
    level holds for the rest too. Each interval is given at its own level 1 - family / (m - i): it leaves out 1 where
    the test failed, and only there. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 1979. Tests that cannot tell do not count.

    Raises:
        InputError: `family` outside (0, 0.5).
    """
    scalar("family", family, 0.0, 0.5, open_low=True, open_high=True)
    out = list(tests)
    able = [k for k, test in enumerate(tests) if test.ratio is not None and test.se]
    chance = {k: _p_value(tests[k]) for k in able}
    place, stopped = 0, False
    for k in sorted(able, key=lambda k: chance[k]):
        test, level = tests[k], 1.0 - family / (len(able) - place)
        assert test.ratio is not None
        assert test.se is not None
        found = Ratio(test.ratio, *_interval(test.ratio, test.se, test.df, level), test.n, test.se, test.df)
        name, _, within = test.name.partition(" within ")
        out[k] = replace(settle(name, WORDS[name], found, within, level), real=test.real)
        stopped = stopped or not out[k].failed
        place += not stopped
    return out


def _p_value(test: Placebo) -> float:
    """Two-sided p of ratio 1; 1 where it cannot be told: no spread is no proof."""
    if test.ratio is None or not test.se:
        return 1.0
    return float(2.0 * stats.t.sf(abs(np.log(test.ratio)) / test.se, test.df))
