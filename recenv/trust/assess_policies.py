"""Gates on policies, from the folder of a benchmark: are they ranked as the judge ranks them, do they exploit?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recenv.core.artefacts import read_json
from recenv.core.errors import ArtefactError, InputError
from recenv.core.verdict import CARD, identity
from recenv.trust import gates as g
from recenv.trust.gate_base import Gate
from recenv.trust.tolerances import Tolerances
from recenv.world import World

TABLE = "benchmark.json"
GIVE = "Give --benchmark: a folder written by `recenv benchmark` with this world (5 seeds or more)."
_Z95 = 1.959964


def policy_gates(benchmark: str | Path | None, world: World, tol: Tolerances, seed: int) -> list[Gate]:
    """Ranking and exploitation; NOT MEASURED without a benchmark.

    Raises:
        ArtefactError: no benchmark there, or a damaged one. InputError: it was made with another world.
    """
    if benchmark is None:
        return [g.not_measured("ranking", GIVE), g.not_measured("exploitation", GIVE)]
    folder = Path(benchmark)
    table = read_json(folder / TABLE)
    _check_world(folder, table, world)
    try:
        return [_ranking(table, tol, seed), _exploitation(table, tol)]
    except (KeyError, TypeError, IndexError) as error:
        raise ArtefactError(
            str(folder / TABLE), f"is no benchmark ({error!r})", "Run `recenv benchmark` again"
        ) from error


def _check_world(folder: Path, table: dict[str, Any], world: World) -> None:
    file = folder / "manifest.json"
    trained = read_json(file).get("inputs", {}).get("world", {}) if file.is_file() else {}
    if "identity" in trained and world.path is not None:
        same = trained["identity"] == identity(read_json(world.path / CARD))
    else:
        same = table.get("world") == world.meta["name"]
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
    return g.ranking({name: (pair[0], pair[1]) for name, pair in values.items()}, tol, seed)


def _exploitation(table: dict[str, Any], tol: Tolerances) -> Gate:
    """Of the learner with the highest value in the training world; of the best policy where nothing was trained."""
    term = str(table["objective"])
    learners = [row for row in table["rows"] if row["trainable"]] or table["rows"]
    best = max(learners, key=lambda row: float(row["training_world"][term][0]))
    pair = [_value(best[side][term]) for side in ("training_world", "judge")]
    if pair[0] is None or pair[1] is None:
        return g.not_measured("exploitation", "The benchmark holds no interval: run it with 2 seeds or more.")
    pessimistic = _value(best["pessimistic"][term]) if "pessimistic" in best else None
    return g.exploitation(str(best["agent"]), pair[0], pair[1], tol, pessimistic)


def _value(values: list[float | None]) -> tuple[float, float] | None:
    """(mean, standard error) of [mean, low, high] with 95 % ends; None without ends."""
    mean, low, high = values
    if mean is None or low is None or high is None:
        return None
    return float(mean), (float(high) - float(low)) / (2 * _Z95)
