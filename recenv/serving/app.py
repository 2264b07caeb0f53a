"""HTTP: POST /recommend, GET /healthz. Bad input answers 422 with a named error, never a traceback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from recenv.core.errors import InputError, RecenvError
from recenv.serving.recommender import Recommender

MAX_EVENTS = 10_000
MAX_ITEMS = 100
_PATIENCE = 30.0
"""Seconds to wait for the server's thread to start or stop."""


class EventModel(BaseModel):
    """One event of the user's history."""

    model_config = ConfigDict(extra="forbid")

    item_id: str
    kind: str
    timestamp: int | float | str
    session_id: str | None = None
    copy_id: str | None = None
    click: bool | None = None
    purchase: bool | None = None


class RecommendBody(BaseModel):
    """Body of POST /recommend; the fields are the arguments of `Recommender.recommend`."""

    model_config = ConfigDict(extra="forbid")

    user: dict[str, str | int | float | None] = Field(default_factory=dict)
    history: list[EventModel] = Field(default_factory=list, max_length=MAX_EVENTS)
    k: int = Field(1, ge=1, le=MAX_ITEMS)
    now: int | float | str | None = None
    eligible: list[str] | None = None
    exclude: list[str] = Field(default_factory=list)
    seed: int | None = Field(None, ge=0)
    session_id: str | None = None
    context: dict[str, float] = Field(default_factory=dict)


def create_app(recommender: Recommender) -> FastAPI:
    """The application that serves one recommender."""
    app = FastAPI(title="recenv", docs_url=None, redoc_url=None)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InputError, _refused)

    @app.post("/recommend")
    def recommend(body: RecommendBody) -> dict[str, Any]:
        arguments = {name: getattr(body, name) for name in RecommendBody.model_fields if name != "history"}
        history = [event.model_dump() for event in body.history]
        found = recommender.recommend(history=history, **arguments)
        return {"items": list(found), "notes": found.notes}

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        manifest = recommender.bundle.manifest
        return {
            "status": "ok",
            "bundle": manifest["manifest_hash"][:16],
            "policy": recommender.bundle.policy_name,
            "world": manifest["world"]["name"],
            "fidelity": manifest["fidelity"],
            "items": recommender.status(),
        }

    return app


def serve(
    recommender: Recommender,
    host: str = "127.0.0.1",
    port: int = 8000,
    listening: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; running requests are answered first. `listening` is called once the port is ours.

    Raises:
        InputError: the address cannot be listened on.
    """
    with _listen(host, port) as bound:
        listening()
        _server(recommender).run(sockets=[bound])


@contextmanager
def background(recommender: Recommender, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a thread of this process as long as the context lasts; gives the base URL (port 0: a free one).

    Raises:
        InputError: the address cannot be listened on.
    """
    server = _server(recommender)
    with _listen(host, port) as listening:
        bound = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + _PATIENCE
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"http://{host}:{bound}"
        finally:
            server.should_exit = True
            thread.join(_PATIENCE)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; bound here, since uvicorn would end the process where that fails."""
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise InputError("port", f"{host}:{port} cannot be listened on ({error})", "Choose another --port.") from error


def _server(recommender: Recommender) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(create_app(recommender), log_level="warning", lifespan="off"))


def _error(where: str, what: str, mend: str) -> JSONResponse:
    return JSONResponse({"error": {"type": "InputError", "where": where, "what": what, "mend": mend}}, 422)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A body of the wrong shape: where and what, without repeating what was sent (it may be no JSON number)."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _error(where, first["msg"], "Send JSON as /openapi.json describes it.")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RecenvError)
    return _error(error.where, error.what, error.mend)
