"""The true response of a synthetic shop in the simulator's place for a learned one: any policy, judged by the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.data.truth import LEAVE_WEIGHTS, Sessions, Truth
from recenv.response.forward import Prediction
from recenv.state import Floats, Ints, UserState

if TYPE_CHECKING:
    from recenv.world import World


class TrueResponse:
    """The truth as a `ResponseProtocol`: `Simulator(world, n, options, TrueResponse(truth, world, n))`.

    Items are matched by id and users by the id of their start state. Copies, positions and exp_* are without effect in
    the true shop.

    Args:
        truth: of the data set that the world was fitted on. world: that world. n: number of the simulator's slots.

    Raises:
        InputError: a user or an item of the world is not in the truth.
    """

    def __init__(self, truth: Truth, world: World, n: int) -> None:
        self.leave_weights: Floats = np.array(LEAVE_WEIGHTS, np.float32)
        self.sessions = Sessions(truth, np.zeros(n, np.int64))
        self.item = truth.items(np.array(world.items["item_id"].to_pylist()))
        self.start_user = truth.users(world.start.user_id)

    def begin(self, rows: Ints, start_rows: Ints) -> None:
        """Slots `rows` (n,) begin a session of the users of `start_rows` (n,), fresh but for their taste."""
        self.sessions.begin(rows, self.start_user[start_rows])

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
        """True chances of n pairs, shown where treat[:, 0] > 0; arguments as in the protocol."""
        chance = self.sessions.chances(rows, self.item[item], treat[:, 0] > 0)
        parts = (chance.click, chance.purchase, chance.leave_logit)
        return Prediction(*(part.astype(np.float32) for part in parts))

    def observe(self, rows: Ints, item: Ints, copy: Ints, click: NDArray[Any], purchase: NDArray[Any]) -> None:
        """The hidden state moves on."""
        self.sessions.observe(rows, self.item[item], click, purchase)
