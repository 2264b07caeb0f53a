"""The agents of sb3-contrib: masks are learned by, weights are the same bytes again, nothing global is touched.

What every agent promises is in test_agents.py, through which these go too.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_world import small_world
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

from recenv.agents import sb3
from recenv.agents.base import REGISTRY, EnvFactory, NullLog
from recenv.agents.export import exporter
from recenv.core.errors import InputError, UnsupportedError
from recenv.env.options import EnvOptions
from recenv.env.sb3 import make_vec_env
from recenv.env.wrappers import CandidateVector
from recenv.world import World

NAMES = ("sb3-qrdqn", "sb3-maskable-ppo")
PADDED = 30
"""Candidates, of which at most 18 can be valid: the world has 9 items of two copies."""
STEPS = 1_600
"""Past the 1,000 after which the replay's first gradient step is taken."""


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(1, n_items=9, n_starts=90, copies=2)


def trained(name: str, world: World, seed: int = 0, **config: Any) -> Any:
    policy = REGISTRY[name](world, config, seed)
    env = EnvOptions(reward_mode="expected", candidates="all")
    policy.train(EnvFactory(world, env), STEPS, seed, NullLog())
    return policy


def test_the_environment_gives_masks_as_sb3_contrib_asks_for_them(world: World) -> None:
    env = make_vec_env(5, world, k=PADDED, candidates="all")
    env.seed(3)
    obs = env.reset()
    assert is_masking_supported(env)
    size = env.env.candidates.n_features
    for _ in range(4):
        masks = get_action_masks(env)
        assert masks.shape == (5, PADDED)
        assert masks.dtype == np.bool_
        valid = obs[:, -PADDED * size :].reshape(5, PADDED, size)[:, :, -1] == 1
        np.testing.assert_array_equal(masks, valid)
        assert masks.any(axis=1).all()
        assert not masks.all()
        obs = env.step(masks.argmax(axis=1))[0]


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By step of a training, the share of sessions in which a masked candidate was chosen."""
    shares: list[float] = []

    class Watched(CandidateVector):
        def step(self, actions: Any) -> Any:
            shares.append(1.0 - float(self.action_masks()[np.arange(self.num_envs), actions].mean()))
            return super().step(actions)

    monkeypatch.setattr(sb3, "CandidateVector", Watched)
    return shares


@pytest.mark.parametrize(("name", "least", "most"), [("sb3-ppo", 0.3, 1.0), ("sb3-maskable-ppo", 0.0, 0.0)])
def test_only_maskable_ppo_never_tries_what_is_masked(
    name: str, least: float, most: float, world: World, masked: list[float]
) -> None:
    trained(name, world, k=PADDED)
    assert len(masked) >= STEPS // 64
    assert least <= float(np.mean(masked)) <= most


def test_masks_reach_the_gradient_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minibatch is judged under the masks of its own steps, not under all True."""
    seen: list[float] = []
    evaluate = sb3_contrib_policy().evaluate_actions

    def watched(self: Any, obs: Any, actions: Any, action_masks: Any = None) -> Any:
        seen.append(float(action_masks.float().mean()))
        return evaluate(self, obs, actions, action_masks)

    monkeypatch.setattr(sb3_contrib_policy(), "evaluate_actions", watched)
    trained("sb3-maskable-ppo", world, k=PADDED)
    assert seen
    assert max(seen) < 0.6, "18 of 30 at most"


def sb3_contrib_policy() -> Any:
    return REGISTRY["sb3-maskable-ppo"].resolve().algorithm.policy_aliases["MlpPolicy"]


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes_and_no_global_generator_moves(name: str, world: World, tmp_path: Path) -> None:
    random.seed(77)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
    saved = []
    for folder, seed in (("a", 4), ("b", 4), ("c", 5)):
        trained(name, world, seed).save(tmp_path / folder)
        saved.append((tmp_path / folder / sb3.WEIGHTS).read_bytes())
    assert saved[0] == saved[1]
    assert saved[0] != saved[2]
    assert (tmp_path / "a" / "policy.json").read_bytes() == (tmp_path / "b" / "policy.json").read_bytes()
    assert {f.name for f in (tmp_path / "a").iterdir()} == {"policy.json", sb3.WEIGHTS}
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_training_moves_the_quantiles(world: World) -> None:
    policy = trained("sb3-qrdqn", world, k=8, quantiles=5)
    fresh = REGISTRY["sb3-qrdqn"](world, {"k": 8, "quantiles": 5}, 0)
    last = [p for n, p in policy.network.named_parameters() if n.startswith("quantile_net.")][-1]
    assert last.shape == (5 * 8,)
    rows = torch.zeros((3, policy.candidates.size))
    assert policy.scores(rows).shape == (3, 8)
    assert not torch.equal(policy.scores(rows), fresh.scores(rows))


@pytest.mark.parametrize("bad", [0, -1, 2.5, True])
def test_bad_numbers_of_quantiles_are_refused(bad: Any, world: World) -> None:
    with pytest.raises(InputError, match="quantiles"):
        REGISTRY["sb3-qrdqn"](world, {"quantiles": bad}, 0)


@pytest.mark.parametrize("name", NAMES)
def test_export_says_why_not(name: str) -> None:
    with pytest.raises(UnsupportedError, match="retrieval is not part of the graph"):
        exporter(name)
