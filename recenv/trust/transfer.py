"""The log of a second policy over the same catalogue: does what was learned under one hold under another?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recenv.core.errors import InputError
from recenv.data.columns import NONE_ITEM
from recenv.data.schema import DEFAULT_SPLITS, Dataset
from recenv.response.log import encode_log
from recenv.response.replay import replay
from recenv.trust import gates as g
from recenv.trust.fidelity import ItemRates
from recenv.trust.gate_base import Gate
from recenv.trust.measure import UNSHOWN, Replay, prediction_slices
from recenv.trust.slices import PredictionSlice
from recenv.trust.tolerances import Tolerances
from recenv.world import World

GIVE = "Give --other-data: tables logged by another policy over the same catalogue."


def transfer_slices(world: World, other: str | Path | None, item_rates: ItemRates) -> list[PredictionSlice]:
    """One slice a head, of what the other log shows; its own test slice is left alone. None without a log.

    Raises:
        InputError: the other log is the world's own, names items or columns that the world does not know, or has no
            impressions. ArtefactError: it is damaged.
    """
    if other is None:
        return []
    replayed = replay_other(world, other)
    slices = [s for s in prediction_slices(world.response, replayed, item_rates, None) if s.head != "leave"]
    return [s for s in slices if not s.head.endswith(UNSHOWN)]


def transfer_gates(slices: list[PredictionSlice], tol: Tolerances, seed: int) -> list[Gate]:
    """One gate a slice of another policy's log; NOT MEASURED without one."""
    return [g.transfer(s, tol, seed) for s in slices] or [g.not_measured("transfer", GIVE)]


def replay_other(world: World, other: str | Path) -> Replay:
    """The impressions of another log over the world's catalogue, replayed through the world's state rule."""
    dataset = Dataset.load(other, splits=DEFAULT_SPLITS)
    _check(world, dataset, str(other))
    ids = np.sort(dataset.events["user_id"].unique().astype(np.str_))
    log = encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())
    if not log.shown.any():
        raise InputError(str(other), "holds no impressions", "Give the log of a policy that showed something")
    users = dataset.users.set_index("user_id")
    profile = world.profile_encoder.encode({c: users.loc[ids, c].tolist() for c in users.columns}, len(ids))
    recent = world.response.encoder is not None
    done = replay(world.spec, log, profile, log.shown, np.zeros(0, np.int64), False, recent=recent)
    return Replay(done.rows, log.session[done.row], world.segment_of(profile))


def _check(world: World, dataset: Dataset, where: str) -> None:
    if dataset.meta["hashes"] == world.meta["dataset_hashes"]:
        raise InputError(where, "is the log that the world was fitted on", GIVE)
    known = {*world.items["item_id"].to_pylist(), NONE_ITEM}
    unknown = sorted(set(dataset.events["item_id"].unique()) - known)
    if unknown:
        what = f"names {len(unknown)} items that the world does not have, {unknown[0]!r} first"
        raise InputError(where, what, "Give a log over the same catalogue")
    for prefix, mine in (("exp_", world.exp_columns), ("ctx_", world.context_columns)):
        found = tuple(c for c in dataset.events.columns if c.startswith(prefix))
        if set(found) != set(mine):
            raise InputError(where, f"has the columns {sorted(found)} where the world has {sorted(mine)}", GIVE)
