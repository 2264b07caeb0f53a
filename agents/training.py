"""Training one agent, from its name to a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recenv.agents.base import EnvFactory, Policy, TrainLog, entry
from recenv.agents.evaluate import Evaluation, evaluate
from recenv.agents.intervals import clustered_interval
from recenv.agents.tracking import Board, RunLog
from recenv.core.checks import check_seed, check_whole
from recenv.core.enough import too_few
from recenv.core.runs import Run
from recenv.env.options import EnvOptions
from recenv.trust.ope.verdict import NO_SPREAD

if TYPE_CHECKING:
    from recenv.world import World

POLICY_FOLDER = "policy"
EVAL_FILE = "eval.json"
TRAINING_WORLD, JUDGE_WORLD = "training world", "judge world"
"""Where a policy is judged: in the world that it was trained in, or in its judge, fitted on other users."""


@dataclass(frozen=True)
class TrainSettings:
    """How an agent is trained.

    Args:
        steps: environment steps (slots over all parallel sessions). seed: of the agent and its environments.
        env: options of the training environment. config: options of the agent's own configuration.
        evaluations: number of evaluations on the way. episodes: sessions in each.
    """

    steps: int = 100_000
    seed: int = 0
    env: EnvOptions = field(default_factory=lambda: EnvOptions(reward_mode="expected"))
    config: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int = 8
    episodes: int = 256

    def __post_init__(self) -> None:
        for name in ("steps", "episodes", "evaluations"):
            check_whole(name, getattr(self, name))
        check_seed(self.seed)


def make_policy(name: str, world: World, env: EnvOptions, config: Mapping[str, Any], seed: int) -> Any:
    """The policy `name`, untrained; those by the model want the environment's reward unless `config` says else."""
    options = dict(config)
    if name in ("model-greedy", "two-stage"):
        resolved = env.resolve(world)
        wanted = ("reward", "w_click", "w_purchase", "w_revenue", "cost", "pessimism")
        options = {k: getattr(resolved, k) for k in wanted} | options
    return entry(name)(world, options, seed)


def learn(name: str, world: World, settings: TrainSettings, log: TrainLog) -> Policy:
    """The policy `name`, trained in `world` where it can be."""
    policy = make_policy(name, world, settings.env, settings.config, settings.seed)
    if entry(name).trainable:
        policy.train(EnvFactory(world, settings.env), settings.steps, settings.seed, log)
    found: Policy = policy
    return found


def validation(env: EnvOptions) -> EnvOptions:
    """The environment in which a policy is looked at: other users, responses drawn as they come, no pessimism.

    A support mask stays: it is a rule on what may be shown, which goes where the policy goes.
    """
    return replace(env, split="validation", reward_mode="sampled", invalid_action="null", pessimism=0.0)


def train(
    name: str, world_path: str | Path, out: str | Path, settings: TrainSettings, bar: bool = True
) -> tuple[Path, Evaluation]:
    """Train an agent and write a run folder: `policy/`, `checkpoints/`, event files, `progress.csv`, `eval.json`.

    Args:
        name: as in the registry. world_path: the world's folder. out: a new folder. settings: see there.
        bar: show a progress bar.

    Returns:
        the folder and the last evaluation, on the world's validation users (the judge's world judges: see `benchmark`).

    Raises:
        InputError: an unknown agent or option, or `out` holds something already.
    """
    from recenv.world import World

    entry(name)
    world = World.load(world_path)
    make_policy(name, world, settings.env, settings.config, settings.seed)  # bad options are refused before a folder is
    config = {
        "command": "train",
        "agent": name,
        "world": str(Path(world_path).resolve()),
        **asdict(settings),
        "config": dict(settings.config),
    }
    run = Run(out, json.loads(json.dumps(config)), [settings.seed], {"world": world_path})
    board = Board(run.path)

    def look(policy: Policy) -> dict[str, float]:
        return _look(policy, world, settings, 0).metrics()

    def save(policy: Policy, step: int) -> None:
        policy.save(run.path / "checkpoints" / f"step-{step:09d}")

    log = RunLog(run, board, settings.steps, look, save, settings.evaluations, name if bar else "")
    policy = learn(name, world, settings, log)
    log.close()
    result = _look(policy, world, settings, 4)
    finish(run, board, policy, result, settings, name, world, TRAINING_WORLD)
    return run.path, result


def _look(policy: Policy, world: World, settings: TrainSettings, samples: int) -> Evaluation:
    return evaluate(policy, world, validation(settings.env), settings.episodes, settings.seed, samples=samples)


def finish(
    run: Run,
    board: Board,
    policy: Policy,
    result: Evaluation,
    settings: TrainSettings,
    name: str,
    judge: World,
    judged_by: str,
) -> None:
    """Write the policy, its last evaluation and the run's closing entries.

    Args:
        result: sessions in the world `judge`. judged_by: what that world is to the policy, `TRAINING_WORLD` or
            `JUDGE_WORLD`.
    """
    policy.save(run.path / POLICY_FOLDER)
    metrics = result.metrics()
    run.progress(settings.steps, metrics)
    if not entry(name).trainable:
        board.flat(settings.steps, metrics)
    else:
        board.scalars(settings.steps, metrics)
    for k, sample in enumerate(result.samples):
        board.text(f"sessions/{k}", sample, settings.steps)
    board.hparams({"agent": name, "seed": settings.seed, "steps": settings.steps, **settings.config}, metrics)
    board.close()
    about = {"judged_by": judged_by, "episodes": len(result), "users": "validation"}
    if few := too_few(len(set(judge.start.user_id[result.start_row].tolist()))):
        about["no_interval"] = few
    intervals = _intervals(result, judge)
    if not few and any(low is None for _, low, _ in intervals.values()):
        about["no_interval"] = NO_SPREAD
    run.write_json(EVAL_FILE, {**about, "metrics": metrics, "intervals": intervals})
    run.finish(agent=name)


def _intervals(result: Evaluation, judge: World) -> dict[str, list[float | None]]:
    """[mean, low, high] a session of the values that the world knows: 95 %, clustered by user, the seed being one."""
    user = judge.start.user_id[result.start_row]
    terms = [term for term in ("gross", "incremental") if term in result.totals]
    return {term: clustered_interval(result.totals[term], user).as_list() for term in terms}
