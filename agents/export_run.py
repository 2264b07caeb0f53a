"""What a run folder gives to an export: the policy, the world that it was trained in, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recenv.agents.base import entry, load_policy
from recenv.agents.training import EVAL_FILE, JUDGE_WORLD, POLICY_FOLDER, make_policy
from recenv.core.artefacts import file_hash, read_json
from recenv.core.errors import ArtefactError, InputError
from recenv.core.folders import kind_of, wrong_folder
from recenv.core.runs import read_run
from recenv.core.verdict import world_identity
from recenv.env.options import EnvOptions
from recenv.world import World

if TYPE_CHECKING:
    from recenv.agents.base import Policy


def policy_of_run(run: Path, world: Path | None = None) -> tuple[Policy, World, EnvOptions, dict[str, Any] | None]:
    """What a run written by `recenv train` or `recenv benchmark` holds.

    Args:
        run: the folder. world: the world's folder, if it was moved since.

    Returns:
        the policy, its world, the options of the environment that it was trained in (resolved), and its value.

    Raises:
        ArtefactError: the run is incomplete, or the world is not the one trained in.
    """
    if kind_of(run) not in ("run", ""):  # others hold settings too
        raise wrong_folder(run, "run")
    config, manifest = read_run(run)
    if not manifest.get("complete"):
        raise ArtefactError(str(run), "the run did not finish", "Train again.")
    folder = Path(world or config["world"])
    found = World.load(folder)
    if not _same_world(folder, manifest["inputs"]["world"]):
        raise ArtefactError(str(folder), "is not the world of this run", "Give the world that it was trained in.")
    policy = load_policy(run / POLICY_FOLDER, found)
    env = EnvOptions.build(config["env"]).resolve(found)
    return policy, found, env, run_value(run, str(config["agent"]))


def _same_world(folder: Path, trained: dict[str, str]) -> bool:
    """Whether `folder` holds the world trained in, whatever has been measured on it since."""
    if "identity" in trained:
        return world_identity(folder) == trained["identity"]
    return file_hash(folder / "world.json") == trained["sha256"]


def untrained(name: str, world: Path, seed: int) -> tuple[Policy, World]:
    """A policy that needs no training, and its world.

    Raises:
        InputError: no such policy, or one that has to be trained.
    """
    if entry(name).trainable:
        raise InputError("policy", f"{name!r} has to be trained", "Give --run, a folder written by `recenv train`.")
    found = World.load(world)
    return make_policy(name, found, EnvOptions(), {}, seed), found


def run_value(run: Path, agent: str) -> dict[str, Any] | None:
    """The worth of a run's policy: its row of the benchmark around it, with intervals, else its own last evaluation.

    `judged_by` says in which world: the judge's was fitted on other users than the one that the policy learned in.
    """
    table = run.parent.parent / "benchmark.json"
    if table.is_file():
        found = read_json(table)
        name, _, options = agent.partition(":")
        for row in found["rows"]:
            if row["name"] == name and row["agent"].partition(" (")[2].rstrip(")") == options:
                kept = {key: row[key] for key in ("agent", "judge", "over_logged")}
                return {
                    "from": "benchmark",
                    "judged_by": JUDGE_WORLD,
                    **kept,
                    **{key: found[key] for key in ("seeds", "episodes", "candidates")},
                }
    own = run / EVAL_FILE
    return {"from": "evaluation", **read_json(own)} if own.is_file() else None
