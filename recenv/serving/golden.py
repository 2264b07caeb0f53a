"""Observations of made-up users, by which a bundle is checked: no start state (a person's history) leaves the world."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.encoding import Feature, ProfileEncoder
from recenv.observation import bounds, observe
from recenv.state import N_KINDS, Floats, StateSpec, apply, begin_session, new_state

_NOW = 1_700_000_000


def made_up_observations(spec: StateSpec, encoder: ProfileEncoder, n_copies: int, n: int, seed: int) -> Floats:
    """(n, size) full observations, clipped, of users with 0 to about 60 random events; the first has none.

    Args:
        spec: the state rule's settings. encoder: of user features, whose raw values are drawn too. n_copies: copies
            that events may name. seed: of all of it.
    """
    rng = np.random.default_rng(seed)
    columns = {feature.name: _values(feature, n, rng) for feature in encoder.features}
    state = new_state(spec, encoder.encode(columns, n))
    eager = np.linspace(0.0, 1.0, n)
    clock = np.full(n, _NOW - 60 * 86_400 if spec.calendar else 1, np.int64)
    for event in range(60):
        rows = np.flatnonzero(rng.random(n) < eager)
        clock[rows] += rng.integers(1, 86_400 if spec.calendar else 2, len(rows))
        if event % 6 == 0:
            begin_session(state, rows, clock[rows])
        # A few items only, so that some come again.
        item = rng.integers(0, min(spec.n_items, 20 + event), len(rows))
        copy = rng.integers(-1, max(n_copies, 1), len(rows)) if n_copies else None
        apply(spec, state, rows, item, rng.integers(0, N_KINDS, len(rows)), clock[rows], copy)
    context = rng.normal(size=(n, spec.context_dim)).astype(np.float32)
    raw = observe(spec, state, np.arange(n), clock + 60, context, "full")
    return np.clip(raw, *bounds(spec, n_copies, "full"))


def made_up_masks(n: int, n_actions: int, seed: int) -> NDArray[np.bool_]:
    """(n, A) random masks: all, most, few or no actions allowed; action 0 always."""
    rng = np.random.default_rng(seed)
    share = np.resize([1.0, 0.8, 0.2, 0.02], n)
    share[-1] = 0.0
    mask = rng.random((n, n_actions)) < share[:, None]
    mask[:, 0] = True
    return np.asarray(mask)


def _values(feature: Feature, n: int, rng: np.random.Generator) -> list[Any]:
    missing = rng.random(n) < 0.1
    if feature.levels:
        levels = list(feature.levels)
        return [None if m else levels[i] for m, i in zip(missing, rng.integers(0, len(levels), n))]
    numbers = feature.mean + feature.scale * rng.normal(size=n)
    return [None if m else float(x) for m, x in zip(missing, numbers)]
