"""Responses lowered by what the ensemble disagrees on: a policy that lives on the model's mistakes is paid less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.env.learned import LearnedResponse
from recenv.response.disagreement import spread
from recenv.response.forward import Prediction
from recenv.state import Floats, Ints, UserState

if TYPE_CHECKING:
    from recenv.env.options import EnvOptions
    from recenv.world import World


class PessimisticResponse(LearnedResponse):
    """max(0, P - k sd(P)) in place of the world's P, for items that are shown; see `lower`.

    What happens to items not shown stays as the model has it: lowered too, it would raise what showing adds. Leaving is
    left alone. (Yu et al., "MOPO: model-based offline policy optimization", NeurIPS 2020, with a response's chance in
    the place of the reward.)

    Args:
        world: fitted with members. n: number of the simulator's slots. k: standard deviations taken off.
    """

    def __init__(self, world: World, n: int, k: float) -> None:
        super().__init__(world, n)
        self.k = k
        self.others = [LearnedResponse(world.with_response(member), n) for member in world.members]
        for other in self.others:
            other.segment = self.segment  # one array: `begin` of this one is everybody's

    def predict(
        self,
        state: UserState,
        rows: Ints,
        now: NDArray[np.int64],
        user_obs: Floats,
        item: Ints,
        copy: Ints,
        treat: Floats,
        position: Ints,
    ) -> Prediction:
        main = super().predict(state, rows, now, user_obs, item, copy, treat, position)
        shown = np.flatnonzero(treat[:, 0] > 0.5)
        who, when, seen, what = rows[shown], now[shown], user_obs[shown], item[shown]
        text, how, rank = copy[shown], treat[shown], position[shown]
        told = [other.predict(state, who, when, seen, what, text, how, rank) for other in self.others]
        group = self.segment[who]
        click = self._lowered("click", main.click, [p.click for p in told], shown, group, what)
        purchase = self._lowered("purchase", main.purchase, [p.purchase for p in told], shown, group, what)
        return Prediction(click, purchase, main.leave_logit)

    def _lowered(
        self,
        head: str,
        value: Floats | None,
        others: list[Floats | None],
        shown: NDArray[np.int64],
        segment: Ints,
        item: Ints,
    ) -> Floats | None:
        known = [other for other in others if other is not None]
        if value is None or not known:
            return value
        result = value.copy()
        variance = self.world.open_variance(head)
        left = None if variance is None else variance[segment, item]
        result[shown] = lower(value[shown], known, self.k, self.world.disagreement_scale(head), left)
        return result


def lower(
    value: Floats, others: list[Floats], k: float, scale: float, variance: Floats | None = None, unit: Any = 1.0
) -> Floats:
    """(...,) float32: max(0, x - k sd), sd^2 = (scale sd_members(x))^2 + v (p (1 - p) unit)^2, p = x / unit.

    The second term is the delta method for p = sigmoid(logit), whose logit the logs leave open by the variance v. It is
    meant for k sqrt(v) below 1: beyond that a small p becomes 0.

    Args:
        value: x, probabilities, or probabilities times `unit`. others: the members' values, each of that shape.
        k: standard deviations taken off. scale: `World.disagreement_scale`. variance: v, of the log odds; None: 0.
        unit: reward of one response, broadcast to x.
    """
    x = value.astype(np.float64)
    sd = scale * spread(others)
    if variance is not None:
        left = x * (1.0 - np.divide(x, unit, out=np.ones_like(x), where=np.asarray(unit) != 0))
        sd = np.sqrt(sd**2 + variance * left**2)
    return np.maximum(x - k * sd, 0.0).astype(np.float32)


def own_response(world: World, n: int, options: EnvOptions) -> LearnedResponse:
    """The world's own response as these resolved options want it."""
    return PessimisticResponse(world, n, options.pessimism) if options.pessimism else LearnedResponse(world, n)
