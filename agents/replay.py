"""Settings of a run, as `config.json` holds them, to the options of the command that makes it again."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from recenv.agents.benchmark import BenchmarkSettings
from recenv.agents.jobs import Contestant
from recenv.agents.training import TrainSettings
from recenv.core.errors import InputError
from recenv.env.options import EnvOptions

_ENV = EnvOptions(reward_mode="expected")
"""The environment of `recenv train` and `recenv benchmark`, but for what their options say."""


def of_train(found: dict[str, Any], names: Collection[str], where: str) -> dict[str, Any]:
    """Options of `recenv train` from a run's settings: those of the environment and the agent stand in groups there.

    Args:
        found: the settings. names: of the command's options. where: what an error names.

    Raises:
        InputError: a group that is none, an entry unknown to it, or one that the command has no option for.
    """
    found.pop("judge", None)  # a benchmark's run: it valued the policy, and had no part in the training
    config = _group(found, "config", where)
    if config and isinstance(found.get("agent"), str):
        found["agent"] = str(Contestant(found["agent"].partition(":")[0], config))
    return _lifted(found, "env", asdict(_ENV), names, where)


def of_benchmark(found: dict[str, Any], names: Collection[str], where: str) -> dict[str, Any]:
    """Options of `recenv benchmark` from its settings; arguments and errors as for `of_train`."""
    if "first_seed" in found:
        found["seed"] = found.pop("first_seed")
    if found.pop("envs", BenchmarkSettings.envs) != BenchmarkSettings.envs:
        raise _no_option(f"{where}, envs", "another number than usual")
    training = _group(found, "training", where)
    training.pop("seed", None)  # set anew for each run
    env = _group(training, "env", f"{where}, training")
    found = _lifted(
        found | {"training": training}, "training", asdict(TrainSettings()), ("steps", "evaluations"), where
    )
    return _lifted(found | {"env": env}, "env", asdict(_ENV), names, where)


def _group(found: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object of that name, taken out; empty where there is none."""
    group = found.pop(name, {})
    if not isinstance(group, dict):
        raise InputError(f"{where}, {name}", f"{group!r}", "Give a JSON object.")
    return dict(group)


def _lifted(
    found: dict[str, Any], group: str, usual: Mapping[str, Any], names: Collection[str], where: str
) -> dict[str, Any]:
    """Options with the entries of a group among them. What the command line has no name for must be as usual.

    Raises:
        InputError: an entry unknown to the group, one that cannot be given on the command line, or an option that
            stands outside the group too.
    """
    result = dict(found)
    for name, value in _group(result, group, where).items():
        at = f"{where}, {group}.{name}"
        if name not in usual:
            raise InputError(at, "does not exist", f"Choose among {', '.join(usual)}.")
        if name in names:
            if name in found:
                raise InputError(at, f"stands beside an option {name} of its own", "Give one of them.")
            result[name] = value
        elif value != json.loads(json.dumps(usual[name])):
            raise _no_option(at, repr(value))
    return result


def _no_option(where: str, what: str) -> InputError:
    return InputError(where, f"{what} cannot be given on the command line", "Call the library from Python.")
