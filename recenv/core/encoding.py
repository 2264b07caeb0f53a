"""From a user's raw features to the profile vector, the same at fit and in service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError

MAX_LEVELS = 32


@dataclass(frozen=True)
class Feature:
    """One raw feature: numeric (standardised, clipped to 5 deviations, plus a missing mark) or categorical (one-hot).

    Args:
        name: column of the users table.
        levels: levels of a categorical feature, most frequent first; empty for a numeric one. A level that is not
            listed, or a missing value, encodes as zeros.
        mean, scale: of a numeric feature.
    """

    name: str
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def size(self) -> int:
        return len(self.levels) or 2


@dataclass(frozen=True)
class ProfileEncoder:
    """Encodes user features as (n, size) float32."""

    features: tuple[Feature, ...]

    @property
    def size(self) -> int:
        return sum(f.size for f in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every column of the profile."""
        out: list[str] = []
        for f in self.features:
            out += [f"{f.name}={level}" for level in f.levels] or [f.name, f"{f.name}:missing"]
        return tuple(out)

    @classmethod
    def fit(cls, columns: Mapping[str, Sequence[Any]]) -> ProfileEncoder:
        """Learn levels, means and scales from whole columns (missing values are None or NaN)."""
        return cls(tuple(_fit_feature(name, list(values)) for name, values in columns.items()))

    def encode(self, columns: Mapping[str, Sequence[Any]], n: int) -> NDArray[np.float32]:
        """Profiles of n users; a feature that is absent from `columns` counts as missing.

        Raises:
            InputError: on a feature that the world does not know, or a value of the wrong type or not finite.
        """
        unknown = set(columns) - {f.name for f in self.features}
        if unknown:
            known = ", ".join(f.name for f in self.features) or "none"
            raise InputError(f"user feature {min(unknown)!r}", "unknown to this world", f"Known features: {known}.")
        parts = [_encode_feature(f, columns.get(f.name, [None] * n), n) for f in self.features]
        return np.concatenate([np.zeros((n, 0), np.float32), *parts], axis=1)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(f) | {"levels": list(f.levels)} for f in self.features]

    @classmethod
    def from_json(cls, value: list[dict[str, Any]]) -> ProfileEncoder:
        return cls(tuple(Feature(v["name"], tuple(v["levels"]), v["mean"], v["scale"]) for v in value))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _fit_feature(name: str, values: list[Any]) -> Feature:
    present = [v for v in values if not _missing(v)]
    if present and all(_is_number(v) for v in present):
        numbers = np.asarray(present, np.float64)
        if not np.isfinite(numbers).all():
            raise InputError(f"user feature {name!r}", "an infinite value", "Remove it or leave it missing.")
        return Feature(name, (), float(numbers.mean()), float(numbers.std()) or 1.0)
    counts: dict[str, int] = {}
    for v in present:
        counts[str(v)] = counts.get(str(v), 0) + 1
    levels = sorted(counts, key=lambda level: (-counts[level], level))[:MAX_LEVELS]
    return Feature(name, tuple(levels) or ("",))


def _encode_feature(feature: Feature, values: Sequence[Any], n: int) -> NDArray[np.float32]:
    if len(values) != n:
        raise InputError(f"user feature {feature.name!r}", f"{len(values)} values for {n} users", "Give one per user.")
    out = np.zeros((n, feature.size), np.float32)
    if feature.levels:
        index = {level: i for i, level in enumerate(feature.levels)}
        for row, value in enumerate(values):
            column = None if _missing(value) else index.get(str(value))
            if column is not None:
                out[row, column] = 1.0
        return out
    for row, value in enumerate(values):
        if _missing(value):
            out[row, 1] = 1.0
        elif not _is_number(value) or not np.isfinite(value):
            raise InputError(f"user feature {feature.name!r}", f"{value!r}", "Give a finite number, or leave it out.")
        else:
            out[row, 0] = np.clip((value - feature.mean) / feature.scale, -5.0, 5.0)
    return out
