"""`RecEnv`: one user's session as a Gymnasium environment; a batch of one of the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.env.ansi import render_session
from recenv.env.learned import ResponseProtocol
from recenv.env.options import EnvOptions
from recenv.env.outcomes import Outcome
from recenv.env.simulator import Simulator, make_simulator
from recenv.state import Floats

if TYPE_CHECKING:
    from recenv.world import World

SEED_BOUND = 2**62
COUNTS = ("invalid", "duplicate", "clipped", "start_row")


class RecEnv(gym.Env[Floats, Any]):
    """
    ## Description
    A shop built from behaviour logs. Each episode is one user's session, begun in a state that occurred; in each slot
    the agent chooses which item to show, and with which copy.

    ## Action space
    `Discrete(A)`, rows of the world's action table; 0 shows nothing. With `slate=k`: `MultiDiscrete([A] * k)`.
    `action_masks()` tells what is allowed: what is on offer and was not shown in this session. A masked action shows
    nothing and costs an exposure. An item twice in a slate: the later one gets no response.

    ## Observation space
    `Box(float32)`, its slices named in `layout`:
    | slice | meaning |
    |---|---|
    | profile, context | the user's encoded features; what the logs say of the moment |
    | session | slot, sessions before, ages, hour and weekday |
    | mass, totals, ages, interest | decayed sums of item vectors per kind of event, totals, times since |
    | memory_*, category_*, recent_* | `observation="full"`: items and categories acted on, last events |

    ## Rewards
    w_click * click + w_purchase * purchase + w_revenue * revenue - cost per exposure, `incremental` (less what is
    expected if not shown) where the world knows it; every term in `info["reward_terms"]`.

    ## Starting state
    A snapshot of a user in the logs, drawn from `split`.

    ## Episode end
    The user leaves: terminated. The horizon: truncated (a horizon of 1: terminated).

    ## Arguments
    See `recenv.env.options.EnvOptions`. `world`: path of a world, or a `World`; the bundled one if None. `env_index`:
    which environment of a vector this one equals, bit for bit, under the same seed.

    ## Version history
    v0: first version.

    Raises:
        InputError: an unknown option or a bad value.
        UnsupportedError: the world's logs cannot give what is asked.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        world: World | str | None = None,
        env_index: int = 0,
        render_mode: str | None = None,
        response: ResponseProtocol | None = None,
        **options: Any,
    ) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.sim = make_simulator(world, 1, EnvOptions.build(options), response, env_index)
        self.observation_space = gym.spaces.Box(self.sim.low, self.sim.high, dtype=np.float32)
        self.action_space = action_space(self.sim)
        self._last: Outcome | None = None
        self._seeded = False
        self._over = True

    @property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Name -> (start, stop) of each slice of the observation."""
        return self.sim.layout

    @property
    def world(self) -> World:
        return self.sim.world

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """The next episode; with `seed` the first one of that seed.

        Args:
            options: `{"start_row": int}` begins in that start state.
        """
        super().reset(seed=seed)
        start = start_rows_of(options, 1)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(SEED_BOUND))
        self._seeded, self._over, self._last = True, False, None
        obs, rows = self.sim.reset(seed, start_rows=start)
        return obs[0], {"start_row": int(rows[0]), "extrapolation": self.sim.options.candidates == "all"}

    def step(self, action: Any) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """One slot. Raises InputError on an action outside the space, or once the session is over."""
        if self._over:
            raise InputError("step", "the session is over or has not begun", "Call reset() first.")
        actions = np.asarray(action).reshape(1, -1)
        outcome = self.sim.step(actions)
        self._last = outcome
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._over = terminated or truncated
        return outcome.obs[0], float(outcome.reward[0]), terminated, truncated, single_info(outcome.info)

    def action_masks(self) -> NDArray[np.bool_]:
        """(A,) allowed actions; (k * A,) for a slate, in the manner of sb3-contrib."""
        return np.tile(self.sim.masks_.table[0], self.sim.options.slate)

    def describe(self) -> dict[str, Any]:
        """Options as resolved, what is learned, what is assumed or extrapolated."""
        return self.sim.describe()

    def render(self) -> str | None:  # type: ignore[override]
        """The session as text under `render_mode="ansi"`, else None."""
        return None if self.render_mode is None else render_session(self.sim, 0, self._last)


def world_env(world: World | str | None = None, **kwargs: Any) -> RecEnv:
    """What `recenv/World-v0` makes: a `RecEnv` whose world must be named. Raises InputError where it is not."""
    return RecEnv(named(world), **kwargs)


def named(world: World | str | None) -> World | str:
    """The world given; raises InputError where there is none."""
    if world is None:
        raise InputError("world", "not given", "Name a world's folder, or use recenv/Shop-v0 for the bundled one.")
    return world


def check_render_mode(mode: str | None) -> None:
    """Raises InputError on a mode other than None or `ansi`."""
    if mode not in (None, "ansi"):
        raise InputError("render_mode", f"{mode!r}", "Choose 'ansi' or leave it out.")


def action_space(sim: Simulator) -> gym.spaces.Space[Any]:
    """Discrete(A), or MultiDiscrete for a slate."""
    if sim.options.slate == 1:
        return gym.spaces.Discrete(sim.world.n_actions)
    return gym.spaces.MultiDiscrete([sim.world.n_actions] * sim.options.slate)


def start_rows_of(options: dict[str, Any] | None, n: int) -> NDArray[np.int64] | None:
    """The start states asked for in `reset(options=...)`; raises InputError on an option that does not exist."""
    given = dict(options or {})
    rows = given.pop("start_row", None)
    if given:
        raise InputError(f"reset option {next(iter(given))!r}", "does not exist", "Known: start_row, reset_mask.")
    return None if rows is None else np.broadcast_to(np.asarray(rows, np.int64), (n,))


def single_info(info: dict[str, Any]) -> dict[str, Any]:
    """The only row of an info of arrays, as plain numbers."""
    result: dict[str, Any] = {}
    for name, array in info.items():
        if name == "reward_terms":
            result[name] = {term: float(values[0]) for term, values in array.items()}
        elif array.ndim > 1:
            result[name] = array[0].copy()
        else:
            result[name] = array[0].item()
    return result
