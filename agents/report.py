"""A benchmark as Markdown and as one HTML page without outside files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from recenv.agents.intervals import widest
from recenv.agents.showcase import markdown_lines, page_part
from recenv.core.enough import MIN_SEEDS, too_few
from recenv.env.options import pessimism_caution

COLUMNS = (
    "policy",
    "gross / session",
    "over logged",
    "incremental / session",
    "over logged",
    "gross, training world",
    "masked",
    "items shown",
    "Gini",
)
COPY_COLUMNS = ("top style", "copy gain")
"""Further columns where the judge's world has copies."""
ENOUGH_MEMBERS = 10
"""Refitted judges below which outer intervals carry a caution."""
_STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:92em;padding:0 1em;color:#222}
p,li{max-width:70em}.wide{overflow-x:auto}
table{border-collapse:collapse}
td,th{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
td:first-child,th:first-child,.texts td,.texts th{text-align:left}
pre{background:#f6f6f6;padding:.8em;overflow-x:auto}img{max-width:100%}"""


def interval_text(values: Sequence[float | None], signed: bool = False) -> str:
    """`mean [low, high]`, or the mean alone."""
    mean, low, high = values
    form = "{:+.4f}" if signed else "{:.4f}"
    if low is None or high is None or mean is None:
        return form.format(mean)
    return f"{form.format(mean)} [{form.format(low)}, {form.format(high)}]"


def cells(row: dict[str, Any]) -> list[str]:
    """A row's cells, as `columns` names them."""
    result = [row["agent"]]
    for term in ("gross", "incremental"):
        if term in row["judge"]:
            best = widest(row["over_logged"][term])
            result += [interval_text(row["judge"][term]), interval_text(best, True) if row["name"] != "logged" else "0"]
        else:
            result += ["unknown", "unknown"]
    metrics = row["metrics"]
    result.append(f"{row['training_world']['gross'][0]:.4f}")
    result.append(f"{100 * metrics['shop/masked_share']:.1f} %")
    result.append(f"{100 * metrics['shop/item_coverage']:.0f} %")
    result.append(f"{metrics['shop/exposure_gini']:.2f}")
    if _tells_copy([row]):
        result.append(f"{100 * metrics['shop/top_style_share']:.0f} %")
        result.append(f"{metrics['shop/copy_gain_per_session']:+.4f}")
    return result


def columns(result: dict[str, Any]) -> tuple[str, ...]:
    """Heads of the table's columns."""
    return (*COLUMNS, *COPY_COLUMNS) if _tells_copy(result["rows"]) else COLUMNS


def _tells_copy(rows: Sequence[dict[str, Any]]) -> bool:
    return all(tag in row["metrics"] for row in rows for tag in ("shop/top_style_share", "shop/copy_gain_per_session"))


def caution_lines(env: Mapping[str, Any], segment_sd: float = 0.0) -> list[str]:
    """With which pessimism and support mask the policies were made, if any; `segment_sd`: of the training world."""
    lines = []
    if caution := pessimism_caution(env["pessimism"], segment_sd):
        lines.append(caution)
    if env["pessimism"]:
        lines.append(
            f"Learners trained, and model-greedy chose, with pessimism {env['pessimism']:g}: chances lowered by what "
            "the world is unsure of. The values of this table are not lowered."
        )
    if env["support"]:
        lines.append(f"Support mask: items with a logged probability below {env['support']:g} are not shown.")
    return lines


def header_lines(result: dict[str, Any]) -> list[str]:
    """What a reader must know before the figures."""
    lines = [
        f"Agents trained in world {result['world']}, judged in {result['judge']} (other users, other response model). "
        f"{result['seeds']} seed(s), {result['episodes']} sessions each of {result['users']:,} users in all, the same "
        f"for every policy; {result['steps']} training steps; 95 % intervals: {interval_words(result)}.",
        f"Reward trained for: {result['objective']}. Values are expected reward a session under the judge's response "
        "model: gross counts every response, incremental only what showing adds.",
    ]
    lines += [*caution_lines(result["env"], result.get("segment_sd", 0.0)), *name_lines(result), *outer_lines(result)]
    if result["candidates"] == "all":
        lines.append(
            "Candidates: ALL items, shown as the world's reference treatment says. This is extrapolation: most of what "
            "is offered here was not on offer in the logs."
        )
    else:
        lines.append("Candidates: what was on offer in the logged visit.")
    if result["copies"]:
        label = str(result.get("copy_label") or "assumed")
        lines.append(f"Effect of copy: {label}. What is not learned from these logs is ASSUMED of them.")
        if _tells_copy(result["rows"]):
            lines.append(
                "Top style: share of decisions with the commonest style. Copy gain: gross value a session over the "
                "best constant style on the same items and users, one step ahead, wear left out."
            )
    return [*result.get("verdicts", []), *lines]


def interval_words(result: dict[str, Any]) -> str:
    """What the table's intervals are over, or why there are none."""
    if few := too_few(result["users"]):
        return f"none, {few}"
    if few := too_few(result["seeds"], "seeds", MIN_SEEDS):
        return (
            f"of differences alone, over episodes clustered by user (other users), the trained policies taken as they "
            f"are; of values none, {few}"
        )
    return (
        "the wider of two: over seeds (other training and chance, the same users), and over all episodes clustered by "
        "user (other users)"
    )


def name_lines(result: dict[str, Any]) -> list[str]:
    """What a policy's name in the table means where it could be misread."""
    if not any(str(row["agent"]).startswith("dqn-0") for row in result["rows"]):
        return []
    return [
        "dqn-0: the agent `dqn` with discount 0, which does not look ahead. The 0 is its discount, no seed: each row "
        "is the mean over all seeds, whose runs are runs/NAME-seedK."
    ]


def outer_lines(result: dict[str, Any]) -> list[str]:
    """What the intervals leave out, or hold beside the above."""
    outer = result.get("outer")
    if outer is None:
        return [
            "The judge is taken as given: its own error is in no interval (`recenv fit --members 10` puts it there)."
        ]
    lines = [
        f"Outer intervals: the spread over {outer['members']} judges refitted on bootstraps of users "
        f"({outer['episodes']} sessions a seed in each) is added in quadrature (law of total variance). It is the "
        "bootstraps' own spread, not multiplied by what held-out error says of their disagreement: not calibrated."
    ]
    if outer["members"] < ENOUGH_MEMBERS:
        lines.append(
            f"CAUTION: {outer['members']} members are too few for outer intervals: the spread of so few is itself "
            f"hardly known, whatever the t quantile. Fit with --members {ENOUGH_MEMBERS}."
        )
    return lines


def assumed_lines(result: dict[str, Any]) -> list[str]:
    """What these values rest on without having been learned; the effect of copy stands in the header."""
    told = [line for line in result["assumed"] if not (result["copies"] and line.startswith("copy effect"))]
    return [line.rstrip(".") for line in told]


def gain_lines(result: dict[str, Any]) -> list[str]:
    """The planning gain in words."""
    gain = result["planning_gain"]
    if gain is None:
        return ["Planning gain: no learner in this benchmark."]
    lines = []
    for term in ("gross", "incremental"):
        if term in gain:
            values = widest(gain[term])
            ratio = "" if gain["ratio"][term] is None else f" (ratio {gain['ratio'][term]:.3f})"
            lines.append(
                f"Planning gain, {term}: {gain['learner']} minus model-greedy {interval_text(values, True)}{ratio}, in "
                f"the judge's world; the learner chosen by {gain['chosen_by']}."
            )
            over = (f"{name} {interval_text(widest(found[term]), True)}" for name, found in gain["over"].items())
            lines.append(f"{gain['learner']} minus each other policy, paired, {term}: {'; '.join(over)}.")
    return lines


def markdown(result: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["# Benchmark", ""]
    for line in header_lines(result):
        lines += [line, ""]
    heads = columns(result)
    lines += ["| " + " | ".join(heads) + " |", "|" + "|".join(["---"] + ["---:"] * (len(heads) - 1)) + "|"]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in cells(row)) + " |" for row in result["rows"]]
    lines.append("")
    for line in gain_lines(result):
        lines += [line, ""]
    lines += markdown_lines(result.get("most_shown", []))
    lines += [f"{_assumed_head(result)}:", "", *(f"- {line}" for line in assumed_lines(result)), ""]
    lines += [*result.get("fidelity", []), ""]
    return "\n".join(lines)


def _assumed_head(result: dict[str, Any]) -> str:
    return "Assumed, not learned" + (", beside the effect of copy (above)" if result["copies"] else "")


def page(result: dict[str, Any], images: Sequence[str], samples: dict[str, list[str]]) -> str:
    """The report as HTML. `images`: <img> elements; `samples`: sessions as text, by policy."""
    escape = html.escape
    head = "".join(f"<th>{escape(name)}</th>" for name in columns(result))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(row)) + "</tr>\n" for row in result["rows"]
    )
    texts = "".join(
        f"<h3>{escape(name)}</h3>" + "".join(f"<pre>{escape(text)}</pre>" for text in sessions)
        for name, sessions in samples.items()
    )
    notes = "".join(f"<p>{escape(line)}</p>\n" for line in header_lines(result))
    gains = "".join(f"<p>{escape(line)}</p>\n" for line in gain_lines(result))
    assumed = "".join(f"<li>{escape(line)}</li>\n" for line in assumed_lines(result))
    fidelity = escape("\n".join(result.get("fidelity", [])))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>recenv benchmark</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>Benchmark</h1>\n{notes}"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n{gains}'
        + page_part(result.get("most_shown", []))
        + "\n".join(images)
        + f"\n<h2>{_assumed_head(result)}</h2>\n<ul>{assumed}</ul>\n"
        + (f"<h2>Fidelity</h2>\n<pre>{fidelity}</pre>\n" if fidelity else "")
        + f"<h2>Sample sessions</h2>\n{texts}</body></html>\n"
    )
