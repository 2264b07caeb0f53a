"""Bundles: every policy exports or says why not, graphs equal the policies, and a bad folder is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_serving import NOW, policy, shared_bundle, tiny_world
from helpers_world import small_world
from safetensors.numpy import load_file, save_file

from recenv.agents.base import REGISTRY
from recenv.agents.export import EXPORTERS, UNSUPPORTED, check_texts, export_bundle, exporter
from recenv.agents.export_greedy import CrossFeatures
from recenv.agents.export_run import policy_of_run, run_value
from recenv.agents.training import TrainSettings, train
from recenv.core.artefacts import file_hash
from recenv.core.errors import ArtefactError, InputError, UnsupportedError
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response.features import cross_from_full
from recenv.scripts.export import ExportConfig, run
from recenv.serving.bundle import FILES, MANIFEST, Bundle, manifest_hash
from recenv.serving.choice import distribution
from recenv.serving.golden import made_up_masks, made_up_observations
from recenv.serving.recommender import Recommender
from recenv.state import MAX_AGE
from recenv.world import World, tiny_world_path


@pytest.fixture(scope="module")
def popular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle("popular", tmp_path_factory)


def played(world: World, n: int = 48) -> np.ndarray:
    """Full observations in the middle of sessions."""
    simulator = Simulator(world, n, EnvOptions(observation="full", repeats="allow", leave="never"))
    simulator.reset(seed=4)
    rng = np.random.default_rng(0)
    for _ in range(3):
        simulator.step(rng.integers(0, world.n_actions, n))
    return simulator.observations()


def scores(name: str, world: World, obs: np.ndarray, made: Any = None) -> np.ndarray:
    with torch.no_grad():
        module = exporter(name).scores(made or policy(name, world)).eval()
        return np.asarray(module(torch.from_numpy(obs)).numpy())


def test_every_registered_policy_exports_or_says_why_not() -> None:
    assert set(EXPORTERS) | set(UNSUPPORTED) == set(REGISTRY)
    assert not set(EXPORTERS) & set(UNSUPPORTED)
    assert {"dqn", "model-greedy", "popular"} <= set(EXPORTERS)
    for name in UNSUPPORTED:
        with pytest.raises(UnsupportedError, match=r"candidates|counts copies"):
            exporter(name)
    with pytest.raises(InputError, match="not registered"):
        exporter("nothing")


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_scores_and_rule_give_the_policys_own_probabilities(name: str) -> None:
    world = tiny_world()
    obs, mask = played(world), made_up_masks(48, world.n_actions, 2)
    made = policy(name, world)
    rule, score = exporter(name).rule, scores(name, world, obs, made)
    served = np.stack([distribution(rule, s, m, world.action_item) for s, m in zip(score, mask)])
    np.testing.assert_allclose(served, made.probabilities(obs, mask), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"copies": 0},
        {"responses": ("click",), "has_unshown": False},
        {"responses": ("purchase", "revenue")},
    ],
    ids=["all", "no copies", "clicks alone", "purchases alone"],
)
def test_model_greedy_in_torch_equals_numpy(options: dict[str, Any]) -> None:
    world = small_world(seed=2, **options)
    obs = played(world)
    made = policy("model-greedy", world)
    mask = np.ones((len(obs), world.n_actions), bool)
    expected, found = made.values(obs, mask), scores("model-greedy", world, obs, made)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    items = np.broadcast_to(np.arange(world.n_items), (len(obs), world.n_items))
    with torch.no_grad():
        cross = CrossFeatures(world)(torch.from_numpy(obs)).numpy()
    np.testing.assert_allclose(cross, cross_from_full(world.spec, obs, items), atol=1e-5)
    assert expected.std(axis=0).max() > 1e-3


@pytest.mark.parametrize("name", ["model-greedy", "dqn"])
def test_the_graph_decides_as_the_policy_does(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    world, made = tiny_world(), policy(name)
    loaded = Bundle.load(shared_bundle(name, tmp_path_factory))
    obs, mask = played(world), made_up_masks(48, world.n_actions, 1)
    action, score = loaded.policy.run(obs, mask)
    np.testing.assert_array_equal(action, made.act(obs, mask, np.random.default_rng(0)))
    np.testing.assert_allclose(score[mask], scores(name, world, obs)[mask], atol=1e-4)
    assert len(set(action.tolist())) > 5
    nothing = np.zeros_like(mask)
    assert (loaded.policy.run(obs, nothing)[0] == 0).all()
    manifest = loaded.manifest
    assert manifest["policy"]["name"] == name
    assert manifest["fidelity"]["split"] == "validation"
    assert manifest["fidelity"]["heads"]
    assert any("copy effect" in line for line in manifest["assumed"])
    assert set(manifest["hashes"]) == set(FILES)


def test_golden_pairs_come_from_made_up_users(popular: Path) -> None:
    golden = load_file(popular / "golden.safetensors")
    world = tiny_world()
    again = made_up_observations(world.spec, world.profile_encoder, world.n_copies, 16, 0)
    np.testing.assert_array_equal(golden["observation"], again)
    assert golden["mask"].shape == (16, world.n_actions)
    assert len(np.unique(golden["observation"], axis=0)) == 16
    assert (again[:, -world.spec.recent :].max(), again.max()) <= (1.0, max(MAX_AGE, world.n_copies - 1, 60))


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_changed_byte_is_named(popular: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(popular, tmp_path / "b"))
    data = bytearray((copy / name).read_bytes())
    at = data.index(b'"popular"') + 1 if name == MANIFEST else len(data) // 2
    data[at] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(ArtefactError, match="was changed") as caught:
        Bundle.load(copy)
    assert name in caught.value.where


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_named(popular: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(popular, tmp_path / "b"))
    (copy / name).unlink()
    with pytest.raises(ArtefactError, match="is missing") as caught:
        Bundle.load(copy)
    assert name in caught.value.where


def _rewritten(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a bundle whose manifest is changed and hashed anew, as another version would have written it."""
    copy = Path(shutil.copytree(source, target))
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest |= changes
    manifest["hashes"] = {name: file_hash(copy / name) for name in FILES}
    manifest["manifest_hash"] = manifest_hash(manifest)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"layout_hash": "0"}, "layout"),
        ({"feature_hash": "0"}, "features"),
        ({"policy": {"name": "popular", "rule": "guess"}}, "rule"),
        ({"state": {}}, "cannot be read"),
    ],
    ids=["schema", "layout", "features", "rule", "state"],
)
def test_a_bundle_of_another_version_is_refused(popular: Path, tmp_path: Path, changes: dict, match: str) -> None:
    with pytest.raises(ArtefactError, match=match):
        Bundle.load(_rewritten(popular, tmp_path / "b", **changes))


def test_another_graph_fails_the_golden_pairs(popular: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(popular, tmp_path / "a"))
    golden = load_file(copy / "golden.safetensors")
    golden["action"] = np.where(golden["mask"][:, 1:].any(1), tiny_world().n_actions - 1, 0).astype(np.int64)
    save_file(golden, copy / "golden.safetensors")
    with pytest.raises(ArtefactError, match="decides otherwise"):
        Bundle.load(_rewritten(copy, tmp_path / "b"))


def test_a_file_that_is_no_graph_is_refused(popular: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(popular, tmp_path / "a"))
    (copy / "policy.onnx").write_bytes(b"not a graph")
    with pytest.raises(ArtefactError, match="no graph"):
        Bundle.load(_rewritten(copy, tmp_path / "b"))


def test_no_folder_is_overwritten(popular: Path) -> None:
    with pytest.raises(InputError, match="not an empty folder"):
        export_bundle(policy("popular"), tiny_world(), popular)


def test_a_copy_that_cannot_be_rendered_stops_the_export() -> None:
    world = small_world()
    column = world.copies.column_names.index("text")
    text = ["{brand}", *world.copies["text"].to_pylist()[1:]]
    world.copies = world.copies.set_column(column, "text", [text])
    with pytest.raises(InputError, match="brand"):
        check_texts(world)


def test_runs_export_with_what_they_are_worth(tmp_path: Path) -> None:
    settings = TrainSettings(steps=10, evaluations=1, episodes=80)
    path, _ = train("popular", tiny_world_path(), tmp_path / "runs" / "popular-seed0", settings, bar=False)
    result = run(ExportConfig(out=tmp_path / "b", run=path))
    assert result["value"]["from"] == "evaluation"
    assert result["value"]["episodes"] == 80
    assert result["value"]["judged_by"] == "training world"
    mean, low, high = result["value"]["intervals"]["gross"]
    assert low < mean < high
    assert mean == pytest.approx(result["value"]["metrics"]["shop/gross_value_per_session"])
    assert Bundle.load(tmp_path / "b").manifest["value"] == result["value"]
    row = {"name": "popular", "agent": "popular", "judge": {"gross": [1.0, 0.5, 1.5]}, "over_logged": {}}
    table = {"rows": [row], "seeds": 2, "episodes": 9, "candidates": "all"}
    (tmp_path / "benchmark.json").write_text(json.dumps(table))
    value = run_value(path, "popular")
    assert value is not None
    assert value["judge"]["gross"] == [1.0, 0.5, 1.5]
    assert value["judged_by"] == "judge world"
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["inputs"]["world"] |= {"sha256": "0", "identity": "0"}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="not the world of this run"):
        policy_of_run(path)


def test_a_bundle_keeps_the_rules_of_the_environment_trained_in(tmp_path: Path) -> None:
    """What was never shown in training is not recommended, by policy or fallback, and repeats are as they were."""
    world = tiny_world()
    assert not world.repeats_logged, "the world itself would forbid them"
    best = Recommender.load(shared_popular(tmp_path / "plain")).recommend({}, k=3, now=NOW)
    first, second, _ = (row["item_id"] for row in best)
    env = EnvOptions(repeats="allow", exclude=(first,), reward_mode="expected")
    settings = TrainSettings(steps=10, evaluations=1, episodes=8, env=env)
    path, _ = train("popular", tiny_world_path(), tmp_path / "run", settings, bar=False)
    run(ExportConfig(out=tmp_path / "b", run=path))
    loaded = Bundle.load(tmp_path / "b")
    assert (loaded.manifest["repeats"], loaded.manifest["exclude"]) == ("allow", [first])
    served = Recommender(loaded)
    shown = {"item_id": second, "kind": "impression", "timestamp": NOW - 60}
    rows = served.recommend({}, [shown], k=world.n_items, now=NOW)
    assert rows[0]["item_id"] == second, "it may come again"
    assert first not in {row["item_id"] for row in rows}
    assert len(rows) == world.n_items - 1
    assert not served.request({}, now=NOW, eligible=[first]).mask[0, 1:].any()
    with pytest.raises(ArtefactError, match="'gone', which is not in the catalogue"):
        Bundle.load(_rewritten(tmp_path / "b", tmp_path / "c", exclude=["gone"]))


def shared_popular(folder: Path) -> Path:
    export_bundle(policy("popular"), tiny_world(), folder)
    return folder


def test_export_says_what_is_missing(tmp_path: Path) -> None:
    for config in (
        ExportConfig(out=tmp_path / "b"),
        ExportConfig(out=tmp_path / "b", policy="popular"),
        ExportConfig(out=tmp_path / "b", policy="dqn", world=tiny_world_path()),
    ):
        with pytest.raises(InputError):
            run(config)
    assert not (tmp_path / "b").exists()
