"""Where logs come from: one module for each source, imported when it is asked for.

Each module has `load(path, options) -> RawTables`, `options` being its own frozen dataclass, or None.
"""

from __future__ import annotations

import importlib
from typing import Any

from recenv.core.errors import InputError
from recenv.data.schema import RawTables

SOURCES: dict[str, tuple[str, str]] = {
    "csv": ("recenv.data.sources.csv", "CsvOptions"),
    "complete-journey": ("recenv.data.sources.complete_journey", "JourneyOptions"),
    "open-bandit": ("recenv.data.sources.open_bandit", "OpenBanditOptions"),
    "online-retail": ("recenv.data.sources.online_retail", "RetailOptions"),
    "upworthy": ("recenv.data.sources.upworthy", "UpworthyOptions"),
    "synthetic": ("recenv.data.synthetic", "SyntheticOptions"),
    "synthetic-email": ("recenv.data.synthetic_email", "EmailOptions"),
}
"""Name of a source: its module and the dataclass of its options."""


def options_type(name: str) -> type[Any]:
    """The dataclass of a source's options.

    Raises:
        InputError: unknown source.
    """
    module, options = _entry(name)
    return getattr(importlib.import_module(module), options)


def load(name: str, path: str | None = None, options: Any = None) -> RawTables:
    """Read the source `name`; `path` and `options` as its module says.

    Raises:
        InputError: unknown source, options of another source, and whatever the source refuses.
    """
    module, kind = _entry(name)
    if options is not None and type(options).__name__ != kind:
        raise InputError(f"source {name!r}", f"takes {kind}, not {type(options).__name__}", "Give its own options.")
    return importlib.import_module(module).load(path, options)


def _entry(name: str) -> tuple[str, str]:
    if name not in SOURCES:
        raise InputError("source", f"unknown {name!r}", f"Use one of {', '.join(SOURCES)}.")
    return SOURCES[name]
