"""A synthetic shop: users with a hidden trait, a catalogue, and a logging policy that sees the trait.

The trait confounds: users who have much of it like prestige items and are shown them more often, so that the logged
rate of such an item is not the rate that it would have if it were shown to everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.data.truth import Array, Truth

TASTE = 6
AGES = ("18-29", "30-44", "45-59", "60+")
REGIONS = ("north", "south", "coast")
CHANNELS = ("app", "web", "store")
CATEGORY_NAMES = (
    "kitchen", "garden", "books", "toys", "sports", "beauty", "pets", "office", "music", "travel", "food", "art",
)  # fmt: skip
ADJECTIVES = (
    "quiet", "bright", "sturdy", "light", "simple", "classic", "soft", "handy", "small", "smooth", "warm", "plain",
)  # fmt: skip
NOUNS = ("set", "kit", "bundle", "piece", "pair", "box", "case", "collection")


@dataclass(frozen=True)
class SyntheticOptions:
    """Options of the source `synthetic`.

    Args:
        users: number of users.
        items: number of items.
        categories: number of categories, at most 12.
        sessions: mean number of sessions of a user with the shop's recommendations.
        slots: most exposures in a session.
        opportunities: whether to log, beside each exposure, `ghosts` items that the policy drew and held back.
        ghosts: number of items held back at each exposure.
        acts: whether to log what users do of their own accord (views, carts, purchases).
        epsilon: share of uniform choice in the logging policy; gives every item support.
        confounding: how strongly the logging policy follows the hidden trait.
        personal: how strongly it follows the taste that the profile tells.
        days: length of the log.
        seed: of users, items and what they do.
    """

    users: int = 2000
    items: int = 100
    categories: int = 8
    sessions: float = 8.0
    slots: int = 10
    opportunities: bool = True
    ghosts: int = 1
    acts: bool = True
    epsilon: float = 0.3
    confounding: float = 1.0
    personal: float = 0.8
    days: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "users": (1, 10_000_000), "items": (2, 100_000), "categories": (1, len(CATEGORY_NAMES)),
            "sessions": (1, 1000), "slots": (1, 1000), "ghosts": (1, 100), "epsilon": (1e-6, 1),
            "confounding": (0, 5), "personal": (0, 5), "days": (1, 10_000), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for field in fields(self):
            given, whole = getattr(self, field.name), field.type == "int"
            if field.type == "bool":
                good = isinstance(given, bool)
            else:
                low, high = limits[field.name]
                kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
                good = isinstance(given, kinds) and not isinstance(given, bool) and bool(low <= given <= high)
            if not good:
                mend = "Give true or false." if field.type == "bool" else f"Give {field.type} in {limits[field.name]}."
                raise InputError(f"option {field.name!r}", f"is {given!r}", mend)
        held = self.ghosts if self.opportunities else 0
        if self.items < self.slots + held:
            what = f"{self.items} items for {self.slots} slots and {held} held back"
            raise InputError("option 'items'", what, "An item is shown once a session: take more items or fewer slots.")
        if self.days < 5 * self.sessions:
            raise InputError("option 'days'", f"{self.days} for {self.sessions} sessions", "Give 5 days a session.")


@dataclass(frozen=True)
class Shop:
    """The truth and what the shop itself knows: the item and the user table."""

    truth: Truth
    items: pd.DataFrame
    users: pd.DataFrame


def make_shop(options: SyntheticOptions) -> Shop:
    """Draw users and items; each part from a stream of its own, so that more users do not change the items."""
    catalogue = _items(options, np.random.default_rng([options.seed, 1]))
    profile, user = _users(options, np.random.default_rng([options.seed, 2]))
    rng = np.random.default_rng([options.seed, 3])
    popularity = 1.2 * catalogue["quality"] + 0.9 * rng.standard_normal(options.items)
    expected = profile @ catalogue["factor"].T
    score = (
        popularity + options.confounding * np.outer(user["trait"], catalogue["prestige"]) + options.personal * expected
    )
    truth = Truth(
        user_id=np.array([f"u{i:05d}" for i in range(options.users)]),
        item_id=np.array([f"i{i:04d}" for i in range(options.items)]),
        **user,
        **catalogue,
        logging_score=score.astype(np.float32),
        epsilon=float(options.epsilon),
        slots=int(options.slots),
        seed=int(options.seed),
    )
    return Shop(truth, _item_table(truth), _user_table(truth, options))


def _unit(x: Array) -> Array:
    return np.asarray(x / np.sqrt((x**2).sum(axis=-1, keepdims=True)))


def _items(options: SyntheticOptions, rng: np.random.Generator) -> dict[str, Any]:
    n = options.items
    category = np.arange(n) % options.categories
    centre = _unit(rng.standard_normal((options.categories, TASTE)))
    prestige = rng.standard_normal(n)
    level = rng.normal(2.5, 0.4, options.categories)
    return {
        "factor": _unit(centre[category] + 0.25 * rng.standard_normal((n, TASTE))),
        "category": category.astype(np.int64),
        "prestige": prestige,
        "quality": 0.25 * rng.standard_normal(n),
        "need": rng.beta(0.6, 1.4, n),
        "depth": np.clip(0.15 + 0.7 * (category % 2) + 0.15 * rng.standard_normal(n), 0.0, 1.0),
        "log_price": level[category] + 0.35 * prestige + 0.5 * rng.standard_normal(n),
    }


def _cells(options: SyntheticOptions) -> NDArray[np.int64]:
    """(U, 3) age, region and channel of each user."""
    rng = np.random.default_rng([options.seed, 4])
    sizes = (len(AGES), len(REGIONS), len(CHANNELS))
    return np.stack([rng.integers(size, size=options.users) for size in sizes], axis=1)


def _users(options: SyntheticOptions, rng: np.random.Generator) -> tuple[Array, dict[str, Any]]:
    """What the profile tells of the taste, (U, K) unit length, and the true user arrays."""
    n, cells = options.users, _cells(options)
    by_age, by_region = rng.standard_normal((len(AGES), TASTE)), rng.standard_normal((len(REGIONS), TASTE))
    profile = _unit(by_age[cells[:, 0]] + 0.7 * by_region[cells[:, 1]])
    trait = rng.standard_normal(n)
    return profile, {
        "taste": _unit(profile + 0.6 * _unit(rng.standard_normal((n, TASTE)))),
        "trait": trait,
        "budget": 2.5 + 0.25 * trait + 0.15 * (cells[:, 0] - 1.5) + 0.12 * rng.standard_normal(n),
        "sensitivity": np.exp(0.6 - 0.3 * trait + 0.3 * rng.standard_normal(n)),
    }


def _item_table(truth: Truth) -> pd.DataFrame:
    category = [CATEGORY_NAMES[c] for c in truth.category]
    text = [
        f"{ADJECTIVES[i * 5 % len(ADJECTIVES)]} {name} {NOUNS[i * 3 % len(NOUNS)]} {i:04d}"
        for i, name in enumerate(category)
    ]
    price = np.round(np.exp(truth.log_price), 2)
    return pd.DataFrame({"item_id": truth.item_id, "text": text, "category": category, "price": price})


def _user_table(truth: Truth, options: SyntheticOptions) -> pd.DataFrame:
    age, region, channel = _cells(options).T
    # What the shop has noted of the spending power: the budget, blurred.
    noise = np.random.default_rng([options.seed, 5]).standard_normal(truth.n_users)
    return pd.DataFrame(
        {
            "user_id": truth.user_id,
            "age": np.array(AGES)[age],
            "region": np.array(REGIONS)[region],
            "channel": np.array(CHANNELS)[channel],
            "spending": np.round(truth.budget + 0.15 * noise, 3),
        }
    )
