"""What policies show most: the item, the words as a shopper reads them, their style, who wrote them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.env.ansi import wording
from recenv.world import World

COLUMNS = ("policy", "share of decisions", "item", "words", "style", "written by")


def most_shown(policy: str, decisions: NDArray[np.int64], world: World, k: int = 5) -> list[dict[str, Any]]:
    """The `k` actions shown most often, each with the share of all decisions to show something; ties by index.

    Args:
        decisions: (n_actions,) times each action of `world` was shown; action 0, showing nothing, is left out.
    """
    counts = decisions.copy()
    counts[0] = 0
    names = world.copies.column_names
    rows: list[dict[str, Any]] = []
    for action in np.argsort(-counts, kind="stable")[:k].tolist():
        if not counts[action]:
            break
        item, copy = int(world.action_item[action]), int(world.action_copy[action])
        name, style, words = wording(world, item, copy)
        writer = world.copies.column("generator")[copy].as_py() if copy >= 0 and "generator" in names else None
        share = float(counts[action] / counts.sum())
        values = (policy, share, name, words, style, writer or ("the logs" if copy >= 0 else ""))
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def markdown_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A heading and a table; nothing where there are no rows."""
    if not rows:
        return []
    lines = ["What is shown most (first seed, judge's world):", ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return [*lines, *("| " + " | ".join(c.replace("|", "\\|") for c in _cells(row)) + " |" for row in rows), ""]


def page_part(rows: Sequence[dict[str, Any]]) -> str:
    """The same as HTML."""
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in _cells(row)) + "</tr>\n" for row in rows)
    table = (
        f'<div class="wide"><table class="texts"><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
    )
    return f"<h2>What is shown most</h2>\n<p>First seed, judge's world.</p>\n{table}\n"


def _cells(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:.3f}" if name == "share of decisions" else str(row[name]) for name in COLUMNS]
