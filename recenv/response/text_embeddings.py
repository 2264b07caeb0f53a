"""Sentence embeddings as further features of a text: an option, since they need a model that the package has not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError
from recenv.response.text_features import without_slots

Floats = NDArray[np.float64]
BATCH = 64


class Embedder(Protocol):
    """Texts to vectors.

    Attributes:
        hash: of all that decides the vectors. dimension: d of the (n, d) float64 that a call returns.
    """

    hash: str
    dimension: int

    def __call__(self, texts: Sequence[str]) -> Floats: ...


class SentenceEmbedder:
    """Mean of a transformer's last hidden states over the tokens of a text, at unit length; slots are left out.

    (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019, section 3, pooling MEAN.)

    Args:
        folder: of an encoder as `transformers` saves it, with its tokenizer; weights in safetensors.

    Raises:
        ArtefactError: the folder holds no such model, or needs the extra `recenv[copy]`.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        weights = sorted(folder.glob("*.safetensors"))
        if not (folder / "config.json").is_file() or not weights:
            mend = "Name the folder of an encoder saved by transformers, weights as safetensors"
            raise ArtefactError(f"embeddings {folder}", "has no config.json with safetensors weights", mend)
        try:
            from transformers import AutoModel, AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self._model = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            said = str(error).strip().splitlines()[0][:200]
            raise ArtefactError(f"embeddings {folder}", f"cannot be loaded ({said})", "See recenv[copy]") from error
        self.dimension = int(self._model.config.hidden_size)
        found = hashlib.sha256()
        for path in weights:
            found.update(path.read_bytes())
        self.hash = found.hexdigest()[:16]

    def __call__(self, texts: Sequence[str]) -> Floats:
        made = np.zeros((len(texts), self.dimension))
        for start in range(0, len(texts), BATCH):
            made[start : start + BATCH] = self._embed(texts[start : start + BATCH])
        return made

    def _embed(self, texts: Sequence[str]) -> Floats:
        import torch

        given = self._tokenizer([without_slots(t) for t in texts], padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            states = self._model(**given).last_hidden_state
        mask = given["attention_mask"][..., None].to(states.dtype)
        mean = ((states * mask).sum(1) / mask.sum(1).clamp(min=1.0)).numpy().astype(np.float64)
        return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12), np.float64)
