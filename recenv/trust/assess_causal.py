"""The causal verdict of a world: audit of logged propensities, placebo tests and overlap, as far as its log allows."""

from __future__ import annotations

from typing import Any

from recenv.core.errors import RecenvError
from recenv.trust.behaviour import training
from recenv.trust.causal import causal_verdict
from recenv.trust.decisions import logged_decisions, with_reward
from recenv.trust.held_out import HeldOut
from recenv.trust.ope.inputs import Target
from recenv.trust.overlap import Overlap, overlap
from recenv.trust.placebo import Placebo
from recenv.trust.placebo_rows import placebo_rows, placebos
from recenv.trust.problem import Problem, Settings
from recenv.world import World

SPLIT = "test"


def causal_report(world: World, held: HeldOut, seed: int) -> dict[str, Any]:
    """`verdict`, `why`, `placebo`, and where they could be had `audit` and `overlap`; JSON-able.

    What the log cannot support (no clock, no opportunities, no single decisions) is said under `why`.
    """
    told: list[str] = []
    tests: list[Placebo] = []
    problem: Problem | None = None
    try:
        tests = placebos(placebo_rows(held.dataset, seed=seed))
    except RecenvError as error:
        told.append(f"Placebo tests cannot be done: {error.what}.")
    try:
        problem = _problem(world, held)
    except RecenvError as error:
        told.append(f"Single decisions cannot be told: {error.what}.")
    found = _overlap(problem)
    audit = None if problem is None else problem.audit
    estimated = problem is not None and not problem.behaviour.known
    verdict = causal_verdict(held.meta, audit, tests, found, estimated).as_dict()
    verdict["why"] += told
    extra = {"audit": None if audit is None else audit.as_dict(), "overlap": None if found is None else found.as_dict()}
    return verdict | {key: value for key, value in extra.items() if value is not None}


def _problem(world: World, held: HeldOut) -> Problem:
    name = "click" if "click" in world.responses else "purchase"
    found, reward = with_reward(logged_decisions(held.dataset, world, SPLIT), name)
    return Problem.of(found, reward, world, training(held.dataset, world, found, name), Settings(reward=name))


def _overlap(problem: Problem | None) -> Overlap | None:
    """Of the logging policy with its own log: how thin its support is. None where only the logged actions are known."""
    if problem is None or problem.log.behaviour is None:
        return None
    return overlap(problem.log, Target(probability=problem.log.behaviour))
