"""The recommender over HTTP: a real server, its answers, its refusals, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers_serving import NOW, history, shared_bundle

from recenv.core.errors import ArtefactError, InputError
from recenv.serving.app import background
from recenv.serving.recommender import Recommender

USER = {"age": "60+", "channel": "app"}


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(shared_bundle("model-greedy", tmp_path_factory))


@pytest.fixture(scope="module")
def url(greedy: Recommender) -> Iterator[str]:
    with background(greedy) as base:
        yield base


def test_http_answers_as_the_recommender_does(url: str, greedy: Recommender) -> None:
    body = {"user": USER, "history": history(4), "k": 3, "now": NOW}
    answer = httpx.post(f"{url}/recommend", json=body, timeout=30)
    assert answer.status_code == 200
    assert answer.json() == {"items": list(greedy.recommend(**body)), "notes": {}}
    health = httpx.get(f"{url}/healthz", timeout=30).json()
    assert (health["status"], health["policy"], health["world"]) == ("ok", "model-greedy", "tiny")
    assert health["fidelity"]["heads"]["click"]["shown"]["auc"]["value"] > 0.5


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"user": {"shoe_size": 9}}', "shoe_size"),
        ('{"user": {"age": NaN}}', "age"),
        ('{"users": {}}', "users"),
        ('{"k": "many"}', "k"),
        ('{"k": 0}', "k"),
        ('{"history": [{"item_id": "i0001", "kind": "view", "timestamp": 1, "price": 3}]}', "price"),
        ('{"history": [{"item_id": "i0001", "kind": "view"}]}', "timestamp"),
        ('{"now": Infinity}', "now"),
        ("no json", "body"),
    ],
)
def test_http_names_bad_input(url: str, body: str, where: str) -> None:
    answer = httpx.post(f"{url}/recommend", content=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["type"] == "InputError"
    assert where in error["where"]
    assert error["what"]
    assert error["mend"]


def test_a_taken_port_is_named(url: str, greedy: Recommender) -> None:
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(InputError, match="port"), background(greedy, port=port):
        pass


def test_the_command_serves_until_it_is_told_to_stop(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = shared_bundle("popular", tmp_path_factory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "recenv.scripts.cli",
        "serve",
        "--bundle",
        str(folder),
        "--port",
        str(port),
        "--json",
    ]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            answer = _wait(f"http://127.0.0.1:{port}/healthz", process)
            assert answer["policy"] == "popular"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert json.loads(out.strip().splitlines()[-1])["policy"] == "popular"


def _wait(url: str, process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(url, timeout=5).json()
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"no answer: {process.returncode}")


def test_serving_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is no exported bundle: there is no such folder"):
        Recommender.load(tmp_path / "none")
