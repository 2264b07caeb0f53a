"""Agents of sb3-contrib over k retrieved candidates: `sb3-qrdqn`, `sb3-maskable-ppo`.

Settings, weights and randomness are those of `recenv.agents.sb3`. `sb3-qrdqn` ignores masks while it learns, as the
agents there do; `sb3-maskable-ppo` asks the environment for them (`action_masks` of each session) before every step
and keeps them with it, so that neither a choice nor a gradient is spent on what may not be shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sb3_contrib import QRDQN, MaskablePPO
from torch import Tensor

from recenv.agents.sb3 import SB3Config, SB3DQNPolicy, SB3PPOPolicy
from recenv.core.checks import check_whole


@dataclass(frozen=True)
class SB3QRDQNConfig(SB3Config):
    """Settings of QR-DQN.

    Args:
        quantiles: by how many quantiles the distribution of each candidate's return is described.
    """

    quantiles: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("quantiles", self.quantiles)


class SB3QRDQNPolicy(SB3DQNPolicy):
    """Distributional DQN: quantiles of each candidate's return, fitted by the quantile Huber loss, acted on by their
    mean; replay, updates and exploration as for `sb3-dqn`. Dabney et al., 2018, arXiv:1710.10044.
    """

    name = "sb3-qrdqn"
    algorithm: ClassVar[Any] = QRDQN
    config_class = SB3QRDQNConfig

    @staticmethod
    def policy_options(config: Any) -> dict[str, Any]:
        return SB3DQNPolicy.policy_options(config) | {"n_quantiles": config.quantiles}

    def scores(self, observations: Tensor) -> Tensor:
        found: Tensor = self.network.quantile_net(observations).mean(dim=1)  # (n, quantiles, k) -> (n, k)
        return found


class SB3MaskablePPOPolicy(SB3PPOPolicy):
    """PPO whose distribution gives what is masked no probability; otherwise as `sb3-ppo`, roll-outs and epochs too.
    Huang and Ontanon, 2022, arXiv:2006.14171.

    Masks differ from the observation's own `valid` flags only in that nothing has to be learned from them: they tell
    padding, which there is where fewer than k actions are allowed. Where there is none, this is `sb3-ppo`.
    """

    name = "sb3-maskable-ppo"
    algorithm: ClassVar[Any] = MaskablePPO
