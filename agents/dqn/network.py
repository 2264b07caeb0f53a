"""The world's Q network: one matrix product for all items, plus what the user's own memory says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.agents.dqn.config import DQNConfig
from recenv.agents.dqn.features import CATEGORY, PAIR, Parts, Split, category_features, pair_features

if TYPE_CHECKING:
    from recenv.world import World

LOWEST = -1e30
"""Value of a masked action: finite, so that sums and exports stay so."""


def _mlp(size: int, hidden: int, out: int, last: float = 1.0) -> nn.Sequential:
    """One hidden layer; `last` scales the first weights of the output."""
    output = nn.Linear(hidden, out)
    with torch.no_grad():
        output.weight.mul_(last)
        output.bias.zero_()
    return nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), output)


def _grid(table: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column number (n * m,) of every entry of a table (n, m)."""
    row = torch.arange(table.shape[0], device=table.device)[:, None].expand(table.shape)
    column = torch.arange(table.shape[1], device=table.device)[None].expand(table.shape)
    return row.reshape(-1), column.reshape(-1)


def styles_of(world: World) -> tuple[NDArray[np.int64], int]:
    """Index of each copy's style (n_copies,), -1 for none, in the order of the styles' names, and their number."""
    names = world.copies["style"].to_pylist() if "style" in world.copies.column_names else [None] * world.n_copies
    styles = sorted({name for name in names if name})
    index = {name: i for i, name in enumerate(styles)}
    return np.array([index[name] if name else -1 for name in names], np.int64), len(styles)


class WorldQNetwork(nn.Module):
    """Action values over a world's action table.

        Q(s, a) = V(s) + scale(a) * sigmoid( z_item(s, i) + z_copy(s, c) ) - shift,   a = (i, c)
        z_item = f(s) . g(item vector, item features) / sqrt(K) + b(i) + memory(s, i) + category(s, category of i)
        z_copy = style bias(s) + category x style + text bias - wear * times the style was seen in this session

    Q(s, show nothing) = V(s); V only where the discount is above 0. b starts at the logit of the logged rate. An item
    or copy that was never shown has a value: g and the styles know it by its features, its own biases start at 0.

    Args:
        world: catalogue, action table, layout. config: widths and discount.
        item_value: (n_items,) float32, reward of a certain response to each item: the base of scale(a).
    """

    item_x: Tensor
    item_category: Tensor
    item_value: Tensor
    base: Tensor
    action_item: Tensor
    action_style: Tensor
    action_text: Tensor
    item_actions: Tensor

    def __init__(self, world: World, config: DQNConfig, item_value: NDArray[np.float32]) -> None:
        super().__init__()
        style, self.n_styles = styles_of(world)
        self.config, self.n_items, self.n_actions = config, world.n_items, world.n_actions
        self.split = Split(world, style, self.n_styles)
        self._catalogue(world, style, item_value)
        width, rank, own = config.hidden, config.rank, config.memory_hidden
        size = self.split.mean.numel()
        self.body = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.query = nn.Linear(width, rank)
        self.key = _mlp(self.item_x.shape[1], width, rank + 1, last=0.3)
        self.memory = _mlp(PAIR, own, 1, last=0.3)
        self.category = _mlp(CATEGORY, own, 1, last=0.3)
        self.style = nn.Linear(width, max(self.n_styles, 1))
        nn.init.zeros_(self.style.weight)
        nn.init.zeros_(self.style.bias)
        self.value = nn.Linear(width, 1) if config.discount > 0 else None
        self.item_bias = nn.Parameter(torch.zeros(self.n_items))
        self.text_bias = nn.Parameter(torch.zeros(world.n_copies + 1))
        self.category_style = nn.Parameter(torch.zeros(world.spec.n_categories, max(self.n_styles, 1)))
        self.wear = nn.Parameter(torch.zeros(1))
        self.shown = nn.Parameter(torch.zeros(2))
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.shift = nn.Parameter(torch.zeros(1))

    def _catalogue(self, world: World, style: NDArray[np.int64], item_value: NDArray[np.float32]) -> None:
        features = world.item_features.astype(np.float64)
        deviation = features.std(axis=0)
        features = (features - features.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1.0)
        vectors = world.spec.item_vectors
        # Unit variance over the catalogue as a whole, so that vectors and features weigh alike at first.
        vectors = vectors / max(float(vectors.std()), 1e-6)
        rate = np.clip(world.item_rate.astype(np.float64), 1e-5, 0.999)
        copy = world.action_copy.astype(np.int64)
        start = world.item_action_start
        widest = max(int(np.diff(start).max(initial=1)), 1)
        slots = start[:-1, None] + np.arange(widest)
        values = {
            "item_x": np.concatenate([vectors, np.clip(features, -5, 5)], 1).astype(np.float32),
            "item_category": world.spec.item_category.astype(np.int64),
            "item_value": item_value.astype(np.float32),
            "base": np.log(rate / (1 - rate)).astype(np.float32),
            "action_item": np.maximum(world.action_item, 0).astype(np.int64),
            "action_style": np.append(style, -1)[copy],
            # Bare items share the last text bias, which is never learned into anything else.
            "action_text": np.where(copy >= 0, copy, world.n_copies),
            # Action 0 fills up the rows of items with fewer copies.
            "item_actions": np.where(slots < start[1:, None], slots, 0).astype(np.int64),
        }
        for name, array in values.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def forward(self, obs: Tensor) -> Tensor:
        """Action values (n, A) of full observations (n, size), masked or not."""
        parts = self.split(obs)
        hidden = self.body(parts.summary)
        logit = self.item_logits(parts, hidden)[:, self.action_item] + self._copy_logits(parts, hidden)
        q = self._link(logit, self.action_item)
        nothing = torch.zeros_like(q[:, :1])
        return torch.cat([nothing, q[:, 1:]], 1) + self._state_value(hidden)[:, None]

    def _state_value(self, hidden: Tensor) -> Tensor:
        return torch.zeros_like(hidden[:, 0]) if self.value is None else self.value(hidden)[:, 0]

    def _link(self, logit: Tensor, item: Tensor) -> Tensor:
        return self.item_value[item] * self.log_scale.exp() * torch.sigmoid(logit) - self.shift

    def item_logits(self, parts: Parts, hidden: Tensor) -> Tensor:
        """(n, n_items) logits without the copies' part."""
        key = self.key(self.item_x)  # (n_items, K + 1)
        logit = self.query(hidden) @ key[:, :-1].T * self.config.rank**-0.5
        logit = logit + (key[:, -1] + self.base + self.item_bias)
        category = self._touched(parts)
        logit = logit + category[:, self.item_category]
        item = parts.memory_item.clamp(min=0)
        known = parts.memory_item >= 0
        pair = torch.where(known, self._remembered(parts, known), torch.zeros_like(parts.memory_age))
        logit = logit.scatter_add(1, item, pair)
        seen = parts.recent_item.clamp(min=0)
        amount = parts.recent_lately * self.shown[0] + parts.recent_here * self.shown[1]
        return logit.scatter_add(1, seen, amount)

    def _remembered(self, parts: Parts, known: Tensor) -> Tensor:
        """(n, M) memory logits; of the filled slots alone, unless a graph of fixed shapes is wanted."""
        n, slots = known.shape
        if torch.compiler.is_exporting():
            return self._pairs(parts, *_grid(known)).reshape(n, slots)
        row, slot = known.nonzero(as_tuple=True)
        return torch.zeros_like(parts.memory_age).index_put((row, slot), self._pairs(parts, row, slot))

    def _pairs(self, parts: Parts, row: Tensor, slot: Tensor) -> Tensor:
        """(m,) memory logits of slots (m,) of users `row` (m,)."""
        item = parts.memory_item[row, slot].clamp(min=0)
        category = self.item_category[item]
        x = pair_features(
            parts.memory_counts[row, slot],
            parts.memory_age[row, slot],
            parts.category_counts[row, category],
            parts.category_age[row, category],
            parts.activity[row],
            parts.last_act[row],
            self.base[item],
        )
        return self.memory(x)[:, 0]

    def _touched(self, parts: Parts) -> Tensor:
        """(n, n_categories) category logits, 0 for those that the user has nothing to do with."""
        touched = parts.touched
        if torch.compiler.is_exporting():
            n, c = touched.shape
            every = self._categories(parts, *_grid(touched)).reshape(n, c)
            return torch.where(touched, every, torch.zeros_like(every))
        row, category = touched.nonzero(as_tuple=True)
        return torch.zeros_like(parts.category_age).index_put((row, category), self._categories(parts, row, category))

    def _categories(self, parts: Parts, row: Tensor, category: Tensor) -> Tensor:
        counts, age = parts.category_counts[row, category], parts.category_age[row, category]
        seen = parts.seen_category[row, category]
        return self.category(category_features(counts, age, seen, parts.activity[row]))[:, 0]

    def _copy_logits(self, parts: Parts, hidden: Tensor) -> Tensor:
        """(n, A) part of the text; without styles the texts' own biases alone."""
        by_style = self.style(hidden) - self.wear * parts.seen_style
        style, has = self.action_style.clamp(min=0), (self.action_style >= 0).to(hidden.dtype)
        fixed = self.category_style[self.item_category[self.action_item], style]
        return (by_style[:, style] + fixed) * has + self.text_bias[self.action_text]

    def taken(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (n,) of actions (n,): what `forward` gives, at the cost of one item a row."""
        parts = self.split(obs)
        hidden = self.body(parts.summary)
        item = self.action_item[action]
        logit = self._item_logit(parts, hidden, item) + self._copy_logit(parts, hidden, action, item)
        shown = (action > 0).to(hidden.dtype)
        return self._state_value(hidden) + shown * self._link(logit, item)

    def _item_logit(self, parts: Parts, hidden: Tensor, item: Tensor) -> Tensor:
        row = torch.arange(len(item), device=item.device)
        key = self.key(self.item_x[item])
        logit = (self.query(hidden) * key[:, :-1]).sum(1) * self.config.rank**-0.5
        logit = logit + key[:, -1] + self.base[item] + self.item_bias[item]
        known, slot = (parts.memory_item == item[:, None]).to(hidden.dtype).max(1)
        logit = logit + known * self._pairs(parts, row, slot)
        category = self.item_category[item]
        logit = logit + parts.touched[row, category] * self._categories(parts, row, category)
        same = parts.recent_item == item[:, None]
        lately, here = (same * parts.recent_lately).sum(1), (same * parts.recent_here).sum(1)
        return logit + lately * self.shown[0] + here * self.shown[1]

    def _copy_logit(self, parts: Parts, hidden: Tensor, action: Tensor, item: Tensor) -> Tensor:
        style = self.action_style[action]
        by_style = self.style(hidden) - self.wear * parts.seen_style
        at = style.clamp(min=0)
        styled = by_style.gather(1, at[:, None])[:, 0] + self.category_style[self.item_category[item], at]
        return torch.where(style >= 0, styled, torch.zeros_like(styled)) + self.text_bias[self.action_text[action]]

    @torch.no_grad()
    def best(self, obs: Tensor, mask: Tensor, chooser: WorldQNetwork) -> Tensor:
        """Values (n,) of the actions that `chooser` likes best among the copies of its `top_items` items.

        Args:
            obs: (n, size). mask: (n, A) bool. chooser: the network that chooses.
        """
        parts = self.split(obs)
        hidden = chooser.body(parts.summary)
        action = chooser._choose(parts, hidden, mask)
        return self.taken(obs, action)

    def _choose(self, parts: Parts, hidden: Tensor, mask: Tensor) -> Tensor:
        """(n,) the best allowed actions, by item first and then over the copies of the top ones."""
        logit = self.item_logits(parts, hidden)
        allowed = (mask[:, self.item_actions] & (self.item_actions > 0)).any(2)
        q = self._link(logit, torch.arange(self.n_items, device=logit.device)).masked_fill(~allowed, LOWEST)
        top = q.topk(min(self.config.top_items, self.n_items), 1).indices  # (n, k)
        action = self.item_actions[top].flatten(1)  # (n, k * copies)
        item = self.action_item[action]
        style = self.action_style[action]
        by_style = self.style(hidden) - self.wear * parts.seen_style
        at = style.clamp(min=0)
        text = by_style.gather(1, at) + self.category_style[self.item_category[item], at]
        text = torch.where(style >= 0, text, torch.zeros_like(text)) + self.text_bias[self.action_text[action]]
        q = self._link(logit.gather(1, item) + text, item)
        q = torch.where(action > 0, q, torch.zeros_like(q)).masked_fill(~mask.gather(1, action), LOWEST)
        best = q.argmax(1, keepdim=True)
        nothing = torch.where(mask[:, :1], 0.0, LOWEST)
        return torch.where(q.gather(1, best) > nothing, action.gather(1, best), 0)[:, 0]
