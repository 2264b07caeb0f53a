"""The response model against gradient boosting on the same rows and features, and its speed in one thread."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from recenv.data.schema import Dataset
from recenv.env.kernels import RowPredictor
from recenv.response.calibrate import platt
from recenv.response.fit import ROLES, FitOptions
from recenv.response.forward import sigmoid
from recenv.response.rows import SPLITS, TrainingRows
from recenv.response.shared import prepare, training_rows
from recenv.response.train import TrainConfig
from recenv.trust.fidelity import compare, item_rate_baseline, predicted, quick_fidelity
from recenv.world import World


@dataclass(frozen=True)
class Boosting:
    """scikit-learn's histogram gradient boosting."""

    iterations: int = 300
    """Most boosting iterations (early stopping on the validation slice, as the network's; all of train is learned)."""
    learning_rate: float = 0.06
    """Shrinkage of each tree."""
    leaf: int = 2000
    """Least rows in a leaf: of 100, 1,000 and 2,000 the best on Complete Journey's validation slice."""


@dataclass(frozen=True)
class BenchResponseConfig:
    """Compare a world's response model with scikit-learn's histogram gradient boosting."""

    data: Path
    """Folder of the tables that the world was fitted to."""
    world: Path
    """Folder of the world."""
    n_boot: int = 200
    """Bootstrap draws over users."""
    boosting: Boosting = field(default_factory=Boosting)
    """Of the yardstick."""
    seed: int = 0
    """Of the boosting and of the bootstrap."""


def run(config: BenchResponseConfig) -> dict[str, Any]:
    """Both models on the validation slice, shown and not shown rows apart, with paired intervals over users."""
    world = World.load(config.world)
    rows = _rows(config, world)
    head = "purchase" if "purchase" in world.response.heads else "click"
    test = rows.of("validation")
    test = test.select(~np.isnan(test.response(head)))
    own = predicted(world.response, test, head)
    start = time.process_time()
    table = np.concatenate([world.spec.item_vectors, world.item_features], axis=1)
    boosted = gradient_boosting(rows, table[rows.item], test, table[test.item], head, config.boosting, config.seed)
    result: dict[str, Any] = {"head": head, "boosting_cpu_seconds": round(time.process_time() - start, 1)}
    for group, mask in (("shown", test.shown), ("unshown", ~test.shown)):
        if mask.any():
            part = test.select(mask)
            y = part.response(head)
            result[group] = compare(own[mask], boosted[mask], y, part.weight, part.user, config.n_boot, config.seed)
            _print(group, len(part), result[group])
    rates = item_rate_baseline(rows, (head,), world.n_items)
    segments = np.zeros(int(rows.user.max()) + 1, np.int32)
    report = quick_fidelity(world.response, rows, rates | _flat(world, rates), segments, n_boot=config.n_boot)
    for name in ("gain_over_item_rates", "predicted_real"):
        result[name] = report["heads"][head]["shown"][name]
        print(f"shown    {name}: {_text(result[name])}")
    result["rows_per_second"] = _speed(world, test)
    return result


def _rows(config: BenchResponseConfig, world: World) -> TrainingRows:
    """The rows that the world was fitted to, replayed by its own state rule."""
    training = TrainConfig(encoder=world.response.encoder.name if world.response.encoder else "decay")
    options = FitOptions(seed=int(world.meta["seed"]), start_states=1, training=training)
    shared = prepare(Dataset.load(config.data), options)
    shared.spec = world.spec
    return training_rows(shared, shared.logs[ROLES.index(world.meta["role"])], options, "replay")[0].rows


def gradient_boosting(
    rows: TrainingRows,
    item: NDArray[np.float32],
    test: TrainingRows,
    test_item: NDArray[np.float32],
    head: str,
    boosting: Boosting,
    seed: int,
) -> NDArray[np.float64]:
    """(m,) P of the rows `test`, by boosting on the train slice, Platt-scaled on the calibration slice as the world's
    own model is.

    It stops by the weighted log-loss on the validation slice, as the network does: neither gives up training rows for
    that, and both have seen the validation slice to the same extent.

    Args:
        rows: n rows of all splits. item, test_item: (n, K), (m, K) what is known of each row's item.
    """
    known = ~np.isnan(rows.response(head))
    masks = [known & (rows.split == SPLITS.index(name)) for name in ("train", "calibration", "validation")]
    train, calibration, held = (rows.select(mask) for mask in masks)
    model = HistGradientBoostingClassifier(
        max_iter=boosting.iterations,
        learning_rate=boosting.learning_rate,
        min_samples_leaf=boosting.leaf,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=15,
        random_state=seed,
    )
    # Mean weight 1: the penalty on leaves counts in rows (with weights of 50 on average boosting fell far behind).
    mean = train.weight.mean()
    with threadpool_limits(1):
        model.fit(
            _inputs(train, item[masks[0]]), train.response(head), sample_weight=train.weight / mean,
            X_val=_inputs(held, item[masks[2]]), y_val=held.response(head), sample_weight_val=held.weight / mean,
        )  # fmt: skip
        fitted = model.decision_function(_inputs(calibration, item[masks[1]]))
        logit, p = model.decision_function(_inputs(test, test_item)), np.empty(len(test))
    for group in (True, False):
        use, mine = calibration.shown == group, test.shown == group
        if mine.any():
            y, w = calibration.response(head)[use], calibration.weight[use]
            slope, intercept = platt(fitted[use], y, w) if use.any() else (1.0, 0.0)
            p[mine] = sigmoid(slope * logit[mine] + intercept)
    return p


def _inputs(rows: TrainingRows, item: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([rows.visit_obs[rows.visit], rows.cross, item, rows.treat], axis=1)


def _flat(world: World, rates: dict[str, Any]) -> dict[str, Any]:
    """Item rates for heads that are not compared, which the report asks for as well."""
    known = next(iter(rates.values()))
    return {head: known for head in world.response.heads if head not in rates}


def _speed(world: World, rows: TrainingRows) -> dict[str, dict[str, float]]:
    """Predictions per second of the row-wise kernel and of the numpy forward, by number of rows at a time."""
    result: dict[str, dict[str, float]] = {}
    row_wise = RowPredictor(world.response)
    for n in (1, 16, 256, 4096):
        part = rows.select(np.arange(min(n, len(rows))))
        user = world.response.user_inputs(rows.visit_obs, rows.recent)
        arrays = (user[part.visit], part.item, part.cross, part.treat)
        result[str(n)] = {}
        for name, predictor in (("kernel", row_wise), ("numpy", world.response)):
            predictor.predict(*arrays)
            repeats = max(3, 20_000 // n)
            start = time.perf_counter()
            for _ in range(repeats):
                predictor.predict(*arrays)
            result[str(n)][name] = len(part) * repeats / (time.perf_counter() - start)
        print(f"{n:5d} rows at a time: " + ", ".join(f"{k} {v:,.0f} rows/s" for k, v in result[str(n)].items()))
    return result


def _text(value: dict[str, Any]) -> str:
    if value["value"] is None:
        return "unknown"
    return f"{value['value']:.4f}" + ("" if value["low"] is None else f" [{value['low']:.4f}, {value['high']:.4f}]")


def _print(group: str, n: int, found: dict[str, Any]) -> None:
    for name in ("auc", "gain_over_base"):
        own, other, both = (_text(found[name + end]) for end in ("", "_other", "_difference"))
        print(f"{group:8s} {n:,} rows, {name}: model {own}, boosting {other}, difference {both}")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(BenchResponseConfig))
