"""A finite Markov decision process with its exact optimum and the exact value of any policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FiniteMDP:
    """S states, A actions, all known.

    Args:
        transition: (S, A, S) float64, P(next state | state, action); rows sum to one.
        reward: (S, A) float64, expected reward.
        start: (S,) float64, distribution of the first state.
        discount: in (0, 1]; with 1, every policy must end in states without reward (then all sums are finite).
    """

    transition: Array
    reward: Array
    start: Array
    discount: float = 1.0

    def __post_init__(self) -> None:
        states, actions = self.reward.shape
        if self.transition.shape != (states, actions, states) or self.start.shape != (states,):
            raise InputError(
                "FiniteMDP", f"transition {self.transition.shape}, start {self.start.shape}", f"Give S={states}."
            )
        if not (np.allclose(self.transition.sum(axis=2), 1.0) and np.isclose(self.start.sum(), 1.0)):
            raise InputError("FiniteMDP", "probabilities do not sum to one", "Normalise transition and start.")

    def solve(self, tolerance: float = 1e-12, sweeps: int = 100_000) -> tuple[Array, Array]:
        """Value iteration: q(s, a) = r(s, a) + discount * sum_s' P(s' | s, a) max_a' q(s', a').

        With a finite horizon the fixed point is reached exactly after as many sweeps as there are steps.

        Returns:
            Optimal state values (S,) and action values (S, A).

        Raises:
            InputError: no fixed point within `sweeps` sweeps.
        """
        value = np.zeros(len(self.start))
        for _ in range(sweeps):
            q = self.reward + self.discount * (self.transition @ value)
            change, value = float(np.abs(q.max(axis=1) - value).max()), q.max(axis=1)
            if change <= tolerance:
                return value, q
        raise InputError("FiniteMDP", f"no fixed point after {sweeps} sweeps", "Check that every policy ends.")

    def state_values(self, policy: Array) -> Array:
        """Values (S,) of a stationary policy (S, A) of action probabilities: (I - discount * P_pi) v = r_pi."""
        self._check(policy)
        p = np.einsum("sa,sat->st", policy, self.transition)
        r = (policy * self.reward).sum(axis=1)
        value = np.zeros(len(r))
        # States that stay where they are without reward (the end) would make the system singular at discount 1.
        live = ~((np.diag(p) > 1.0 - 1e-12) & (r == 0.0))
        system = np.eye(int(live.sum())) - self.discount * p[np.ix_(live, live)]
        value[live] = np.linalg.solve(system, r[live])
        return value

    def value_of(self, policy: Array) -> float:
        """Exact expected return of a stationary policy (S, A) from the start distribution."""
        return float(self.start @ self.state_values(policy))

    def best_fixed(self) -> int:
        """The action that does best when it is taken in every state."""
        return int(np.argmax([self.value_of(self.always(a)) for a in range(self.reward.shape[1])]))

    def always(self, action: int) -> Array:
        """(S, A) policy that takes one action everywhere."""
        return self.greedy(np.eye(self.reward.shape[1])[np.full(len(self.start), action)])

    def uniform(self) -> Array:
        """(S, A) policy that takes every action equally often."""
        return np.full(self.reward.shape, 1.0 / self.reward.shape[1])

    def myopic(self) -> Array:
        """(S, A) policy of largest expected next reward, the lowest action number on a tie."""
        return self.greedy(self.reward)

    def greedy(self, score: Array) -> Array:
        """(S, A) policy that takes the action of the highest score."""
        return np.eye(score.shape[1])[score.argmax(axis=1)]

    def _check(self, policy: Array) -> None:
        if policy.shape != self.reward.shape or not np.allclose(policy.sum(axis=1), 1.0) or (policy < 0).any():
            raise InputError(
                "policy", f"shape {policy.shape} or rows that are no distribution", f"Give {self.reward.shape}."
            )
