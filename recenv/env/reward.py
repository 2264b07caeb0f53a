"""Reward = w_click * click + w_purchase * purchase + w_revenue * revenue - cost per exposure - what comes unshown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.env.options import EnvOptions

Array = NDArray[np.float64]
RESPONSES = ("click", "purchase", "revenue")


def value(options: EnvOptions, amounts: Mapping[str, Array], prefix: str = "") -> Array:
    """(N,) weighted sum of the responses `prefix + name` that are there."""
    parts = [getattr(options, f"w_{name}") * amounts[prefix + name] for name in RESPONSES if prefix + name in amounts]
    return np.asarray(sum(parts[1:], start=parts[0]))


def reward_terms(options: EnvOptions, amounts: Mapping[str, Array]) -> dict[str, Array]:
    """Every term of the reward, each (N,) float64; their sum is the reward.

    Args:
        options: resolved options.
        amounts: (N,) each of `click`, `purchase`, `revenue` (sampled), `expected_*`, `unshown_*` where known, `cost`.
    """
    prefix = "expected_" if options.reward_mode == "expected" else ""
    terms = {n: getattr(options, f"w_{n}") * amounts[prefix + n] for n in RESPONSES if prefix + n in amounts}
    terms["cost"] = -amounts["cost"]
    if options.reward == "incremental":
        terms["unshown"] = -value(options, amounts, "unshown_")
    return terms


def total(terms: Mapping[str, Any]) -> Array:
    """(N,) the reward: the terms added up in their order."""
    values = list(terms.values())
    return np.asarray(sum(values[1:], start=values[0]))
