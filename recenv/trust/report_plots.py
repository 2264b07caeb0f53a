"""Plots of a report as plain HTML: every interval beside the band that is allowed; no scripts, no outside files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recenv.trust.report_words import MARKS, line_label
from recenv.trust.summary import band_text, figure_text

CLASSES: dict[str, str] = {
    "PASS": "pass", "FAIL": "fail", "NOT ENOUGH DATA": "unsure", "NOT MEASURED": "none", "OK": "pass",
}  # fmt: skip
_LEAST, _MOST = 0.0, 100.0
_TICKS = (0.25, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0)


def badge(verdict: str) -> str:
    """A verdict as a coloured word with a sign of its own, so that colour is never all."""
    kind = CLASSES.get(verdict, "none")
    return f'<span class="badge {kind}">{MARKS.get(verdict, "")} {escape(verdict)}</span>'


def forest(lines: Sequence[Mapping[str, Any]], ratio: bool, gate: str = "") -> str:
    """One row a line: label, interval against the allowed band, figures.

    Lines with one tolerance share one axis (logarithmic where `ratio`), with ticks. Lines with tolerances of their own
    are each drawn to their own: the band then has the same place in every row.
    """
    shared = len({tuple(line["tolerance"]) for line in lines}) == 1 and None not in lines[0]["tolerance"]
    scale = _shared_scale(lines, ratio) if shared else None
    rows = [_row(line, scale or _own_scale(line), line_label(str(line["label"]), gate)) for line in lines]
    ticks = _ticks(scale, lines, ratio) if scale else ""
    return f'<div class="forest">{"".join(rows)}{ticks}</div>'


class _Scale:
    """Places values on 0 .. 100 % of a track, clipped to it."""

    def __init__(self, low: float, high: float, log: bool) -> None:
        self.low, self.high, self.log = low, high, log

    def at(self, value: float | None) -> float:
        if value is None:
            return _LEAST
        ends = (self.low, value, self.high)
        if self.log:
            ends = tuple(math.log(max(v, 1e-9)) for v in ends)  # type: ignore[assignment]
        share = (ends[1] - ends[0]) / (ends[2] - ends[0])
        return min(max(100.0 * share, _LEAST), _MOST)


def _known(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    return [line[k] for line in lines for k in ("figure", "low", "high") if line[k] is not None]


def _shared_scale(lines: Sequence[Mapping[str, Any]], ratio: bool) -> _Scale:
    least, most = lines[0]["tolerance"]
    values = _known(lines)
    if ratio and least > 0 and most > 0:
        reach = max([most, 1 / least, *(max(v, 1 / v) for v in values if v > 0)])
        reach = min(max(reach * 1.12, most * 1.25), 6.0)
        return _Scale(1 / reach, reach, True)
    width = most - least
    low, high = min([least, *values]), max([most, *values])
    return _Scale(max(low - 0.1 * width, least - 3 * width), min(high + 0.1 * width, most + 3 * width), False)


def _own_scale(line: Mapping[str, Any]) -> _Scale:
    """The band on the middle third; where it is open on one side, on all of that side."""
    least, most = line["tolerance"]
    values = _known([line])
    if least is not None and most is not None:
        width = most - least
        return _Scale(least - width, most + width, False)
    edge = most if most is not None else least if least is not None else 0.0
    reach = max([abs(v - edge) for v in values] + [0.15 * abs(edge), 1e-6]) * 1.15
    return _Scale(edge - reach, edge + reach, False)


def _row(line: Mapping[str, Any], scale: _Scale, label: str) -> str:
    least, most = line["tolerance"]
    start = scale.at(least) if least is not None else _LEAST
    stop = scale.at(most) if most is not None else _MOST
    parts = [f'<i class="band" style="left:{start:.2f}%;width:{max(stop - start, 0):.2f}%"></i>']
    kind = CLASSES.get(line["verdict"], "none")
    if line["low"] is not None and line["high"] is not None:
        a, b = scale.at(line["low"]), scale.at(line["high"])
        parts.append(f'<i class="reach {kind}" style="left:{a:.2f}%;width:{max(b - a, 0.4):.2f}%"></i>')
    if line["figure"] is not None:
        parts.append(f'<i class="dot {kind}" style="left:{scale.at(line["figure"]):.2f}%"></i>')
    words = figure_text(line) or "not known"
    told = f"{label}: {words}; allowed {band_text(line['tolerance'])}; {line['verdict']}"
    return (
        f'<div class="row"><span class="label">{escape(label)}</span>'
        f'<span class="track" role="img" aria-label="{escape(told)}" title="{escape(told)}">{"".join(parts)}</span>'
        f'<span class="value {kind}">{MARKS.get(line["verdict"], "")} {escape(words)}</span></div>'
    )


def _ticks(scale: _Scale, lines: Sequence[Mapping[str, Any]], ratio: bool) -> str:
    values = list(_TICKS) if ratio else sorted({*lines[0]["tolerance"], 0.0})
    marks = [
        f'<i class="tick" style="left:{scale.at(v):.2f}%">{v:.3g}</i>' for v in values if scale.low < v < scale.high
    ]
    return (
        '<div class="row axis"><span class="label"></span>'
        f'<span class="track">{"".join(marks)}</span><span class="value"></span></div>'
    )


def histogram(edges: Sequence[float], sides: Mapping[str, Sequence[float]], axis: str) -> str:
    """Shares of sessions by bin, one bar a side: SVG bars that stretch, labels that do not, a legend."""
    n, top = len(edges) - 1, max((max(v) for v in sides.values()), default=0.0) or 1.0
    bar = 84.0 / len(sides)
    parts = []
    for k, (name, shares) in enumerate(sides.items()):
        for j, share in enumerate(shares):
            tall, x = 100.0 * share / top, 100.0 * j + 8 + k * bar
            told = f"{name}, {edges[j]:.3g} and more: {100 * share:.1f} %"
            parts.append(
                f'<rect class="side{k}" x="{x:.1f}" y="{100 - tall:.2f}" width="{bar:.1f}" height="{tall:.2f}">'
                f"<title>{escape(told)}</title></rect>"
            )
    every = max(1, -(-n // 9))
    marks = "".join(f"<span>{f'{edges[j]:.2g}' if j % every == 0 else ''}</span>" for j in range(n))
    key = "".join(f'<span><b class="side{k}"></b>{escape(name)}</span>' for k, name in enumerate(sides))
    return (
        f'<svg class="hist" viewBox="0 0 {100 * n} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(axis)}">{"".join(parts)}</svg><div class="bins">{marks}</div>'
        f'<p class="key">{key}<em>{escape(axis)}</em></p>'
    )


def pairs(names: Sequence[str], a: Sequence[float], b: Sequence[float], words: tuple[str, str]) -> str:
    """Two values a name on one axis, joined: policies in the world and in the judge's."""
    low, high = min([*a, *b, 0.0]), max([*a, *b])
    scale = _Scale(low, high + 0.05 * (high - low or 1.0), False)
    order = sorted(range(len(names)), key=lambda k: -b[k])
    rows = []
    for k in order:
        x, y = scale.at(a[k]), scale.at(b[k])
        rows.append(
            f'<div class="row"><span class="label">{escape(names[k])}</span><span class="track">'
            f'<i class="reach none" style="left:{min(x, y):.2f}%;width:{abs(x - y):.2f}%"></i>'
            f'<i class="dot hollow" style="left:{x:.2f}%"></i><i class="dot pass" style="left:{y:.2f}%"></i></span>'
            f'<span class="value">{a[k]:.3f} / {b[k]:.3f}</span></div>'
        )
    key = f'<p class="key"><span>○ {escape(words[0])}</span><span>● {escape(words[1])}</span></p>'
    return f'<div class="forest">{"".join(rows)}</div>{key}'
