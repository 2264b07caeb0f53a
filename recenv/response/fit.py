"""From tables to a world and its judge: two response models on disjoint users, one catalogue, one state rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.core.free import require_free
from recenv.core.verdict import land
from recenv.data.schema import Dataset, require_fittable
from recenv.response import catalogue as cat
from recenv.response.copy_logs import learn_copies
from recenv.response.disagreement import calibrate_disagreement
from recenv.response.ensemble import fit_members, segment_variance
from recenv.response.forward import ResponseForward
from recenv.response.frailty import LATER_SLOTS, with_frailty
from recenv.response.log import Log
from recenv.response.replay import Replayed
from recenv.response.rows import SPLITS, TrainingRows
from recenv.response.shared import Shared, prepare, training_rows
from recenv.response.starts import start_states
from recenv.response.train import Folds, TrainConfig, train
from recenv.trust.fidelity import item_rate_baseline, quick_fidelity
from recenv.trust.quick import quick_verdict
from recenv.variants import action_table, with_copies, with_effect
from recenv.world import World, judge_path, nearest

ROLES = ("train", "judge")
ENOUGH_POSITIVES = 50
"""Visits with a positive below which a world says that a level is weakly calibrated."""
FOLDS = 5
"""Folds of users in the cross-fitted item features."""


@dataclass(frozen=True)
class FitOptions:
    """How a world is made from a data set.

    Args:
        seed: of the users' division, the networks and the start states.
        vector_dim: most dimensions of an item vector.
        half_life_days: days in which a user's decayed interests lose half their mass.
        start_states: most snapshots of users kept in each world.
        segments: most groups of users that copy may affect differently.
        horizon: slots in a session; from the logs if None.
        seconds_per_slot: clock of a session; from the logs if None.
        members: models refitted on bootstraps of users, in each world; 0: none (pessimism, outer intervals need them).
        segment_sd: how much an item's log odds in a segment may differ from the model's before the logs speak of that
            item in that segment (standard deviation, assumed; needs members): pessimism counts it. 0: not at all.
        training: of the response model.
    """

    seed: int = 0
    vector_dim: int = 32
    half_life_days: float = 30.0
    start_states: int = 6000
    segments: int = 4
    horizon: int | None = None
    seconds_per_slot: int | None = None
    members: int = 0
    segment_sd: float = 0.0
    training: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("start_states", "segments"):
            check_whole(name, getattr(self, name))
        check_whole("vector_dim", self.vector_dim, 2, 64)
        check_whole("members", self.members, 0)
        if self.members == 1:
            raise InputError("option members", "1", "A disagreement needs two at least; 0 makes no ensemble.")
        if not (np.isfinite(self.segment_sd) and self.segment_sd >= 0):
            raise InputError("option segment_sd", f"{self.segment_sd}", "Give a finite number of 0 or more.")
        if self.segment_sd and not self.members:
            raise InputError("option segment_sd", "no members", "Pessimism needs both: give members, 10 say.")
        for name in ("horizon", "seconds_per_slot"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        if not self.half_life_days > 0:
            raise InputError("option half_life_days", f"{self.half_life_days}", "Give a number of days above 0.")


def fit_worlds(data: str | Path, out: str | Path, options: FitOptions, progress: bool = True) -> tuple[World, World]:
    """Fit a world at `out` and its judge at `out`-judge, on disjoint users; the test slice is not read.

    The state rule, the item vectors (from the world's own users) and the action table are shared; response models,
    item rates and start states are each world's own.

    Returns:
        (world, judge), saved, each with `fidelity.json` on the validation slice.

    Raises:
        InputError: the data cannot carry a model (one user, no response, ...), or a folder is not empty.
    """
    for folder in (Path(out), judge_path(out)):
        require_free(folder)
    dataset = Dataset.load(data)
    require_fittable(dataset)
    shared = prepare(dataset, options)
    for log in shared.logs:
        _check_splits(log)
    folders = (Path(out), judge_path(out))
    made = [
        _fit_one(shared, log, role, folder.name, options, progress)
        for role, log, folder in zip(ROLES, shared.logs, folders)
    ]
    # Written when both are there: an interrupted fit leaves no world without its judge.
    for folder, (world, fidelity) in zip(folders, made):
        world.save(folder)
        world.meta["fidelity"] = land(folder, fidelity)
    return made[0][0], made[1][0]


def _check_splits(log: Log) -> None:
    """Both halves need something to train and to stop on; checked before the training, not after."""
    for split in ("train", "validation"):
        if not (log.shown & (log.split == SPLITS.index(split))).any():
            mend = (
                "Bring longer logs, other split fractions, or shorter windows (purchase_window_days, "
                "click_window_minutes of the mapping; see quarantined in meta.json)"
            )
            raise InputError("split", f"no impressions of split {split!r} in at least one half of the users", mend)


def _fit_one(
    shared: Shared, log: Log, role: str, name: str, options: FitOptions, progress: bool
) -> tuple[World, dict[str, Any]]:
    done, users = training_rows(shared, log, options, f"replay ({role})", progress)
    base = cat.measure(shared.spec, shared.items, log)
    features = cat.item_features(shared.items, base)
    seed = options.seed * 2 + ROLES.index(role)
    folds = _folds(shared, log, done, base)
    response = train(done.rows, shared.spec.item_vectors, features, options.training, seed, progress, folds)
    slice_ = done.rows.split == SPLITS.index("calibration")
    response = with_frailty(response, done.rows.select(slice_), log.session[done.row[slice_]], seed)
    exp = [c for c in shared.dataset.events.columns if c.startswith("exp_")]
    item, copy = action_table(shared.spec.n_items, np.zeros(0, np.int32))
    segment = nearest(shared.centroids, shared.profile)
    shape = (len(shared.centroids), shared.spec.n_items)
    members, disagreement = _ensemble(shared, log, done, response, segment, folds.unseen, options, seed, progress)
    world = World(
        meta=cat.meta(shared, log, role, name, options) | disagreement,
        spec=shared.spec,
        items=pa.Table.from_pandas(shared.items, preserve_index=False),
        users=pa.Table.from_pandas(shared.dataset.users.iloc[users], preserve_index=False),
        copies=pa.Table.from_pandas(shared.dataset.copies.iloc[:0], preserve_index=False),
        item_features=features,
        item_rate=base.rate,
        logged_rates=cat.logged_rates(log, segment[users], *shape),
        segment_centroids=shared.centroids,
        revenue_per_purchase=base.revenue,
        exp_reference=_exp(shared.dataset.meta["exp_reference"], exp, 0.0),
        exp_unshown=_exp(shared.dataset.meta["exp_unshown"], exp, np.nan),
        action_item=item,
        action_copy=copy,
        response=response,
        start=start_states(shared.dataset, log, done, users, exp),
        members=members,
        segment_variance=segment_variance(done.rows.of("train"), segment, shape, response.heads, options.segment_sd),
    )
    world = _with_logged_copies(world, shared.dataset, log, done, segment, options.seed, ROLES.index(role))
    _tell_basis(world, options.segment_sd)
    fidelity = measure_fidelity(world, done.rows, segment, "validation", options.seed)
    return world, fidelity | quick_verdict(world, done.rows, log.session[done.row], segment, seed=options.seed)


def _ensemble(
    shared: Shared,
    log: Log,
    done: Replayed,
    response: ResponseForward,
    segment: NDArray[np.int32],
    unseen: NDArray[np.float32] | None,
    options: FitOptions,
    seed: int,
    progress: bool,
) -> tuple[tuple[ResponseForward, ...], dict[str, Any]]:
    """Members and, for `world.json`, how their disagreement compares with the model's error."""
    if not options.members:
        return (), {}
    user = log.user.astype(np.int64)

    def features(times: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        drawn = replace(log, weight=(log.weight * times[user]).astype(np.float32))
        left_out = [times[user] == 0, *((user % FOLDS == k) | (times[user] == 0) for k in range(FOLDS))]
        found = [cat.item_features(shared.items, cat.measure(shared.spec, shared.items, drawn, w)) for w in left_out]
        return found[0], np.stack(found[1:])

    rows, owner = done.rows, user[done.row]
    vectors, count = shared.spec.item_vectors, options.members
    made = fit_members(rows, owner, vectors, features, owner % FOLDS, options.training, seed, count, progress, unseen)
    effect = response.config["frailty"]
    made = tuple(ResponseForward(m.to_arrays(), {**m.config, "frailty": effect}) for m in made)
    held = rows.select(np.isin(rows.split, [SPLITS.index(name) for name in ("calibration", "validation")]))
    return made, {"disagreement": calibrate_disagreement(response, made, held, segment[held.user], seed)}


def _with_logged_copies(
    world: World, dataset: Dataset, log: Log, done: Replayed, segment: NDArray[np.int32], seed: int, role: int
) -> World:
    """The world with the data's copies, if any, and, where the logs tell it, their effect; `role`: index into ROLES."""
    if not len(dataset.copies):
        return world
    draw_seed = 1000 * (seed + 1) + role
    copies = pa.Table.from_pandas(dataset.copies, preserve_index=False)
    world = with_copies(world, copies, seed, world_seed=draw_seed)
    effect = learn_copies(world, log, done, segment, str(dataset.meta["propensity"]), seed, draw_seed)
    return world if effect is None else with_effect(world, effect)


def _tell_basis(world: World, segment_sd: float) -> None:
    """What of the world was learned and what is assumed, in the world card."""
    if world.leave_known:
        world.meta["learned"] = [*world.meta["learned"], "P(leave | response)"]
    _tell_frailty(world)
    if segment_sd:
        world.meta["segment_sd"] = segment_sd
        line = f"an item's log odds in a segment differ from the model's by {segment_sd:g} (standard deviation)"
        world.meta["assumed"] = [*world.meta["assumed"], f"for pessimism: {line} where the logs tell nothing of it"]
    world.meta["assumed"] = [*world.meta["assumed"], *_weakly_calibrated(world)]


def _tell_frailty(world: World) -> None:
    """The session effect in the world card: learned, or why there is none."""
    found = world.response.config["frailty"]
    interval = f"[{found['low']:.3g}, {found['high']:.3g}]"
    if world.frailty:
        line = f"a session effect that {found['head']}s share: gamma of variance {found['theta']:.3g} {interval}"
        world.meta["learned"] = [*world.meta["learned"], line]
        if world.horizon_default > 1:
            world.meta["assumed"] = [*world.meta["assumed"], LATER_SLOTS]
        return
    why = f"the variance of an effect that they share is not above 0 with confidence, {interval}"
    line = f"{found['head']}s of a session are independent given the state: {why}"
    world.meta["assumed"] = [*world.meta["assumed"], line]


def _weakly_calibrated(world: World) -> list[str]:
    """What the calibration slice can tell little or nothing about."""
    found = []
    for head, groups in world.response.config["calibration"].items():
        for name, (_, _, positives) in zip(("not shown", "shown"), groups):
            told = name == "shown" or (world.has_unshown and head != "leave")
            if told and positives < ENOUGH_POSITIVES:
                found.append(f"the level of P({head}, {name}): calibrated on {positives:.0f} visits with a positive")
    return found


def _folds(shared: Shared, log: Log, done: Replayed, base: cat.ItemBase) -> Folds:
    """Item features of the training rows, counted on other users: else each row's own response stands in its input."""
    fold = log.user.astype(np.int64) % FOLDS
    held_out = [
        cat.item_features(shared.items, cat.measure(shared.spec, shared.items, log, fold == k)) for k in range(FOLDS)
    ]
    return Folds(np.stack(held_out), fold[done.row], cat.unseen_inputs(shared.items, shared.spec.item_vectors, base))


def measure_fidelity(
    world: World, rows: TrainingRows, segment: NDArray[np.int32], split: str, seed: int, n_boot: int = 200
) -> dict[str, Any]:
    """Fidelity of a world's response model on one split; the item rates come from the train split.

    Args:
        segment: (n,) segment of each row of the whole users table.
    """
    if not (rows.split == SPLITS.index(split)).any():
        raise InputError("split", f"no impressions of split {split!r}", "Give data that reach into it")
    base = item_rate_baseline(rows, world.response.heads, world.n_items)
    figures = quick_fidelity(world.response, rows, base, segment, split, n_boot=n_boot, seed=seed)
    seen = "training stopped on this slice" if split == "validation" else "neither model nor calibration saw this slice"
    return {"split": split, "seen": seen, "world": world.meta["name"], "exposure": world.meta["exposure"], **figures}


def _exp(declared: dict[str, float | None], columns: list[str], missing: float) -> NDArray[np.float32]:
    """(E,) declared values, `missing` where there is none; NaN in exp_unshown: the item keeps its own value."""
    values = (declared.get(c) for c in columns)
    return np.array([missing if v is None else v for v in values], np.float32)
