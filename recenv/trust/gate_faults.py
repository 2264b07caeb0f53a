"""Simulators that are wrong in one known way, and what the gates are given of each.

Each fault alters one of: the model that predicts (and whose predictions the roll-outs draw from, where that is what
shows the fault), how sessions run, what a policy is said to be worth, or the bytes of a repeated run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.trust import gates
from recenv.trust.gate_base import Gate
from recenv.trust.gate_groups import WEEK
from recenv.trust.gate_truth import (
    BASE,
    ITEMS,
    THETA,
    WEEKS,
    Floats,
    GateShop,
    Model,
    Sessions,
    expected_item_rate,
    features,
    run_sessions,
    to_slice,
    to_stats,
)
from recenv.trust.slices import PredictionSlice, SessionStats
from recenv.trust.tolerances import Tolerances

SEEN, FALSE_ALARM = 0.7, 0.02
"""The leak: a column that is 1 for this share of rows with a response to come, and of rows without."""

FAULTS: dict[str, str] = {
    "truth": "the simulator is the truth",
    "rates_x1.14": "predictions x1.14, just inside the tolerance",
    "labels_shuffled": "the slice's labels shuffled: predictions know nothing of them",
    "learned_nothing": "trained on shuffled labels: the base rate times noise",
    "rates_x1.5": "all predictions x1.5",
    "rates_x1.2": "all predictions x1.2",
    "sigmoid_twice": "a sigmoid applied twice",
    "leaked_future": "a raw column that tells the future (in the logs only)",
    "answers_known": "predictions made from the answers",
    "leaked_in_replay": "the replay code looks ahead, slightly (future altered)",
    "wrong_leave": "leaves x1.5 as often",
    "wrong_leave_x1.3": "leaves x1.3 as often",
    "one_segment_x1.3": "predictions x1.3 in one segment of six",
    "no_overdispersion": "no shared session effect: responses independent",
    "flat_items": "one rate for all items of a category",
    "stale": "real rates fall to .7 in the second half",
    "wrong_elsewhere": "predictions x1.5 on a second policy's log only",
    "exploiting_policy": "a policy that is best where the world errs",
    "wrong_order": "the world ranks policies by noise",
    "off_support": "a policy half of whose actions the logs never took",
    "not_deterministic": "one byte differs on repetition",
}

CORE: tuple[str, ...] = (
    "truth", "rates_x1.14", "labels_shuffled", "rates_x1.5", "sigmoid_twice", "leaked_future", "wrong_leave",
    "one_segment_x1.3", "no_overdispersion", "wrong_elsewhere", "exploiting_policy", "wrong_order", "off_support",
    "not_deterministic",
)  # fmt: skip
"""Those whose error rates are wanted closely; the others show what else is seen."""

WRONG_RUNS: dict[str, tuple[float, float]] = {
    "wrong_leave": (1.5, THETA),
    "wrong_leave_x1.3": (1.3, THETA),
    "no_overdispersion": (1.0, 0.0),
}
"""Faults in how sessions run: factor on leaving, variance of the session effect."""


@dataclass(frozen=True)
class Inputs:
    """All that the gates are given.

    Args:
        slice_, simulated, other: predictions on the log, in roll-outs, on a second policy's log. stats: of sessions.
        features: of both sides, and names. values: policy -> (world, judge) draws. policy: values in world and judge.
        probability: (n,) of the policy's actions under `logged`. changed: see `leaked_future`. runs: two byte strings.
    """

    slice_: PredictionSlice
    simulated: PredictionSlice
    other: PredictionSlice
    stats: SessionStats
    values: dict[str, tuple[Floats, Floats]]
    policy: tuple[gates.Value, gates.Value]
    probability: Floats
    changed: Floats | None = None
    runs: tuple[bytes, bytes] = (b"same", b"same")


@dataclass
class Case:
    """One seed: the shop, its log, and what the gates are given when the simulator is the truth."""

    shop: GateShop
    rng: np.random.Generator
    log: Sessions
    item_rate: Floats
    inputs: Inputs
    memo: dict[tuple[str, ...], Gate] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)

    @classmethod
    def make(cls, users: int, visits: float, seed: int, base: float = BASE) -> Case:
        """A shop of so many users and visits each; everything from one seed."""
        rng = np.random.default_rng(seed)
        shop = GateShop.make(users, visits, rng, base)
        truth = Model(shop.p)
        log, rolled, other = (run_sessions(shop, truth, rng, uniform_policy=k == 2) for k in range(3))
        rate = expected_item_rate(log, shop.p, rng)
        values, policy = _policies(shop, len(log.user), rng, exploit=False)
        taken = shop.logged[np.arange(users), rng.integers(0, ITEMS, users)]
        inputs = Inputs(
            slice_=to_slice(shop, log, shop.p, rate),
            simulated=to_slice(shop, rolled, shop.p, rate),
            other=to_slice(shop, other, shop.p, rate),
            stats=to_stats(shop, log, rolled),
            values=values,
            policy=policy,
            probability=taken,
        )
        return cls(shop, rng, log, rate, inputs)

    def judge(self, inputs: Inputs, tol: Tolerances) -> list[Gate]:
        """All gates; those whose inputs are the truth's own are judged once."""
        s, stats = inputs.slice_, inputs.stats
        self.keep.append(inputs)

        def once(name: str, call: Any, *parts: Any) -> Gate:
            key = (name, *(str(id(x)) for x in parts))
            if key not in self.memo:
                self.memo[key] = call()
            return self.memo[key]

        by_slice = [gates.power, gates.discrimination, gates.calibration_large, gates.calibration_deciles]
        by_slice += [gates.calibration_segments, gates.calibration_weeks, gates.item_rates, gates.drift]
        found = [once(f.__name__, lambda f=f: f(s, tol), s) for f in by_slice]
        found += [once(f.__name__, lambda f=f: f(stats, tol), stats) for f in (gates.second_order, gates.rollout)]
        (real, names), (fake, _) = features(stats.real), features(stats.simulated)
        two = lambda: gates.two_sample(real, fake, stats.real_user, stats.simulated_user, tol, names)  # noqa: E731
        users = np.arange(len(inputs.probability))
        return [
            *found,
            once("two_sample", two, stats),
            once("transfer", lambda: gates.transfer(inputs.other, tol), inputs.other),
            once("ranking", lambda: gates.ranking(inputs.values, tol), inputs.values),
            gates.exploitation("policy", *inputs.policy, tol),
            gates.support(inputs.probability, users, np.full(len(users), ITEMS), tol),
            once(
                "leaked_future",
                lambda: gates.leaked_future(s, tol, inputs.simulated, inputs.changed),
                s,
                inputs.simulated,
                inputs.changed,
            ),
            gates.determinism(*inputs.runs),
        ]

    def faulty(self, fault: str) -> Inputs:
        """What the gates are given when the simulator has the fault."""
        if fault in WRONG_RUNS:
            leave, theta = WRONG_RUNS[fault]
            return self._rolled(Model(self.shop.p, leave, theta))
        if fault in ("leaked_future", "leaked_in_replay"):
            return self._leaked(fault)
        if fault in ("exploiting_policy", "wrong_order"):
            values, policy = _policies(self.shop, len(self.log.user), self.rng, exploit=True)
            return replace(self.inputs, **({"policy": policy} if fault == "exploiting_policy" else {"values": values}))
        if fault == "off_support":
            off = np.where(self.rng.random(self.shop.users) < 0.5, 0.0, self.inputs.probability)
            return replace(self.inputs, probability=off)
        if fault == "not_deterministic":
            return replace(self.inputs, runs=(b"same", b"some"))
        if fault == "wrong_elsewhere":
            other = self.inputs.other
            return replace(self.inputs, other=replace(other, p=np.minimum(1.5 * other.p, 1.0)))
        s = self.inputs.slice_
        if fault == "labels_shuffled":
            return replace(self.inputs, slice_=replace(s, y=self.rng.permutation(s.y)))
        if fault == "answers_known":
            return replace(self.inputs, slice_=replace(s, p=np.where(s.y > 0.5, 0.95, 0.01)))
        if fault == "stale":
            fallen = (s.time > WEEKS * WEEK // 2) & (self.rng.random(len(s)) < 0.3)
            return replace(self.inputs, slice_=replace(s, y=np.where(fallen, 0.0, s.y)))
        return replace(self.inputs, slice_=replace(s, p=self._predictions(fault)[s.user, s.item]))

    def _predictions(self, fault: str) -> Floats:
        """(U, I) what the faulty model predicts."""
        p, shop = self.shop.p, self.shop
        if fault == "learned_nothing":
            noise = np.exp(0.3 * self.rng.standard_normal(p.shape) - 0.045)
            return np.minimum(self.inputs.slice_.y.mean() * noise, 1.0)
        if fault.startswith("rates_x"):
            return np.minimum(float(fault.removeprefix("rates_x")) * p, 1.0)
        if fault == "sigmoid_twice":
            return np.asarray(1 / (1 + np.exp(-p)))
        if fault == "one_segment_x1.3":
            return np.where((shop.segment == 2)[:, None], np.minimum(1.3 * p, 1.0), p)
        if fault == "flat_items":
            flat = np.empty_like(p)
            for c in range(int(shop.category.max()) + 1):
                mine, weight = shop.category == c, shop.logged[:, shop.category == c]
                flat[:, mine] = ((p[:, mine] * weight).sum(axis=1) / weight.sum(axis=1))[:, None]
            return flat
        raise ValueError(fault)

    def _rolled(self, model: Model) -> Inputs:
        rolled = run_sessions(self.shop, model, self.rng)
        simulated = to_slice(self.shop, rolled, model.p, self.item_rate)
        return replace(self.inputs, simulated=simulated, stats=to_stats(self.shop, self.log, rolled))

    def _leaked(self, fault: str) -> Inputs:
        """A column z with P(z = 1 | y) = SEEN or FALSE_ALARM sharpens predictions; in roll-outs it is always 0."""
        s, p = self.inputs.slice_, self.shop.p
        seen = SEEN if fault == "leaked_future" else FALSE_ALARM + 0.02
        sharp = _posterior(s.p, self.rng.random(len(s)) < np.where(s.y > 0.5, seen, FALSE_ALARM), seen)
        if fault == "leaked_future":
            return replace(
                self._rolled(Model(_posterior(p, np.zeros(p.shape, bool), seen))), slice_=replace(s, p=sharp)
            )
        altered = _posterior(s.p, self.rng.random(len(s)) < FALSE_ALARM, seen)
        return replace(self.inputs, slice_=replace(s, p=sharp), changed=altered)


def _posterior(p: Floats, z: NDArray[np.bool_], seen: float) -> Floats:
    """P(y = 1 | x, z): calibrated, given the leaked column."""
    yes, no = np.where(z, seen, 1 - seen), np.where(z, FALSE_ALARM, 1 - FALSE_ALARM)
    return np.asarray(p * yes / (p * yes + (1 - p) * no))


def _policies(
    shop: GateShop, sessions: int, rng: np.random.Generator, exploit: bool
) -> tuple[dict[str, tuple[Floats, Floats]], tuple[gates.Value, gates.Value]]:
    """Values of 8 policies in world and judge (10 seeds each), and those of the best by the world's own belief.

    Policy k takes each user's best item of a score with noise k. With `exploit` the world believes p exp(noise): what
    is best in it is best where it errs; and it values the 8 policies by noise.
    """
    user = rng.choice(shop.users, min(shop.users, 300), replace=False)
    p = shop.p[user]
    count = max(sessions // 10, 1)
    values: dict[str, tuple[Floats, Floats]] = {}
    levels = []
    for k in range(8):
        chosen = np.argmax(np.log(p) + 0.3 * k * rng.standard_normal(p.shape), axis=1)
        levels.append(float(p[np.arange(len(user)), chosen].mean()))
    told = levels[::-1] if exploit else levels
    for k, level in enumerate(levels):
        world, judged = (rng.binomial(count, v, 10) / count for v in (told[k], level))
        values[f"policy {k}"] = (world, judged)
    believed = p * np.exp((1.0 if exploit else 0.0) * rng.standard_normal(p.shape))
    pick = np.argmax(believed, axis=1)
    rows = np.arange(len(user))
    claim, true = (float(np.minimum(v[rows, pick], 1.0).mean()) for v in (believed, p))
    measured = [(v + rng.standard_normal() * se, se) for v in (claim, true) for se in [_se(v, sessions)]]
    return values, (measured[0], measured[1])


def _se(value: float, n: int) -> float:
    return float(np.sqrt(max(value * (1 - value), 1e-6) / n))
