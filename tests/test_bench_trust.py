"""The study of simulated against true rankings: its arithmetic, its policies, and that it can be resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers_world import small_world

from recenv.agents import truth_table as table
from recenv.agents.training import make_policy
from recenv.core.errors import InputError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.scripts import bench_trust as bench


def told(true: list[float], simulated: list[float]) -> dict[str, dict[str, float]]:
    return {f"p{k}": {"true": t, "simulated": s, "judged": t} for k, (t, s) in enumerate(zip(true, simulated))}


def test_regret_and_tau_are_those_of_the_favourite_among_policies_within_reach() -> None:
    true = [1.0, 0.95, 0.9, 0.85, 0.8, 0.78, 0.76, 0.72, 0.3]
    simulated = [1.0, 0.95, 0.9, 0.85, 1.2, 0.78, 0.76, 0.72, 9.0]
    found = table.compare(told(true, simulated))
    assert found["policies"] == 8
    assert np.isclose(found["simulated_regret"], 0.2)
    assert np.isclose(found["simulated_exaggeration"], 1.5)
    assert np.isclose(found["simulated_tau"], 1 - 2 * 4 / 28)
    assert np.isclose(found["judged_tau"], 1.0)
    assert found["judged_regret"] == 0.0


def test_too_few_good_policies_are_no_ranking() -> None:
    with pytest.raises(InputError, match="within 30%"):
        table.compare(told([1.0] + [0.5] * 9, [1.0] * 10))


def test_a_mixture_draws_from_what_it_states() -> None:
    world = small_world(copies=0)
    sim = Simulator(world, 4, EnvOptions(candidates="all", observation="full"))
    obs, _ = sim.reset(seed=0)
    first, second = (make_policy(n, world, EnvOptions(candidates="all"), {}, 0) for n in ("model-greedy", "random"))
    mixture = bench.Mixture(first, second, 0.25)
    p = mixture.probabilities(obs, sim.masks())
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    rng = np.random.default_rng(0)
    count = np.zeros_like(p)
    for _ in range(2000):
        count[np.arange(4), mixture.act(obs, sim.masks(), rng)] += 1
    np.testing.assert_allclose(count / 2000, p, atol=0.05)


def test_a_perturbed_copy_errs_alike_every_time() -> None:
    world = small_world(copies=0)
    obs, _ = Simulator(world, 4, EnvOptions(candidates="all", observation="full")).reset(seed=0)
    mask = np.ones((4, world.n_actions), bool)
    a, b = (bench.Perturbed(world, {"reward": "gross"}, 1, 0.5).values(obs, mask) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    plain = make_policy("model-greedy", world, EnvOptions(reward="gross", candidates="all"), {}, 0).values(obs, mask)
    assert not np.array_equal(a, plain)


def test_a_run_goes_on_from_its_cells_but_not_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = bench.TrustConfig(out=tmp_path, sizes=(20, 40), seeds=2, sweep_agents=("model-greedy",))
    made: list[tuple[int, int]] = []

    def cell(config: bench.TrustConfig, size: int, seed: int) -> dict[str, object]:
        made.append((size, seed))
        line = {"agent": "model-greedy", "simulated": 2.0, "judged": 1.0}
        plans = [(0.0, 0.0, 1.0), (1.0, 0.0, 1.1 + 0.01 * seed)]
        sweep = [line | {"pessimism": k, "support": s, "true": t} for k, s, t in plans]
        return {"policies": told([1.0 - 0.01 * k for k in range(9)], [1.0] * 8 + [2.0])} | (
            {"sweep": sweep} if size == 20 else {}
        )

    monkeypatch.setattr(bench, "_cell", cell)
    bench.run(config)
    cells = json.loads((tmp_path / "cells.json").read_text())
    cells["cells"] = cells["cells"][:3]
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    found = bench.run(config)
    assert made == [(20, 0), (40, 0), (20, 1), (40, 1), (40, 1)]
    assert found["sweep"][1]["change"][0] == pytest.approx(0.105)
    assert found["sweep"][1]["above_zero"]
    assert "| model-greedy | 1 | 0 |" in (tmp_path / "trust.md").read_text()
    made.clear()
    more = bench.run(bench.TrustConfig(out=tmp_path / "more", sizes=(20, 40), seeds=2, first_seed=5, ranking=False))
    assert made == [(20, 5), (20, 6)]
    assert more["ranking"] == []
    with pytest.raises(InputError, match="other settings"):
        bench.run(bench.TrustConfig(out=tmp_path, sizes=(20, 50), seeds=2))
