"""The two-sample gate: can a classifier tell simulated sessions from real ones?

A classifier two-sample test (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017) with a ridge
logistic regression, cross-fitted by user: a user's sessions, real and simulated, are scored by a model that saw none
of them. The interval of the AUC is DeLong's (Biometrics 1988), rows clustered by user (Obuchowski, Biometrics 1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.trust.gate_base import Gate, gate_of_lines, line, undecided
from recenv.trust.gate_intervals import Clusters, Floats, numbered, simultaneous
from recenv.trust.slices import check_finite, check_ids
from recenv.trust.tolerances import Tolerances

FOLDS = 5
_MOST_PAIRED = 8
_MOST_FITTED = 20_000
_RIDGE = 1.0
_STEPS = 25


def two_sample(
    real: NDArray[Any],
    simulated: NDArray[Any],
    real_user: NDArray[Any],
    simulated_user: NDArray[Any],
    tol: Tolerances,
    names: tuple[str, ...] = (),
    seed: int = 0,
) -> Gate:
    """AUC of telling simulated from real sessions; .5 means that it cannot.

    Args:
        real: (n, d) features of real sessions. simulated: (m, d) of simulated ones. real_user: (n,), simulated_user:
            (m,) int, one numbering. names: (d,) of the features; real ones named "responses" have to reach
            `Tolerances.floor_positives` in all. seed: of the folds.

    Raises:
        InputError: features not (n, d), different d, no rows, not finite; users that do not fit.
    """
    _check(real, simulated, real_user, simulated_user, names)
    x = np.concatenate([real, simulated]).astype(np.float64)
    fake = np.arange(len(x)) >= len(real)
    clusters = Clusters.of(np.concatenate([real_user, simulated_user]))
    users = min(len(numbered(user)[0]) for user in (real_user, simulated_user))
    if users < tol.min_users:
        return undecided("two_sample", f"{users} users on one side; no interval below {tol.min_users}.")
    # Sessions in which nothing happened look alike whatever the simulator is.
    if "responses" in names and (seen := real[:, names.index("responses")].sum()) < tol.floor_positives:
        few = f"{seen:,.0f} real responses; nothing is told from fewer than {tol.floor_positives}."
        return undecided("two_sample", few)
    fold = np.random.default_rng(seed).permutation(clusters.size)[clusters.index] % FOLDS
    score, weights = _cross_fit(_expanded(x), fake, fold, seed)
    value, psi = _auc(score, fake, fold, clusters)
    bands = simultaneous(np.array([value]), psi[:, None], tol.gate_level, seed)
    lines = [line("AUC", value, bands.low[0], bands.high[0], (None, tol.max_two_sample_auc), len(x))]
    telling = np.argsort(-np.abs(weights[: x.shape[1]]), kind="stable")[:3]
    words = ", ".join(names[k] if names else f"feature {k}" for k in telling)
    detail = f"a classifier tells them apart with AUC {value:.3f} (.5: cannot), most by {words}."
    gate = gate_of_lines("two_sample", lines, detail, "AUC", "bars")
    gate.plot.update(_histogram(score, fake))
    return gate


def _check(
    real: NDArray[Any],
    simulated: NDArray[Any],
    real_user: NDArray[Any],
    simulated_user: NDArray[Any],
    names: tuple[str, ...],
) -> None:
    for side, x, user in (("real", real, real_user), ("simulated", simulated, simulated_user)):
        if x.ndim != 2 or not x.shape[0] or not x.shape[1]:
            raise InputError(
                f"{side} features", f"have shape {x.shape}", "Give (sessions, features), neither of them 0."
            )
        if user.shape != (len(x),):
            raise InputError(f"{side}_user", f"has shape {user.shape}", f"Give one user a session: ({len(x)},).")
        check_ids(f"{side}_user", user)
        check_finite(f"{side} features", x.reshape(-1))
    if real.shape[1] != simulated.shape[1] or (names and len(names) != real.shape[1]):
        found = f"{real.shape[1]} real, {simulated.shape[1]} simulated, {len(names)} names"
        raise InputError("features", found, "Give the same features on both sides, and a name for each.")


def _expanded(x: Floats) -> Floats:
    """(n, d + d + pairs) standardised features, their squares and, of at most 8, their products."""
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    z = np.clip(z, -6.0, 6.0)
    d = z.shape[1]
    pairs = [z[:, a] * z[:, b] for a in range(d) for b in range(a)] if d <= _MOST_PAIRED else []
    return np.column_stack([z, z**2, *pairs])


def _cross_fit(x: Floats, fake: NDArray[np.bool_], fold: NDArray[np.int64], seed: int) -> tuple[Floats, Floats]:
    """(n,) scores by models fitted without the row's fold (on at most 20,000 others), and mean weights (features,)."""
    score, weights = np.zeros(len(x)), np.zeros(x.shape[1])
    shuffled = np.random.default_rng([seed, 1]).permutation(len(x))
    for k in range(FOLDS):
        held = fold == k
        fitted = shuffled[~held[shuffled]][:_MOST_FITTED]
        beta = logistic(x[fitted], fake[fitted])
        score[held] = beta[0] + x[held] @ beta[1:]
        weights += beta[1:] / FOLDS
    return score, weights


def logistic(x: Floats, y: NDArray[Any], ridge: float = _RIDGE) -> Floats:
    """(1 + d,) intercept and weights of a ridge logistic regression, classes balanced; Newton's method.

    Minimises - sum_i c_i log P(y_i | x_i) + ridge / 2 |beta|^2, c_i such that both classes weigh n / 2.
    """
    design = np.column_stack([np.ones(len(x)), x])
    target = np.asarray(y, np.float64)
    share = np.clip(target.mean(), 1e-9, 1 - 1e-9)
    c = np.where(target > 0.5, 0.5 / share, 0.5 / (1 - share))
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 1e-6
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (c * (p - target)) + penalty * beta
        curve = (design * (c * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        beta = beta - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-4:
            break
    return beta


def _auc(score: Floats, fake: NDArray[np.bool_], fold: NDArray[np.int64], clusters: Clusters) -> tuple[float, Floats]:
    """AUC averaged over folds by their number of pairs, and the influence (U,) of users."""
    value, mass, psi = 0.0, 0.0, np.zeros(clusters.size)
    for k in range(FOLDS):
        mine = np.flatnonzero(fold == k)
        pos, neg = mine[fake[mine]], mine[~fake[mine]]
        if not len(pos) or not len(neg):
            continue
        pairs = float(len(pos)) * len(neg)
        above, below = _placement(score[pos], score[neg]), 1 - _placement(score[neg], score[pos])
        auc = float(above.mean())
        value, mass = value + pairs * auc, mass + pairs
        psi += pairs * np.bincount(clusters.index[pos], (above - auc) / len(pos), clusters.size)
        psi += pairs * np.bincount(clusters.index[neg], (below - auc) / len(neg), clusters.size)
    return value / mass, psi / mass


def _placement(a: Floats, b: Floats) -> Floats:
    """(len(a),) share of b below each a, ties counting half."""
    ranked = np.sort(b)
    return 0.5 * (np.searchsorted(ranked, a, "left") + np.searchsorted(ranked, a, "right")) / len(b)


def _histogram(score: Floats, fake: NDArray[np.bool_]) -> dict[str, Any]:
    low, high = np.quantile(score, [0.005, 0.995])
    edges = np.linspace(low, max(high, low + 1e-6), 31)
    sides = {"real": score[~fake], "simulated": score[fake]}
    shares = {k: np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] / len(v) for k, v in sides.items()}
    return {
        "kind": "hist",
        "histogram_axis": "score of the classifier: left real, right simulated",
        "edges": edges.tolist(),
        **{k: v.tolist() for k, v in shares.items()},
    }
