"""Ranking metrics of held-out sessions over the FULL catalogue, with ties taken at their expectation.

n sessions, I items. A policy gives scores (n, I); session s has the relevant items T_s (what was acted on in it). An
item is ranked among all items, not among sampled ones: sampled metrics order systems otherwise (Krichene and Rendle,
"On sampled metrics for item recommendation", KDD 2020). Items of one score stand in random order: with a items
strictly above and m items (itself included) of its own score, an item's rank is uniform on a + 1 .. a + m, and every
metric here is the exact expectation under that (McSherry and Najork, "Computing information retrieval performance
measures efficiently in the presence of tied scores", ECIR 2008). So a policy that scores everything alike gets what
chance gets.

    recall@k = |T_s in the first k| / |T_s|
    NDCG@k   = sum_{i in T_s, rank_i <= k} 1 / log2(1 + rank_i)  /  sum_{r <= min(k, |T_s|)} 1 / log2(1 + r)
    MRR      = 1 / (rank of the first item of T_s)
    coverage = share of the catalogue in any list of k;  Gini of how often each item is in a list
    novelty  = mean over a list of -log2 p_i, p_i the share of users who have acted on i
    diversity = mean over the pairs of a list of 1 - cos(v_i, v_j)

(Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; Vargas and Castells, "Rank and
relevance in novelty and diversity metrics for recommender systems", RecSys 2011; Ziegler et al., "Improving
recommendation lists through topic diversification", WWW 2005, section 3.3.) Split into repeat (items of the user's own
history) and explore (the rest): the two are different tasks and a mean over both hides it (Li et al., "A next basket
recommendation reality check", TOIS 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from recenv.core.enough import too_few
from recenv.core.errors import InputError
from recenv.trust.metrics import UserBootstrap, divide, interval

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
PARTS = ("all", "repeat", "explore", "explore, new items only")
"""Which relevant items count; the last ranks them among the items that are not in the user's history."""


@dataclass(frozen=True)
class Relevant:
    """Relevant items of n sessions, CSR.

    Args:
        ptr: (n + 1,) int64. item: (T,) int64, each item at most once a session.
    """

    ptr: NDArray[np.int64]
    item: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def session(self) -> NDArray[np.int64]:
        """(T,) session of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.ptr))

    def where(self, keep: Bools) -> Relevant:
        """Only the entries marked (T,)."""
        count = np.bincount(self.session[keep], minlength=len(self))
        return Relevant(np.concatenate([[0], np.cumsum(count)]).astype(np.int64), self.item[keep])


@dataclass(frozen=True)
class Standing:
    """Where the relevant items stand: entries in the order of `relevant`.

    Args:
        relevant: of n sessions. above: (T,) int64 competing items of a higher score. tied: (T,) int64 competing items
            of its own score, itself included.
    """

    relevant: Relevant
    above: NDArray[np.int64]
    tied: NDArray[np.int64]

    def per_session(self, entry: Array) -> Array:
        """(n,) sums of entries (T,) by session."""
        return np.bincount(self.relevant.session, entry, len(self.relevant)).astype(np.float64)


def standing(scores: NDArray[Any], relevant: Relevant, within: Bools | None = None) -> Standing:
    """Rank the relevant items among all items, or among those marked in `within`.

    Args:
        scores: (n, I), higher is better; -inf allowed. relevant: of the same n sessions.
        within: (n, I) competing items; relevant items must be among them.

    Raises:
        InputError: shapes apart, a NaN score, an item out of range, or a relevant item outside `within`.
    """
    scores = np.asarray(scores)
    _check(scores, relevant, within)
    session = relevant.session
    if within is not None:
        if not within[session, relevant.item].all():
            raise InputError("within", "a relevant item does not compete", "Take it out, or let it compete.")
        scores = np.where(within, scores, np.nan)  # sorted behind everything
    ranked = np.sort(-scores, axis=1)
    count = np.full(len(scores), scores.shape[1]) if within is None else within.sum(axis=1)
    own = -scores[session, relevant.item]
    above, below = np.empty(len(own), np.int64), np.empty(len(own), np.int64)
    for s in range(len(relevant)):
        part = slice(relevant.ptr[s], relevant.ptr[s + 1])
        line = ranked[s, : count[s]]
        above[part] = np.searchsorted(line, own[part], "left")
        below[part] = np.searchsorted(line, own[part], "right")
    return Standing(relevant, above, below - above)


def _check(scores: NDArray[Any], relevant: Relevant, within: Bools | None) -> None:
    if scores.ndim != 2 or len(scores) != len(relevant):
        raise InputError("scores", f"shape {scores.shape}", f"Give ({len(relevant)}, items), one row a session.")
    if within is not None and within.shape != scores.shape:
        raise InputError("within", f"shape {within.shape}", f"Give {scores.shape}.")
    if np.isnan(scores).any():
        raise InputError("scores", f"a NaN in row {int(np.isnan(scores).any(axis=1).argmax())}", "Give numbers.")
    item = relevant.item
    if len(item) and not (item.min() >= 0 and item.max() < scores.shape[1]):
        raise InputError("relevant items", f"{item.min()}..{item.max()}", f"They run from 0 to {scores.shape[1] - 1}.")


def recall(found: Standing, k: int) -> Array:
    """(n,) expected recall@k; NaN where a session has no relevant item."""
    _check_k(k)
    share = np.clip((k - found.above) / found.tied, 0.0, 1.0)
    return divide(found.per_session(share), np.diff(found.relevant.ptr))


def ndcg(found: Standing, k: int) -> Array:
    """(n,) expected NDCG@k, gains 0 or 1; NaN where a session has no relevant item."""
    _check_k(k)
    running = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])  # discounts of the first r ranks
    first, last = np.minimum(found.above, k), np.minimum(found.above + found.tied, k)
    gained = (running[last] - running[first]) / found.tied
    return divide(found.per_session(gained), running[np.minimum(np.diff(found.relevant.ptr), k)])


def reciprocal_rank(found: Standing) -> Array:
    """(n,) expected 1 / rank of the first relevant item; NaN where there is none.

    Of m items of the best relevant score t are relevant: the first of them is the j-th of the m with probability
    C(m - j, t - 1) / C(m, t).
    """
    n = len(found.relevant)
    session = found.relevant.session
    best = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(best, session, found.above)
    at_best = found.above == best[session]
    together = np.bincount(session[at_best], minlength=n)
    tied = np.zeros(n, np.int64)
    tied[session[at_best]] = found.tied[at_best]
    result = np.full(n, np.nan)
    for s in np.flatnonzero(together):
        m, t = int(tied[s]), int(together[s])
        j = np.arange(1, m - t + 2)
        log_p = _log_choose(m - j, t - 1) - _log_choose(np.array(m), t)
        result[s] = float((np.exp(log_p) / (best[s] + j)).sum())
    return result


def _log_choose(n: NDArray[np.int64], k: int) -> Array:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))


def top(scores: NDArray[Any], k: int, seed: int = 0) -> NDArray[np.int64]:
    """(n, k) the items of the highest scores, best first; ties in an order drawn for each session by `seed`.

    Raises:
        InputError: k below 1 or above the number of items.
    """
    _check_k(k)
    if k > scores.shape[1]:
        raise InputError("k", str(k), f"The catalogue has {scores.shape[1]} items.")
    chance = np.random.default_rng(seed).random(scores.shape, np.float32)
    return np.asarray(np.lexsort((chance, -scores), axis=1)[:, :k], np.int64)


def coverage(lists: NDArray[np.int64], n_items: int) -> float:
    """Share of the catalogue that is in any of the lists (n, k)."""
    return float(len(np.unique(lists)) / n_items)


def gini(counts: NDArray[Any]) -> float:
    """Gini coefficient of non-negative counts: 0 where all are equal, towards 1 where one has all; 0 if all are 0.

    G = sum_i (2 i - n - 1) x_i / (n sum_i x_i), x sorted ascending, i = 1 .. n.
    """
    x = np.sort(np.asarray(counts, np.float64))
    n, total = len(x), x.sum()
    if not total:
        return 0.0
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * total))


def novelty(lists: NDArray[np.int64], users: NDArray[Any], n_users: int) -> Array:
    """(n,) mean self-information of each list (n, k), in bits: -log2((users_i + 1) / (n_users + 1)).

    Args:
        users: (I,) number of users who have acted on each item, of `n_users`. One user is added to both, so that an
            item that nobody has met is the most novel, not infinitely so.
    """
    bits = -np.log2((np.asarray(users, np.float64) + 1.0) / (n_users + 1.0))
    return np.asarray(bits[lists].mean(axis=1))


def diversity(lists: NDArray[np.int64], vectors: NDArray[Any]) -> Array:
    """(n,) mean of 1 - cosine over the pairs of each list (n, k >= 2); a zero vector is orthogonal to all.

    Args:
        vectors: (I, D) item vectors.
    """
    if lists.shape[1] < 2:
        raise InputError("k", "1", "Lists of one item have no pairs: give 2 or more.")
    v = np.asarray(vectors, np.float64)
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    unit = np.where(norm > 1e-12, v / np.maximum(norm, 1e-12), 0.0)[lists]  # (n, k, D)
    k = lists.shape[1]
    within = (unit.sum(axis=1) ** 2).sum(axis=1) - (unit**2).sum(axis=(1, 2))
    return np.asarray(1.0 - within / (k * (k - 1)))


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError("k", f"{k!r}", "Give a whole number of 1 or more.")


def ranking_report(
    scores: NDArray[Any],
    relevant: Relevant,
    own: Bools,
    user: NDArray[Any],
    vectors: NDArray[Any],
    users: NDArray[Any],
    n_users: int,
    k: int = 10,
    n_boot: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of one policy, JSON-able: by part (`PARTS`), and of its lists.

    Intervals: 95 %, bootstrap over users, of the mean over sessions that have a relevant item of the part; none from
    fewer than 20 users with such sessions (`no_interval` says so).

    Args:
        scores: (n, I). relevant: of the n sessions. own: (n, I) items of the user's history before the session.
        user: (n,) user of each session. vectors: (I, D). users: (I,) users who acted on each item, of `n_users`.
    """
    boot = UserBootstrap(user, n_boot, seed)
    repeat = own[relevant.session, relevant.item]
    parts = {
        "all": (relevant, None),
        "repeat": (relevant.where(repeat), None),
        "explore": (relevant.where(~repeat), None),
        "explore, new items only": (relevant.where(~repeat), ~own),
    }
    result: dict[str, Any] = {"k": k, "sessions": len(relevant), "parts": {}}
    for name, (items, within) in parts.items():
        found = standing(scores, items, within)
        values = {"recall": recall(found, k), "ndcg": ndcg(found, k), "mrr": reciprocal_rank(found)}
        result["parts"][name] = {
            "sessions": int((np.diff(items.ptr) > 0).sum()),
            "items": len(items.item),
            "no_interval": too_few(len(np.unique(boot.user[np.diff(items.ptr) > 0])), "users with such sessions"),
            **{metric: mean_interval(value, boot) for metric, value in values.items()},
        }
    lists = top(scores, k, seed)
    shown = np.bincount(lists.ravel(), minlength=scores.shape[1])
    result["lists"] = {
        "coverage": coverage(lists, scores.shape[1]),
        "gini": gini(shown),
        "repeat_share": mean_interval(np.take_along_axis(own, lists, axis=1).mean(axis=1), boot),
        "novelty": mean_interval(novelty(lists, users, n_users), boot),
        "diversity": mean_interval(diversity(lists, vectors), boot),
    }
    return result


def mean_interval(values: Array, boot: UserBootstrap) -> dict[str, float | None]:
    """{value, low, high} of the mean over sessions (n,) that have one (not NaN), clustered by user.

    Without limits where those sessions are of fewer than 20 users, or all have the same value.
    """
    known = np.isfinite(values)
    total, count = boot.sums(np.where(known, values, 0.0), known)
    few = too_few(len(np.unique(boot.user[known]))) or np.ptp(values[known]) <= 1e-14 * np.abs(values[known]).max()
    return interval(divide(total, count)[: 1 if few else None])
