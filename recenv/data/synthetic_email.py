"""Source `synthetic-email`: a randomised e-mail test whose response is known.

Each user gets, `mails` times, one of K items with one of C copies, or nothing (the holdout), drawn from a propensity
that is written down. What the user does next is recorded, and the truth is kept beside the tables.

    logit P(click | user u, item i, copy c) = RATE + quality_i + taste_u . factor_i + style_{segment(u), c} + base_{i,c}
    logit P(purchase | click) = BUY + 0.5 quality_i - price_i + spending_u
    P(visit unshown) = holdout_rate of the user; a holdout's visit counts as its click

"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import ArtefactError, InputError
from recenv.data.columns import NONE_ITEM
from recenv.data.schema import RawTables

Floats = NDArray[np.float64]
TRUTH_FILE, CARD_FILE, TRUTH_VERSION = "email_truth.npz", "email_truth.json", 1
START, WEEK = 1_704_067_200, 7 * 86_400
RATE, BUY, VISIT = -2.0, -1.0, -3.5
TASTE = 3
SEGMENTS = ("women", "men", "unknown")
REGIONS = ("urban", "suburban", "rural")
STYLES = ("plain", "benefit", "question", "playful", "occasion", "premium", "price", "urgency")
NAMES = ("scarf", "boots", "lamp", "kettle", "novel", "racket", "cushion", "watch", "jacket", "puzzle", "mug", "tent")
LINES = (
    "Have a look at {product}",
    "{product} makes the day easier",
    "Thought about {product} lately?",
    "Somebody said {product}?",
    "For the weekend: {product}",
    "{product}, made with care",
    "{product} for {price}",
    "{product}, here this week",
)


@dataclass(frozen=True)
class EmailOptions:
    """Options of the source.

    Args:
        users: number of users.
        items: number of items, at most 12.
        copies: number of texts an item, at most 8.
        mails: mails (or holdouts) a user, one a week.
        holdout: share of the decisions that send nothing.
        style_sd: standard deviation of segment x style, base_sd: of each copy's own effect, on the logit of a click.
        tilt: how far the propensities depend on the user's segment; 0: the same for every mail.
        seed: of users, items and what happens.
    """

    users: int = 60_000
    items: int = 3
    copies: int = 2
    mails: int = 1
    holdout: float = 0.1
    tilt: float = 0.0
    seed: int = 0
    style_sd: float = 0.2
    base_sd: float = 0.15

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "users": (10, 10_000_000), "items": (2, len(NAMES)), "copies": (1, len(LINES)), "mails": (1, 1000),
            "holdout": (0, 0.9), "tilt": (0, 3), "seed": (0, 2**63 - 1),
            "style_sd": (0, 2), "base_sd": (0, 2),
        }  # fmt: skip
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), limits[field.name]
            whole = field.type == "int"
            kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                what = f"is {value!r}"
                raise InputError(f"option {field.name!r}", what, f"Give {field.type} in [{low}, {high}].")


@dataclass(frozen=True)
class EmailTruth:
    """What is true; U users, A = 1 + items * copies actions, action 0 sends nothing, then item by item its copies.

    Args:
        user_id: (U,) str. item_id: (A,) str, NONE_ITEM for action 0. copy_id: (A,) str, "" for action 0.
        click: (U, A) float64, P(click); for action 0 P(visit). purchase: (U, A) float64, P(purchase).
        propensity: (U, A) float64, of each decision about this user; rows sum to 1.
        price: (A,) float64.
    """

    user_id: NDArray[np.str_]
    item_id: NDArray[np.str_]
    copy_id: NDArray[np.str_]
    click: Floats
    purchase: Floats
    propensity: Floats
    price: Floats

    def value(self, probability: Floats, response: str = "click", users: NDArray[np.int64] | None = None) -> float:
        """Mean response under a policy: probability (n, A) for the users (n,), all of them if None.

        Raises:
            InputError: unknown response, or a table of another shape.
        """
        if response not in ("click", "purchase", "revenue"):
            raise InputError("response", f"unknown {response!r}", "Use click, purchase or revenue.")
        table = self.click if response == "click" else self.purchase * (self.price if response == "revenue" else 1.0)
        table = table if users is None else table[users]
        if probability.shape != table.shape:
            raise InputError("probability", f"shape {probability.shape}", f"Give {table.shape}.")
        return float((probability * table).sum(axis=1).mean())

    def to_bytes(self) -> dict[str, bytes]:
        """File name -> content, for a data set's folder; same truth, same bytes."""
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **{f.name: getattr(self, f.name) for f in fields(self)})
        card = json.dumps({"version": TRUTH_VERSION}, sort_keys=True) + "\n"
        return {TRUTH_FILE: stream.getvalue(), CARD_FILE: card.encode()}

    @classmethod
    def from_bytes(cls, files: Mapping[str, bytes]) -> EmailTruth:
        """Inverse of `to_bytes`.

        Raises:
            ArtefactError: a file or array is missing, or of another version.
        """
        for name in (TRUTH_FILE, CARD_FILE):
            if name not in files:
                raise ArtefactError(name, "is missing", "Prepare the synthetic data set again.")
        if json.loads(files[CARD_FILE]).get("version") != TRUTH_VERSION:
            raise ArtefactError(CARD_FILE, "is of another version", "Prepare the synthetic data set again.")
        with np.load(io.BytesIO(files[TRUTH_FILE]), allow_pickle=False) as packed:
            arrays = dict(packed)
        missing = [f.name for f in fields(cls) if f.name not in arrays]
        if missing:
            raise ArtefactError(TRUTH_FILE, f"no array {missing[0]!r}", "Prepare the synthetic data set again.")
        return cls(**arrays)


@dataclass(frozen=True)
class EmailShop:
    """The truth and the three tables that the shop itself has."""

    truth: EmailTruth
    users: pd.DataFrame
    items: pd.DataFrame
    copies: pd.DataFrame


def load(path: str | None = None, options: EmailOptions | None = None) -> RawTables:
    """Simulate the test.

    Args:
        path: must be None; the source reads nothing.
        options: see `EmailOptions`.

    Raises:
        InputError: a path, or an option out of range.
    """
    if path is not None:
        raise InputError("path", f"{path!r}", "The source synthetic-email reads no files: leave the path out.")
    options = options or EmailOptions()
    shop = make_email_shop(options)
    return RawTables(
        events=_events(shop.truth, options),
        items=shop.items,
        users=shop.users,
        copies=shop.copies,
        meta=_meta(options),
        attributed=True,
        extras=shop.truth.to_bytes(),
    )


def make_email_shop(options: EmailOptions) -> EmailShop:
    """Draw users, items and texts, each from a stream of its own."""
    rng = np.random.default_rng([options.seed, 51])
    n = options.users
    segment, region = rng.integers(len(SEGMENTS), size=n), rng.integers(len(REGIONS), size=n)
    spending = rng.normal(0, 0.5, n)
    taste = rng.normal(0, 0.7, (len(SEGMENTS), TASTE))[segment] + rng.normal(0, 0.4, (len(REGIONS), TASTE))[region]
    rng = np.random.default_rng([options.seed, 52])
    quality, price = rng.normal(0, 0.3, options.items), np.exp(rng.normal(3, 0.4, options.items)).round(2)
    factor = rng.normal(0, 0.6, (options.items, TASTE))
    style = rng.normal(0, options.style_sd, (len(SEGMENTS), options.copies))
    base = rng.normal(0, options.base_sd, (options.items, options.copies))
    item, copy = np.repeat(np.arange(options.items), options.copies), np.tile(np.arange(options.copies), options.items)
    shown = RATE + quality[item] + taste @ factor[item].T + style[segment][:, copy] + base[item, copy]
    click = np.concatenate([_sigmoid(VISIT + 0.5 * spending)[:, None], _sigmoid(shown)], axis=1)
    buy = _sigmoid(BUY + 0.5 * quality[item] - 0.3 * (np.log(price[item]) - 3) + spending[:, None])
    mean_buy = buy.mean(axis=1, keepdims=True)
    item_id = np.array([f"i{k}" for k in range(options.items)])
    copy_id = np.array([f"i{i}-{STYLES[c]}" for i, c in zip(item, copy)])
    truth = EmailTruth(
        user_id=np.array([f"u{k:06d}" for k in range(n)]),
        item_id=np.concatenate([[NONE_ITEM], item_id[item]]),
        copy_id=np.concatenate([[""], copy_id]),
        click=click,
        purchase=click * np.concatenate([mean_buy, buy], axis=1),
        propensity=_propensity(options, segment, rng),
        price=np.concatenate([[float(price.mean())], price[item]]),
    )
    users = {"segment": np.array(SEGMENTS)[segment], "region": np.array(REGIONS)[region], "spending": spending.round(3)}
    names = np.array(NAMES[: options.items])
    items = {"item_id": item_id, "text": np.char.add("the ", names), "category": "gift", "price": price}
    lines = np.array(LINES[: options.copies])[copy]
    styles = np.array(STYLES[: options.copies])[copy]
    copies = {"copy_id": copy_id, "item_id": item_id[item], "style": styles, "template": lines, "text": lines}
    return EmailShop(
        truth, pd.DataFrame({"user_id": truth.user_id, **users}), pd.DataFrame(items), pd.DataFrame(copies)
    )


def _propensity(options: EmailOptions, segment: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """(U, A): the holdout's share, the rest by a softmax that `tilt` bends by segment."""
    score = options.tilt * rng.normal(0, 1, (len(SEGMENTS), options.items * options.copies))
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    chosen = (1 - options.holdout) * weight / weight.sum(axis=1, keepdims=True)
    table = np.concatenate([np.full((len(SEGMENTS), 1), options.holdout), chosen], axis=1)
    return np.asarray(table[segment], np.float64)


def _events(truth: EmailTruth, options: EmailOptions) -> pd.DataFrame:
    rng = np.random.default_rng([options.seed, 53])
    n = options.users * options.mails
    user, mail = np.repeat(np.arange(options.users), options.mails), np.tile(np.arange(options.mails), options.users)
    total = np.cumsum(truth.propensity, axis=1)
    u = rng.random(n) * total[user, -1]
    action = np.minimum((total[user] <= u[:, None]).sum(axis=1), len(truth.item_id) - 1)
    click = rng.random(n) < truth.click[user, action]
    purchase = click & (rng.random(n) < truth.purchase[user, action] / truth.click[user, action])
    # The users are written to day by day, in an order that has nothing to do with them.
    wait = rng.permutation(options.users)[user] * (WEEK / options.users)
    time = START + mail * WEEK + wait.astype(np.int64)
    sent = action > 0
    return pd.DataFrame(
        {
            "user_id": truth.user_id[user],
            "item_id": truth.item_id[action],
            "session_id": np.char.add(np.char.add(truth.user_id[user], "-"), mail.astype(str)),
            "timestamp": pd.to_datetime(time, unit="s", utc=True),
            "kind": "impression",
            "copy_id": np.where(sent, truth.copy_id[action], None),
            "position": 1,
            "propensity": truth.propensity[user, action],
            "click": click.astype(np.float64),
            "purchase": purchase.astype(np.float64),
            "revenue": purchase * truth.price[action],
        }
    )


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _meta(options: EmailOptions) -> dict[str, Any]:
    return {
        "name": "synthetic-email",
        "source": "synthetic-email",
        "licence": "MIT",
        "provenance": [f"simulated by recenv.data.synthetic_email: {options}"],
        "kind": "synthetic",
        "exposure": "observed",
        "propensity": "known",
        "negatives": "observed",
        "slots_per_visit": 1,
        "currency": "USD",
        "assumed": ["A visit of a user who was sent nothing counts as that decision's click"],
    }
