"""Fidelity of a fitted world on the test slice: the one place that replays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.artefacts import read_json
from recenv.core.checks import check_seed, check_whole
from recenv.core.errors import InputError
from recenv.data.schema import SPLITS as DATA_SPLITS
from recenv.data.schema import Dataset
from recenv.response.fit import measure_fidelity, write_fidelity
from recenv.response.log import encode_log
from recenv.response.replay import replay
from recenv.world import World


def fidelity_on_test(world_path: str | Path, data: str | Path, seed: int, n_boot: int) -> dict[str, Any]:
    """Replay the world's own users through the whole log and measure the response model on the test slice.

    Writes the figures over the world's `fidelity.json`, those on the validation slice kept under `validation`.

    Raises:
        InputError: the world was fitted on other data, or the data hold no test slice.
    """
    check_seed(seed)
    check_whole("bootstraps", n_boot)
    world = World.load(world_path)
    _check_same_data(world, Path(data))
    dataset = Dataset.load(data, splits=DATA_SPLITS)
    ids = np.sort(np.array(world.users["user_id"].to_pylist(), dtype=np.str_))
    log = encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())
    users = dataset.users.set_index("user_id")
    columns = {c: users.loc[ids, c].tolist() for c in users.columns}
    profile = world.profile_encoder.encode(columns, len(ids))
    rows = replay(world.spec, log, profile, log.scored, np.zeros(0, np.int64)).rows
    report = measure_fidelity(world, rows, world.segment_of(profile), "test", seed, n_boot)
    before = read_json(world.path / "fidelity.json") if world.path else {}
    report["validation"] = before.get("validation", before)
    report["test_reads"] = dataset.meta["test_reads"]
    write_fidelity(Path(world_path), report)
    return report


def _check_same_data(world: World, data: Path) -> None:
    hashes = read_json(data / "meta.json").get("hashes", {})
    if hashes != world.meta["dataset_hashes"]:
        what = f"not the data that world {world.meta['name']!r} was fitted on"
        raise InputError(str(data), what, "Give the folder that `recenv fit --data` was given")
