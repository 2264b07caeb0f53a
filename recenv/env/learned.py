"""How simulated users respond: the protocol that the simulator asks, and its learned implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recenv.env.prepared import prepared
from recenv.observation import shown_in_session
from recenv.response.features import cross_features
from recenv.response.forward import Prediction
from recenv.response.recent import Recent
from recenv.state import Floats, Ints, UserState

if TYPE_CHECKING:
    from recenv.world import World


class ResponseProtocol(Protocol):
    """What the simulator asks of a response; slots are the simulator's rows 0 .. N - 1."""

    leave_weights: Floats
    """(2,) what a click and a purchase add to the logit of leaving."""

    def begin(self, rows: Ints, start_rows: Ints) -> None:
        """Slots `rows` (n,) begin a session in the start states `start_rows` (n,)."""

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
        """Responses of n pairs; `rows` may repeat.

        Args:
            rows: (n,) slots. now: (n,) int64. user_obs: (n, U) summary observations. item: (n,). copy: (n,), -1 for
                none. treat: (n, 1 + E) [shown, exp_*]; copies count only where shown. position: (n,) rank from 1.
        """

    def observe(self, rows: Ints, item: Ints, copy: Ints, click: NDArray[Any], purchase: NDArray[Any]) -> None:
        """What was shown (rows distinct per call) and what came of it; hidden state moves on."""


class LearnedResponse:
    """The world's own response model, its rows computed one by one so that no batch shape shows in the result."""

    def __init__(self, world: World, n: int) -> None:
        from recenv.env.kernels import RowPredictor
        from recenv.env.kernels_recent import RowEncoder

        self.world = world
        self.predictor = RowPredictor(world.response)
        encoder = world.response.encoder
        self.encoder = None if encoder is None else RowEncoder(encoder)
        self.segment = np.zeros(n, np.int32)
        self.leave_weights: Floats = np.asarray(world.response.leave_weights, np.float32)

    def begin(self, rows: Ints, start_rows: Ints) -> None:
        self.segment[rows] = prepared(self.world).segment[start_rows]

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
        spec = self.world.spec
        cross = cross_features(spec, state, rows, now, item)
        # Pairs of one user stand together: his inputs are made once.
        first, owner = _runs(rows)
        user = user_obs[first]
        if self.encoder is not None:
            history = self.encoder.encode(Recent.of_state(spec, state, rows[first], now[first]))
            user = np.concatenate([user, history], axis=1)
        offset = self._offset(state, rows, item, np.where(treat[:, 0] > 0, copy, -1))
        return self.predictor.predict(user, item, cross, treat, offset, owner)

    def _offset(self, state: UserState, rows: Ints, item: Ints, copy: Ints) -> Floats:
        """(n,) what the text adds to the logit; 0 without a copy."""
        effect = self.world.copy_effect
        offset = np.zeros(len(rows), np.float32)
        with_copy = np.flatnonzero(copy >= 0)
        if effect is None or not len(with_copy):
            return offset
        rows, item, copy = rows[with_copy], item[with_copy], copy[with_copy]
        seen = style_seen(self.world, state, rows, effect.copy_style[copy])
        category = self.world.spec.item_category[item]
        offset[with_copy] = effect.effect(copy, self.segment[rows], category, seen)
        return offset

    def observe(self, rows: Ints, item: Ints, copy: Ints, click: NDArray[Any], purchase: NDArray[Any]) -> None:
        """Nothing hidden: all that the model knows is in the user state."""


def _runs(rows: Ints) -> tuple[Ints, Ints]:
    """First index of each run of equal rows, and the run of each row (n,)."""
    fresh = np.ones(len(rows), bool)
    fresh[1:] = rows[1:] != rows[:-1]
    return np.flatnonzero(fresh), np.cumsum(fresh) - 1


def style_seen(world: World, state: UserState, rows: Ints, style: Ints) -> NDArray[np.int64]:
    """(n,) how often each style (n,) was shown to its user in this session, as far back as the ring reaches."""
    assert world.copy_effect is not None
    shown = shown_in_session(world.spec, state, rows)  # (n, R)
    copies = state.recent_copy[rows]
    styles = np.where(copies >= 0, world.copy_effect.copy_style[copies], -1)
    return (shown & (styles == style[:, None]) & (styles >= 0)).sum(axis=1)
