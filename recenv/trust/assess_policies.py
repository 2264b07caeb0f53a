"""Gates on policies, from the folder of a benchmark: are they ranked as the judge ranks them, do they exploit?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.artefacts import read_json
from recenv.core.enough import MIN_USERS, too_few
from recenv.core.errors import ArtefactError, InputError
from recenv.core.verdict import CARD, identity
from recenv.trust import gates as g
from recenv.trust.gate_base import Gate, undecided
from recenv.trust.gate_policies import JudgeError, Value, freedom
from recenv.trust.tolerances import Tolerances
from recenv.world import World

TABLE = "benchmark.json"
GIVE = "Give --benchmark: a folder written by `recenv benchmark` with this world (5 seeds or more)."


def policy_gates(
    benchmark: str | Path | None, world: World, tol: Tolerances, seed: int, evaluated: str | Path | None = None
) -> list[Gate]:
    """Ranking and exploitation; NOT MEASURED without a benchmark.

    Args:
        benchmark: folder written by `recenv benchmark`. evaluated: `evaluate.json` of `recenv evaluate`, for the same
            policy's value on the log.

    Raises:
        ArtefactError: no benchmark there, or a damaged one. InputError: it was made with another world.
    """
    if benchmark is None:
        return [g.not_measured("ranking", GIVE), g.not_measured("exploitation", GIVE)]
    folder = Path(benchmark)
    table = read_json(folder / TABLE)
    told = None if evaluated is None else _evaluation(Path(evaluated))
    _check_world(folder, table, world)
    try:
        if few := too_few(int(table.get("users", MIN_USERS))):  # older tables do not tell
            return [undecided(name, f"The benchmark: {few}.") for name in ("ranking", "exploitation")]
        return [_ranking(table, tol, seed), _exploitation(table, tol, told)]
    except (KeyError, TypeError, IndexError, ValueError, StopIteration) as error:
        raise ArtefactError(
            str(folder / TABLE), f"is no benchmark ({error!r})", "Run `recenv benchmark` again"
        ) from error


def _evaluation(file: Path) -> dict[str, Any]:
    """The parts of an `evaluate.json` that are needed; raises ArtefactError where one is missing or odd."""
    found = read_json(file)
    try:
        base = {k: found["logged"][k] for k in ("value", "se", "verdict")}
        policies = [
            {"name": p["name"], "verdict": p["verdict"], "estimator": p["estimator"], "estimates": p["estimates"]}
            for p in found["policies"]
        ]
        for p in policies:
            best = next(e for e in p["estimates"] if e["name"] == p["estimator"])
            p["estimates"] = [{k: best[k] for k in ("name", "value", "se", "users")}]
        return {"reward": str(found["reward"]), "logged": base, "policies": policies}
    except (KeyError, TypeError, StopIteration) as error:
        raise ArtefactError(str(file), f"is no evaluation ({error!r})", "Run `recenv evaluate` again") from error


def _check_world(folder: Path, table: dict[str, Any], world: World) -> None:
    file = folder / "manifest.json"
    trained = read_json(file).get("inputs", {}).get("world", {}) if file.is_file() else {}
    if "identity" in trained and world.path is not None:
        same = trained["identity"] == identity(read_json(world.path / CARD))
    else:
        same = table.get("world") in (world.meta["name"], None if world.path is None else world.path.resolve().name)
    if not same:
        what = f"was made with another world ({table.get('world')!r}) than {world.meta['name']!r}"
        raise InputError(str(folder), what, "Give a benchmark of this world")


def _ranking(table: dict[str, Any], tol: Tolerances, seed: int) -> Gate:
    term = str(table["objective"])
    rows = [row for row in table["rows"] if "draws" in row]
    if len(rows) < 2:
        return g.not_measured("ranking", "The benchmark holds no values by seed: run `recenv benchmark` again.")
    values = {
        row["agent"]: tuple(np.asarray(row["draws"][side][term], np.float64) for side in ("training_world", "judge"))
        for row in rows
    }
    error = _judge_error(table, rows, term)
    gate = g.ranking({name: (pair[0], pair[1]) for name, pair in values.items()}, tol, seed, error=error)
    held = "seeds" + (", other users" if error.covariance is not None else "")
    held += "" if error.members is None else f", {error.members.shape[1]} refitted judges"
    return replace(gate, detail=f"{gate.detail} The limits hold: {held}.")


def _judge_error(table: dict[str, Any], rows: list[dict[str, Any]], term: str) -> JudgeError:
    """What the benchmark tells of other users and of refitted judges; nothing where it is of an older make."""
    outer = [row.get("judge_intervals", {}).get(term, {}).get("outer") for row in rows]
    members = None if any(values is None for values in outer) else np.asarray(outer, np.float64)
    found = table.get("user_covariance") or {}
    if not found:
        return JudgeError(members)
    at = [found["agents"].index(row["agent"]) for row in rows]
    return JudgeError(members, np.asarray(found["covariance"], np.float64)[np.ix_(at, at)], int(found["users"]))


def _exploitation(table: dict[str, Any], tol: Tolerances, evaluated: dict[str, Any] | None) -> Gate:
    """Of the learner with the highest value in the training world; of the best policy where nothing was trained."""
    term = str(table["objective"])
    learners = [row for row in table["rows"] if row["trainable"]] or table["rows"]
    best = max(learners, key=lambda row: float(row["training_world"][term][0]))
    world = _mean(best["draws"]["training_world"][term])
    judge = _judged(table, best, term)
    if world is None or judge is None:
        return g.not_measured("exploitation", "The benchmark holds no interval: run it with 2 seeds or more.")
    pessimistic = _mean(best["pessimistic_draws"][term]) if "pessimistic_draws" in best else None
    ope, words = _off_policy(table, best, term, evaluated)
    gate = g.exploitation(str(best["agent"]), world, judge, tol, pessimistic, ope)
    words += "" if pessimistic else " No pessimistic value: fit with --members 10 and run the benchmark again."
    return replace(gate, detail=gate.detail + words)


def _mean(draws: list[float]) -> Value | None:
    """(mean, standard error, n - 1) of draws by seed; None of fewer than two."""
    x = np.asarray(draws, np.float64)
    if len(x) < 2:
        return None
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))), len(x) - 1.0


def _judged(table: dict[str, Any], row: dict[str, Any], term: str) -> Value | None:
    """The judge's value with the larger of the errors over seeds and over users, and that over refitted judges."""
    found = _mean(row["draws"]["judge"][term])
    if found is None:
        return None
    error = _judge_error(table, [row], term)
    value, se, nu = found[0], found[1], found[-1]
    if error.covariance is not None and np.sqrt(error.covariance[0, 0]) > se:
        se, nu = float(np.sqrt(error.covariance[0, 0])), error.users - 1.0
    if error.members is not None:
        spread = error.check(1).members.std(axis=1, ddof=1)  # type: ignore[union-attr]
        both, df = freedom([(np.array([se]), nu), (spread, error.members.shape[1] - 1.0)])
        se, nu = float(both[0]), float(df[0])
    return value, se, nu


def _off_policy(
    table: dict[str, Any], row: dict[str, Any], term: str, evaluated: dict[str, Any] | None
) -> tuple[Value | None, str]:
    """The off-policy value in units of the training world, or None and why.

    An evaluation tells reward per decision, a benchmark value per session: what can be compared is the ratio to the
    logged policy. So the value is V(policy) / V(what was logged), times the logged policy's in the training world.
    """
    if evaluated is None:
        return None, " No off-policy value was given (--evaluate)."
    reward = evaluated["reward"]
    weights = {k: table["env"].get(f"w_{k}") or 0.0 for k in ("click", "purchase", "revenue")}
    if term != "gross" or [k for k, w in weights.items() if w] != [reward]:
        return None, f" The off-policy value is of {reward} alone, the policy was trained for something else."
    names = (str(row["name"]), str(row["agent"]))
    found = next((p for p in evaluated["policies"] if str(p["name"]).partition(" (")[0] in names), None)
    if found is None:
        return None, f" The evaluation given holds no value of {row['agent']}."
    logged = next(r for r in table["rows"] if r["name"] == "logged")
    best = next(e for e in found["estimates"] if e["name"] == found["estimator"])
    base = evaluated["logged"]
    if found["verdict"] != "OK" or base["verdict"] != "OK" or base["value"] <= 0:
        return None, f" Off-policy value: {found['verdict']}, not compared."
    if best["se"] is None or base["se"] is None:
        return None, " Off-policy value: it comes without a standard error, not compared."
    scale = float(logged["training_world"][term][0]) / float(base["value"])
    ratio = float(best["value"]) / float(base["value"])
    se = float(np.hypot(best["se"], ratio * base["se"]))
    users = max(int(best["users"]) - 1, 1)
    words = f" Off-policy: {ratio:.3g} times what was logged, times the logged policy's value in the training world."
    return (float(best["value"]) * scale, se * abs(scale), float(users)), words
