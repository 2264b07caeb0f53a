"""Figures of a benchmark: values with intervals, what each policy shows, copy by segment; no global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recenv.agents.benchmark import Scores

if TYPE_CHECKING:
    from recenv.world import World


def value_figure(rows: Sequence[dict[str, Any]], term: str) -> Figure:
    """Value in the judge's world by policy, with the table's 95 % intervals; the logged policy as a line."""
    rows = [row for row in reversed(rows) if term in row["judge"]]
    figure = Figure(figsize=(7.5, 0.35 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        mean, low, high = row["judge"][term]
        error = None if low is None else [[mean - low], [high - mean]]
        axes.errorbar([mean], [y], xerr=error, fmt="o", color="C1" if row["trainable"] else "C0", capsize=3)
    logged = next(row for row in rows if row["name"] == "logged")
    axes.axvline(logged["judge"][term][0], color="0.6", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [row["agent"] for row in rows])
    axes.set_xlabel(f"{term} value a session, judge's world (dashed: logged; orange: learners)")
    return figure


def shown_figure(scores: Sequence[Scores], world: World, items: int = 15) -> Figure:
    """Share of each policy's exposures that goes to the items shown most over all policies."""
    share = np.stack(
        [_share(np.sum([r.judged.shown for r in s.results], axis=0)) for s in scores]
    )  # (policies, n_items)
    top = np.argsort(-share.sum(axis=0), kind="stable")[:items]
    names = [str(world.items["text"][int(i)].as_py() or world.items["item_id"][int(i)].as_py()) for i in top]
    figure = _heat(share[:, top], [s.name for s in scores], [name[:28] for name in names], "share of exposures")
    figure.axes[0].set_title("what each policy shows", fontsize=10)
    return figure


def copy_figure(score: Scores, world: World) -> Figure | None:
    """Share of styles that a policy shows to each user segment; None in a world without copies."""
    names = score.results[0].judged.style_names
    counts = np.sum([result.judged.styles for result in score.results], axis=0)
    if not names or not counts.sum():
        return None
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    segments = [f"segment {k}" for k in range(len(counts))]
    figure = _heat(share, segments, list(names), "share of the segment's exposures")
    figure.axes[0].set_title(f"copy chosen by {score.name} (effect of copy: assumed)", fontsize=10)
    return figure


def _share(counts: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(counts / max(counts.sum(), 1), np.float64)


def _heat(values: NDArray[Any], rows: Sequence[str], columns: Sequence[str], label: str) -> Figure:
    figure = Figure(figsize=(0.5 * len(columns) + 3.2, 0.32 * len(rows) + 2.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(values, aspect="auto", cmap="Blues", vmin=0.0)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.set_xticks(range(len(columns)), [_plain(c) for c in columns], rotation=60, ha="right", fontsize=8)
    figure.colorbar(image, ax=axes, label=label)
    return figure


def _plain(text: str) -> str:
    """Catalogue text as matplotlib shows it: no formulas, no signs that its font lacks."""
    return text.replace("$", r"\$").encode("latin-1", "replace").decode("latin-1")


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def inline(figure: Figure) -> str:
    """An HTML image that carries its own data."""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png(figure)).decode()}">'
