"""`pretrained`: the transformer generator over a checkpoint that others trained, as it is or fine-tuned with LoRA.

A checkpoint is a local model folder (safetensors), a GGUF file, or a hub id where there is a network. It proposes; it
knows nothing of the shop, so its lines are proposals for the guard and never facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from recenv.core.errors import InputError
from recenv.core.progress import Bar
from recenv.core.progress import bar as progress_bar
from recenv.generators.base import Request, Variant
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.pretrained_checkpoint import add_slot_rows, plain_config, read_checkpoint, tables, with_lora
from recenv.generators.pretrained_codec import PretrainedCodec
from recenv.generators.pretrained_config import PretrainedConfig
from recenv.generators.pretrained_prompt import after_prompt, prompted_logs
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer import SHARPER, TransformerGenerator
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Codec
from recenv.generators.transformer_files import load_weights, read_settings
from recenv.generators.transformer_fit import fit_model
from recenv.generators.transformer_pools import PoolKey
from recenv.generators.transformer_sample import Plan, line_reasons, sample

FORMAT = "recenv-pretrained-3"
OPTIONS = TransformerConfig(
    pool=48, blocks=2, epochs=2, patience=1, slack=0.0, learning_rate=1e-3, weight_decay=0.0, batch=8, max_tokens=24
)
"""Of sampling and of LoRA's steps: two passes over the corpus take a model of 135 million weights a quarter of an hour
on one core."""


class PretrainedGenerator(TransformerGenerator):
    """Lines from a pretrained causal model under the same constraints and pools as `TransformerGenerator`.

    Its words are not those of the corpus: whether neighbouring tokens were seen there is not asked. `fit` without
    tuning learns nothing; it takes the lines for the prompt's examples.

    Args:
        slots, claims: as in `TransformerGenerator`. config: of sampling and LoRA's steps, `OPTIONS` if None.
        pretrained: which checkpoint and how.
    """

    mixes = False

    def __init__(
        self,
        slots: Iterable[str] = ("product", "size", "price"),
        config: TransformerConfig | None = None,
        claims: Iterable[str] | None = None,
        pretrained: PretrainedConfig | None = None,
    ) -> None:
        super().__init__(slots, config or OPTIONS, claims)
        self.pretrained = pretrained or PretrainedConfig()
        # Each line carries the checkpoint and its tuning where other generators have their name.
        self.name = self.pretrained.provenance if self.pretrained.checkpoint else "pretrained"
        self._bar: Bar | None = None

    @cached_property
    def source(self) -> str:
        """Checkpoint, its content and the tuning: what a kept generator is known by, besides its options."""
        known = replace(self.pretrained, checkpoint=self.pretrained.label)
        return f"{known!r} {self.pretrained.digest()}"

    @classmethod
    def load(cls, directory: Path) -> PretrainedGenerator:
        """A saved generator, or a bare checkpoint (folder or GGUF file), which then writes from examples of the corpus.

        Raises:
            ArtefactError: it is neither, or was changed after saving.
        """
        if not (directory / "generator.json").is_file():
            bare = cls(pretrained=PretrainedConfig(str(directory)))
            bare.fit(*read_corpus().split(), progress=False)
            return bare
        saved = read_settings(directory, FORMAT)
        pretrained = saved.read(lambda entries: PretrainedConfig(**entries["pretrained"]))
        settings = saved.read(lambda entries: AutoConfig.for_model(**entries["model"]))
        made = cls(saved.slots, saved.config, saved.claims, pretrained)
        codec = saved.read(lambda entries: PretrainedCodec.from_json(entries["vocabulary"], saved.lines))
        with torch_session(0, made.config.threads):
            model = saved.read(lambda _: AutoModelForCausalLM.from_config(settings))
            load_weights(model, directory / "model.safetensors")
        made._settle(model, codec, saved.lines)
        saved.check_hash(made.hash)
        return made

    def generate(self, requests: Sequence[Request], n: int, seed: int, temperature: float = 1.0) -> list[Variant]:
        """See `TransformerGenerator.generate`; a bar shows products done and lines written, which takes the time."""
        made = super().generate([], n, seed, temperature)
        with progress_bar("copy", len(requests), "product", show=len(requests) > 1) as bar:
            self._bar = bar
            try:
                for request in requests:
                    made += super().generate([request], n, seed, temperature)
                    bar.update()
            finally:
                self._bar = None
        return made

    def pool(self, key: PoolKey) -> list[tuple[str, float]]:
        """See `TransformerGenerator.pool`."""
        found = super().pool(key)
        if self._bar is not None:
            self._bar.set_postfix(pools=len(self._pools), lines=sum(map(len, self._pools.values())))
            self._bar.update(0)
        return found

    def offered(self, text: str, ended: bool, plan: Plan) -> bool:
        """As in `TransformerGenerator`, but for the pairs of tokens; a list mark, or no letter, is no line either."""
        bad = line_reasons(text, ended, plan.slots, plan.group.always, plan.barred)
        strange = self.known.off_style(text, plan.group.style)
        return not bad and not strange and any(c.isalpha() for c in text) and text[:1] not in "-–—•.,:;!?)"

    def token_logs(
        self, lines: Sequence[Line], known_words: bool = False, temperature: float = 1.0
    ) -> list[NDArray[np.float64]]:
        """See `TransformerGenerator.token_logs`; there are no unknown words to leave out."""
        self._check_fitted()
        with torch_session(0, self.config.threads):
            return prompted_logs(self.model, self.codec, lines, temperature)

    def _begin(self, lines: Sequence[Line]) -> tuple[Codec, PreTrainedModel]:
        model, tokenizer, end = read_checkpoint(self.pretrained.checkpoint)
        known = tokenizer.get_vocab_size(with_added_tokens=True)
        tokenizer = PretrainedCodec.with_slots(tokenizer)
        add_slot_rows(model, tokenizer, known)
        shown = self.pretrained.shown if self.pretrained.tune == "none" else 0
        size = len(tables(model)[0])
        codec = PretrainedCodec(tokenizer, end, size, lines, shown)
        room = int(getattr(model.config, "max_position_embeddings", 0) or 0)
        if room and room < 32 * (shown + 1) + self.config.max_tokens and shown:
            raise InputError("option shown", f"{shown} examples in a context of {room}", "Show fewer, or tune")
        return codec, model

    def _train(
        self,
        model: PreTrainedModel,
        codec: Codec,
        lines: Sequence[Line],
        held: Sequence[Line],
        seed: int,
        progress: bool,
    ) -> tuple[PreTrainedModel, list[dict[str, float]]]:
        if self.pretrained.tune == "none":
            return model, []
        tuned = with_lora(model, self.pretrained, sorted(codec.slots.values()))
        history = fit_model(tuned, lines, held, codec, self.config, seed, progress, alike=True)
        return tuned.merge_and_unload(), history

    def _settle(self, model: PreTrainedModel, codec: Codec, lines: Sequence[Line]) -> None:
        super()._settle(model, codec, lines)
        # Nothing but the guard looks at the words of a model that knows all of English: its tail is not offered.
        self._sharp = SHARPER

    def _sample(self, plan: Plan, count: int, temperature: float, constrained: bool) -> list[tuple[str, bool]]:
        """As in `TransformerGenerator`; the prompt, which all lines of a pool share, is read once."""
        past = after_prompt(self.model, self.codec.prefix(plan.condition), count)
        rows = sample(
            self.model, self.codec, plan, count, temperature, self.config.max_tokens, self._beside, constrained, None,
            past,
        )  # fmt: skip
        return [(self.codec.decode(ids), ids[-1:] == [self.codec.end]) for ids in rows]

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {
            "format": FORMAT,
            "pretrained": asdict(self.pretrained) | {"checkpoint": self.pretrained.label},
            "model": plain_config(self.model),
        }
