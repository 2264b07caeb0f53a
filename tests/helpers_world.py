"""A small random world made in memory, quick enough to make in every test that needs one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recenv.observation import layout
from recenv.response.encoders import SHAPES as SHAPES_OF
from recenv.response.encoders import item_table
from recenv.response.features import N_CROSS
from recenv.response.forward import SHAPES, ResponseForward, item_tables
from recenv.start import StartStates, pack
from recenv.state import CLICK, PURCHASE, VIEW, StateSpec, UserState, apply, begin_session, new_state
from recenv.variants import action_table, with_copies
from recenv.world import World

DAY = 86_400
CLOCK = 1_500_000_000


def small_world(
    seed: int = 0,
    *,
    n_items: int = 20,
    n_starts: int = 30,
    copies: int = 2,
    responses: tuple[str, ...] = ("click", "purchase", "revenue"),
    leave: bool = True,
    has_unshown: bool = True,
    offers_known: bool = True,
    repeats_logged: bool = False,
    exp: int = 2,
    horizon: int = 5,
    rate: float = 0.3,
) -> World:
    """A world of random weights: `copies` texts an item (0: no copies), root responses at about `rate`."""
    rng = np.random.default_rng(seed)
    spec = _spec(rng, n_items)
    heads = tuple(h for h in ("click", "purchase") if h in responses) + (("leave",) if leave else ())
    features = rng.normal(size=(n_items, 2)).astype(np.float32)
    meta: dict[str, Any] = {
        "name": "small",
        "role": "train",
        "source": "random",
        "kind": "synthetic",
        "exposure": "observed",
        "responses": list(responses),
        "exp_columns": [f"exp_{i}" for i in range(exp)],
        "context_columns": ["ctx_0"],
        "horizon": horizon,
        "seconds_per_slot": 60,
        "has_unshown": has_unshown,
        "offers_known": offers_known,
        "repeats_logged": repeats_logged,
        "learned": ["nothing"],
        "assumed": ["everything"],
        "currency": "USD",
    }
    logged = rng.random((3, n_items)).astype(np.float32)
    item, copy = action_table(n_items, np.zeros(0, np.int32))
    world = World(
        meta=meta,
        spec=spec,
        items=_items(rng, spec),
        users=pa.table({"user_id": [f"u{i}" for i in range(n_starts)], "age": [20 + i for i in range(n_starts)]}),
        copies=pa.table({"copy_id": pa.array([], pa.string())}),
        item_features=features,
        item_rate=np.linspace(0.4, 0.01, n_items).astype(np.float32),
        logged_rates=logged / logged.sum(axis=1, keepdims=True),
        segment_centroids=rng.normal(size=(3, spec.profile_dim)).astype(np.float32),
        revenue_per_purchase=np.linspace(1, 5, n_items).astype(np.float32) * ("revenue" in responses),
        exp_reference=np.ones(exp, np.float32),
        exp_unshown=np.zeros(exp, np.float32),
        action_item=item,
        action_copy=copy,
        response=_response(rng, spec, features, exp, heads, rate),
        start=_starts(rng, spec, n_starts, exp, offers_known),
    )
    return with_copies(world, _copies(n_items, copies), seed, seed + 1) if copies else world


def _spec(rng: np.random.Generator, n_items: int) -> StateSpec:
    vectors = rng.normal(size=(n_items, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) * np.float32(1.01)
    return StateSpec(
        vectors, np.arange(n_items, dtype=np.int32) % 4, 4, profile_dim=3, context_dim=1, memory=8, recent=16
    )


def _items(rng: np.random.Generator, spec: StateSpec) -> pa.Table:
    n = spec.n_items
    return pa.table(
        {
            "item_id": [f"i{i}" for i in range(n)],
            "text": [f"Thing {i}" for i in range(n)],
            "category": [f"c{c}" for c in spec.item_category],
            "price": rng.uniform(1, 9, n).round(2),
        }
    )


def _copies(n_items: int, each: int) -> pa.Table:
    pairs = [(i, j) for i in range(n_items) for j in range(each)]
    text = ["Try {product}" if j == 0 else f"{{product}} for {{price}}, way {j}" for _, j in pairs]
    return pa.table(
        {
            "copy_id": [f"i{i}-{j}" for i, j in pairs],
            "item_id": [f"i{i}" for i, _ in pairs],
            "style": [("plain", "price")[j % 2] for _, j in pairs],
            "template": text,
            "text": text,
        }
    )


def _response(
    rng: np.random.Generator, spec: StateSpec, features: NDArray[Any], exp: int, heads: tuple[str, ...], rate: float
) -> ResponseForward:
    inputs = np.concatenate([spec.item_vectors, features], axis=1)
    sizes = {
        "user": max(stop for _, stop in layout(spec).values()),
        "item": inputs.shape[1],
        "pair": N_CROSS + 1 + exp,
        "n_items": spec.n_items,
        "heads": len(heads),
        "two": 2,
    }
    arrays: dict[str, NDArray[Any]] = {}
    for name, axes in SHAPES.items():
        if name in ("item_tower", "item_hidden", "item_skip"):
            continue
        shape = [sizes.get(axis, 8) for axis in axes]
        arrays[name] = rng.normal(scale=0.5 / np.sqrt(shape[0]), size=shape).astype(np.float32)
        if name.endswith(("_low", "_high")):
            arrays[name][:] = -20 if name.endswith("_low") else 20
    arrays["platt"][:] = [[1.0, np.log(rate / (1 - rate))], [1.0, np.log(rate / (1 - rate)) + 1.0]]
    arrays["leave_weights"][:] = [-0.5, 0.5]
    return ResponseForward(arrays | item_tables(arrays, inputs), {"heads": list(heads)})


def _starts(rng: np.random.Generator, spec: StateSpec, n: int, exp: int, offers: bool) -> StartStates:
    clock = CLOCK + rng.integers(0, 7 * DAY, n)
    split = (np.arange(n) % 3).astype(np.int8)
    offered = [np.sort(rng.choice(spec.n_items, spec.n_items // 2, replace=False)) for _ in range(n if offers else 0)]
    table = np.stack(np.meshgrid(*[[0.0, 1.0]] * exp, indexing="ij"), -1).reshape(-1, exp).astype(np.float32)
    item = np.concatenate(offered).astype(np.int32) if offers else np.zeros(0, np.int32)
    lengths = [len(o) for o in offered] if offers else [0] * n
    return StartStates(
        user_id=np.array([f"u{i}" for i in range(n)]),
        user=np.arange(n, dtype=np.int32),
        split=split,
        clock=clock.astype(np.int64),
        context=rng.normal(size=(n, spec.context_dim)).astype(np.float32),
        offer_ptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        offer_item=item,
        offer_exp=rng.integers(0, len(table), len(item)).astype(np.int32),
        exp_table=table,
        packed=pack(_histories(rng, spec, n)),
    )


def _histories(rng: np.random.Generator, spec: StateSpec, n: int) -> UserState:
    """Users with up to 12 acts before the clock; user 0 has none."""
    state = new_state(spec, rng.normal(size=(n, spec.profile_dim)).astype(np.float32))
    for event in range(12):
        rows = np.flatnonzero(rng.random(n) < 0.6)
        rows = rows[rows > 0]
        time = np.full(len(rows), CLOCK - (12 - event) * DAY)
        if event % 4 == 0:
            begin_session(state, rows, time)
        kind = rng.choice([VIEW, CLICK, PURCHASE], len(rows))
        apply(spec, state, rows, rng.integers(0, spec.n_items, len(rows)), kind, time)
    return state


def with_encoder(world: World, name: str, seed: int = 5, units: int = 8, events: int = 6) -> World:
    """The world with a response model of random weights that also reads the last events."""
    rng = np.random.default_rng(seed)
    old, spec = world.response, world.spec
    sizes = {
        "features": 3, "kinds": 5, "gates": 3 * units, "n_items": spec.n_items, "vector": spec.vector_dim,
        "units": units, "places": 2 * events, "asking": 4, "key_value": 2 * units, "tower": 8, "heads": len(old.heads),
    }  # fmt: skip
    arrays = old.to_arrays()
    for key, axes in SHAPES_OF[name].items():
        arrays[key] = rng.normal(scale=0.5, size=[sizes[axis] for axis in axes]).astype(np.float32)
    bounds = {"encoder_low": 0.0, "encoder_high": 12.0, "encoder_mean": 1.0, "encoder_known": 1.0}
    arrays |= {key: np.full_like(arrays[key], value) for key, value in bounds.items()}
    for key, value in (("low", -1e6), ("high", 1e6), ("mean", 0.0)):
        arrays[f"user_{key}"] = np.append(arrays[f"user_{key}"], np.full(units, value, np.float32))
    arrays["user_w1"] = np.concatenate([arrays["user_w1"], rng.normal(scale=0.5, size=(units, 8)).astype(np.float32)])
    inputs = np.concatenate([spec.item_vectors, world.item_features], axis=1)
    config = old.config | {"encoder": {"name": name, "units": units, "events": events}}
    return replace(world, response=ResponseForward(arrays | item_table(arrays, inputs), config))
