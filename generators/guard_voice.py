"""Form: how a line is spoken, what is markup or talk to a machine, and what is about a person instead of a product."""

from __future__ import annotations

import re
from functools import lru_cache

from recenv.core.wording import canonical
from recenv.generators.guard_phrases import Phrases
from recenv.generators.seeds import read_seeds

_SHOUTED = re.compile(r"\b[A-Z]{2,}\b")
_MIXED_CASE = re.compile(r"\b[A-Za-z]*[a-z][A-Z][A-Za-z]*\b")
_MARKS = re.compile(r"[?!]{2,}|\.{4,}|(?<!\.)\.\.(?!\.)|,,|::|;;")
_HTML = re.compile(r"<[^>]*>|</|&[a-z]+;|&#\d+;|<!--|javascript:", re.IGNORECASE)
_URL = re.compile(r"https?:|www\.|://|\b\w+\.(?:com|org|net|io|shop|example|co|info|biz|de|uk)\b", re.IGNORECASE)
_MARKDOWN = re.compile(r"\*\*|__|\]\(|^#|`|%[sd]\b|\$\{|\\[nrtux]")
_EMAIL = re.compile(r"\S+@\S+\.\w+")
_PHONE = re.compile(r"\+?\d(?:[\s().-]?\d){6,}")
_CAPITALISED = re.compile(r"(?<![\w'’])[A-Z][a-zà-ž]+(?=['’]s\b|\b)")


def voice_reasons(text: str) -> list[str]:
    """`capitals` (a word in capitals, or some inside it), `exclamation` (more than one), `marks` ("?!", "....")."""
    outside = _without_slots(text)
    found = {
        "capitals": bool(_SHOUTED.search(outside) or _MIXED_CASE.search(outside)),
        "exclamation": outside.count("!") > 1,
        "marks": bool(_MARKS.search(outside)),
    }
    return [name for name, bad in found.items() if bad]


def markup_reasons(text: str) -> list[str]:
    """`html`, `url`, `markup` (Markdown, format codes), `braces` (doubled) and `instruction:WORDS` in a line."""
    found = {
        "html": bool(_HTML.search(text)),
        "url": bool(_URL.search(text)),
        "markup": bool(_MARKDOWN.search(text)),
        "braces": "{{" in text or "}}" in text,
    }
    talk = _phrases("instruction").first(canonical(text))
    return [name for name, bad in found.items() if bad] + ([f"instruction:{talk}"] if talk else [])


def personal_reasons(text: str) -> list[str]:
    """`email`, `phone`, `personal:WORDS` (about the reader or of contacting them), `person:WORD` (a title or name).

    A name is a first name of the list in `seeds/guard.json`, written with a capital; other names are unknown words.
    """
    plain = canonical(text)
    data = read_guard()
    found = [name for name, pattern in (("email", _EMAIL), ("phone", _PHONE)) if pattern.search(text)]
    about = _phrases("personal").first(plain)
    found += [f"personal:{about}"] if about else []
    capitalised = {w.casefold() for w in _CAPITALISED.findall(_without_slots(text))}
    title = next(iter(w for w, _ in _titles().find(plain) if w in capitalised), None)
    names = sorted(capitalised & data["first_names"])
    return found + [f"person:{w}" for w in ([title] if title else []) + names]


@lru_cache(maxsize=1)
def read_guard() -> dict[str, frozenset[str]]:
    """The lists of `seeds/guard.json` as sets."""
    return {k: frozenset(v) for k, v in read_seeds("guard.json")[0].items() if isinstance(v, list)}


@lru_cache(maxsize=8)
def _phrases(name: str) -> Phrases:
    return Phrases(read_guard()[name])


@lru_cache(maxsize=1)
def _titles() -> Phrases:
    return Phrases(read_guard()["titles"], read_guard()["title_except"])


def _without_slots(text: str) -> str:
    return re.sub(r"\{[^{}]*\}", " ", text)
