"""The study of caution in shops with a targeted log: its shop, its arithmetic, and that it can be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recenv.core.errors import InputError
from recenv.data.synthetic import SyntheticOptions, load
from recenv.data.truth import Sessions, Truth
from recenv.scripts import bench_caution as bench

SHOP = SyntheticOptions(users=60, items=30, slots=5, epsilon=0.01, acts=False, opportunities=False, seed=9)


def test_the_incumbent_shows_a_group_what_the_group_buys() -> None:
    raw = bench.targeted(SHOP, 1.0, 2.5)
    truth = Truth.from_bytes(raw.extras)
    np.testing.assert_allclose(np.sqrt((truth.factor**2).sum(axis=1)), 2.5)
    assert raw.users is not None
    group = raw.users.groupby(["age", "region"]).ngroup().to_numpy()
    assert len(np.unique(truth.logging_score, axis=0)) == group.max() + 1, "one score a group"
    first = truth.propensities(np.arange(SHOP.users), np.zeros((SHOP.users, SHOP.items), bool))
    chance = Sessions(truth, np.arange(SHOP.users)).table()
    worth = chance.click * chance.purchase
    own = (first * worth).sum(axis=1).mean()
    other = (first * worth[(group != group[0]).argmax()]).sum(axis=1).mean()
    assert own > 2 * worth.mean()
    assert own > other


def test_sharpness_0_shows_everything_alike() -> None:
    truth = Truth.from_bytes(bench.targeted(SHOP, 0.0, 1.0).extras)
    np.testing.assert_allclose(truth.propensities(np.array([0]), np.zeros((1, SHOP.items), bool)), 1 / SHOP.items)


def test_no_feature_tells_what_an_item_is_for() -> None:
    """Within a category factors of the usual shop resemble each other; here no more than across."""

    def alike(truth: Truth) -> float:
        unit = truth.factor / np.sqrt((truth.factor**2).sum(axis=1, keepdims=True))
        same = truth.category[:, None] == truth.category[None]
        return float((unit @ unit.T)[same & ~np.eye(len(unit), dtype=bool)].mean())

    assert alike(Truth.from_bytes(load(options=SHOP).extras)) > 0.5
    assert abs(alike(Truth.from_bytes(bench.targeted(SHOP, 1.0, 2.5).extras))) < 0.15


def lines(seed: int) -> list[dict[str, Any]]:
    plans = [("logged", 0.0, 0.0, 0.2), ("a", 0.0, 0.0, 1.0), ("a", 0.5, 0.0, 0.9), ("a", 0.0, 0.01, 1.1 + 0.1 * seed)]
    return [{"agent": a, "pessimism": k, "support": s, "true": t, "simulated": 2 * t} for a, k, s, t in plans]


def test_changes_are_paired_and_their_adjusted_intervals_wider() -> None:
    rows = bench.summary([{"seed": s, "lines": lines(s)} for s in range(3)])
    assert "change" not in rows[0]
    assert "change" not in rows[1]
    assert rows[2]["change"] == [pytest.approx(-0.1), None, None], "the same in every shop: no interval"
    assert rows[2]["adjusted"] is None
    assert rows[2]["better"] == 0
    mean, low, high = rows[3]["change"]
    assert mean == pytest.approx(0.2)
    assert rows[3]["better"] == 3
    # t(.975, 2) = 4.303; Bonferroni over the two comparisons: t(.9875, 2) = 6.205
    assert (high - low) / 2 == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    assert rows[3]["adjusted"][1] - mean == pytest.approx(6.2053 * 0.1 / np.sqrt(3), rel=1e-4)
    assert rows[3]["exaggeration"][0] == pytest.approx(2.0)
    assert "| a | 0 | 0.01 | 1.200 | +20.0 % |" in bench.markdown(rows)
    assert "3 of 3" in bench.markdown(rows)


def test_a_run_goes_on_from_its_cells_but_not_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def cell(config: bench.CautionConfig, seed: int) -> dict[str, Any]:
        made.append(seed)
        return {"lines": lines(seed)}

    monkeypatch.setattr(bench, "_cell", cell)
    bench.run(bench.CautionConfig(out=tmp_path, seeds=1))
    found = bench.run(bench.CautionConfig(out=tmp_path, seeds=3))
    assert made == [0, 1, 2]
    assert [row["seeds"] for row in found["rows"][2:]] == [3, 3]
    assert len(json.loads((tmp_path / "cells.json").read_text())["cells"]) == 3
    with pytest.raises(InputError, match="other settings"):
        bench.run(bench.CautionConfig(out=tmp_path, support=0.02))
