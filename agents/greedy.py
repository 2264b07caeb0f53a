"""`model-greedy`: shows what the response model expects most of in the next slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.agents.base import BasePolicy, Bools, Floats
from recenv.agents.dense import DenseResponse, full_inputs
from recenv.agents.items import ActionTable
from recenv.env.pessimism import lower
from recenv.response.features import cross_from_full, unshown_exposure
from recenv.state import EXPOSURE

if TYPE_CHECKING:
    from recenv.env.options import EnvOptions
    from recenv.world import World


_DENSE_FROM = 4
"""The whole catalogue is computed where a row allows at least one item in so many."""


@dataclass(frozen=True)
class GreedyConfig:
    """The reward to be greedy for; the same words as the environment's options, and the same defaults.

    Args:
        reward: `incremental` or `gross`; None: incremental where the world knows both.
        w_click: reward of a click. w_purchase: reward of a purchase. w_revenue: reward of one unit of revenue.
        cost: cost of each exposure.
        pessimism: standard deviations of the ensemble taken off every chance, as in the environment.
    """

    reward: str | None = None
    w_click: float | None = None
    w_purchase: float | None = None
    w_revenue: float | None = None
    cost: float = 0.0
    pessimism: float = 0.0


class ModelGreedyPolicy(BasePolicy):
    """argmax over allowed actions of the expected reward of the next slot under the world's own response model,

        w_click P(click) + w_purchase P(purchase) + w_revenue P(purchase) revenue - cost  (- the same if not shown),

    with showing nothing (action 0) worth 0. In its own world it is the myopic oracle, no rival; in the judge's world it
    says what the training world's model is worth. Every item is taken to be shown as `world.exp_reference` says: how
    a logged offer was shown is not in the observation. Ties go to the first action. With `pessimism` every chance of a
    response to what is shown is lowered as `recenv.env.pessimism.lower` does.
    """

    name = "model-greedy"
    config_class = GreedyConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        from recenv.env.options import EnvOptions

        super().__init__(world, config, seed)
        self.table = ActionTable(world)
        # Candidates do not matter here and default to what any world supports.
        self.options: EnvOptions = EnvOptions(candidates="all", **asdict(self.config)).resolve(world)
        self.revenue = world.revenue_per_purchase.astype(np.float32)
        self.dense = DenseResponse(world)
        self.others = self._members() if self.options.pessimism else []

    def _members(self) -> list[ModelGreedyPolicy]:
        config = asdict(self.config) | {"pessimism": 0.0, "reward": "gross"}
        return [ModelGreedyPolicy(self.world.with_response(m), config, self.seed) for m in self.world.members]

    def distribution(self, obs: Floats, mask: Bools) -> Floats:
        values = np.where(mask, self.values(obs, mask), -np.inf)
        result = np.zeros(mask.shape, np.float32)
        result[np.arange(len(mask)), values.argmax(axis=1)] = 1.0
        return result

    def values(self, obs: Floats, mask: Bools) -> Floats:
        """(n, A) expected reward of each action in the next slot; 0 for action 0, undefined where masked."""
        item, column = candidate_items(self.table.allowed_items(mask))
        logit, worth, without = (self._by_action(values, column) for values in self._items(obs, item))  # (n, A - 1)
        offsets = self._offsets(obs)
        chance = _sigmoid(logit + offsets)
        if self.others:
            told = [[self._by_action(v, column) for v in other._items(obs, item)[:2]] for other in self.others]
            roots = [_sigmoid(root + offsets) for root, _ in told]
            segment = self.world.segment_of(self.part(obs, "profile"))
            chance, worth = self._lowered(chance, worth, roots, [reward for _, reward in told], segment)
        gain = chance * worth - without
        return np.concatenate([np.zeros((len(obs), 1), np.float32), gain - np.float32(self.options.cost)], axis=1)

    def _lowered(
        self, chance: Floats, worth: Floats, chances: list[Floats], worths: list[Floats], segment: NDArray[np.int32]
    ) -> tuple[Floats, Floats]:
        """Chance of a root response and a root's reward, less what is uncertain of them; all (n, A - 1)."""
        root = "click" if "click" in self.world.response.heads else "purchase"
        k, scale = self.options.pessimism, self.world.disagreement_scale
        chance = lower(chance, chances, k, scale(root), self._open(root, segment))
        if root == "click" and "purchase" in self.world.response.heads:
            # A root's reward is w_click and, by P(purchase | click), the purchase's: only the latter is uncertain.
            click, unit = np.float32(self.options.w_click or 0.0), self._bought(self.revenue[self.table.item[1:]])
            others = [w - click for w in worths]
            worth = click + lower(worth - click, others, k, scale("purchase"), self._open("purchase", segment), unit)
        return chance, worth

    def _open(self, head: str, segment: NDArray[np.int32]) -> Floats | None:
        """(n, A - 1) variance that the logs leave open of each action's item in the users' segments."""
        variance = self.world.open_variance(head)
        return None if variance is None else variance[segment][:, self.table.item[1:]]

    def _bought(self, revenue: Floats) -> Floats:
        """Reward of a purchase of items with that revenue."""
        purchase, each = float(self.options.w_purchase or 0.0), float(self.options.w_revenue or 0.0)
        return np.float32(purchase) + np.float32(each) * revenue

    def _by_action(self, values: Floats, column: NDArray[np.int64] | None) -> Floats:
        """(n, A - 1) the value of each action's item; meaningless where the item is not among the candidates."""
        of_item = values if column is None else np.take_along_axis(values, column, axis=1)
        return of_item if self.table.single else of_item[:, self.table.item[1:]]

    def _items(self, obs: Floats, item: NDArray[np.int64] | None) -> tuple[Floats, Floats, Floats]:
        """Of items (n, m), or all: logit of the root response, a root's reward, reward if not shown; each (n, m)."""
        world = self.world
        incremental = self.options.reward == "incremental"
        treatments = [np.append(np.float32(1.0), world.exp_reference)]
        if incremental:
            without = unshown_exposure(world.exp_reference[None], world.exp_unshown)[0]
            treatments.append(np.append(np.float32(0.0), without))
        if item is None:
            raw = self.dense.logits(obs, treatments)
        else:
            raw = self._pairs(obs, item, treatments)
        revenue = self.revenue if item is None else self.revenue[item]
        logit, worth = self._calibrated(raw[0], 1, revenue)
        if not incremental:
            return logit, worth, np.zeros_like(logit)
        unshown, worth_then = self._calibrated(raw[1], 0, revenue)
        return logit, worth, _sigmoid(unshown) * worth_then

    def _pairs(self, obs: Floats, item: NDArray[np.int64], treatments: list[Floats]) -> list[Floats]:
        """Uncalibrated logits (n, m, heads) of items (n, m) under each treatment."""
        n, m = item.shape
        cross = cross_from_full(self.world.spec, obs, item).reshape(n * m, -1)
        forward = self.world.response
        owner, user = np.repeat(np.arange(n), m), full_inputs(forward, self.world.spec, obs)
        shapes = [np.broadcast_to(t, (n * m, len(t))) for t in treatments]
        return [forward.logits(user, item.reshape(-1), cross, t, owner).reshape(n, m, -1) for t in shapes]

    def _calibrated(self, raw: Floats, shown: int, revenue: Floats) -> tuple[Floats, Floats]:
        """(n, m) calibrated logit of the root response (click, or purchase if clicks are unknown), a root's reward."""
        forward, options = self.world.response, self.options
        platt = forward.platt[:, shown]
        logit = {head: raw[..., k] * platt[k, 0] + platt[k, 1] for k, head in enumerate(forward.heads)}
        bought = self._bought(revenue)
        if "click" not in logit:
            return logit["purchase"], np.broadcast_to(bought, logit["purchase"].shape)
        given = _sigmoid(logit["purchase"]) if "purchase" in logit else np.zeros_like(logit["click"])
        return logit["click"], np.float32(options.w_click or 0.0) + bought * given

    def _offsets(self, obs: Floats) -> Floats:
        """(n, A - 1) what each action's text adds to the root logit; 0 without copies."""
        effect, copy = self.world.copy_effect, self.world.action_copy[1:]
        if effect is None:
            return np.zeros((len(obs), len(copy)), np.float32)
        segment = self.world.segment_of(self.part(obs, "profile"))
        category = self.world.spec.item_category[self.table.item[1:]]
        seen = styles_seen(self.world, self.part(obs, "recent_kind"), *self._session(obs))
        padded = np.concatenate([seen, np.zeros((len(obs), 1), np.int64)], axis=1)  # style -1: never seen
        style = np.where(copy >= 0, effect.copy_style[copy], -1)
        return effect.effect(copy[None], segment[:, None], category[None], padded[:, style])

    def _session(self, obs: Floats) -> tuple[Floats, Floats]:
        return self.part(obs, "recent_copy"), self.part(obs, "recent_in_session")


def candidate_items(allowed: Bools) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Items to look at: item (n, m) and column (n, n_items), where each allowed item stands in its row.

    Both None where so many are allowed that the whole catalogue at once is cheaper. Rows are filled up with item 0.
    """
    n, n_items = allowed.shape
    widest = int(allowed.sum(axis=1).max(initial=0))
    if _DENSE_FROM * widest > n_items:
        return None, None
    column = np.where(allowed, np.cumsum(allowed, axis=1) - 1, 0)
    item = np.zeros((n, max(widest, 1)), np.int64)
    row, index = np.nonzero(allowed)
    item[row, column[row, index]] = index
    return item, column


def styles_seen(world: World, kind: Floats, copy: Floats, in_session: Floats) -> NDArray[np.int64]:
    """(n, S) how often each style was shown in this session, from the observation's recent events, each (n, R)."""
    assert world.copy_effect is not None
    copies = copy.astype(np.int64)
    shown = (kind == EXPOSURE) & (in_session > 0.5) & (copies >= 0)
    style = np.where(shown, world.copy_effect.copy_style[copies], -1)
    names = np.arange(len(world.copy_effect.styles))
    return (style[:, :, None] == names).sum(axis=1)


def _sigmoid(x: Any) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(x, np.float32))), np.float32)
