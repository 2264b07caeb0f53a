"""What choosing copy is worth in an evaluation: against each style shown to everybody, on the same items and users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.env.learned import LearnedResponse
from recenv.env.prepared import prepared

if TYPE_CHECKING:
    from recenv.env.simulator import Simulator

Floats = NDArray[np.float64]
_LEAST = 1e-9


class CopyTally:
    """Sums the gross value that each constant style would have had in the slots of an evaluation.

    One step, not a whole session: with p the chance of a root response to what was shown and d the two copies'
    difference in effect without wear, another copy of the same item would have had sigmoid(logit p + d), and gross
    value in proportion. An item without a copy of that style keeps the one shown. Wear is left out on both sides, so a
    policy gets no credit for changing styles.

    Args:
        sim: with slates of one. Only a world's own response is known well enough; `known` is false for any other.
    """

    def __init__(self, sim: Simulator) -> None:
        effect = sim.world.copy_effect
        self.sim, self.known = sim, effect is not None and type(sim.response) is LearnedResponse
        self.gross = 0.0
        self.constant: Floats = np.zeros(0 if effect is None else len(effect.styles))
        if effect is None:
            return
        # (n_items, S): each item's first copy of each style, -1 where it has none.
        self.of_style = np.full((sim.world.n_items, len(effect.styles)), -1, np.int64)
        for item, copy in zip(sim.world.action_item[:0:-1], sim.world.action_copy[:0:-1]):
            if copy >= 0 and effect.copy_style[copy] >= 0:
                self.of_style[item, effect.copy_style[copy]] = copy

    def add(self, rows: NDArray[np.int64], item: NDArray[Any], copy: NDArray[Any], info: dict[str, Any]) -> None:
        """One slot of the sessions `rows` (n,), in which item (n,) was shown with copy (n,); -1: nothing, none."""
        if not self.known:
            return
        world = self.sim.world
        self.gross += float(info["gross"][rows].sum())
        with_copy = copy >= 0
        self.constant += float(info["gross"][rows[~with_copy]].sum())
        rows, item, copy = rows[with_copy], item[with_copy], copy[with_copy]
        root = "expected_click" if "expected_click" in info else "expected_purchase"
        p = np.clip(info[root][rows].astype(np.float64), _LEAST, 1 - _LEAST)
        worth = (info["gross"][rows] + info["cost"][rows]) / p
        segment, category = prepared(world).segment[info["start_row"][rows]], world.spec.item_category[item]
        effect, none = world.copy_effect, np.zeros(1)
        assert effect is not None
        base = np.log(p / (1 - p)) - effect.effect(copy, segment, category, none)
        for style in range(len(self.constant)):
            other = np.where(self.of_style[item, style] >= 0, self.of_style[item, style], copy)
            chance = 1.0 / (1.0 + np.exp(-(base + effect.effect(other, segment, category, none))))
            self.constant[style] += float((worth * chance - info["cost"][rows]).sum())

    def gain(self) -> float | None:
        """Gross value less that of the best constant style, summed over all slots; None where it is not known."""
        return self.gross - float(self.constant.max()) if self.known and len(self.constant) else None
