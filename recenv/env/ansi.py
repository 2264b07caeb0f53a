"""A session as text: who the user is, what was shown with which words, what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recenv.core.errors import InputError
from recenv.core.render import render as render_copy

if TYPE_CHECKING:
    from recenv.env.outcomes import Outcome
    from recenv.env.simulator import Simulator
    from recenv.world import World


def render_session(sim: Simulator, row: int, last: Outcome | None) -> str:
    """Text of session `row` after the outcome `last` (None: it has just begun)."""
    lines = [f"user {who(sim, row)}", f"slot {int(sim.step_count[row])} of {sim.horizon}"]
    if last is None:
        return "\n".join([*lines, "nothing shown yet"])
    info = last.info
    for item, copy in zip(info["item"][row], info["copy"][row]):
        lines.append(f"shown: {what(sim, int(item), int(copy))}")
    if info["invalid"][row]:
        lines.append(f"not allowed, nothing shown instead: {int(info['invalid'][row])}")
    lines.append(f"happened: {happened(sim, row, info)}")
    lines.append(f"reward {float(last.reward[row]):.4f}")
    if last.terminated[row] or last.truncated[row]:
        lines.append("the user left" if info["left"][row] else "the session is over")
    return "\n".join(lines)


def who(sim: Simulator, row: int) -> str:
    """The user's id and features, as the users table holds them."""
    start, at = sim.world.start, int(sim.start_row[row])
    table, index = sim.world.users, int(start.user[at])
    features = [c for c in table.column_names if c != "user_id"] if 0 <= index < table.num_rows else []
    told = ", ".join(f"{name} {table.column(name)[index].as_py()}" for name in features)
    return f"{start.user_id[at]}" + (f" ({told})" if told else "")


def what(sim: Simulator, item: int, copy: int) -> str:
    """The item's text and price, and the words that it is shown with."""
    if item < 0:
        return "nothing"
    name, style, words = wording(sim.world, item, copy)
    text = f"{name} [{sim.world.items.column('item_id')[item].as_py()}]"
    return text if copy < 0 else f'{text}, {style}: "{words}"'


def wording(world: World, item: int, copy: int) -> tuple[str, str, str]:
    """(name of the item, style, words as a shopper reads them); the last two empty where it is shown bare."""
    entry: dict[str, Any] = {name: world.items.column(name)[item].as_py() for name in world.items.column_names}
    name = str(entry.get("text") or entry["item_id"])
    if copy < 0:
        return name, "", ""
    names = world.copies.column_names
    words = world.copies.column("text")[copy].as_py()
    style = world.copies.column("style")[copy].as_py() if "style" in names else None
    try:
        filled = render_copy(words, entry, str(world.meta.get("currency") or ""))
    except InputError as error:
        filled = f"{words} (cannot be filled: {error.what})"
    return name, style or "no style", filled


def happened(sim: Simulator, row: int, info: dict[str, Any]) -> str:
    """Which responses came, in words."""
    parts = [f"{name} x{int(info[name][row])}" for name in ("click", "purchase") if name in info and info[name][row]]
    if "revenue" in info and info["revenue"][row]:
        parts.append(f"revenue {float(info['revenue'][row]):.2f}")
    return ", ".join(parts) or "nothing"
