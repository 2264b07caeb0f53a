"""The wheel: one top-level name, and enough by itself to step environments and to serve, without torch or pandas."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("recenv", "agents", "generators", "scripts", "pyproject.toml", "README.md", "LICENSE")

USE = """
import importlib.util, json, sys
assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("pandas") is None
import gymnasium, recenv
env = gymnasium.make("recenv/Shop-v0")
obs, _ = env.reset(seed=1)
total = 0.0
for _ in range(30):
    obs, reward, terminated, truncated, _ = env.step(1)
    total += reward
    if terminated or truncated:
        obs, _ = env.reset()
from recenv.serving.recommender import Recommender
rows = Recommender.load(sys.argv[1]).recommend({}, [], k=2)
print(json.dumps({"total": total, "items": [row["item_id"] for row in rows]}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recenv.agents.export import export_bundle
    from recenv.agents.training import make_policy
    from recenv.env.options import EnvOptions
    from recenv.world import World, tiny_world_path

    world = World.load(tiny_world_path())
    out = tmp_path_factory.mktemp("bundle") / "greedy"
    export_bundle(make_policy("model-greedy", world, EnvOptions(), {}, 0), world, out)
    return out


def test_the_only_top_level_name_is_recenv(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"recenv", wheel.name.replace("-py3-none-any.whl", ".dist-info")}
    for inside in (
        "recenv/agents/dqn/network.py",
        "recenv/generators/seeds/corpus.json",
        "recenv/worlds/tiny/world.json",
    ):
        assert inside in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("recenv/tests")]


def test_the_wheel_with_serve_alone_steps_and_serves(wheel: Path, bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), f"{wheel}[serve]"], check=True, cwd=tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-c", USE, str(bundle)], check=True, cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["items"]) == 2
    with served(home / "bin" / "recenv", bundle, tmp_path) as url:
        health = json.loads(urllib.request.urlopen(f"{url}/healthz", timeout=5).read())
        assert health["policy"] == "model-greedy"
        body = json.dumps({"user": {}, "history": [], "k": 2}).encode()
        request = urllib.request.Request(f"{url}/recommend", body, {"Content-Type": "application/json"})
        answer = json.loads(urllib.request.urlopen(request, timeout=5).read())
        assert [row["item_id"] for row in answer["items"]] == result["items"]


@contextmanager
def served(command: Path, bundle: Path, folder: Path) -> Iterator[str]:
    """A real `recenv serve`, stopped again at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([str(command), "serve", "--bundle", str(bundle), "--port", str(port)], cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, "the server stopped"
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        assert server.wait(timeout=20) == 0
