"""What `meta.json` says about a data set."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import numpy as np
import pandas as pd

from recenv.core.errors import InputError
from recenv.data.columns import META_DEFAULTS, META_VOCABULARY, NONE_ITEM, RESPONSES, SPLITS, is_feature
from recenv.data.quarantine import Quarantine

_COMPUTED = ("counts", "quarantined", "hashes", "split_times", "responses", "test_reads", "time")

HEAVY_ROWS, HEAVY_SHARE = 20, 0.5
"""Of so many impressions one that carries more than this share of the weight is warned of."""


def start_meta(given: dict[str, Any]) -> dict[str, Any]:
    """The defaults, overlaid by what the source says.

    Raises:
        InputError: a key or value that the schema does not know, or a name that could leave its folder.
    """
    meta = copy.deepcopy(META_DEFAULTS)
    for key, value in given.items():
        if key not in META_DEFAULTS:
            raise InputError(f"meta key {key!r}", "is unknown", f"Use some of {', '.join(sorted(META_DEFAULTS))}.")
        if key in META_VOCABULARY and value not in META_VOCABULARY[key]:
            mend = f"Use one of {', '.join(META_VOCABULARY[key])}."
            raise InputError(f"meta key {key!r}", f"unknown value {value!r}", mend)
        if key not in _COMPUTED:
            meta[key] = copy.deepcopy(value)
    check_name(str(meta["name"]))
    return meta


def check_name(name: str) -> str:
    """Return `name` if it can be a folder's name.

    Raises:
        InputError: it is empty, long, or holds other than letters, digits, `.`, `_`, `-` (so no `/` and no `..`).
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or ".." in name:
        raise InputError("name", f"{name[:60]!r} cannot name a folder", "Use letters, digits, '.', '_' and '-'.")
    return name


def fill_meta(
    meta: dict[str, Any],
    events: pd.DataFrame,
    items: pd.DataFrame,
    users: pd.DataFrame,
    copies: pd.DataFrame,
    quarantine: Quarantine,
    extra: dict[str, int],
) -> None:
    """Write counts, responses, treatment references and warnings into `meta`, from the finished tables."""
    shown = events[events["kind"] == "impression"]
    meta["responses"] = [name for name in RESPONSES if shown[name].notna().any()]
    by_split = events["split"].value_counts()
    meta["counts"] = {
        "rows": len(events),
        "users": len(users),
        "items": len(items),
        "copies": len(copies),
        "sessions": int(events["session_id"].nunique()),
        **{split: int(by_split[split]) for split in SPLITS},
        **{f"kind_{kind}": int(n) for kind, n in events["kind"].value_counts().sort_index().items()},
        **extra,
    }
    meta["quarantined"] = dict(sorted(quarantine.counts.items()))
    if shown.empty:
        meta["exposure"] = "none"
    _treatments(meta, shown[shown["split"] == "train"])
    _warn(meta, shown)


def _treatments(meta: dict[str, Any], shown: pd.DataFrame) -> None:
    """Reference values of exp_* for simulation: the source's, else the mean when shown (train split), and 0 unshown.

    A declared null in exp_unshown stays: what is not shown keeps its own value.
    """
    for name in filter(lambda n: n.startswith("exp_"), shown.columns):
        if name not in meta["exp_reference"]:
            mean = float(np.average(shown[name], weights=shown["weight"])) if len(shown) else 0.0
            meta["exp_reference"][name] = round(mean, 6)
            meta["assumed"].append(f"exp_reference of {name}: its mean when shown")
        if name not in meta["exp_unshown"]:
            meta["exp_unshown"][name] = 0.0
            meta["assumed"].append(f"exp_unshown of {name}: 0")
    for key in ("exp_reference", "exp_unshown"):
        for name, value in meta[key].items():
            _check_value(key, name, value)
            if not is_feature(name) or name not in shown:
                raise InputError(f"meta key {key!r}", f"no column {name!r} in events", "Name an exp_* column.")


def _check_value(key: str, name: str, value: object) -> None:
    """exp_* values are finite; null in exp_unshown says that an item not shown keeps its own value of this column."""
    if value is None and key == "exp_unshown":
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        mend = "Give a finite number" + (
            ", or null: not shown, an item keeps its own." if key == "exp_unshown" else "."
        )
        raise InputError(f"meta key {key!r}", f"{name} is {value!r}", mend)


def _warn(meta: dict[str, Any], shown: pd.DataFrame) -> None:
    warnings = meta["warnings"]
    if shown.empty:
        warnings.append("no impressions: no response model can be fitted")
    elif not {"click", "purchase"} & set(meta["responses"]):
        warnings.append("no click or purchase is recorded on impressions: no response model can be fitted")
    for name in ("click", "purchase"):
        values = shown[name].dropna()
        if len(values) and (values > 0).all():
            warnings.append(f"every {name} is positive: no response model can be fitted")
        elif len(values) and not (values > 0).any():
            warnings.append(f"no {name} is positive: no response model can be fitted")
    seen = int(shown.loc[shown["item_id"] != NONE_ITEM, "item_id"].nunique())
    if 0 < seen < meta["counts"]["items"] / 2:
        unseen = f"{meta['counts']['items'] - seen:,} of {meta['counts']['items']:,} items were never shown"
        warnings.append(f"{unseen}: what is said of them is guessed from items like them; leave out what is not sold")
    weight = shown["weight"].to_numpy(np.float64)
    if len(weight) >= HEAVY_ROWS and weight.max() > HEAVY_SHARE * weight.sum():
        share = weight.max() / weight.sum()
        warnings.append(f"one impression of {len(weight):,} carries {share:.0%} of their weight: is `weight` right?")
    if meta["counts"]["users"] == 1:
        warnings.append("one user only: no response model can be fitted")
    warnings.extend(f"split {name!r} is empty" for name in SPLITS if not meta["counts"][name])
    without = [name for name in SPLITS if meta["counts"][name] and not (shown["split"] == name).any()]
    if without and not shown.empty:
        warnings.append(
            f"no impressions in {', '.join(without)}, and a world needs some in train and validation: bring longer "
            "logs, other split fractions, or shorter windows (purchase_window_days, click_window_minutes of the "
            "mapping: an impression whose window reaches beyond its split is set aside)"
        )
