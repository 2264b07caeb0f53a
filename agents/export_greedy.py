"""`model-greedy` as a graph: cross features of all items, the response model and the texts' effect, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recenv.agents.export_history import History
from recenv.agents.export_items import constant
from recenv.core.errors import UnsupportedError
from recenv.observation import layout
from recenv.response.features import _PRIOR, N_CROSS, unshown_exposure
from recenv.state import CART, CLICK, EXPOSURE, MAX_AGE, N_KINDS, PURCHASE, VIEW

if TYPE_CHECKING:
    from recenv.agents.greedy import ModelGreedyPolicy
    from recenv.world import World

_ACTS = (VIEW, CART, CLICK, PURCHASE)


class CrossFeatures(nn.Module):
    """Features of every item for users with full observations, as `recenv.response.features.cross_from_full`."""

    vectors: Tensor
    category: Tensor

    def __init__(self, world: World) -> None:
        super().__init__()
        spec = world.spec
        self.slices = layout(spec, "full")
        self.n_items, self.n_categories = spec.n_items, spec.n_categories
        self.register_buffer("vectors", constant(spec.item_vectors.T))
        self.register_buffer("category", constant(spec.item_category.astype(np.int64)))

    def part(self, obs: Tensor, name: str) -> Tensor:
        """The named slice of observations, (n, width)."""
        start, stop = self.slices[name]
        return obs[:, start:stop]

    def table(self, index: Tensor, values: Tensor, empty: float = 0.0) -> Tensor:
        """(n, n_items, ...) values (n, M, ...) put at the items `index` (n, M); those below 0 are dropped."""
        at = torch.where(index >= 0, index, self.n_items)
        shape = (values.shape[0], self.n_items + 1, *values.shape[2:])
        at = at if values.dim() == 2 else at[:, :, None].expand(-1, -1, values.shape[2])
        return torch.full(shape, empty).scatter(1, at, values)[:, :-1]

    def forward(self, obs: Tensor) -> Tensor:
        """(n, n_items, F) of observations (n, size)."""
        item = self.part(obs, "memory_item").long()
        counts = self.table(item, self.part(obs, "memory_counts").reshape(-1, item.shape[1], N_KINDS))
        age = self.table(item, self.part(obs, "memory_age"), MAX_AGE)
        category = self.part(obs, "category_counts").reshape(-1, self.n_categories, N_KINDS)[:, self.category]
        category_age = self.part(obs, "category_age")[:, self.category]
        sessions = self.part(obs, "session")[:, 1:2]
        last_act = self.part(obs, "ages")[:, _ACTS].amin(1, keepdim=True)
        bought, of_category = counts[..., PURCHASE], category[..., PURCHASE]
        per_session = 1.0 / (1.0 + sessions.exp())
        acts = counts[..., VIEW] + counts[..., CART] + counts[..., CLICK]
        total = self.part(obs, "totals")[:, PURCHASE : PURCHASE + 1].expm1()
        single = [
            (age < MAX_AGE).to(obs.dtype),
            age,
            age - last_act,
            bought * per_session,
            (bought + _PRIOR).log() - sessions,
            acts * per_session,
            bought / (1.0 + of_category),
        ]
        rates = [category_age, (of_category + _PRIOR).log() - sessions, of_category / (1.0 + total)]
        interest = self.part(obs, "interest").reshape(-1, N_KINDS, self.vectors.shape[0]) @ self.vectors
        columns = [counts.log1p(), torch.stack(single, 2), category.log1p(), torch.stack(rates, 2)]
        return torch.cat([*columns, interest.transpose(1, 2), self._recent(obs)], 2)

    def _recent(self, obs: Tensor) -> Tensor:
        """(n, n_items, 4): item shown, acted on in this session; log counts of category shown in it, of item lately."""
        item = self.part(obs, "recent_item").long()
        exposure = (item >= 0) & (self.part(obs, "recent_kind") == EXPOSURE)
        here = (item >= 0) & (self.part(obs, "recent_in_session") > 0.5)
        shown_here = self._count(item, exposure & here, self.n_items)
        acted_here = self._count(item, here & ~exposure, self.n_items)
        category = self.category[item.clamp(min=0)]
        of_category = self._count(category, exposure & here, self.n_categories)[:, self.category]
        lately = self._count(item, exposure, self.n_items)
        flags = [(shown_here > 0).to(obs.dtype), (acted_here > 0).to(obs.dtype)]
        return torch.stack([*flags, of_category.log1p(), lately.log1p()], 2)

    def _count(self, index: Tensor, marks: Tensor, size: int) -> Tensor:
        """(n, size) how many of the marked entries (n, R) have each index."""
        at = torch.where(marks, index, size)
        return torch.zeros(index.shape[0], size + 1).scatter_add(1, at, marks.to(torch.float32))[:, :-1]


class Response(nn.Module):
    """The response model's forward pass over all items: roots' logits and rewards, shown and not shown."""

    user_low: Tensor
    user_high: Tensor
    user_mean: Tensor
    user_w1: Tensor
    user_b1: Tensor
    user_w2: Tensor
    user_b2: Tensor
    pair_low: Tensor
    pair_high: Tensor
    pair_mean: Tensor
    head_user: Tensor
    head_product: Tensor
    head_pair: Tensor
    head_w2: Tensor
    head_b2: Tensor
    head_w3: Tensor
    head_b3: Tensor
    skip_pair: Tensor
    platt: Tensor
    item_tower: Tensor
    item_hidden: Tensor
    item_skip: Tensor
    encoder_product: Tensor
    bought: Tensor
    treat: Tensor

    def __init__(self, policy: ModelGreedyPolicy) -> None:
        super().__init__()
        world, forward = policy.world, policy.world.response
        self.heads = forward.heads
        for name, array in forward.to_arrays().items():
            self.register_buffer(name, constant(array))
        self.n_user = forward.summary_dim
        self.history = None if forward.encoder is None else History(forward.encoder, world.spec)
        options = policy.options
        weights = [float(getattr(options, f"w_{name}") or 0.0) for name in ("click", "purchase", "revenue")]
        self.w_click = weights[0]
        self.register_buffer("bought", constant((weights[1] + weights[2] * policy.revenue).astype(np.float32)))
        self.unshown = options.reward == "incremental"
        shown = _treatment(forward, 1.0, world.exp_reference)
        without = unshown_exposure(world.exp_reference[None], world.exp_unshown)[0]
        not_shown = _treatment(forward, 0.0, without)
        self.register_buffer("treat", constant(np.stack([not_shown, shown])))

    def forward(self, obs: Tensor, cross: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logit of the root response if shown, reward of a root response, expected reward if not: (n, n_items)."""
        x = obs[:, : self.n_user]
        x = x if self.history is None else torch.cat([x, self.history(obs)], 1)
        x = torch.maximum(torch.minimum(x, self.user_high), self.user_low) - self.user_mean
        user = torch.relu(x @ self.user_w1 + self.user_b1) @ self.user_w2 + self.user_b2
        z = torch.maximum(torch.minimum(cross, self.pair_high[:N_CROSS]), self.pair_low[:N_CROSS])
        z = z - self.pair_mean[:N_CROSS]
        # u * v_i in one product: (n, 1, T) folded into the weights would cost more for one user than this.
        hidden = (
            self.item_hidden + (user @ self.head_user)[:, None] + (user[:, None] * self.item_tower) @ self.head_product
        )
        hidden = hidden + z @ self.head_pair[:N_CROSS]
        direct = self.head_b3 + self.item_skip + z @ self.skip_pair[:N_CROSS]
        if self.history is not None:
            direct = direct + (user[:, None] * self.item_tower) @ self.encoder_product
        root, worth = self._calibrated(hidden, direct, 1)
        if not self.unshown:
            return root, worth, torch.zeros_like(root)
        root_then, worth_then = self._calibrated(hidden, direct, 0)
        return root, worth, torch.sigmoid(root_then) * worth_then

    def _calibrated(self, hidden: Tensor, direct: Tensor, shown: int) -> tuple[Tensor, Tensor]:
        treat = self.treat[shown]
        h = torch.relu(hidden + treat @ self.head_pair[N_CROSS:])
        h = torch.relu(h @ self.head_w2 + self.head_b2)
        raw = h @ self.head_w3 + direct + treat @ self.skip_pair[N_CROSS:]
        platt = self.platt[:, shown]
        logit = {head: raw[..., k] * platt[k, 0] + platt[k, 1] for k, head in enumerate(self.heads)}
        if "click" not in logit:
            return logit["purchase"], self.bought.expand(raw.shape[0], -1)
        if "purchase" not in logit:
            return logit["click"], torch.full_like(logit["click"], self.w_click)
        return logit["click"], self.w_click + self.bought * torch.sigmoid(logit["purchase"])


class CopyOffsets(nn.Module):
    """(n, A - 1) what each action's text adds to the root logit, `CopyEffect.effect` with wear from recent events."""

    fixed: Tensor
    copy_style: Tensor
    action_style: Tensor
    segment_style: Tensor
    centroids: Tensor

    def __init__(self, policy: ModelGreedyPolicy) -> None:
        super().__init__()
        world, effect = policy.world, policy.world.copy_effect
        assert effect is not None
        self.slices = layout(world.spec, "full")
        copy, item = world.action_copy[1:], world.action_item[1:]
        self.n_styles, self.wear = len(effect.styles), float(effect.wear)
        # A copy of -1, or without a style, has style n_styles: a column of zeros.
        copy_style = np.append(effect.copy_style, -1)
        copy_style = np.where(copy_style < 0, self.n_styles, copy_style).astype(np.int64)
        fixed = np.append(effect.base, np.float32(0))[copy]
        category = np.pad(effect.category_style, ((0, 0), (0, 1)))
        fixed = fixed + category[world.spec.item_category[item], copy_style[copy]]
        self.register_buffer("fixed", constant(fixed.astype(np.float32)))
        self.register_buffer("copy_style", constant(copy_style))
        self.register_buffer("action_style", constant(copy_style[copy]))
        self.register_buffer("segment_style", constant(np.pad(effect.segment_style, ((0, 0), (0, 1)))))
        self.register_buffer("centroids", constant(world.segment_centroids.astype(np.float32)))

    def forward(self, obs: Tensor) -> Tensor:
        profile, copy, kind, here = (
            obs[:, slice(*self.slices[name])] for name in ("profile", "recent_copy", "recent_kind", "recent_in_session")
        )
        segment = ((profile[:, None, :] - self.centroids) ** 2).sum(2).argmin(1)
        shown = (kind == EXPOSURE) & (here > 0.5) & (copy >= 0)
        style = torch.where(shown, self.copy_style[copy.long().clamp(min=0)], self.n_styles)
        seen = torch.zeros(obs.shape[0], self.n_styles + 1).scatter_add(1, style, shown.to(obs.dtype))
        # The last column stands for 'no style': nothing wears out there.
        seen = torch.cat([seen[:, :-1], torch.zeros_like(seen[:, :1])], 1)
        return self.fixed + (self.segment_style[segment] - self.wear * seen)[:, self.action_style]


class GreedyScores(nn.Module):
    """(n, A) expected reward of each action in the next slot: `ModelGreedyPolicy.values` with every item allowed."""

    action_item: Tensor

    def __init__(self, policy: ModelGreedyPolicy) -> None:
        super().__init__()
        if policy.others:
            raise UnsupportedError("model-greedy with pessimism", "its graph holds one model", "Export it without.")
        self.cross, self.response = CrossFeatures(policy.world), Response(policy)
        self.offsets = CopyOffsets(policy) if policy.world.copy_effect is not None else None
        self.cost = float(policy.options.cost)
        self.register_buffer("action_item", constant(policy.world.action_item[1:].astype(np.int64)))

    def forward(self, obs: Tensor) -> Tensor:
        root, worth, without = self.response(obs, self.cross(obs))
        logit = root[:, self.action_item]
        if self.offsets is not None:
            logit = logit + self.offsets(obs)
        gain = torch.sigmoid(logit) * worth[:, self.action_item] - without[:, self.action_item] - self.cost
        return torch.cat([torch.zeros_like(gain[:, :1]), gain], 1)


def _treatment(forward: Any, shown: float, exposure: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1 + E,) treatment columns as the head sees them: clipped and centred."""
    raw = np.append(np.float32(shown), exposure).astype(np.float32)
    low, high, mean = (getattr(forward, f"pair_{name}")[N_CROSS:] for name in ("low", "high", "mean"))
    return np.asarray(np.clip(raw, low, high) - mean, np.float32)
