"""Training of the response model: weighted log-loss, AdamW, early stop on the validation slice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recenv.core.checks import check_whole
from recenv.core.errors import InputError
from recenv.core.progress import bar
from recenv.response.batches import Tensors, order, tensors, users
from recenv.response.calibrate import calibrate
from recenv.response.encoders import ATTENTION_HEADS, check_encoder
from recenv.response.encoders_torch import Seen, make_encoder
from recenv.response.forward import HEADS, ResponseForward
from recenv.response.model import ResponseNet, Scaling, Widths, export
from recenv.response.rows import SPLITS, TrainingRows

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TrainConfig:
    """Training of the response model.

    Args:
        epochs: most passes over the training rows.
        least_steps: gradient steps for which there are more passes than `epochs`, where rows are few.
        patience: passes without a better validation log-loss before stopping.
        batch: most rows a gradient step; fewer (at least 256) where that leaves under 100 steps a pass.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: AdamW's decoupled weight decay.
        user_drop: share of a user's summary that a batch hides (dropout): a thousand households are few for 200 inputs.
        item_drop: probability that a batch hides what the logs tell of an item, so that a new item is not out of
            distribution (see `Folds`).
        threads: torch threads; results are reproducible for a fixed number.
        encoder: what reads the order of a user's last events: `decay` (nothing: the summary's decayed sums are all),
            `gru` or `attention` (`recenv.response.encoders`).
        encoder_units: length of the encoding, a multiple of 4.
        encoder_events: events that an encoder reads, the newest; at most the ring buffer's 64.
        widths: layer widths.
    """

    epochs: int = 5
    least_steps: int = 600
    patience: int = 3
    batch: int = 4096
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    user_drop: float = 0.3
    item_drop: float = 0.1
    threads: int = 1
    encoder: str = "decay"
    encoder_units: int = 32
    encoder_events: int = 32
    widths: Widths = field(default_factory=Widths)

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch", "threads"):
            check_whole(name, getattr(self, name))
        check_whole("least_steps", self.least_steps, 0)
        check_encoder(self.encoder)
        check_whole("encoder_units", self.encoder_units, 4, 256)
        check_whole("encoder_events", self.encoder_events)
        if self.encoder_units % ATTENTION_HEADS:
            raise InputError("option encoder_units", f"{self.encoder_units}", f"Give a multiple of {ATTENTION_HEADS}.")
        for name in ("user_drop", "item_drop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"option {name}", f"{getattr(self, name)}", "Give a share from 0 to below 1.")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise InputError("option weight_decay", f"{self.weight_decay}", "Give 0 or more.")


@dataclass(frozen=True)
class Folds:
    """Cross-fitted item features (target encoding): what is counted for a row leaves out the row's own users.

    Args:
        features: (K, n_items, Fi) float32, counted without the users of fold k. fold: (n,) int64, fold of each row.
        unseen: (n_items, D + Fi) float32, the inputs if the item had never been met (`catalogue.unseen_inputs`), which
            `TrainConfig.item_drop` puts in the place of an item's own. None: it blanks the item's vector instead.
    """

    features: Floats
    fold: NDArray[np.int64]
    unseen: Floats | None = None

    def table(self, inputs: Floats, item_vectors: Floats) -> Floats:
        """((1 + K) n_items, D + Fi): the full inputs, then those of each fold; at the end those of unseen items."""
        held_out = [np.concatenate([item_vectors, part], axis=1) for part in self.features]
        last = [] if self.unseen is None else [self.unseen]
        return np.concatenate([inputs, *held_out, *last]).astype(np.float32)


def train(
    rows: TrainingRows,
    item_vectors: Floats,
    item_features: Floats,
    config: TrainConfig,
    seed: int,
    progress: bool = True,
    folds: Folds | None = None,
) -> ResponseForward:
    """Train on split `train`, stop on `validation`, calibrate on `calibration`.

    Args:
        rows: training rows of all splits; test rows are not looked at.
        item_vectors: (n_items, D) float32. item_features: (n_items, Fi) float32.
        config: see `TrainConfig`. seed: same seed, same bytes (for one number of threads on one machine).
        folds: item features for the training rows that do not know these rows' own responses; needed where
            `item_features` were counted on the training rows.

    Returns:
        The calibrated model; its config has `heads`, `train`, `seed`, `history` and `calibration`.

    Raises:
        InputError: rows that cannot be trained on, or no response of which both values occur.
    """
    rows.check(len(item_vectors))
    inputs = np.concatenate([item_vectors, item_features], axis=1).astype(np.float32)
    table = inputs if folds is None else folds.table(inputs, item_vectors)
    parts = {name: rows.of(name) for name in ("train", "calibration", "validation")}
    heads = supported_heads(parts["train"])
    with torch_session(seed, config.threads):
        unseen = None if folds is None else folds.unseen
        net = _build(parts["train"], inputs, unseen, item_vectors.shape[1], len(heads), config)
        data, held = (tensors(net, parts[name], heads) for name in ("train", "validation"))
        if folds is not None:
            data.item += len(inputs) * (1 + torch.from_numpy(folds.fold[rows.split == SPLITS.index("train")]))
        history = _fit(net, data, held, heads, torch.from_numpy(table), config, seed, progress)
        arrays = export(net, inputs)
    settings: dict[str, Any] = {"heads": list(heads), "train": asdict(config), "seed": seed, "history": history}
    if net.encoder is not None:
        settings["encoder"] = {"name": config.encoder, "units": net.encoder.units, "events": net.encoder.events}
    return calibrate(ResponseForward(arrays, settings), parts["calibration"])


def supported_heads(rows: TrainingRows) -> tuple[str, ...]:
    """Heads of which both values occur in `rows`.

    Raises:
        InputError: there is none with which an item's response could be predicted.
    """
    found = []
    for head in HEADS:
        y = rows.response(head)
        if (y == 1.0).any() and (y == 0.0).any():
            found.append(head)
    if "click" not in found and "purchase" not in found:
        raise InputError(
            "rows", "no click or purchase of which both values occur", "A response model needs both outcomes."
        )
    return tuple(found)


@contextmanager
def torch_session(seed: int, threads: int) -> Iterator[None]:
    """Deterministic torch for a seed; the caller's global generator, threads and flags are put back."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(strict)


def _build(
    rows: TrainingRows, inputs: Floats, unseen: Floats | None, vector_dim: int, heads: int, config: TrainConfig
) -> ResponseNet:
    if not len(rows):
        raise InputError("rows", "split 'train' is empty", "Give more logs, or other split times.")
    user = Scaling.of(rows.visit_obs[np.unique(rows.visit)])
    pair = Scaling.of(np.concatenate([rows.cross, rows.treat], axis=1), rows.weight)
    seen = np.bincount(rows.item, minlength=len(inputs)) > 0
    item = Scaling.of(inputs[seen])
    if unseen is not None:
        item = replace(
            item, low=np.minimum(item.low, unseen.min(axis=0)), high=np.maximum(item.high, unseen.max(axis=0))
        )
    encoder = None
    if config.encoder != "decay":
        if rows.recent is None:
            raise InputError("rows.recent", "is missing", f"The encoder {config.encoder} needs replay(recent=True).")
        events = min(config.encoder_events, rows.recent.item.shape[1])
        seen_events = Seen.of(rows.recent.take(np.unique(rows.visit)), events)
        encoder = make_encoder(config.encoder, vector_dim, config.encoder_units, events, seen_events)
    net = ResponseNet(user, item, pair, heads, config.widths, vector_dim, encoder)
    net.n_unseen = 0 if unseen is None else len(unseen)
    return net


def _fit(
    net: ResponseNet,
    data: Tensors,
    held: Tensors,
    heads: tuple[str, ...],
    inputs: Tensor,
    config: TrainConfig,
    seed: int,
    progress: bool,
) -> list[dict[str, float]]:
    _start_at_base_rate(net, data)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(_groups(net, config), lr=config.learning_rate)
    batch = min(config.batch, max(256, len(data) // 100))
    a_pass = -(-len(data) // batch)
    epochs = max(config.epochs, -(-config.least_steps // a_pass))
    peaks = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=epochs * a_pass, pct_start=0.1)
    history: list[dict[str, float]] = []
    best, kept, since = float("inf"), _copy(net), 0
    with bar("response model", epochs, "epoch", progress) as shown:
        for epoch in range(epochs):
            loss = _epoch(net, data, heads, inputs, optimiser, schedule, batch, config, generator)
            check = _evaluate(net, held, heads, inputs) if len(held) else loss
            history.append({"epoch": epoch, "train": loss, "validation": check})
            shown.set_postfix(train=f"{loss:.5f}", validation=f"{check:.5f}")
            shown.update()
            if check < best:
                best, kept, since = check, _copy(net), 0
            else:
                since += 1
                if since >= config.patience:
                    break
    net.load_state_dict(kept)
    return history


def _epoch(
    net: ResponseNet,
    data: Tensors,
    heads: tuple[str, ...],
    inputs: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batch: int,
    config: TrainConfig,
    generator: torch.Generator,
) -> float:
    net.train()
    total, count = 0.0, 0
    for index in order(net, data, generator).split(batch):
        loss = _loss(net, data, index, heads, inputs, config, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total, count = total + float(loss.detach()) * len(index), count + len(index)
    return total / count


def _loss(
    net: ResponseNet,
    data: Tensors,
    index: Tensor,
    heads: tuple[str, ...],
    inputs: Tensor,
    hide: TrainConfig | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Sum over heads of the weighted mean log-loss over the rows of `index`; `hide`: what to drop, in training."""
    distinct, item = torch.unique(data.item[index], return_inverse=True)
    user, drop = users(net, data, index, inputs), None
    if hide is not None:
        drop = torch.rand(len(distinct), generator=generator) < hide.item_drop
        user = _hidden(user, data.user.shape[1], hide.user_drop, generator)
        if net.n_unseen:
            distinct, drop = torch.where(drop, distinct % net.n_unseen - net.n_unseen, distinct), None
    items = net.items(inputs[distinct], drop)
    logits = net(user, items, item, data.pair[index])
    logits = _add_known(net, logits, heads, data, index)
    y, w = data.response[index], data.weight[index][:, None]
    known = ~torch.isnan(y)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, y, torch.zeros_like(y)), reduction="none"
    )
    return (entropy * w * known).sum() / w.sum()


def _hidden(user: Tensor, summary: int, share: float, generator: torch.Generator | None) -> Tensor:
    """Dropout of the first `summary` user inputs; encodings are spared: an order shows in all of them together."""
    kept = user[:, :summary] * (torch.rand((len(user), summary), generator=generator) >= share) / (1.0 - share)
    return kept if user.shape[1] == summary else torch.cat([kept, user[:, summary:]], dim=1)


def _add_known(net: ResponseNet, logits: Tensor, heads: tuple[str, ...], data: Tensors, index: Tensor) -> Tensor:
    columns = list(logits.unbind(dim=1))
    copied = heads.index("click" if "click" in heads else "purchase")
    columns[copied] = columns[copied] + data.offset[index]
    if "leave" in heads:
        columns[heads.index("leave")] = columns[heads.index("leave")] + data.acts[index] @ net.leave_weights
    return torch.stack(columns, dim=1)


@torch.no_grad()
def _evaluate(net: ResponseNet, data: Tensors, heads: tuple[str, ...], inputs: Tensor) -> float:
    net.eval()
    total, mass = 0.0, 0.0
    for index in torch.arange(len(data)).split(16384):
        share = float(data.weight[index].sum())
        total += float(_loss(net, data, index, heads, inputs, None, None)) * share
        mass += share
    return total / mass


@torch.no_grad()
def _start_at_base_rate(net: ResponseNet, data: Tensors) -> None:
    """Rare responses: begin at the base rate's log odds, not at one half."""
    known = ~torch.isnan(data.response)
    weight = data.weight[:, None] * known
    rate = (torch.nan_to_num(data.response) * weight).sum(0) / weight.sum(0)
    net.head_last.bias.copy_(torch.logit(rate.clamp(1e-5, 1 - 1e-5)))


def _groups(net: ResponseNet, config: TrainConfig) -> list[dict[str, Any]]:
    """Biases and the two leave weights are not decayed; the latter, alone in their path, learn faster."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1 and p is not net.leave_weights]
    return [
        {"params": matrices, "lr": config.learning_rate, "weight_decay": config.weight_decay},
        {"params": biases, "lr": config.learning_rate, "weight_decay": 0.0},
        {"params": [net.leave_weights], "lr": 10 * config.learning_rate, "weight_decay": 0.0},
    ]


def _copy(net: ResponseNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}
