"""The causal verdict and the overlap figures behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recenv.core.errors import InputError
from recenv.trust.causal import ADJUSTED, OBSERVATIONAL, RANDOMISED, causal_verdict
from recenv.trust.ope.audit import audit
from recenv.trust.ope.inputs import LoggedBandit, Target
from recenv.trust.overlap import overlap
from recenv.trust.placebo import Placebo, future_exposure

KNOWN = {"propensity": "known", "exposure": "observed"}
UNKNOWN = {"propensity": "unknown", "exposure": "derived"}


def email(seed: int = 0, n: int = 20_000) -> tuple[LoggedBandit, np.ndarray]:
    """A randomised e-mail test: 4 texts, probabilities by segment; returns the log and the whole distribution."""
    rng = np.random.default_rng(seed)
    table = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])[rng.integers(0, 2, n)]
    action = (rng.random(n)[:, None] > np.cumsum(table, axis=1)).sum(axis=1).clip(max=3)
    reward = (rng.random(n) < 0.1 + 0.02 * action).astype(float)
    return LoggedBandit(action, reward, table[np.arange(n), action], np.arange(n), 4, behaviour=table), table


def placebo(effect: float, n: int = 40_000, seed: int = 0) -> Placebo:
    rng = np.random.default_rng(seed)
    shown = rng.random(n) < 0.5
    y = (rng.random(n) < 0.2 * np.where(shown, effect, 1.0)).astype(float)
    return future_exposure(y, shown, rng.integers(0, 5, n), rng.integers(0, 900, n), within="item and week")


def ours(log: LoggedBandit, table: np.ndarray) -> Any:
    return overlap(log, Target(probability=table))


def test_a_randomised_email_log_is_randomised() -> None:
    log, _ = email()
    found = causal_verdict(KNOWN, audit(log))
    assert found.verdict == RANDOMISED
    assert "fits" in found.why[0]
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == RANDOMISED


def test_the_randomised_email_source_is_randomised() -> None:
    source = pytest.importorskip("recenv.data.synthetic_email", reason="the source is not there")
    raw = source.load(options=source.EmailOptions(users=20_000, tilt=1.0))
    truth = source.EmailTruth.from_bytes(raw.extras)
    where = {name: k for k, name in enumerate(zip(truth.item_id, truth.copy_id))}
    copy = raw.events["copy_id"].where(raw.events["copy_id"].notna(), "")
    action = np.array([where[pair] for pair in zip(raw.events["item_id"], copy)])
    user = np.searchsorted(truth.user_id, raw.events["user_id"].to_numpy().astype(str))
    p = raw.events["propensity"].to_numpy()
    log = LoggedBandit(
        action, raw.events["click"].to_numpy(), p, user, len(truth.item_id), behaviour=truth.propensity[user]
    )
    assert causal_verdict(raw.meta, audit(log)).verdict == RANDOMISED


def test_propensities_that_fail_the_audit_are_not_randomised() -> None:
    log, _ = email()
    wrong = replace(log, propensity=np.full(len(log), 0.25), behaviour=None, action=np.minimum(log.action, 2))
    found = causal_verdict(KNOWN, audit(wrong))
    assert found.verdict == OBSERVATIONAL
    assert "PROPENSITIES WRONG" in found.why[0]


def test_propensities_not_audited_are_not_randomised() -> None:
    assert causal_verdict(KNOWN).verdict == OBSERVATIONAL
    assert "audit" in causal_verdict(KNOWN).why[0]
    log, _ = email()
    assert causal_verdict({**KNOWN, "exposure": "derived"}, audit(log)).verdict == OBSERVATIONAL


def test_a_failed_placebo_contradicts_equal_chances_but_not_chances_that_looked_at_the_past() -> None:
    log, _ = email()
    bad = placebo(1.4)
    assert bad.failed
    assert causal_verdict({**KNOWN, "propensity": "uniform"}, audit(log), [bad]).verdict == OBSERVATIONAL
    found = causal_verdict(KNOWN, audit(log), [bad])
    assert found.verdict == RANDOMISED
    assert any("weights by propensity" in line for line in found.why)


def test_adjusted_needs_a_sharp_placebo_estimated_propensities_and_overlap() -> None:
    log, table = email()
    good, dull = placebo(1.0), placebo(1.0, n=300)
    assert good.informative
    assert not dull.informative
    there = ours(log, table)
    assert causal_verdict(UNKNOWN, None, [good], there, estimated=True).verdict == ADJUSTED
    for placebos, figures, estimated in (([dull], there, True), ([], there, True), ([good], None, True),
                                         ([good], there, False)):  # fmt: skip
        assert causal_verdict(UNKNOWN, None, placebos, figures, estimated).verdict == OBSERVATIONAL
    assert causal_verdict({**UNKNOWN, "exposure": "none"}, None, [good], there, True).verdict == OBSERVATIONAL


def test_a_failed_placebo_is_observational_and_said_in_words() -> None:
    """As on Complete Journey: an item that will be shown next time is bought more this time."""
    log, table = email()
    bad = replace(placebo(1.31), real=1.47)
    found = causal_verdict(UNKNOWN, None, [bad], ours(log, table), estimated=True)
    assert found.verdict == OBSERVATIONAL
    text = " ".join(found.why)
    assert "shown next time is bought" in text
    assert "1.47 times" in text
    assert found.as_dict()["placebo"][0]["failed"]


def test_a_log_that_does_not_say_is_an_error() -> None:
    with pytest.raises(InputError, match="propensity"):
        causal_verdict({"exposure": "observed"})
    with pytest.raises(InputError, match="propensity"):
        causal_verdict({"propensity": "guessed"})


def test_overlap_of_the_logged_policy_is_full_and_of_an_unseen_action_is_not() -> None:
    log, table = email()
    full = ours(log, table)
    assert full.enough
    assert full.ess == pytest.approx(len(log))
    assert sum(full.logged) == pytest.approx(1.0)
    assert full.target is not None
    assert sum(full.target) == pytest.approx(1.0)
    wide = np.concatenate([table, np.zeros((len(log), 1))], axis=1)
    unseen = Target(probability=np.tile([0.0, 0.0, 0.0, 0.5, 0.5], (len(log), 1)))
    half = overlap(replace(log, n_actions=5, behaviour=wide), unseen)
    assert half.below["0.001"] == pytest.approx(0.5)
    assert not half.enough
    assert "50.0 %" in half.words()
    blind = overlap(replace(log, n_actions=5, behaviour=None), unseen)
    assert not blind.enough
    assert blind.unseen == pytest.approx(0.5, abs=0.05)
    assert json.dumps(blind.as_dict())


def test_overlap_without_the_whole_distribution_allows_for_chance() -> None:
    log, table = email()
    assert ours(replace(log, behaviour=None), table).enough


@pytest.mark.parametrize("bad", [{"bins": 1}, {"bins": 2.5}, {"floors": ()}, {"floors": (1.5,)}, {"floors": ("a",)}])
def test_bad_options_of_overlap(bad: dict[str, Any]) -> None:
    log, table = email(n=50)
    with pytest.raises(InputError, match="option"):
        overlap(log, Target(probability=table), **bad)
