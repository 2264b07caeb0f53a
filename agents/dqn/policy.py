"""The registered agent `dqn`: learns in a world's simulator, acts by one matrix product and the user's memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from recenv.agents.base import POLICY_FILE, BasePolicy, EnvFactory, NullLog, TrainLog, draw, write_policy_file
from recenv.agents.dqn.config import DQNConfig
from recenv.agents.dqn.learner import Learner, Schedule, action_values, fixed_threads, greedy_probabilities, seeded
from recenv.agents.dqn.network import WorldQNetwork
from recenv.agents.dqn.replay import EpisodeReplay
from recenv.core.errors import ArtefactError, UnsupportedError

if TYPE_CHECKING:
    from recenv.env.options import EnvOptions
    from recenv.env.simulator import Simulator
    from recenv.world import World

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

WEIGHTS = "dqn.safetensors"


class DQNPolicy(BasePolicy):
    """Deep Q learning over items and their copies (see `WorldQNetwork` for the value's form).

    Deviations from Mnih et al., "Human-level control through deep reinforcement learning", Nature 518 (2015): expected
    rewards where the environment knows them, a running average of the network acts, the target network is blended in
    instead of copied, exploration also tries other copies of the best item, the maximum of a target is taken over the
    best items only, the replay keeps sessions and rebuilds observations.

    Args:
        world: the world (or its judge: equal catalogue). config: options of `DQNConfig` by name. seed: of the
            first weights.
    """

    name = "dqn"
    observation = "full"
    config_class = DQNConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self._build(np.ones(world.n_items, np.float32))

    def _build(self, item_value: Floats) -> None:
        with seeded(self.seed):
            self.network = WorldQNetwork(self.world, self.config, item_value).to(self.config.device)

    @property
    def label(self) -> str:
        """Name in tables: a DQN that does not look ahead is a contextual bandit and is called `dqn-0`."""
        return "dqn-0" if self.config.discount == 0 else "dqn"

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        """See `BasePolicy.distribution`: epsilon-greedy with `eval_epsilon`."""
        return greedy_probabilities(self.values(obs, mask), mask, self.config.eval_epsilon)

    def values(self, obs: Floats, mask: Bools) -> Floats:
        """(n, A) learned action values, of masked actions too."""
        del mask
        return action_values(self.network, obs, self.config.device)

    def train(self, env_factory: EnvFactory, steps: int, seed: int, logger: TrainLog | None = None) -> None:
        """Learn for `steps` user slots in the training environment.

        Raises:
            UnsupportedError: a slate of more than one item.
        """
        log: TrainLog = NullLog() if logger is None else logger
        config = self.config
        options = replace(env_factory.options, observation="full", reward_mode=config.reward_mode)
        simulator = replace(env_factory, options=options)(config.envs)
        if simulator.options.slate != 1:
            raise UnsupportedError("slate", f"{simulator.options.slate}", "The DQN learns slates of 1.")
        self._build(item_value(self.world, simulator.options))
        obs, _ = simulator.reset(seed=seed)
        self.network.split.standardise(_examples(simulator, seed))
        learner, schedule = Learner(self.network, config, steps), Schedule(config, steps)
        actor = Actor(simulator, learner, config, np.random.default_rng(seed))
        with fixed_threads(config.threads):
            for step in range(config.envs, steps + config.envs, config.envs):
                obs = actor.step(obs, step / steps)
                if len(actor.replay) and (updates := schedule.updates_due(step, config.envs)):
                    actor.learn(updates, step)
                if schedule.report_due(step):
                    log.log(step, learner.scalars(step) | actor.scalars())
                    log.checkpoint(step, self)

    def save(self, directory: Path) -> None:
        """Write `policy.json` and `dqn.safetensors`."""
        folder = Path(directory)
        write_policy_file(folder, self.name, vars(self.config), self.seed, self.world.n_actions)
        weights = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        save_file(weights | {"item_value": self.network.item_value.cpu().contiguous()}, folder / WEIGHTS)

    @classmethod
    def load(cls, directory: Path, world: World) -> DQNPolicy:
        """The policy as saved, for that world or its judge.

        Raises:
            ArtefactError: the weights are missing or do not fit the world.
        """
        folder = Path(directory)
        if not (folder / WEIGHTS).is_file():
            raise ArtefactError(str(folder), f"holds no {WEIGHTS}", "Give a folder written by `recenv train dqn`.")
        saved = json.loads((folder / POLICY_FILE).read_text(encoding="utf-8"))
        made = cls(world, saved["config"], saved["seed"])
        weights = load_file(folder / WEIGHTS)
        value = weights.pop("item_value")
        own = {k: v.shape for k, v in made.network.state_dict().items()}
        if {k: v.shape for k, v in weights.items()} != own or len(value) != world.n_items:
            raise ArtefactError(str(folder / WEIGHTS), "does not fit the world", "Load it with the world trained in.")
        made.network.load_state_dict(weights)
        made.network.item_value.copy_(value)
        return made


class Actor:
    """Plays in the simulator with an exploring policy and keeps what happened.

    Args:
        simulator: with full observations. learner: gives the online network. config: settings. rng: all its chance.
    """

    def __init__(self, simulator: Simulator, learner: Learner, config: DQNConfig, rng: np.random.Generator) -> None:
        self.simulator, self.learner, self.config, self.rng = simulator, learner, config, rng
        self.replay = EpisodeReplay(simulator.world, simulator.options, config.capacity, simulator.n)
        self.total = np.zeros(simulator.n)
        self.ended: list[tuple[float, int]] = []

    def step(self, obs: Floats, progress: float) -> Floats:
        """One slot of every session; returns the next observations."""
        simulator = self.simulator
        at, row = simulator.step_count.copy(), simulator.start_row.copy()
        action = self.explore(obs, simulator.masks(), self.config.epsilon(progress))
        out = simulator.step(action)
        click, purchase = (out.info.get(name, np.zeros(simulator.n)) > 0 for name in ("click", "purchase"))
        self.replay.add(at, action, click, purchase, out.reward.astype(np.float32))
        self.total += out.reward
        rows = np.flatnonzero(out.terminated | out.truncated)
        if not len(rows):
            return out.obs
        self.replay.close(rows, row[rows], at[rows] + 1, out.terminated[rows])
        self.ended += list(zip(self.total[rows].tolist(), (at[rows] + 1).tolist()))
        self.total[rows] = 0.0
        simulator.restart(rows)
        obs = out.obs.copy()
        obs[rows] = simulator.observations(rows)
        return obs

    def explore(self, obs: Floats, mask: Bools, epsilon: float) -> NDArray[np.int64]:
        """Greedy actions (n,); with chance `epsilon` another copy of the same item, or any allowed action."""
        values = action_values(self.learner.online, obs, self.config.device)
        action = np.where(mask, values, -np.inf).argmax(axis=1)
        u = self.rng.random((len(obs), 2))
        rows = np.flatnonzero(u[:, 0] < epsilon)
        allowed = mask[rows]
        item = self.simulator.world.action_item
        same = u[rows, 1] < self.config.copy_share
        allowed[same] &= item[None, :] == item[action[rows[same]], None]
        if len(rows):
            action[rows] = draw(allowed / allowed.sum(axis=1, keepdims=True), self.rng)
        return action.astype(np.int64)

    def learn(self, updates: int, step: int) -> None:
        """That many updates on one sample of rebuilt sessions, cut into batches."""
        size = self.config.batch
        pool = self.replay.sample(updates * size, self.rng, following=self.config.discount > 0)
        order = self.rng.permutation(len(pool))
        for part in np.array_split(order, updates):
            self.learner.update(pool.take(part), step)

    def scalars(self) -> dict[str, float]:
        """Mean return and length of the sessions that ended since the last call, by tag."""
        ended, self.ended = self.ended, []
        if not ended:
            return {}
        returns, lengths = zip(*ended)
        return {"rollout/ep_rew_mean": float(np.mean(returns)), "rollout/ep_len_mean": float(np.mean(lengths))}


def item_value(world: World, options: EnvOptions) -> Floats:
    """(n_items,) reward of a certain response to each item under the resolved options."""
    weights = [float(options.w_click or 0.0), float(options.w_purchase or 0.0), float(options.w_revenue or 0.0)]
    value = weights[0] + weights[1] + weights[2] * world.revenue_per_purchase.astype(np.float64)
    return np.maximum(value, 1e-3).astype(np.float32)


def _examples(simulator: Simulator, seed: int, n: int = 1024) -> Floats:
    """Observations of start states (at most n), by which the summary is standardised."""
    from recenv.agents.dqn.replay import Visits

    rows = np.random.default_rng(seed).choice(simulator.starts, min(n, len(simulator.starts)), replace=False)
    return np.clip(Visits(simulator.world, simulator.options, rows).observe(), simulator.low, simulator.high)
