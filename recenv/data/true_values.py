"""What policies are worth in the true shop of a synthetic data set, with the truth at hand.

`planned` stands for the optimum: it knows all that is hidden and looks ahead by a heuristic whose weights are searched
for in the true shop. It is a lower bound of the optimum; in a trial, one step of policy improvement by roll-outs
(6 candidates, 16 roll-outs each) added nothing.
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


def play(sessions: Sessions, choose: Chooser, left: int, reward: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Play n sessions to their end; `sessions` moves on.

    Returns:
        rewards (n,), as expectations of each slot given what happened before, and exposures (n,).
    """
    total, length, live = np.zeros(len(sessions)), np.zeros(len(sessions)), np.arange(len(sessions))
    for slot in range(left):
        if not len(live):
            break
        now = sessions.take(live)
        item = choose(now, left - slot, rng)
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


def reference_values(
    truth: Truth, users: Ints | None = None, reward: str = "gross", seed: int = 0, repeats: int = 1
) -> dict[str, Value]:
    """Values of `random logged best-fixed myopic planned`, the last being the stand-in for the optimum.

    Args:
        users: rows of the truth, of whom `repeats` sessions each are played; all where None.
    """
    users = np.arange(truth.n_users) if users is None else np.asarray(users)
    weights = tune(truth, users[:500], reward, seed + 1)
    policies: dict[str, Chooser] = {
        "random": uniform,
        "logged": logged,
        "best-fixed": ranked(best_ranked(truth, users, reward)),
        "myopic": myopic(reward),
        "planned": heuristic(reward, *weights),
    }
    return {name: value(truth, users, policy, reward, seed, repeats) for name, policy in policies.items()}
