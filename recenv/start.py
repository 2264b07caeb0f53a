"""Start states: snapshots of users as the logs met them, packed ragged so that thousands fit in a small file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError, InputError
from recenv.state import Ints, StateSpec, UserState, new_state

SPLITS = ("train", "validation", "test")

_DENSE = ("profile", "sums", "mass", "decayed_at", "totals", "last_time", "recent_n", "session_mark")
_DENSE_SCALARS = ("session_start", "previous_end", "sessions", "step")
_RAGGED = {
    "memory": ("memory_item", "memory_counts", "memory_time"),
    "category": ("category_counts", "category_time"),
    "recent": ("recent_item", "recent_kind", "recent_copy", "recent_time"),
}


@dataclass
class StartStates:
    """n snapshots of users just before a session began.

    Args:
        user_id: (n,) str. user: (n,) int32, row of the users table. split: (n,) int8, index into `SPLITS`.
        clock: (n,) int64, the session's first second. context: (n, n_context) float32.
        offer_ptr: (n + 1,) int64, CSR pointers into offer_item and offer_exp; all equal where offers are not logged.
        offer_item: (nnz,) int32. offer_exp: (nnz,) int32, row of `exp_table`. exp_table: (n_combinations, E) float32.
        packed: the users' states, dense arrays and ragged ones with `<group>_ptr`.
    """

    user_id: NDArray[np.str_]
    user: NDArray[np.int32]
    split: NDArray[np.int8]
    clock: NDArray[np.int64]
    context: NDArray[np.float32]
    offer_ptr: NDArray[np.int64]
    offer_item: NDArray[np.int32]
    offer_exp: NDArray[np.int32]
    exp_table: NDArray[np.float32]
    packed: dict[str, NDArray[Any]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.clock)

    def of_split(self, name: str) -> NDArray[np.int64]:
        """Rows of one split; raises InputError on an unknown name or where there is none."""
        if name not in SPLITS:
            raise InputError("split", f"{name!r}", f"Choose one of {', '.join(SPLITS)}.")
        rows = np.flatnonzero(self.split == SPLITS.index(name))
        if not len(rows):
            raise InputError("split", f"no start states of split {name!r}", "Fit the world on logs that reach into it.")
        return rows

    def offers(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items on offer in one start state's visit, (m,), and how each was shown, (m, E)."""
        part = slice(self.offer_ptr[row], self.offer_ptr[row + 1])
        return self.offer_item[part], self.exp_table[self.offer_exp[part]]

    def state(self, spec: StateSpec, rows: Ints) -> UserState:
        """Dense states of the given snapshots; the session is not begun yet."""
        rows = np.asarray(rows)
        state = new_state(spec, self.packed["profile"][rows])
        for name in (*_DENSE, *_DENSE_SCALARS):
            getattr(state, name)[:] = self.packed[name][rows]
        for group, names in _RAGGED.items():
            start, stop = self.packed[f"{group}_ptr"][rows], self.packed[f"{group}_ptr"][rows + 1]
            user, source = _expand(start, stop)
            slot = self.packed[f"{group}_slot"][source]
            for name in names:
                getattr(state, name)[user, slot] = self.packed[name][source]
        return state

    def take(self, rows: Ints) -> StartStates:
        """The given snapshots as a collection of their own."""
        rows = np.asarray(rows)
        _, source = _expand(self.offer_ptr[rows], self.offer_ptr[rows + 1])
        return StartStates(
            self.user_id[rows], self.user[rows], self.split[rows], self.clock[rows], self.context[rows],
            _pointers(self.offer_ptr[rows + 1] - self.offer_ptr[rows]), self.offer_item[source], self.offer_exp[source],
            self.exp_table, take_packed(self.packed, rows),
        )  # fmt: skip

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Flat mapping for `numpy.savez_compressed`."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "packed"}
        return own | {f"state_{name}": array for name, array in self.packed.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> StartStates:
        """Inverse of `to_arrays`; raises ArtefactError where an array is missing."""
        names = [f.name for f in fields(cls) if f.name != "packed"]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ArtefactError("start_states.npz", f"no array {missing[0]!r}", "Fit the world anew.")
        packed = {name.removeprefix("state_"): array for name, array in arrays.items() if name.startswith("state_")}
        return cls(**{name: arrays[name] for name in names}, packed=packed)


def pack(state: UserState) -> dict[str, NDArray[Any]]:
    """Ragged form of N states: memory, categories and recent events keep their used slots alone."""
    used = {
        "memory": state.memory_item >= 0,
        "category": (state.category_counts != 0).any(axis=2),
        "recent": state.recent_item >= 0,
    }
    packed: dict[str, NDArray[Any]] = {name: getattr(state, name).copy() for name in (*_DENSE, *_DENSE_SCALARS)}
    for group, names in _RAGGED.items():
        user, slot = np.nonzero(used[group])
        packed[f"{group}_ptr"] = _pointers(used[group].sum(axis=1))
        packed[f"{group}_slot"] = slot.astype(np.int32)
        for name in names:
            packed[name] = getattr(state, name)[user, slot]
    return packed


def concatenate_packed(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Join packed states end to end."""
    if not parts:
        raise InputError("start states", "none to join", "Sample at least one session.")
    pointers = {f"{group}_ptr" for group in _RAGGED}
    joined: dict[str, NDArray[Any]] = {}
    for name in parts[0]:
        if name in pointers:
            joined[name] = _pointers(np.concatenate([np.diff(part[name]) for part in parts]))
        else:
            joined[name] = np.concatenate([part[name] for part in parts])
    return joined


def take_packed(packed: dict[str, NDArray[Any]], rows: Ints) -> dict[str, NDArray[Any]]:
    """The packed states of `rows`, in that order."""
    taken: dict[str, NDArray[Any]] = {name: packed[name][rows] for name in (*_DENSE, *_DENSE_SCALARS)}
    for group, names in _RAGGED.items():
        start, stop = packed[f"{group}_ptr"][rows], packed[f"{group}_ptr"][rows + 1]
        _, source = _expand(start, stop)
        taken[f"{group}_ptr"] = _pointers(stop - start)
        for name in (*names, f"{group}_slot"):
            taken[name] = packed[name][source]
    return taken


def _pointers(counts: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _expand(start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For CSR ranges: the row number and the source index of every element."""
    counts = stop - start
    row = np.repeat(np.arange(len(start)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, np.repeat(start, counts) + offset
