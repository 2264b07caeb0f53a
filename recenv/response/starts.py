"""Which sessions give start states, and what was on offer in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.data.schema import Dataset
from recenv.response.log import Log, session_numbers
from recenv.response.replay import Replayed
from recenv.response.rows import SPLITS
from recenv.start import SPLITS as START_SPLITS
from recenv.start import StartStates

_VALIDATION_SHARE = 1 / 3


def choose_sessions(log: Log, most: int, seed: int) -> NDArray[np.int64]:
    """Numbers of at most `most` sessions with scored rows, a third of them of the validation split, drawn by key."""
    scored = np.flatnonzero(log.scored)
    session, first = np.unique(log.session[scored], return_index=True)
    split = log.split[scored[first]]
    chosen = []
    for name, share in (("train", 1 - _VALIDATION_SHARE), ("validation", _VALIDATION_SHARE), ("test", 1.0)):
        found = session[split == SPLITS.index(name)]
        order = np.argsort(rng.bits(seed, 17, found), kind="stable") if len(found) else np.zeros(0, np.int64)
        chosen.append(found[order[: max(1, int(most * share))]])
    return np.sort(np.concatenate(chosen))


def start_states(
    dataset: Dataset, log: Log, done: Replayed, users: NDArray[np.int64], exp_columns: list[str]
) -> StartStates:
    """Start states of the sessions that a replay kept.

    Args:
        users: (log.n_users,) rows of the users table. exp_columns: names, in the order of `World.exp_reference`.

    Raises:
        InputError: no session was kept.
    """
    if done.packed is None:
        raise InputError("start states", "no session with impressions to start from", "Bring logs with impressions")
    first = np.unique(log.session, return_index=True)
    row = first[1][np.searchsorted(first[0], done.session)]
    scored = np.flatnonzero(log.scored)
    with_split = np.unique(log.session[scored], return_index=True)
    split = log.split[scored[with_split[1][np.searchsorted(with_split[0], done.session)]]]
    names = [SPLITS[s] for s in split]
    ptr, item, exp, table = offers(dataset, done.session, exp_columns)
    return StartStates(
        user_id=log.user_id[log.user[row]],
        user=_local(users, log.user[row]),
        split=np.array([START_SPLITS.index(n) for n in names], np.int8),
        clock=log.time[row],
        context=log.context[row],
        offer_ptr=ptr,
        offer_item=item,
        offer_exp=exp,
        exp_table=table,
        packed=done.packed,
    )


def _local(users: NDArray[np.int64], user: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rows of the world's own users table, which holds its users in the order of the log."""
    return np.arange(len(users), dtype=np.int32)[user]


def offers(
    dataset: Dataset, sessions: NDArray[np.int64], exp_columns: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """CSR of what was on offer in each session; empty where the logs do not tell."""
    none = np.zeros(0, np.int32)
    if dataset.offers is None or dataset.visits is None:
        return np.zeros(len(sessions) + 1, np.int64), none, none, np.zeros((0, len(exp_columns)), np.float32)
    number = session_numbers(dataset)
    ids = pd.Series(dataset.events["session_id"].to_numpy(), index=number)
    ids = ids[~ids.index.duplicated()].reindex(sessions)
    offer = ids.map(dataset.visits.set_index("session_id")["offer_id"]).to_numpy(np.float64)
    exp = dataset.offers[exp_columns].to_numpy(np.float32)
    table, code = np.unique(exp, axis=0, return_inverse=True)
    order = np.argsort(dataset.offers["offer_id"].to_numpy(), kind="stable")
    sorted_offer = dataset.offers["offer_id"].to_numpy()[order]
    index = pd.Index(np.sort(dataset.items["item_id"].astype(str).to_numpy()))
    item = index.get_indexer(pd.Index(dataset.offers["item_id"].astype(str)))[order]
    code = code.reshape(-1)[order]
    start = np.searchsorted(sorted_offer, np.nan_to_num(offer, nan=-1))
    stop = np.searchsorted(sorted_offer, np.nan_to_num(offer, nan=-1), side="right")
    take = np.concatenate([np.arange(a, b) for a, b in zip(start, stop)] or [none]).astype(np.int64)
    ptr = np.concatenate([[0], np.cumsum(stop - start)]).astype(np.int64)
    return ptr, item[take].astype(np.int32), code[take].astype(np.int32), table.astype(np.float32)
