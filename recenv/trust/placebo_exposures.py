"""What was on show where and when, from the tables of a data set; and exact counts of what was not kept as rows.

A place (a store, a page) is a run of offers that follow each other in number and in time: the tables name none. Where
there are no offers, each session is an offer of its own and the user stands for the place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from recenv.data.schema import Dataset

Ints = NDArray[np.int64]
DAY = 86_400
RECENT = 28 * DAY
"""How far the next session of a user may lie."""
NEXT = 14 * DAY
"""How soon the next offer of a place must come to count as next."""
_MOST_CELLS = 50_000_000


@dataclass(frozen=True)
class Exposures:
    """K offers, N items, S sessions.

    Args:
        keys: sorted offer * N + item of what was on show. n_items: N. of_session: (S,) offer of each session, -1 = not
            known. following: (K,) next offer of the same place, -1 = none. later: (S,) the same user's next session,
            -1 = none within 28 days. place: (K,). week: (K,) calendar week, Monday to Sunday, UTC. places: whether the
            tables tell offers.
    """

    keys: Ints
    n_items: int
    of_session: Ints
    following: Ints
    later: Ints
    place: Ints
    week: Ints
    places: bool

    @property
    def n_offers(self) -> int:
        """K."""
        return len(self.place)

    def holds(self, offer: Ints, item: Ints) -> NDArray[np.bool_]:
        """Whether each offer shows each item; False for offer or item -1."""
        wanted = offer * self.n_items + item
        at = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        found = self.keys[at] == wanted if len(self.keys) else np.zeros(len(wanted), bool)
        return np.asarray(found & (item >= 0) & (offer >= 0))

    def after(self) -> Ints:
        """(S,) the offer of each session's user's next session, -1 = none or not known."""
        return np.where(self.later >= 0, self.of_session[self.later], -1)

    def table(self) -> NDArray[np.bool_] | None:
        """(K, N) what each offer shows; None where it would be too large."""
        if self.n_offers * self.n_items > _MOST_CELLS:
            return None
        out = np.zeros(self.n_offers * self.n_items, bool)
        out[self.keys] = True
        return out.reshape(self.n_offers, self.n_items)


def read_exposures(
    dataset: Dataset, items: Any, item: Ints, session: Ints, user: Ints, begins: Ints, shown: NDArray[np.bool_]
) -> Exposures:
    """Exposures of a data set.

    Args:
        items: (N,) sorted ids. item, session, user: (rows,) numbers. begins: (S,) seconds. shown: (rows,) impressions.
    """
    n, later = len(items), _later(session, user, begins)
    if dataset.offers is None or dataset.visits is None:
        own = np.arange(len(begins))
        seen = shown & (item >= 0)
        keys = np.unique(session[seen] * n + item[seen])
        owner = np.zeros(len(begins), np.int64)
        owner[session] = user
        return Exposures(keys, n, own, later, later, owner, week_of(begins), False)
    ids = np.union1d(dataset.offers["offer_id"].to_numpy(), dataset.visits["offer_id"].to_numpy())
    number = np.searchsorted(ids, dataset.offers["offer_id"].to_numpy())
    offered = numbered(items, dataset.offers["item_id"])
    keys = np.unique(number[offered >= 0] * n + offered[offered >= 0])
    names, first = np.unique(session, return_index=True)
    of_session = np.full(len(begins), -1)
    met = dict(zip(dataset.visits["session_id"].astype("str"), np.searchsorted(ids, dataset.visits["offer_id"])))
    of_session[names] = [met.get(s, -1) for s in dataset.events["session_id"].iloc[first].astype("str")]
    opens, closes, middle = _spans(of_session, begins, len(ids))
    # offers are numbered place by place, each in order of time: a new place begins where time falls back
    place = np.cumsum(np.concatenate([[0], opens[1:] <= closes[:-1]]))
    following = np.full(len(ids), -1)
    near = (place[1:] == place[:-1]) & (middle[1:] - middle[:-1] <= NEXT)
    following[:-1][near] = np.flatnonzero(near) + 1
    return Exposures(keys, n, of_session, following, later, place, week_of(middle), True)


def cell_counts(
    now: NDArray[np.bool_], other: NDArray[np.bool_] | None, offer: Ints, second: Ints, group: Ints, groups: int
) -> NDArray[np.float64]:
    """(2, groups, N) how many (session, item) pairs of each group are exposed and not.

    Args:
        now: (K, N) what is on show. other: None: exposed are the pairs on show now; else (K, N), and among the pairs
            NOT on show now those on show in `other` at offer `second`.
        offer, second, group: (S,) of each session.
    """
    pair, where = np.unique(group * len(now) + offer, return_inverse=True)
    g, k = pair // len(now), pair % len(now)
    times = np.bincount(where, minlength=len(g)).astype(np.float32)[:, None]
    if other is None:
        exposed, free = times * now[k], times * ~now[k]
    else:
        met = csr_array((np.ones(len(second), np.float32), (where, second)), (len(g), len(other)))
        beside = met @ other.astype(np.float32)
        exposed, free = beside * ~now[k], (times - beside) * ~now[k]
    out = np.zeros((2, groups, now.shape[1]))
    fresh = np.flatnonzero(np.concatenate([[True], g[1:] != g[:-1]]))
    for side, cells in enumerate((exposed, free)):
        out[side, g[fresh]] = np.add.reduceat(cells, fresh, axis=0, dtype=np.float64)
    return out


def numbered(known: Any, ids: Any) -> Ints:
    """Index of each id (a column) among the sorted known ones, -1 where it is not there."""
    coded = ids.astype("category")
    wanted = coded.cat.categories.astype("str").to_numpy()
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.asarray(np.where(known[at] == wanted, at, -1)[coded.cat.codes.to_numpy()], np.int64)


def week_of(seconds: Ints) -> Ints:
    """Calendar week, Monday to Sunday, UTC."""
    # 1970-01-01 was a Thursday
    return np.asarray((seconds // DAY + 3) // 7)


def _spans(of_session: Ints, begins: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """(first, last, median) start of the sessions of each offer; one that no session met takes the one before's."""
    met = np.flatnonzero(of_session >= 0)
    order = met[np.lexsort((begins[met], of_session[met]))]
    offer, start = np.unique(of_session[order], return_index=True)
    stop = np.append(start[1:], len(order))
    time = begins[order]
    held = np.maximum(np.searchsorted(offer, np.arange(count), side="right") - 1, 0)
    return time[start][held], time[stop - 1][held], time[(start + stop) // 2][held]


def _later(session: Ints, user: Ints, begins: Ints) -> Ints:
    """(S,) the same user's next session, -1 where none begins within 28 days."""
    owner = np.zeros(len(begins), np.int64)
    owner[session] = user
    order = np.lexsort((begins, owner))
    out = np.full(len(begins), -1)
    late, early = order[1:], order[:-1]
    near = (owner[late] == owner[early]) & (begins[late] - begins[early] <= RECENT)
    out[early[near]] = late[near]
    return out
