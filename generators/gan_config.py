"""Options of the sequence GAN."""

from __future__ import annotations

from dataclasses import dataclass

from recenv.core.checks import check_type, check_whole
from recenv.core.errors import InputError
from recenv.generators.transformer_config import TransformerConfig

ADVERSARIAL = ("policy-gradient", "gumbel", "none")
"""How the generator learns from the discriminator; `none` goes on by maximum likelihood alone: the control."""


@dataclass(frozen=True)
class GanConfig:
    """The phase after training by maximum likelihood (MLE).

    Attributes:
        adversarial: one of ADVERSARIAL. steps: most generator steps; 0 leaves the MLE as it is.
        anchor: share a of the MLE loss in every generator step: a L_MLE + (1 - a) L_adversarial.
        batch: lines a step, of each kind. generator_rate, critic_rate: Adam's.
        critic_width: length of the discriminator's vectors. critic_dropout: share of its activations hidden in
            training.
        critic_accuracy: pair accuracy on validation lines at which its own training ends.
        critic_steps: most steps of its own training. critic_updates: its steps for each of the generator.
        discount: of later rewards (policy gradient). clip: most log-odds that one token earns (policy gradient).
        gumbel_temperature: of the soft samples (Gumbel-softmax).
        every: steps between checks. samples: lines drawn at a check, for its score. patience: checks without a better
            score before stopping. divergence: rise of the validation loss above its best, nats a token, that counts as
            divergence.
        rollbacks: most returns to the last good checkpoint before stopping.
        average: decay a step of the moving average of weights that is checked and kept (Polyak averaging).
    """

    adversarial: str = "policy-gradient"
    steps: int = 100
    anchor: float = 0.5
    batch: int = 32
    generator_rate: float = 3e-4
    critic_rate: float = 3e-3
    critic_width: int = 64
    critic_dropout: float = 0.0
    critic_accuracy: float = 0.7
    critic_steps: int = 200
    critic_updates: int = 1
    discount: float = 0.7
    clip: float = 3.0
    gumbel_temperature: float = 1.0
    every: int = 20
    samples: int = 1000
    patience: int = 3
    divergence: float = 0.5
    rollbacks: int = 3
    average: float = 0.9

    def __post_init__(self) -> None:
        for name, annotation in self.__annotations__.items():
            check_type("GanConfig", name, annotation, getattr(self, name))
        if self.adversarial not in ADVERSARIAL:
            raise InputError("option adversarial", f"{self.adversarial!r}", f"Choose one of {ADVERSARIAL}.")
        for name in ("steps", "critic_steps", "rollbacks"):
            check_whole(name, getattr(self, name), 0)
        for name in ("critic_width", "critic_updates", "every", "patience"):
            check_whole(name, getattr(self, name))
        for name in ("batch", "samples"):
            check_whole(name, getattr(self, name), 2)
        for name in ("critic_dropout", "average"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"option {name}", f"{getattr(self, name)}", "Give a share from 0 to below 1.")
        if not 0.0 < self.anchor <= 1.0:
            mend = "Give a share above 0 and at most 1: without an anchor the generator forgets how to write."
            raise InputError("option anchor", f"{self.anchor}", mend)
        if not 0.5 <= self.critic_accuracy <= 1.0:
            raise InputError("option critic_accuracy", f"{self.critic_accuracy}", "Give a share from .5 to 1.")
        if not 0.0 <= self.discount <= 1.0:
            raise InputError("option discount", f"{self.discount}", "Give a share from 0 to 1.")
        for name in ("generator_rate", "critic_rate", "clip", "gumbel_temperature", "divergence"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"option {name}", f"{getattr(self, name)}", "Give a number above 0.")


def line_config() -> TransformerConfig:
    """How the recurrent generator is trained by MLE and sampled; attention heads mean nothing to it."""
    return TransformerConfig(
        layers=1, width=128, heads=1, dropout=0.2, word_drop=0.1, turn=0.1, learning_rate=3e-3, epochs=25, slack=0.25,
        pool=1200, blocks=3,
    )  # fmt: skip
