"""Losses of the sequence GAN. Lines are (B, T) ids, masks (B, T) float, parts of log-odds (B, T)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from recenv.generators.gan_networks import LineRNN, PatchCritic, line_mask, line_score
from recenv.generators.gan_sample import drawn_logs


def critic_loss(real: Tensor, fake: Tensor, relativistic: bool) -> Tensor:
    """Of log-odds (B,) of lines: their cross-entropy, or relativistic, - mean log s(D(real) - D(fake)).

    (Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019, section 4.1.)
    """
    if relativistic:
        return softplus(fake - real).mean()
    return (softplus(-real).mean() + softplus(fake).mean()) / 2


def returns(odds: Tensor, mask: Tensor, discount: float, clip: float) -> Tensor:
    """(B, T) discounted sums R_t = sum_k discount^k r_(t+k) of the rewards r_t = clip(odds_t): what token
    t adds to the discriminator's log-odds."""
    rewards = odds.clamp(-clip, clip) * mask
    found, total = [], torch.zeros(len(odds))
    for t in range(odds.shape[1] - 1, -1, -1):
        total = rewards[:, t] + discount * total
        found.append(total)
    return torch.stack(found[::-1], 1)


def advantages(gained: Tensor, mask: Tensor) -> Tensor:
    """(B, T) returns less their mean at the same position (the baseline), over their standard deviation."""
    baseline = (gained * mask).sum(0) / mask.sum(0).clamp(min=1.0)
    centred = (gained - baseline) * mask
    spread = (centred.square().sum() / mask.sum()).sqrt()
    return centred / (spread + 1e-6)


def policy_loss(
    model: LineRNN,
    critic: PatchCritic,
    prefix: Tensor,
    ids: Tensor,
    barred: Tensor,
    end: int,
    discount: float,
    clip: float,
) -> Tensor:
    """- mean_t A_t log p(x_t | x_<t) of lines that the generator drew (REINFORCE, per token).

    (After Yu et al., "SeqGAN", AAAI 2017, section 3; its roll-outs are replaced by reading the discriminator at every
    token.)
    """
    mask = line_mask(ids, end)
    critic.eval()
    with torch.no_grad():
        advantage = advantages(returns(critic(prefix, ids), mask, discount, clip), mask)
    return -(advantage * drawn_logs(model, prefix, ids, barred, mask)).sum() / mask.sum()


def relativistic_loss(critic: PatchCritic, prefix: Tensor, real: Tensor, soft: Tensor, ids: Tensor, end: int) -> Tensor:
    """- mean log s(D(fake) - D(real)) through soft lines (B, T, V).

    (Nie, Narodytska and Patel, "RelGAN", ICLR 2019, section 2.3.)
    """
    critic.eval()
    fake = line_score(critic(prefix, soft), line_mask(ids, end))
    with torch.no_grad():
        other = line_score(critic(prefix, real), line_mask(real, end))
    return softplus(other - fake).mean()
