"""A tiny causal model with a tokenizer of its own, as `save_pretrained` writes it: what others trained, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recenv.generators.corpus import Line
from recenv.generators.pretrained_checkpoint import add_slot_rows, read_checkpoint
from recenv.generators.pretrained_codec import PretrainedCodec
from recenv.generators.pretrained_config import PretrainedConfig
from recenv.generators.torch_session import torch_session
from recenv.generators.transformer_config import TransformerConfig
from recenv.generators.transformer_fit import fit_model


def write_checkpoint(folder: Path, lines: Sequence[Line], width: int = 16, epochs: int = 0) -> Path:
    """Weights at random, then `epochs` passes over the lines; its words are those of the lines, in pieces."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([x.text for x in lines], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(folder)
    with torch_session(0):
        config = LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=0, pad_token_id=None,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    if epochs:
        _train(folder, lines, epochs)
    return folder


def _train(folder: Path, lines: Sequence[Line], epochs: int) -> None:
    model, tokenizer, end = read_checkpoint(str(folder))
    known = tokenizer.get_vocab_size(with_added_tokens=True)
    tokenizer = PretrainedCodec.with_slots(tokenizer)
    add_slot_rows(model, tokenizer, known)
    codec = PretrainedCodec(
        tokenizer, end, model.get_input_embeddings().weight.shape[0], lines, PretrainedConfig().shown
    )
    options = TransformerConfig(epochs=epochs, batch=8, learning_rate=1e-2, average=0.5, turn=0.0)
    with torch_session(0):
        fit_model(model, lines, (), codec, options, 0, progress=False)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(folder)
