"""What policies are worth in the true shop of a synthetic data set, with the truth at hand.

The planned policy stands for the optimum: it knows all that is hidden and looks ahead. Each step it takes the candidates that
a family of heuristics likes best, plays every one to the end of the session several times under the best heuristic, and
shows the best: one step of policy improvement, so a lower bound of the optimum, up to the noise of the roll-outs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.truth import Array, Ints, Sessions, Truth, leave_chance

REWARDS = ("gross", "incremental")
Chooser = Callable[[Sessions, int, np.random.Generator], NDArray[np.int64]]
"""(sessions, slots left, generator) -> item for each session."""

WARM_WEIGHTS = (0.0, 0.01, 0.02, 0.04, 0.08)
TIRE_WEIGHTS = (0.0, 0.01, 0.03)


@dataclass(frozen=True)
class Value:
    """Mean reward a session, its standard error, exposures a session."""

    mean: float
    error: float
    length: float


def step_rewards(sessions: Sessions, reward: str = "gross") -> Array:
    """Expected purchases (n, I) of showing each item now, less those of not showing it if `incremental`."""
    if reward not in REWARDS:
        raise InputError("reward", f"{reward!r}", f"Choose one of {', '.join(REWARDS)}.")
    shown = sessions.table()
    gain = shown.click * shown.purchase
    if reward == "incremental":
        unshown = sessions.table(shown=False)
        gain = gain - unshown.click * unshown.purchase
    return gain


def logged(sessions: Sessions, left: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The logging policy."""
    return draw(sessions.truth.propensities(sessions.user, sessions.shown), rng)


def uniform(sessions: Sessions, left: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Any item not yet shown."""
    free = ~sessions.shown
    return draw(free / free.sum(axis=1, keepdims=True), rng)


def ranked(order: NDArray[np.int64]) -> Chooser:
    """The same list (I,) for everybody, from its top."""

    def choose(sessions: Sessions, left: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.asarray(order[(~sessions.shown[:, order]).argmax(axis=1)])

    return choose


def myopic(reward: str = "gross") -> Chooser:
    """The largest expected reward now."""
    return heuristic(reward, 0.0, 0.0)


def heuristic(reward: str, warm: float, tire: float) -> Chooser:
    """Reward now + slots left (warm * depth * P(click) - tire * satiation of the category)."""

    def choose(sessions: Sessions, left: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return heuristic_scores(sessions, left, reward, warm, tire).argmax(axis=1)

    return choose


def heuristic_scores(sessions: Sessions, left: int, reward: str, warm: float, tire: float) -> Array:
    """(n, I) scores of `heuristic`; -inf for what was shown."""
    score = step_rewards(sessions, reward)
    if warm or tire:
        tired = sessions.satiation[:, sessions.truth.category]
        score = score + (left - 1) * (warm * sessions.table().click * sessions.truth.depth - tire * tired)
    return np.where(sessions.shown, -np.inf, score)


def draw(chance: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """One index for each row of probabilities (n, I)."""
    total = chance.cumsum(axis=1)
    u = rng.random((len(chance), 1)) * total[:, -1:]
    return np.asarray((u >= total).sum(axis=1), np.int64)


def play(
    sessions: Sessions, choose: Chooser, left: int, reward: str, rng: np.random.Generator, first: Ints | None = None
) -> tuple[Array, Array]:
    """Play n sessions to their end; `sessions` moves on. `first`: items (n,) of the first slot.

    Returns:
        rewards (n,), as expectations of each slot given what happened before, and exposures (n,).
    """
    total, length, live = np.zeros(len(sessions)), np.zeros(len(sessions)), np.arange(len(sessions))
    for slot in range(left):
        if not len(live):
            break
        now = sessions.take(live)
        item = first if slot == 0 and first is not None else choose(now, left - slot, rng)
        rows = np.arange(len(live))
        chance = now.chances(rows, item)
        gain = chance.click * chance.purchase
        if reward == "incremental":
            own = now.chances(rows, item, shown=False)
            gain = gain - own.click * own.purchase
        u = rng.random((3, len(live)))
        click = u[0] < chance.click
        purchase = click & (u[1] < chance.purchase)
        total[live] += gain
        length[live] += 1
        sessions.observe(live, item, click, purchase)
        live = live[u[2] >= leave_chance(chance.leave_logit, click, purchase)]
    return total, length


def value(truth: Truth, users: Ints, choose: Chooser, reward: str = "gross", seed: int = 0, repeats: int = 1) -> Value:
    """Value of a policy over `repeats` sessions of each of `users` (rows of the truth)."""
    rng = np.random.default_rng([seed, 1])
    user = np.repeat(users, repeats)
    total, length = play(Sessions(truth, user), choose, truth.slots, reward, rng)
    by_user = total.reshape(len(users), repeats).mean(axis=1)
    return Value(float(by_user.mean()), float(by_user.std() / np.sqrt(len(users))), float(length.mean()))


def best_ranked(truth: Truth, users: Ints, reward: str = "gross") -> NDArray[np.int64]:
    """Items (I,) by mean reward at the start of a session: the best fixed order that ignores who the user is."""
    return np.argsort(-step_rewards(Sessions(truth, users), reward).mean(axis=0), kind="stable")


def tune(truth: Truth, users: Ints, reward: str = "gross", seed: int = 0) -> tuple[float, float]:
    """Weights of the heuristic that is worth most on `users`, all judged with the same random numbers."""
    grid = [(w, t) for w in WARM_WEIGHTS for t in TIRE_WEIGHTS]
    worth = [value(truth, users, heuristic(reward, w, t), reward, seed, 2).mean for w, t in grid]
    return grid[int(np.argmax(worth))]


def planned(weights: tuple[float, float], reward: str = "gross", width: int = 6, rollouts: int = 16) -> Chooser:
    """Policy improvement by roll-outs over the `width` best candidates of the heuristic, and the myopic one."""
    follow = heuristic(reward, *weights)

    def choose(sessions: Sessions, left: int, rng: np.random.Generator) -> NDArray[np.int64]:
        score = heuristic_scores(sessions, left, reward, *weights)
        candidates = np.argsort(-score, axis=1, kind="stable")[:, :width]
        if left > 1:
            greedy = heuristic_scores(sessions, left, reward, 0.0, 0.0).argmax(axis=1)
            candidates[:, -1] = np.where((candidates == greedy[:, None]).any(axis=1), candidates[:, -1], greedy)
        n = len(sessions)
        rows = np.repeat(np.arange(n), width * rollouts)
        first = np.repeat(candidates.ravel(), rollouts)
        total, _ = play(sessions.take(rows), follow, left, reward, rng, first)
        best = total.reshape(n, width, rollouts).mean(axis=2).argmax(axis=1)
        return np.asarray(candidates[np.arange(n), best])

    return choose


def reference_values(
    truth: Truth, users: Ints | None = None, reward: str = "gross", seed: int = 0, repeats: int = 1
) -> dict[str, Value]:
    """Values of `logged random best-fixed myopic heuristic planned`, the last being the stand-in for the optimum.

    Args:
        users: rows of the truth, of whom sessions are played; all where None. The roll-outs take about 20 ms a session.
    """
    users = np.arange(truth.n_users) if users is None else np.asarray(users)
    weights = tune(truth, users[:500], reward, seed + 1)
    policies: dict[str, Chooser] = {
        "logged": logged,
        "random": uniform,
        "best-fixed": ranked(best_ranked(truth, users, reward)),
        "myopic": myopic(reward),
        "heuristic": heuristic(reward, *weights),
        "planned": planned(weights, reward),
    }
    return {name: value(truth, users, policy, reward, seed, repeats) for name, policy in policies.items()}
