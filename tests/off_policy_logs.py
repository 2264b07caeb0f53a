"""Logs and requests that the tests of `recenv evaluate` share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from conftest import small_fit

from recenv.agents.off_policy import Request, evaluate_off_policy
from recenv.data import sources
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import SPLITS, Dataset
from recenv.data.synthetic_email import EmailOptions
from recenv.response.fit import fit_worlds
from recenv.trust.problem import Settings

QUICK = Settings("click", n_boot=100)


def randomised_email(folder: Path, users: int) -> Path:
    """A randomised e-mail test, three tenths of its users in the test slice, and its world."""
    raw = sources.load("synthetic-email", options=EmailOptions(users=users, tilt=0.3, seed=2))
    build(raw, BuildOptions(fractions=(0.5, 0.1, 0.1, 0.3))).save(folder / "data")
    fit_worlds(folder / "data", folder / "world", small_fit(), progress=False)
    return folder


def altered(data: Path, out: Path, **columns: Any) -> Path:
    """A copy of a data set with columns of its events replaced (a callable is given the old values)."""
    dataset = Dataset.load(data, splits=SPLITS)
    for name, value in columns.items():
        if name == "meta":
            dataset.meta |= value
        else:
            dataset.events[name] = value(dataset.events[name]) if callable(value) else value
    dataset.save(out)
    return out


def ask(folder: Path, data: Path | None = None, agents: tuple[str, ...] = ("random", "popular"), **more: Any) -> Any:
    request = Request(data or folder / "data", None, folder / "world", agents, more.pop("reward", "click"), QUICK)
    return evaluate_off_policy(dataclasses.replace(request, **more))
