"""A live catalogue that changes while it is served, and the command that serves it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from helpers_live import rows, shared_live_bundle, texts, until, written
from helpers_serving import NOW

from recenv.core.errors import InputError
from recenv.serving import live as live_module
from recenv.serving.bundle import Bundle
from recenv.serving.follow import follow
from recenv.serving.recommender import Recommender


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return shared_live_bundle(tmp_path_factory)


@pytest.fixture
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle)


def test_the_follower_takes_a_new_file_and_keeps_the_facts_of_a_bad_one(
    recommender: Recommender, bundle: Bundle, tmp_path: Path
) -> None:
    file = written(tmp_path / "live.csv", rows(bundle))
    with follow(recommender, file, 0.02):
        for price, ending in ((41.0, "41.00"), (42.0, "42.00")):
            os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": price})), file)
            assert until(lambda price=price: recommender.facts.rows[0]["price"] == price)
            shown = {recommender.recommend({}, now=NOW, eligible=["i0000"], seed=s)[0]["text"] for s in range(8)}
            assert any(ending in text for text in shown)
        (tmp_path / "next.csv").write_text("item_id,price\ni0000,free\n", "utf-8")
        os.replace(tmp_path / "next.csv", file)
        assert until(lambda: "refused" in recommender.status())
        assert recommender.facts.rows[0]["price"] == 42.0
        os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": 1e30})), file)
        assert until(lambda: "1e+30" in recommender.status().get("refused", ""))
        os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": 43.0})), file)
        assert until(lambda: recommender.facts.rows[0]["price"] == 43.0)
        assert until(lambda: "refused" not in recommender.status())
        file.unlink()
        assert until(lambda: "no such file" in recommender.refused)
    assert not [thread for thread in threading.enumerate() if thread.name == "live catalogue"]
    for every in (0.0, -1.0, float("nan"), float("inf"), 2 * threading.TIMEOUT_MAX):
        with pytest.raises(InputError, match="reload"), follow(recommender, file, every):
            pass


@pytest.mark.parametrize("fault", [OSError("stale file handle"), RuntimeError("a fault of ours")], ids=str)
def test_the_follower_outlives_a_fault_and_reads_the_same_file_again(
    recommender: Recommender, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    file, read, failing = written(tmp_path / "live.csv", rows(bundle)), live_module._read, threading.Event()

    def flaky(path: Path) -> pa.Table:
        if failing.is_set():
            raise fault
        return read(path)

    monkeypatch.setattr(live_module, "_read", flaky)
    with follow(recommender, file, 0.02):
        failing.set()
        os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": 44.0})), file)
        assert until(lambda: str(fault) in recommender.status().get("refused", ""))
        failing.clear()
        assert until(lambda: recommender.facts.rows[0]["price"] == 44.0), "read again, though it has not changed since"
        assert until(lambda: "refused" not in recommender.status())


def test_the_command_serves_a_live_catalogue(bundle: Bundle, tmp_path: Path) -> None:
    file = written(tmp_path / "live.csv", rows(bundle, i0000={"price": 41.0})[:-1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "recenv.scripts.cli", "serve", "--bundle", str(bundle.path), "--port", port]
    command += ["--items", str(file), "--reload", "0.05"]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert until(lambda: _answers(base) or process.poll() is not None, 90)
            assert any("41.00" in text for text in texts(base, "i0000"))
            os.replace(written(tmp_path / "next.csv", rows(bundle, i0000={"price": 43.0})), file)
            assert until(lambda: httpx.get(f"{base}/healthz", timeout=5).json()["items"]["delisted"] == 0)
            assert any("43.00" in text for text in texts(base, "i0000"))
            (tmp_path / "next.csv").write_text("item_id,price\ni0000,free\n", "utf-8")
            os.replace(tmp_path / "next.csv", file)
            assert until(lambda: "refused" in httpx.get(f"{base}/healthz", timeout=5).json()["items"])
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "1 items not listed and not shown" in out
    assert out.count("live catalogue refused, the facts stay as they were") == 1
    file.write_text("item_id,price\ni0000,free\n", "utf-8")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 2
    assert "column 'price'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_serving_a_live_catalogue_needs_neither_torch_nor_pandas(bundle: Bundle, tmp_path: Path, ending: str) -> None:
    ends = datetime(2023, 11, 16, 22, 13, 20, 500_000)
    file = written(
        tmp_path / f"live.{ending}", rows(bundle, i0002={"offer_ends": ends}, i0003={"offer_ends": None})[2:4]
    )
    code = (
        "import sys\nfrom recenv.serving.recommender import Recommender\n"
        f"recommender = Recommender.load({str(bundle.path)!r}, items={str(file)!r})\nrecommender.recommend({{}})\n"
        "print(recommender.facts.rows[2]['offer_ends'], recommender.facts.rows[3]['offer_ends'])\n"
        "print([m for m in ('torch', 'pandas', 'scipy', 'numba') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "2023-11-16 22:13:20.500000+00:00 None\n[]\n"), done.stderr


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
