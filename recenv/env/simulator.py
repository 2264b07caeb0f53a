"""The batched core: N sessions side by side, each a pure function of (seed, environment index, episode, actions)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.core import rng
from recenv.core.errors import InputError
from recenv.env.draws import uniforms
from recenv.env.learned import LearnedResponse, ResponseProtocol
from recenv.env.masks import Masks
from recenv.env.options import EnvOptions, assumptions, shares_effect
from recenv.env.outcomes import Outcome, Response, draw_slate
from recenv.env.pessimism import own_response
from recenv.env.prepared import load_world, prepared
from recenv.env.reward import reward_terms, total, value
from recenv.observation import bounds, layout, observe
from recenv.response.features import unshown_exposure
from recenv.response.forward import Prediction, sigmoid
from recenv.response.frailty import draw
from recenv.state import CLICK, EXPOSURE, PURCHASE, Floats, Ints, apply, begin_session, new_state

if TYPE_CHECKING:
    from recenv.world import World

_NEVER_ENDED = -1
_DRAWS = ("click", "purchase", "choice")


class Simulator:
    """N sessions of simulated users.

    A step is `respond` (what the users do, given what is shown) followed by `advance` (their states move on), so that
    logged responses can be forced. Ended sessions stay as they are until `restart`; random numbers are keyed by
    (seed, environment index, episode, step), so when a session is restarted changes nothing in it.

    Args:
        world: the world. n: number of sessions. options: see `EnvOptions`.
        response: how users respond; the world's own model where None.
        env_index: index of the first session; session i draws as environment `env_index + i`.

    Raises:
        UnsupportedError: the world cannot give what the options ask.
        InputError: the world has no start state of the split.
    """

    def __init__(
        self,
        world: World,
        n: int,
        options: EnvOptions | None = None,
        response: ResponseProtocol | None = None,
        env_index: int = 0,
    ) -> None:
        self.world, self.n = world, n
        self.options = (options or EnvOptions()).resolve(world)
        self.horizon, self._seconds = int(self.options.horizon or 1), int(self.options.seconds_per_slot or 0)
        self.response = own_response(world, n, self.options) if response is None else response
        # Estimated for the world's own model: another response brings its own dependence, or none.
        self.theta = world.frailty if response is None and shares_effect(self.options) else 0.0
        self.starts = np.asarray(world.start.of_split(self.options.split), np.int64)
        self.masks_ = Masks(world, n, self.options)
        self.layout = layout(world.spec, self.options.observation)
        self.low, self.high = bounds(world.spec, world.n_copies, self.options.observation)
        self.summary_size = max(stop for _, stop in layout(world.spec).values())
        self._allocate(env_index)

    def _allocate(self, env_index: int) -> None:
        n, world = self.n, self.world
        self.rows = np.arange(n)
        self.index = env_index + np.arange(n, dtype=np.int64)
        self.seed = np.zeros(n, np.int64)
        self.episode = np.full(n, _NEVER_ENDED, np.int64)
        self.step_count = np.zeros(n, np.int64)
        self.start_row = np.zeros(n, np.int64)
        self.now = np.zeros(n, np.int64)
        self.context = np.zeros((n, world.spec.context_dim), np.float32)
        self.state = new_state(world.spec, np.zeros((n, world.spec.profile_dim), np.float32))
        self.raw = np.zeros((n, len(self.low)), np.float32)
        self.leaving = np.zeros(n, bool)
        self.effect = np.ones(n)
        k = self.options.slate
        names = [name for name in _DRAWS for _ in range(k)] + ["leave"]
        self._streams = np.array([rng.STREAMS[name] for name in names], np.int64)
        self._slots = np.array([*list(range(k)) * len(_DRAWS), 0], np.int64)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and worker processes: a world on disk goes by its path, its model is made anew."""
        kept = dict(self.__dict__)
        if isinstance(self.response, LearnedResponse):
            kept["response"] = self.response.segment
        if self.world.path is not None:
            kept["world"] = str(self.world.path)
            kept["masks_"] = self.masks_.table
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update(kept)
        if isinstance(kept["world"], str):
            self.world = load_world(kept["world"])
            self.masks_ = Masks(self.world, self.n, self.options)
            self.masks_.table = kept["masks_"]
        if isinstance(kept["response"], np.ndarray):
            self.response = own_response(self.world, self.n, self.options)
            self.response.segment[:] = kept["response"]

    def reset(
        self, seed: int | Ints | None = None, rows: Ints | None = None, start_rows: Ints | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Begin new sessions; with `seed` (one, or one per row) their episodes count from 0 again.

        Returns:
            observations (n, size) and start states (n,) of `rows` (all where None).
        """
        rows = self.rows if rows is None else np.asarray(rows)
        if seed is not None:
            self.seed[rows] = seed
            self.episode[rows] = _NEVER_ENDED
        self.restart(rows, start_rows)
        return self.observations(rows), self.start_row[rows].copy()

    def restart(self, rows: Ints, start_rows: Ints | None = None) -> None:
        """The next episode of each of `rows` (n,) distinct, in a start state drawn from the split or as given."""
        self.episode[rows] += 1
        self.step_count[rows] = 0
        self.leaving[rows] = False
        if start_rows is None:
            u = rng.uniform(self.seed[rows], self.index[rows], self.episode[rows], 0, rng.STREAMS["start"], 0)
            start_rows = self.starts[(u * len(self.starts)).astype(np.int64)]
        start_rows = np.asarray(start_rows, np.int64)
        start = self.world.start
        self.start_row[rows] = start_rows
        if self.theta:
            u = rng.uniform(self.seed[rows], self.index[rows], self.episode[rows], 0, rng.STREAMS["frailty"], 0)
            self.effect[rows] = draw(self.theta, u)
        self.state.put(rows, start.state(self.world.spec, start_rows))
        self.now[rows] = start.clock[start_rows]
        self.context[rows] = start.context[start_rows]
        begin_session(self.state, rows, self.now[rows])
        self.masks_.begin(rows, start_rows)
        self.response.begin(rows, start_rows)
        self._refresh(rows)

    def observations(self, rows: Ints | None = None) -> Floats:
        """Observations of `rows` (all where None), clipped to the bounds; new arrays."""
        raw = self.raw if rows is None else self.raw[rows]
        return np.clip(raw, self.low, self.high)

    def describe(self) -> dict[str, Any]:
        """The options as resolved, what the world learned, and all that is assumed or extrapolated; JSON-able."""
        meta = self.world.meta
        return {
            "options": asdict(self.options),
            "learned": list(meta.get("learned", ())),
            "assumed": [*meta.get("assumed", ()), *assumptions(self.options, self.world)],
        }

    def masks(self) -> NDArray[np.bool_]:
        """(N, A) allowed actions of this moment; a copy."""
        return self.masks_.table.copy()

    def step(self, actions: Ints) -> Outcome:
        """One slot of every session.

        Args:
            actions: (N, k) or, for a slate of 1, (N,) integers below the number of actions.

        Returns:
            the outcome. `info` holds (N,) arrays `start_row`, `click purchase revenue` (sampled), `expected_*` and
            `unshown_*` of these, `cost`, `gross` and `incremental` (expected values in units of reward, less cost),
            `invalid duplicate clipped` (counts), `left`; (N, k) arrays `item copy`, -1 for nothing; and, by name,
            `reward_terms`. What logs or model do not tell is absent.

        Raises:
            InputError: wrong shape or type, an action outside the table, a masked one under `invalid_action="raise"`.
        """
        response = self.respond(actions)
        terms = reward_terms(self.options, response.amounts)
        self.leaving = self._leave(response)
        self.advance(response.items, response.copies, response.click, response.purchase, response.shown)
        over = self.step_count >= self.horizon
        terminated = self.leaving | over if self.horizon == 1 else self.leaving.copy()
        obs = self.observations()
        info: dict[str, Any] = {"start_row": self.start_row.copy(), **response.amounts, "reward_terms": terms}
        info["left"] = self.leaving.copy()
        info["clipped"] = (obs != self.raw).sum(axis=1)
        info["item"], info["copy"] = response.items, response.copies
        return Outcome(obs, total(terms), terminated, over & ~terminated, info)

    def respond(self, actions: Ints) -> Response:
        """What users do, given `actions` (N, k): predicted, drawn, nothing moved on."""
        actions = self._check(actions)
        items = self.world.action_item[actions].astype(np.int32)
        copies = self.world.action_copy[actions].astype(np.int32)
        allowed = self.masks_.allows(actions)
        if self.options.invalid_action == "raise" and not allowed.all():
            row, place = np.argwhere(~allowed)[0]
            raise InputError("action", f"{actions[row, place]} of session {row} is masked", "See action_masks().")
        items[~allowed], copies[~allowed] = -1, -1
        again = _repeated(items)
        shown = (items >= 0) & ~again
        prediction, unshown = self._predict(items, copies, shown)
        u = self._uniforms()
        effect = self.effect if self.theta else None
        amounts, click, purchase, leave = draw_slate(
            self.world, self.options, prediction, unshown, items, shown, u, effect, self.theta
        )
        exposures = (items >= 0).sum(axis=1) + (~allowed).sum(axis=1)
        amounts["cost"] = self.options.cost * exposures.astype(np.float64)
        self._values(amounts)
        amounts["invalid"] = (~allowed).sum(axis=1)
        amounts["duplicate"] = again.sum(axis=1)
        return Response(items, copies, shown, click, purchase, leave, u[:, -1], amounts)

    def advance(
        self,
        items: Ints,
        copies: Ints,
        click: NDArray[np.bool_],
        purchase: NDArray[np.bool_],
        shown: NDArray[np.bool_] | None = None,
    ) -> None:
        """Move every user on by what was shown and what came of it, all (N, k), and the clock by one slot."""
        shown = items >= 0 if shown is None else shown
        if items.shape[1] > 1:
            # One moment's events go by kind, then by item, as a replay of logs applies them.
            order = np.argsort(items, axis=1, kind="stable")
            rows = np.arange(len(items))[:, None]
            items, copies, shown = items[rows, order], copies[rows, order], shown[rows, order]
            click, purchase = click[rows, order], purchase[rows, order]
        for kind, happened in ((EXPOSURE, shown), (CLICK, shown & click), (PURCHASE, shown & purchase)):
            for j in range(items.shape[1]):
                rows = np.flatnonzero(happened[:, j])
                if not len(rows):
                    continue
                kinds = np.full(len(rows), kind)
                apply(self.world.spec, self.state, rows, items[rows, j], kinds, self.now[rows], copies[rows, j])
        for j in range(items.shape[1]):
            rows = np.flatnonzero(shown[:, j])
            self.response.observe(rows, items[rows, j], copies[rows, j], click[rows, j], purchase[rows, j])
            self.masks_.shown(rows, items[rows, j])
        self.now += self._seconds
        self.step_count += 1
        self._refresh(self.rows)

    def _check(self, actions: Ints) -> Ints:
        array = np.asarray(actions)
        if array.ndim == 1 and self.options.slate == 1:
            array = array[:, None]
        if array.shape != (self.n, self.options.slate) or not np.issubdtype(array.dtype, np.integer):
            what = f"{array.dtype} of shape {array.shape}"
            raise InputError("action", what, f"Give integers of shape ({self.n}, {self.options.slate}).")
        if array.size and (array.min() < 0 or array.max() >= self.world.n_actions):
            what = f"{array.min()}..{array.max()}"
            raise InputError("action", what, f"Actions run from 0 to {self.world.n_actions - 1}.")
        return array

    def _refresh(self, rows: Ints) -> None:
        mode, spec = self.options.observation, self.world.spec
        if len(rows) == self.n:
            observe(spec, self.state, self.rows, self.now, self.context, mode, out=self.raw)
        elif len(rows):
            self.raw[rows] = observe(spec, self.state, rows, self.now[rows], self.context[rows], mode)

    def _predict(
        self, items: Ints, copies: Ints, shown: NDArray[np.bool_]
    ) -> tuple[Prediction | None, Prediction | None]:
        """Responses of the shown pairs (row by row), shown and not shown; None where there is no such pair or model."""
        rows, slot = np.nonzero(shown)
        if not len(rows):
            return None, None
        item, copy = items[rows, slot], copies[rows, slot]
        treat = np.concatenate([np.ones((len(rows), 1), np.float32), self._exposure(rows, item)], axis=1)
        if not self.world.has_unshown:
            return self._ask(rows, item, copy, treat, slot), None
        # Interleaved, so that what a user's pairs have in common is computed once.
        both = np.repeat(treat, 2, axis=0)
        both[1::2, 0], both[1::2, 1:] = 0.0, unshown_exposure(treat[:, 1:], self.world.exp_unshown)
        pair = [np.repeat(a, 2) for a in (rows, item, copy, slot)]
        result = self._ask(pair[0], pair[1], pair[2], both, pair[3])
        return _every_second(result, 0), _every_second(result, 1)

    def _ask(self, rows: Ints, item: Ints, copy: Ints, treat: Floats, slot: Ints) -> Prediction:
        user = self.raw[rows, : self.summary_size]
        return self.response.predict(self.state, rows, self.now[rows], user, item, copy, treat, slot + 1)

    def _exposure(self, rows: Ints, item: Ints) -> Floats:
        """(n, E) exp_* of showing `item` (n,): as logged in that visit, or the declared reference."""
        if self.options.candidates == "logged":
            return prepared(self.world).offered_exposure(self.start_row[rows], item)
        return np.broadcast_to(self.world.exp_reference, (len(rows), len(self.world.exp_reference)))

    def _uniforms(self) -> NDArray[np.float64]:
        """(N, 3k + 1): of the root response, the purchase and the choice of each slot, and of leaving."""
        return uniforms(self.seed, self.index, self.episode, self.step_count, self._streams, self._slots)

    def _values(self, amounts: dict[str, NDArray[np.float64]]) -> None:
        amounts["gross"] = value(self.options, amounts, "expected_") - amounts["cost"]
        if self.world.has_unshown:
            amounts["incremental"] = amounts["gross"] - value(self.options, amounts, "unshown_")

    def _leave(self, response: Response) -> NDArray[np.bool_]:
        """Who leaves after this slot. Assumed: nobody leaves where nothing was shown."""
        known = np.isfinite(response.leave_logit)
        if self.options.leave == "never" or not known.any():
            return np.zeros(self.n, bool)
        weights = self.response.leave_weights
        logit = np.where(known, response.leave_logit, 0.0) + weights[0] * response.click.any(axis=1)
        chance = sigmoid(logit + weights[1] * response.purchase.any(axis=1))
        return known & (response.leave_draw < chance)


def _repeated(items: Ints) -> NDArray[np.bool_]:
    """(N, k) marks of items that stand in an earlier slot of the same slate."""
    again = np.zeros(items.shape, bool)
    for j in range(1, items.shape[1]):
        again[:, j] = (items[:, :j] == items[:, j : j + 1]).any(axis=1) & (items[:, j] >= 0)
    return again


def _every_second(prediction: Prediction, first: int) -> Prediction:
    parts = (prediction.click, prediction.purchase, prediction.leave_logit)
    return Prediction(*(None if p is None else p[first::2] for p in parts))


def make_simulator(
    world: World | str | None, n: int, options: EnvOptions, response: ResponseProtocol | None, env_index: int
) -> Simulator:
    """A simulator of a world given by path (None: the bundled one) or as such."""
    found = load_world(world) if world is None or isinstance(world, str) else world
    return Simulator(found, n, options, response, env_index)
