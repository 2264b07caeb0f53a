"""The bench script's figure is made and judged; the floor itself is far above noise at this size."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_world import small_world

from recenv.scripts.bench_env import BenchEnvConfig, TooSlow, run


def test_the_native_vector_environment_leads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = str(small_world(copies=0).save(tmp_path / "w"))
    config = BenchEnvConfig(world=world, envs=64, steps=20, repeats=2, floor=4.0)
    result = run(config)
    assert result["ratio"] > 4
    assert "x" in capsys.readouterr().out
    with pytest.raises(TooSlow):
        run(BenchEnvConfig(world=world, envs=2, steps=2, repeats=1, floor=1e6))
