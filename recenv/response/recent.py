"""A user's last events as a history encoder reads them: the ring buffer of the user state, newest first.

Taken from a state, from a full observation or from training rows, they are the same numbers bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.observation import age, layout, recent_order
from recenv.state import Floats, Ints, StateSpec, UserState


@dataclass(frozen=True)
class Recent:
    """The last R events of n users at one moment each, newest first, in 9 bytes an event (11 above 32,767 items).

    Args:
        item: (n, R) int16 or int32, catalogue index, -1 where there was no event.
        kind: (n, R) int8, index into `recenv.state.KINDS`, -1 where there was none.
        age: (n, R) float32, log(1 + hours) before the moment of scoring.
        in_session: (n, R) bool, of the session that is going on.
        copied: (n, R) bool, shown with a text.
    """

    item: NDArray[np.integer[Any]]
    kind: NDArray[np.int8]
    age: Floats
    in_session: NDArray[np.bool_]
    copied: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: NDArray[Any]) -> Recent:
        """The given rows."""
        return Recent(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def of_state(cls, spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64]) -> Recent:
        """Of the users `rows` (n,) at time `now` (n,) int64 seconds."""
        rows, now = np.asarray(rows), np.asarray(now, np.int64)
        at = (rows[:, None], recent_order(spec, state, rows))
        position = state.recent_n[rows][:, None] - 1 - np.arange(spec.recent)
        item = state.recent_item[at]
        here = (item >= 0) & (position >= state.session_mark[rows][:, None])
        ages = age(now[:, None], state.recent_time[at])
        return cls(
            item.astype(_index(spec)), state.recent_kind[at].astype(np.int8), ages, here, state.recent_copy[at] >= 0
        )

    @classmethod
    def of_full(cls, spec: StateSpec, obs: Floats) -> Recent:
        """Of users with full observations (n, size) float32."""
        at = layout(spec, "full")
        item, kind, ages, here, copy = (
            obs[:, slice(*at[f"recent_{name}"])] for name in ("item", "kind", "age", "in_session", "copy")
        )
        return cls(item.astype(_index(spec)), kind.astype(np.int8), np.ascontiguousarray(ages), here > 0.5, copy >= 0)

    @classmethod
    def empty(cls, spec: StateSpec) -> Recent:
        """Of no users."""
        n = (0, spec.recent)
        whole, flag = np.zeros(n, _index(spec)), np.zeros(n, bool)
        return cls(whole, np.zeros(n, np.int8), np.zeros(n, np.float32), flag, flag)

    @classmethod
    def joined(cls, spec: StateSpec, parts: Sequence[Recent]) -> Recent:
        """All users of `parts`, in order."""
        parts = parts or [cls.empty(spec)]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def _index(spec: StateSpec) -> type[np.signedinteger[Any]]:
    return np.int16 if spec.n_items <= np.iinfo(np.int16).max else np.int32
