"""`recenv evaluate` on logs that leave something out: propensities, copies, positions, enough decisions."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import small_fit
from off_policy_logs import altered, ask

from recenv.agents.off_policy import text
from recenv.core.errors import InputError
from recenv.data import sources
from recenv.data.logs import build
from recenv.data.schema import SPLITS, Dataset
from recenv.response.fit import fit_worlds
from recenv.scripts.evaluate import EvaluateConfig, run
from recenv.trust.behaviour import EVEN, UNCONFOUNDED, behaviour, estimated, training
from recenv.trust.decisions import logged_decisions, with_reward
from recenv.trust.off_policy import SLATE
from recenv.trust.ope.large_actions import COPY_UNKNOWN
from recenv.variants import add_copies
from recenv.world import World


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, small_shop: Path) -> Path:
    """The small shop's log without its propensities."""
    return altered(small_shop / "data", tmp_path_factory.mktemp("blind") / "data", propensity=np.nan)


def test_a_log_without_propensities_is_estimated_and_says_what_that_assumes(small_shop: Path, blind: Path) -> None:
    report = ask(small_shop, blind, ("logged", "popular"))
    assert report["propensity"]["known"] is False
    assert report["audit"] is None
    assert report["causal"]["verdict"] == "OBSERVATIONAL"
    for policy in report["policies"]:
        assert all(UNCONFOUNDED in e["label"] for e in policy["estimates"])
        assert policy["robust"]["words"]
        assert [b["lam"] for b in policy["bounds"]] == [1.5, 2.0]
        spread = [b["high"] - b["low"] for b in policy["bounds"]]
        assert 0 < spread[0] < spread[1]
    assert "assumes no unmeasured confounding" in text(report)


def test_estimated_propensities_are_the_segments_rates_on_offer(small_shop: Path, blind: Path) -> None:
    world, data = World.load(small_shop / "world"), Dataset.load(blind, splits=SPLITS)
    found, _ = with_reward(logged_decisions(data, world), "click")
    base = behaviour(found, world, training(data, world, found, "click"), 1e-6)
    table = base.table(found, world, slice(None))
    assert table is not None
    assert np.allclose(table.sum(axis=1), 1)
    row = 11
    allowed = found.allowed[found.moment[row]]
    rate = np.where(allowed, world.logged_rates[found.segment[row]], 0.0)
    item = found.action[row] - 1
    expected = (1 - EVEN) * rate[item] / rate.sum() + EVEN / allowed.sum()
    assert base.propensity[row] == pytest.approx(expected)
    assert (table[:, 1:][~found.allowed[found.moment]] == 0).all()


def test_rates_without_support_fall_back_to_even_choice() -> None:
    table = estimated(np.array([[0.0, 0.0, 0.0, 5.0]]), np.array([[False, True, True, False]]))
    assert table.tolist() == [pytest.approx([0.0, 0.5, 0.5, 0.0])]


def test_copies_that_the_log_does_not_tell_are_summed_out_and_said_to_be(small_shop: Path, tmp_path: Path) -> None:
    import pyarrow as pa

    world = World.load(small_shop / "world")
    ids = world.items["item_id"].to_pylist()
    rows = [{"copy_id": f"{i}-{k}", "item_id": i, "style": "plain", "template": "x", "text": f"x{k}",
             "status": "approved"} for i in ids for k in range(2)]  # fmt: skip
    add_copies(small_shop / "world", pa.Table.from_pylist(rows), tmp_path / "world")
    plain = ask(small_shop, agents=("random",))
    more = ask(small_shop, agents=("random",), world=tmp_path / "world")
    assert all(COPY_UNKNOWN in e["label"] for e in more["policies"][0]["estimates"])
    first, second = (r["policies"][0]["estimates"][0]["value"] for r in (plain, more))
    assert first == pytest.approx(second, rel=1e-6)


def test_open_bandit_says_not_enough_data_in_plain_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        importlib.metadata.distribution("obp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("obp is not installed")
    build(sources.load("open-bandit")).save(tmp_path / "data")
    fit_worlds(tmp_path / "data", tmp_path / "world", small_fit(), progress=False)
    config = EvaluateConfig(tmp_path / "data", world=tmp_path / "world", out=tmp_path / "out", bootstraps=100)
    report = run(config)
    assert {p["verdict"] for p in report["policies"]} == {"NOT ENOUGH DATA"}
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("popular", "model-greedy"))]
    assert [row.split(" | ")[1].strip() for row in rows] == ["NOT ENOUGH DATA"] * 2
    assert "decisions of this policy, 500 are needed" in printed


def test_slates_are_labelled_and_missing_positions_counted(small_shop: Path, tmp_path: Path) -> None:
    plain = ask(small_shop, agents=("random",))
    assert not plain["slates"]
    assert SLATE not in text(plain)
    lost = altered(small_shop / "data", tmp_path / "lost", position=lambda p: p.mask(p.index % 3 == 0))
    report = ask(small_shop, lost, ("random",))
    assert 0 < report["positions_missing"] < report["decisions"]
    assert "have no position: taken as the first place" in text(report)
    slate = altered(small_shop / "data", tmp_path / "slate", position=lambda p: p.where(p.index % 2 == 0, 2))
    report = ask(small_shop, slate, ("random",))
    assert report["slates"]
    assert all(SLATE in e["label"] for e in report["policies"][0]["estimates"])
    assert f"every figure {SLATE}" in text(report)


def test_a_report_of_other_data_is_not_written_over(tmp_path: Path) -> None:
    report = tmp_path / "out" / "evaluate.json"
    report.parent.mkdir()
    report.write_text(json.dumps({"data": str(tmp_path / "first")}))
    before = report.read_bytes()
    with pytest.raises(InputError, match=r"tells of .*first, not of .*second.*--out"):
        run(EvaluateConfig(tmp_path / "second", world=tmp_path / "world", out=report.parent))
    assert report.read_bytes() == before
