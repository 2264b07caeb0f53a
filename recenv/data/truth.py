"""The true shop behind a synthetic data set: how its users respond, tire, warm up, drift and leave.

Not a network: thresholds, saturation and budgets over latent tastes, with a trait that no log holds. User u, item i:

    m = interest . q_i + TRAIT * trait_u * prestige_i + quality_i        match
    h = x^2 / (x^2 + HALF^2),  x = max(m - THRESHOLD, 0)                 Hill curve above a threshold
    P(click | not shown) = ORGANIC * need_i * h
    P(click | shown) = 1 - (1 - P(click | not shown)) (1 - (LOW + HIGH h) / (1 + satiation_c^2))
    P(purchase | click) = BUY (COLD + (1 - COLD) warmth) (1 - DREAM depth_i) exp(-e),
        e = sensitivity_u max(log price_i - budget_u, 0)
    logit P(leave) = LEAVE + CHILL (1 - warmth) + BORE satiation_c + MISS [x = 0] + leave_weights . (click, purchase)

with c the item's category. Each exposure multiplies the session's satiation by FADE and adds one to that of c. A click
on a deep item (one to dream of, seldom bought) warms the user up, an exposure without a click cools him down; every
click pulls his interest towards q_i. All of it begins anew with each session. What a user does of his own accord moves
nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError, InputError

Array = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

TRUTH_ARRAYS, TRUTH_CARD = "truth.npz", "truth.json"
TRUTH_VERSION = 1

TRAIT, THRESHOLD, HALF = 0.35, 0.15, 0.5
ORGANIC, LOW, HIGH = 0.12, 0.02, 0.65
BUY, COLD, DREAM = 0.9, 0.1, 0.85
FADE, WARM, COOL, DRIFT, WARMTH_AT_START = 0.75, 0.7, 0.93, 0.25, 0.25
LEAVE, CHILL, BORE, MISS = -3.6, 1.6, 0.7, 0.9
LEAVE_WEIGHTS = (-1.0, 0.8)
"""What a click and a purchase add to the logit of leaving: who clicks stays, who has bought is more often done."""
CONSTANTS = (
    "TRAIT", "THRESHOLD", "HALF", "ORGANIC", "LOW", "HIGH", "BUY", "COLD", "DREAM", "FADE", "WARM", "COOL", "DRIFT",
    "WARMTH_AT_START", "LEAVE", "CHILL", "BORE", "MISS", "LEAVE_WEIGHTS",
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What is true of each user and item; U users, I items, K taste dimensions, C categories.

    Args:
        user_id, item_id: (U,), (I,) str. taste: (U, K) float64, unit length, interest at the start of a session.
        trait, budget, sensitivity: (U,) float64. factor: (I, K) float64, unit length. category: (I,) int64.
        prestige, quality, need, depth, log_price: (I,) float64.
        logging_score: (U, I) float32, score of the logging policy, which sees the trait.
        epsilon: share of uniform choice in the logging policy. slots: most exposures in a session. seed: of the shop.
    """

    user_id: NDArray[np.str_]
    item_id: NDArray[np.str_]
    taste: Array
    trait: Array
    budget: Array
    sensitivity: Array
    factor: Array
    category: NDArray[np.int64]
    prestige: Array
    quality: Array
    need: Array
    depth: Array
    log_price: Array
    logging_score: NDArray[np.float32]
    epsilon: float
    slots: int
    seed: int

    @property
    def n_users(self) -> int:
        return len(self.user_id)

    @property
    def n_items(self) -> int:
        return len(self.item_id)

    @property
    def n_categories(self) -> int:
        return int(self.category.max()) + 1

    def users(self, user_id: NDArray[np.str_]) -> NDArray[np.int64]:
        """Rows (n,) of users named by id; raises InputError on one whom this shop does not have."""
        return _rows("user_id", self.user_id, user_id)

    def items(self, item_id: NDArray[np.str_]) -> NDArray[np.int64]:
        """Rows (n,) of items named by id; raises InputError on one that this shop does not have."""
        return _rows("item_id", self.item_id, item_id)

    def propensities(self, user: Ints, shown: NDArray[np.bool_]) -> Array:
        """The logging policy (n, I): (1 - epsilon) softmax(score) + epsilon / I, over what was not `shown` (n, I)."""
        score = self.logging_score[user].astype(np.float64)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        mixed = (1 - self.epsilon) * weight / weight.sum(axis=1, keepdims=True) + self.epsilon / self.n_items
        mixed = np.where(shown, 0.0, mixed)
        return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))

    def to_bytes(self) -> dict[str, bytes]:
        """File name -> content, for a data set's folder; same truth, same bytes."""
        stream = io.BytesIO()
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        scalars = {name: arrays.pop(name) for name in ("epsilon", "slots", "seed")}
        np.savez_compressed(stream, allow_pickle=False, **arrays)
        card = {"version": TRUTH_VERSION, **scalars, "constants": {name: globals()[name] for name in CONSTANTS}}
        text = json.dumps(card, indent=1, sort_keys=True) + "\n"
        return {TRUTH_ARRAYS: stream.getvalue(), TRUTH_CARD: text.encode("utf-8")}

    @classmethod
    def from_bytes(cls, files: Mapping[str, bytes]) -> Truth:
        """Inverse of `to_bytes`.

        Raises:
            ArtefactError: a file or an array is missing, or it is the truth of another version of this module.
        """
        for name in (TRUTH_CARD, TRUTH_ARRAYS):
            if name not in files:
                raise ArtefactError(name, "is missing", "Prepare the synthetic data set again.")
        card = json.loads(files[TRUTH_CARD])
        own = json.loads(json.dumps({name: globals()[name] for name in CONSTANTS}))
        if card.get("version") != TRUTH_VERSION or card.get("constants") != own:
            raise ArtefactError(TRUTH_CARD, "is of another shop model", "Prepare the synthetic data set again.")
        with np.load(io.BytesIO(files[TRUTH_ARRAYS]), allow_pickle=False) as packed:
            arrays = dict(packed)
        missing = [f.name for f in fields(cls) if f.name not in arrays and f.name not in card]
        if missing:
            raise ArtefactError(TRUTH_ARRAYS, f"no array {missing[0]!r}", "Prepare the synthetic data set again.")
        return cls(**arrays, epsilon=card["epsilon"], slots=card["slots"], seed=card["seed"])

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """The truth kept beside a synthetic data set in the folder `path`."""
        folder = Path(path)
        return cls.from_bytes(
            {n: (folder / n).read_bytes() for n in (TRUTH_ARRAYS, TRUTH_CARD) if (folder / n).is_file()}
        )


def _rows(name: str, known: NDArray[np.str_], wanted: NDArray[np.str_]) -> NDArray[np.int64]:
    index = {value: row for row, value in enumerate(known.tolist())}
    missing = [value for value in np.asarray(wanted).tolist() if value not in index]
    if missing:
        raise InputError(name, f"{missing[0]!r} is not in the truth", "Take the truth of the same data set.")
    return np.array([index[value] for value in np.asarray(wanted).tolist()], np.int64)


@dataclass
class Chances:
    """Click, purchase given click, and logit of leaving before the response counts; float64 of one shape."""

    click: Array
    purchase: Array
    leave_logit: Array


class Sessions:
    """Hidden state of n sessions.

    Attributes:
        user (n,) int64; interest (n, K), warmth (n,), satiation (n, C) float64; shown (n, I) bool.
    """

    def __init__(self, truth: Truth, user: Ints) -> None:
        self.truth = truth
        n = len(user)
        self.user = np.zeros(n, np.int64)
        self.interest = np.zeros((n, truth.taste.shape[1]))
        self.warmth = np.zeros(n)
        self.satiation = np.zeros((n, truth.n_categories))
        self.shown = np.zeros((n, truth.n_items), np.bool_)
        self.begin(np.arange(n), user)

    def __len__(self) -> int:
        return len(self.user)

    def begin(self, rows: Ints, user: Ints) -> None:
        """Rows (m,) begin a session of the users (m,)."""
        self.user[rows] = user
        self.interest[rows] = self.truth.taste[user]
        self.warmth[rows] = WARMTH_AT_START
        self.satiation[rows] = 0.0
        self.shown[rows] = False

    def take(self, rows: Ints) -> Sessions:
        """A copy of the given sessions; rows may repeat."""
        other = Sessions(self.truth, self.user[rows])
        for name in ("interest", "warmth", "satiation", "shown"):
            setattr(other, name, getattr(self, name)[rows].copy())
        return other

    def chances(self, rows: Ints, item: Ints, shown: NDArray[np.bool_] | bool = True) -> Chances:
        """Of m pairs; `rows` may repeat, each pair is computed by itself."""
        truth, user = self.truth, self.user[rows]
        match = (self.interest[rows] * truth.factor[item]).sum(axis=1)
        match = match + TRAIT * truth.trait[user] * truth.prestige[item] + truth.quality[item]
        tired = self.satiation[rows, truth.category[item]]
        excess = np.maximum(truth.log_price[item] - truth.budget[user], 0.0) * truth.sensitivity[user]
        return _chances(match, tired, self.warmth[rows], excess, truth.need[item], truth.depth[item], np.asarray(shown))

    def table(self, shown: bool = True) -> Chances:
        """Of all items, (n, I) each."""
        truth, user = self.truth, self.user
        match = self.interest @ truth.factor.T + TRAIT * np.outer(truth.trait[user], truth.prestige) + truth.quality
        tired = self.satiation[:, truth.category]
        excess = np.maximum(truth.log_price - truth.budget[user][:, None], 0.0) * truth.sensitivity[user][:, None]
        return _chances(match, tired, self.warmth[:, None], excess, truth.need, truth.depth, np.asarray(shown))

    def observe(self, rows: Ints, item: Ints, click: NDArray[Any], purchase: NDArray[Any]) -> None:
        """Distinct rows (m,) were shown items (m,) and did or did not click. Purchases move nothing but the leaving."""
        click = np.asarray(click, np.bool_)
        self.shown[rows, item] = True
        self.satiation[rows] *= FADE
        self.satiation[rows, self.truth.category[item]] += 1.0
        self.warmth[rows] = np.where(
            click, self.warmth[rows] + WARM * (1 - self.warmth[rows]), COOL * self.warmth[rows]
        )
        pulled, target = rows[click], self.truth.factor[item[click]]
        moved = self.interest[pulled] + DRIFT * (target - self.interest[pulled])
        self.interest[pulled] = moved / np.sqrt((moved**2).sum(axis=1, keepdims=True))


def _chances(
    match: Array, satiation: Array, warmth: Array, excess: Array, need: Array, depth: Array, shown: NDArray[np.bool_]
) -> Chances:
    x = np.maximum(match - THRESHOLD, 0.0)
    hill = x**2 / (x**2 + HALF**2)
    own = ORGANIC * need * hill
    click = np.where(shown, 1 - (1 - own) * (1 - (LOW + HIGH * hill) / (1 + satiation**2)), own)
    buy = BUY * (COLD + (1 - COLD) * warmth) * (1 - DREAM * depth) * np.exp(-excess)
    leave = LEAVE + CHILL * (1 - warmth) + BORE * satiation + MISS * (x == 0.0)
    return Chances(click, np.broadcast_to(buy, click.shape), np.broadcast_to(leave, click.shape))


def leave_chance(logit: Array, click: NDArray[Any], purchase: NDArray[Any]) -> Array:
    """P(leave) once the response is known."""
    return np.asarray(1.0 / (1.0 + np.exp(-(logit + LEAVE_WEIGHTS[0] * click + LEAVE_WEIGHTS[1] * purchase))))
