"""The verdict of a world: from its folder and its data to a report with gates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.checks import check_seed, check_whole
from recenv.core.verdict import REPORT, land, read_report
from recenv.response.rows import SPLITS
from recenv.trust import gates as g
from recenv.trust.altered import altered_future
from recenv.trust.assess_causal import causal_report
from recenv.trust.assess_policies import policy_gates
from recenv.trust.fidelity import ItemRates, item_rate_baseline, quick_fidelity
from recenv.trust.gate_base import Gate
from recenv.trust.held_out import HeldOut, check_same_data, read_held_out
from recenv.trust.measure import Replay, family, prediction_gates, prediction_slices, segment_names
from recenv.trust.measure_sessions import Sampler, sessions
from recenv.trust.measure_visits import visits
from recenv.trust.report import page
from recenv.trust.rollout import Rollout
from recenv.trust.slices import PredictionSlice
from recenv.trust.support import JudgedPolicy, support_gate
from recenv.trust.tolerances import Tolerances
from recenv.trust.transfer import transfer_gates, transfer_slices
from recenv.world import World

BASKET_BINS = 15


@dataclass(frozen=True)
class AssessOptions:
    """How a world is measured.

    Args:
        seed: of roll-outs, bootstraps and draws. bootstraps: resamples of the figures by head. sessions: most held-out
            sessions (or visits) rolled out. tolerances: what each gate allows. altered_users: most users whose future
            is altered (leaked_future).
    """

    seed: int = 0
    bootstraps: int = 200
    sessions: int = 6000
    tolerances: Tolerances = field(default_factory=Tolerances)
    altered_users: int = 200

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_whole("bootstraps", self.bootstraps)
        check_whole("sessions", self.sessions)
        check_whole("altered_users", self.altered_users)


def assess(
    world_path: str | Path,
    data: str | Path,
    options: AssessOptions | None = None,
    benchmark: str | Path | None = None,
    other_data: str | Path | None = None,
    sampler: Sampler | None = None,
    progress: bool = False,
    policy: JudgedPolicy | None = None,
    evaluated: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a world on the test slice of its own users, land the report beside it, return the report.

    Args:
        world_path: folder of the world. data: the tables that it was fitted on; each read of their test slice is
            counted. benchmark: folder written by `recenv benchmark` (ranking, exploitation). other_data: tables logged
            by another policy over the same catalogue (transfer). sampler: what is shown where the log ends.
        policy: whose choices are looked up under the logged policy (support). evaluated: `evaluate.json` of the
            benchmark's learner (exploitation).

    Raises:
        InputError: other data than the world's, no test slice, a folder that cannot be written, bad options.
        ArtefactError: a damaged world, data set or benchmark.
    """
    options = options or AssessOptions()
    folder = Path(world_path)
    world = World.load(folder)
    # What can be refused is refused before the test slice is read: a read counts.
    early = policy_gates(benchmark, world, options.tolerances, options.seed, evaluated)
    check_same_data(world, Path(data))
    before = _before(folder)
    held = read_held_out(world, data, options.sessions, options.seed, progress)
    base = item_rate_baseline(held.before, world.response.heads, world.n_items)
    replayed = Replay(held.rows, held.session, held.segment)
    slices = prediction_slices(world.response, replayed, base, "test")
    earlier = {s.head: s for s in prediction_slices(world.response, replayed, base, "validation")}
    rolled = _roll(world, held, options, sampler)
    other = transfer_slices(world, other_data, base)
    on_policies = sum(gate.verdict != g.NOT_MEASURED for gate in early) + (policy is not None)
    tol = family(slices, options.tolerances, (1 if isinstance(rolled, str) else 4) + len(other) + on_policies)
    gates = prediction_gates(slices, tol, options.seed, segment_names(world), earlier)
    gates += _session_gates(rolled, tol, options.seed)
    gates.append(_leaked_future(world, held, base, slices, rolled, tol, options))
    gates += transfer_gates(other, tol, options.seed)
    gates += policy_gates(benchmark, world, tol, options.seed, evaluated)
    gates.append(support_gate(world, held, policy, tol, options.seed))
    figures = quick_fidelity(world.response, held.rows, base, held.segment, "test", options.bootstraps, options.seed)
    report = {
        "world": world.meta["name"],
        "seen": "neither model nor calibration saw this slice" + (", nor its users" if held.strangers else ""),
        "exposure": world.meta["exposure"],
        **figures,
        "verdict": g.overall(gates),
        "causal": causal_report(world, held, options.seed),
        "gates": [gate.as_dict() for gate in gates],
        "rollout": _told(rolled),
        "tolerances": asdict(tol),
        "assumed": list(world.meta.get("assumed", [])),
        "learned": list(world.meta.get("learned", [])),
        "validation": before,
        "test_reads": held.meta["test_reads"],
        "read": _read(world, held, data),
    }
    land(folder, report, page(report))
    return report


def _before(folder: Path) -> dict[str, Any]:
    """The figures on the validation slice that `fit` left; nothing where there are none."""
    if not (folder / REPORT).is_file():
        return {}
    found = read_report(folder)
    kept: dict[str, Any] = found.get("validation") or {k: v for k, v in found.items() if k != "gates"}
    return kept


def _roll(world: World, held: HeldOut, options: AssessOptions, sampler: Sampler | None) -> Rollout | str:
    if held.visits:
        return visits(world, held, options.sessions, options.seed)
    return sessions(world, held, options.seed, sampler)


def _session_gates(rolled: Rollout | str, tol: Tolerances, seed: int) -> list[Gate]:
    if isinstance(rolled, str):
        missing = ("second_order", "two_sample", "rollout", "determinism")
        return [g.not_measured(name, f"Cannot be measured: {rolled}.") for name in missing]
    stats, names = rolled.stats, rolled.feature_names
    users = (stats.real_user, stats.simulated_user)
    return [
        g.second_order(stats, tol, seed),
        g.rollout(stats, tol, seed),
        g.two_sample(rolled.real_features, rolled.simulated_features, *users, tol, names, seed),
        g.determinism(*rolled.bytes),
    ]


def _leaked_future(
    world: World, held: HeldOut, base: ItemRates, slices: list[PredictionSlice], rolled: Rollout | str, tol: Tolerances,
    options: AssessOptions,
) -> Gate:  # fmt: skip
    """The gate on knowledge of the future; its detail says what was compared, and what could not be."""
    head = "click" if "click" in world.responses else "purchase"
    own = next((s for s in slices if s.head == head), None)
    if own is None:
        return g.not_measured("leaked_future", f"The test slice holds no {head}s of what was shown.")
    altered = altered_future(world, held, base, options.altered_users, options.seed)
    changed = None if isinstance(altered, str) else altered.changed.get(head)
    simulated = None if isinstance(rolled, str) else rolled.simulated
    gate = g.leaked_future(own, tol, simulated, changed, options.seed)
    told = []
    if isinstance(altered, str):
        told.append(f"The future was not altered: {altered}.")
    else:
        told.append(f"{altered.rows:,} rows of {altered.users:,} users' future were altered.")
    if simulated is None:
        why = rolled if isinstance(rolled, str) else "slates are not scored pair by pair"
        told.append(f"What the world claims of its own roll-outs was not compared: {why}.")
    return replace(gate, detail=" ".join([gate.detail, *told]))


def _told(rolled: Rollout | str) -> dict[str, Any]:
    """What the report says of the roll-out, with the histogram of responses per session."""
    if isinstance(rolled, str):
        return {"how": None, "why_not": rolled}
    real, simulated = (side["responses"] for side in (rolled.stats.real, rolled.stats.simulated))
    top = int(max(real.max(), simulated.max(), rolled.independent.max()))
    width = max(1, -(-(top + 1) // (BASKET_BINS * 2)))
    edges = np.arange(0, min(top, BASKET_BINS * width) + width + 1, width)

    def share(x: Any) -> list[float]:
        return [float(v) for v in np.histogram(np.minimum(x, edges[-1] - 1), edges)[0] / len(x)]

    hist = {"edges": [int(e) for e in edges], "real": share(real), "simulated": share(simulated)}
    return {
        "how": rolled.how,
        "left_out": rolled.left_out,
        "sessions": [len(real), len(simulated)],
        "variance": rolled.variance_ratios(),
        "histogram": hist | {"independent": share(rolled.independent)},
    }


def _read(world: World, held: HeldOut, data: str | Path) -> dict[str, Any]:
    """What was looked at, for the foot of the report."""
    meta = held.meta
    test = held.rows.split == SPLITS.index("test")
    return {
        "data": Path(data).name,
        "source": meta["source"],
        "provenance": list(meta["provenance"]),
        "rows": int(test.sum()),
        "users": len(np.unique(held.rows.user[test])),
        "sessions": len(np.unique(held.session[test])),
        "reads": meta["test_reads"],
        "strangers": held.strangers,
        "world_users": world.meta.get("users"),
    }
