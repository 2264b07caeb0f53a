"""The response model's forward pass in numpy: what worlds load and agents may look through.

For a user's inputs x (the summary observation, then the encoding of his last events), item i, cross features and
treatment z (standardised, clipped to what training saw):
    u = relu(x W_a + b_a) W_b + b_b                       user tower
    v_i = the item tower's output, one table row per item
    h = relu(T_i + u W_u + (u * v_i) W_p + z W_z)         T_i = v_i W_v + b, folded at export
    logit = relu(h W_2 + b_2) W_3 + b_3 + S_i + z W_s     S_i, W_s: the direct linear path
    P = sigmoid(a logit + c + offset)                     a, c by head and by shown / not shown (Platt scaling)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError, InputError
from recenv.response import encoders
from recenv.response.recent import Recent
from recenv.state import N_KINDS, Ints, StateSpec, UserState

Floats = NDArray[np.float32]
HEADS: tuple[str, ...] = ("click", "purchase", "leave")
SHAPES: dict[str, tuple[str, ...]] = {
    "user_low": ("user",),
    "user_high": ("user",),
    "user_mean": ("user",),
    "user_w1": ("user", "user_hidden"),
    "user_b1": ("user_hidden",),
    "user_w2": ("user_hidden", "tower"),
    "user_b2": ("tower",),
    "item_low": ("item",),
    "item_high": ("item",),
    "item_mean": ("item",),
    "item_w1": ("item", "item_units"),
    "item_b1": ("item_units",),
    "item_w2": ("item_units", "tower"),
    "item_b2": ("tower",),
    "item_skip_w": ("item", "heads"),
    "pair_low": ("pair",),
    "pair_high": ("pair",),
    "pair_mean": ("pair",),
    "head_user": ("tower", "hidden1"),
    "head_item": ("tower", "hidden1"),
    "head_product": ("tower", "hidden1"),
    "head_pair": ("pair", "hidden1"),
    "head_b1": ("hidden1",),
    "head_w2": ("hidden1", "hidden2"),
    "head_b2": ("hidden2",),
    "head_w3": ("hidden2", "heads"),
    "head_b3": ("heads",),
    "skip_pair": ("pair", "heads"),
    "platt": ("heads", "two", "two"),
    "leave_weights": ("two",),
    "item_tower": ("n_items", "tower"),
    "item_hidden": ("n_items", "hidden1"),
    "item_skip": ("n_items", "heads"),
}


@dataclass
class Prediction:
    """click (n,) P(click); purchase (n,) P(purchase | click) where there is a click head, else P(purchase); leave_logit
    (n,) logit of leaving before the response is counted. float32; None where the logs do not support it."""

    click: Floats | None = None
    purchase: Floats | None = None
    leave_logit: Floats | None = None

    @property
    def expected_purchase(self) -> Floats | None:
        """(n,) P(purchase), whether or not there is a click head."""
        if self.purchase is None or self.click is None:
            return self.purchase
        return self.click * self.purchase


def sigmoid(x: NDArray[Any]) -> Floats:
    """1 / (1 + exp(-x)), in float64, rounded once; finite for every finite x."""
    z = np.exp(-np.abs(x.astype(np.float64)))
    return np.where(x >= 0, 1.0 / (1.0 + z), z / (1.0 + z)).astype(np.float32)


class ResponseForward:
    """A trained, calibrated response model: arrays of `SHAPES` and a JSON-able `config` with key `heads`.

    Raises:
        ArtefactError: an array is missing, has the wrong type or shape, or is not finite.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]], config: dict[str, Any]) -> None:
        self.config = config
        self.heads: tuple[str, ...] = tuple(config["heads"])
        if not self.heads or any(h not in HEADS for h in self.heads):
            raise ArtefactError("response.heads", f"{self.heads}", f"A model has some of the heads {', '.join(HEADS)}.")
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        history = encoders.settings(config)
        _check(self._arrays, SHAPES | encoders.SHAPES[history["name"]], _sizes(len(self.heads), history))
        self.encoder = encoders.Encoder(self._arrays, history) if history["name"] != "decay" else None

    def __getattr__(self, name: str) -> Floats:
        try:
            return self.__dict__["_arrays"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], config: dict[str, Any]) -> ResponseForward:
        """The model saved by `to_arrays` and `config`."""
        return cls(arrays, config)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Named float32 arrays, fit for safetensors."""
        return dict(self._arrays)

    @property
    def n_items(self) -> int:
        return len(self.item_tower)

    @property
    def user_dim(self) -> int:
        return len(self.user_mean)

    @property
    def summary_dim(self) -> int:
        """Length of the summary observation; what the encoder adds comes after it."""
        return self.user_dim - (self.encoder.units if self.encoder else 0)

    @property
    def pair_dim(self) -> int:
        return len(self.pair_mean)

    def with_items(self, vectors: Floats, features: Floats) -> ResponseForward:
        """The same model over another catalogue: vectors (n, D) and features (n, Fi) float32."""
        inputs = np.concatenate([vectors, features], axis=1).astype(np.float32)
        tables = item_tables(self._arrays, inputs) | encoders.item_table(self._arrays, inputs)
        return ResponseForward({**self._arrays, **tables}, self.config)

    def encode(self, spec: StateSpec, state: UserState, rows: Ints, now: NDArray[np.int64]) -> Floats:
        """(n, H) float32, what the history encoder makes of the users `rows` (n,) at `now` (n,); H = 0 for `decay`."""
        if self.encoder is None:
            return np.zeros((len(rows), 0), np.float32)
        return self.encoder.encode(Recent.of_state(spec, state, rows, now))

    def user_inputs(self, summary: Floats, recent: Recent | None) -> Floats:
        """(n, U + H) inputs of the user tower from summary observations (n, U) and the same users' last events.

        Without an encoder `summary` itself.

        Raises:
            InputError: this model has an encoder and there are no events to read.
        """
        if self.encoder is None:
            return summary
        if recent is None or len(recent) != len(summary):
            found = "no recent events" if recent is None else f"{len(recent)} histories for {len(summary)} users"
            raise InputError("recent", found, f"The encoder {self.encoder.name} reads them: replay with recent=True.")
        return np.concatenate([summary, self.encoder.encode(recent)], axis=1)

    def user_vectors(self, user: Floats) -> Floats:
        """(n, U + H) user inputs -> (n, tower) float32."""
        if user.shape[1] != self.user_dim:
            raise InputError("user", f"shape {user.shape}", f"Give (n, {self.user_dim}), see user_inputs.")
        x = np.clip(user, self.user_low, self.user_high) - self.user_mean
        hidden = np.maximum(x @ self.user_w1 + self.user_b1, 0)
        return hidden @ self.user_w2 + self.user_b2  # type: ignore[no-any-return]

    def logits(self, user: Floats, item: NDArray[Any], cross: Floats, treat: Floats, owner: Any = None) -> Floats:
        """(n, heads) float32, before calibration; arguments as in `predict`."""
        u = self.user_vectors(np.asarray(user, np.float32))
        u = u if owner is None else u[owner]
        z = np.concatenate([cross, treat], axis=1).astype(np.float32, copy=False)
        z = np.clip(z, self.pair_low, self.pair_high) - self.pair_mean
        h = self.item_hidden[item] + u @ self.head_user + (u * self.item_tower[item]) @ self.head_product
        h = np.maximum(h + z @ self.head_pair, 0)
        h = np.maximum(h @ self.head_w2 + self.head_b2, 0)
        logits = h @ self.head_w3 + self.head_b3 + self.item_skip[item] + z @ self.skip_pair
        return logits if self.encoder is None else logits + (u * self.item_tower[item]) @ self.encoder_product  # type: ignore[no-any-return]

    def predict(
        self,
        user: Floats,
        item: NDArray[Any],
        cross: Floats,
        treat: Floats,
        offset: Floats | None = None,
        owner: NDArray[Any] | None = None,
    ) -> Prediction:
        """Calibrated responses of n pairs.

        Args:
            user: (n, U + H) float32 `user_inputs` (summary observations where H = 0), or (m, U + H) with `owner`.
            item: (n,) catalogue index. cross: (n, F) float32. treat: (n, 1 + E) float32 [shown, exp_*].
            offset: (n,) float32, the copy's effect on the logit of a click (of a purchase if there is no such head).
            owner: (n,) row of `user` of each pair; None: row by row.
        """
        return self.calibrated(self.logits(user, item, cross, treat, owner), treat, offset)

    def calibrated(self, logits: Floats, treat: Floats, offset: Floats | None = None) -> Prediction:
        """Predictions from raw logits (n, heads)."""
        scale = self.platt[:, (treat[:, 0] > 0.5).astype(np.int64)]
        values = {head: logits[:, k] * scale[k, :, 0] + scale[k, :, 1] for k, head in enumerate(self.heads)}
        if offset is not None:
            head = "click" if "click" in values else "purchase"
            values[head] = values[head] + np.asarray(offset, np.float32)
        found = {head: sigmoid(value) for head, value in values.items() if head != "leave"}
        return Prediction(found.get("click"), found.get("purchase"), values.get("leave"))

    def leave_probability(self, prediction: Prediction, click: NDArray[Any], purchase: NDArray[Any]) -> Floats:
        """P(leave | response) (n,): sigmoid(leave_logit + leave_weights . [click, purchase])."""
        if prediction.leave_logit is None:
            raise InputError("leave", "this model has no leave head", "The logs do not tell when a user left.")
        return sigmoid(prediction.leave_logit + self.leave_weights[0] * click + self.leave_weights[1] * purchase)


def item_tables(weights: dict[str, NDArray[Any]], inputs: Floats) -> dict[str, Floats]:
    """The three item tables from the item tower's weights and inputs (n_items, D + Fi) float32."""
    x = np.clip(inputs, weights["item_low"], weights["item_high"]) - weights["item_mean"]
    tower = np.maximum(x @ weights["item_w1"] + weights["item_b1"], 0) @ weights["item_w2"] + weights["item_b2"]
    return {
        "item_tower": tower,
        "item_hidden": tower @ weights["head_item"] + weights["head_b1"],
        "item_skip": x @ weights["item_skip_w"],
    }


def _sizes(heads: int, history: dict[str, Any]) -> dict[str, int]:
    sizes = {"heads": heads, "two": 2}
    if history["name"] == "decay":
        return sizes
    units = history["units"]
    own = {"units": units, "gates": 3 * units, "key_value": 2 * units, "places": 2 * history["events"], "asking": 4}
    return sizes | own | {"kinds": N_KINDS, "features": 3}


def _check(arrays: dict[str, NDArray[Any]], shapes: dict[str, tuple[str, ...]], sizes: dict[str, int]) -> None:
    for name, axes in shapes.items():
        array = arrays.get(name)
        if array is None or array.dtype != np.float32 or array.ndim != len(axes):
            found = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise ArtefactError(f"response.{name}", found, f"Expected float32 ({', '.join(axes)}).")
        for axis, size in zip(axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ArtefactError(f"response.{name}", f"{array.shape}", f"{axis} is {sizes[axis]} elsewhere.")
        if not np.isfinite(array).all():
            raise ArtefactError(f"response.{name}", "a NaN or infinity", "Fit the world again.")
