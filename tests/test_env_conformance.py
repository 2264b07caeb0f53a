"""Every registered id through one tester, and what the tester itself finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from helpers_world import small_world

import recenv  # noqa: F401  registers the ids
from recenv.core.errors import ArtefactError, InputError
from recenv.env.check import check, same
from recenv.env.registry import ENTRY_POINTS
from recenv.scripts.check import CheckConfig, run


@pytest.fixture(scope="module")
def world_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_world().save(tmp_path_factory.mktemp("worlds") / "small"))


CASES: list[tuple[str, dict[str, Any]]] = [
    ("recenv/Shop-v0", {}),
    ("recenv/World-v0", {}),
    ("recenv/World-v0", {"observation": "full", "slate": 3, "slate_response": "cascade"}),
    ("recenv/World-v0", {"horizon": 1, "reward": "gross", "reward_mode": "expected", "candidates": "all"}),
    ("recenv/Solvable-v0", {}),
]


@pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=[f"{i}-{'-'.join(map(str, k.values()))}" for i, k in CASES])
def test_conformance(env_id: str, kwargs: dict[str, Any], world_path: str) -> None:
    given = kwargs | ({"world": world_path} if "World" in env_id else {})
    report = check(env_id, given, steps=60)
    assert set(report.results.values()) == {"ok"}, "\n".join(report.lines())


def test_every_id_is_tested() -> None:
    assert {env_id for env_id, _ in CASES} == set(ENTRY_POINTS)


@pytest.mark.parametrize("mode", ["sync", "async", "vector_entry_point"])
def test_make_vec(mode: str, world_path: str) -> None:
    env = gym.make_vec("recenv/World-v0", 2, vectorization_mode=mode, world=world_path)
    obs, info = env.reset(seed=1)
    assert obs in env.observation_space
    assert info["start_row"].shape == (2,)
    for _ in range(8):
        obs, reward, *_, info = env.step(np.array([1, 2]))
        assert obs in env.observation_space
        assert np.isfinite(reward).all()
        assert set(info["reward_terms"]) >= {"purchase", "cost", "unshown"}
    env.close()


def test_spawned_workers_agree_with_this_process(world_path: str) -> None:
    kwargs = {"world": world_path, "horizon": 3}
    near = gym.make_vec("recenv/World-v0", 2, vectorization_mode="sync", **kwargs)
    far = gym.make_vec("recenv/World-v0", 2, vectorization_mode="async", vector_kwargs={"context": "spawn"}, **kwargs)
    try:
        assert same(near.reset(seed=5)[0], far.reset(seed=5)[0])
        for _ in range(6):
            here, there = near.step(np.array([3, 4])), far.step(np.array([3, 4]))
            assert same(list(here[:4]), list(there[:4]))
    finally:
        far.close()


def test_vector_spec_round_trips(world_path: str) -> None:
    env = gym.make_vec("recenv/World-v0", 4, world=world_path, autoreset_mode="SameStep", slate=2, exclude=["i1"])
    assert env.spec is not None
    again = gym.make_vec(EnvSpec.from_json(env.spec.to_json()))
    assert again.num_envs == 4
    assert again.metadata["autoreset_mode"].value == "SameStep"
    assert same(env.reset(seed=2)[0], again.reset(seed=2)[0])


def test_a_world_must_be_named_and_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="world"):
        gym.make("recenv/World-v0")
    with pytest.raises(InputError, match="world"):
        gym.make_vec("recenv/World-v0", 2)
    with pytest.raises(ArtefactError, match="is no world"):
        gym.make("recenv/World-v0", world=str(tmp_path / "none"))


class _Drunk(gym.Env[Any, Any]):
    """Breaks rules on purpose: forgets its seed, NaN rewards, a mask without any action."""

    observation_space = gym.spaces.Box(0, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.random.default_rng().random(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.ones(1, np.float32), float("nan"), False, False, {}

    def action_masks(self) -> Any:
        return np.zeros(2, bool)


def test_the_tester_finds_faults() -> None:
    gym.register("recenv-test/Drunk-v0", entry_point=_Drunk)
    try:
        results = check("recenv-test/Drunk-v0", steps=5).results
    finally:
        del gym.registry["recenv-test/Drunk-v0"]
    for name in ("gymnasium", "finite spaces", "twin roll-outs", "values", "masks"):
        assert results[name] != "ok", name
        assert not results[name].startswith("skipped"), name


def test_check_command(world_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(CheckConfig(env="recenv/World-v0", world=world_path, kwargs='{"slate": 2}', steps=20))
    assert result["passed"]
    assert json.loads(json.dumps(result)) == result
    assert "twin roll-outs" in capsys.readouterr().out
    with pytest.raises(InputError, match="--kwargs"):
        run(CheckConfig(kwargs="[1]"))
    with pytest.raises(InputError, match="--kwargs"):
        run(CheckConfig(kwargs="slate=2"))
