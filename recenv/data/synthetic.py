"""Source `synthetic`: the log of a shop whose response, fatigue, drift, leaving and logging policy are known.

`load` gives the tables and, as `extras`, the truth that is kept beside them; `Truth.load` reads it back.
"""

from __future__ import annotations

from typing import Any

from recenv.core.errors import InputError
from recenv.data.schema import RawTables
from recenv.data.synthetic_log import simulate
from recenv.data.synthetic_shop import SyntheticOptions, make_shop

__all__ = ["SyntheticOptions", "load"]


def load(path: str | None = None, options: SyntheticOptions | None = None) -> RawTables:
    """Simulate a log of the shop: attributed impressions with known propensities, and the truth in `extras`.

    Args:
        path: must be None; the source reads nothing.
        options: see `SyntheticOptions`.
    """
    if path is not None:
        raise InputError("path", f"{path!r}", "The source synthetic reads no files: leave the path out.")
    options = options or SyntheticOptions()
    shop = make_shop(options)
    return RawTables(
        events=simulate(shop.truth, options),
        items=shop.items,
        users=shop.users,
        meta=_meta(options),
        attributed=True,
        extras=shop.truth.to_bytes(),
    )


def _meta(options: SyntheticOptions) -> dict[str, Any]:
    return {
        "name": "synthetic",
        "source": "synthetic",
        "licence": "MIT",
        "provenance": [f"simulated by recenv.data.synthetic: {options}"],
        "kind": "synthetic",
        "exposure": "observed",
        "propensity": "known",
        "negatives": "observed",
        "responses": ["click", "purchase", "revenue"],
        "time": "utc",
        "slots_per_visit": options.slots,
        "currency": "USD",
    }
