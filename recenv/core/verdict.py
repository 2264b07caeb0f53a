"""The verdict on a world: how it lands in its folder, how it is read back, and how it is said in one line.

`fidelity.json` holds the whole report; `world.json["fidelity"]` its verdicts and the report's hash. The verdict is no
part of what a world IS: `identity` leaves it out, so that measuring a world changes no run that was trained in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recenv.core.artefacts import manifest_hash, read_json
from recenv.core.errors import ArtefactError, InputError

REPORT, PAGE, CARD = "fidelity.json", "fidelity.html", "world.json"
NOT_MEASURED = "NOT MEASURED"
VERDICTS = (NOT_MEASURED, "PASS", "NOT ENOUGH DATA", "FAIL")
"""Of a gate, the worst last."""
NOTE = "<!--note-->"
"""Where a page takes a note: a world with copy keeps the report of the world that it was made from."""
_AGAIN = "Run `recenv fidelity` again"


def identity(meta: Mapping[str, Any]) -> str:
    """SHA-256 of what a world is: its card without the verdict on it (and without the card's own hash)."""
    return manifest_hash({key: value for key, value in meta.items() if key != "fidelity"})


def world_identity(folder: Path) -> str:
    """`identity` of the world in `folder`; raises ArtefactError where there is no readable card."""
    return identity(read_json(folder / CARD))


def land(folder: Path, report: Mapping[str, Any], page: str | None = None) -> dict[str, Any]:
    """Write a report beside a world and its verdicts into the world's card.

    Args:
        folder: of the world. report: JSON-able, with `split` and, once judged, `verdict`, `causal`, `gates`.
        page: the report as HTML; where None, a page of an earlier report is removed.

    Returns:
        what stands in `world.json["fidelity"]`: verdict, causal, split, gates (name -> verdict), sha256 of the report.

    Raises:
        InputError: a NaN or infinity in the report. ArtefactError: there is no world in the folder.
    """
    meta = read_json(folder / CARD)
    try:
        text = json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n"
    except ValueError as error:
        raise InputError(REPORT, f"a figure is not finite ({error})", "Report this: no gate may give NaN") from error
    entry = {**verdicts(report), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    if meta.get("fidelity") != entry:
        meta["fidelity"] = entry
        meta["manifest_hash"] = manifest_hash(meta)
    _replace(folder / REPORT, text)
    if page is not None:
        _replace(folder / PAGE, page)
    else:
        (folder / PAGE).unlink(missing_ok=True)
    _replace(folder / CARD, json.dumps(meta, indent=1, sort_keys=True) + "\n")
    return entry


def verdicts(report: Mapping[str, Any]) -> dict[str, Any]:
    """The short form of a report: verdict, causal, split, gates by name, and whose it is where it was taken over."""
    causal = report.get("causal") or {}
    kept = {key: report[key] for key in ("measured_on",) if key in report}
    return {
        "verdict": at_best(report.get("verdict", NOT_MEASURED), report["split"]),
        "causal": causal.get("verdict", NOT_MEASURED),
        "split": report["split"],
        "gates": _by_name(report.get("gates", ())),
        **kept,
    }


def at_best(verdict: str, split: str) -> str:
    """The verdict that a slice can bear: training stopped on the validation slice, so that a PASS there proves nothing.

    FAIL stays FAIL: what is wrong where it was tuned is wrong.
    """
    return "NOT ENOUGH DATA" if split == "validation" and verdict == "PASS" else verdict


def _by_name(gates: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The worst verdict of each gate over the responses that it judged."""
    found: dict[str, str] = {}
    for gate in gates:
        found[gate["name"]] = max(found.get(gate["name"], NOT_MEASURED), gate["verdict"], key=VERDICTS.index)
    return found


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a world, checked against the hash in the world's card.

    Raises:
        ArtefactError: it is missing, no JSON, not a report, or not the one that the card names.
    """
    file = folder / REPORT
    report = read_json(file)
    if not isinstance(report.get("heads"), dict) or not isinstance(report.get("split"), str):
        raise ArtefactError(str(file), "is no fidelity report (no heads, no split)", _AGAIN)
    gates = report.get("gates", [])
    if not isinstance(gates, list) or not all(
        isinstance(g, dict) and isinstance(g.get("name"), str) and g.get("verdict") in VERDICTS for g in gates
    ):
        raise ArtefactError(str(file), "holds a gate without a name or with an unknown verdict", _AGAIN)
    card = read_json(folder / CARD).get("fidelity") if (folder / CARD).is_file() else None
    if card and card.get("sha256") != hashlib.sha256(file.read_bytes()).hexdigest():
        raise ArtefactError(str(file), "is not the report that world.json names", _AGAIN)
    return report


def verdict_line(name: str, entry: Mapping[str, Any] | None) -> str:
    """One line on a world: `entry` is its card's `fidelity`, None where it was never measured."""
    if not entry:
        return f"fidelity of {name}: {NOT_MEASURED}"
    split = str(entry["split"])
    where = "quick, validation slice; run `recenv fidelity`" if split == "validation" else f"{split} slice"
    line = f"fidelity of {name}: prediction {at_best(entry['verdict'], split)} ({where}), causal {entry['causal']}"
    bad = [gate for gate, verdict in entry["gates"].items() if verdict == "FAIL"]
    line += f"; failed: {', '.join(bad)}" if bad else ""
    source = entry.get("measured_on")
    return line + (f"; measured on {source}, without the copy added since" if source else "")


def _replace(file: Path, text: str) -> None:
    """Write in one move, so that a reader never sees half a file."""
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)
