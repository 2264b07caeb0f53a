"""`recenv fit`: tables to a world and its judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recenv.response.fit import FitOptions, fit_worlds
from recenv.response.train import TrainConfig
from recenv.trust.summary import summary_lines
from recenv.world import World, judge_path


@dataclass(frozen=True)
class FitConfig:
    """Fit a world, in which agents train, and its judge, which compares them, on disjoint users."""

    data: Path
    """Folder that `recenv prepare` wrote."""
    out: Path
    """Folder of the world; the judge's is the same name with `-judge`."""
    seed: int = 0
    """Seed of the users' division, the networks and the start states."""
    start_states: int = 6000
    """Most snapshots of users kept in each world."""
    horizon: int | None = None
    """Slots in a session; from the logs if not given."""
    segments: int = 4
    """Most groups of users by which the logged policy (support mask) and the effect of copy may differ."""
    epochs: int = 5
    """Passes of the response model over its rows, more where rows are few; early stop."""
    encoder: Literal["decay", "gru", "attention"] = "decay"
    """What reads the order of a user's last events: nothing (`decay`, the sums alone), `gru` or `attention`."""
    dropout: float = TrainConfig.user_drop
    """Share of a user's inputs hidden in each step of training."""
    weight_decay: float = TrainConfig.weight_decay
    """AdamW's decoupled weight decay."""
    members: int = 0
    """Response models refitted on bootstraps of users, in each world. Give 10 for `pessimism` and for the outer
    intervals of `recenv benchmark` (2 to 9 work, with a caution); 0, the quickest, leaves the judge's own error out of
    every interval."""
    segment_sd: float = 0.0
    """For `pessimism`: an item may do worse in a segment to which it was hardly shown, by this much (standard deviation
    of its log odds before the logs speak; assumed). Measured: 2.5 with a pessimism of .25; keep the pessimism below
    1 / this, or what was never shown is worth nothing. Needs members."""
    threads: int = 1
    """Torch threads; results repeat for a fixed number. Two threads on busy cores are slower than one."""


def run(config: FitConfig) -> dict[str, Any]:
    """Fit both worlds; returns their folders, sizes and fidelity figures on the validation slice."""
    options = FitOptions(
        seed=config.seed,
        start_states=config.start_states,
        horizon=config.horizon,
        segments=config.segments,
        members=config.members,
        segment_sd=config.segment_sd,
        training=TrainConfig(
            epochs=config.epochs,
            threads=config.threads,
            encoder=config.encoder,
            user_drop=config.dropout,
            weight_decay=config.weight_decay,
        ),
    )
    world, judge = fit_worlds(config.data, config.out, options)
    print(world.describe())
    lines = summary_lines(config.out)
    print("\n".join([lines[0], _rows_told(world, judge), *lines[1:]]))
    return {
        "world": str(config.out),
        "judge": str(judge_path(config.out)),
        "items": world.n_items,
        "start_states": [len(world.start), len(judge.start)],
        "users": [world.meta["users"], judge.meta["users"]],
        "fidelity": lines,
    }


def _rows_told(world: World, judge: World) -> str:
    """Why the rows below are fewer than those that `recenv prepare` counted."""
    told = (
        f"  rows: what was shown to this world's {world.meta['users']:,} users ({judge.meta['users']:,} others are the "
        "judge's) in the validation slice, and what could have been; their own acts are no rows here"
    )
    return told + ("; of purchase, what was clicked" if {"click", "purchase"} <= set(world.responses) else "")


if __name__ == "__main__":
    import tyro

    run(tyro.cli(FitConfig))
