"""What reads a user's history best, and what it costs: `decay`, `gru`, `attention`, gradient boosting on the same rows.

On a shop whose clicks depend on the order of the last two acts (the true probabilities are known) and, with --data and
--world, on a data set. Validation slice, never test; intervals are bootstraps of users, differences are paired.
    python scripts/bench_encoders.py --data data/cj --world worlds/cj --out runs/encoders
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_whole
from recenv.data import synthetic_order
from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import Dataset
from recenv.env.options import EnvOptions
from recenv.env.simulator import Simulator
from recenv.response import catalogue as cat
from recenv.response.encoders import ENCODERS
from recenv.response.fit import FOLDS, ROLES, FitOptions, fit_worlds
from recenv.response.forward import ResponseForward
from recenv.response.log import Log
from recenv.response.rows import TrainingRows
from recenv.response.shared import Shared, prepare, training_rows
from recenv.response.train import Folds, TrainConfig, train
from recenv.scripts.bench_response import Boosting, gradient_boosting
from recenv.trust.fidelity import predicted
from recenv.trust.metrics import UserBootstrap, calibration_error, divide, entropy, gain, interval, row_losses
from recenv.world import World

Array = NDArray[np.float64]
BOOSTING, ORACLE = "gradient boosting", "truth"


@dataclass(frozen=True)
class EncodersConfig:
    """Compare history encoders."""

    out: Path = Path("runs/encoders")
    """Folder for `encoders.json` and `encoders.md`; must be new."""
    data: Path | None = None
    """Folder that `recenv prepare` wrote; the order-dependent shop alone if not given."""
    world: Path | None = None
    """A world fitted to `data`: its users, catalogue and state rule; needed with `data`."""
    encoders: tuple[str, ...] = ENCODERS
    """Encoders compared."""
    seeds: int = 2
    """Networks trained of each; their losses are averaged."""
    epochs: int = TrainConfig.epochs
    """Passes over the rows of `data`."""
    batch: int = TrainConfig.batch
    """Most rows a gradient step there."""
    with_order: bool = True
    """Whether the order-dependent shop is looked at."""
    order: synthetic_order.OrderOptions = field(
        default_factory=lambda: synthetic_order.OrderOptions(
            users=4000, items=50, categories=5, views=1, high=0.7, low=0.05
        )
    )
    """The order-dependent shop."""
    order_epochs: int = 8
    """Passes over its rows."""
    order_events: int = 16
    """Events that an encoder reads there."""
    order_learning_rate: float = 5e-3
    """Peak learning rate there, for every encoder: few rows, and steps of 256."""
    sessions: int = 256
    """Simulated sessions side by side when costs are measured."""
    steps: int = 40
    """Steps of each measurement of cost; the median of three counts."""
    n_boot: int = 200
    """Bootstrap draws over users."""
    boosting: Boosting = field(default_factory=Boosting)
    """Of the yardstick."""

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "batch", "order_epochs", "sessions", "steps", "n_boot"):
            check_whole(name, getattr(self, name))


@dataclass
class Study:
    """One log: rows with histories, what is known of items, and a world to measure costs in."""

    name: str
    world: World
    shared: Shared
    log: Log
    rows: TrainingRows
    features: NDArray[np.float32]
    folds: Folds
    truth: Array | None
    head: str


def run(config: EncodersConfig) -> dict[str, Any]:
    """Trains, measures, writes and returns the tables."""
    config.out.mkdir(parents=True, exist_ok=False)
    found: dict[str, Any] = {}
    if config.with_order:
        study = _order_study(config)
        training = TrainConfig(
            epochs=config.order_epochs,
            batch=256,
            patience=config.order_epochs,
            learning_rate=config.order_learning_rate,
            encoder_events=config.order_events,
        )
        found[study.name] = compare(config, study, training)
        _write(config, found)
    if config.data is not None and config.world is not None:
        study = make_study(str(config.data.name), World.load(config.world), config.data)
        found[study.name] = compare(config, study, TrainConfig(epochs=config.epochs, batch=config.batch))
        _write(config, found)
    return found


def _order_study(config: EncodersConfig) -> Study:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        raw = synthetic_order.load(options=config.order)
        build(raw, BuildOptions(progress=False)).save(base / "data")
        world, _ = fit_worlds(base / "data", base / "world", FitOptions(training=TrainConfig(epochs=1)), False)
        study = make_study("order-dependent shop", world, base / "data")
        study.truth = _truth(config, study)
    return study


def make_study(name: str, world: World, data: Path) -> Study:
    """Rows of the world's own users, with histories, replayed by its state rule."""
    options = FitOptions(seed=int(world.meta["seed"]), start_states=1, training=TrainConfig(encoder="gru"))
    shared = prepare(Dataset.load(data), options)
    shared.spec = world.spec
    log = shared.logs[ROLES.index(world.meta["role"])]
    done, _ = training_rows(shared, log, options, "replay", progress=False)
    base = cat.measure(shared.spec, shared.items, log)
    fold = log.user.astype(np.int64) % FOLDS
    parts = [
        cat.item_features(shared.items, cat.measure(shared.spec, shared.items, log, fold == k)) for k in range(FOLDS)
    ]
    folds = Folds(np.stack(parts), fold[done.row], cat.unseen_inputs(shared.items, shared.spec.item_vectors, base))
    features = cat.item_features(shared.items, base)
    head = "purchase" if "purchase" in world.response.heads else "click"
    return Study(name, world, shared, _of_rows(log, done.row), done.rows, features, folds, None, head)


def _of_rows(log: Log, row: NDArray[np.int64]) -> Log:
    """The log, which remembers in `session` where the scored rows lie: for the truth alone."""
    marks = np.full(len(log.user), -1, np.int64)
    marks[row] = np.arange(len(row))
    return replace(log, session=marks)


def _truth(config: EncodersConfig, study: Study) -> Array:
    """(n,) true P(click) of the scored rows."""
    log = study.log
    place = synthetic_order.ring_places(study.shared.items["category"].astype(str).tolist())
    acted = ~log.scored | (log.shown & (log.click == 1.0))
    p = synthetic_order.true_click(config.order, log.user, log.time, place[log.item], acted)
    scored = log.session >= 0
    out = np.empty(len(study.rows))
    out[log.session[scored]] = p[scored]
    return out


def compare(config: EncodersConfig, study: Study, training: TrainConfig) -> dict[str, Any]:
    """Trains each encoder and the yardstick; figures on the shown rows of the validation slice."""
    rows, head = study.rows, study.head
    held = (rows.split == 2) & rows.shown & ~np.isnan(rows.response(head))
    test = rows.select(held)
    told: dict[str, list[Array]] = {}
    cpu: dict[str, float] = {}
    models: dict[str, ResponseForward] = {}
    for name in config.encoders:
        start = time.process_time()
        told[name] = []
        for seed in range(config.seeds):
            models[name] = _train(study, replace(training, encoder=name), seed)
            told[name].append(predicted(models[name], test, head).astype(np.float64))
        cpu[name] = (time.process_time() - start) / config.seeds
        print(f"{study.name}: {name}: {cpu[name]:.0f} CPU seconds a training", flush=True)
    start = time.process_time()
    item, test_item = _items(study, held)
    told[BOOSTING] = [gradient_boosting(rows, item, test, test_item, head, config.boosting, 0)]
    cpu[BOOSTING] = time.process_time() - start
    if study.truth is not None:
        told[ORACLE] = [study.truth[held]]
    counts = {"train": int((rows.split == 0).sum()), "validation": len(test), "users": len(np.unique(test.user))}
    lines = _lines(config, told, test, head)
    cost = _costs(config, study.world, models)
    for name, line in lines.items():
        line |= {"cpu_seconds": cpu.get(name), "microseconds": cost.get(name)}
    return {"head": head, "rows": counts, "training": asdict(training), "lines": lines}


def _train(study: Study, config: TrainConfig, seed: int) -> ResponseForward:
    return train(study.rows, study.shared.spec.item_vectors, study.features, config, seed, False, study.folds)


def _items(study: Study, held: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is known of each row's item, as the networks have it: on training rows counted without the row's users."""
    vectors, rows = study.shared.spec.item_vectors, study.rows
    own = study.features[rows.item]
    train_rows = rows.split == 0
    own[train_rows] = study.folds.features[study.folds.fold[train_rows], rows.item[train_rows]]
    item = np.concatenate([vectors[rows.item], own], axis=1)
    return item, np.concatenate([vectors, study.features], axis=1)[rows.item[held]]


def _lines(config: EncodersConfig, told: dict[str, list[Array]], test: TrainingRows, head: str) -> dict[str, Any]:
    y, w = test.response(head).astype(np.float64), test.weight.astype(np.float64)
    boot = UserBootstrap(test.user, config.n_boot, 0)
    mass, hits = boot.sums(w, w * y)
    reference = mass * entropy(hits / mass)
    gains, lines = {}, {}
    for name, ps in told.items():
        loss = np.mean([row_losses(p, y) for p in ps], axis=0)
        gains[name] = gain(boot.sums(w * loss)[0], reference)
        ratio = np.mean([divide(boot.sums(w * p)[0], hits) for p in ps], axis=0)
        lines[name] = {
            "gain": interval(gains[name]),
            "auc": interval(np.mean([boot.auc(p, y, w) for p in ps], axis=0)),
            "predicted_real": interval(ratio),
            "ece": float(np.mean([calibration_error(p, y, w) for p in ps])),
            "by_seed": [float(gain(boot.sums(w * row_losses(p, y))[0], reference)[0]) for p in ps],
        }
    for name, line in lines.items():
        for other in (config.encoders[0], BOOSTING):
            line[f"over {other}"] = None if name == other else interval(gains[name] - gains[other])
    return lines


def _costs(config: EncodersConfig, world: World, models: dict[str, ResponseForward]) -> dict[str, float]:
    """CPU microseconds of one step of one simulated user, by encoder; measured in turns, so that load falls on all."""
    simulators = {}
    for name, model in models.items():
        options = EnvOptions(split="validation")
        simulators[name] = Simulator(world.with_response(model), config.sessions, options)
        simulators[name].reset(seed=0)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(4):
        for name, simulator in simulators.items():
            taken[name].append(_steps(simulator, config.steps) / config.sessions / config.steps * 1e6)
    return {name: float(np.median(values[1:])) for name, values in taken.items()}  # the first compiles


def _steps(simulator: Simulator, steps: int) -> float:
    """CPU seconds of `steps` steps with random allowed actions."""
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(steps):
        mask = simulator.masks()
        actions = np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1)
        start = time.process_time()
        outcome = simulator.step(actions)
        total += time.process_time() - start
        over = np.flatnonzero(outcome.terminated | outcome.truncated)
        if len(over):
            simulator.reset(rows=over)
    return total


def _write(config: EncodersConfig, found: dict[str, Any]) -> None:
    text = "\n".join(_table(config, name, result) for name, result in found.items())
    (config.out / "encoders.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (config.out / "encoders.md").write_text(text, encoding="utf-8")
    print(text, flush=True)


def _table(config: EncodersConfig, name: str, result: dict[str, Any]) -> str:
    counts, first = result["rows"], config.encoders[0]
    head = ["gain over base rate", f"over {first}", f"over {BOOSTING}", "AUC", "predicted/real", "ECE"]
    cost = ["us a step", f"x {first}", "training, CPU s"]
    lines = [
        f"**{name}**: {result['head']}, {counts['train']:,} training rows; {counts['validation']:,} held-out shown rows"
        f" of {counts['users']:,} users; mean of {config.seeds} networks.",
        "",
        "| | " + " | ".join([*head, *cost]) + " |",
        "|---|" + "---:|" * (len(head) + len(cost)),
    ]
    base = result["lines"][first]["microseconds"]
    for model, line in result["lines"].items():
        us, cpu = line["microseconds"], line["cpu_seconds"]
        cells = [_text(line[key]) for key in ("gain", f"over {first}", f"over {BOOSTING}", "auc", "predicted_real")]
        cells += [f"{line['ece']:.5f}", *([f"{us:.1f}", f"{us / base:.2f}"] if us else ["", ""])]
        lines.append(f"| {model} | " + " | ".join([*cells, f"{cpu:.0f}" if cpu else ""]) + " |")
    return "\n".join(lines) + "\n"


def _text(value: dict[str, float | None] | Sequence[float] | None) -> str:
    if not isinstance(value, dict) or value["value"] is None:
        return ""
    return f"{value['value']:.4f}" + ("" if value["low"] is None else f" [{value['low']:.4f}, {value['high']:.4f}]")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(EncodersConfig))
