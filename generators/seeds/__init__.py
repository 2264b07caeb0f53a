"""Hand-written lines shipped with the package: delexicalised, grouped by style and by the evidence that they need."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

if not __name__.startswith("recenv."):
    raise ImportError("import 'recenv.generators.seeds', not 'generators.seeds'")


def read_seeds(name: str = "corpus.json") -> tuple[dict[str, Any], bytes]:
    """The parsed seed file and its bytes (whose hash names the generator that used them)."""
    raw = resources.files(__name__).joinpath(name).read_bytes()
    return json.loads(raw.decode("utf-8")), raw
