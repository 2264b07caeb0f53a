"""Shared fixtures, and the rule that nothing may skip where everything is installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from recenv.response.fit import FitOptions

os.environ.setdefault("OMP_NUM_THREADS", "1")

NO_SKIP = "RECENV_NO_SKIP"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With RECENV_NO_SKIP set, a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if os.environ.get(NO_SKIP) and skipped and exitstatus == 0:
        for report in skipped:
            print(f"unexpected skip: {report.nodeid}: {report.longrepr}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of reference data: $RECENV_DATA, or `shared/data` beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RECENV_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set RECENV_DATA")
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Small nets on shared cores: two threads are slower than one, and the results would depend on their number."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def small_shop(shop_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `data` (a synthetic log), `world` and `world-judge` fitted on it; each file of tests has its own,
    so that reads of the test slice in one are not counted in another."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    shutil.copytree(shop_once, folder)
    return folder


@pytest.fixture(scope="session")
def shop_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `small_shop` copies: a few seconds to make. Not for tests."""
    from recenv.data.logs import build
    from recenv.data.options import BuildOptions
    from recenv.data.synthetic import SyntheticOptions, load
    from recenv.response.fit import fit_worlds

    folder = tmp_path_factory.mktemp("shop")
    raw = load(options=SyntheticOptions(users=400, items=15, categories=3, sessions=4.0, seed=3))
    build(raw, BuildOptions(progress=False)).save(folder / "data")
    fit_worlds(folder / "data", folder / "world", small_fit(), progress=False)
    return folder


def small_fit() -> FitOptions:
    """Fit options that take a second or two."""
    from recenv.response.fit import FitOptions
    from recenv.response.train import TrainConfig

    return FitOptions(start_states=60, vector_dim=8, training=TrainConfig(epochs=2, threads=1))
