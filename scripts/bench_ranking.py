"""How well do policies rank what people really bought next, among the whole catalogue?

For held-out sessions of users whom neither the world nor its policies have seen (the judge's), each policy ranks every
item of the catalogue from the state before the session; what was bought in it is looked up in that ranking. Split into
repeat purchases (items of the user's own history) and explore (the rest).
    python scripts/bench_ranking.py --world worlds/cj --data data/cj --out runs/ranking
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.agents.base import load_policy
from recenv.agents.jobs import Contestant
from recenv.agents.ranking import rank_visits, ranking_tags
from recenv.agents.tracking import Board
from recenv.agents.training import POLICY_FOLDER, make_policy
from recenv.core.checks import check_whole
from recenv.core.errors import InputError
from recenv.core.progress import through
from recenv.env.options import EnvOptions
from recenv.trust.ranking import PARTS
from recenv.trust.visits import held_out_visits
from recenv.world import World, judge_path

AGENTS = (
    "random",
    "popular",
    "personal-popular",
    "last-seen",
    "item-knn-cosine",
    "item-knn-pearson",
    "mf",
    "two-stage:reward=gross",
    "model-greedy:reward=gross",
    "model-greedy:reward=incremental",
)


@dataclass(frozen=True)
class RankingConfig:
    """Rank the full catalogue at held-out sessions by each policy."""

    world: Path
    """Folder of the world whose policies rank."""
    data: Path
    """Folder of the data that it was fitted on."""
    out: Path = Path("runs/ranking")
    """Folder for `ranking.json`, `ranking.md` and TensorBoard runs; must be new."""
    agents: tuple[str, ...] = AGENTS
    """Policies without training, with options as NAME:option=value."""
    runs: tuple[Path, ...] = ()
    """Run folders of trained agents (`recenv train`, or one of a benchmark's `runs/`) to rank beside them."""
    users: str = "judge"
    """Whose sessions: `judge` (users unseen by the world and its policies) or `own` (the world's, later in time)."""
    split: str = "validation"
    """`validation`, or `test`, every read of which is counted in the data's meta.json."""
    sessions: int = 3000
    """Most sessions, drawn by key."""
    k: int = 10
    """Length of a list."""
    seed: int = 0
    """Of the draw, the bootstrap and the policies."""


def run(config: RankingConfig) -> dict[str, Any]:
    """Rank; writes and returns the table."""
    if config.users not in ("judge", "own"):
        raise InputError("option users", f"{config.users!r}", "Choose judge or own.")
    for name in ("sessions", "k"):
        check_whole(name, getattr(config, name))
    world = World.load(config.world)
    whose = World.load(judge_path(config.world)) if config.users == "judge" else None
    policies = _policies(config, world)
    visits = held_out_visits(world, config.data, whose, config.split, config.sessions, config.seed)
    config.out.mkdir(parents=True, exist_ok=False)
    rows = []
    for name, policy in through(policies.items(), "rank", len(policies), "agent"):
        report = rank_visits(policy, visits, config.k, seed=config.seed)
        rows.append({"policy": name, **report})
        board = Board(config.out / "runs" / "".join(c if c.isalnum() or c in "-." else "_" for c in name))
        board.flat(1, ranking_tags(report))
        board.close()
    result = {"split": config.split, "users": config.users, "k": config.k, "sessions": len(visits), "rows": rows}
    (config.out / "ranking.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = markdown(result)
    (config.out / "ranking.md").write_text(text, encoding="utf-8")
    print(text)
    return {"out": str(config.out), **result}


def _policies(config: RankingConfig, world: World) -> dict[str, Any]:
    found = {}
    for text in config.agents:
        who = Contestant.parse(text)
        found[text] = make_policy(who.name, world, EnvOptions(), who.config, config.seed)
    for folder in config.runs:
        found[folder.name] = load_policy(folder / POLICY_FOLDER, world)
    return found


def markdown(result: Mapping[str, Any]) -> str:
    """One table of accuracy by part, one of the lists."""
    k, first = result["k"], result["rows"][0]["parts"]
    sizes = "; ".join(
        f"{part}: {first[part]['items']:,} items in {first[part]['sessions']:,} sessions" for part in PARTS
    )
    who = "users unseen by the world and its policies" if result["users"] == "judge" else "the world's own users"
    lines = [
        f"{result['sessions']:,} sessions of the {result['split']} slice, {who}; 95 % intervals clustered by user.",
        f"Relevant items, {sizes}.",
        "",
        f"| policy | {' | '.join(f'{part}: recall@{k} | NDCG@{k} | MRR' for part in PARTS)} |",
        "|---|" + "---:|" * (3 * len(PARTS)),
    ]
    for row in result["rows"]:
        cells = [_cell(row["parts"][part][m], m == "recall") for part in PARTS for m in ("recall", "ndcg", "mrr")]
        lines.append(f"| {row['policy']} | " + " | ".join(cells) + " |")
    lines += ["", f"| policy | coverage@{k} | exposure Gini | repeats in list | novelty, bits | diversity |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for row in result["rows"]:
        of = row["lists"]
        cells = [f"{of['coverage']:.3f}", f"{of['gini']:.3f}"]
        cells += [_cell(of[name], False) for name in ("repeat_share", "novelty", "diversity")]
        lines.append(f"| {row['policy']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float | None], with_interval: bool) -> str:
    if value["value"] is None:
        return "none"
    text = f"{value['value']:.3f}"
    return f"{text} [{value['low']:.3f}, {value['high']:.3f}]" if with_interval and value["low"] is not None else text


if __name__ == "__main__":
    import tyro

    run(tyro.cli(RankingConfig))
