"""The test slice, replayed: the place that reads it for a fidelity report, and counts the read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.artefacts import read_json
from recenv.core.errors import ArtefactError, InputError
from recenv.data.columns import SPLITS as DATA_SPLITS
from recenv.data.schema import Dataset
from recenv.response.log import Log, encode_log, slots
from recenv.response.replay import replay
from recenv.response.rows import SPLITS, TrainingRows
from recenv.response.starts import offers, start_states
from recenv.start import StartStates
from recenv.world import World

WIDEST = 16
"""Items shown in one moment above which a moment is a visit, scored as a whole, rather than a slate."""
_VALIDATION, _TEST = SPLITS.index("validation"), SPLITS.index("test")


@dataclass
class HeldOut:
    """What the test slice (and, for comparison, the validation slice) of a world's own users holds.

    Args:
        dataset: as loaded, all splits. log: all events of the users. before: rows of the other splits,
            without features (for
            item rates). rows: n rows of validation and test with features; `user` counts the log's users.
            row: (n,) their
            places in the log. session: (n,) of each.
        segment: (U,) of each user. start: S states just before a test session; start_session: (S,) their numbers.
        strangers: whether the users are others than the world's own, none of whom is met again in the test slice.
        visits: whether a session is one moment (or its moments are too wide for slates).
        offer_ptr, offer_item, offer_exp: CSR over `offer_session` (K,), sorted: what was on offer in each test session
            and how, (nnz,) and (nnz, E); empty where the logs do not tell.
    """

    dataset: Dataset
    log: Log
    before: TrainingRows
    rows: TrainingRows
    row: NDArray[np.int64]
    session: NDArray[np.int64]
    segment: NDArray[np.int32]
    start: StartStates
    start_session: NDArray[np.int64]
    visits: bool
    strangers: bool
    offer_session: NDArray[np.int64]
    offer_ptr: NDArray[np.int64]
    offer_item: NDArray[np.int32]
    offer_exp: NDArray[np.float32]

    @property
    def meta(self) -> dict[str, Any]:
        """Of the data set."""
        return self.dataset.meta

    @property
    def test_shown(self) -> NDArray[np.bool_]:
        """(N,) impressions of the test slice, by row of the log."""
        return self.log.shown & (self.log.split == _TEST)


def read_held_out(world: World, data: str | Path, most: int, seed: int, progress: bool = False) -> HeldOut:
    """Replay the world's own users through the whole log and keep what the test slice tells.

    Args:
        world: as loaded. data: the folder that it was fitted on. most: sessions whose start state is kept, drawn by key
            (where a session is one visit: the first of each of at most so many users). seed: of that draw.

    Raises:
        InputError: other data than the world's, or no impressions in the test slice. ArtefactError: damaged data.
    """
    check_same_data(world, Path(data))
    dataset = Dataset.load(data, splits=DATA_SPLITS)
    ids = np.sort(np.array(world.users["user_id"].to_pylist(), dtype=np.str_))
    own = encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())
    strangers = not (own.shown & (own.split == _TEST)).any()
    log = own
    if strangers:
        log = _of_strangers(world, dataset)
        ids = log.user_id
    test = log.scored & (log.split == _TEST)
    scored = test | (log.scored & (log.split == _VALIDATION))
    profile = profiles(world, dataset, ids)
    visits = _are_visits(log)
    chosen = _first_visits(log, most, seed) if visits else _some_sessions(log, most, seed)
    recent = world.response.encoder is not None
    done = replay(world.spec, log, profile, scored, chosen, progress, "replay (test)", recent)
    exp = list(world.exp_columns)
    sessions = np.unique(log.session[test & log.shown])
    ptr, item, code, table = offers(dataset, sessions, exp)
    return HeldOut(
        dataset=dataset,
        log=log,
        before=bare_rows(own, own.scored & (own.split != _TEST) & (own.split != _VALIDATION)),
        rows=done.rows,
        row=done.row,
        session=log.session[done.row],
        segment=world.segment_of(profile),
        start=start_states(dataset, log, done, np.arange(len(ids)), exp),
        start_session=done.session,
        visits=visits,
        strangers=strangers,
        offer_session=sessions,
        offer_ptr=ptr,
        offer_item=item,
        offer_exp=table[code],
    )


def _of_strangers(world: World, dataset: Dataset) -> Log:
    """The log of all users shown something in the test slice: for a world none of whose own users comes again, as where
    everybody is mailed once."""
    events = dataset.events
    met = events.loc[(events["split"] == "test") & (events["kind"] == "impression"), "user_id"]
    if not len(met):
        raise InputError("split", "no impressions of split 'test' for these users", "Give data that reach into it")
    ids = np.sort(met.unique().astype(np.str_))
    return encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())


def check_same_data(world: World, data: Path) -> None:
    """Raises InputError unless `data` is what the world was fitted on."""
    hashes = read_json(data / "meta.json").get("hashes", {})
    if hashes != world.meta["dataset_hashes"]:
        what = f"not the data that world {world.meta['name']!r} was fitted on"
        raise InputError(str(data), what, "Give the folder that `recenv fit --data` was given")


def bare_rows(log: Log, mask: NDArray[np.bool_]) -> TrainingRows:
    """Rows of the log with items, responses and weights, and no features: enough for item rates."""
    n = int(mask.sum())
    made: dict[str, Any] = {"visit_obs": np.zeros((0, 0), np.float32), "visit": np.zeros(n, np.int32)}
    made |= {"offset": np.zeros(n, np.float32), "cross": np.zeros((n, 0), np.float32)}
    for f in fields(TrainingRows):
        if f.name not in made and hasattr(log, f.name):
            made[f.name] = getattr(log, f.name)[mask]
    return TrainingRows(**made)


def profiles(world: World, dataset: Dataset, ids: NDArray[np.str_]) -> NDArray[np.float32]:
    """(n, P) encoded profiles of users by id.

    Raises:
        ArtefactError: the users table lacks one.
    """
    users = dataset.users.set_index("user_id")
    missing = sorted(set(ids.tolist()) - set(users.index))
    if missing:
        raise ArtefactError("users.parquet", f"has no row for user {missing[0]!r}", "Prepare the data anew")
    return world.profile_encoder.encode({c: users.loc[ids, c].tolist() for c in users.columns}, len(ids))


def _are_visits(log: Log) -> bool:
    _, _, number = slots(log)
    rows = np.flatnonzero(log.shown)
    width = np.unique(np.stack([log.session[rows], log.time[rows]]), axis=1, return_counts=True)[1]
    return int(number.max(initial=0)) == 0 or int(width.max(initial=1)) > WIDEST


def _some_sessions(log: Log, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` sessions with an impression in the test slice."""
    found = np.unique(log.session[log.shown & (log.split == _TEST)])
    return np.sort(found[np.argsort(rng.bits(seed, 43, found), kind="stable")[:most]])


def _first_visits(log: Log, most: int, seed: int) -> NDArray[np.int64]:
    """The first test session with an impression of each of at most `most` users."""
    rows = np.flatnonzero(log.shown & (log.split == _TEST))
    users, first = np.unique(log.user[rows], return_index=True)
    order = np.argsort(rng.bits(seed, 47, users), kind="stable")[:most]
    return np.unique(log.session[rows[first[order]]])
