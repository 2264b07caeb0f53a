"""Gates on policies: are they ranked as a judge ranks them, do they exploit the world, do the logs support them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from recenv.core.errors import InputError
from recenv.trust.gate_base import Gate, gate_of_lines, line, undecided
from recenv.trust.gate_intervals import Clusters, Floats, mean_of, simultaneous
from recenv.trust.slices import check_finite, check_ids, check_probability
from recenv.trust.tolerances import Tolerances

Value = tuple[float, float] | tuple[float, float, float]
"""A policy's value, its standard error (0 where it is exact), and that error's degrees of freedom (infinite if not
given)."""


@dataclass(frozen=True)
class JudgeError:
    """What draws by seed do not tell of the judge's values of P policies, in the order of the policies.

    Args:
        members: (P, K) values in K judges refitted on bootstraps of users, K >= 2, or None. Their spread, not that of
            their mean, is the judge's own error. covariance: (P, P) of the values over users, or None; users: G of it.
    """

    members: Floats | None = None
    covariance: Floats | None = None
    users: int = 0

    def check(self, policies: int) -> JudgeError:
        """Itself.

        Raises:
            InputError: shapes that do not fit, or what is not finite.
        """
        for name, table, fits in (
            ("members", self.members, lambda s: s[0] == policies and s[1] > 1),
            ("covariance", self.covariance, lambda s: s == (policies, policies)),
        ):
            if table is not None and (table.ndim != 2 or not fits(table.shape) or not np.isfinite(table).all()):
                what = f"has shape {table.shape} or values that are not finite, for {policies} policies"
                raise InputError(f"judge error, {name}", what, "Run `recenv benchmark` again.")
        if self.covariance is not None and self.users < 2:
            raise InputError("judge error, users", f"{self.users}", "Give the number of users, 2 or more.")
        return self


def freedom(errors: Sequence[tuple[Floats, Floats | float]]) -> tuple[Floats, Floats]:
    """Standard error of a sum of independent parts, and its degrees of freedom by Satterthwaite.

    Args:
        errors: parts: standard errors (k,), degrees of freedom (k,) or of all.

    Returns:
        sqrt(sum s^2) and (sum s^2)^2 / sum (s^4 / nu), both (k,). Satterthwaite, Biometrics Bulletin 1946.
    """
    square = np.sum([np.square(se) for se, _ in errors], axis=0)
    fourth = np.sum([np.square(np.square(se)) / nu for se, nu in errors], axis=0)
    return np.sqrt(square), np.divide(square**2, fourth, out=np.full(np.shape(square), np.inf), where=fourth > 0)


_RESAMPLES = 4000
_LEAST_DRAWS = 5


def ranking(
    values: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    tol: Tolerances,
    seed: int = 0,
    draws: str = "seeds",
    error: JudgeError | None = None,
) -> Gate:
    """Regret of the world's favourite policy in the judge's eyes, and Kendall's tau between the two orders.

    Regret: (best judged value - judged value of the favourite) / |best|. Its interval comes from those of all
    differences to the favourite at once (Hsu, "Simultaneous confidence intervals for all distances from the best",
    Annals of Statistics 1981; Bonferroni over policies). Tau may fail the gate (below `min_tau`) but need not pass:
    policies that are truly level have no order.

    Args:
        values: policy -> (values in the world (b,), values in the judge (c,)); draw k of all policies has the same
            seed or the same refitted world, so that differences are taken in pairs.
        seed: of the resampling for tau. draws: "seeds": repeats whose mean is the value; "bootstrap": each draw is
            the value in one refitted world, whose spread is the uncertainty.
        error: of the judge, beyond its draws: other users, and other judges. Of the spreads over seeds and over users
            the larger counts (both hold the chance of the same episodes); that over judges is added to it.

    Raises:
        InputError: fewer than two policies, draws of unequal number, not finite, or none.
    """
    world, judged = _draw_tables(values, draws)
    names = list(values)
    if judged.shape[1] < _LEAST_DRAWS or world.shape[1] < _LEAST_DRAWS:
        return undecided("ranking", f"fewer than {_LEAST_DRAWS} draws of each value.")
    favourite = int(np.argmax(world.mean(axis=1)))
    half = 1.0 - (1.0 - tol.gate_level) / 2
    error = (error or JudgeError()).check(len(names))
    figure, low, high = _regret(judged, favourite, half, draws, error)
    tau, tau_low, tau_high = _tau_interval(world, judged, half, draws, seed, error)
    lines = [
        line("regret of the favourite", figure, low, high, (None, tol.max_regret), judged.shape[1]),
        line("Kendall's tau", tau, tau_low, tau_high, (tol.min_tau, None), len(names), required=False),
    ]
    best = names[int(np.argmax(judged.mean(axis=1)))]
    detail = f"the world prefers {names[favourite]}, the judge {best}; regret {figure:.1%}, tau {tau:.2f}."
    gate = gate_of_lines("ranking", lines, detail, "regret; tau", "bars")
    gate.plot.update(policy=names, world_value=world.mean(axis=1).tolist(), judge_value=judged.mean(axis=1).tolist())
    return gate


def _draw_tables(values: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], draws: str) -> tuple[Floats, Floats]:
    """(policies, b) and (policies, c) tables, checked."""
    if draws not in ("seeds", "bootstrap"):
        raise InputError("draws", f"{draws!r}", "Give 'seeds' or 'bootstrap'.")
    if len(values) < 2:
        raise InputError("ranking", f"{len(values)} policies", "Give at least two policies.")
    tables = []
    for side, name in enumerate(("world", "judge")):
        rows = {policy: np.asarray(pair[side], np.float64) for policy, pair in values.items()}
        for policy, row in rows.items():
            if row.ndim != 1 or not len(row):
                raise InputError(f"values of {policy}, {name}", f"have shape {row.shape}", "Give flat draws (b,).")
            check_finite(f"values of {policy}, {name}", row)
        if len({len(row) for row in rows.values()}) > 1:
            raise InputError(
                f"values, {name}", "policies have unequal numbers of draws", "Give the same draws for each."
            )
        tables.append(np.stack(list(rows.values())))
    return tables[0], tables[1]


def _regret(judged: Floats, favourite: int, level: float, draws: str, error: JudgeError) -> tuple[float, float, float]:
    n = judged.shape[1]
    gap = np.delete(judged, favourite, axis=0) - judged[favourite]
    best = abs(float(judged.mean(axis=1).max()))
    se = gap.std(axis=1, ddof=1) / (np.sqrt(n) if draws == "seeds" else 1.0)
    nu = np.full(len(se), n - 1.0)
    if error.covariance is not None:
        c = error.covariance
        over_users = np.sqrt(np.maximum(np.diag(c) + c[favourite, favourite] - 2 * c[favourite], 0.0))
        over_users = np.delete(over_users, favourite)
        more = over_users > se
        se, nu = np.where(more, over_users, se), np.where(more, error.users - 1.0, nu)
    if error.members is not None:
        apart = np.delete(error.members, favourite, axis=0) - error.members[favourite]
        se, nu = freedom([(se, nu), (apart.std(axis=1, ddof=1), error.members.shape[1] - 1.0)])
    reach = -stdtrit(nu, (1.0 - level) / (2 * len(gap))) * se
    ends = [
        float(np.max(v, initial=0.0)) for v in (gap.mean(axis=1), gap.mean(axis=1) - reach, gap.mean(axis=1) + reach)
    ]
    if best == 0:
        return 0.0, np.nan, np.nan
    return ends[0] / best, ends[1] / best, ends[2] / best


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b of two value lists (k,); NaN where either is constant."""
    i, j = np.triu_indices(len(a), 1)
    x, y = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    norm = np.sqrt(float((x != 0).sum()) * float((y != 0).sum()))
    return float((x * y).sum() / norm) if norm else float("nan")


def _tau_interval(
    world: Floats, judged: Floats, level: float, draws: str, seed: int, error: JudgeError
) -> tuple[float, float, float]:
    """Tau of the means; percentile interval over resampled draws, the judge's also moved by its own errors."""
    rng = np.random.default_rng(seed)
    taken: list[Floats] = []
    for table in (world, judged):
        n = table.shape[1]
        picks = rng.integers(0, n, (_RESAMPLES, n if draws == "seeds" else 1))
        taken.append(table[:, picks].mean(axis=2))
    if error.covariance is not None:
        taken[1] += rng.multivariate_normal(np.zeros(len(judged)), error.covariance, _RESAMPLES, method="eigh").T
    if error.members is not None:
        k = error.members.shape[1]
        off = (error.members - error.members.mean(axis=1, keepdims=True)) * np.sqrt(k / (k - 1))
        taken[1] += off[:, rng.integers(0, k, _RESAMPLES)]
    i, j = np.triu_indices(len(world), 1)
    x, y = (np.sign(t[i] - t[j]) for t in taken)
    norm = np.sqrt((x != 0).sum(axis=0) * (y != 0).sum(axis=0).astype(np.float64))
    taus = np.divide((x * y).sum(axis=0), norm, out=np.zeros(_RESAMPLES), where=norm > 0)
    low, high = np.quantile(taus, [(1 - level) / 2, (1 + level) / 2])
    return kendall_tau(world.mean(axis=1), judged.mean(axis=1)), float(low), float(high)


def exploitation(
    policy: str,
    world: Value,
    judge: Value,
    tol: Tolerances,
    pessimistic: Value | None = None,
    ope: Value | None = None,
) -> Gate:
    """Optimism: the share of the policy's value in its training world that does not stand elsewhere, (W - J) / |W|.

    Against the judge (which must pass), the pessimistic world and the off-policy value (which may fail the gate but
    need not pass: an off-policy value is often too uncertain to prove anything). A judge above the world is no fault.

    Args:
        policy: its name. world: its value in the world that trained it. judge, pessimistic, ope: elsewhere. Limits by
            Student's t, degrees of freedom by Satterthwaite.

    Raises:
        InputError: a value that is not finite, or a standard error below 0.
    """
    given = {"the judge": judge, "the pessimistic world": pessimistic, "the off-policy value": ope}
    others = {name: value for name, value in given.items() if value is not None}
    for name, value in {"the world": world, **others}.items():
        if not np.isfinite(value[:2]).all() or value[1] < 0 or not _nu(value) > 0:
            mend = "Give (value, standard error >= 0), both finite, and degrees of freedom above 0."
            raise InputError(f"value in {name}", f"is {tuple(value)}", mend)
    if world[0] == 0:
        return undecided("exploitation", f"{policy} is worth nothing in its own world.")
    lines = []
    for name, value in others.items():
        elsewhere = value[0]
        gap = (world[0] - elsewhere) / abs(world[0])
        parts = [(value[1] / world[0], _nu(value)), (elsewhere * world[1] / world[0] ** 2, _nu(world))]
        error, nu = freedom([(np.array([part]), df) for part, df in parts])
        se, reach = float(error[0]), float(-stdtrit(nu, (1.0 - tol.gate_level) / (2 * len(others)))[0])
        most = tol.max_pessimism_gap if name == "the pessimistic world" else tol.max_optimism
        lines.append(line(name, gap, gap - reach * se, gap + reach * se, (None, most), required=name == "the judge"))
    told = ", ".join(f"{value[0]:.4g} by {name}" for name, value in others.items())
    detail = f"{policy}: {world[0]:.4g} in the world that trained it, {told}."
    return gate_of_lines("exploitation", lines, detail, "share of the value that does not stand", "bars")


def _nu(value: Value) -> float:
    return value[2] if len(value) == 3 else np.inf


def support(
    probability: NDArray[Any], user: NDArray[Any], candidates: NDArray[Any], tol: Tolerances, policy: str = ""
) -> Gate:
    """Share of the policy's actions whose probability under the logged policy is below `support_floor` / candidates.

    A floor relative to even choice, since a probability of .001 is next to nothing among 5 items and five times the
    even chance among 5,000.

    Args:
        probability: (n,) in [0, 1], of the action that the policy took, under `logged`. user: (n,) int.
        candidates: (n,) number of actions that could have been taken. policy: name.

    Raises:
        InputError: arrays of unequal length or empty, probabilities outside [0, 1], NaN, fewer than 1 candidate.
    """
    if probability.ndim != 1 or probability.shape != user.shape or not len(user):
        raise InputError(
            "support", f"shapes {probability.shape} and {user.shape}", "Give two flat arrays of one length."
        )
    check_probability("probability", probability)
    check_ids("user", user)
    if candidates.shape != user.shape or not (candidates >= 1).all():
        raise InputError(
            "support", "candidates are not one number of at least 1 a row", "Give how many could be shown."
        )
    clusters = Clusters.of(user)
    if clusters.size < tol.min_users:
        return undecided("support", f"{clusters.size} users; no interval below {tol.min_users}.")
    off = clusters.sums(probability * candidates < tol.support_floor, np.ones(len(user)))
    value, psi = mean_of(off[:, :1], off[:, 1:])
    bands = simultaneous(value, psi, tol.gate_level)
    lines = [line("off the logs", value[0], bands.low[0], bands.high[0], (None, tol.max_unsupported), len(user))]
    detail = f"{value[0]:.1%} of {policy or 'the policy'}'s actions are next to never taken in the logs."
    return gate_of_lines("support", lines, detail, "share of actions", "bars")
