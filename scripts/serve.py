"""`recenv serve`: answer over HTTP with a bundle."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.serving.app import serve
from recenv.serving.recommender import Recommender


@dataclass(frozen=True)
class ServeConfig:
    """Serve a bundle: POST /recommend, GET /healthz."""

    bundle: Path
    """Folder of the bundle."""
    port: int = 8000
    """Port to listen on."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reachable from this machine alone."""
    explore: float = 0.0
    """Share of choices made evenly among allowed items; propensities say so."""


def run(config: ServeConfig) -> dict[str, Any]:
    """Serve until interrupted; running requests are answered first."""
    recommender = Recommender.load(config.bundle, config.explore)
    url = f"http://{config.host}:{config.port}"
    message = f"serving {recommender.bundle.policy_name} from {config.bundle} at {url}"
    # uvicorn finishes the running requests, then raises the signal again: here that is no reason to fail.
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        serve(recommender, config.host, config.port, lambda: print(message, flush=True))
    finally:
        signal.signal(signal.SIGTERM, previous)
    return {"bundle": str(config.bundle), "url": url, "policy": recommender.bundle.policy_name}


if __name__ == "__main__":
    import tyro

    run(tyro.cli(ServeConfig))
