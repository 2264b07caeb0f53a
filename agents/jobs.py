"""One entry of a benchmark: an agent and a seed, trained in one world, valued in it and in its judge."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from recenv.agents.base import Policy, entry
from recenv.agents.evaluate import Evaluation, evaluate
from recenv.agents.tracking import Board, RunLog
from recenv.agents.training import JUDGE_WORLD, TrainSettings, finish, learn, validation
from recenv.core.errors import InputError
from recenv.core.runs import Run
from recenv.env.prepared import load_world

_EVALUATION_SEED = 1_000_003
"""Added to the seed of an evaluation's users, so that they are drawn apart from training's."""


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


@dataclass
class JobResult:
    """What came of a job: values in the judge's world and in the training world, seconds of training."""

    contestant: Contestant
    label: str
    seed: int
    judged: Evaluation
    own: Evaluation
    seconds: float


def run_job(job: Job) -> JobResult:
    """Train where there is something to train, then value the policy on the episodes that all of this seed share."""
    world, judge = load_world(job.world), load_world(job.judge)
    settings = replace(job.settings, seed=job.seed, config=dict(job.contestant.config))
    name, users = job.contestant.name, _EVALUATION_SEED + job.seed
    config = {"agent": str(job.contestant), "world": job.world, "judge": job.judge, **asdict(settings)}
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
    finish(run, board, policy, judged, settings, name, judge, JUDGE_WORLD)
    return JobResult(job.contestant, str(getattr(policy, "label", name)), job.seed, judged, own, seconds)
