"""How a policy ranks the whole catalogue for held-out sessions: item scores of any policy, its metrics, its curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import POLICY_FILE, Policy, load_policy
from recenv.agents.candidate_policy import CandidatePolicy
from recenv.agents.items import ActionTable, BestItemPolicy, ItemPolicy
from recenv.agents.tracking import Board
from recenv.agents.training import POLICY_FOLDER
from recenv.observation import layout
from recenv.trust.ranking import ranking_report

if TYPE_CHECKING:
    from recenv.trust.visits import Visits
    from recenv.world import World

RANKED = {"recall": "shop/recall_at_k", "ndcg": "shop/ndcg_at_k"}
"""Metric -> tag."""


def catalogue_scores(policy: Policy, world: World, obs: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """(n, n_items) how highly a policy ranks each item, everything being on offer, from full observations (n, size).

    By its own item scores, item weights or action values where it has them (an item counts as its best copy). Any other
    policy is asked k times, what it took being masked: then only the first k items are told apart.
    """
    if isinstance(policy, ItemPolicy):
        every = np.ones((len(obs), world.n_items), np.bool_)
        named: Any = policy.scores if isinstance(policy, BestItemPolicy) else policy.weights
        return np.asarray(named(obs, every), np.float64)
    values = getattr(policy, "values", None)
    if values is None or isinstance(policy, CandidatePolicy):
        return _by_elimination(policy, world, obs, k)
    mask = np.ones((len(obs), world.n_actions), np.bool_)
    scores = np.full((len(obs), world.n_items), -np.inf)
    np.maximum.at(scores.T, world.action_item[1:], np.asarray(values(obs, mask), np.float64)[:, 1:].T)
    return scores


def _by_elimination(policy: Policy, world: World, obs: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    seen = obs
    if policy.observation != "full":
        seen = obs[:, : max(stop for _, stop in layout(world.spec, policy.observation).values())]
    table, rows = ActionTable(world), np.arange(len(obs))
    mask = np.ones((len(obs), world.n_actions), np.bool_)
    mask[:, 0] = False
    scores = np.zeros((len(obs), world.n_items))
    for place in range(min(k, world.n_items)):
        action = policy.probabilities(seen, mask).argmax(axis=1)
        item = table.item[action]
        scores[rows, item] = k - place
        mask &= table.item[None] != item[:, None]
    return scores


def rank_visits(policy: Policy, visits: Visits, k: int, n_boot: int = 200, seed: int = 0) -> dict[str, Any]:
    """`recenv.trust.ranking.ranking_report` of a policy at held-out sessions."""
    world = visits.world
    scores = np.empty((len(visits), world.n_items))
    for rows, obs in visits.observations():
        scores[rows] = catalogue_scores(policy, world, obs, k)
    user, vectors = visits.start.user, world.spec.item_vectors
    return ranking_report(
        scores, visits.relevant, visits.own(), user, vectors, visits.users, visits.n_users, k, n_boot, seed
    )


def ranking_tags(report: dict[str, Any]) -> dict[str, float]:
    """The figures of a report that stand among the benchmark's curves, by tag."""
    return {tag: float(report["parts"]["all"][metric]["value"]) for metric, tag in RANKED.items()}


def rank_runs(events: Path, visits: Visits, steps: int, k: int = 10) -> dict[str, dict[str, float]]:
    """Rank with the saved policy of every run below `events`; run -> figures by tag.

    They become flat lines over `steps` of the run's own TensorBoard curves, for learners too: what was trained last.
    """
    found = {}
    for folder in sorted(path.parent.parent for path in events.glob(f"*/{POLICY_FOLDER}/{POLICY_FILE}")):
        policy = load_policy(folder / POLICY_FOLDER, visits.world)
        found[folder.name] = ranking_tags(rank_visits(policy, visits, k, n_boot=1))
        board = Board(folder)
        board.flat(steps, found[folder.name])
        board.close()
    return found
