"""Large action sets: item times copy, copies that the log does not tell, and groups of alike items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2

from recenv.core.errors import InputError
from recenv.trust.ope.inputs import (
    Array,
    CheckedTarget,
    Floats,
    Ints,
    LoggedBandit,
    Target,
    distribution,
    numbers,
    whole,
)

COPY_UNKNOWN = "assumes that the policy's copies work as the logged ones did"


def factored(p_item: Array, p_copy: Array) -> Floats:
    """(n,) p(item) p(copy | item): propensity of an item with its copy, the copy being drawn after the item.

    Raises:
        InputError: lengths apart, NaN, or a probability outside (0, 1].
    """
    item = numbers("p_item", p_item)
    copy = numbers("p_copy", p_copy, item.shape)
    for name, p in (("p_item", item), ("p_copy", copy)):
        if ((p <= 0) | (p > 1)).any():
            raise InputError(name, f"[{p.min():g}, {p.max():g}] leaves (0, 1]", "Give probabilities of what was shown.")
    return item * copy


@dataclass(frozen=True)
class ItemCopies:
    """The actions as pairs: action a is item item[a] with copy copy[a]."""

    item: Array
    """(A,) int item of each action."""
    copy: Array
    """(A,) int copy of each action, >= 0."""


def item_copy_log(
    log_item: Array,
    log_copy: Array,
    p_item: Array,
    p_copy: Array,
    reward: Array,
    user: Array,
    actions: ItemCopies,
    probability: Array,
    q: Array | None = None,
) -> tuple[LoggedBandit, Target, str]:
    """(log, target, label) over items with copies, some logged without copy.

    Where the copy is known: propensity p(item) p(copy | item) and weight pi_e(item, copy) / propensity. Where it is
    not (log_copy -1, p_copy ignored): the copy is summed out, propensity p(item), weight pi_e(item) / p(item),
    q(item) = sum_c pi_e(c | item) q(item, c). That takes the reward as if the policy's own copies had been shown: the
    label says so.

    For callers with such a log in arrays. `recenv evaluate` does not use it: there the copy counts where every row of
    an item with copies tells one, and is summed out for the whole log where one row does not (`decisions.Actions`);
    propensities of pairs then fail the audit, as they should, since they are not those of items.

    Args:
        log_item, log_copy: (n,) int, copy -1 where the log has none. p_item, p_copy: (n,) their propensities.
        reward, user: (n,). actions: the pairs. probability: (n, A) pi_e over pairs. q: (n, A) over pairs.

    Raises:
        InputError: shapes apart, probabilities out of range, an item or a pair that is no action.
    """
    item, copy = whole("log_item", log_item), whole("log_copy", log_copy)
    of_item, of_copy = whole("actions.item", actions.item), whole("actions.copy", actions.copy, len(actions.item))
    n = len(item)
    table = distribution("probability", probability, (n, len(of_item)))
    known = copy >= 0
    chance = numbers("p_item", p_item, (n,)).copy()
    if len(copy) != n or len(np.asarray(p_copy)) != n:
        raise InputError("log_copy, p_copy", f"not {n} rows", "Give one for each logged row, -1 where unknown.")
    chance[known] = factored(chance[known], np.asarray(p_copy)[known])
    same = (item[:, None] == of_item) & (~known[:, None] | (copy[:, None] == of_copy))  # (n, A)
    if not same.any(axis=1).all():
        row = int(np.flatnonzero(~same.any(axis=1))[0])
        raise InputError(f"log_item, row {row}", f"item {item[row]} with copy {copy[row]} is no action", "Add it.")
    chosen = (table * same).sum(axis=1)
    log = LoggedBandit(same.argmax(axis=1), reward, chance, user, len(of_item))
    label = "" if known.all() else COPY_UNKNOWN
    if q is None:
        return log, Target(chosen=np.minimum(chosen, 1.0)), label
    model = numbers("q", q, table.shape)
    share = np.where(chosen[:, None] > 0, table, 1.0) * same
    logged = (share * model).sum(axis=1) / share.sum(axis=1)
    value = (table * model).sum(axis=1) / table.sum(axis=1)
    return log, Target(chosen=np.minimum(chosen, 1.0), q_logged=logged, q_target=value), label


def group_actions(embedding: Array, n_groups: int, seed: int = 0) -> Ints:
    """(A,) group of each action: k-means (k-means++ starts) on embeddings (A, d).

    Raises:
        InputError: NaN, not (A, d), or n_groups outside [1, A].
    """
    points = numbers("embedding", embedding)
    if points.ndim != 2:
        raise InputError("embedding", f"has shape {points.shape}", "Give (A, d).")
    if not 1 <= n_groups <= len(points):
        raise InputError("n_groups", str(n_groups), f"Give 1 to {len(points)}.")
    distinct, back = np.unique(points, axis=0, return_inverse=True)
    if n_groups >= len(distinct):
        return back.ravel().astype(np.int64)
    _, label = kmeans2(distinct, n_groups, minit="++", seed=np.random.default_rng(seed), missing="warn")
    return np.unique(label[back.ravel()], return_inverse=True)[1].astype(np.int64)


def marginal_weights(log: LoggedBandit, target: CheckedTarget) -> Floats:
    """(n,) pi_e(g | x) / pi_b(g | x), g the group of the logged action: the group takes the action's place.

    Unbiased where the reward depends on the action through its group only. With the whole logging distribution
    (`log.behaviour`) pi_b(g | x) is a sum; without it, pi_b(g | x_i) = p_i / pi_b(a_i | g), and pi_b(a | g) is
    counted in the log: that takes the choice within a group not to depend on the context.
    Saito and Joachims, "Off-policy evaluation for large action spaces via embeddings", ICML 2022, sections 3 and 3.3.

    Raises:
        InputError: no groups, or no table of pi_e.
    """
    if target.groups is None or target.table is None:
        raise InputError("mips", "needs `groups` and the table `probability`", "Give Target.groups, see group_actions.")
    groups, weight = target.groups, np.ones(len(log)) if log.weight is None else log.weight
    member = np.equal.outer(np.arange(groups.max() + 1), groups).astype(np.float64)  # (G, A)
    own, index = groups[log.action], np.arange(len(log))
    chosen = (target.table @ member.T)[index, own]
    if log.behaviour is not None:
        return chosen / (log.behaviour @ member.T)[index, own]
    count = np.bincount(log.action, weight, minlength=log.n_actions)
    within = count / np.maximum(member.T @ (member @ count), 1e-300)
    return chosen * within[log.action] / log.propensity
