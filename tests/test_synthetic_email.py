"""The randomised e-mail test: its propensities, its truth, and what of it survives `prepare`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recenv.core.errors import ArtefactError, InputError
from recenv.data import sources
from recenv.data.columns import NONE_ITEM
from recenv.data.logs import build
from recenv.data.schema import Dataset
from recenv.data.synthetic_email import EmailOptions, EmailTruth, load, make_email_shop
from recenv.scripts.prepare import PrepareConfig, run

OPTIONS = EmailOptions(users=20_000, tilt=0.5, seed=4)


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return load(options=OPTIONS).events


@pytest.fixture(scope="module")
def truth() -> EmailTruth:
    return make_email_shop(OPTIONS).truth


def _action(events: pd.DataFrame, truth: EmailTruth) -> np.ndarray:
    keys = [f"{i}|{c}" for i, c in zip(truth.item_id, truth.copy_id)]
    wanted = events["item_id"] + "|" + events["copy_id"].fillna("")
    return np.asarray(pd.Index(keys).get_indexer(wanted))


def test_mails_are_sent_as_the_propensities_say(events: pd.DataFrame, truth: EmailTruth) -> None:
    action = _action(events, truth)
    assert action.min() == 0
    user = np.arange(OPTIONS.users)
    assert np.allclose(events["propensity"], truth.propensity[user, action])
    assert np.allclose(truth.propensity.sum(axis=1), 1)
    for k in range(len(truth.item_id)):
        weighted = ((action == k) / events["propensity"]).sum() / len(events)
        assert weighted == pytest.approx(1, abs=0.08), k
    assert len(np.unique(truth.propensity[:, 1].round(6))) == 3  # tilted by segment


def test_what_was_logged_is_worth_what_the_truth_says(events: pd.DataFrame, truth: EmailTruth) -> None:
    for response in ("click", "purchase", "revenue"):
        values = events[response]
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - truth.value(truth.propensity, response)) < 4 * error, response


def test_mailing_beats_the_holdout_and_choice_matters(truth: EmailTruth) -> None:
    fixed = np.eye(truth.click.shape[1])
    values = [truth.value(np.broadcast_to(row, truth.click.shape)) for row in fixed]
    best = truth.value((truth.click == truth.click.max(axis=1, keepdims=True)).astype(float))
    assert values[0] < 0.5 * min(values[1:])
    assert best > 1.05 * max(values)


def test_it_survives_prepare(tmp_path: Path) -> None:
    written = run(PrepareConfig("synthetic-email", tmp_path / "d", users=500, items=4, copies=3, progress=False))
    data = Dataset.load(tmp_path / "d", splits=("train", "calibration", "validation", "test"))
    assert written["propensity"] == "known"
    assert len(data.copies) == 12
    assert set(data.events["split"].unique()) == {"train", "calibration", "validation", "test"}
    none = data.events[data.events["item_id"] == NONE_ITEM]
    assert none["copy_id"].isna().all()
    assert 20 < len(none) < 90
    kept = EmailTruth.from_bytes(data.extras)
    assert kept.user_id.tolist() == data.users["user_id"].tolist()


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        build(load(options=EmailOptions(users=300, seed=seed))).save(tmp_path / name)
    files = [[(tmp_path / n / f).read_bytes() for f in ("events.parquet", "email_truth.npz")] for n in "abc"]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_the_truth_is_checked(truth: EmailTruth) -> None:
    files = truth.to_bytes()
    again = EmailTruth.from_bytes(files)
    assert np.array_equal(again.click, truth.click)
    with pytest.raises(ArtefactError, match="missing"):
        EmailTruth.from_bytes({"email_truth.npz": files["email_truth.npz"]})
    with pytest.raises(ArtefactError, match="version"):
        EmailTruth.from_bytes(files | {"email_truth.json": b"{}"})
    with pytest.raises(InputError, match="shape"):
        truth.value(np.ones((3, 2)))
    with pytest.raises(InputError, match="response"):
        truth.value(truth.propensity, "smile")


@pytest.mark.parametrize(
    "given",
    [{"users": 3}, {"items": 1}, {"items": 99}, {"copies": 0}, {"mails": 0}, {"holdout": 1.0}, {"tilt": -1.0},
     {"seed": -1}, {"users": True}, {"items": 2.5}, {"holdout": float("nan")}],
)  # fmt: skip
def test_options_out_of_range_are_named(given: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        EmailOptions(**given)  # type: ignore[arg-type]


def test_it_reads_no_files() -> None:
    with pytest.raises(InputError, match="path"):
        sources.load("synthetic-email", "somewhere")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"source": "synthetic-email", "campaign": "men"}, "campaign"),
        ({"source": "upworthy", "items": 3}, "items"),
        ({"source": "open-bandit", "users": 3}, "users"),
        ({"source": "synthetic", "faulty_weeks": True}, "faulty_weeks"),
        ({"source": "online-retail", "policy": "bts"}, "policy"),
    ],
)
def test_an_option_of_another_source_is_refused(tmp_path: Path, config: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        run(PrepareConfig(out=tmp_path / "d", **config))  # type: ignore[arg-type]
