"""The guard: every reason against a line for a product, and the state that follows from them.

A reason is "name" or "name:detail" and fit for counting. Reasons of REVIEW alone send a line to a person; any other
rejects it. Reasons that do not depend on the product are found once per text.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import lru_cache

from recenv.core.errors import InputError
from recenv.core.evidence import has_evidence
from recenv.core.render import SLOT_COLUMNS, render, slot_value, slots
from recenv.core.wording import canonical
from recenv.generators.base import Row, Variant
from recenv.generators.channels import channel_named, length_reason
from recenv.generators.corpus import read_corpus
from recenv.generators.guard_claims import claim_reasons
from recenv.generators.guard_profanity import profanity_reasons
from recenv.generators.guard_slots import slot_reasons
from recenv.generators.guard_text import disguised, text_reasons
from recenv.generators.guard_voice import markup_reasons, personal_reasons, voice_reasons
from recenv.generators.guard_words import amount_reasons, word_reasons

REVIEW = frozenset({"word", "emoji", "value_direction"})
"""Reasons that a person may overrule: an unknown word, an emoji in the line, a name written from right to left."""

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def guard_reasons(
    text: str, item: Row, style: str = "", channel: str = "description", currency: str = ""
) -> tuple[str, ...]:
    """Every reason against a line for an item, empty if none.

    Args:
        text: the line, slots unfilled. item: its catalogue row with evidence columns. style: where given, the item must
            have the evidence that the style rests on. channel: one of CHANNELS. currency: for the rendered length.

    Returns:
        Reasons of `guard_text`, `guard_voice`, `guard_words`, `guard_claims`, `guard_profanity`, and besides
        `missing_slot:NAME` (the item has no such value), `bad_slot:NAME` (it cannot be shown), `value_html:NAME`,
        `value_direction:NAME` (what the catalogue holds there), `length:COUNT`, `style_evidence:STYLE`.

    Raises:
        InputError: unknown channel, or an item whose column `claims` has another form.
    """
    place = channel_named(channel)
    found = [*_fixed(text), *_values(text, item, currency)]
    for form in (canonical(text), *disguised(text)):
        found += claim_reasons(form, item)
    found += word_reasons(canonical(text), item) + profanity_reasons(text, item)
    if style and not _style_fits(style, item):
        found.append(f"style_evidence:{style}")
    if not any(reason.partition(":")[0] in ("unknown_slot", "missing_slot", "bad_slot") for reason in found):
        found.append(length_reason(render(text, item, currency), place))
    return tuple(dict.fromkeys(reason for reason in found if reason))


def verdict(reasons: tuple[str, ...]) -> str:
    """The state that reasons lead to: `auto-passed`, `needs review` or `rejected`."""
    names = {reason.partition(":")[0] for reason in reasons}
    return "auto-passed" if not names else "needs review" if names <= REVIEW else "rejected"


def check(variant: Variant, item: Row, currency: str = "", channel: str = "") -> Variant:
    """The variant with its state (`verdict`) and its reasons in `checks`; `channel` is its own unless given."""
    found = guard_reasons(variant.text, item, variant.style, channel or variant.channel, currency)
    return replace(variant, status=verdict(found), checks=found)


@lru_cache(maxsize=65_536)
def _fixed(text: str) -> tuple[str, ...]:
    found = [*text_reasons(text), *slot_reasons(text), *voice_reasons(text), *markup_reasons(text)]
    found += personal_reasons(text)
    for form in (canonical(text), *disguised(text)):
        found += amount_reasons(form)
    return tuple(found)


def _values(text: str, item: Row, currency: str) -> list[str]:
    """What the catalogue's values hold against a line that shows them."""
    found = []
    for slot in (s for s in slots(text) if s in SLOT_COLUMNS):
        try:
            value = slot_value(slot, item, currency)
        except InputError:
            value, reason = "-", f"bad_slot:{slot}"
        else:
            reason = "" if value else f"missing_slot:{slot}"
        if slot in ("price", "was_price") and not reason and not has_evidence(item, slot):
            reason = f"bad_slot:{slot}"
        found += [reason or _shown(slot, value)]
    return found


def _shown(slot: str, value: str) -> str:
    if "html" in markup_reasons(value):
        return f"value_html:{slot}"
    right_to_left = any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in value)
    return f"value_direction:{slot}" if right_to_left else ""


def _style_fits(style: str, item: Row) -> bool:
    groups = _style_needs().get(style, frozenset({()}))
    return any(all(has_evidence(item, need) for need in needs) for needs in groups)


@lru_cache(maxsize=1)
def _style_needs() -> dict[str, frozenset[tuple[str, ...]]]:
    lines = read_corpus().lines
    return {style: frozenset(x.needs for x in lines if x.style == style) for style in read_corpus().styles}
