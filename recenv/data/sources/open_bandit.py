"""Source `open-bandit`: impressions of a fashion shop under a random or a Thompson-sampling policy, propensities known.

Data: the CSV files of the package `obp` 0.4.1 (extra `obd`; 10,000 rows a file), found without importing it, or the
folder of the full set. A fixture for propensities and off-policy evaluation: 287 clicks in 60,000 rows, so that no
response model beats the base rate on the sample.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recenv.core.errors import InputError
from recenv.data.schema import RawTables
from recenv.data.sources.files import read_columns
from recenv.data.tables import visit_ids

DISTRIBUTION = "obp"
POLICIES, CAMPAIGNS = ("random", "bts"), ("all", "men", "women")
USER_FEATURES = tuple(f"user_feature_{k}" for k in range(4))
ITEM_FEATURES = tuple(f"item_feature_{k}" for k in range(4))
POSITIONS = 3


@dataclass(frozen=True)
class OpenBanditOptions:
    """Options of the source.

    Args:
        policy: who chose what was shown: "random" or "bts" (Bernoulli Thompson sampling).
        campaign: "all", "men" or "women".
        seed: unused; every source takes one.
    """

    policy: str = "random"
    campaign: str = "all"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, words in (("policy", POLICIES), ("campaign", CAMPAIGNS)):
            if getattr(self, name) not in words:
                what = f"unknown {getattr(self, name)!r}"
                raise InputError(f"option {name!r}", what, f"Use one of {', '.join(words)}.")


def load(path: str | None = None, options: OpenBanditOptions | None = None) -> RawTables:
    """Read one policy's log of one campaign.

    Args:
        path: folder of the full set, with `<policy>/<campaign>/<campaign>.csv`; the package's sample if None.
        options: see `OpenBanditOptions`.

    Raises:
        InputError: the package or a file is missing, or a column or value is not the source's.
    """
    options = options or OpenBanditOptions()
    folder = find_folder(path) / options.policy / options.campaign
    numbers: dict[str, Any] = {"position": int, "click": float, "propensity_score": float}
    texts: dict[str, Any] = dict.fromkeys(USER_FEATURES, str)
    log = read_columns(folder / f"{options.campaign}.csv", {"timestamp": "time", "item_id": str, **numbers, **texts})
    rows = visit_ids(len(log))
    events = pd.DataFrame(
        {
            "user_id": rows,
            "item_id": log["item_id"],
            "session_id": rows,
            "timestamp": _utc(folder, log["timestamp"]),
            "kind": "impression",
            "position": log["position"],
            "propensity": log["propensity_score"],
            "click": log["click"],
        }
    )
    users = log[list(USER_FEATURES)].assign(user_id=rows)
    items = _items(folder / "item_context.csv")
    return RawTables(events, items, users, None, _meta(options, path is None), attributed=True)


def find_folder(path: str | None) -> Path:
    """The folder of the policies' folders: `path`, or the installed package's, found without running its code.

    Raises:
        InputError: the package is not installed, or the folder holds no `random` or `bts`.
    """
    if path is None:
        try:
            folder = Path(str(importlib.metadata.distribution(DISTRIBUTION).locate_file("obp/dataset/obd")))
        except importlib.metadata.PackageNotFoundError:
            what = f"the package {DISTRIBUTION} is not installed"
            raise InputError("source open-bandit", what, "Run `pip install 'recenv[obd]'`, or give --path.") from None
    else:
        folder = Path(path)
    if not any((folder / policy).is_dir() for policy in POLICIES):
        mend = "Give the folder that holds the folders random and bts."
        raise InputError(str(folder), "holds no Open Bandit data", mend)
    return folder


def _utc(folder: Path, times: pd.Series) -> pd.Series:
    if times.dt.tz is None:
        raise InputError(str(folder), "its timestamps carry no zone", "Give the source's own file, unchanged.")
    return times.dt.tz_convert("UTC")


def _items(file: Path) -> pd.DataFrame:
    types: dict[str, Any] = {"item_id": str, ITEM_FEATURES[0]: float, **dict.fromkeys(ITEM_FEATURES[1:], str)}
    table = read_columns(file, types)
    table["text"] = "item " + table["item_id"]
    table["category"] = "group " + table["item_feature_3"].str[:8]
    return table


def _meta(options: OpenBanditOptions, sample: bool) -> dict[str, Any]:
    chosen = {
        "random": "uniformly at random",
        "bts": "by Bernoulli Thompson sampling; its propensities were computed there by Monte Carlo simulation",
    }[options.policy]
    return {
        "name": f"open-bandit-{options.policy}-{options.campaign}",
        "source": "open-bandit",
        "licence": "CC BY 4.0 (data), Apache-2.0 (package)",
        "provenance": [
            "Open Bandit Dataset: Saito, Aihara, Matsutani and Narita, Open Bandit Dataset and Pipeline, NeurIPS 2021 "
            "(datasets and benchmarks); logged by ZOZO, Inc. on ZOZOTOWN, 24 to 30 November 2019.",
            "The sample of the package obp 0.4.1" if sample else "The files of the folder given",
            f"Campaign {options.campaign!r}; items chosen {chosen}.",
        ],
        "kind": "real",
        "exposure": "observed",
        "propensity": "uniform" if options.policy == "random" else "known",
        "negatives": "observed",
        "slots_per_visit": 1,
        "assumed": [
            "No user id in the log: each impression is a visitor and a session of its own, which is no person; "
            "intervals clustered by user are intervals by row",
            f"The {POSITIONS} positions of a page are rows of their own, and the propensity is that of the item at its "
            "position; what stood beside an item is not recorded",
            "user_feature_* are hashed; the user-item affinities are left out",
            "items.text: only the item's number is known; items.category: the first letters of hashed item_feature_3",
        ],
    }
