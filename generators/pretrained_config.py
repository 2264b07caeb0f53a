"""Which pretrained checkpoint writes lines, and how it is tuned to the corpus."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from recenv.core.checks import check_whole
from recenv.core.errors import ArtefactError, InputError

TUNING = ("none", "lora")
GGUF_MAGIC = b"GGUF"
"""First bytes of every GGUF file (ggml-org/ggml, docs/gguf.md)."""
_CHUNK = 1 << 22


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
            raise InputError("option tune", f"{self.tune!r}", f"Choose one of {', '.join(TUNING)}")
        check_whole("shown", self.shown, 0, 64)
        check_whole("rank", self.rank, 1, 512)
        check_whole("alpha", self.alpha, 1, 4096)

    @property
    def on_hub(self) -> bool:
        """Whether the checkpoint has the form of a hub id (OWNER/MODEL), and no such path is here."""
        name, path = self.checkpoint, Path(self.checkpoint)
        return name.count("/") == 1 and all(name.split("/")) and name[0] not in "./~" and not path.exists()

    @property
    def label(self) -> str:
        """The checkpoint without the way to it: file name, folder name, or hub id."""
        return self.checkpoint if self.on_hub else Path(self.checkpoint).resolve().name

    @property
    def provenance(self) -> str:
        """What stands with each line: "pretrained:CHECKPOINT:TUNING"."""
        return f"pretrained:{self.label}:{self.tune}"

    def check(self) -> None:
        """What can be told before anything is loaded: packages, and whether there is a model at all.

        Raises:
            InputError: no checkpoint is named, or a package of the extra `llm` is missing.
            ArtefactError: there is no such file or folder, or it holds no model.
        """
        if not self.checkpoint:
            raise InputError("option pretrained", "is missing", "Name a model folder, a GGUF file or a hub id")
        path = Path(self.checkpoint)
        gguf = path.suffix == ".gguf"
        what, mend = _trouble(path, gguf, self.on_hub)
        if what:
            raise ArtefactError(f"checkpoint {self.checkpoint}", what, mend)
        needed = ["torch", "transformers", "tokenizers", *(["gguf"] if gguf else [])]
        needed += ["peft", "accelerate"] if self.tune == "lora" else []
        missing = [name for name in needed if find_spec(name) is None]
        if missing:
            what = f"needs {', '.join(missing)}, not installed"
            raise InputError("generator pretrained", what, "Run `pip install 'recenv[llm]'`")

    def digest(self) -> str:
        """SHA-256 (16 hex digits) of the checkpoint's files; of a hub id the id alone, whatever it names later."""
        made, path = hashlib.sha256(), Path(self.checkpoint)
        if self.on_hub:
            return hashlib.sha256(self.checkpoint.encode()).hexdigest()[:16]
        for file in [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file()):
            made.update(f"{file.name} {file.stat().st_size}\n".encode())
            with file.open("rb") as opened:
                while part := opened.read(_CHUNK):
                    made.update(part)
        return made.hexdigest()[:16]


def _head(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(len(GGUF_MAGIC))


def _trouble(path: Path, gguf: bool, on_hub: bool) -> tuple[str, str]:
    """(what is wrong with it, how to mend it); two times "" where nothing is seen from outside."""
    if gguf and not path.is_file():
        return "there is no such file", "Name a GGUF file"
    if gguf and (found := _head(path)) != GGUF_MAGIC:
        return f"is no GGUF file: it begins with {found!r}, not {GGUF_MAGIC!r}", "Download it again, or name another"
    if not path.exists() and not on_hub:
        return "no such folder", "Name a model folder, a GGUF file or a hub id"
    if path.is_file() and not gguf:
        return "is a file, but no GGUF file", "Name a model folder, a GGUF file or a hub id"
    if path.is_dir() and not (path / "config.json").is_file():
        return "has no config.json", "Name the folder of a saved model"
    if path.is_dir() and not any(path.glob("*.safetensors")):
        return "has no safetensors weights", "Save it as safetensors: no pickle here"
    return "", ""
