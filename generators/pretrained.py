"""`pretrained`: the transformer generator over a checkpoint that others trained, as it is or fine-tuned with LoRA.

A checkpoint is a local model folder (safetensors), a GGUF file, or a hub id where there is a network. It proposes; it
knows nothing of the shop, so its lines are proposals for the guard and never facts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from recenv.core.checks import check_whole
from recenv.core.errors import ArtefactError, InputError
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.pretrained_codec import PretrainedCodec
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_data import Codec
from recenv.generators.transformer_files import load_weights, read_settings
from recenv.generators.transformer_fit import fit_model
from recenv.generators.transformer_sample import Plan, line_reasons

FORMAT = "recenv-pretrained-2"
TUNING = ("none", "lora")


@dataclass(frozen=True)
class PretrainedConfig:
    """A pretrained checkpoint.

    Attributes:
        checkpoint: folder, GGUF file, or hub id. tune: `none` (the prompt shows lines of the style) or `lora`.
        shown: lines of the style in the prompt; without tuning only. rank, alpha: of LoRA's matrices.
    """

    checkpoint: str = ""
    tune: str = "none"
    shown: int = 8
    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        if self.tune not in TUNING:
            raise InputError("option tune", f"{self.tune!r}", f"Choose one of {TUNING}")
        check_whole("shown", self.shown, 0, 64)
        check_whole("rank", self.rank, 1, 512)
        check_whole("alpha", self.alpha, 1, 4096)


class PretrainedGenerator(TransformerGenerator):
    """Lines from a pretrained causal model under the same constraints and pools as `TransformerGenerator`.

    Its words are not those of the corpus: whether neighbouring tokens were seen there is not asked. `fit` without
    tuning learns nothing; it takes the lines for the prompt's examples.

    Args:
        slots, claims: as in `TransformerGenerator`. config: of sampling and LoRA's steps.
        pretrained: which checkpoint and how.
    """

    name = "pretrained"
    mixes = False

    def __init__(
        self,
        slots: Iterable[str] = ("product", "size", "price"),
        config: TransformerConfig | None = None,
        claims: Iterable[str] | None = None,
        pretrained: PretrainedConfig | None = None,
    ) -> None:
        super().__init__(slots, config or TransformerConfig(pool=32, epochs=3, learning_rate=2e-4, batch=16), claims)
        self.pretrained = pretrained or PretrainedConfig()

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

    def offered(self, text: str, ended: bool, plan: Plan) -> bool:
        """As in `TransformerGenerator`, but for the pairs of tokens; a list mark, or no letter, is no line either."""
        bad = line_reasons(text, ended, plan.slots, plan.group.always, plan.barred)
        return not bad and any(c.isalpha() for c in text) and text[:1] not in "-–—•.,:;!?)"

    def _begin(self, lines: Sequence[Line]) -> tuple[Codec, PreTrainedModel]:
        if not self.pretrained.checkpoint:
            raise InputError("option checkpoint", "is missing", "Name a model folder, a GGUF file or a hub id")
        model, tokenizer, end = read_checkpoint(self.pretrained.checkpoint)
        tokenizer = PretrainedCodec.with_slots(tokenizer)
        add_slot_rows(model, tokenizer)
        shown = self.pretrained.shown if self.pretrained.tune == "none" else 0
        size = len(_tables(model)[0])
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
        history = fit_model(tuned, lines, held, codec, self.config, seed, progress)
        return tuned.merge_and_unload(), history

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {
            "format": FORMAT,
            "pretrained": asdict(self.pretrained) | {"checkpoint": Path(self.pretrained.checkpoint).name},
            "model": _plain_config(self.model),
        }


def read_checkpoint(name: str) -> tuple[PreTrainedModel, Tokenizer, int]:
    """(model in float32, tokenizer, id of its end token) of a folder, a GGUF file or a hub id. No pickle, no code.

    Raises:
        ArtefactError: it cannot be had, is no causal language model, or lacks a tokenizer or safetensors weights.
    """
    path = Path(name)
    gguf = path.suffix == ".gguf"
    if gguf and not path.is_file():
        raise ArtefactError(f"checkpoint {name}", "there is no such file", "Name a GGUF file")
    if not path.exists() and (path.is_absolute() or name.count("/") != 1 or name.startswith(".")):
        raise ArtefactError(f"checkpoint {name}", "no such folder", "Name a model folder, a GGUF file or a hub id")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ArtefactError(f"checkpoint {name}", "has no config.json", "Name the folder of a saved model")
    if path.is_dir() and not any(path.glob("*.safetensors")):
        raise ArtefactError(
            f"checkpoint {name}", "has no safetensors weights", "Save it as safetensors: no pickle here"
        )
    try:
        if gguf:
            from transformers import GgufConfig

            source, file = str(path.parent), path.name
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
            settings = AutoConfig.from_pretrained(source, gguf_file=file)
            model = AutoModelForCausalLM.from_pretrained(
                source, config=settings, gguf_file=file, dtype=torch.float32,
                quantization_config=GgufConfig(gguf_file=file, dequantize=True),
            )  # fmt: skip
        else:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError, struct.error) as error:
        said = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        mend = "Name a causal language model with its tokenizer; GGUF needs the extra recenv[llm]"
        raise ArtefactError(f"checkpoint {name}", f"cannot be loaded ({said})", mend) from error
    fast = getattr(tokenizer, "backend_tokenizer", None)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else model.config.eos_token_id
    if fast is None or not isinstance(end, int):
        raise ArtefactError(f"checkpoint {name}", "has no fast tokenizer with an end token", "Take another checkpoint")
    size = len(_tables(model)[0])
    if fast.get_vocab_size(with_added_tokens=True) > size:
        raise ArtefactError(f"checkpoint {name}", "its tokenizer has more tokens than the model", "They do not belong")
    return model.eval(), fast, end


@torch.no_grad()
def add_slot_rows(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Give slots embeddings: the mean of those of the pieces of the slot's name, to begin with, in and out."""
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if size > len(_tables(model)[0]):
        model.resize_token_embeddings(size, mean_resizing=False)
    tables = {id(table): table for table in _tables(model)}
    for text, number in sorted(tokenizer.get_vocab(with_added_tokens=True).items()):
        if text.startswith("{") and text.endswith("}") and len(text) > 2:
            pieces = tokenizer.encode(f" {text[1:-1].replace('_', ' ')}", add_special_tokens=False).ids
            for table in tables.values():
                if pieces:
                    table[number] = table[pieces].mean(0)


def _tables(model: PreTrainedModel) -> list[torch.Tensor]:
    """The embeddings of tokens, those going in first; one tensor twice where both sides share it."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [cast(torch.nn.Linear, layer).weight for layer in layers if layer is not None]


def with_lora(model: PreTrainedModel, config: PretrainedConfig, slots: Sequence[int]) -> Any:
    """The model with low-rank matrices beside every linear layer, and with embeddings of slots that learn.

    (Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, section 4.)
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        task_type="CAUSAL_LM", r=config.rank, lora_alpha=config.alpha, lora_dropout=0.05, target_modules="all-linear",
        trainable_token_indices=list(slots), fan_in_fan_out=model.config.model_type == "gpt2",
    )  # fmt: skip
    return get_peft_model(model, settings)


def _plain_config(model: PreTrainedModel) -> dict[str, Any]:
    """Settings that `AutoConfig.for_model` takes, without paths and quantization."""
    saved: dict[str, Any] = model.config.to_dict()
    dropped = ("_name_or_path", "quantization_config", "transformers_version", "architectures", "dtype", "torch_dtype")
    return {k: v for k, v in saved.items() if k not in dropped}
