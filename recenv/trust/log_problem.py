"""From a data set's folder to a problem of off-policy evaluation: reads the test slice once, and counts the read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.errors import RecenvError
from recenv.data.schema import SPLITS, Dataset, read_meta
from recenv.trust.behaviour import training
from recenv.trust.causal import causal_verdict
from recenv.trust.decisions import Decisions, logged_decisions, refuse_without_decisions, with_reward
from recenv.trust.ope import Target
from recenv.trust.overlap import overlap
from recenv.trust.placebo import Placebo
from recenv.trust.placebo_rows import placebo_rows, placebos
from recenv.trust.problem import Choose, Problem, Settings
from recenv.world import World


@dataclass(frozen=True)
class LogProblem:
    """A problem and where it comes from.

    Args:
        problem: see there. meta: of the data set, the read counted. seen: which slices the model saw, in words.
        causal: the causal verdict on the log, see `CausalVerdict.as_dict`.
    """

    problem: Problem
    meta: dict[str, Any]
    seen: tuple[str, ...]
    causal: dict[str, Any]


def read_problem(data: Path, world: World, settings: Settings, model: Choose | None = None) -> LogProblem:
    """The test slice's decisions as a problem; what cannot be valued is refused before the slice is read.

    Args:
        data: folder of `recenv prepare`, of the world's own data or of another log over the same catalogue.
        model: expected reward of each action by the response model, where there is one.

    Raises:
        UnsupportedError: a log without single decisions. InputError: no test slice, no such response, another
            catalogue. ArtefactError: damaged data.
    """
    refuse_without_decisions(read_meta(data))
    dataset = Dataset.load(data, splits=SPLITS)
    found, values = with_reward(logged_decisions(dataset, world), settings.reward)
    problem = Problem.of(found, values, world, training(dataset, world, found, settings.reward), settings, model)
    seen = tuple(_seen(dataset, world, found))
    return LogProblem(problem, dataset.meta, seen, _causal(problem, dataset, settings.seed))


def _causal(problem: Problem, dataset: Dataset, seed: int) -> dict[str, Any]:
    """RANDOMISED, ADJUSTED or OBSERVATIONAL; placebo tests only where the choices' probabilities are not known."""
    tests: list[Placebo] = []
    told: list[str] = []
    if not problem.behaviour.known:
        try:
            tests = placebos(placebo_rows(dataset, seed=seed))
        except RecenvError as error:
            told.append(f"Placebo tests cannot be done: {error.what}.")
    own = None
    if problem.log.behaviour is not None:
        own = overlap(problem.log, Target(probability=problem.log.behaviour))
    found = causal_verdict(dataset.meta, problem.audit, tests, own, not problem.behaviour.known).as_dict()
    return found | {"why": [*found["why"], *told]}


def _seen(dataset: Dataset, world: World, found: Decisions) -> list[str]:
    """Which slices the response model has seen, in words."""
    if dataset.meta["hashes"] != world.meta["dataset_hashes"]:
        return [
            f"World {world.meta['name']!r} was fitted on other data ({world.meta['source']}): model and policy have "
            "seen none of these decisions, unless the two logs overlap"
        ]
    own = set(world.users["user_id"].to_pylist())
    events = dataset.events
    test = (events["kind"] == "impression").to_numpy() & (events["split"] == "test").to_numpy()
    ids = np.unique(events["user_id"].to_numpy(object)[test].astype(str)).tolist()
    known = sum(name in own for name in ids)
    return [
        "The response model saw the train slice (fitted), the calibration slice (levels) and the validation slice "
        "(stopping) of the world's own users; the test slice it did not see",
        f"{known:,} of the {len(ids):,} users decided about here are the world's own, with earlier events that it saw",
        "The reward model of the estimates is fitted, fold by fold, on decisions of other users of the test slice; "
        "its inputs are the response model and the actions' rates in train",
    ]
