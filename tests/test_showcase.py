"""The texts that a benchmark shows beside its items: counted, rendered, escaped."""

from __future__ import annotations

import numpy as np
import pytest

from recenv.agents.evaluate import evaluate
from recenv.agents.showcase import COLUMNS, markdown_lines, most_shown, page_part
from recenv.agents.training import make_policy
from recenv.env.ansi import wording
from recenv.env.options import EnvOptions
from recenv.env.prepared import load_world
from recenv.world import World


@pytest.fixture(scope="module")
def tiny() -> World:
    return load_world(None)


def test_decisions_are_counted_by_action(tiny: World) -> None:
    options = EnvOptions()
    found = evaluate(make_policy("random", tiny, options, {}, 0), tiny, options, episodes=40, seed=1, envs=8)
    assert found.decisions is not None
    assert found.decisions[0] == 0
    by_item = np.bincount(tiny.action_item[1:], found.decisions[1:], tiny.n_items)
    assert by_item.astype(int).tolist() == found.shown.tolist()


def test_the_most_shown_come_first_with_their_words(tiny: World) -> None:
    decisions = np.zeros(tiny.n_actions, np.int64)
    decisions[[0, 3, 5]] = 100, 10, 30
    rows = most_shown("dqn", decisions, tiny)
    assert [row["share of decisions"] for row in rows] == [0.75, 0.25]
    name, style, words = wording(tiny, int(tiny.action_item[5]), int(tiny.action_copy[5]))
    assert (rows[0]["item"], rows[0]["style"], rows[0]["words"]) == (name, style, words)
    assert name in words
    assert rows[0]["written by"] == "templates"
    assert "{" not in words


def test_words_are_escaped_and_nothing_is_said_where_nothing_was_shown(tiny: World) -> None:
    row = dict(zip(COLUMNS, ("dqn", 0.5, "a|b", "<b>bold</b>", "plain", "gan"), strict=True))
    assert "&lt;b&gt;bold" in page_part([row])
    assert "<b>" not in page_part([row])
    assert any("a\\|b" in line for line in markdown_lines([row]))
    assert most_shown("dqn", np.zeros(tiny.n_actions, np.int64), tiny) == []
    assert markdown_lines([]) == []
    assert page_part([]) == ""
