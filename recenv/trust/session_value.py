"""The value of a policy over whole sessions, where a log's sessions hold several decisions; a plain word where not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.observation import layout
from recenv.trust.ope import PROPENSITIES_WRONG
from recenv.trust.ope.sequential_evaluation import evaluate_sequential
from recenv.trust.ope.sequential_fqe import Linear, crossfit
from recenv.trust.ope.sequential_inputs import LoggedTrajectories, SequentialTarget
from recenv.trust.problem import Choose, Problem

_LARGEST = 40_000_000
HEADLINE = "dr"
ESTIMATORS = ("pdis", "snpdis", "dm", "dr", "sndr")


def session_values(problem: Problem, policies: Mapping[str, tuple[str, Choose]]) -> dict[str, Any]:
    """Sequential estimates of each policy, or why there are none.

    Returns:
        `words` (list of sentences) and `policies` (name -> list of estimates as dicts); JSON-able.
    """
    why = _why_not(problem)
    if why:
        return {"words": [f"Over whole sessions: {why}"], "policies": {}}
    log = _trajectories(problem)
    features = _features(problem, log.shape)
    words, found = [], {}
    for name, (mode, choose) in policies.items():
        probability = _probabilities(problem, mode, choose, log.shape)
        folds = min(problem.settings.folds, len(np.unique(log.user)))
        q = crossfit(log, probability, features, Linear(), folds=folds, seed=problem.settings.seed)
        target = SequentialTarget(probability, q)
        label = problem.behaviour.label
        estimates = evaluate_sequential(log, target, ESTIMATORS, level=problem.settings.level, label=label)
        best = next(e for e in estimates if e.name == HEADLINE)
        words.append(f"Over whole sessions, {name}: {best.headline()}")
        found[name] = [{**e.as_dict(), "headline": e.headline()} for e in estimates]
    return {"words": words, "policies": found}


def _why_not(problem: Problem) -> str:
    """Why a log cannot be valued session by session; "" where it can."""
    found = problem.found
    if problem.audit is not None and problem.audit.verdict == PROPENSITIES_WRONG:
        return problem.audit.headline()
    if not (found.step > 0).any():
        return "each session of this log holds one decision, so the value of a session is the value of that decision."
    moments = np.unique(found.moment)
    if len(moments) < len(found):
        return "several things were shown at one moment (a slate, or weighted rows): not one decision after another."
    if len(np.unique(problem.found.weight)) > 1:
        return "rows were sampled (weights differ), so sessions are not whole."
    if found.aside:
        return "rows were set aside, so sessions are not whole."
    steps = int(found.step.max()) + 1
    sessions = len(np.unique(found.session))
    if sessions * steps * found.actions.size > _LARGEST:
        return f"{sessions:,} sessions of up to {steps} steps and {found.actions.size:,} actions are too many to hold."
    if len(np.unique(found.user)) < 2:
        return "the decisions are of one user."
    return ""


def _trajectories(problem: Problem) -> LoggedTrajectories:
    found, log = problem.found, problem.log
    return LoggedTrajectories.from_rows(
        found.session, found.step, found.action, np.asarray(log.reward), np.asarray(log.propensity), found.user,
        found.actions.size,
    )  # fmt: skip


def _wide(problem: Problem, shape: tuple[int, int], width: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """An empty (sessions, steps, width) and the row of each decision's session in it."""
    _, row = np.unique(problem.found.session, return_inverse=True)
    return np.zeros((*shape, width)), row.reshape(-1)


def _features(problem: Problem, shape: tuple[int, int]) -> NDArray[np.float64]:
    """(sessions, steps, d): the summary observation's session part and counts, before each decision."""
    found, slices = problem.found, layout(problem.world.spec, "summary")
    picked = np.concatenate([np.arange(*slices[name]) for name in ("profile", "session", "mass")])
    wide, row = _wide(problem, shape, len(picked))
    wide[row, found.step] = found.obs[found.moment][:, picked]
    return wide


def _probabilities(problem: Problem, mode: str, choose: Choose, shape: tuple[int, int]) -> NDArray[np.float64]:
    """(sessions, steps, A) of the policy; even where a session was over before."""
    found, world = problem.found, problem.world
    wide, row = _wide(problem, shape, found.actions.size)
    wide[:] = 1.0 / found.actions.size
    width = max(stop for _, stop in layout(world.spec, mode).values())
    of_moment = np.zeros((len(found.obs), found.actions.size))
    for part in problem.moments():
        chance = found.actions.collapse(choose(found.obs[part, :width], found.mask(world, part)))
        of_moment[part] = chance / chance.sum(axis=1, keepdims=True)
    wide[row, found.step] = of_moment[found.moment]
    return wide
