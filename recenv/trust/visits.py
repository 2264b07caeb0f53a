"""Held-out sessions as ranking tasks: what each user had done before, and what was acted on in the session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.artefacts import read_json
from recenv.core.errors import InputError
from recenv.data.columns import EVENT_KINDS
from recenv.data.schema import DEFAULT_SPLITS, SPLITS, Dataset
from recenv.observation import bounds, observe
from recenv.response.log import Log, encode_log
from recenv.response.replay import replay
from recenv.start import StartStates, take_packed
from recenv.state import EXPOSURE, begin_session
from recenv.trust.ranking import Relevant
from recenv.world import World

_PURCHASE = EVENT_KINDS.index("purchase")
_OBSERVED = 256
"""Sessions observed together: a full observation has thousands of columns."""


@dataclass
class Visits:
    """n held-out sessions of some users of a world's data.

    Args:
        world: whose state rule and catalogue. start: (n,) states just before each session, with clock and context.
        relevant: what was bought in each (clicked, where the logs hold no purchases), at least one item each.
        own_ptr, own_item, own_time: CSR by `start.user`: when the user first acted on each item.
        users: (I,) number of these users who had acted on each item before the split. n_users: of so many.
    """

    world: World
    start: StartStates
    relevant: Relevant
    own_ptr: NDArray[np.int64]
    own_item: NDArray[np.int64]
    own_time: NDArray[np.int64]
    users: NDArray[np.int64]
    n_users: int

    def __len__(self) -> int:
        return len(self.relevant)

    def observations(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Session numbers (m,) and their full observations (m, size), clipped to the bounds, some at a time."""
        low, high = bounds(self.world.spec, self.world.n_copies, "full")
        for at in range(0, len(self), _OBSERVED):
            rows = np.arange(at, min(at + _OBSERVED, len(self)))
            state, now = self.start.state(self.world.spec, rows), self.start.clock[rows]
            every = np.arange(len(rows))
            begin_session(state, every, now)
            obs = observe(self.world.spec, state, every, now, self.start.context[rows], "full")
            yield rows, np.clip(obs, low, high)

    def own(self) -> NDArray[np.bool_]:
        """(n, I) items that the user had acted on before the session began: the whole history, not the memory."""
        marks = np.zeros((len(self), self.world.n_items), np.bool_)
        for row, user in enumerate(self.start.user):
            part = slice(self.own_ptr[user], self.own_ptr[user + 1])
            marks[row, self.own_item[part][self.own_time[part] < self.start.clock[row]]] = True
        return marks


def held_out_visits(
    world: World,
    data: str | Path,
    users: World | None = None,
    split: str = "validation",
    most: int = 2000,
    seed: int = 0,
) -> Visits:
    """At most `most` sessions of a split in which something was bought, drawn by key.

    Args:
        world: whose policies are to rank. data: the folder that it was fitted on. users: the world whose users are met:
            its judge's are users whom neither the world nor its policies have seen; its own if None.
        split: `validation`, or `test`, every read of which is counted. seed: of the draw.

    Raises:
        InputError: other data, an unknown split, or no session in which anything was bought.
    """
    if split not in ("validation", "test"):
        raise InputError("split", f"{split!r}", "Choose validation or test.")
    if read_json(Path(data) / "meta.json").get("hashes", {}) != world.meta["dataset_hashes"]:
        what = f"not the data that world {world.meta['name']!r} was fitted on"
        raise InputError(str(data), what, "Give the folder that `recenv fit --data` was given")
    dataset = Dataset.load(data, SPLITS if split == "test" else DEFAULT_SPLITS)
    ids = np.sort(np.array((users or world).users["user_id"].to_pylist(), dtype=np.str_))
    log = encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())
    table = dataset.users.set_index("user_id")
    profile = world.profile_encoder.encode({c: table.loc[ids, c].tolist() for c in table.columns}, len(ids))
    session, relevant = _relevant(log, split, world.n_items, most, seed)
    nothing = np.zeros(len(log.user), np.bool_)
    done = replay(world.spec, log, profile, nothing, session, progress=False)
    assert done.packed is not None
    _, once = np.unique(done.session, return_index=True)  # a session that another one interrupts begins twice
    first = np.unique(log.session, return_index=True)
    row = first[1][np.searchsorted(first[0], session)]
    none = np.zeros(0, np.int32)
    start = StartStates(
        user_id=ids[log.user[row]],
        user=log.user[row],
        split=np.full(len(row), ("train", "validation", "test").index(split), np.int8),
        clock=log.time[row],
        context=log.context[row],
        offer_ptr=np.zeros(len(row) + 1, np.int64),
        offer_item=none,
        offer_exp=none,
        exp_table=np.zeros((0, len(world.exp_reference)), np.float32),
        packed=take_packed(done.packed, once),
    )
    ptr, item, time = _first_acts(log, world.n_items)
    before = time < log.time[log.split == SPLITS.index(split)].min()
    met = np.bincount(item[before], minlength=world.n_items)
    return Visits(world, start, relevant, ptr, item, time, met, len(ids))


def _relevant(log: Log, split: str, n_items: int, most: int, seed: int) -> tuple[NDArray[np.int64], Relevant]:
    """Session numbers (n,), rising, and what was bought (or clicked) in each."""
    bought = (log.purchase == 1.0) | (log.kind == _PURCHASE)
    acted = bought if bought.any() else log.click == 1.0
    rows = np.flatnonzero(acted & (log.split == SPLITS.index(split)))
    if not len(rows):
        raise InputError("sessions", f"nothing was bought or clicked in split {split!r}", "Bring longer logs.")
    session = np.unique(log.session[rows])
    session = np.sort(session[np.argsort(rng.bits(seed, 29, session), kind="stable")[:most]])
    rows = rows[np.isin(log.session[rows], session)]
    key = np.unique(np.searchsorted(session, log.session[rows]) * n_items + log.item[rows])
    count = np.bincount(key // n_items, minlength=len(session))
    return session, Relevant(np.concatenate([[0], np.cumsum(count)]).astype(np.int64), key % n_items)


def _first_acts(log: Log, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """When each user first acted on each item: CSR by user, (ptr, item, time)."""
    row, kind = log.state_events()
    row = row[kind != EXPOSURE]
    key = log.user[row].astype(np.int64) * n_items + log.item[row]
    order = np.lexsort((log.time[row], key))
    distinct, first = np.unique(key[order], return_index=True)
    count = np.bincount(distinct // n_items, minlength=log.n_users)
    ptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return ptr, distinct % n_items, log.time[row][order][first]
