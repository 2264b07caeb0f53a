"""`recenv serve`: answer over HTTP with a bundle."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.serving.app import serve
from recenv.serving.follow import follow
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
    items: Path | None = None
    """Live catalogue, CSV or Parquet with item_id and what has changed since export (price, was_price, offer_ends,
    low_stock, text ...): copy shows its facts, lines that they no longer bear out are not shown, nor items it lacks."""
    reload: float = 60.0
    """With --items: seconds between looks whether the file has changed. Replace it in one move."""


def run(config: ServeConfig) -> dict[str, Any]:
    """Serve until interrupted; running requests are answered first."""
    recommender = Recommender.load(config.bundle, config.explore)
    url = f"http://{config.host}:{config.port}"
    message = f"serving {recommender.bundle.policy_name} from {config.bundle} at {url}"
    # uvicorn finishes the running requests, then raises the signal again: here that is no reason to fail.
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with ExitStack() as stack:
            if config.items is not None:
                stack.enter_context(
                    follow(recommender, config.items, config.reload, lambda: _tell(recommender.status()))
                )
            _tell(recommender.status())
            serve(recommender, config.host, config.port, lambda: print(message, flush=True))
    finally:
        signal.signal(signal.SIGTERM, previous)
    return {"bundle": str(config.bundle), "url": url, "policy": recommender.bundle.policy_name}


def _tell(items: dict[str, Any]) -> None:
    """What the facts leave out, and what nobody can tell of them; nothing where that is nothing."""
    if "refused" in items:
        print(f"live catalogue refused, the facts stay as they were: {items['refused']}", flush=True)
        return
    kept = items.get("kept_columns")
    told = [f"{items[name]:,} {words}" for name, words in _TOLD.items() if items.get(name)]
    told += [f"as exported: {', '.join(kept)}"] if kept else []
    told += (
        [f"dropped with the exported price: {', '.join(dropped)}"] if (dropped := items.get("dropped_columns")) else []
    )
    told += [items["note"]] if "note" in items else []
    if told:
        print(f"facts of {items['source']}: {'; '.join(told)}", flush=True)


_TOLD = {
    "delisted": "items not listed and not shown",
    "nameless": "of them without a name",
    "unknown": "items unknown to the bundle",
    "stale_copies": "lines not shown, since their facts do not hold",
    "shown_by_name": "items shown by their plain name",
    "times_taken_as_utc": "moments without a zone, taken as UTC",
    "unchecked_copies": "lines checked for their slots alone",
}


if __name__ == "__main__":
    import tyro

    run(tyro.cli(ServeConfig))
