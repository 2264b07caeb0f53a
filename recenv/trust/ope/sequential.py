"""Sequential off-policy evaluation: what a policy would have been worth per session, from sessions of another.

Notation, for session i of n and step t = 0, 1, ... below its length (later steps count as reward 0, ratio 1):
r_t reward, g discount, rho_t = pi_e(a_t | h_t) / pi_b(a_t | h_t), W_t = rho_0 ... rho_t (W_{-1} = 1),
q_t = q(h_t, a_t), v_t = sum_a pi_e(a | h_t) q(h_t, a), m_t the marginal ratio of (state, action) at step t.

The variance of a product of ratios grows exponentially with the number of steps; every estimate therefore tells at
which step the effective sample size is smallest, and gives way to NOT ENOUGH DATA where it is too small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.trust.ope.sequential_inputs import LoggedTrajectories, SequentialTarget, chosen, discounts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """What the estimators are made of, all (n, H) float64, settled beyond each session's end.

    Args:
        reward: r_t, 0 behind the end. ratio: rho_t, 1 behind the end; None without propensities. q: q_t. v: v_t.
        marginal: m_t, as given behind the end too. discount: (H,) g^t. alive: (n, H) bool.
    """

    reward: Floats
    ratio: Floats | None
    q: Floats | None
    v: Floats | None
    marginal: Floats | None
    discount: Floats
    alive: NDArray[np.bool_]

    @classmethod
    def of(cls, log: LoggedTrajectories, target: SequentialTarget, discount: float) -> Steps:
        """Check log and target and lay out the steps."""
        log.check()
        target.check(log)
        alive = log.alive
        share = chosen(log, target.probability)
        ratio = None
        if log.propensity is not None:
            ratio = np.where(alive, share / np.where(alive, log.propensity, 1.0), 1.0)
        q = v = None
        if target.q is not None:
            q = np.where(alive, chosen(log, target.q), 0.0)
            safe = np.where(alive[..., None], target.q, 0.0)
            v = np.where(alive, (np.where(alive[..., None], target.probability, 0.0) * safe).sum(axis=2), 0.0)
        marginal = None if target.marginal is None else np.asarray(target.marginal, np.float64)
        reward = np.where(alive, np.asarray(log.reward, np.float64), 0.0)
        return cls(reward, ratio, q, v, marginal, discounts(discount, log.shape[1]), alive)

    @property
    def products(self) -> Floats:
        """(n, H) W_t."""
        return np.asarray(np.cumprod(_need(self.ratio, "propensities"), axis=1), np.float64)


@dataclass(frozen=True)
class Terms:
    """An estimate as a mean: `value` = mean over sessions of `part` (n,) float64 (linearised where normalised).

    Args:
        weight: (n, H) float64 importance weights behind it, or None where no weights are used.
    """

    value: float
    part: Floats
    weight: Floats | None


def direct_method(steps: Steps) -> Terms:
    """DM: mean_i v_0. Rests on the model alone."""
    part = _need(steps.v, "q")[:, 0]
    return Terms(float(part.mean()), part, None)


def trajectory_wise(steps: Steps) -> Terms:
    """TIS: mean_i W_{H-1} sum_t g^t r_t (Precup, Sutton and Singh, ICML 2000)."""
    weight = steps.products[:, -1:]
    part = weight[:, 0] * (steps.reward @ steps.discount)
    return Terms(float(part.mean()), part, weight)


def per_decision(steps: Steps) -> Terms:
    """PDIS: mean_i sum_t g^t W_t r_t (Precup, Sutton and Singh, ICML 2000): a reward owes nothing to later steps."""
    weight = steps.products
    part = (weight * steps.reward) @ steps.discount
    return Terms(float(part.mean()), part, weight)


def doubly_robust(steps: Steps) -> Terms:
    """DR: mean_i sum_t g^t [W_t (r_t - q_t) + W_{t-1} v_t] (Jiang and Li, ICML 2016, equation 10, unrolled)."""
    q, v, weight = _need(steps.q, "q"), _need(steps.v, "q"), steps.products
    part = (weight * (steps.reward - q) + before(weight) * v) @ steps.discount
    return Terms(float(part.mean()), part, weight)


def normalised_trajectory_wise(steps: Steps) -> Terms:
    """Self-normalised TIS: sum_i W_{H-1} G_i / sum_i W_{H-1}, G_i = sum_t g^t r_t."""
    weight = steps.products[:, -1:]
    return _normalised([(weight, (steps.reward @ steps.discount)[:, None])], np.ones(1), weight)


def normalised_per_decision(steps: Steps) -> Terms:
    """Self-normalised PDIS: sum_t g^t (sum_i W_t r_t / sum_i W_t)."""
    weight = steps.products
    return _normalised([(weight, steps.reward)], steps.discount, weight)


def normalised_doubly_robust(steps: Steps) -> Terms:
    """Weighted DR (Thomas and Brunskill, ICML 2016, section 5): W_t and W_{t-1} each over its mean at its step."""
    weight = steps.products
    pairs = [(weight, steps.reward - _need(steps.q, "q")), (before(weight), _need(steps.v, "q"))]
    return _normalised(pairs, steps.discount, weight)


def marginal(steps: Steps, window: int = 0) -> Terms:
    """State-action marginal IS: mean_i sum_t g^t m_{t-k} rho_{t-k+1} ... rho_t r_t, k = `window`; W_t while t < k.

    k = 0: m_t r_t (Xie, Ma and Wang, NeurIPS 2019; Liu et al., NeurIPS 2018); k = H: per-decision IS.
    """
    weight = windowed(steps, window)
    part = (weight * steps.reward) @ steps.discount
    return Terms(float(part.mean()), part, weight)


def normalised_marginal(steps: Steps, window: int = 0) -> Terms:
    """Self-normalised form of `marginal`: each step's weights over their mean."""
    weight = windowed(steps, window)
    return _normalised([(weight, steps.reward)], steps.discount, weight)


def marginal_doubly_robust(steps: Steps) -> Terms:
    """Double reinforcement learning: mean_i sum_t g^t [m_t (r_t - q_t) + m_{t-1} v_t] (Kallus and Uehara, JMLR 2020).

    The value to go at step t weighs g^t, the same as the reward at that step.
    """
    q, v, weight = _need(steps.q, "q"), _need(steps.v, "q"), windowed(steps, 0)
    part = (weight * (steps.reward - q) + before(weight) * v) @ steps.discount
    return Terms(float(part.mean()), part, weight)


def windowed(steps: Steps, window: int) -> Floats:
    """(n, H) weights of `marginal`."""
    if isinstance(window, bool) or not isinstance(window, int) or window < 0:
        raise InputError("option window", f"{window!r}", "Give a whole number of steps, 0 or more.")
    rho = _need(steps.marginal, "marginal ratios")
    if window == 0:
        return rho
    ratio, out = _need(steps.ratio, "propensities"), steps.products
    for t in range(window, out.shape[1]):
        out[:, t] = rho[:, t - window] * ratio[:, t - window + 1 : t + 1].prod(axis=1)
    return out


def before(weight: Floats) -> Floats:
    """(n, H) the weights of the step before; 1 at the first."""
    return np.concatenate([np.ones((len(weight), 1)), weight[:, :-1]], axis=1)


ESTIMATORS: dict[str, Callable[[Steps], Terms]] = {
    "dm": direct_method,
    "tis": trajectory_wise,
    "pdis": per_decision,
    "dr": doubly_robust,
    "sntis": normalised_trajectory_wise,
    "snpdis": normalised_per_decision,
    "sndr": normalised_doubly_robust,
    "marginal_is": marginal,
    "marginal_snis": normalised_marginal,
    "marginal_dr": marginal_doubly_robust,
}


def _normalised(pairs: Sequence[tuple[Floats, Floats]], discount: Floats, weight: Floats) -> Terms:
    """sum over pairs (w, x) and steps of g^t sum_i w x / sum_i w; part linearised: value + g^t w (x - m) / mean w."""
    value, part = 0.0, np.zeros(len(weight))
    for w, x in pairs:
        mean = w.mean(axis=0)
        if (mean == 0).any():
            step = int(np.flatnonzero(mean == 0)[0])
            what = f"all weights are 0 at step {step}: the policy does nothing that was logged"
            raise InputError("sequential log", what, "Give a target whose actions occur in the log.")
        centre = (w * x).mean(axis=0) / mean
        value += float(centre @ discount)
        part += (w * (x - centre) / mean) @ discount
    return Terms(value, value + part, weight)


def _need(values: Floats | None, what: str) -> Floats:
    if values is None:
        raise InputError(
            "sequential log", f"holds no {what}, which this estimator needs", "Give them, or leave it out."
        )
    return values
