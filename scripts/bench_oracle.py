"""The GAN on a synthetic oracle: a fixed random LSTM writes the data, and says how likely generated lines are.

    python scripts/bench_oracle.py --out runs/oracle

(Yu et al., "SeqGAN", AAAI 2017, section 4: weights of the LSTM drawn from N(0, 1), vocabulary 200, length 10.) Oracle
NLL = - mean log p_oracle(x) of generated lines, nats a token: quality alone, so a generator that writes one likely
line does best; the loss of held-out lines stands beside it. Three generators: the MLE at its early stop, the GAN from
there, and the MLE gone on for as much CPU. Checkpoints are chosen on validation lines, without the oracle; what
choosing by the oracle would have given is beside it.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.checks import check_whole
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


def run(config: BenchOracleConfig) -> dict[str, Any]:
    """Train, measure, write as results come, and return them."""
    for name in ("vocabulary", "length", "lines", "mle_steps", "steps"):
        check_whole(name, getattr(config, name))
    config.out.mkdir(parents=True, exist_ok=False)
    result: dict[str, Any] = {}
    for seed in config.seeds:
        with torch_session(seed):
            result[str(seed)] = one_seed(config, seed)
        (config.out / "oracle.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        text = markdown(result)
        (config.out / "oracle.md").write_text(text, encoding="utf-8")
        print(f"seed {seed} done\n{text}", flush=True)
    return result


def one_seed(config: BenchOracleConfig, seed: int) -> dict[str, Any]:
    """Arm -> figures."""
    task = oracle_task(config.vocabulary, config.length, config.lines, seed)
    mle = GanConfig(
        adversarial="none", steps=config.mle_steps, batch=64, generator_rate=5e-3, every=100, patience=10, samples=500,
        average=0.98,
    )  # fmt: skip
    arms: dict[str, Any] = {STOPPED: _arm(task, mle, seed)}
    start = copy.deepcopy(task.model)
    dearest = 0.0
    for kind in config.kinds:
        task.model = copy.deepcopy(start)
        gan = replace(
            mle, adversarial=kind, anchor=0.1, steps=config.steps, generator_rate=1e-3, critic_rate=2e-3,
            critic_steps=800, critic_width=96, critic_accuracy=0.9, critic_updates=2, every=50, patience=ENDLESS,
            divergence=2.0,
        )  # fmt: skip
        arms[f"GAN, {kind}"] = _arm(task, gan, seed)
        dearest = max(dearest, arms[f"GAN, {kind}"]["cpu_seconds"])
    task.model = copy.deepcopy(start)
    began = time.process_time()
    longer = replace(mle, steps=ENDLESS, patience=ENDLESS, generator_rate=2e-3)
    arms[LONGER] = _arm(task, longer, seed, lambda: time.process_time() - began >= dearest)
    return arms


def _arm(task: Task, config: GanConfig, seed: int, until: Callable[[], bool] | None = None) -> dict[str, Any]:
    """Train the task's model in place; figures of the checkpoint chosen on validation lines, and by the oracle."""
    began = time.process_time()
    report = task.train(config, seed, until)
    spent = time.process_time() - began
    seen = [row["oracle_nll"] for row in report["history"]]
    return {
        "cpu_seconds": spent,
        "oracle_nll": task.oracle_nll(),
        "oracle_nll_cold": task.oracle_nll(temperature=0.8),
        "validation_nll": task.validation_nll(),
        "best_oracle_nll": min(seen),
        "last_oracle_nll": seen[-1],
        "last_validation_nll": report["history"][-1]["validation_nll"],
        "best_oracle_step": report["history"][int(np.argmin(seen))]["step"],
        "report": report,
    }


def markdown(result: dict[str, Any]) -> str:
    """Mean ± standard deviation over seeds; nats a token."""
    seeds = list(result.values())
    names = ("oracle_nll", "best_oracle_nll", "last_oracle_nll", "validation_nll", "last_validation_nll", "cpu_seconds")
    rows = [
        "| arm | oracle NLL, checkpoint by validation | by the oracle | last step | held-out NLL, by validation "
        "| last step | CPU s | best step | discriminator accuracy | non-finite | rollbacks |",
        "|---" * 11 + "|",
    ]
    for arm in seeds[0]:
        reports = [s[arm]["report"] for s in seeds]
        cells = [_spread([s[arm][name] for s in seeds]) for name in names]
        cells.append(", ".join(str(r["best_step"]) for r in reports))
        accuracy = [r["critic"]["accuracy"] for r in reports if r["critic"]]
        cells.append(_spread(accuracy) if accuracy else "")
        cells += [str(sum(r[name] for r in reports)) for name in ("non_finite", "rollbacks")]
        rows.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchOracleConfig))
