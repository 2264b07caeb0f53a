"""What all simulators of one process share: worlds by path, and tables derived once from each."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recenv.core.folders import wrong_folder
from recenv.state import Floats, Ints

if TYPE_CHECKING:
    from recenv.world import World

_WORLDS: dict[tuple[str, int], World] = {}
_PREPARED: dict[int, tuple[weakref.ref[World], Prepared]] = {}


class Prepared:
    """Tables of one world.

    Attributes:
        segment: (n_starts,) int32, each start state's user segment, computed in one call so that it never depends on
            how users are batched.
        offer_key: (nnz,) int64 sorted, start * n_items + item of everything on offer; offer_row: (nnz,) into exp_table.
    """

    def __init__(self, world: World) -> None:
        start = world.start
        self.n_items = world.n_items
        self.segment: NDArray[np.int32] = np.asarray(world.segment_of(start.packed["profile"]), np.int32)
        self.exp_table: Floats = start.exp_table
        self.offer_key = np.zeros(0, np.int64)
        self.offer_row = np.zeros(0, np.int32)
        if world.offers_known:
            owner = np.repeat(np.arange(len(start), dtype=np.int64), np.diff(start.offer_ptr))
            key = owner * self.n_items + start.offer_item
            order = np.argsort(key, kind="stable")
            self.offer_key, self.offer_row = key[order], start.offer_exp[order]

    def offered_exposure(self, start_rows: Ints, item: Ints) -> Floats:
        """(n, E) exp_* with which `item` (n,) was on offer in `start_rows` (n,); every pair must have been on offer."""
        at = np.searchsorted(self.offer_key, start_rows.astype(np.int64) * self.n_items + item)
        return self.exp_table[self.offer_row[at]]


def prepared(world: World) -> Prepared:
    """The shared tables of a world, made at first use."""
    known = _PREPARED.get(id(world))
    if known is not None and known[0]() is world:
        return known[1]
    made = Prepared(world)
    key = id(world)
    _PREPARED[key] = (weakref.ref(world, lambda _: _PREPARED.pop(key, None)), made)
    return made


def load_world(path: str | Path | None) -> World:
    """The world at `path` (the bundled tiny one where None), shared by all environments of this process.

    Raises:
        ArtefactError: there is no world at `path`, or it was changed.
    """
    from recenv.world import World, tiny_world_path

    folder = Path(tiny_world_path() if path is None else path).resolve()
    card = folder / "world.json"
    if not card.is_file():
        raise wrong_folder(folder if path is None else path, "world")
    key = (str(folder), card.stat().st_mtime_ns)
    if key not in _WORLDS:
        _WORLDS[key] = World.load(folder)
    return _WORLDS[key]
