"""The GAN on a synthetic oracle: a fixed random LSTM writes the data, and says how likely generated lines are.

    python scripts/bench_oracle.py --out runs/oracle

(Yu et al., "SeqGAN", AAAI 2017, section 4: weights of the LSTM drawn from N(0, 1), vocabulary 200, length 10.) Oracle
NLL = - mean log p_oracle(x) of generated lines, nats a token: quality alone, so a generator that writes one likely
line does best; the loss of held-out lines and the divergence from the oracle stand beside it. Three generators: the MLE
at its early stop, the GAN from there, and the MLE gone on for as much CPU. Every arm's checkpoint is chosen by one
score, on validation lines and samples, without the oracle; what choosing by the oracle would have given is beside it.
Whatever a lower temperature would have given, too, is shown by a sweep.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recenv.agents.intervals import t_interval
from recenv.core.checks import check_whole
from recenv.core.errors import InputError
from recenv.generators.gan_config import GanConfig
from recenv.generators.gan_oracle import Task, oracle_task
from recenv.generators.torch_session import torch_session

STOPPED, LONGER = "MLE, early stop", "MLE, equal CPU"
ENDLESS = 10**6


@dataclass(frozen=True)
class BenchOracleConfig:
    """GAN and MLE on the synthetic oracle."""

    out: Path = Path("runs/oracle")
    """Folder for `oracle.json` and `oracle.md`; must be new."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of oracle, data and training."""
    kinds: tuple[str, ...] = ("policy-gradient",)
    """Adversarial phases."""
    vocabulary: int = 200
    """Tokens of the oracle."""
    length: int = 10
    """Tokens of a line."""
    lines: int = 4000
    """Lines to train on; a quarter as many to validate."""
    mle_steps: int = 3000
    """Most steps of the MLE."""
    steps: int = 400
    """Steps of the adversarial phase."""
    samples: int = 2000
    """Lines drawn at a check."""
    temperatures: tuple[float, ...] = (0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
    """Of sampling, in the sweep."""


def run(config: BenchOracleConfig) -> dict[str, Any]:
    """Train, measure, write as results come, and return them."""
    for name in ("vocabulary", "length", "lines", "mle_steps", "steps"):
        check_whole(name, getattr(config, name))
    if not config.seeds or not config.kinds or not config.temperatures:
        raise InputError("bench oracle", "no seed, kind or temperature", "Give at least one of each")
    config.out.mkdir(parents=True, exist_ok=False)
    settings = json.loads(json.dumps(asdict(config), default=str))
    result: dict[str, Any] = {"config": settings, "seeds": {}}
    for seed in config.seeds:
        with torch_session(seed):
            result["seeds"][str(seed)] = one_seed(config, seed)
        (config.out / "oracle.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        text = markdown(result)
        (config.out / "oracle.md").write_text(text, encoding="utf-8")
        print(f"seed {seed} done\n{text}", flush=True)
    return result


def one_seed(config: BenchOracleConfig, seed: int) -> dict[str, Any]:
    """Arm -> figures."""
    task = oracle_task(config.vocabulary, config.length, config.lines, seed)
    mle = GanConfig(
        adversarial="none", steps=config.mle_steps, batch=64, generator_rate=5e-3, every=100, patience=10, average=0.98,
        samples=config.samples,
    )  # fmt: skip
    arms: dict[str, Any] = {STOPPED: _arm(task, mle, config, seed)}
    start = copy.deepcopy(task.model)
    dearest = 0.0
    for kind in config.kinds:
        task.model = copy.deepcopy(start)
        gan = replace(
            mle, adversarial=kind, anchor=0.1, steps=config.steps, generator_rate=1e-3, critic_rate=2e-3,
            critic_steps=800, critic_width=96, critic_accuracy=0.9, critic_updates=2, every=50, patience=ENDLESS,
            divergence=2.0,
        )  # fmt: skip
        arms[f"GAN, {kind}"] = _arm(task, gan, config, seed)
        dearest = max(dearest, arms[f"GAN, {kind}"]["cpu_seconds"])
    task.model = copy.deepcopy(start)
    began = time.process_time()
    longer = replace(mle, steps=ENDLESS, patience=ENDLESS, generator_rate=2e-3)
    arms[LONGER] = _arm(task, longer, config, seed, lambda: time.process_time() - began >= dearest)
    return arms


def _arm(
    task: Task, options: GanConfig, config: BenchOracleConfig, seed: int, until: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """Train the task's model in place; figures of the checkpoint that the score chose, and by the oracle."""
    began = time.process_time()
    report = task.train(options, seed, until)
    spent = time.process_time() - began
    seen = [row["oracle_nll"] for row in report["history"]]
    sweep = {str(t): task.worth(t) for t in config.temperatures}
    return {
        "cpu_seconds": spent,
        **task.worth(),
        "least_divergence": min(found["divergence"] for found in sweep.values()),
        "sharper_oracle_nll": sharper(report),
        "best_oracle_nll": min(seen),
        "last_oracle_nll": seen[-1],
        "last_validation_nll": report["history"][-1]["validation_nll"],
        "best_oracle_step": report["history"][int(np.argmin(seen))]["step"],
        "sweep": sweep,
        "report": report,
    }


def sharper(report: dict[str, Any]) -> float:
    """Oracle NLL at the check with the least forward plus reverse cross-entropy: the score without its entropy term,
    which pays for cooling."""
    rows = report["history"]
    return float(min(rows, key=lambda row: row["validation_nll"] + row["reference_nll"])["oracle_nll"])


FIGURES = {
    "oracle_nll": "oracle NLL, by the score",
    "sharper_oracle_nll": "without the entropy",
    "best_oracle_nll": "by the oracle",
    "last_oracle_nll": "last step",
    "validation_nll": "held-out NLL, by the score",
    "last_validation_nll": "last step",
    "divergence": "divergence",
    "least_divergence": "least over temperatures",
    "cpu_seconds": "CPU s",
}


def markdown(result: dict[str, Any]) -> str:
    """Mean ± standard deviation over seeds, nats a token; differences paired by seed; temperatures."""
    seeds = list(result["seeds"].values())
    head = ["arm", *FIGURES.values(), "best step", "discriminator accuracy", "non-finite", "divergences", "rollbacks"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for arm in seeds[0]:
        reports = [s[arm]["report"] for s in seeds]
        cells = [_spread([s[arm][name] for s in seeds]) for name in FIGURES]
        cells.append(", ".join(str(r["best_step"]) for r in reports))
        accuracy = [r["critic"]["accuracy"] for r in reports if r["critic"]]
        cells.append(_spread(accuracy) if accuracy else "")
        cells += [str(sum(r[name] for r in reports)) for name in ("non_finite", "divergences", "rollbacks")]
        rows.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", *_paired(seeds), "", *_cooled(result["seeds"]), "", *_sweep(seeds)]) + "\n"


def _paired(seeds: list[dict[str, Any]]) -> list[str]:
    """Table: each GAN less each MLE, 95 % t intervals over seeds; by seed for what is asked first."""
    names = ("oracle_nll", "sharper_oracle_nll", "validation_nll", "divergence", "least_divergence")
    rows = [f"| difference | {' | '.join(names)} | oracle_nll of each seed |", "|---" * (len(names) + 2) + "|"]
    for arm in (name for name in seeds[0] if name.startswith("GAN")):
        for other in (STOPPED, LONGER):
            apart = {name: [s[arm][name] - s[other][name] for s in seeds] for name in names}
            cells = []
            for name in names:
                mean, low, high = t_interval(np.array(apart[name])).as_list()
                cells.append(f"{mean:+.3f}" + ("" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"))
            each = ", ".join(f"{x:+.3f}" for x in apart["oracle_nll"])
            rows.append(f"| {arm} less {other} | {' | '.join(cells)} | {each} |")
    return rows


def cooled(arm: dict[str, Any], held_out: float) -> float:
    """Oracle NLL of an arm at the temperature of at most 1 at which its held-out loss is `held_out` (between those of
    the sweep: on a line); NaN where the sweep does not reach it."""
    points = sorted((w["validation_nll"], w["oracle_nll"]) for t, w in arm["sweep"].items() if float(t) <= 1.0)
    losses, nlls = zip(*points, strict=True)
    return float(np.interp(held_out, losses, nlls, left=np.nan, right=np.nan))


def _cooled(seeds: dict[str, dict[str, Any]]) -> list[str]:
    """Table: the GAN's last step beside each MLE, cooled until it loses as much on held-out lines."""
    rows = [
        f"| seed | last step of | held-out NLL | its oracle NLL | {STOPPED}, cooled | {LONGER}, cooled |",
        "|---" * 6 + "|",
    ]
    for seed, arms in seeds.items():
        for arm in (name for name in arms if name.startswith("GAN")):
            held, own = arms[arm]["last_validation_nll"], arms[arm]["last_oracle_nll"]
            others = " | ".join(f"{cooled(arms[other], held):.3f}" for other in (STOPPED, LONGER))
            rows.append(f"| {seed} | {arm} | {held:.3f} | {own:.3f} | {others} |")
    return rows


def _sweep(seeds: list[dict[str, Any]]) -> list[str]:
    """Table: oracle NLL, held-out NLL and divergence at each temperature."""
    head = [f"{arm}: {name}" for arm in seeds[0] for name in ("oracle NLL", "held-out", "divergence")]
    rows = [f"| temperature | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for t in next(iter(seeds[0].values()))["sweep"]:
        cells = [
            f"{np.mean([s[arm]['sweep'][t][name] for s in seeds]):.3f}"
            for arm in seeds[0]
            for name in ("oracle_nll", "validation_nll", "divergence")
        ]
        rows.append(f"| {t} | {' | '.join(cells)} |")
    return rows


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchOracleConfig))
