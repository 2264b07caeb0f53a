"""Policies side by side: every one on the same users of the judge's world, with intervals and a report."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import entry
from recenv.agents.intervals import Interval, clustered_interval, paired_interval, t_interval, wider, widest, with_outer
from recenv.agents.jobs import Contestant, Job, JobResult, run_job
from recenv.agents.training import TrainSettings
from recenv.core.enough import MIN_SEEDS
from recenv.core.errors import InputError, RecenvError
from recenv.core.progress import through
from recenv.env.prepared import load_world

if TYPE_CHECKING:
    from recenv.world import World

LOGGED, GREEDY = "logged", "model-greedy"


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is compared, and how.

    Args:
        agents: contestants; `logged` and `model-greedy` are added where they are missing.
        seeds: number of seeds. first_seed: the first of them. episodes: sessions a seed and policy.
        training: how learners are trained (its seed is set by the benchmark). envs: sessions side by side.
        outer_episodes: sessions a seed and policy in each member of the judge's ensemble, where it has one.
        workers: processes.
    """

    agents: tuple[Contestant, ...]
    seeds: int = 5
    first_seed: int = 0
    episodes: int = 2_000
    training: TrainSettings = field(default_factory=TrainSettings)
    envs: int = 128
    workers: int = 1
    outer_episodes: int = 250

    def __post_init__(self) -> None:
        for name in ("seeds", "episodes", "envs", "workers", "outer_episodes"):
            if getattr(self, name) < 1:
                raise InputError(name, f"{getattr(self, name)}", "Give a whole number of 1 or more.")
        needed = tuple(Contestant(n) for n in (LOGGED, GREEDY) if n not in [a.name for a in self.agents])
        object.__setattr__(self, "agents", (*needed, *self.agents))
        if len({str(a) for a in self.agents}) < len(self.agents):
            raise InputError("agents", "one is named twice", "Name each once, or give them different options.")


@dataclass
class Scores:
    """All seeds of one contestant, in seed order."""

    contestant: Contestant
    results: list[JobResult]

    @property
    def name(self) -> str:
        """Its name in tables: the registry's, with its options; `dqn-0` for a DQN that does not look ahead."""
        options = str(self.contestant).partition(":")[2]
        return self.results[0].label + (f" ({options})" if options else "")

    def means(self, term: str, where: str = "judged") -> NDArray[np.float64]:
        """(K,) mean of `term` over each seed's episodes in the judge's (`judged`) or the training world (`own`)."""
        return np.array([getattr(result, where).totals[term].mean() for result in self.results])

    def outer(self, term: str) -> NDArray[np.float64]:
        """(K,) mean of `term` in each of the judge's members, over all seeds; (0,) where it has no members."""
        found = [result.outer[term] for result in self.results if term in result.outer]
        return np.mean(found, axis=0) if found else np.zeros(0)

    def episodes(self, term: str) -> NDArray[np.float64]:
        """(K * episodes,) `term` of every episode in the judge's world."""
        return np.concatenate([result.judged.totals[term] for result in self.results])


def run_jobs(world: str, judge: str, settings: BenchmarkSettings, out: Path, bar: bool) -> list[Scores]:
    """Train and value every contestant with every seed; results in the order of the contestants."""
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    jobs = [
        Job(
            contestant=who,
            seed=seed,
            world=world,
            judge=judge,
            out=str(out / f"{_folder(who)}-seed{seed}"),
            settings=settings.training,
            episodes=settings.episodes,
            envs=settings.envs,
            bar=bar and settings.workers == 1,
            outer_episodes=settings.outer_episodes,
        )
        for who in settings.agents
        for seed in seeds
    ]
    total = len(jobs)
    done = list(through(_finished(jobs, settings.workers), "benchmark", total, "run", bar))
    found = {(str(r.contestant), r.seed): r for r in done}
    scores = [Scores(who, [found[str(who), seed] for seed in seeds]) for who in settings.agents]
    _check_pairs(scores)
    return scores


def _folder(who: Contestant) -> str:
    return "".join(c if c.isalnum() or c in "-.=" else "_" for c in str(who))


_GRACE = 1.0
"""Seconds in which an interrupt that the workers got first has to reach the command."""


def _finished(jobs: Sequence[Job], workers: int) -> Iterator[JobResult]:
    if workers == 1:
        yield from map(run_job, jobs)
        return
    # Spawned, not forked: torch and numba hold threads that a fork would break. The dearest first.
    order = sorted(jobs, key=lambda job: not entry(job.contestant.name).trainable)
    # Ctrl-C reaches the workers too: they end at once and without a word, the command says that it was interrupted.
    # Where the command itself ignores it (begun in the background by a script), so do they.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    quiet = (signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
    with (
        one_thread(),
        ProcessPoolExecutor(workers, get_context("spawn"), initializer=signal.signal, initargs=quiet) as pool,
    ):
        futures = [pool.submit(run_job, job) for job in order]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            time.sleep(_GRACE)  # an interrupt of the whole group may reach the workers first
            what = "a worker process ended by itself, for want of memory perhaps"
            raise RecenvError("benchmark", what, "Use fewer --workers.") from error
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes begun inside use one BLAS thread each: two on a busy core slow each other down many times over."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_pairs(scores: Sequence[Scores]) -> None:
    """Every policy must have met the same users, else differences are not paired."""
    first = scores[0].results
    for other in scores[1:]:
        for a, b in zip(first, other.results):
            if not np.array_equal(a.judged.start_row, b.judged.start_row):
                raise InputError(f"episodes of {other.name}", "start in other states", "Report this: pairing broke.")


def value(scores: Scores, term: str, user: NDArray[Any]) -> dict[str, Any]:
    """Mean in the judge's world with the intervals `seeds`, `episodes` (clustered by user) and the `wider` of the two.

    Over one seed, `wider` is that of `seeds`: no interval. Nor is there any of fewer than 20 users. Several seeds that
    agree exactly leave that over episodes.
    """
    seeds, episodes = t_interval(scores.means(term)), clustered_interval(scores.episodes(term), user)
    best = seeds if len(scores.results) < MIN_SEEDS else wider(seeds, episodes)
    found: dict[str, Any] = {"seeds": seeds.as_list(), "episodes": episodes.as_list(), "wider": best.as_list()}
    return found | _total(best, scores.outer(term))


def _total(best: Interval, outer: NDArray[np.float64]) -> dict[str, Any]:
    """`outer`, values by the judge's members, and `total`, the interval with their spread; empty without members."""
    return {"outer": outer.tolist(), "total": with_outer(best, outer).as_list()} if len(outer) > 1 else {}


def difference(a: Scores, b: Scores, term: str, user: NDArray[Any]) -> dict[str, Any]:
    """a - b in the judge's world: over seeds (t interval), over all episodes clustered by user, the wider of the two.

    Every seed draws from the same users, so the first alone says nothing of others; `above_zero` goes by the wider one.
    """
    seeds = t_interval(a.means(term) - b.means(term))
    episodes = paired_interval(a.episodes(term), b.episodes(term), user)
    best = wider(seeds, episodes)
    outer = a.outer(term) - b.outer(term)
    return {
        "seeds": seeds.as_list(),
        "episodes": episodes.as_list(),
        "wider": best.as_list(),
        **_total(best, outer),
        "above_zero": (with_outer(best, outer) if len(outer) > 1 else best).above_zero(),
    }


def table(scores: Sequence[Scores], judge: World, objective: str) -> list[dict[str, Any]]:
    """One JSON-able row a contestant, in order of what was trained for (`gross` or `incremental`), as judged."""
    logged = next(s for s in scores if s.contestant.name == LOGGED)
    user = users_of(logged, judge)
    terms = [t for t in ("gross", "incremental") if t in logged.results[0].judged.totals]
    rows = [_row(s, logged, user, terms) for s in scores]
    return sorted(rows, key=lambda row: -float(row["judge"][objective][0]))


def users_of(scores: Scores, judge: World) -> NDArray[Any]:
    """(K * episodes,) user id of every episode."""
    return np.concatenate([judge.start.user_id[result.judged.start_row] for result in scores.results])


def _row(scores: Scores, logged: Scores, user: NDArray[Any], terms: Sequence[str]) -> dict[str, Any]:
    metrics = [result.judged.metrics() for result in scores.results]
    values = {term: value(scores, term, user) for term in terms}
    return {
        "agent": scores.name,
        "name": scores.contestant.name,
        "trainable": entry(scores.contestant.name).trainable,
        "judge": {term: widest(values[term]) for term in terms},
        "judge_intervals": values,
        "training_world": {term: t_interval(scores.means(term, "own")).as_list() for term in terms},
        "draws": {
            "judge": {term: scores.means(term).tolist() for term in terms},
            "training_world": {term: scores.means(term, "own").tolist() for term in terms},
        },
        "over_logged": {term: difference(scores, logged, term, user) for term in terms},
        **_pessimistic(scores, terms),
        "metrics": {tag: float(np.mean([m[tag] for m in metrics])) for tag in metrics[0]},
        "seconds": float(np.mean([result.seconds for result in scores.results])),
    }


def _pessimistic(scores: Scores, terms: Sequence[str]) -> dict[str, Any]:
    """`pessimistic`: term -> [mean, low, high] over seeds, and the draws; empty where the world has no members."""
    found = {term: [r.pessimistic[term] for r in scores.results if term in r.pessimistic] for term in terms}
    if not all(len(values) == len(scores.results) for values in found.values()):
        return {}
    intervals = {term: t_interval(np.array(values)).as_list() for term, values in found.items()}
    return {"pessimistic": intervals, "pessimistic_draws": found}


def user_covariance(scores: Sequence[Scores], term: str, user: NDArray[Any]) -> dict[str, Any]:
    """What other users would change: covariance of the contestants' values in the judge's world, clustered by user.

    Cov = G / (G - 1) sum_g d_g d_g' / n^2, d_g (P,) the sums over user g's episodes of value less mean, G users, n
    episodes (all contestants met the same): the standard error of any difference of two of them follows from it.

    Returns:
        agents: P names. users: G. covariance: P x P. Empty for one user.
    """
    values = np.stack([s.episodes(term) for s in scores])
    _, group = np.unique(user, return_inverse=True)
    users = int(group.max()) + 1
    if users < 2:
        return {}
    off = values - values.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(group, row, minlength=users) for row in off])
    covariance = users / (users - 1) * (sums @ sums.T) / values.shape[1] ** 2
    return {"agents": [s.name for s in scores], "users": users, "covariance": covariance.tolist()}


def planning_gain(scores: Sequence[Scores], judge: World, objective: str) -> dict[str, Any] | None:
    """Best learner minus `model-greedy` in the judge's world; None without a learner.

    The learner is chosen by its value in the TRAINING world, so that the figure is not the greatest of several draws.
    """
    learners = [s for s in scores if entry(s.contestant.name).trainable]
    if not learners:
        return None
    greedy = next(s for s in scores if s.contestant.name == GREEDY)
    best = max(learners, key=lambda s: float(s.means(objective, "own").mean()))
    user = users_of(greedy, judge)
    terms: list[str] = [t for t in ("gross", "incremental") if t in greedy.results[0].judged.totals]
    ratio = {t: _ratio(best.means(t).mean(), greedy.means(t).mean()) for t in terms}
    gains: dict[str, Any] = {t: difference(best, greedy, t, user) for t in terms}
    over = {s.name: {t: difference(best, s, t, user) for t in terms} for s in scores if s is not best}
    chosen = f"{objective} in the training world"
    return {"learner": best.name, "chosen_by": chosen, "ratio": ratio, "over": over, **gains}


def _ratio(a: float, b: float) -> float | None:
    return float(a / b) if b else None


def summarise(world: str, judge: str, scores: Sequence[Scores], settings: BenchmarkSettings) -> dict[str, Any]:
    """The whole result, JSON-able."""
    trained, judging = load_world(world), load_world(judge)
    env = settings.training.env.resolve(trained)
    return {
        "world": Path(world).resolve().name,
        "judge": Path(judge).resolve().name,
        "candidates": env.candidates,
        "objective": env.reward,
        "env": asdict(env),
        "segment_sd": float(trained.meta.get("segment_sd", 0.0)),
        "seeds": settings.seeds,
        "episodes": settings.episodes,
        "users": len(np.unique(users_of(scores[0], judging))),
        "steps": settings.training.steps,
        "responses": list(judging.responses),
        "currency": judging.meta.get("currency"),
        "assumed": list(judging.meta.get("assumed", [])),
        "copies": judging.n_copies,
        "copy_label": judging.meta.get("copy_label"),
        "outer": _outer(judging, settings),
        "rows": table(scores, judging, str(env.reward)),
        "user_covariance": user_covariance(scores, str(env.reward), users_of(scores[0], judging)),
        "planning_gain": planning_gain(scores, judging, str(env.reward)),
    }


def _outer(judge: World, settings: BenchmarkSettings) -> dict[str, int] | None:
    """What the outer intervals rest on; None where the judge has no members."""
    if len(judge.members) < 2:
        return None
    return {"members": len(judge.members), "episodes": settings.outer_episodes}
