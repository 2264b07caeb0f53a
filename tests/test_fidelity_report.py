"""The report as a page: what is in it, what cannot break it, and that a real browser shows it."""

from __future__ import annotations

import copy
import html
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_visits import OFFERED, visits_shop

from recenv.trust.assess import AssessOptions, assess
from recenv.trust.held_out import read_held_out
from recenv.trust.measure_visits import visits
from recenv.trust.report import page
from recenv.trust.report_plots import forest
from recenv.world import World

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = AssessOptions(bootstraps=10, sessions=2000)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return visits_shop(tmp_path_factory.mktemp("visits"))


@pytest.fixture(scope="module")
def report(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("report")
    for name in ("data", "world"):
        shutil.copytree(shop / name, folder / name)
    return folder / "world", assess(folder / "world", folder / "data", OPTIONS)


def test_visits_are_rolled_out_over_all_that_was_on_offer(shop: Path, tmp_path: Path) -> None:
    shutil.copytree(shop / "data", tmp_path / "data")
    world = World.load(shop / "world")
    held = read_held_out(world, tmp_path / "data", 2000, 0)
    assert held.visits
    rolled = visits(world, held, 2000, 0)
    assert not isinstance(rolled, str)
    assert rolled.bytes[0] == rolled.bytes[1]
    assert rolled.simulated is not None
    assert len(rolled.simulated) == OFFERED * len(rolled.stats.real_user), "not the kept third alone"
    mine = np.isin(held.log.session, np.unique(rolled.simulated.session))
    assert rolled.stats.real["responses"].sum() == np.nansum(held.log.purchase[mine])
    # The planted session effect is found, and without it baskets vary too little.
    assert world.frailty > 0.5
    ratios = rolled.variance_ratios()
    assert ratios["ratio"] is not None
    assert ratios["ratio_independent"] is not None
    assert 0.75 < ratios["ratio"] < 1.33
    assert ratios["ratio_independent"] < 0.75 * ratios["ratio"]
    # Draws without the effect are those of the same world with the effect taken out.
    config = {k: v for k, v in world.response.config.items() if k != "frailty"}
    bare = replace(world, response=type(world.response).from_arrays(world.response.to_arrays(), config))
    plain = visits(bare, held, 2000, 0)
    assert not isinstance(plain, str)
    np.testing.assert_array_equal(plain.stats.simulated["responses"], rolled.independent)


def test_the_page_says_the_verdicts_first_and_holds_every_gate(report: tuple[Path, dict[str, Any]]) -> None:
    folder, found = report
    text = (folder / "fidelity.html").read_text()
    assert text == page(found)
    top = text.index(found["verdict"])
    assert top < text.index("All gates") < text.index("Gate by gate")
    assert found["causal"]["verdict"] in text[: text.index("All gates")]
    assert text.count('class="question"') >= len(found["gates"])
    for line in ("Give --benchmark", "Give --other-data", "Assumed, not learned", "What was read", "state after 1"):
        assert line in text, line
    undecided = [g for g in found["gates"] if g["verdict"] == found["verdict"] and g["figure"] is not None]
    assert undecided
    assert text[: text.index("All gates")].count("What reaches out: ") == len(undecided)
    for outside in ("http://", "https://", "<script", "src=", "@import", "url("):
        assert outside not in text, outside


def test_text_from_data_is_escaped(report: tuple[Path, dict[str, Any]]) -> None:
    text = (report[0] / "fidelity.html").read_text()
    assert "aisle &lt;" in text
    assert "aisle <" not in text
    assert "simulated &lt;visits&gt;" in text
    found = copy.deepcopy(report[1])
    evil = '"><img src=x onerror=alert(1)>'
    found["world"] = found["verdict"] = evil
    found["causal"] = {"verdict": evil, "why": [evil], "placebo": [
        {"name": evil, "ratio": 1.2, "low": 1.1, "high": 1.3, "failed": True, "words": evil}]}  # fmt: skip
    found["assumed"], found["read"]["provenance"] = [evil], [evil]
    for gate in found["gates"]:
        gate["detail"] = gate["question"] = gate["head"] = evil
        for line in gate["lines"]:
            line["label"] = evil
    made = page(found)
    assert "<img" not in made
    assert made.count(html.escape(evil)) > 20
    for gate in found["gates"]:
        gate["verdict"] = "FAIL"
    decided = page(found | {"verdict": "FAIL"})
    assert "What decided" in decided
    assert "<img" not in decided


def _places(text: str) -> list[float]:
    return [float(v) for v in re.findall(r'class="dot [a-z]+" style="left:([0-9.]+)%', text)]


def test_a_plot_puts_what_is_outside_outside_the_band() -> None:
    def line(figure: float, verdict: str, tolerance: list[float | None]) -> dict[str, Any]:
        return {"label": "x", "figure": figure, "low": figure - 0.01, "high": figure + 0.01, "tolerance": tolerance,
                "verdict": verdict}  # fmt: skip

    both: list[float | None] = [0.8, 1.25]
    text = forest([line(1.0, "PASS", both), line(1.6, "FAIL", both), line(0.5, "FAIL", both)], ratio=True)
    left, width = map(float, re.findall(r'class="band" style="left:([0-9.]+)%;width:([0-9.]+)%', text)[0])
    inside, above, below = _places(text)
    assert inside == pytest.approx(50, abs=0.1)
    assert left < inside < left + width < above <= 100
    assert 0 <= below < left
    # Far out, it stays on the track.
    assert _places(forest([line(1e9, "FAIL", both)], ratio=True)) == [100.0]
    # Open on one side: the band reaches the track's end.
    left, width = map(float, re.findall(r"left:([0-9.]+)%;width:([0-9.]+)%", forest([line(0.2, "PASS", [None, 0.5])],
                                                                                  False))[0])  # fmt: skip
    assert left == 0
    assert _places(forest([line(0.2, "PASS", [None, 0.5])], False))[0] < width
    unknown = {"label": "x", "figure": None, "low": None, "high": None, "tolerance": both, "verdict": "NOT ENOUGH DATA"}
    assert "not known" in forest([unknown], True)


def _chromium(*flags: str) -> subprocess.CompletedProcess[bytes]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   f"--user-data-dir={profile}", *flags]  # fmt: skip
        return subprocess.run(command, capture_output=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_the_page(report: tuple[Path, dict[str, Any]], tmp_path: Path, width: int) -> None:
    from PIL import Image

    file = report[0] / "fidelity.html"
    shot = tmp_path / "shot.png"
    _chromium(f"--window-size={width},1600", f"--screenshot={shot}", file.resolve().as_uri())
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[:2] == (1600, width)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, "text and colours, not an empty page"
    # Nothing sticks out at the right: the last columns are the page's own ground.
    assert (pixels[:, -8:] == pixels[0, -1]).all()


def test_a_browser_reads_the_verdict(report: tuple[Path, dict[str, Any]]) -> None:
    dom = _chromium("--dump-dom", (report[0] / "fidelity.html").resolve().as_uri()).stdout.decode()
    words = re.findall(r'<div class="word">([^<]+)</div>', dom)
    assert words == [report[1]["verdict"], report[1]["causal"]["verdict"]]
    assert len(re.findall(r'<section class="card', dom)) >= 10
