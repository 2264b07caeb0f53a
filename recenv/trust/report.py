"""A fidelity report as one HTML page: verdicts first, then every gate as a figure, an interval and a plot.

Self-contained (no scripts, no outside files); all text from data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recenv.core.verdict import NOTE
from recenv.trust.report_plots import CLASSES, badge, forest, histogram, pairs
from recenv.trust.report_style import STYLE
from recenv.trust.report_words import CAUSAL, PREDICTION, deciding, gate_title, line_label
from recenv.trust.summary import band_text, figure_text, number_text

_CAUSAL_KIND = {"RANDOMISED": "pass", "ADJUSTED": "unsure", "OBSERVATIONAL": "unsure", "PROPENSITIES WRONG": "fail"}
_ORDER = ("FAIL", "NOT ENOUGH DATA", "PASS", "NOT MEASURED")


def page(report: Mapping[str, Any]) -> str:
    """The report, as `recenv.trust.assess.assess` returns it, as HTML."""
    gates = list(report.get("gates", ()))
    parts = [
        _head(report),
        NOTE,
        _verdicts(report),
        _decided(gates, str(report["verdict"])),
        _table(gates),
        _sessions(report),
        _cards(gates),
        _causal(report.get("causal") or {}),
        _assumed(report),
        _read(report),
    ]
    title = f"Fidelity of {report['world']}: {report['verdict']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _head(report: Mapping[str, Any]) -> str:
    read = report.get("read") or {}
    told = f"Measured on the {report['split']} slice"
    if read:
        told += f" of {read['source']}: {number_text(read['rows'])} rows, {number_text(read['sessions'])} sessions, "
        told += f"{number_text(read['users'])} users"
    title = f"How far may the world “{report['world']}” be trusted?"
    return f'<h1>{escape(title)}</h1><p class="soft">{escape(told)}.</p>'


def _verdicts(report: Mapping[str, Any]) -> str:
    verdict, causal = str(report["verdict"]), str((report.get("causal") or {}).get("verdict", "NOT MEASURED"))
    cards = (
        ("Prediction", verdict, CLASSES.get(verdict, "none"), PREDICTION.get(verdict, "")),
        ("Cause and effect", causal, _CAUSAL_KIND.get(causal, "none"), CAUSAL.get(causal, "")),
    )
    made = "".join(
        f'<section class="verdict {kind}"><div class="what">{escape(what)}</div><div class="word">{escape(word)}</div>'
        f"<p>{escape(text)}</p></section>"
        for what, word, kind, text in cards
    )
    return f'<div class="verdicts">{made}</div>'


def _decided(gates: Sequence[Mapping[str, Any]], verdict: str) -> str:
    found = deciding(gates, verdict)
    if not found:
        return ""
    items = "".join(
        f"<li><b>{escape(gate_title(g))}</b>: {escape(str(g['detail']))} {escape(_decisive(g))}</li>" for g in found
    )
    return f"<h2>What decided</h2><ul>{items}</ul>"


def _decisive(gate: Mapping[str, Any]) -> str:
    """The line that made a gate's verdict what it is, in words; nothing where there is none."""
    ends = ("figure", "low", "high")
    line = next((x for x in gate["lines"] if all(x[k] == gate[k] for k in ends) and x["figure"] is not None), None)
    if line is None:
        return ""
    label = line_label(str(line["label"]), str(gate["name"]))
    how = "lies outside" if gate["verdict"] == "FAIL" else "reaches out"
    return f"What {how}: {label} at {figure_text(gate)}, allowed {band_text(gate['tolerance'])}."


def _table(gates: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(gates, key=lambda g: _ORDER.index(g["verdict"]) if g["verdict"] in _ORDER else len(_ORDER))
    rows = "".join(
        f"<tr><td>{badge(g['verdict'])}</td><td><b>{escape(gate_title(g))}</b></td>"
        f'<td class="question">{escape(_question(g))}</td>'
        f'<td class="number" data-name="figure">{escape(figure_text(g))}</td>'
        f'<td class="number" data-name="allowed">{escape(_allowed(g))}</td></tr>'
        for g in ordered
    )
    head = "".join(f"<th>{name}</th>" for name in ("verdict", "gate", "question", "figure [interval]", "allowed"))
    return (
        '<h2>All gates</h2><p class="soft small">A gate passes if its whole interval is allowed, fails if all of it is '
        "not, and else asks for more data. Intervals are over users and hold for all gates together.</p>"
        f'<div class="wide"><table class="gates"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _question(gate: Mapping[str, Any]) -> str:
    """The question; of a gate without a figure also why there is none, or what to give."""
    return str(gate["question"]) + (f" {gate['detail']}" if gate["figure"] is None and gate["detail"] else "")


def _allowed(gate: Mapping[str, Any]) -> str:
    return "" if gate["figure"] is None else band_text(gate["tolerance"])


def _sessions(report: Mapping[str, Any]) -> str:
    rolled = report.get("rollout") or {}
    if not rolled.get("histogram"):
        return ""
    hist, variance = rolled["histogram"], rolled["variance"]
    sides = {"real": hist["real"], "simulated": hist["simulated"]}
    words = f"{number_text(rolled['sessions'][0])} sessions: {rolled['how']}. Variance {variance['real']:.3g} real, "
    words += f"{variance['simulated']:.3g} simulated"
    if hist["independent"] != hist["simulated"]:
        sides["simulated without the shared session effect"] = hist["independent"]
        words += f", {variance['independent']:.3g} without the session effect"
    drawn = histogram(hist["edges"], sides, "responses in a session; bars: share of sessions")
    return (
        '<h2>Sessions, real and simulated</h2><div class="cards"><section class="card full">'
        f'<header><h3>Responses in a session</h3></header>{drawn}<p class="detail">{escape(words)}. '
        f"{escape(str(rolled.get('left_out') or ''))}</p></section></div>"
    )


def _cards(gates: Sequence[Mapping[str, Any]]) -> str:
    cards = [_card(gate) for gate in gates if gate["lines"]]
    if not cards:
        return ""
    legend = (
        '<p class="legend"><span><span class="track"><i class="band" style="left:25%;width:50%"></i></span>'
        "allowed</span>"
        '<span><span class="track"><i class="reach pass" style="left:20%;width:60%"></i>'
        '<i class="dot pass" style="left:50%"></i></span>figure with interval</span>'
        "<span>✓ inside, ? reaches out, ✕ wholly outside</span></p>"
    )
    return f'<h2>Gate by gate</h2>{legend}<div class="cards">{"".join(cards)}</div>'


def _card(gate: Mapping[str, Any]) -> str:
    plot = gate.get("plot") or {}
    drawn = forest(gate["lines"], plot.get("kind") == "ratio", str(gate["name"]))
    if "edges" in plot:
        sides = {"real": plot["real"], "simulated": plot["simulated"]}
        drawn += histogram(plot["edges"], sides, str(plot.get("histogram_axis", plot.get("axis", ""))))
    if "policy" in plot:
        drawn += pairs(plot["policy"], plot["world_value"], plot["judge_value"], ("in this world", "in the judge's"))
    full = " full" if len(gate["lines"]) > 10 else ""
    axis = f" <em>({escape(str(plot.get('axis', '')))})</em>" if plot.get("axis") else ""
    return (
        f'<section class="card{full}"><header><h3>{escape(gate_title(gate))}</h3>{badge(gate["verdict"])}</header>'
        f'<p class="question">{escape(str(gate["question"]))}{axis}</p>{drawn}'
        f'<p class="detail">{escape(str(gate["detail"]))}</p></section>'
    )


def _causal(causal: Mapping[str, Any]) -> str:
    if not causal:
        return ""
    why = "".join(f"<li>{escape(str(line))}</li>" for line in causal.get("why", ()))
    placebos = [p for p in causal.get("placebo", ()) if p.get("ratio") is not None]
    drawn = ""
    if placebos:
        rows = [_placebo(p) for p in placebos] + _real(placebos)
        drawn = (
            '<div class="cards"><section class="card full"><header><h3>Placebo tests</h3></header><p class="question">'
            "Effects that cannot be there (times as often). An interval that leaves out 1 shows that something else "
            f"drives both what is shown and what is bought.</p>{forest(rows, ratio=True)}</section></div>"
        )
    return f"<h2>Cause and effect: {escape(str(causal['verdict']))}</h2><ul>{why}</ul>{drawn}{_overlap(causal)}"


def _placebo(p: Mapping[str, Any]) -> dict[str, Any]:
    """A placebo as a line: failed where its interval leaves out 1."""
    verdict = "FAIL" if p["failed"] else "PASS" if p.get("informative", True) else "NOT ENOUGH DATA"
    kept = {"figure": p["ratio"], "low": p["low"], "high": p["high"]}
    return {"label": str(p["name"]), **kept, "tolerance": [1.0, 1.0], "verdict": verdict}


def _real(placebos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What real exposure seems to do within the same strata, to compare with."""
    found = {str(p["name"]).partition(" within ")[2]: p.get("real") for p in placebos}
    bare = {"low": None, "high": None, "tolerance": [1.0, 1.0], "verdict": "NOT MEASURED"}
    return [
        {"label": f"for comparison: really shown, within {name}", "figure": real, **bare}
        for name, real in found.items()
        if real is not None
    ]


def _overlap(causal: Mapping[str, Any]) -> str:
    found = causal.get("overlap") or {}
    words = escape(str(found["words"])) if found.get("words") else ""
    if not found.get("edges"):
        return f"<p>{words}</p>" if words else ""
    sides = {"what was shown": found["logged"]} | ({"what is usual": found["target"]} if found.get("target") else {})
    first = next((k for k in range(len(found["logged"])) if any(v[k] for v in sides.values())), 0)
    drawn = histogram(found["edges"][first:], {k: v[first:] for k, v in sides.items()}, "probability of being shown")
    return (
        '<div class="cards"><section class="card full"><header><h3>Overlap</h3></header>'
        f'{drawn}<p class="detail">{words}</p></section></div>'
    )


def _assumed(report: Mapping[str, Any]) -> str:
    made = ""
    for name, title in (("learned", "Learned from the logs"), ("assumed", "Assumed, not learned")):
        lines = "".join(f"<li>{escape(str(line).rstrip('.'))}</li>" for line in report.get(name, ()))
        made += f"<h3>{title}</h3><ul>{lines}</ul>" if lines else ""
    return f"<h2>What this rests on</h2>{made}" if made else ""


def _whose(read: Mapping[str, Any]) -> str:
    if read.get("strangers"):
        return f"{number_text(read['users'])} users whom the world never met, since none of its own comes again"
    return f"The world's own users ({number_text(read['world_users'])})"


def _read(report: Mapping[str, Any]) -> str:
    read = report.get("read") or {}
    if not read:
        return ""
    lines = [
        f"The test slice of {read['data']} ({read['source']}), read {read['reads']} time(s) so far: every reading that "
        "leads to a change makes the next verdict kinder.",
        f"{_whose(read)}; {report.get('seen', '')}.",
        *(str(line) for line in read.get("provenance", ())),
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    tolerances = report.get("tolerances") or {}
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in sorted(tolerances.items()))
    table = f"<details><summary>Tolerances</summary><table>{rows}</table></details>" if rows else ""
    return f"<h2>What was read</h2><ul>{items}</ul>{table}"
