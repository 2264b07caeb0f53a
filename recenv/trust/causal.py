"""May a log's figures be read as effects of showing? RANDOMISED, ADJUSTED or OBSERVATIONAL, with reasons.

RANDOMISED     the log says how probable each choice was, and what was shown fits those probabilities
ADJUSTED       probabilities estimated from what was recorded; no placebo test fails, those that can tell pass,
               and what the policy would show was shown. Something not recorded may still mislead.
OBSERVATIONAL  anything else: differences between shown and not shown are not effects of showing

The placebo tests of a log are judged together: where nothing is hidden, one of them fails, and makes the log
OBSERVATIONAL wrongly, with a chance of at most 5 % (Holm; `placebo.FAMILY`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recenv.core.errors import InputError
from recenv.trust.ope.audit import OK, Audit
from recenv.trust.overlap import Overlap
from recenv.trust.placebo import FAMILY, SHARP_ENOUGH, Placebo

RANDOMISED, ADJUSTED, OBSERVATIONAL = "RANDOMISED", "ADJUSTED", "OBSERVATIONAL"
PROPENSITIES = ("known", "uniform", "unknown")
_FAMILY = (
    f"{{}} placebo tests were judged together (Holm): where nothing is hidden, any fails with a chance of at most "
    f"{100 * FAMILY:.0f} %."
)


@dataclass(frozen=True)
class CausalVerdict:
    """The verdict, why, and the placebo tests behind it (as dictionaries)."""

    verdict: str
    why: tuple[str, ...]
    placebos: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; the key of the placebo tests in fidelity.json is "placebo"."""
        raw = asdict(self)
        return {"verdict": raw["verdict"], "why": list(self.why), "placebo": list(self.placebos)}


def causal_verdict(
    meta: Mapping[str, Any],
    audit: Audit | None = None,
    placebos: Sequence[Placebo] = (),
    overlap: Overlap | None = None,
    estimated: bool = False,
) -> CausalVerdict:
    """The verdict on a data set.

    Args:
        meta: of the data set: `propensity` (known, uniform, unknown), `exposure` (observed, derived, none).
        audit: of the logged propensities; None if not done. placebos: tests done. overlap: of the policy (or of the
            logged policy itself) with the log. estimated: whether propensities were estimated from recorded covariates
            where the log has none.

    Raises:
        InputError: `meta` does not say where propensities come from, or says something unknown.
    """
    propensity, exposure = meta.get("propensity"), meta.get("exposure")
    if propensity not in PROPENSITIES:
        what = f"'propensity' is {propensity!r}"
        raise InputError("meta", what, f"Say one of {', '.join(PROPENSITIES)}.")
    tests = tuple(p.as_dict() for p in placebos)
    failed = [p for p in placebos if p.failed]
    broken = [_failed(p) for p in failed] + ([_FAMILY.format(len(placebos))] if failed else [])
    if propensity != "unknown":
        return CausalVerdict(*_logged(propensity, exposure, audit, broken), tests)
    why = ["The log does not say how probable each choice was."]
    if exposure == "derived":
        why.append("Who saw what is derived from where it was on offer; nobody recorded it.")
    elif exposure == "none":
        why.append("The log does not say what was shown.")
    missing = _missing(placebos, overlap, estimated, exposure)
    if not broken and not missing:
        why.append(
            "The probabilities were estimated from what was recorded, no placebo test fails, and what the policy would "
            "show was shown. It still rests on nothing unrecorded having steered both showing and response."
        )
        return CausalVerdict(ADJUSTED, tuple(why), tests)
    return CausalVerdict(OBSERVATIONAL, tuple(why + broken + missing), tests)


def _logged(
    propensity: str, exposure: Any, audit: Audit | None, broken: list[str]
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """Verdict on a log that carries propensities."""
    source = "By design every choice was equally probable" if propensity == "uniform" else (
        "The log says how probable each choice was")  # fmt: skip
    if exposure in ("derived", "none"):
        return OBSERVATIONAL, (f"{source}, but what was shown was not recorded, only derived.", *broken)
    if audit is None:
        return OBSERVATIONAL, (f"{source}, but that was not checked against what was shown: run the audit.", *broken)
    if audit.verdict != OK:
        return OBSERVATIONAL, (f"{source}, but what was shown does not fit. {audit.headline()}", *broken)
    if broken and propensity == "uniform":
        return OBSERVATIONAL, (f"{source}, and what was shown fits on the whole; but a placebo test fails.", *broken)
    why = [f"{source}, and what was shown fits. {audit.headline()}"]
    if broken:
        # the placebo tests compare without weights: a choice that looked at the user's past fails them rightly
        why += ["The choice looked at the user's past: compare with weights by propensity, never shown with not shown."]
    return RANDOMISED, (*why, *broken)


def _failed(placebo: Placebo) -> str:
    real = f" (showing it for real: {placebo.real:.2f} times)" if placebo.real is not None else ""
    within = placebo.name.partition(" within ")[2]
    return f"Placebo{f' within {within}' if within else ''}: {placebo.words[0].lower()}{placebo.words[1:]}{real}"


def _missing(
    placebos: Sequence[Placebo], overlap: Overlap | None, estimated: bool, exposure: Any
) -> list[str]:  # fmt: skip
    """What ADJUSTED still needs."""
    out = []
    if exposure == "none":
        out.append("Without what was shown nothing can be adjusted.")
    if not estimated:
        out.append("No propensities were estimated from what was recorded.")
    if not any(p.informative for p in placebos):
        out.append(
            f"No placebo test was sharp enough to notice a seeming effect of {SHARP_ENOUGH:g} times."
            if placebos else "No placebo test was done."
        )  # fmt: skip
    if overlap is None:
        out.append("It was not checked whether what the policy would show was shown.")
    elif not overlap.enough:
        out.append(overlap.words())
    return out
