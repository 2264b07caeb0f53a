"""A small logged bandit with known truth, for the tests of off-policy evaluation."""

from __future__ import annotations

import numpy as np

from recenv.trust.ope.inputs import LoggedBandit, Target

ACTIONS = 6


def small_log(seed: int = 0, users: int = 300, rows: int = 4, spread: float = 1.0) -> tuple[LoggedBandit, Target]:
    """users x rows decisions among 6 actions; the target prefers the actions that the logging policy shows least."""
    rng = np.random.default_rng(seed)
    n = users * rows
    score = np.linspace(-1.0, 1.0, ACTIONS) * spread + 0.3 * rng.normal(size=(n, ACTIONS))
    pi_b, pi_e = softmax(score), softmax(-score)
    action = (pi_b.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1).clip(max=ACTIONS - 1)
    user = np.repeat(np.arange(users), rows)
    chance = (0.1 + 0.1 * np.arange(ACTIONS))[action] * np.where(rng.random(users) < 0.5, 0.5, 1.5)[user]
    reward = (rng.random(n) < chance).astype(np.float64)
    log = LoggedBandit(action, reward, pi_b[np.arange(n), action], user, ACTIONS, behaviour=pi_b)
    return log, Target(pi_e, q=np.tile(0.1 + 0.1 * np.arange(ACTIONS), (n, 1)))


def softmax(score: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    e = np.exp(score - score.max(axis=-1, keepdims=True))
    result: np.ndarray = e / e.sum(axis=-1, keepdims=True)
    return result
