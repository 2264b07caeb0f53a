"""One-step estimators against reference values on the Open Bandit sample and a synthetic case: 1e-9 relative."""

from __future__ import annotations

import csv
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recenv.trust.ope.estimators import ESTIMATORS
from recenv.trust.ope.inputs import LoggedBandit, Target
from recenv.trust.ope.intervals import Clustered, iid_error
from recenv.trust.ope.nuisance import shrunk_rates
from recenv.trust.ope.tuning import tune

CELLS = [f"{way}/{campaign}" for way in ("random->bts", "bts->random") for campaign in ("all", "men", "women")]
MODELS = ("tabular_q(alpha=100,in-sample)", "constant_q(mean reward)")
TUNED = {"ipw": "clipped_ipw", "dr": "clipped_dr", "switch_dr": "switch_dr", "dros": "dros"}
FIXED: dict[str, tuple[str, float]] = {
    "ipw": ("ipw", np.nan), "ipw_clip10": ("clipped_ipw", 10), "ipw_clip100": ("clipped_ipw", 100),
    "snipw": ("snipw", np.nan), "dm": ("dm", np.nan), "dr": ("dr", np.nan), "dr_clip10": ("clipped_dr", 10),
    "sndr": ("sndr", np.nan), "switch_dr_1": ("switch_dr", 1), "switch_dr_10": ("switch_dr", 10),
    "switch_dr_100": ("switch_dr", 100), "dros_1": ("dros", 1), "dros_100": ("dros", 100), "dros_500": ("dros", 500),
    "sg_ipw_05": ("sg_ipw", 0.05), "sg_dr_05": ("sg_dr", 0.05),
}  # fmt: skip
# 1 and 3 rows have a weight of exactly 1, the bound. The reference run counts these above it and those of the other
# cells (5 in bts->random/all) not: rounding of its propensities by a last digit, it seems. Here they are within.
TIES = {("bts->random/men", "switch_dr_1"), ("bts->random/women", "switch_dr_1")}


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((shared_data / "ope" / "golden_obd.json").read_text(encoding="utf-8"))
    return values


def _cell(cell: str, shared: Path) -> tuple[LoggedBandit, np.ndarray]:
    """The log of a cell, and pi_e (A, positions); the files come with a package that is never imported."""
    try:
        package = metadata.distribution("obp")
    except metadata.PackageNotFoundError:
        pytest.skip("the Open Bandit sample comes with the package obp; install recenv[obd]")
    way, campaign = cell.split("/")
    behaviour, evaluated = way.split("->")
    path = Path(str(package.locate_file(f"obp/dataset/obd/{behaviour}/{campaign}/{campaign}.csv")))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    action, position, click = (np.array([int(r[c]) for r in rows]) for c in ("item_id", "position", "click"))
    propensity = np.array([float(r["propensity_score"]) for r in rows])
    table = np.loadtxt(shared / "ope" / f"action_dist_bts_{campaign}.csv", delimiter=",")
    if evaluated == "random":
        table = np.full_like(table, 1.0 / len(table))
    log = LoggedBandit(action, click, propensity, np.arange(len(click)), len(table), position=position - 1)
    return log.check(), table


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", CELLS)
def test_estimators_errors_and_tuning_equal_the_reference(
    cell: str, model: str, golden: dict[str, Any], shared_data: Path
) -> None:
    log, table = _cell(cell, shared_data)
    rates = shrunk_rates(log, strength=100.0)  # (positions, A)
    if model.startswith("constant"):
        rates = np.full_like(rates, log.reward.mean())
    assert log.position is not None
    target = Target(probability=table.T[log.position], q=rates[log.position]).check(log)
    want = golden["data"][cell][model]
    seen = set()
    for key, (name, given) in FIXED.items():
        hyper = float(np.nextafter(1.0, 0.0)) if (cell, key) in TIES else given
        terms = ESTIMATORS[name].terms(log, target, hyper)
        clustered = Clustered.of(terms, log.user)
        assert clustered.value() == pytest.approx(want[key], rel=1e-9), key
        seen.add(key)
        if f"{key}_se" in want:
            # a constant model's spread is rounding alone: 1e-17 or so, in the reference too
            assert iid_error(terms) == pytest.approx(want[f"{key}_se"], rel=1e-9, abs=1e-16), key
            seen.add(f"{key}_se")
    for key, name in TUNED.items():
        best = tune(ESTIMATORS[name], log, target)
        assert best == want[f"{key}_tuned_lambda"], key
        value = Clustered.of(ESTIMATORS[name].terms(log, target, best), log.user).value()
        assert value == pytest.approx(want[f"{key}_tuned"], rel=1e-9), key
        seen |= {f"{key}_tuned", f"{key}_tuned_lambda"}
    assert {k for k in want if "boot" not in k} == seen


def test_synthetic_case_equals_the_reference(golden: dict[str, Any]) -> None:
    case = golden["synthetic"]["n=40"]
    given = {k: np.array(v) for k, v in case["inputs"].items()}
    pi, q = given["action_dist"][:, :, 0], given["estimated_rewards_by_reg_model"][:, :, 0]
    log = LoggedBandit(given["action"], given["reward"], given["pscore"], np.arange(40), pi.shape[1]).check()
    target = Target(probability=pi, q=q).check(log)
    names = FIXED | {f"{k}_tuned": (n, tune(ESTIMATORS[n], log, target)) for k, n in TUNED.items()}
    assert set(case["est"]) == set(names)
    for key, value in case["est"].items():
        name, hyper = names[key]
        terms = ESTIMATORS[name].terms(log, target, hyper)
        assert Clustered.of(terms, log.user).value() == pytest.approx(value, rel=1e-9), key
