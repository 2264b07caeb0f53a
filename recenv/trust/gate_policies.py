"""Gates on policies: are they ranked as a judge ranks them, do they exploit the world, do the logs support them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from recenv.core.errors import InputError
from recenv.trust.gate_base import Gate, gate_of_lines, line, undecided
from recenv.trust.gate_intervals import Clusters, Floats, mean_of, simultaneous
from recenv.trust.slices import check_finite, check_ids, check_probability
from recenv.trust.tolerances import Tolerances

Value = tuple[float, float]
"""A policy's value and its standard error (0 where it is exact)."""

_RESAMPLES = 4000
_LEAST_DRAWS = 5


def ranking(
    values: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], tol: Tolerances, seed: int = 0, draws: str = "seeds"
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

    Raises:
        InputError: fewer than two policies, draws of unequal number, not finite, or none.
    """
    world, judged = _draw_tables(values, draws)
    names = list(values)
    if judged.shape[1] < _LEAST_DRAWS or world.shape[1] < _LEAST_DRAWS:
        return undecided("ranking", f"fewer than {_LEAST_DRAWS} draws of each value.")
    favourite = int(np.argmax(world.mean(axis=1)))
    half = 1.0 - (1.0 - tol.gate_level) / 2
    figure, low, high = _regret(judged, favourite, half, draws)
    tau, tau_low, tau_high = _tau_interval(world, judged, half, draws, seed)
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


def _regret(judged: Floats, favourite: int, level: float, draws: str) -> tuple[float, float, float]:
    n = judged.shape[1]
    gap = np.delete(judged, favourite, axis=0) - judged[favourite]
    best = abs(float(judged.mean(axis=1).max()))
    se = gap.std(axis=1, ddof=1) / (np.sqrt(n) if draws == "seeds" else 1.0)
    reach = -stdtrit(n - 1, (1.0 - level) / (2 * len(gap))) * se
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


def _tau_interval(world: Floats, judged: Floats, level: float, draws: str, seed: int) -> tuple[float, float, float]:
    """Tau of the means; percentile interval over resampled draws."""
    rng = np.random.default_rng(seed)
    taken: list[Floats] = []
    for table in (world, judged):
        n = table.shape[1]
        picks = rng.integers(0, n, (_RESAMPLES, n if draws == "seeds" else 1))
        taken.append(table[:, picks].mean(axis=2))
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
        policy: its name. world: its value in the world that trained it. judge, pessimistic, ope: elsewhere.

    Raises:
        InputError: a value that is not finite, or a standard error below 0.
    """
    given = {"the judge": judge, "the pessimistic world": pessimistic, "the off-policy value": ope}
    others = {name: value for name, value in given.items() if value is not None}
    for name, value in {"the world": world, **others}.items():
        if not np.isfinite(value).all() or value[1] < 0:
            raise InputError(
                f"value in {name}", f"is {tuple(value)}", "Give (value, standard error >= 0), both finite."
            )
    if world[0] == 0:
        return undecided("exploitation", f"{policy} is worth nothing in its own world.")
    reach = float(-ndtri((1.0 - tol.gate_level) / (2 * len(others))))
    lines = []
    for name, (elsewhere, error) in others.items():
        gap = (world[0] - elsewhere) / abs(world[0])
        se = float(np.hypot(error / world[0], elsewhere * world[1] / world[0] ** 2))
        most = tol.max_pessimism_gap if name == "the pessimistic world" else tol.max_optimism
        lines.append(line(name, gap, gap - reach * se, gap + reach * se, (None, most), required=name == "the judge"))
    told = ", ".join(f"{value[0]:.4g} by {name}" for name, value in others.items())
    detail = f"{policy}: {world[0]:.4g} in the world that trained it, {told}."
    return gate_of_lines("exploitation", lines, detail, "share of the value that does not stand", "bars")


def support(probability: NDArray[Any], user: NDArray[Any], tol: Tolerances, policy: str = "") -> Gate:
    """Share of the policy's actions whose probability under the logged policy is below `support_floor`.

    Args:
        probability: (n,) in [0, 1], of the action that the policy took, under `logged`. user: (n,) int. policy: name.

    Raises:
        InputError: arrays of unequal length or empty, probabilities outside [0, 1], NaN.
    """
    if probability.ndim != 1 or probability.shape != user.shape or not len(user):
        raise InputError(
            "support", f"shapes {probability.shape} and {user.shape}", "Give two flat arrays of one length."
        )
    check_probability("probability", probability)
    check_ids("user", user)
    clusters = Clusters.of(user)
    if clusters.size < tol.min_users:
        return undecided("support", f"{clusters.size} users; no interval below {tol.min_users}.")
    off = clusters.sums(probability < tol.support_floor, np.ones(len(user)))
    value, psi = mean_of(off[:, :1], off[:, 1:])
    bands = simultaneous(value, psi, tol.gate_level)
    lines = [line("off the logs", value[0], bands.low[0], bands.high[0], (None, tol.max_unsupported), len(user))]
    detail = f"{value[0]:.1%} of {policy or 'the policy'}'s actions are next to never taken in the logs."
    return gate_of_lines("support", lines, detail, "share of actions", "bars")
