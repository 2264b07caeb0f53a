"""The GAN against its own maximum-likelihood training (MLE) at equal CPU, over a temperature sweep and several seeds.

    python scripts/bench_gan.py --out runs/gan

Per seed one MLE with early stop (the transformer's rule, `TransformerConfig.slack`); from it each adversarial phase,
and an MLE that goes on for as much CPU time as the dearest of them took, its checkpoint chosen by the same score. `last
step`: the weights with which a phase ended. Lines are drawn without constraints, so that the models are compared and
not the constraints. Held-out figures are on the corpus's held-out tenth; a tenth of the training lines stops the MLE
and chooses checkpoints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recenv.agents.intervals import t_interval
from recenv.core.checks import check_whole
from recenv.core.errors import InputError
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.gan import GanGenerator
from recenv.generators.gan_config import GanConfig
from recenv.generators.guard import guard_reasons
from recenv.generators.quality import bleu, distinct_n, novelty, self_bleu, slot_error, unique_rate
from recenv.generators.transformer_data import set_aside
from recenv.scripts.bench_copy import ITEM, SLOTS

MEASURES = ("bleu", "guard_pass", "slot_error", "self_bleu", "distinct_2", "unique", "novelty")
STOPPED, LONGER = "MLE, early stop", "MLE, equal CPU"
ENDLESS = 10**6


@dataclass(frozen=True)
class BenchGanConfig:
    """Compare the GAN with its own MLE."""

    out: Path = Path("runs/gan")
    """Folder for `gan.json`, `gan.md` and `gan.png`; must be new."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of training and sampling."""
    kinds: tuple[str, ...] = ("policy-gradient", "gumbel")
    """Adversarial phases."""
    temperatures: tuple[float, ...] = (0.7, 0.85, 1.0, 1.15, 1.3)
    """Of sampling."""
    lines: int = 12
    """Lines drawn a style for each temperature."""
    steps: int = GanConfig.steps
    """Most adversarial steps."""


def run(config: BenchGanConfig) -> dict[str, Any]:
    """Fit, measure, write as results come, and return them."""
    check_whole("lines", config.lines)
    if not config.seeds or not config.kinds or not config.temperatures:
        raise InputError("bench gan", "no seed, kind or temperature", "Give at least one of each")
    config.out.mkdir(parents=True, exist_ok=False)
    settings = json.loads(json.dumps(asdict(config), default=str))
    result: dict[str, Any] = {"config": settings, "temperatures": config.temperatures, "seeds": {}}
    for seed in config.seeds:
        result["seeds"][str(seed)] = one_seed(config, seed)
        (config.out / "gan.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        text = markdown(result)
        (config.out / "gan.md").write_text(text, encoding="utf-8")
        print(f"seed {seed} done", flush=True)
    plot(result, config.out / "gan.png")
    print(text)
    return result


def one_seed(config: BenchGanConfig, seed: int) -> dict[str, Any]:
    """Arm -> its CPU seconds, report and measures."""
    train, test = read_corpus().split()
    lines, validation = set_aside(train)
    began = time.process_time()
    mle = GanGenerator(SLOTS, gan=GanConfig(adversarial="none", steps=0))
    fitted = mle.fit(lines, validation, seed, progress=False)
    arms = {STOPPED: _entry(mle, {"epochs": fitted["epochs"]}, time.process_time() - began, test, config, seed)}
    dearest = 0.0
    for kind in config.kinds:
        began = time.process_time()
        made, last, report = mle.played(GanConfig(adversarial=kind, steps=config.steps), validation, seed)
        spent = time.process_time() - began
        dearest = max(dearest, spent)
        arms[f"GAN, {kind}"] = _entry(made, report, spent, test, config, seed)
        arms[f"GAN, {kind}, last step"] = _entry(last, report, spent, test, config, seed)
    began = time.process_time()
    control = GanConfig(adversarial="none", steps=ENDLESS, patience=ENDLESS)
    longer, _, report = mle.played(control, validation, seed, lambda: time.process_time() - began >= dearest)
    arms[LONGER] = _entry(longer, report, time.process_time() - began, test, config, seed)
    return arms


def _entry(
    made: GanGenerator, report: dict[str, Any], spent: float, test: Sequence[Line], config: BenchGanConfig, seed: int
) -> dict[str, Any]:
    """Figures of one generator; held-out loss as perplexity a token, of sampled lines by temperature."""
    sweep = {str(t): measures(made, test, config.lines, seed, t) for t in config.temperatures}
    return {
        "cpu_seconds": spent,
        "perplexity": made.perplexity(test),
        "known_perplexity": made.perplexity(test, known_words=True),
        "report": report,
        "sweep": sweep,
    }


def measures(made: GanGenerator, test: Sequence[Line], count: int, seed: int, temperature: float) -> dict[str, float]:
    """Of lines as sampled, without constraints: quality first, then diversity (MEASURES)."""
    every = [line for style in made.styles for line in made.draw(style, count, seed, temperature, constrained=False)]
    drawn = [Line(line.style, line.text) for line in every if line.text]
    texts = [line.text for line in drawn]
    passed = [not guard_reasons(line.text, ITEM, line.style, "description", "USD") for line in drawn]
    return {
        "bleu": bleu(texts, [line.text for line in test]),
        "guard_pass": float(np.mean(passed)),
        "slot_error": slot_error(texts, SLOTS),
        "self_bleu": self_bleu(texts),
        "distinct_2": distinct_n(texts),
        "unique": unique_rate(texts),
        "novelty": novelty(texts, [line.text for line in made.known.lines]),
    }


def markdown(result: dict[str, Any]) -> str:
    """Tables: means over seeds, and their standard deviation for what is compared first."""
    seeds = list(result["seeds"].values())
    rows = [f"{len(seeds)} seeds; mean ± standard deviation over seeds.", ""]
    rows += ["| arm | CPU s | held-out perplexity | known words | steps | best step | discriminator accuracy "
             "| non-finite | divergences | rollbacks |", "|---" * 10 + "|"]  # fmt: skip
    for arm in seeds[0]:
        entries = [s[arm] for s in seeds]
        reports = [e["report"] for e in entries]
        accuracy = [r["critic"]["accuracy"] for r in reports if r.get("critic")]
        cells = [_spread([e[n] for e in entries]) for n in ("cpu_seconds", "perplexity", "known_perplexity")]
        cells += [", ".join(str(r[n]) for r in reports) if n in reports[0] else "" for n in ("steps", "best_step")]
        cells.append(_spread(accuracy) if accuracy else "")
        counts = ("non_finite", "divergences", "rollbacks")
        cells += [str(sum(r[n] for r in reports)) if n in reports[0] else "" for n in counts]
        rows.append(f"| {arm} | {' | '.join(cells)} |")
    rows += ["", f"| temperature | arm | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 2) + "|"]
    for t in map(str, result["temperatures"]):
        for arm in seeds[0]:
            cells = [_spread([s[arm]["sweep"][t][name] for s in seeds]) for name in MEASURES]
            rows.append(f"| {t} | {arm} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", *paired(seeds)]) + "\n"


def paired(seeds: Sequence[dict[str, Any]]) -> list[str]:
    """Table: each GAN less the MLE at equal CPU, paired by seed, means over temperatures; 95 % t intervals."""
    rows = [f"| less {LONGER} | perplexity | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 2) + "|"]

    def figures(entry: dict[str, Any]) -> list[float]:
        sweep = entry["sweep"].values()
        return [entry["perplexity"], *(float(np.mean([found[name] for found in sweep])) for name in MEASURES)]

    for arm in (name for name in seeds[0] if name.startswith("GAN")):
        apart = np.array([figures(s[arm]) for s in seeds]) - np.array([figures(s[LONGER]) for s in seeds])
        cells = []
        for column in apart.T:
            mean, low, high = t_interval(column).as_list()
            ends = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
            cells.append(f"{mean:+.3f}{ends}")
        rows.append(f"| {arm} | {' | '.join(cells)} |")
    return rows


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def plot(result: dict[str, Any], path: Path) -> None:
    """Quality against diversity, a curve an arm, a point a temperature; bars are standard errors over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = (("self_bleu", "bleu"), ("novelty", "guard_pass"))
    seeds = list(result["seeds"].values())
    for axes, (across, up) in zip(figure.subplots(1, 2), panels, strict=True):
        for arm in seeds[0]:
            points = np.array(
                [
                    [[s[arm]["sweep"][str(t)][name] for s in seeds] for name in (across, up)]
                    for t in result["temperatures"]
                ]
            )  # (temperatures, 2, seeds)
            error = points.std(axis=2) / np.sqrt(len(seeds))
            mean = points.mean(axis=2)
            axes.errorbar(*mean.T, xerr=error[:, 0], yerr=error[:, 1], marker="o", markersize=3, label=arm)
        axes.set_xlabel(across.replace("_", "-"))
        axes.set_ylabel(up.replace("_", " "))
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=72)


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchGanConfig))
