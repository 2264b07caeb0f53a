"""A shared session effect: root responses of one session rise and fall together, beyond what the state explains.

The root responses (clicks, or purchases where clicks are unknown) of a session share a hidden g ~ Gamma, mean 1,
variance theta:

    P(y = 1 | g) = 1 - exp(-lambda g),    lambda = ((1 - p)^(-theta) - 1) / theta,

so that E_g P(y = 1 | g) = p exactly, whatever theta; theta -> 0 is independence. Two responses of p and p' both fail to
come with probability (s^-theta + s'^-theta - 1)^(-1 / theta), s = 1 - p: a Clayton copula. g is nowhere in an
observation, and expected responses stay p; for later slots of a session see `LATER_SLOTS`.
(Shared gamma frailty: Clayton, "A model for association in bivariate life tables", Biometrika 1978; Hougaard, "Analysis
of multivariate survival data", 2000, chapter 7.)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv

from recenv.core.errors import InputError
from recenv.response.forward import ResponseForward
from recenv.response.rows import TrainingRows

Array = NDArray[np.float64]
LARGEST = 8.0
"""No estimate goes beyond this: a session then has either nothing or everything."""
_GRID = np.concatenate([[0.0], np.geomspace(0.01, LARGEST, 28)])
_NODES = 41
_NEARLY_ONE = 1.0 - 1e-12
_LEVEL = 0.95
_FEWEST = 20
"""Users below which a bootstrap over them says nothing, and so no effect is taken to be there."""

LATER_SLOTS = (
    "the shared session effect in sessions of several slots: p is the simulated chance before anything of the session "
    "is seen; from slot 2 on, given what came before, the simulated chance is higher than the model's p after "
    "responses and lower after none, though p was fitted given that history; expected rewards keep to p"
)
"""Assumed wherever theta is above 0 and a session has several slots: the effect is drawn before the first slot, and
what came of earlier slots tells of it, E[y | history] = E[P(y = 1 | g) | history] != p."""


@dataclass(frozen=True)
class Frailty:
    """What the logs tell of the shared session effect.

    Args:
        theta: variance of the effect as the simulator uses it: the estimate where its interval lies above 0, else 0.
        estimate: method of moments, not below 0. low, high: its 95 % interval, bootstrap over users.
        head: the root response. sessions: with two rows or more. users: among whom the bootstrap draws.
    """

    theta: float
    estimate: float
    low: float
    high: float
    head: str
    sessions: int
    users: int


def rate(p: NDArray[Any], theta: float) -> Array:
    """lambda of probabilities p: ((1 - p)^(-theta) - 1) / theta, or -log(1 - p) at theta = 0."""
    hazard = -np.log1p(-np.minimum(np.asarray(p, np.float64), _NEARLY_ONE))
    return np.asarray(hazard if theta == 0.0 else np.expm1(theta * hazard) / theta)


def conditional(p: NDArray[Any], theta: float, g: NDArray[Any]) -> NDArray[Any]:
    """P(y = 1 | g), of the shape to which p and g broadcast; p itself, untouched, where theta is 0."""
    if theta == 0.0:
        return np.asarray(p)
    return np.asarray(-np.expm1(-rate(p, theta) * g))


def draw(theta: float, u: NDArray[np.float64]) -> Array:
    """g of uniform numbers u in [0, 1): the quantile of a gamma of shape 1 / theta and scale theta; 1 at theta = 0."""
    if theta == 0.0:
        return np.ones(np.shape(u))
    return np.asarray(theta * gammaincinv(1.0 / theta, u))


def quadrature(theta: float, nodes: int = _NODES) -> tuple[Array, Array]:
    """Nodes (K,) and weights (K,), of sum 1, of a rule for expectations over g.

    Double-exponential in the quantile u (Takahasi and Mori 1974): for theta above 1 the density has a pole at 0, which
    Gauss-Laguerre rules resolve badly.
    """
    if theta == 0.0:
        return np.ones(1), np.ones(1)
    t = np.linspace(-3.0, 3.0, nodes)
    odds = np.exp(np.pi * np.sinh(t))
    below, above = odds / (1.0 + odds), 1.0 / (1.0 + odds)
    weight = np.cosh(t) * below * above
    shape = 1.0 / theta
    g = theta * np.where(t < 0, gammaincinv(shape, below), gammainccinv(shape, above))
    return g, weight / weight.sum()


def pair_covariance(p: Array, theta: float, session: NDArray[np.int64], weight: Array, n: int) -> Array:
    """(n,) by session: sum over pairs i != j of w_i w_j Cov(y_i, y_j).

    Args:
        p, weight: (m,) float. session: (m,) int in 0 .. n - 1.
    """
    total = np.zeros(n)
    lam = rate(p, theta)
    for g, share in zip(*quadrature(theta)):
        total += share * _pairs(weight * (-np.expm1(-lam * g) - p), session, n)
    return total


def count_variance(p: Array, theta: float, session: NDArray[np.int64], weight: Array, n: int) -> float:
    """Variance over sessions of the number of responses, as the model with theta has it.

    Var = mean_s [sum_i w p (1 - p) + pair covariances] + Var_s(sum_i p), the last from products of different rows too,
    so that rows sampled with probability 1 / w do not inflate it (drawing a row of weight 15 and counting it 15 times
    would).

    Args:
        p, weight: (m,) float. session: (m,) int in 0 .. n - 1. n: number of sessions, those without a row included.
    """
    within = np.bincount(session, weight * p * (1.0 - p), minlength=n) + pair_covariance(p, theta, session, weight, n)
    squared = _pairs(weight * p, session, n) + np.bincount(session, weight * p * p, minlength=n)
    mean = float((weight * p).sum() / n)
    return float(within.mean() + squared.mean() - mean**2)


def _pairs(x: Array, session: NDArray[np.int64], n: int) -> Array:
    """(n,) sum over i != j of x_i x_j within each session."""
    return np.asarray(np.bincount(session, x, minlength=n) ** 2 - np.bincount(session, x * x, minlength=n))


def estimate(
    p: NDArray[Any],
    y: NDArray[Any],
    session: NDArray[Any],
    weight: NDArray[Any],
    user: NDArray[Any],
    head: str = "purchase",
    n_boot: int = 400,
    seed: int = 0,
) -> Frailty:
    """theta from residuals of predictions made before each response.

    Solves sum_s sum_{i != j} w_i w_j (y_i - p_i)(y_j - p_j) = sum_s sum_{i != j} w_i w_j Cov_theta(y_i, y_j). Only
    products of different rows enter, so that rows sampled with probability 1 / w stay unbiased, and responses that are
    independent given the state give 0 on average. What the state picks up on the way through a session is in p, hence
    not counted again. An estimate whose interval reaches 0 is not used: noise that passes for a session effect would
    widen every count in the world, and a world without it is the simpler one.

    Args:
        p, y, weight: (n,) float, predicted before the response, 0 or 1, 1 / sampling rate. session, user: (n,) int.
        head: the root response's name. n_boot, seed: bootstrap over users.

    Raises:
        InputError: a p outside [0, 1], a y other than 0 or 1, or arrays of unequal length.
    """
    p, y, weight = (np.asarray(a, np.float64) for a in (p, y, weight))
    _check(p, y, session, weight, user)
    _, first, number = np.unique(session, return_index=True, return_inverse=True)
    n = len(first)
    _, owner = np.unique(np.asarray(user)[first], return_inverse=True)
    users = int(owner.max()) + 1 if n else 0
    several = int((np.bincount(number, minlength=n) > 1).sum()) if n else 0
    if several < _FEWEST or users < _FEWEST:
        return Frailty(0.0, 0.0, 0.0, LARGEST, head, several, users)
    found = np.bincount(owner, _pairs(weight * (y - p), number, n))
    told = np.stack([np.bincount(owner, pair_covariance(p, t, number, weight, n)) for t in _GRID])  # (grid, users)
    draws = np.random.default_rng([seed, 31]).multinomial(users, np.full(users, 1.0 / users), n_boot)
    resampled = [_solve(float(c @ found), told @ c) for c in draws]
    tail = (1.0 - _LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    best = _solve(float(found.sum()), told.sum(axis=1))
    return Frailty(best if low > 0 else 0.0, best, float(low), float(high), head, several, users)


def _solve(found: float, told: Array) -> float:
    """The theta at which the model's covariance (grid,), rising from 0, meets what was found; within the grid."""
    return float(np.interp(found, np.maximum.accumulate(told), _GRID))


def _check(p: Array, y: Array, *others: NDArray[Any]) -> None:
    if any(len(a) != len(p) for a in (y, *others)):
        raise InputError("session effect", "arrays of unequal length", "Give one entry a response in each.")
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("session effect", "a probability outside [0, 1]", "Give predicted probabilities.")
    if not ((y == 0) | (y == 1)).all():
        raise InputError("session effect", "a response other than 0 or 1", "Leave out rows without a known response.")


def with_frailty(
    forward: ResponseForward, rows: TrainingRows, session: NDArray[np.int64], seed: int, n_boot: int = 400
) -> ResponseForward:
    """The model with `config["frailty"]`, estimated on these rows: those shown, of the root response.

    Args:
        forward: calibrated. rows: n rows of the calibration slice. session: (n,) session of each.
    """
    head = "click" if "click" in forward.heads else "purchase"
    y = rows.response(head)
    use = rows.shown & ~np.isnan(y)
    user = forward.user_inputs(rows.visit_obs, rows.recent)
    p = forward.predict(user, rows.item, rows.cross, rows.treat, rows.offset, rows.visit)
    root = p.click if head == "click" else p.purchase
    assert root is not None
    found = estimate(root[use], y[use], session[use], rows.weight[use], rows.user[use], head, n_boot, seed)
    return ResponseForward(forward.to_arrays(), {**forward.config, "frailty": asdict(found)})
