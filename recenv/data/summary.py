"""What `recenv prepare` says of the tables it wrote: what each kind of row is used for, what was set aside, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recenv.data.columns import EVENT_KINDS, SPLITS
from recenv.data.options import BuildOptions

WARN_SHARE = 0.2
"""Share of rows set aside above which a warning is printed."""
REASONS = {
    "click_of_dropped_impression": "the impression that they answer was set aside",
    "click_without_impression": "not within click_window_minutes ({click:g}) after an impression of that user and item",
    "duplicate_event": "alike in every column that is read",
    "future_timestamp": "later than the present: check time_unit, and that times are UTC where they name no zone",
    "kind_missing": "without a kind, or of one that `kinds` of the mapping sets to null",
    "purchase_without_item": "purchases that name no item",
    "ragged_row": "more or fewer cells than the header: check the quotes, and `delimiter` of the mapping",
    "repeated_click": "a further click on the same impression: the first counts",
    "unknown_item": "ids that the items table does not hold",
    "unknown_user": "ids that the users table does not hold",
    "unknown_copy": "ids that the copies table does not hold",
    "window_crosses_split": "their window reaches into the next split; shorten {key} of the mapping, or move `split`",
    "window_open_at_end": "the log ends before their window; shorten {key} of the mapping, or bring a longer log",
}
"""What a reason's name leaves open; `key` is the mapping's key of the window that counted."""


def summary_lines(out: Path, meta: Mapping[str, Any], options: BuildOptions) -> list[str]:
    """What was written, what it is used for, what was set aside and why, what is assumed of one's own logs, warnings.

    Args:
        out: where the tables are. meta: their `meta.json`. options: how they were built.
    """
    counts = meta["counts"]
    lines = [
        f"wrote {out}: {counts['users']:,} users, {counts['items']:,} items, {counts['sessions']:,} sessions",
        f"  {counts['rows']:,} rows (things shown or on offer, and users' own acts): "
        + ", ".join(f"{name} {counts[name]:,}" for name in SPLITS),
        f"  exposure {meta['exposure']}, propensity {meta['propensity']}, responses {meta['responses']}",
        *(f"  {line}" for line in kind_lines(meta)),
    ]
    aside = sum(meta["quarantined"].values())
    if aside:
        lines.append(f"  set aside, {aside:,} rows ({out / 'quarantine.parquet'}):")
        lines += [f"    {line}" for line in aside_lines(meta, options)]
    if meta["source"] == "csv":  # other sources say it on their pages, and every world on its card
        lines += [f"  assumed: {line}" for line in meta["assumed"]]
    if aside > WARN_SHARE * (aside + counts["rows"]):
        lines.append(f"  warning: {aside:,} of {aside + counts['rows']:,} rows were set aside")
    return lines + [f"  warning: {warning}" for warning in meta["warnings"]]


def kind_lines(meta: Mapping[str, Any]) -> list[str]:
    """What the rows of each kind are used for, one line a kind that is there."""
    counts = meta["counts"]
    lines = [f"{kind} {n:,}: {_use(kind, meta)}" for kind in EVENT_KINDS if (n := counts[f"kind_{kind}"])]
    if "clicks_joined" in counts:
        lines.append(f"click {counts['clicks_joined']:,}: became labels of what was shown, and no rows of their own")
    return lines


def _use(kind: str, meta: Mapping[str, Any]) -> str:
    counts, labels = meta["counts"], ", ".join(meta["responses"]) or "none recorded"
    if kind == "impression":
        seen = "" if meta["exposure"] == "observed" else " but, being derived, that it was shown"
        return f"what was shown; to be predicted: {labels}; all of it enters the user's history{seen}"
    if kind == "opportunity":
        return "what could have been shown and was not: tells what people do unshown; its responses enter the history"
    use = "enters the user's history, from which later responses are predicted; is no label"
    if kind != "purchase":
        return use
    if "purchases_joined" in counts:
        return f"{use}, as it answers nothing shown ({counts['purchases_joined']:,} others became labels)"
    if "purchase" in meta["responses"] and counts["kind_impression"]:
        return f"{use}: what was shown carries its own purchases, and none may stand in both"
    return use


def aside_lines(meta: Mapping[str, Any], options: BuildOptions) -> list[str]:
    """One line a reason: its name, its rows, and what it means or which key of the mapping changes it."""
    told = {"click": options.click_window / 60, "key": _window_key(meta, options)}
    hints = {reason: REASONS.get(reason, "").format(**told) for reason in meta["quarantined"]}
    return [
        f"{reason} {n:,}{': ' if hints[reason] else ''}{hints[reason]}" for reason, n in meta["quarantined"].items()
    ]


def _window_key(meta: Mapping[str, Any], options: BuildOptions) -> str:
    """The mapping's key, and value, of the window for which an impression waits: the longer of those that count."""
    keys = {
        "purchases_joined": (options.purchase_window, f"purchase_window_days ({options.purchase_window / 86400:g})"),
        "clicks_joined": (options.click_window, f"click_window_minutes ({options.click_window / 60:g})"),
    }
    seconds, key = max((keys[name] for name in keys if name in meta["counts"]), default=(0.0, "the window"))
    return f"{key}, which in an order is {seconds:,.0f} places," if meta["time"] == "order" else key
