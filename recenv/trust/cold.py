"""Items and users wholly held out: what a world knows of those whom it never met.

`hold_out` takes a share of the items and of the users out of the tables before anything is fitted; `slice_report` then
asks the fitted world for their responses on the validation slice, beside those of warm items and users. Two histories:

    launch   nothing of the cold is known: no act on a cold item has entered any state, and a cold user begins each
             session blank (what was shown in the session itself counts)
    met      states as the logs give them: acts on cold items and a cold user's own past count, though nothing was
             fitted on them
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.data.schema import Dataset
from recenv.response.log import Log, encode_log
from recenv.response.replay import replay
from recenv.response.rows import SPLITS, TrainingRows
from recenv.response.shared import divide_users
from recenv.trust.fidelity import predicted
from recenv.trust.metrics import UserBootstrap, divide, gain, interval, own_entropy, row_losses
from recenv.world import World

HISTORIES = ("launch", "met")
_ITEMS, _USERS = 31, 37
"""Streams of the draws."""
_VALIDATION = SPLITS.index("validation")


@dataclass(frozen=True)
class Cold:
    """What is held out.

    Args:
        items: ids of cold items, sorted. users: ids of cold users, sorted, equally many of both halves of the users.
        world_users: ids of the warm users of the half that the world is fitted on; the judge has the other half.
    """

    items: NDArray[np.str_]
    users: NDArray[np.str_]
    world_users: NDArray[np.str_]


def choose_cold(dataset: Dataset, share: float, seed: int, fit_seed: int) -> Cold:
    """Draw a share of the items and of the users, each by a draw keyed on its own id.

    Args:
        fit_seed: the `seed` of the `FitOptions` to come. As many users of each half are taken, so that the division of
            the rest is what it was with everybody.

    Raises:
        InputError: a share outside (0, 1), or so small that no item or user is held out.
    """
    if not 0.0 < share < 1.0:
        raise InputError("option share", f"{share}", "Give a share above 0 and below 1.")
    items = _drawn(dataset.items["item_id"].astype(str).to_numpy(np.str_), share, seed, _ITEMS)
    halves = divide_users(dataset.events["user_id"].unique().astype(str), fit_seed)
    each = min(round(share * len(half)) for half in halves)
    cold = [_first(half, each, seed, _USERS) for half in halves]
    if not len(items) or not each:
        raise InputError("option share", f"{share} holds out no item or no user", "Give a larger one, or more logs.")
    return Cold(items, np.sort(np.concatenate(cold)), np.setdiff1d(halves[0], cold[0]))


def _drawn(ids: NDArray[np.str_], share: float, seed: int, stream: int) -> NDArray[np.str_]:
    return _first(ids, round(share * len(ids)), seed, stream)


def _first(ids: NDArray[np.str_], count: int, seed: int, stream: int) -> NDArray[np.str_]:
    draw = rng.bits(seed, stream, [rng.word(i) for i in ids])
    return np.sort(ids[np.argsort(draw, kind="stable")[:count]])


def hold_out(dataset: Dataset, cold: Cold) -> Dataset:
    """The data set without the cold users, and without any row of a cold item by a user of the world's half.

    The catalogue keeps the cold items: their text, category and price are known. The judge's half keeps their rows: the
    judge knows what they are worth. Offers stay as they were.
    """
    events = dataset.events
    user, item = events["user_id"].astype(str), events["item_id"].astype(str)
    gone = user.isin(cold.users) | (item.isin(cold.items) & user.isin(cold.world_users))
    users = dataset.users[~dataset.users["user_id"].astype(str).isin(cold.users)].reset_index(drop=True)
    return replace(dataset, events=events[~gone].reset_index(drop=True), users=users, meta=dict(dataset.meta))


@dataclass
class Scored:
    """Validation rows of warm and cold users, from one kind of history.

    Args:
        rows: n rows; `user` numbers the users whether or not they begin blank. cold_item, cold_user: (n,) bool.
    """

    rows: TrainingRows
    cold_item: NDArray[np.bool_]
    cold_user: NDArray[np.bool_]


def score(world: World, dataset: Dataset, cold: Cold, history: str) -> Scored:
    """The validation rows of the world's own users and of the cold users, of the whole data set.

    Args:
        world: fitted on `hold_out(dataset, cold)`. history: `launch` or `met`.
    """
    if history not in HISTORIES:
        raise InputError("history", f"{history!r}", f"Choose one of {', '.join(HISTORIES)}.")
    ids = np.sort(np.concatenate([cold.world_users, cold.users]))
    item_ids = world.items["item_id"].to_pylist()
    log = encode_log(dataset, item_ids, ids, world.copies["copy_id"].to_pylist())
    cold_item, cold_user = np.isin(np.array(item_ids, np.str_), cold.items), np.isin(ids, cold.users)
    owner = np.arange(len(ids))
    if history == "launch":
        log = _without_acts(log, cold_item[log.item])
        log, owner = _blank(log, cold_user)
    table = dataset.users.set_index("user_id").loc[ids[owner]]
    profile = world.profile_encoder.encode({c: table[c].tolist() for c in table.columns}, len(owner))
    wanted = log.scored & (log.split == _VALIDATION)
    recent = world.response.encoder is not None
    rows = replay(world.spec, log, profile, wanted, np.zeros(0, np.int64), progress=False, recent=recent).rows
    rows.user = owner[rows.user].astype(np.int32)
    return Scored(rows, cold_item[rows.item], cold_user[rows.user])


def _without_acts(log: Log, cold: NDArray[np.bool_]) -> Log:
    """The log in which the marked rows (n,) are scored but move no state on by an act; other acts on them are gone."""
    keep = np.flatnonzero(log.scored | ~cold)
    log, cold = _take(log, keep), cold[keep]
    return replace(log, click_now=log.click_now & ~cold, purchase_now=log.purchase_now & ~cold)


def _blank(log: Log, cold_user: NDArray[np.bool_]) -> tuple[Log, NDArray[np.int64]]:
    """The log in which each validation session of a cold user is a user of its own; whose, (users,)."""
    cold = cold_user[log.user]
    log = _take(log, np.flatnonzero(~cold | (log.split == _VALIDATION)))
    cold, n = cold_user[log.user], len(cold_user)
    session, number = np.unique(log.session[cold], return_inverse=True)
    of = np.zeros(len(session), np.int64)
    of[number] = log.user[cold]
    user = log.user.astype(np.int64)
    user[cold] = n + number
    order = np.argsort(user, kind="stable")
    owner = np.concatenate([np.arange(n), of])
    log = _take(replace(log, user=user.astype(np.int32), user_id=log.user_id[owner]), order)
    return log, owner


def _take(log: Log, rows: NDArray[np.int64]) -> Log:
    arrays: dict[str, Any] = {k: v[rows] for k, v in vars(log).items() if isinstance(v, np.ndarray) and k != "user_id"}
    return replace(log, **arrays)


def slice_report(world: World, scored: Scored, head: str, n_boot: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    """One JSON-able line for each of warm and cold items x warm and cold users, shown rows alone.

    Rows, users, positives, rate, log-loss gain over the slice's own rate, AUC, predicted / real; 95 % intervals from a
    bootstrap over users.
    """
    known = scored.rows.shown & ~np.isnan(scored.rows.response(head))
    lines = []
    for cold_user in (False, True):
        for cold_item in (False, True):
            mask = known & (scored.cold_item == cold_item) & (scored.cold_user == cold_user)
            about = {"item": "cold" if cold_item else "warm", "user": "cold" if cold_user else "warm"}
            lines.append(about | _figures(world, scored.rows.select(mask), head, n_boot, seed))
    return lines


def _figures(world: World, rows: TrainingRows, head: str, n_boot: int, seed: int) -> dict[str, Any]:
    y, w = rows.response(head).astype(np.float64), rows.weight.astype(np.float64)
    counts = {"rows": len(rows), "users": len(np.unique(rows.user)), "positives": int((y > 0.5).sum())}
    if not len(rows):
        return counts
    p = predicted(world.response, rows, head).astype(np.float64)
    boot = UserBootstrap(rows.user, n_boot, seed, y > 0.5)
    mass, hits, told, loss = boot.sums(w, w * y, w * p, w * row_losses(p, y))
    return {
        **counts,
        "rate": float(hits[0] / mass[0]),
        "gain": interval(gain(loss, own_entropy(hits, mass))),
        "auc": interval(boot.auc(p, y, w)),
        "predicted_real": interval(divide(told, hits)),
    }
