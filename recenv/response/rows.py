"""Training rows: what the response model may know before each logged response, and the response."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.response.recent import Recent

SPLITS: tuple[str, ...] = ("train", "calibration", "validation", "test")
HEADS: tuple[str, ...] = ("click", "purchase", "leave")
OF_VISITS = ("visit_obs", "recent")
"""Fields with one row a visit; the others have one a response."""


@dataclass
class TrainingRows:
    """n logged responses and the state each was given in.

    Args:
        visit_obs: (V, U) float32, summary observations; one row may serve many responses.
        visit: (n,) int32, row of `visit_obs`.
        item: (n,) int32, catalogue index.
        offset: (n,) float32, logit offset of the copy shown.
        cross: (n, F) float32, `features.cross_features`.
        treat: (n, 1 + E) float32, [shown 0/1, exp_*].
        click, purchase, leave: (n,) float32, 0 or 1; NaN = not recorded.
        weight: (n,) float32, positive, 1 / sampling rate.
        split: (n,) int8, index into `SPLITS`.
        user: (n,) int32, row of the users table.
        time: (n,) int64, seconds.
        recent: the last events before each visit (V of them), where a history encoder is to read them; else None.
    """

    visit_obs: NDArray[np.float32]
    visit: NDArray[np.int32]
    item: NDArray[np.int32]
    offset: NDArray[np.float32]
    cross: NDArray[np.float32]
    treat: NDArray[np.float32]
    click: NDArray[np.float32]
    purchase: NDArray[np.float32]
    leave: NDArray[np.float32]
    weight: NDArray[np.float32]
    split: NDArray[np.int8]
    user: NDArray[np.int32]
    time: NDArray[np.int64]
    recent: Recent | None = None

    def __len__(self) -> int:
        return len(self.item)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(n,) True for impressions, False for opportunities."""
        return self.treat[:, 0] > 0.5

    def select(self, mask: NDArray[Any]) -> TrainingRows:
        """Rows of a boolean mask or an index array; what visits have is shared, not copied."""
        picked = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name not in OF_VISITS}
        return replace(self, **picked)

    def of(self, split: str) -> TrainingRows:
        """Rows of one split, by name."""
        if split not in SPLITS:
            raise InputError("split", f"{split!r}", f"Choose one of {', '.join(SPLITS)}.")
        return self.select(self.split == SPLITS.index(split))

    def response(self, head: str) -> NDArray[np.float32]:
        """(n,) the response of `head`; NaN where it does not count towards that head.

        Purchase counts given a click where clicks are recorded; a purchase without a click counts as clicked.
        """
        if head not in HEADS:
            raise InputError("head", f"{head!r}", f"Choose one of {', '.join(HEADS)}.")
        if head == "leave":
            return self.leave
        bought = self.purchase == 1.0
        if head == "click":
            return np.where(bought & (self.click == 0.0), np.float32(1.0), self.click)
        without_click = ~np.isnan(self.click) & (self.click == 0.0) & ~bought
        return np.where(without_click, np.float32(np.nan), self.purchase)

    def check(self, n_items: int) -> None:
        """Refuse what no model can be trained on.

        Raises:
            InputError: unequal lengths, a non-finite input, a weight that is not positive, a response other than 0, 1
                or NaN, or an index outside its table.
        """
        n = len(self)
        for f in fields(self):
            if f.name not in OF_VISITS and len(getattr(self, f.name)) != n:
                found = f"{len(getattr(self, f.name))} rows against {n} items"
                raise InputError(f"rows.{f.name}", found, "Give one row a response.")
        if self.recent is not None and len(self.recent) != len(self.visit_obs):
            found = f"{len(self.recent)} histories against {len(self.visit_obs)} visits"
            raise InputError("rows.recent", found, "Give one a visit.")
        for name in ("visit_obs", "offset", "cross", "treat", "weight"):
            _finite(name, getattr(self, name))
        if n and not (self.weight > 0).all():
            raise InputError("rows.weight", f"smallest {self.weight.min()}", "Weights must be positive.")
        for name in HEADS:
            value = getattr(self, name)
            if not (np.isnan(value) | (value == 0.0) | (value == 1.0)).all():
                raise InputError(f"rows.{name}", "a value other than 0, 1 or NaN", "Responses are binary.")
        for name, size in (("item", n_items), ("visit", len(self.visit_obs))):
            index = getattr(self, name)
            if n and not (index.min() >= 0 and index.max() < size):
                raise InputError(f"rows.{name}", f"{index.min()}..{index.max()}", f"Indices run from 0 to {size - 1}.")


def _finite(name: str, array: NDArray[Any]) -> None:
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise InputError(f"rows.{name}", f"a NaN or infinity in row {row}", "Clean the table it comes from.")
