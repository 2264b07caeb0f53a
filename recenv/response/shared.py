"""What a world and its judge share: users divided in two halves, the catalogue, the state rule; rows of each half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.encoding import ProfileEncoder
from recenv.core.errors import InputError
from recenv.data.schema import Dataset
from recenv.response import catalogue as cat
from recenv.response.log import Log, encode_log
from recenv.response.replay import Replayed, replay
from recenv.response.starts import choose_sessions
from recenv.state import StateSpec

if TYPE_CHECKING:
    from recenv.response.fit import FitOptions


@dataclass
class Shared:
    """What a world and its judge have in common."""

    dataset: Dataset
    items: pd.DataFrame
    encoder: ProfileEncoder
    profile: NDArray[np.float32]
    spec: StateSpec
    centroids: NDArray[np.float32]
    logs: tuple[Log, Log]


def prepare(dataset: Dataset, options: FitOptions) -> Shared:
    """Encode users, divide them in two halves, and fix the catalogue and the state rule."""
    items = dataset.items.sort_values("item_id").reset_index(drop=True)
    halves = divide_users(dataset.events["user_id"].unique().astype(str), options.seed)
    copies = dataset.copies["copy_id"].astype(str).tolist()
    logs = tuple(encode_log(dataset, items["item_id"].tolist(), half, copies) for half in halves)
    users = dataset.users.drop(columns="user_id")
    encoder = ProfileEncoder.fit({c: users[c].tolist() for c in users.columns})
    profile = encoder.encode({c: users[c].tolist() for c in users.columns}, len(users))
    category, n_categories = cat.category_index(items["category"].astype(str).tolist())
    spec = StateSpec(
        item_vectors=cat.vectors(items, logs[0], options.vector_dim),
        item_category=category,
        n_categories=n_categories,
        profile_dim=encoder.size,
        context_dim=logs[0].context.shape[1],
        half_life=max(1, int(options.half_life_days * 86_400)),
        exposures_count=logs[0].observed,
        calendar=dataset.meta["time"] == "utc",
    )
    return Shared(dataset, items, encoder, profile, spec, cat.centroids(profile, options.segments), (logs[0], logs[1]))


def divide_users(user_ids: NDArray[Any], seed: int) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Two halves of the users, by a draw keyed on each user's own id: sorted arrays of str.

    Raises:
        InputError: fewer than two users.
    """
    if len(user_ids) < 2:
        raise InputError("events", f"{len(user_ids)} user", "World and judge need disjoint users: bring more logs")
    ids = np.sort(user_ids.astype(np.str_))
    draw = rng.bits(seed, [rng.word(i) for i in ids])
    order = np.argsort(draw, kind="stable")
    half = len(ids) // 2
    return np.sort(ids[order[:half]]), np.sort(ids[order[half:]])


def users_of(shared: Shared, log: Log) -> NDArray[np.int64]:
    """(log.n_users,) rows of the users table."""
    rows = pd.Index(shared.dataset.users["user_id"].astype(str)).get_indexer(pd.Index(log.user_id.astype(object)))
    if (rows < 0).any():
        missing = log.user_id[int(np.argmin(rows))]
        raise InputError("users", f"no row for user {missing!r}", "Prepare the data anew")
    return rows


def training_rows(
    shared: Shared, log: Log, options: FitOptions, label: str, progress: bool = True
) -> tuple[Replayed, NDArray[np.int64]]:
    """Replay one half of the users; also the sessions whose start states were kept."""
    users = users_of(shared, log)
    sessions = choose_sessions(log, options.start_states, options.seed)
    recent = options.training.encoder != "decay"
    done = replay(shared.spec, log, shared.profile[users], log.scored, sessions, progress, label, recent)
    done.rows.user = users[log.user[done.row]].astype(np.int32)
    return done, users
