"""The verdict of a world: measured on the test slice, landed beside it, carried by what is made from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recenv.agents.export_run import policy_of_run
from recenv.agents.training import EVAL_FILE, TrainSettings, train
from recenv.core.artefacts import check_manifest, file_hash, read_json
from recenv.core.errors import ArtefactError, InputError
from recenv.core.verdict import identity, land, read_report, verdict_line
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.synthetic import SyntheticOptions, load
from recenv.env.options import EnvOptions
from recenv.scripts.fidelity import EXIT, FidelityConfig
from recenv.scripts.fidelity import run as run_fidelity
from recenv.trust.assess import AssessOptions, assess
from recenv.trust.fidelity import item_rate_baseline
from recenv.trust.held_out import HeldOut, read_held_out
from recenv.trust.measure_sessions import sessions
from recenv.trust.summary import gate_lines, summary_lines, verdict_of
from recenv.trust.support import JudgedPolicy, choices, support_gate
from recenv.trust.tolerances import Tolerances
from recenv.trust.transfer import replay_other, transfer_gates, transfer_slices
from recenv.variants import add_copies
from recenv.world import World

QUICK = AssessOptions(bootstraps=10, sessions=300)


@pytest.fixture
def shop(small_shop: Path, tmp_path: Path) -> Path:
    """A copy of the small shop that may be written to."""
    for name in ("data", "world", "world-judge"):
        shutil.copytree(small_shop / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def assessed(small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A shop whose world was measured, and the report."""
    folder = tmp_path_factory.mktemp("assessed")
    for name in ("data", "world"):
        shutil.copytree(small_shop / name, folder / name)
    return folder, assess(folder / "world", folder / "data", QUICK)


def test_fit_leaves_a_quick_verdict_of_the_validation_slice(small_shop: Path) -> None:
    card = read_json(small_shop / "world" / "world.json")
    assert card["fidelity"]["split"] == "validation"
    assert card["fidelity"]["verdict"] in ("FAIL", "NOT ENOUGH DATA"), "sessions were not measured: never PASS"
    assert set(card["fidelity"]["gates"]) >= {"power", "discrimination", "calibration_large"}
    for name in ("second_order", "rollout", "determinism"):
        assert card["fidelity"]["gates"][name] == "NOT MEASURED"
    assert "quick, validation slice" in verdict_of(small_shop / "world")


@pytest.mark.parametrize(("verdict", "stands"), [("PASS", "NOT ENOUGH DATA"), ("FAIL", "FAIL")])
def test_the_slice_that_training_stopped_on_passes_nothing(verdict: str, stands: str, shop: Path) -> None:
    entry = land(shop / "world", {"split": "validation", "heads": {}, "verdict": verdict, "gates": []})
    assert entry["verdict"] == stands
    assert f"prediction {stands} (quick" in verdict_line("w", entry | {"verdict": verdict})
    assert land(shop / "world", {"split": "test", "heads": {}, "verdict": verdict, "gates": []})["verdict"] == verdict


def test_a_measured_world_carries_the_verdict_of_the_test_slice(assessed: tuple[Path, dict[str, Any]]) -> None:
    folder, report = assessed
    card = read_json(folder / "world" / "world.json")
    check_manifest(folder / "world" / "world.json", card)
    assert card["fidelity"]["split"] == report["split"] == "test"
    assert card["fidelity"]["verdict"] == report["verdict"]
    assert card["fidelity"]["sha256"] == file_hash(folder / "world" / "fidelity.json")
    assert card["fidelity"]["causal"] == report["causal"]["verdict"]
    gates = {gate["name"] for gate in report["gates"]}
    assert gates >= {"power", "second_order", "rollout", "two_sample", "determinism", "transfer", "ranking", "support"}
    assert report["validation"]["split"] == "validation"
    assert report["heads"]["click"]["shown"]["rows"] > 0
    assert read_json(folder / "data" / "meta.json")["test_reads"] == report["test_reads"] == 1
    assert World.load(folder / "world").meta["fidelity"] == card["fidelity"]
    assert verdict_line("world", card["fidelity"]) in summary_lines(folder / "world")
    assert any("Give --other-data" in line for line in gate_lines(report))


def test_the_same_measurement_gives_the_same_bytes(assessed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, first = assessed
    for name in ("data", "world"):
        shutil.copytree(folder / name, tmp_path / name)
    second = assess(tmp_path / "world", tmp_path / "data", QUICK)
    assert second["test_reads"] == first["test_reads"] + 1
    for key in ("gates", "rollout", "heads", "validation", "verdict"):
        assert second[key] == first[key], key
    assert {g["name"]: g["verdict"] for g in second["gates"]}["determinism"] == "PASS"


def test_measuring_a_world_makes_no_trained_run_unloadable(shop: Path) -> None:
    train("popular", shop / "world", shop / "run", TrainSettings(env=EnvOptions(), episodes=8), bar=False)
    before = identity(read_json(shop / "world" / "world.json"))
    text = (shop / "world" / "world.json").read_bytes()
    assess(shop / "world", shop / "data", QUICK)
    assert (shop / "world" / "world.json").read_bytes() != text
    assert identity(read_json(shop / "world" / "world.json")) == before
    policy_of_run(shop / "run")
    # What the world is still counts.
    card = read_json(shop / "world" / "world.json")
    card["horizon"] = card["horizon"] + 1
    assert identity(card) != before
    assert (shop / "run" / EVAL_FILE).is_file()


def test_a_copy_keeps_the_report_and_says_whose_it_is(assessed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = assessed
    shutil.copytree(folder / "world", tmp_path / "world")
    copies = pa.table({"copy_id": ["a"], "item_id": pa.array([None], pa.string()), "style": ["plain"],
                       "template": ["{product}"], "text": ["{product}"], "status": ["approved"]})  # fmt: skip
    add_copies(tmp_path / "world", copies, tmp_path / "copy")
    World.load(tmp_path / "copy")
    assert "measured on world, without the copy" in verdict_of(tmp_path / "copy")
    page = (tmp_path / "copy" / "fidelity.html").read_text()
    assert "Measured on world, before copy was added" in page
    assert "before copy was added" not in (tmp_path / "world" / "fidelity.html").read_text()
    read_report(tmp_path / "copy")


def test_a_report_with_nan_is_refused_and_nothing_is_written(shop: Path) -> None:
    before = {name: (shop / "world" / name).read_bytes() for name in ("world.json", "fidelity.json")}
    report = read_report(shop / "world") | {"heads": {"click": {"shown": {"auc": float("nan")}}}}
    with pytest.raises(InputError, match="not finite"):
        land(shop / "world", report)
    assert before == {name: (shop / "world" / name).read_bytes() for name in before}


def test_the_worst_head_speaks_for_a_gate(shop: Path) -> None:
    gates = [{"name": "power", "head": h, "verdict": v} for h, v in (("click", "PASS"), ("leave", "FAIL"))]
    entry = land(shop / "world", {"split": "test", "heads": {}, "verdict": "FAIL", "gates": gates})
    assert entry["gates"] == {"power": "FAIL"}
    assert "failed: power" in verdict_of(shop / "world")


def _broken(name: str, change: Any) -> Any:
    def harm(shop: Path) -> None:
        file = shop / name
        value = read_json(file)
        change(value)
        file.write_text(json.dumps(value))

    return harm


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no world": (lambda s: shutil.rmtree(s / "world"), ArtefactError, "is no world"),
    "no data": (lambda s: shutil.rmtree(s / "data"), ArtefactError, "is no folder of prepared data"),
    "other data": (_broken("data/meta.json", lambda m: m["hashes"].update({"events.parquet": "0"})), InputError,
                   "not the data"),
    "damaged events": (lambda s: (s / "data" / "events.parquet").write_bytes(b"x"), ArtefactError, "events.parquet"),
    "damaged world": (lambda s: (s / "world" / "response.safetensors").write_bytes(b"x"), ArtefactError,
                      "response.safetensors"),
    "report is no JSON": (lambda s: (s / "world" / "fidelity.json").write_text("{"), ArtefactError, "fidelity.json"),
    "report of another": (lambda s: (s / "world" / "fidelity.json").write_text('{"split": "test", "heads": {}}'),
                          ArtefactError, "not the report that world.json names"),
    "report without heads": (lambda s: (s / "world" / "fidelity.json").write_text('{"split": "test"}'), ArtefactError,
                             "no fidelity report"),
    "report with an odd verdict": (
        _broken("world/fidelity.json", lambda r: r["gates"][0].update({"verdict": "FINE"})), ArtefactError,
        "unknown verdict"),
    "verdict changed by hand": (_broken("world/world.json", lambda m: m["fidelity"].update({"verdict": "PASS?"})),
                                ArtefactError, "changed after"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_named_before_the_test_slice_is_read(name: str, shop: Path) -> None:
    harm, error, words = BAD[name]
    harm(shop)
    with pytest.raises(error, match=words):
        assess(shop / "world", shop / "data", QUICK)
    if name != "no data":
        assert read_json(shop / "data" / "meta.json")["test_reads"] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is no benchmark"),
        ("[]", "benchmark.json"),
        ('{"world": "mars", "rows": []}', "another world"),
        ('{"world": "world"}', "is no benchmark"),
        ('{"world": "world", "objective": "gross", "rows": [{"agent": "a"}]}', "is no benchmark"),
    ],
)
def test_bad_benchmarks_are_named_before_the_test_slice_is_read(content: str | None, words: str, shop: Path) -> None:
    (shop / "b").mkdir()
    if content is not None:
        (shop / "b" / "benchmark.json").write_text(content)
    with pytest.raises((ArtefactError, InputError), match=words):
        assess(shop / "world", shop / "data", QUICK, benchmark=shop / "b")
    assert read_json(shop / "data" / "meta.json")["test_reads"] == 0


def test_the_worlds_own_log_is_no_second_policy(shop: Path) -> None:
    with pytest.raises(InputError, match="the log that the world was fitted on"):
        assess(shop / "world", shop / "data", QUICK, other_data=shop / "data")


def _other_log(folder: Path, **options: Any) -> Path:
    """A log of the same shop: by a policy that chooses evenly, unless told otherwise."""
    raw = load(options=SyntheticOptions(**({"users": 300, "items": 15, "categories": 3, "seed": 3} | options)))
    build(raw, BuildOptions(progress=False)).save(folder / "other")
    return folder / "other"


def test_a_second_policys_log_is_judged_and_its_test_slice_left_alone(small_shop: Path, tmp_path: Path) -> None:
    world = World.load(small_shop / "world")
    other = _other_log(tmp_path, epsilon=1.0)
    replayed = replay_other(world, other)
    assert replayed.rows.shown.all()
    assert len(np.unique(replayed.rows.user)) > 200, "all its users, not the world's half"
    base = item_rate_baseline(replayed.rows, world.response.heads, world.n_items)
    gates = transfer_gates(transfer_slices(world, other, base), Tolerances(), 0)
    assert [gate.head for gate in gates] == ["click", "purchase"]
    assert all(gate.name == "transfer" and gate.verdict != "NOT MEASURED" for gate in gates)
    assert read_json(other / "meta.json")["test_reads"] == 0


def test_another_catalogue_is_no_second_policy(small_shop: Path, tmp_path: Path) -> None:
    other = _other_log(tmp_path, items=16)
    with pytest.raises(InputError, match="items that the world does not have"):
        replay_other(World.load(small_shop / "world"), other)


@pytest.mark.parametrize(("option", "value"), [("seed", -1), ("bootstraps", 0), ("sessions", 0)])
def test_bad_options_are_named(option: str, value: int) -> None:
    with pytest.raises(InputError, match=option):
        AssessOptions(**{option: value})


def test_every_verdict_has_its_exit_code() -> None:
    assert EXIT == {"PASS": 0, "FAIL": 3, "NOT ENOUGH DATA": 4}


@pytest.fixture(scope="module")
def held(small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, HeldOut]:
    data = tmp_path_factory.mktemp("held") / "data"
    shutil.copytree(small_shop / "data", data)
    world = World.load(small_shop / "world")
    return world, read_held_out(world, data, 300, 0)


def _even(items: list[int], world: World) -> JudgedPolicy:
    """A policy that chooses evenly among some items, whatever it sees."""
    row = np.isin(world.action_item, items) / np.isin(world.action_item, items).sum()
    return JudgedPolicy("even", "summary", EnvOptions().resolve(world), lambda obs, mask: np.tile(row, (len(obs), 1)))


def test_a_policy_is_looked_up_under_the_logged_one(held: tuple[World, HeldOut]) -> None:
    world, found = held
    usual, rare = [0, 1, 2], [12, 13, 14]
    rates = np.full_like(world.logged_rates, 1.0 / 12)
    rates[:, rare] = 1e-4
    copy = replace(world, logged_rates=rates / rates.sum(axis=1, keepdims=True))
    tol = Tolerances()
    assert support_gate(copy, found, _even(usual, copy), tol, 0).verdict == "PASS"
    gate = support_gate(copy, found, _even(rare, copy), tol, 0)
    assert gate.verdict == "FAIL"
    assert gate.figure == 1.0
    mixed = support_gate(copy, found, _even([0, 12], copy), tol, 0)
    assert mixed.figure == pytest.approx(0.5, abs=0.1)
    assert mixed == support_gate(copy, found, _even([0, 12], copy), tol, 0)
    item, chance, own, candidates = choices(copy, found, _even([0, 12], copy), 0.015, 0)
    assert set(candidates.tolist()) == {15}
    assert set(item.tolist()) == {0, 12}
    np.testing.assert_array_equal(chance < 1e-3, item == 12)
    assert own == pytest.approx(3e-4, rel=0.01)
    assert "as rare" in gate.detail
    nothing = support_gate(copy, found, _even([-1], copy), tol, 0)
    assert nothing.verdict == "NOT ENOUGH DATA"
    assert support_gate(copy, found, None, tol, 0).verdict == "NOT MEASURED"


def test_a_run_is_judged_by_the_command(shop: Path) -> None:
    train("popular", shop / "world", shop / "run", TrainSettings(env=EnvOptions(), episodes=8), bar=False)
    found = run_fidelity(FidelityConfig(shop / "world", shop / "data", run=shop / "run", sessions=200, bootstraps=10))
    gate = next(x for x in found["report"]["gates"] if x["name"] == "support")
    assert gate["verdict"] != "NOT MEASURED"
    assert "popular" in gate["detail"]
    shutil.copytree(shop / "world-judge", shop / "w2")
    with pytest.raises(ArtefactError, match="not the world of this run"):
        run_fidelity(FidelityConfig(shop / "w2", shop / "data", run=shop / "run"))
    assert read_json(shop / "data" / "meta.json")["test_reads"] == 1


def test_roll_outs_of_logged_sessions_are_counted_as_the_log_has_them(held: tuple[World, HeldOut]) -> None:
    world, found = held
    rolled = sessions(world, found, seed=0)
    assert not isinstance(rolled, str)
    log = found.log
    test = log.shown & np.isin(log.session, found.start_session)
    assert rolled.stats.real["responses"].sum() == np.nansum(log.click[test] == 1)
    assert rolled.stats.real["responses_purchase"].sum() == np.nansum(log.purchase[test] == 1)
    slots = len(np.unique(np.stack([log.session[test], log.time[test]]), axis=1)[0])
    assert rolled.stats.real["length"].sum() == slots
    assert rolled.bytes[0] == rolled.bytes[1]
    # A share of all responses is the mean of its column, without a made-up value where nothing happened.
    known = rolled.stats.real["repeat_share"].mean()
    assert 0 <= known <= 1
    assert known == pytest.approx(rolled.real_features[:, 1].sum() / rolled.real_features[:, 0].sum())


def test_a_world_whose_users_never_leave_shows_in_the_length(held: tuple[World, HeldOut]) -> None:
    world, found = held
    arrays = world.response.to_arrays()
    leave = world.response.heads.index("leave")
    platt = arrays["platt"].copy()
    platt[leave, :, 1] -= 50
    stayed = replace(world, response=type(world.response).from_arrays(arrays | {"platt": platt}, world.response.config))
    plain, patient = sessions(world, found, 0), sessions(stayed, found, 0)
    assert not isinstance(plain, str)
    assert not isinstance(patient, str)
    real = plain.stats.real["length"].mean()
    assert plain.stats.simulated["length"].mean() == pytest.approx(real, rel=0.25)
    assert patient.stats.simulated["length"].mean() > 1.3 * real
    assert (patient.stats.simulated["length"] == 10).all()
