"""`recenv demo`: real shopping logs become an environment, agents learn in it, the best learner answers over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recenv.core.errors import ArtefactError
from recenv.core.free import require_free
from recenv.scripts import benchmark, export, fidelity, fit, make_copy, prepare

READY_SECONDS = 60


@dataclass(frozen=True)
class DemoConfig:
    """The whole path on Complete Journey: prepare, fit, fidelity, copy, benchmark, export, serve, one answer."""

    out: Path = Path("demo")
    """Folder of all that is made; must be new or empty."""
    items: int = 1000
    """Products in the catalogue."""
    households: int | None = None
    """Households kept; all 2,469 if not given."""
    seeds: int = 3
    """Seeds of the benchmark."""
    steps: int = 30_000
    """Environment steps of each training."""
    episodes: int = 500
    """Sessions a seed and policy."""
    workers: int = 2
    """Processes of the benchmark."""
    seed: int = 0
    """Seed of everything drawn."""


def run(config: DemoConfig) -> dict[str, Any]:
    """Run every step; returns paths, figures and the answer fetched over HTTP."""
    require_free(config.out)
    began = time.monotonic()
    made = _make_worlds(config) | _make_policy(config)
    seconds = time.monotonic() - began
    _print_paths(config.out, seconds)
    return {"seconds": round(seconds, 1), **made}


def _make_worlds(config: DemoConfig) -> dict[str, Any]:
    """Steps 1 to 4: from logs to a world with copy; counts and verdict."""
    data, world, copied = _folders(config.out)
    with _step("1/7 logs to tables"):
        made = prepare.run(
            prepare.PrepareConfig(
                source="complete-journey", out=data, items=config.items, households=config.households, seed=config.seed
            )
        )
    with _step("2/7 tables to a world and its judge, on disjoint households"):
        fitted = fit.run(fit.FitConfig(data=data, out=world, seed=config.seed))
    with _step("3/7 how far may it be trusted? (the weeks that nothing was fitted on)"):
        trust = fidelity.run(fidelity.FidelityConfig(world=world, data=data, seed=config.seed))
        print(
            "  It stops nothing here, and goes into every table and bundle below (docs/verdicts.md says what it means)."
        )
    with _step("4/7 copy variants by a transformer and a GAN (their effect is assumed: these logs hold no copy)"):
        copy = make_copy.run(
            make_copy.CopyConfig(
                world=world, out=copied, generator=("transformer", "gan"), variants=3, show=12, seed=config.seed
            )
        )
        print(f"  lines by generator: {copy['generators']}")
    return {
        "data": made["counts"],
        "fidelity": fitted["fidelity"],
        "verdict": trust["verdict"],
        "causal": trust["causal"],
    }


def _make_policy(config: DemoConfig) -> dict[str, Any]:
    """Steps 5 to 7: from the world with copy to a policy that is served; table, bundle and answer."""
    base, (data, _, copied) = config.out, _folders(config.out)
    with _step("5/7 train agents in the world, compare them in the judge's world"):
        table = benchmark.run(
            benchmark.BenchmarkConfig(
                world=copied, out=base / "benchmark", seeds=config.seeds, steps=config.steps,
                episodes=config.episodes, workers=config.workers, seed=config.seed,
            )
        )  # fmt: skip
    with _step("6/7 export the trained policy"):
        bundle = base / "bundle"
        export.run(export.ExportConfig(run=_dqn_run(base / "benchmark"), out=bundle))
        print(f"  bundle: {bundle}")
    with _step("7/7 serve it, and ask it once over HTTP"):
        answer = ask_served(bundle, _request(data))
        print(json.dumps(answer, indent=1))
    return {"table": table["html"], "tensorboard": table["tensorboard"], "bundle": str(bundle), "answer": answer}


def _folders(base: Path) -> tuple[Path, Path, Path]:
    """Of the tables, the world without copy and that with it."""
    return base / "data", base / "worlds" / "journey", base / "worlds" / "journey-copy"


@contextmanager
def _step(title: str) -> Iterator[None]:
    print(f"\n== {title}", flush=True)
    began = time.monotonic()
    yield
    print(f"   ({time.monotonic() - began:.0f} s)", flush=True)


def _dqn_run(folder: Path) -> Path:
    found = sorted((folder / "runs").glob("dqn-seed*"))
    if not found:
        raise ArtefactError(str(folder / "runs"), "holds no run of dqn", "Run the benchmark with dqn")
    return found[0]


def _request(data: Path) -> dict[str, Any]:
    """A user with raw features and the last purchases of somebody in the training slice."""
    events = pq.read_table(
        data / "events.parquet",
        columns=["user_id", "item_id", "session_id", "timestamp"],
        filters=[("split", "==", "train"), ("purchase", "==", 1.0)],
    )
    user = events["user_id"][0].as_py()
    mine = [row for row in events.slice(0, 2000).to_pylist() if row["user_id"] == user][-20:]
    users = pq.read_table(data / "users.parquet", filters=[("user_id", "==", user)]).to_pylist()[0]
    users.pop("user_id")
    history = [
        {
            "item_id": r["item_id"],
            "session_id": r["session_id"],
            "kind": "purchase",
            "timestamp": r["timestamp"].isoformat(),
        }
        for r in mine
    ]
    return {"user": users, "history": history, "k": 3}


def ask_served(bundle: Path, request: dict[str, Any]) -> Any:
    """Start `recenv serve`, wait until it is healthy, post one request, stop it again.

    Raises:
        ArtefactError: the server does not come up, or refuses the request.
    """
    port = _free_port()
    command = [sys.executable, "-m", "recenv.scripts.cli", "serve", "--bundle", str(bundle), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_healthy(server, port)
        body = json.dumps(request).encode()
        url = f"http://127.0.0.1:{port}/recommend"
        post = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(post, timeout=READY_SECONDS) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise ArtefactError(
            str(bundle), f"answers {error.code}: {error.read().decode()[:500]}", "Report this"
        ) from error
    finally:
        server.terminate()
        server.wait(timeout=READY_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_healthy(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise ArtefactError("recenv serve", f"is not healthy after {READY_SECONDS} s", "Run it by hand to see why")


def _print_paths(base: Path, seconds: float) -> None:
    print(f"\nDone in {seconds / 60:.1f} minutes.")
    print(f"  verdict:     {base / 'worlds' / 'journey' / 'fidelity.html'}")
    print(f"  table:       {base / 'benchmark' / 'benchmark.html'}")
    print(f"  curves:      tensorboard --logdir {base / 'benchmark' / 'runs'}")
    print(f"  the GAN's:   tensorboard --logdir {base / 'worlds' / 'journey-copy-generators'}")
    print(f"  bundle:      {base / 'bundle'}")
    print(f"  serve it:    recenv serve --bundle {base / 'bundle'} --port 8000")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(DemoConfig))
