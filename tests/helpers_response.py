"""Small states and simulated training rows with a known response, for tests of the response model."""

from __future__ import annotations

import numpy as np

from recenv.response.features import N_CROSS
from recenv.response.rows import TrainingRows
from recenv.state import EXPOSURE, StateSpec, UserState, apply, begin_session, new_state


def small_spec(rng: np.random.Generator, n_items: int = 40, dim: int = 7) -> StateSpec:
    vectors = rng.normal(size=(n_items, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    category = rng.integers(0, 5, n_items).astype(np.int32)
    return StateSpec(vectors, category, 5, profile_dim=3, half_life=86_400, memory=12, recent=9)


def lived_states(spec: StateSpec, rng: np.random.Generator, n: int = 30, events: int = 60) -> UserState:
    """Users after several sessions; the first two have no history at all."""
    state = new_state(spec, rng.normal(size=(n, spec.profile_dim)).astype(np.float32))
    now = np.full(n, 1_600_000_000, np.int64)
    for k in range(events):
        who = 2 + np.flatnonzero(rng.random(n - 2) < 0.6)
        now[who] += rng.integers(1, 20_000, len(who))
        if k % 7 == 0:
            begin_session(state, who, now[who])
        item = rng.integers(0, spec.n_items, len(who))
        kind = np.where(rng.random(len(who)) < 0.5, EXPOSURE, rng.integers(0, 5, len(who)))
        apply(spec, state, who, item, kind, now[who])
    return state


def true_logit(cross: np.ndarray, quality: np.ndarray, shown: np.ndarray, base: float = -3.0) -> np.ndarray:
    """The simulated response: item quality, two cross features, their product, and being shown."""
    return base + quality + 0.9 * cross[:, 0] + 0.5 * cross[:, 1] * cross[:, 0] + 0.6 * shown


def simulated_rows(seed: int, n: int = 20_000, n_items: int = 50, heads: tuple[str, ...] = ("purchase",)):
    """(rows, item_vectors, item_features, true P(purchase) or P(click)); negatives sampled, so weights vary."""
    rng = np.random.default_rng(seed)
    visits = n // 10
    obs = rng.normal(size=(visits, 12)).astype(np.float32)
    obs[:, 3] = 0.0
    visit = np.repeat(np.arange(visits), 10).astype(np.int32)
    item = rng.integers(0, n_items, n).astype(np.int32)
    cross = rng.normal(size=(n, N_CROSS)).astype(np.float32)
    shown = (rng.random(n) < 0.7).astype(np.float32)
    quality = rng.normal(size=n_items) * 0.7
    p = 1 / (1 + np.exp(-true_logit(cross, quality[item], shown)))
    y = (rng.random(n) < p).astype(np.float32)
    nothing = np.full(n, np.nan, np.float32)
    click = y if "click" in heads else nothing
    given = 1 / (1 + np.exp(-(-0.5 + cross[:, 2])))
    purchase = np.where(y > 0, rng.random(n) < given, 0).astype(np.float32) if "click" in heads else y
    leave = (rng.random(n) < 1 / (1 + np.exp(1.5 - 1.2 * purchase + cross[:, 3]))).astype(np.float32)
    rows = TrainingRows(
        visit_obs=obs,
        visit=visit,
        item=item,
        offset=np.zeros(n, np.float32),
        cross=cross,
        treat=np.stack([shown, shown * rng.integers(0, 2, n)], axis=1).astype(np.float32),
        click=click,
        purchase=purchase,
        leave=leave if "leave" in heads else nothing,
        weight=np.ones(n, np.float32),
        split=np.repeat(rng.choice(4, visits, p=[0.6, 0.15, 0.15, 0.1]), 10).astype(np.int8),
        user=(visit // 5).astype(np.int32),
        time=(visit.astype(np.int64) * 3600),
    )
    keep = (y > 0) | (rng.random(n) < 0.5)
    rows.weight = np.where(y > 0, 1.0, 2.0).astype(np.float32)
    vectors = rng.normal(size=(n_items, 4)).astype(np.float32)
    features = np.stack([quality + rng.normal(size=n_items) * 0.1, np.ones(n_items)], axis=1).astype(np.float32)
    return rows.select(keep), vectors, features, p[keep]
