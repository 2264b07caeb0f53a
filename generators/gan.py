"""`gan`: a recurrent generator trained by maximum likelihood, then against a discriminator, with the same constraints,
pools and files as the transformer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recenv.core.checks import check_seed
from recenv.core.errors import InputError
from recenv.generators.corpus import Line
from recenv.generators.gan_board import GanBoard
from recenv.generators.gan_config import GanConfig, line_config
from recenv.generators.gan_networks import LineRNN
from recenv.generators.gan_reference import Reference
from recenv.generators.gan_sample import draw
from recenv.generators.gan_score import LineCheck, Material
from recenv.generators.gan_train import Adversary
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Codec, Examples, lines_to_fit
from recenv.generators.transformer_files import load_weights, read_settings
from recenv.generators.transformer_fit import barred_logits, fit_model, held_out_perplexity
from recenv.generators.transformer_sample import Plan
from recenv.generators.vocabulary import Condition, Vocabulary

FORMAT = "recenv-gan-2"
PREFIX = len(Condition().controls())


class GanGenerator(TransformerGenerator):
    """Lines from a GRU that was trained by MLE and then with a discriminator.

    Args:
        slots, claims: as in `TransformerGenerator`. config: of the network, its training by MLE, and of sampling.
        gan: of the adversarial phase.

    Raises:
        InputError: unknown slot, or `product` not among the slots.
    """

    name = "gan"
    mixes = False

    def __init__(
        self,
        slots: Iterable[str] = ("product", "size", "price"),
        config: TransformerConfig | None = None,
        claims: Iterable[str] | None = None,
        gan: GanConfig | None = None,
    ) -> None:
        super().__init__(slots, config or line_config(), claims)
        self.gan = gan or GanConfig()

    def fit(
        self,
        rows: Sequence[Line],
        validation: Sequence[Line] = (),
        seed: int = 0,
        progress: bool = True,
        board: Path | None = None,
    ) -> dict[str, Any]:
        """Train on `rows`; `validation` lines stop the MLE and choose the checkpoint of the adversarial phase. A tenth
        of `rows` is set aside where there are none.

        Args:
            board: folder for TensorBoard curves and samples under `gan/`.

        Returns:
            lines, validation (counts), vocabulary, epochs, perplexity (of validation lines), history (of the MLE),
            mle_perplexity (before the adversarial phase), gan (`Adversary.run`).

        Raises:
            InputError: no line, or fewer than 20 to set a tenth of aside; a loss of the MLE is not finite.
        """
        check_seed(seed)
        lines, held = lines_to_fit(self.name, rows, validation)
        with torch_session(seed, self.config.threads), GanBoard(board) as curves:
            codec = Vocabulary.train(lines)
            model = self._model(codec)
            history = fit_model(model, lines, held, codec, self.config, seed, progress)
            before = held_out_perplexity(model, held, codec, self.config)
            material = self._material(codec, lines, held, self.gan)
            found = Adversary(model, material, self.gan, seed, curves).run(progress)
            self._settle(model, codec, lines)
            after = held_out_perplexity(model, held, codec, self.config)
        return {
            "lines": len(lines),
            "validation": len(held),
            "vocabulary": len(codec),
            "epochs": len(history),
            "history": history,
            "mle_perplexity": before,
            "perplexity": after,
            "gan": found,
        }

    def played(
        self, gan: GanConfig, validation: Sequence[Line], seed: int = 0, until: Callable[[], bool] | None = None
    ) -> tuple[GanGenerator, GanGenerator, dict[str, Any]]:
        """(best checkpoint, last weights, report) of a further adversarial phase: several can start from one MLE.

        `until` is asked at every check whether to stop.

        Raises:
            InputError: not fitted, or no validation line.
        """
        self._check_fitted()
        check_seed(seed)
        if not validation:
            raise InputError("gan", "no validation line", "Give lines that nothing trained on")
        lines, codec, model = list(self.known.lines), self.codec, copy.deepcopy(self.model)
        with torch_session(seed, self.config.threads), GanBoard(None) as curves:
            loop = Adversary(model, self._material(codec, lines, validation, gan), gan, seed, curves)
            report = loop.run(False, until)
        ended = copy.deepcopy(model)
        with torch.no_grad():
            for weight, value in zip(ended.parameters(), loop.last, strict=True):
                weight.copy_(value)
        made = [copy.copy(self), copy.copy(self)]
        for generator, own in zip(made, (model, ended), strict=True):
            generator.gan = gan
            generator._settle(own, codec, lines)
        return made[0], made[1], report

    @classmethod
    def load(cls, directory: Path) -> GanGenerator:
        """The inverse of `save`.

        Raises:
            ArtefactError: a file is missing, changed, or of another format.
        """
        saved = read_settings(directory, FORMAT)
        made = cls(saved.slots, saved.config, saved.claims, saved.read(lambda entries: GanConfig(**entries["gan"])))
        codec = saved.read(lambda entries: Vocabulary.from_json(entries["vocabulary"]))
        with torch_session(0, made.config.threads):
            model = made._model(codec)
            load_weights(model, directory / "model.safetensors")
        made._settle(model, codec, saved.lines)
        saved.check_hash(made.hash)
        return made

    def _model(self, codec: Codec) -> LineRNN:
        c = self.config
        return LineRNN(len(codec), c.width, c.layers, PREFIX, c.dropout)

    def _material(self, codec: Codec, lines: Sequence[Line], held: Sequence[Line], gan: GanConfig) -> Material:
        examples, checked = Examples(lines, codec, self.config, held), Examples(held, codec, self.config)
        spoken = set(codec.texts) - codec.controls - {codec.pad} | {codec.end, codec.unknown}
        rows = [([own.ids[x.text] for x in own.lines], [x.style for x in own.lines]) for own in (examples, checked)]
        reference = Reference(*rows[0], *rows[1], len(spoken), codec.end, codec.unknown)
        return Material(
            batch=examples.batch,
            count=len(lines),
            validation=checked.batch(range(len(held)), None),
            check=LineCheck(checked, barred_logits(codec), gan.samples, self.config.max_tokens, reference),
            # Real lines have rare words hidden, so generated ones may hide words too: else that would tell them apart.
            barred=barred_logits(codec, hidden=True),
            end=codec.end,
            pad=codec.pad,
            length=self.config.max_tokens,
        )

    def _sample(self, plan: Plan, count: int, temperature: float, constrained: bool) -> list[tuple[str, bool]]:
        codec = self.codec
        chain = plan.constraints(codec, PREFIX, self._beside) if constrained else None
        prefix = torch.tensor([codec.prefix(plan.condition)] * count)
        barred = barred_logits(codec)
        ids = draw(self.model, prefix, self.config.max_tokens, barred, codec.end, codec.pad, temperature, chain)
        return [(codec.decode(row), codec.end in row) for row in ids.tolist()]

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"format": FORMAT, "gan": asdict(self.gan)}
