"""Reading checkpoints that others trained: a folder, a GGUF file, or a hub id where there is a network."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from recenv.core.errors import ArtefactError
from recenv.generators.pretrained_config import PretrainedConfig


def read_checkpoint(name: str) -> tuple[PreTrainedModel, Tokenizer, int]:
    """(model in float32, tokenizer, id of its end token) of a folder, a GGUF file or a hub id. No pickle, no code.

    Raises:
        InputError: none is named, or a package of the extra `llm` is missing.
        ArtefactError: it cannot be had, is no causal language model, or lacks a tokenizer or safetensors weights.
    """
    PretrainedConfig(name).check()
    try:
        model, tokenizer = _load_gguf(Path(name)) if name.endswith(".gguf") else _load(name)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError, struct.error) as error:
        said = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        mend = "Name a causal language model with its tokenizer; GGUF needs the extra recenv[llm]"
        if not Path(name).exists():
            mend = f"There is no such folder or file here, so {name} was taken for a hub id. {mend}"
        raise ArtefactError(f"checkpoint {name}", f"cannot be loaded ({said})", mend) from error
    fast = getattr(tokenizer, "backend_tokenizer", None)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else model.config.eos_token_id
    if fast is None or not isinstance(end, int):
        raise ArtefactError(f"checkpoint {name}", "has no fast tokenizer with an end token", "Take another checkpoint")
    if fast.get_vocab_size(with_added_tokens=True) > len(tables(model)[0]):
        raise ArtefactError(f"checkpoint {name}", "its tokenizer has more tokens than the model", "They do not belong")
    return model.eval(), fast, end


def _load(name: str) -> tuple[PreTrainedModel, Any]:
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    return model, tokenizer


def _load_gguf(path: Path) -> tuple[PreTrainedModel, Any]:
    from transformers import GgufConfig

    folder, file = str(path.parent), path.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    settings = AutoConfig.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=settings, gguf_file=file, dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=file, dequantize=True),
    )  # fmt: skip
    return model, tokenizer


@torch.no_grad()
def add_slot_rows(model: PreTrainedModel, tokenizer: Tokenizer, known: int) -> None:
    """Give slots embeddings: the mean of those of the pieces of the slot's name, to begin with, in and out.

    Slots among the first `known` tokens, those of the checkpoint's own tokenizer, were learned there and stay.
    """
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if size > len(tables(model)[0]):
        model.resize_token_embeddings(size, mean_resizing=False)
    each = {id(table): table for table in tables(model)}
    for text, number in sorted(tokenizer.get_vocab(with_added_tokens=True).items()):
        if number >= known and text.startswith("{") and text.endswith("}") and len(text) > 2:
            pieces = tokenizer.encode(f" {text[1:-1].replace('_', ' ')}", add_special_tokens=False).ids
            for table in each.values():
                if pieces:
                    table[number] = table[pieces].mean(0)


def tables(model: PreTrainedModel) -> list[torch.Tensor]:
    """The embeddings of tokens, those going in first; one tensor twice where both sides share it."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [cast(torch.nn.Linear, layer).weight for layer in layers if layer is not None]


def with_lora(model: PreTrainedModel, config: PretrainedConfig, slots: Sequence[int]) -> Any:
    """The model with low-rank matrices beside every linear layer, and with embeddings of slots that learn.

    (Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, section 4.) Without dropout: drawing
    it beside every layer takes a tenth of the time on a CPU, and training stops by held-out lines.
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        task_type="CAUSAL_LM", r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules="all-linear",
        trainable_token_indices=list(slots), fan_in_fan_out=model.config.model_type == "gpt2",
    )  # fmt: skip
    return get_peft_model(model, settings)


def plain_config(model: PreTrainedModel) -> dict[str, Any]:
    """Settings that `AutoConfig.for_model` takes, without paths and quantization."""
    saved: dict[str, Any] = model.config.to_dict()
    dropped = ("_name_or_path", "quantization_config", "transformers_version", "architectures", "dtype", "torch_dtype")
    return {k: v for k, v in saved.items() if k not in dropped}
