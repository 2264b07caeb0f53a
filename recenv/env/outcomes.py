"""What a slot's slate brings: from predictions of single pairs to amounts, sampled and expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.env import slate
from recenv.env.options import EnvOptions
from recenv.response.forward import Prediction
from recenv.response.frailty import conditional
from recenv.state import Floats, Ints

if TYPE_CHECKING:
    from recenv.world import World


@dataclass
class Response:
    """What one slot of N sessions brings, before the users move on.

    items, copies (N, k) int32, -1 where nothing is shown; shown (N, k) bool: slots that get a response; click, purchase
    (N, k) bool, sampled; leave_logit (N,), NaN where unknown; leave_draw (N,) uniform; amounts (N,) by name, as in
    `Simulator.step`.
    """

    items: NDArray[np.int32]
    copies: NDArray[np.int32]
    shown: NDArray[np.bool_]
    click: NDArray[np.bool_]
    purchase: NDArray[np.bool_]
    leave_logit: NDArray[np.float64]
    leave_draw: NDArray[np.float64]
    amounts: dict[str, NDArray[np.float64]]


@dataclass
class Outcome:
    """Result of a step: obs (N, size) float32 (an ended session's last one is its own user's), reward (N,) float64,
    terminated and truncated (N,) bool, info: arrays of N rows. The simulator keeps none of these arrays."""

    obs: Floats
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    info: dict[str, Any]


def draw_slate(
    world: World,
    options: EnvOptions,
    prediction: Prediction | None,
    unshown: Prediction | None,
    items: Ints,
    shown: NDArray[np.bool_],
    u: NDArray[np.float64],
    effect: NDArray[np.float64] | None = None,
    theta: float = 0.0,
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Expected and sampled amounts (N,), sampled click and purchase (N, k), leave logit (N,).

    Args:
        prediction, unshown: of the pairs marked in `shown` (N, k), row by row, when shown and when not.
        items: (N, k), -1 where nothing is shown. u: (N, 3k + 1) uniform numbers, see `Simulator`.
        effect: (N,) hidden session effects of variance `theta`, on the sampled responses only; None: no such effect.
    """
    k = options.slate
    spread = _Spread(shown)
    click, given = spread.root_and_rest(prediction)  # (N, k) P(root), P(purchase | root)
    root = click if effect is None else conditional(click, theta, effect[:, None])
    hit = slate.sample(options.slate_response, root, u[:, :k], u[:, 2 * k : 3 * k])
    chance = slate.marginal(options.slate_response, click)
    amounts: dict[str, NDArray[np.float64]] = {}
    no = np.zeros(shown.shape, bool)
    sampled_click = hit if "click" in world.responses else no
    clicks = "click" in world.responses
    bought = (hit & (u[:, k : 2 * k] < given) if clicks else hit) if "purchase" in world.responses else no
    expected = {"click": chance, "purchase": chance * given if clicks else chance}
    without = spread.marginals(unshown, clicks) if world.has_unshown else {}
    drawn = {"click": sampled_click, "purchase": bought}
    for name in ("click", "purchase"):
        if name in world.responses:
            amounts[name] = drawn[name].sum(axis=1).astype(np.float64)
            amounts[f"expected_{name}"] = expected[name].sum(axis=1)
            if world.has_unshown:
                amounts[f"unshown_{name}"] = without[name].sum(axis=1)
    if "revenue" in world.responses:
        price = np.where(items >= 0, world.revenue_per_purchase[items], 0.0).astype(np.float64)
        amounts["revenue"] = (bought * price).sum(axis=1)
        amounts["expected_revenue"] = (expected["purchase"] * price).sum(axis=1)
        if world.has_unshown:
            amounts["unshown_revenue"] = (without["purchase"] * price).sum(axis=1)
    return amounts, sampled_click, bought, spread.mean_leave(prediction)


class _Spread:
    """Puts predictions of the shown pairs back into (N, k) tables."""

    def __init__(self, shown: NDArray[np.bool_]) -> None:
        self.shown = shown

    def table(self, values: Floats | None, fill: float = 0.0) -> NDArray[np.float64]:
        result = np.full(self.shown.shape, fill)
        if values is not None:
            result[self.shown] = values
        return result

    def root_and_rest(self, prediction: Prediction | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(click) and P(purchase | click), or P(purchase) and 1 where clicks are unknown; 0 where nothing is shown."""
        if prediction is None:
            return self.table(None), self.table(None)
        if prediction.click is None:
            return self.table(prediction.purchase), self.shown.astype(np.float64)
        return self.table(prediction.click), self.table(prediction.purchase)

    def marginals(self, prediction: Prediction | None, clicks: bool) -> dict[str, NDArray[np.float64]]:
        root, given = self.root_and_rest(prediction)
        return {"click": root, "purchase": root * given if clicks else root}

    def mean_leave(self, prediction: Prediction | None) -> NDArray[np.float64]:
        """(N,) mean leave logit over the slots shown, NaN where there is none."""
        if prediction is None or prediction.leave_logit is None:
            return np.full(len(self.shown), np.nan)
        count = self.shown.sum(axis=1)
        mean = self.table(prediction.leave_logit).sum(axis=1) / np.maximum(count, 1)
        return np.where(count > 0, mean, np.nan)
