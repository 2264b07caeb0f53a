"""Value a policy from a log: one call for all one-step estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recenv.core.enough import no_spread, too_few
from recenv.core.errors import InputError
from recenv.trust.ope import intervals, tuning
from recenv.trust.ope.estimators import ESTIMATORS, Estimator, Terms, clip, get
from recenv.trust.ope.inputs import MIN_PROPENSITY, CheckedTarget, LoggedBandit, Target, scalar
from recenv.trust.ope.intervals import Clustered, Draws
from recenv.trust.ope.verdict import MODEL_ALONE, NO_FIGURE, NO_SPREAD, Estimate, judge


def evaluate(
    log: LoggedBandit,
    target: Target,
    estimators: Sequence[str] | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    cluster: bool = True,
    label: str = "",
    level: float = 0.95,
    hyper: Mapping[str, float] | None = None,
    tuning_method: str = "mse",
    interval: str = "studentised",
    reward_range: tuple[float, float] | None = None,
    min_propensity: float = MIN_PROPENSITY,
) -> list[Estimate]:
    """Estimates of the target's mean reward per decision, one an estimator, in the order asked for.

    `dm` has a value, but neither interval nor standard error: the reward model's error is in neither. Nor has any
    estimate from fewer than 20 users, or from users who all brought the same; empirical Bernstein holds there too (from
    2 users on), but without a standard error.

    Args:
        log, target: the logged decisions; the policy, with a reward model where the estimator needs one.
        estimators: names of ESTIMATORS; None: all that the inputs allow.
        seed, n_boot: of the bootstrap. cluster: by `log.user`; False takes rows as independent (for comparison).
        label: what the propensities assume, e.g. "assumes no unmeasured confounding".
        level: of the intervals. hyper: name -> hyper-parameter, instead of the automatic choice.
        tuning_method: "mse" leaves weights alone unless they are very large; "slope" bounds them so far that biases of
            up to 21 % were measured which the intervals do not show (docs/ope_coverage.md). See `tuning.tune`.
        interval: "studentised", "t", "percentile", "bca", or "bernstein", which needs `reward_range`.
        min_propensity: floor below which the log is refused; also what counts as no support.

    Raises:
        InputError: bad arrays (see `LoggedBandit.check`, `Target.check`), options, names; a missing model or groups.
    """
    _options(level, interval, reward_range)
    log = log.check(min_propensity)
    checked = target.check(log)
    names = list(_possible(target) if estimators is None else estimators)
    if isinstance(estimators, str) or not names:
        raise InputError("estimators", repr(estimators), "Give a list of names.")
    given = dict(hyper or {})
    if set(given) - set(names):
        raise InputError("hyper", f"{sorted(set(given) - set(names))} not among the estimators", f"Asked: {names}.")
    chosen = {name: _hyper(name, given, log, checked, tuning_method) for name in names}
    terms = {n: get(n).terms(log, checked, np.nan if (h := chosen[n]) is None else h) for n in names}
    user = log.user if cluster else np.arange(len(log))
    tables = {name: Clustered.of(t, user) for name, t in terms.items()}
    drawn: list[Draws | None] = [None] * len(names)
    if interval in ("studentised", "percentile", "bca"):
        drawn = list(intervals.bootstrap([tables[n] for n in names], n_boot, seed))
    results = []
    for name, draws in zip(names, drawn, strict=True):
        why = _no_interval(get(name), tables[name], interval)
        if why:
            ends = float("nan"), float("nan")
        elif interval == "bernstein":
            bound = _weight_bound(get(name), chosen[name], log, checked, terms[name])
            ends = intervals.bernstein_interval(terms[name], user, reward_range or (0.0, 1.0), bound, level)
        else:
            ends = intervals.interval(tables[name], draws, interval, level)
        share = unsupported(log, checked, min_propensity, get(name).marginal)
        results.append(
            _estimate(name, terms[name], tables[name], ends, chosen[name], share, label, level, interval, why)
        )
    return results


def _no_interval(estimator: Estimator, table: Clustered, interval: str) -> str:
    """Why there can be no interval, before any is computed; "" where there may be one."""
    if estimator.model_alone:
        return MODEL_ALONE
    if interval == "bernstein":
        return too_few(len(table.sums), least=2)
    return _no_error(table)


def _no_error(table: Clustered) -> str:
    """Why there can be no standard error; "" where there may be one."""
    return too_few(len(table.sums)) or (NO_SPREAD if no_spread(table.se(), table.value()) else "")


def unsupported(log: LoggedBandit, target: CheckedTarget, floor: float, marginal: bool = False) -> float:
    """Share of pi_e's mass on actions (groups, for `mips`) that the logging policy does not show.

    With `log.behaviour`: those of probability below `floor` in the row. Without: those never logged at the row's
    position; without a table of pi_e: 1 - mean weight, where that is above 0.
    """
    weight = np.ones(len(log)) if log.weight is None else log.weight
    table, position = target.table, np.zeros(len(log), np.int64) if log.position is None else log.position
    if table is None:
        return float(np.clip(1.0 - np.average(target.chosen / log.propensity, weights=weight), 0.0, 1.0))
    if log.behaviour is not None:
        missing = log.behaviour < floor
    else:
        place = np.unique(position, return_inverse=True)[1]
        seen = np.zeros((place.max() + 1, log.n_actions), bool)
        seen[place, log.action] = True
        missing = ~seen[place]
    if marginal and target.groups is not None:
        member = np.equal.outer(np.arange(target.groups.max() + 1), target.groups)  # (G, A)
        missing = ((~missing).astype(np.float64) @ member.T == 0)[:, target.groups]
    return float(np.average((table * missing).sum(axis=1), weights=weight))


def _options(level: float, interval: str, reward_range: tuple[float, float] | None) -> None:
    scalar("level", level, 0.0, 1.0, open_low=True, open_high=True)
    if interval not in intervals.METHODS:
        raise InputError("interval", f"{interval!r} is not known", f"Choose from {', '.join(intervals.METHODS)}.")
    if interval == "bernstein" and reward_range is None:
        raise InputError("reward_range", "empirical Bernstein needs it", "Give (lowest, highest possible reward).")
    if reward_range is not None and not (len(reward_range) == 2 and reward_range[0] < reward_range[1]):
        raise InputError("reward_range", repr(reward_range), "Give (low, high), low < high.")


def _possible(target: Target) -> list[str]:
    groups = target.groups is not None and target.probability is not None
    return [n for n, e in ESTIMATORS.items() if (target.has_q or not e.model) and (groups or not e.marginal)]


def _hyper(
    name: str, given: Mapping[str, float], log: LoggedBandit, target: CheckedTarget, method: str
) -> float | None:
    estimator = get(name)
    if name in given:
        return estimator.check_hyper(name, given[name])
    return tuning.tune(estimator, log, target, method) if estimator.changes_weights else None


def _weight_bound(
    estimator: Estimator, hyper: float | None, log: LoggedBandit, target: CheckedTarget, terms: Terms
) -> float:
    """Largest weight that could have come up: of all actions, where both tables are known, else of those that did."""
    largest = float(terms.importance.max())
    if target.table is not None and log.behaviour is not None and not estimator.marginal:
        ratio = np.divide(target.table, log.behaviour, out=np.zeros_like(target.table), where=log.behaviour > 0)
        largest = float(ratio.max())
    if estimator.weighting is clip and hyper is not None:
        largest = min(largest, hyper)
    return max(largest, 1e-300)


def _estimate(
    name: str,
    terms: Terms,
    table: Clustered,
    ends: tuple[float, float],
    hyper: float | None,
    share: float,
    label: str,
    level: float,
    method: str,
    why: str,
) -> Estimate:
    value, whole = _finite(table.value()), bool(np.isfinite(ends).all())
    low, high = (float(ends[0]), float(ends[1])) if whole else (None, None)  # one end alone is no interval
    why = why or ("" if whole else NO_FIGURE)
    weight = terms.importance * terms.row_weight / terms.row_weight.mean()
    squares = float((weight**2).sum())
    ess = float(weight.sum() ** 2 / squares) if squares > 0 else 0.0
    n, largest = len(weight), float(weight.max())
    verdict, reasons = judge(value, low, high, n, ess, largest, why)
    note = get(name).note
    half = None if low is None or high is None else (high - low) / 2
    return Estimate(
        name=name, value=value, se=None if why or _no_error(table) else _finite(table.se()), low=low, high=high, n=n,
        users=len(table.sums), ess=ess, max_weight=largest,
        unsupported=share, half_width=half, level=level, hyper=hyper, verdict=verdict, reasons=reasons,
        label="; ".join(text for text in (label, note) if text), method="" if why else method,
        mean_weight=float(weight.mean()), no_interval=why,
    )  # fmt: skip


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
