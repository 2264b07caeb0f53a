"""Form: how a line is spoken, what is markup or talk to a machine, and what is about a person instead of a product."""

from __future__ import annotations

import re
from functools import lru_cache

from recenv.core.render import slots
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

_LABELS = {"size": ("size",), "price": ("price", "was_price"), "brand": ("brand",), "category": ("category",)}
"""Word that names a fact -> slots that may stand right behind it."""
_NAMES = "|".join(_LABELS)
_FACT = r"\{(?P<slot>size|price|was_price|brand|category)\}"
_LABELLED = (
    # At the beginning of a sentence alone: "Name, size, price: {size}, {price}" is a list.
    re.compile(rf"(?:^|[.?!;] )(?:(?:the|its|your|our) )?(?P<label>{_NAMES})(?:: | is ){_FACT}", re.IGNORECASE),
    re.compile(rf"\b(?P<label>{_NAMES}) {_FACT}", re.IGNORECASE),
)
_MISPLACED = re.compile(
    r"\bby \{(?P<by>size|price|was_price|category)\}"
    r"|\b(?:priced|now|costs?) (?:at |for )?\{(?P<now>size|was_price|brand)\}"
    r"|\bat \{(?P<at>size)\}|\bwas \{(?P<was>price|size|brand)\}",
    re.IGNORECASE,
)
"""A slot behind a word that announces another fact: "by {size}", "now {was_price}", "was {price}"."""


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


def slot_reasons(text: str) -> list[str]:
    """`no_product` (no `{product}` in it), `repeated_slot:NAME`, `mislabelled:NAME` ("Size: {price}")."""
    missing = [] if "{product}" in text else ["no_product"]
    twice = [f"repeated_slot:{s}" for s in slots(text) if text.count(f"{{{s}}}") > 1]
    labelled = [m for pattern in _LABELLED for m in pattern.finditer(text)]
    wrong = [m["slot"] for m in labelled if m["slot"] not in _LABELS[m["label"].lower()]]
    wrong += [m[m.lastgroup] for m in _MISPLACED.finditer(text) if m.lastgroup]
    return missing + twice + [f"mislabelled:{slot}" for slot in dict.fromkeys(wrong)]


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
