"""A shop like a grocer: each visit meets a list of promoted items, baskets are bought at once, showing is derived."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recenv.data.logs import build
from recenv.data.options import BuildOptions
from recenv.data.schema import RawTables
from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.frailty import conditional, draw
from recenv.response.train import TrainConfig

DAY = 86_400
ITEMS, OFFERED, NEGATIVES = 24, 12, 3


def visits_log(users: int, visits: int, theta: float, seed: int) -> RawTables:
    """Weekly visits of `users`, each with 12 of 24 items on offer; purchases share a session effect of variance theta.

    A third of what was not bought is kept, with weight 3.
    """
    rng = np.random.default_rng(seed)
    quality, taste = rng.normal(-2.4, 0.6, ITEMS), rng.normal(0, 0.7, (users, ITEMS))
    offers = np.stack([np.sort(rng.choice(ITEMS, OFFERED, replace=False)) for _ in range(visits)])
    user = np.repeat(np.arange(users), visits)
    week = np.tile(np.arange(visits), users)
    item = offers[week]  # (n, OFFERED)
    p = 1 / (1 + np.exp(-(quality[item] + taste[user[:, None], item])))
    g = draw(theta, rng.random(len(user)))[:, None]
    bought = rng.random(p.shape) < conditional(p, theta, g)
    kept = bought | (rng.random(p.shape) < 1 / NEGATIVES)
    row, place = np.nonzero(kept)
    time = 1_600_000_000 + week * 7 * DAY + rng.integers(0, 5 * DAY, len(user))
    session = [f"s{u}-{w}" for u, w in zip(user, week)]
    events = pd.DataFrame(
        {
            "user_id": [f"u{u}" for u in user[row]],
            "item_id": [f"i{i:02d}" for i in item[row, place]],
            "session_id": [session[r] for r in row],
            "timestamp": pd.to_datetime(time[row], unit="s", utc=True),
            "kind": "impression",
            "purchase": bought[row, place].astype(np.float32),
            "weight": np.where(bought[row, place], 1.0, NEGATIVES),
            "exp_display": np.float32(1.0),
        }
    )
    listed = pd.DataFrame({"offer_id": np.repeat(np.arange(visits), OFFERED),
                           "item_id": [f"i{i:02d}" for i in offers.ravel()],
                           "exp_display": np.float32(1.0)})  # fmt: skip
    met = pd.DataFrame({"session_id": session, "offer_id": week})
    items = pd.DataFrame({"item_id": [f"i{i:02d}" for i in range(ITEMS)], "text": "<b>bread & milk</b>",
                          "category": [f"aisle <{i % 4}>" for i in range(ITEMS)], "price": 2.0})  # fmt: skip
    meta = {"name": "grocer", "source": "simulated <visits>", "exposure": "derived", "negatives": "observed",
            "responses": ["purchase"], "one_visit_rows": True, "slots_per_visit": 5,
            "exp_reference": {"exp_display": 1.0}, "exp_unshown": {"exp_display": 0.0},
            "assumed": ["Whoever visits sees the list & reads it."]}  # fmt: skip
    return RawTables(events, items, None, None, meta, attributed=True, offers=listed, visits=met)


def visits_shop(folder: Path, theta: float = 1.5, users: int = 500, visits: int = 20, seed: int = 0) -> Path:
    """`data`, `world` and `world-judge` below `folder`."""
    build(visits_log(users, visits, theta, seed), BuildOptions(progress=False)).save(folder / "data")
    options = FitOptions(start_states=100, vector_dim=8, training=TrainConfig(epochs=3, threads=1))
    fit_worlds(folder / "data", folder / "world", options, progress=False)
    return folder
