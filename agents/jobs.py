"""One entry of a benchmark: an agent and a seed, trained in one world, valued in it and in its judge."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import Policy, entry
from recenv.agents.evaluate import Evaluation, evaluate
from recenv.agents.tracking import Board, RunLog
from recenv.agents.training import JUDGE_WORLD, TrainSettings, finish, learn, validation
from recenv.core.errors import InputError
from recenv.core.runs import Run
from recenv.env.options import EnvOptions
from recenv.env.prepared import load_world

if TYPE_CHECKING:
    from recenv.world import World

_EVALUATION_SEED = 1_000_003
"""Added to the seed of an evaluation's users, so that they are drawn apart from training's."""
PESSIMISM = 1.0
"""Calibrated standard deviations taken off in the pessimistic value of a learner."""


@dataclass(frozen=True)
class Contestant:
    """An agent with options of its own, written `name` or `name:option=value,option=value`."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Contestant:
        """From the command line; values are JSON, or strings where they are not.

        Raises:
            InputError: no such agent, or an option without a value.
        """
        name, _, rest = text.partition(":")
        entry(name)
        config: dict[str, Any] = {}
        for pair in filter(None, rest.split(",")):
            key, equals, value = pair.partition("=")
            if not equals or not key:
                raise InputError(f"agent {text!r}", f"{pair!r} is no option", "Write name:option=value,option=value.")
            config[key] = _value(value)
        return cls(name, config)

    def __str__(self) -> str:
        options = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(self.config.items()))
        return f"{self.name}:{options}" if options else self.name


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Job:
    """What one process does; everything in it can be sent to another process.

    Args:
        contestant, seed: who. world, judge: folders. out: the job's run folder. settings: of training (its
            seed is set from `seed`). episodes: sessions in each final evaluation. envs: side by side. bar: show one.
        outer_episodes: sessions in each member of the judge's ensemble.
    """

    contestant: Contestant
    seed: int
    world: str
    judge: str
    out: str
    settings: TrainSettings
    episodes: int
    envs: int
    bar: bool = False
    outer_episodes: int = 250


@dataclass
class JobResult:
    """What came of a job: values in the judge's world and in the training world, seconds of training; `outer`: by term,
    (K,) the mean value in each of the judge's K members, over the same sessions; `pessimistic`: by term, a learner's
    mean value in the training world under `PESSIMISM`, empty where that world has no members."""

    contestant: Contestant
    label: str
    seed: int
    judged: Evaluation
    own: Evaluation
    seconds: float
    outer: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    pessimistic: dict[str, float] = field(default_factory=dict)


def run_job(job: Job) -> JobResult:
    """Train where there is something to train, then value the policy on the episodes that all of this seed share."""
    world = load_world(job.world)
    judge = masked_alike(load_world(job.judge), world, job.settings.env)
    settings = replace(job.settings, seed=job.seed, config=dict(job.contestant.config))
    name, users = job.contestant.name, _EVALUATION_SEED + job.seed
    world_path, judge_path = (str(Path(folder).resolve()) for folder in (job.world, job.judge))
    config = {"command": "train", "agent": str(job.contestant), "world": world_path, "judge": judge_path}
    config |= asdict(settings)
    run = Run(job.out, json.loads(json.dumps(config)), [job.seed], {"world": job.world, "judge": job.judge})
    board = Board(run.path)

    def look(policy: Policy) -> dict[str, float]:
        return evaluate(policy, judge, validation(settings.env), settings.episodes, users, job.envs).metrics()

    log = RunLog(run, board, settings.steps, look, None, settings.evaluations, f"{name} {job.seed}" if job.bar else "")
    began = time.monotonic()
    policy = learn(name, world, settings, log)
    seconds = time.monotonic() - began
    log.close()
    judged = evaluate(policy, judge, validation(settings.env), job.episodes, users, job.envs, samples=3)
    own = evaluate(policy, world, validation(settings.env), job.episodes, users, job.envs)
    outer = outer_values(policy, judge, settings.env, job.outer_episodes, users, job.envs)
    trainable = entry(name).trainable
    low = pessimistic_value(policy, world, settings.env, job.outer_episodes, users, job.envs) if trainable else {}
    finish(run, board, policy, judged, settings, name, judge, JUDGE_WORLD)
    return JobResult(job.contestant, str(getattr(policy, "label", name)), job.seed, judged, own, seconds, outer, low)


def pessimistic_value(
    policy: Policy, world: World, env: EnvOptions, episodes: int, seed: int, envs: int
) -> dict[str, float]:
    """Term -> mean value of a session in the training world under `PESSIMISM`; empty where it has no members.

    By what members disagree on alone: what is assumed to be open by segment (`World.segment_variance`) is no estimate
    of the model's error, and at one standard deviation it would leave next to nothing of any policy.
    """
    if not world.members:
        return {}
    world = replace(world, segment_variance=None, path=None)
    totals = evaluate(policy, world, replace(validation(env), pessimism=PESSIMISM), episodes, seed, envs).totals
    return {term: float(totals[term].mean()) for term in ("gross", "incremental") if term in totals}


def masked_alike(judge: World, world: World, env: EnvOptions) -> World:
    """The judge with the training world's logged rates, where the environment masks by them: the mask goes with the
    policy, which cannot know the judge's logs."""
    return replace(judge, logged_rates=world.logged_rates, path=None) if env.support else judge


def outer_values(
    policy: Policy, judge: World, env: EnvOptions, episodes: int, seed: int, envs: int
) -> dict[str, NDArray[np.float64]]:
    """Term -> (K,) mean value of a session in each world of the judge's ensemble; empty where it has none."""
    found = [
        evaluate(policy, judge.with_response(member), validation(env), episodes, seed, envs).totals
        for member in judge.members
    ]
    terms = [term for term in ("gross", "incremental") if found and term in found[0]]
    return {term: np.array([totals[term].mean() for totals in found]) for term in terms}
