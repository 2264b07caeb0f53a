"""The quick verdict that `recenv fit` leaves: the gates on predictions, on the validation slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.response.rows import TrainingRows
from recenv.trust.fidelity import item_rate_baseline
from recenv.trust.gate_base import not_measured, overall
from recenv.trust.measure import Replay, family, prediction_gates, prediction_slices, segment_names
from recenv.trust.tolerances import Tolerances
from recenv.world import World

UNMEASURED = ("second_order", "two_sample", "rollout", "leaked_future", "determinism")
"""Gates that no slice of predictions can judge."""
GIVE = "Run `recenv fidelity`: it rolls out sessions of the test slice."


def quick_verdict(
    world: World,
    rows: TrainingRows,
    session: NDArray[np.int64],
    segment: NDArray[np.integer[Any]],
    split: str = "validation",
    seed: int = 0,
    tolerances: Tolerances | None = None,
) -> dict[str, Any]:
    """`verdict` and `gates` of a fidelity report, from the gates on predictions alone.

    Training stopped on the validation slice, so this flatters; and whole sessions are not looked at: their gates are
    listed as NOT MEASURED. Some of these are required, so the verdict is FAIL or NOT ENOUGH DATA, never PASS.
    `recenv fidelity` replaces it by the test slice's.

    Args:
        rows: replayed rows of all splits. session: (n,) session of each. segment: (U,) of each user in `rows.user`.
    """
    rates = item_rate_baseline(rows, world.response.heads, world.n_items)
    slices = prediction_slices(world.response, Replay(rows, session, segment), rates, split)
    gates = prediction_gates(slices, family(slices, tolerances or Tolerances()), seed, segment_names(world))
    gates += [not_measured(name, GIVE) for name in UNMEASURED]
    return {"verdict": overall(gates), "gates": [gate.as_dict() for gate in gates]}
