"""Own deep Q network: `DQNPolicy` in a world, `PlainDQN` on any Gymnasium vector environment."""

from recenv.agents.dqn.config import DQNConfig
from recenv.agents.dqn.plain import PlainDQN
from recenv.agents.dqn.policy import DQNPolicy

__all__ = ["DQNConfig", "DQNPolicy", "PlainDQN"]
