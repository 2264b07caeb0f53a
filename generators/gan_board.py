"""TensorBoard curves and sample lines of a fit, under `gan/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from recenv.core.tags import check_tag


class GanBoard:
    """Event files below `path`, closed at the end of a `with` block; nothing at all where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self._writer: Any = None
        if path is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(path))

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """Points by name without `gan/`; raises InputError on a tag that is not listed."""
        tags = {check_tag(f"gan/{name}"): value for name, value in values.items()}
        for tag, value in tags.items() if self._writer is not None else ():
            self._writer.add_scalar(tag, float(value), step)

    def samples(self, step: int, lines: Sequence[str]) -> None:
        """Lines as they are written."""
        if self._writer is not None and lines:
            self._writer.add_text("gan/samples", "".join(f"    {line}\n" for line in lines), step)

    def __enter__(self) -> GanBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
