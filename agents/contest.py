"""The benchmark from two worlds to a folder: runs, table, report, figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recenv.agents import figures, report
from recenv.agents.benchmark import BenchmarkSettings, Scores, run_jobs, summarise
from recenv.agents.showcase import most_shown
from recenv.agents.tracking import Board
from recenv.agents.training import make_policy
from recenv.core.errors import InputError
from recenv.core.runs import Run
from recenv.core.verdict import REPORT
from recenv.env.prepared import load_world
from recenv.trust.summary import summary_lines, verdict_of
from recenv.world import World

EVENTS = "runs"
"""Folder of the TensorBoard runs, one a policy and seed."""
SHOWN = 4
"""Policies, the first of the table, whose texts and sessions are written out."""


def benchmark(
    world: str | Path,
    judge: str | Path,
    out: str | Path,
    settings: BenchmarkSettings,
    bar: bool = True,
    data: str | Path | None = None,
) -> dict[str, Any]:
    """Compare policies in the judge's world and write `benchmark.json`, `.md`, `.html` and TensorBoard runs to `out`.

    Args:
        world: folder of the world in which learners train. judge: folder of its judge. out: a new folder.
        settings: see there. bar: show progress. data: folder that ranking figures come from, if any; only noted in the
        run's settings here.

    Returns:
        the result as written to `benchmark.json`.

    Raises:
        InputError: `out` holds something already, or an agent or option is unknown.
        UnsupportedError: the worlds' logs cannot give what the options ask.
    """
    env = settings.training.env
    _check_worlds(world, judge)
    for folder in (world, judge):
        env.resolve(load_world(folder))
    for who in settings.agents:  # bad options are refused before there is a folder
        make_policy(who.name, load_world(world), env, who.config, 0)
    folders = {"world": world, "judge": judge} | ({} if data is None else {"data": data})
    config: dict[str, Any] = {"command": "benchmark", **{name: str(Path(at).resolve()) for name, at in folders.items()}}
    config |= asdict(settings)
    config["agents"] = [str(agent) for agent in settings.agents]
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    run = Run(out, json.loads(json.dumps(config)), seeds, {"world": world, "judge": judge})
    scores = run_jobs(str(world), str(judge), settings, run.path / EVENTS, bar)
    result = summarise(str(world), str(judge), scores, settings)
    result["verdicts"] = [verdict_of(world), verdict_of(judge)]
    result["most_shown"] = _most_shown(result, scores, load_world(judge))
    result["fidelity"] = _fidelity(world) + _fidelity(judge)
    run.write_json("benchmark.json", result)
    run.write_text("benchmark.md", report.markdown(result))
    run.write_text("benchmark.html", _page(result, scores, str(judge), run.path / EVENTS / "figures"))
    run.finish(policies=len(scores))
    return result


def _check_worlds(world: str | Path, judge: str | Path) -> None:
    """The judge must be another world, over the same catalogue and actions.

    Raises:
        InputError: it is not.
    """
    trained, judging = load_world(world), load_world(judge)
    mend = "Give the folder that `recenv fit` or `recenv copy` wrote beside the world, named like it with -judge"
    if Path(world).resolve() == Path(judge).resolve():
        raise InputError("--judge", f"{judge} is the world that trains; a policy is judged in another one", mend)
    same = trained.items["item_id"].equals(judging.items["item_id"])
    if not same or not np.array_equal(trained.action_copy, judging.action_copy):
        raise InputError("--judge", f"{judge} has other items or copies than {world}", mend)


def _fidelity(world: str | Path) -> list[str]:
    """The figures behind the verdict, which stands at the head of the report."""
    figures = summary_lines(world)[1:] if (Path(world) / REPORT).is_file() else []
    return [f"figures behind the verdict on {Path(world).resolve().name}:", *figures] if figures else []


def _most_shown(result: dict[str, Any], scores: list[Scores], judge: World) -> list[dict[str, Any]]:
    """Of the policies that stand first in the table."""
    by_name = {score.name: score.results[0].judged.decisions for score in scores}
    rows: list[dict[str, Any]] = []
    for name in [row["agent"] for row in result["rows"]][:SHOWN]:
        decisions = by_name[name]
        rows += [] if decisions is None else most_shown(name, decisions, judge)
    return rows


def _page(result: dict[str, Any], scores: list[Scores], judge: str, events: Path) -> str:
    """The HTML page; its figures go to TensorBoard too."""
    world = load_world(judge)
    order = {row["agent"]: k for k, row in enumerate(result["rows"])}
    ranked = sorted(scores, key=lambda s: order[s.name])
    drawn = {f"value/{term}": figures.value_figure(result["rows"], term) for term in result["rows"][0]["judge"]}
    drawn["items/shown"] = figures.shown_figure(ranked, world)
    for score in ranked:
        copies = figures.copy_figure(score, world)
        if copies is not None:
            drawn[f"copy_by_segment/{score.name}"] = copies
    board = Board(events)
    board.text("benchmark", report.markdown(result))
    for tag, figure in drawn.items():
        board.figure(tag, figure)
    board.close()
    first = {score.name: score.results[0].judged.samples for score in ranked[:SHOWN]}
    return report.page(result, [figures.inline(figure) for figure in drawn.values()], first)
