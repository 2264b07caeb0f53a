"""What `recenv evaluate` is made of: decisions with the state before them; logs and requests that it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from off_policy_logs import QUICK, altered, ask, randomised_email

from recenv.core.errors import ArtefactError, InputError, UnsupportedError
from recenv.data.schema import SPLITS, Dataset
from recenv.data.synthetic_email import EmailTruth
from recenv.data.truth import Truth
from recenv.observation import layout
from recenv.response.log import encode_log
from recenv.response.replay import replay
from recenv.scripts.evaluate import EvaluateConfig, run
from recenv.trust.decisions import Actions, logged_decisions
from recenv.trust.log_problem import read_problem
from recenv.trust.off_policy import value_policies
from recenv.trust.problem import Problem, Settings
from recenv.world import World


@pytest.fixture(scope="module")
def email(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return randomised_email(tmp_path_factory.mktemp("email"), 3000)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory, small_shop: Path) -> Path:
    """The small shop's log without its propensities."""
    return altered(small_shop / "data", tmp_path_factory.mktemp("blind") / "data", propensity=np.nan)


def test_the_state_before_a_decision_is_the_one_that_fit_replays(small_shop: Path) -> None:
    world, data = World.load(small_shop / "world"), Dataset.load(small_shop / "data", splits=SPLITS)
    found = logged_decisions(data, world)
    ids = np.unique(data.events["user_id"].astype(str))
    log = encode_log(data, world.items["item_id"].to_pylist(), ids, [])
    users = data.users.set_index("user_id").loc[ids]
    profile = world.profile_encoder.encode({c: users[c].tolist() for c in users.columns}, len(ids))
    score = log.shown & (log.split == SPLITS.index("test"))
    done = replay(world.spec, log, profile, score, np.zeros(0, np.int64), False)
    width = max(stop for _, stop in layout(world.spec, "summary").values())
    assert len(found) == score.sum()
    mine = np.lexsort((found.action, found.step, found.session))
    theirs = np.lexsort((log.item[done.row], log.time[done.row], log.session[done.row]))
    ours = found.obs[found.moment[mine], :width]
    assert np.array_equal(ours, done.rows.visit_obs[done.rows.visit[theirs]])
    assert found.action[mine].tolist() == (log.item[done.row][theirs] + 1).tolist()
    assert ours.std() > 0


def test_what_was_shown_before_in_the_session_is_not_allowed_again(small_shop: Path) -> None:
    world, data = World.load(small_shop / "world"), Dataset.load(small_shop / "data", splits=SPLITS)
    found = logged_decisions(data, world)
    assert found.step.max() > 2
    left = found.allowed[found.moment].sum(axis=1)
    assert (left == world.n_items - found.step).all()
    mask = found.mask(world, slice(0, 5))
    assert not mask[:, 0].any()  # nothing is never shown in this log
    truth = Truth.load(small_shop / "data")
    rows = np.flatnonzero(found.step == 1)[:50]
    user = truth.users(np.unique(data.events.loc[data.events["split"] == "test", "user_id"].astype(str)))
    chance = truth.propensities(user[found.user[rows]], ~found.allowed[found.moment[rows]])
    assert np.allclose(chance[np.arange(50), found.action[rows] - 1], found.propensity[rows])


def test_showing_nothing_and_copies_are_actions_where_the_log_has_them(email: Path) -> None:
    world, data = World.load(email / "world"), Dataset.load(email / "data", splits=SPLITS)
    found = logged_decisions(data, world)
    assert found.actions.copies
    assert found.nothing
    truth = EmailTruth.from_bytes(data.extras)
    test = data.events[data.events["split"] == "test"].sort_values("user_id")
    order = np.argsort(found.user)
    ids, copies = np.array(world.items["item_id"].to_pylist()), np.array(world.copies["copy_id"].to_pylist())
    names = [
        ("__none__", "") if a == 0 else (ids[world.action_item[a]], copies[world.action_copy[a]])
        for a in found.action[order]
    ]
    assert [n[0] for n in names] == test["item_id"].tolist()
    assert [n[1] for n in names] == test["copy_id"].fillna("").tolist()
    assert set(truth.item_id) >= {n[0] for n in names}


def test_copies_collapse_to_items_by_summing() -> None:
    actions = Actions(np.array([0, 1, 1, 2, 3, 3]), 4, False)
    table = np.array([[0.0, 0.1, 0.2, 0.3, 0.15, 0.25]])
    assert actions.collapse(table).tolist() == [pytest.approx([0.0, 0.3, 0.3, 0.4])]


@pytest.mark.parametrize(("exposure", "named"), [("derived", "set of items"), ("none", "no exposure was recorded")])
def test_logs_without_single_decisions_are_refused_before_the_slice_is_read(
    small_shop: Path, tmp_path: Path, exposure: str, named: str
) -> None:
    data = altered(small_shop / "data", tmp_path / "d", meta={"exposure": exposure, "test_reads": 0})
    with pytest.raises(UnsupportedError, match=named):
        ask(small_shop, data)
    assert json.loads((data / "meta.json").read_text())["test_reads"] == 0


def test_many_items_at_one_moment_are_no_decision(small_shop: Path, tmp_path: Path) -> None:
    dataset = Dataset.load(small_shop / "data", splits=SPLITS)
    world = World.load(small_shop / "world")
    shown = dataset.events[(dataset.events["kind"] == "impression") & (dataset.events["split"] == "test")]
    wide = shown.iloc[:1].loc[lambda t: t.index.repeat(17)]
    many = dataclasses.replace(dataset, events=wide.assign(item_id=[f"i{k:04d}" for k in range(15)] + ["__none__"] * 2))
    found = logged_decisions(many, world)  # 16 different: a slate
    assert len(found) == 17
    from recenv.trust import decisions

    with pytest.raises(UnsupportedError, match="17 items were shown at one moment"):
        decisions._single(np.zeros(17, np.int64), np.arange(17))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"agents": ("dqn",)}, "has to be trained"),
        ({"agents": ("moon",)}, "moon"),
        ({"agents": ()}, "no policy"),
        ({"world": None}, "--run or --world"),
        ({"reward": "smile"}, "smile"),
        ({"data": Path("nowhere")}, "nowhere"),
        ({"world": Path("nowhere")}, "nowhere"),
        ({"run": Path("nowhere")}, "nowhere"),
    ],
)
def test_bad_requests_are_named(small_shop: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises((InputError, ArtefactError), match=named):
        ask(small_shop, **change)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"propensity": 1e-9}, "below 1e-06"),
        ({"click": np.float32("nan")}, "no click was recorded"),
        ({"split": lambda s: s.where(s != "test", "train")}, "no impressions of split 'test'"),
        ({"split": lambda s: s.where(s != "train", "validation")}, "train split"),
    ],
)
def test_bad_logs_are_named(small_shop: Path, tmp_path: Path, columns: dict[str, Any], named: str) -> None:
    data = altered(small_shop / "data", tmp_path / "d", **columns)
    with pytest.raises(InputError, match=named):
        ask(small_shop, data)


def test_small_propensities_are_clipped_when_asked(small_shop: Path, tmp_path: Path) -> None:
    data = altered(small_shop / "data", tmp_path / "d", propensity=lambda p: p.mask(p.index % 50 == 0, 1e-9))
    report = ask(small_shop, data, settings=Settings("click", n_boot=50, clip=0.01))
    assert report["policies"][0]["weights"]["propensity_min"] == pytest.approx(0.01)


def test_what_was_logged_is_audited_not_what_clipping_makes_of_it(small_shop: Path) -> None:
    plain, clipped = (ask(small_shop, settings=Settings("click", n_boot=50, clip=c)) for c in (None, 0.2))
    assert clipped["policies"][0]["weights"]["propensity_min"] == pytest.approx(0.2)
    assert clipped["audit"] == plain["audit"]
    assert plain["audit"]["verdict"] == "OK"


def test_a_world_of_another_catalogue_is_refused(small_shop: Path, email: Path) -> None:
    with pytest.raises(InputError, match="is not in the world"):
        ask(small_shop, email / "data")


def test_another_log_over_the_same_catalogue_is_said_to_be_unseen(small_shop: Path, blind: Path) -> None:
    assert "fitted on other data" in ask(small_shop, blind, ("random",))["seen"][0]


@pytest.mark.parametrize("bad", [np.nan, -0.5, 2.0])
def test_probabilities_that_are_none_are_named(email: Path, bad: float) -> None:
    problem: Problem = read_problem(email / "data", World.load(email / "world"), QUICK).problem

    def choose(obs: np.ndarray, mask: np.ndarray) -> np.ndarray:
        chance = mask / mask.sum(axis=1, keepdims=True)
        chance[0, 1] = bad
        return np.asarray(chance)

    with pytest.raises(InputError, match="policy 'odd'"):
        value_policies(problem, {"odd": ("full", choose)})


@pytest.mark.parametrize(
    "given", [{"folds": 1}, {"n_boot": 0}, {"clip": 0.0}, {"clip": float("nan")}, {"seed": -1}, {"level": 1.0}]
)
def test_bad_settings_are_named(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings(**given)


def test_the_command_needs_a_folder_to_write_to(small_shop: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(small_shop / "data", world=small_shop / "world")
    with pytest.raises(InputError, match="--out"):
        run(config)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        run(dataclasses.replace(config, out=tmp_path / "file"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"estimators": ("dr", "dr")}, "twice"),
        ({"estimators": ("moon",)}, "moon"),
        ({"interval": "wide"}, "wide"),
        ({"interval": "bernstein", "estimators": ("sndr",)}, "a ratio"),
        ({"interval": "bernstein", "largest": 0.5}, "leaves"),
        ({"largest": -1.0}, "largest"),
        ({"estimators": ("mips",), "groups": 1}, "no number of groups"),
    ],
)
def test_bad_choices_of_estimators_are_named(email: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ask(email, agents=("random",), settings=dataclasses.replace(QUICK, **change))


def test_bernstein_on_revenue_needs_the_most_a_decision_can_bring() -> None:
    with pytest.raises(InputError, match="most that one decision"):
        Settings("revenue", interval="bernstein").reward_range()
    assert Settings("revenue", interval="bernstein", largest=80.0).reward_range() == (0.0, 80.0)
