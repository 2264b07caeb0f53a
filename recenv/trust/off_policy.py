"""The value of policies on logged decisions that neither they nor the response model have seen.

For each policy: importance weights from the logging policy's propensities, a reward model cross-fitted by user, every
one-step estimator, and the gain over what was logged with the Lambda at which it would no longer be sure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.enough import too_few
from recenv.core.errors import InputError
from recenv.observation import layout
from recenv.trust.ope import PROPENSITIES_WRONG, Estimate, LoggedBandit, Target, evaluate, headline_estimator
from recenv.trust.ope.estimators import get
from recenv.trust.ope.large_actions import COPY_UNKNOWN
from recenv.trust.ope.nuisance import crossfit
from recenv.trust.overlap import Overlap, overlap
from recenv.trust.problem import LARGEST_TABLE, Choose, Problem, Settings
from recenv.trust.sensitivity import Bounds, Robustness, msm_bounds, smallest_lambda

Floats = NDArray[np.float64]
ESTIMATORS = ("ipw", "snipw", "dm", "dr", "sndr", "clipped_dr", "switch_dr", "dros")
"""What is computed unless asked otherwise; those that are means alone with Bernstein intervals."""
SLATE = "takes the policy's one choice at every place of a slate, each place as a decision of its own"
LAMBDAS = (1.5, 2.0)
_RIDGE = 1e-3


@dataclass(frozen=True)
class Evaluated:
    """A policy's value per decision.

    Args:
        name: of the policy. estimates: one an estimator. gain: value minus what was logged, doubly robust, whatever
            is quoted of the value (`gain_low` is the point; the limits its interval); None where too few users stand
            behind an interval, as are robust and bounds; `no_gain` says why. robust: smallest Lambda at which
            "better than logged" is no longer sure; None where propensities are known. bounds: on the value, at some
            Lambdas. All three at `gain_level`. weights: figures of propensities and weights. overlap: is what it would
            show in the log? refused: why no figure may be quoted at all (propensities that fail their audit), or "".
            quoted: the estimator of the headline, settled before any figure was seen (`headline_estimator`).
    """

    name: str
    estimates: tuple[Estimate, ...]
    gain: Bounds | None
    robust: Robustness | None
    bounds: tuple[Bounds, ...]
    weights: dict[str, float]
    overlap: Overlap
    refused: str = ""
    quoted: str = "dr"
    no_gain: str = ""

    @property
    def headline(self) -> Estimate:
        """The estimate that was to be quoted before any was seen."""
        return next(e for e in self.estimates if e.name == self.quoted)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.name,
            "verdict": PROPENSITIES_WRONG if self.refused else self.headline.verdict,
            "headline": self.refused or self.headline.headline(),
            "estimator": self.quoted,
            "estimates": [e.as_dict() for e in self.estimates],
            "gain": None if self.gain is None else self.gain.as_dict(),
            "no_gain": self.no_gain,
            "robust": None if self.robust is None else self.robust.as_dict(),
            "bounds": [b.as_dict() for b in self.bounds],
            "weights": self.weights,
            "overlap": self.overlap.as_dict(),
        }


@dataclass(frozen=True)
class _Seen:
    """What a policy would do at the logged decisions.

    Args:
        chosen: (n,) its probability of the logged action. features: (n, F) its mean of each action's features.
        table: (n, A) its probabilities, None where too large.
    """

    chosen: Floats
    features: Floats
    table: Floats | None


def value_policies(problem: Problem, policies: Mapping[str, tuple[str, Choose]]) -> list[Evaluated]:
    """Value each policy: name -> (observation mode, probabilities).

    Raises:
        InputError: probabilities that are none.
    """
    level = gain_level(problem.settings.level, len(policies))
    seen = {name: _look(problem, name, mode, choose) for name, (mode, choose) in policies.items()}
    logged = _logged_features(problem)
    q = _reward_model(problem, logged, [s.features for s in seen.values()])
    return [_evaluated(problem, name, s, q[:, 0], q[:, 1 + k], level) for k, (name, s) in enumerate(seen.items())]


def gain_level(level: float, policies: int) -> float:
    """1 - (1 - level) / K: at it the gains of all K policies over what was logged hold at once (Bonferroni)."""
    return 1.0 - (1.0 - level) / max(policies, 1)


def _look(problem: Problem, name: str, mode: str, choose: Choose) -> _Seen:
    found, world = problem.found, problem.world
    n, size = len(found), found.actions.size
    width = max(stop for _, stop in layout(world.spec, mode).values())
    chosen, features = np.zeros(n), np.zeros((n, 4))
    table = np.zeros((n, size)) if n * size <= LARGEST_TABLE else None
    order = np.argsort(found.moment, kind="stable")
    for part in problem.moments():
        mask = found.mask(world, part)
        chance = found.actions.collapse(choose(found.obs[part, :width], mask))
        _check(name, chance)
        chance = chance / chance.sum(axis=1, keepdims=True)
        model = problem.expected(part, mask)
        mean = np.stack([np.ones(len(mask)), chance @ problem.rate, (chance * model).sum(axis=1), chance[:, 0]], axis=1)
        first, last = np.searchsorted(found.moment[order], [part.start, part.stop])
        rows = order[first:last]
        place = found.moment[rows] - part.start
        chosen[rows], features[rows] = chance[place, found.action[rows]], mean[place]
        if table is not None:
            table[rows] = chance[place]
    return _Seen(np.minimum(chosen, 1.0), features, table)


def _check(name: str, chance: Floats) -> None:
    if not np.isfinite(chance).all() or (chance < -1e-6).any() or (np.abs(chance.sum(axis=1) - 1) > 1e-3).any():
        what = f"probabilities in [{np.nanmin(chance):.3g}, {np.nanmax(chance):.3g}] that do not sum to 1"
        raise InputError(f"policy {name!r}", what, "A policy gives each allowed action a probability; they sum to 1.")


def _logged_features(problem: Problem) -> Floats:
    """(n, 4) features of the logged action: 1, its rate in training, the model's expectation, whether it is nothing."""
    found = problem.found
    model = np.zeros(len(found))
    if problem.model is not None:
        order = np.argsort(found.moment, kind="stable")
        for part in problem.moments():
            expected = problem.expected(part, found.mask(problem.world, part))
            first, last = np.searchsorted(found.moment[order], [part.start, part.stop])
            rows = order[first:last]
            model[rows] = expected[found.moment[rows] - part.start, found.action[rows]]
    blank = (found.action == 0).astype(np.float64)
    return np.stack([np.ones(len(found)), problem.rate[found.action], model, blank], axis=1)


def _reward_model(problem: Problem, logged: Floats, policies: Sequence[Floats]) -> Floats:
    """(n, 1 + K): q of the logged action and E_pi q of each policy, from users other than the row's own.

        q(x, a) = c0 + c1 rate(a) + c2 model(x, a) + c3 [a = nothing],  weighted least squares with a small ridge

    Linear in the action's features, so that a policy's mean of q needs its mean of the features alone.
    """
    settings, log = problem.settings, problem.log
    folds = min(settings.folds, len(np.unique(log.user)))
    weight = np.asarray(log.weight)

    def fit_predict(train: NDArray[np.int64], test: NDArray[np.int64]) -> Floats:
        scale = logged[train].std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        x = logged[train] / scale
        w = weight[train] / weight[train].sum()
        penalty = np.full(x.shape[1], _RIDGE)
        penalty[0] = 0.0
        gram = (x * w[:, None]).T @ x + np.diag(penalty)
        c = np.linalg.lstsq(gram, (x * w[:, None]).T @ np.asarray(log.reward)[train], rcond=None)[0] / scale
        return np.stack([logged[test] @ c, *(f[test] @ c for f in policies)], axis=1)

    if folds < 2:
        raise InputError("decisions", "are of one user", "Bring a log of several users.")
    return crossfit(fit_predict, log.user, folds, settings.seed)


def _evaluated(
    problem: Problem, name: str, seen: _Seen, q_logged: Floats, q_target: Floats, level: float
) -> Evaluated:  # fmt: skip
    settings, log = problem.settings, problem.log
    label = "; ".join(filter(None, (problem.behaviour.label, _copy_label(problem), _slate_label(problem))))
    shape = {"probability": seen.table} if seen.table is not None else {"chosen": seen.chosen}
    target = Target(**shape, q_logged=q_logged, q_target=q_target)
    names = estimators_of(settings)
    if "mips" in names:
        if seen.table is None:
            what = f"mips needs a table of {len(log):,} decisions x {log.n_actions:,} actions: too many to hold"
            raise InputError("estimators", what, "Leave mips out, or bring a smaller slice.")
        target = replace(target, groups=problem.groups.of)
    estimates = evaluate(
        log, target, names, settings.seed, settings.n_boot, label=label, level=settings.level,
        interval=settings.interval, reward_range=_range(settings, log, q_logged, q_target),
    )  # fmt: skip
    gain: Bounds | None = None
    robust: Robustness | None = None
    bounds: tuple[Bounds, ...] = ()
    no_gain = _no_gain(log, seen.chosen)
    if not no_gain:
        gain = msm_bounds(log, target, 1.0, "dr", problem.found.segment, level)
        if not problem.behaviour.known:
            robust = smallest_lambda(log, target, "dr", problem.found.segment, level)
            bounds = tuple(msm_bounds(log, target, k, "dr", problem.found.segment, level) for k in LAMBDAS)
    wrong = problem.audit is not None and problem.audit.verdict == PROPENSITIES_WRONG
    refused = problem.audit.headline() if problem.audit is not None and wrong else ""
    quoted = headline_estimator(target, names)
    shown = overlap(log, target)
    figures = weights(log, seen.chosen)
    return Evaluated(name, tuple(estimates), gain, robust, bounds, figures, shown, refused, quoted, no_gain)


def _no_gain(log: LoggedBandit, chosen: Floats) -> str:
    """Why no interval of the gain can be given; "" where one can.

    The gain rests on the users who got another reward than the usual one (no click, say) for what the policy might
    have shown: the spread of a few of them is chance, however many users saw it.
    """
    if not (chosen > 0).any():
        return "the policy would show nothing of what was logged"
    values, counts = np.unique(np.asarray(log.reward), return_counts=True)
    usual = values[counts.argmax()]
    user = np.asarray(log.user)
    told = user[(chosen > 0) & (np.asarray(log.reward) != usual)]
    words = f"users with a reward other than the usual {usual:g} for what the policy might show"
    return too_few(len(np.unique(user))) or too_few(len(np.unique(told)), words)


def estimators_of(settings: Settings) -> tuple[str, ...]:
    """The estimators asked for, or the usual ones that the interval can be given for."""
    if settings.estimators:
        return settings.estimators
    return tuple(name for name in ESTIMATORS if settings.interval != "bernstein" or not get(name).normalised)


def _range(settings: Settings, log: LoggedBandit, *model: Floats) -> tuple[float, float] | None:
    """Where rewards lie, and the linear reward model, which may step outside; None unless the interval asks for it.

    Raises:
        InputError: unknown, or a reward outside.
    """
    if settings.interval != "bernstein":
        return None
    low, high = settings.reward_range()
    reward = np.asarray(log.reward)
    if reward.min() < low or reward.max() > high:
        what = f"[{reward.min():g}, {reward.max():g}] leaves [{low:g}, {high:g}]"
        raise InputError("reward", what, "Give the most that one decision can bring by --largest.")
    return min([low, *(float(q.min()) for q in model)]), max([high, *(float(q.max()) for q in model)])


def _copy_label(problem: Problem) -> str:
    copies = bool((problem.world.action_copy >= 0).any())
    return COPY_UNKNOWN if copies and not problem.found.actions.copies else ""


def _slate_label(problem: Problem) -> str:
    return SLATE if problem.found.slates else ""


def weights(log: LoggedBandit, chosen: Floats) -> dict[str, float]:
    """How far the log covers the policy: quantiles of propensities and of weights, share of rows of weight 0."""
    p, w = np.asarray(log.propensity), chosen / np.asarray(log.propensity)
    return {
        "propensity_min": float(p.min()),
        "propensity_1%": float(np.quantile(p, 0.01)),
        "propensity_median": float(np.median(p)),
        "weight_99%": float(np.quantile(w, 0.99)),
        "weight_max": float(w.max()),
        "share_of_rows_the_policy_would_never_show": float((chosen <= 0).mean()),
    }


def on_policy(problem: Problem) -> Estimate:
    """What was logged is worth: the mean reward of the decisions, with its interval clustered by user."""
    ones = LoggedBandit(
        problem.log.action, problem.log.reward, np.ones(len(problem.log)), problem.log.user, problem.log.n_actions,
        problem.log.position, problem.log.weight,
    )  # fmt: skip
    target = Target(chosen=np.ones(len(ones)))
    settings = problem.settings
    return evaluate(
        ones, target, ("ipw",), settings.seed, settings.n_boot, level=settings.level, interval=settings.interval,
        reward_range=_range(settings, ones),
    )[0]  # fmt: skip
