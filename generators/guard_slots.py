"""Slots: each fact once, behind words that announce it and no other."""

from __future__ import annotations

import re

from recenv.core.render import slots

_LABELS = {"size": ("size",), "price": ("price", "was_price"), "brand": ("brand",), "category": ("category",)}
"""Word that names a fact -> slots that may stand right behind it."""
_NAMES = "|".join(_LABELS)
_FACT = r"\{(?P<slot>size|price|was_price|brand|category)\}"
_LABELLED = (
    # At the beginning of a sentence alone: "Name, size, price: {size}, {price}" is a list.
    re.compile(rf"(?:^|[.?!;] )(?:(?:the|its|your|our) )?(?P<label>{_NAMES})(?:: | is ){_FACT}", re.IGNORECASE),
    re.compile(rf"\b(?P<label>{_NAMES}) {_FACT}", re.IGNORECASE),
)


def _wrong(before: str, slot: str, behind: str = "") -> re.Pattern[str]:
    return re.compile(rf"{before}\{{(?P<slot>{slot})\}}{behind}", re.IGNORECASE)


_LINK = r"(?: (?:was|is|of|at|to|says?|said|reads?))?[:,]? "
_MISPLACED = (
    _wrong(r"\bby ", "size|price|was_price|category"),
    _wrong(r"\b(?:priced|now|costs?) (?:at |for )?", "size|was_price|brand"),
    _wrong(r"\bat ", "size"),
    _wrong(r"\b(?:priced|with a price|at a price): ", "size|brand|category"),
    _wrong(r"(?:^|[.?!:;] )the (?:price|cost) of ", "price|was_price|size"),
    # The present price where the earlier one belongs ...
    _wrong(r"\bwas ", "price|size|brand"),
    _wrong(rf"(?<!\{{was_price\}} on the )\b(?:old|earlier|former|previous|usual) (?:price|tag|label){_LINK}", "price"),
    _wrong(r"\b(?:before|until) (?:the|this|our) (?:markdown|discount|reduction|price cut|sale)[:,]? ", "price"),
    _wrong(r"\b(?:instead of|down from|no longer|used to be|not|forget|once|crossed out|formerly) ", "price"),
    _wrong(r"\b(?:once|formerly|used to) (?:cost|costs|be|was) ", "price"),
    _wrong(r"\b(?:usual|old|earlier|former|previous) price (?:of|for) \{product\}[,:]? (?:is |was )?", "price"),
    _wrong("", "price", r" (?:was|is) the (?:old|usual|earlier|former|previous)\b"),
    _wrong("", "price", r"(?: is history| crossed out| no longer| used to be| before[,.:;])"),
    _wrong(r"(?<!write )", "price", r" over \{was_price\}"),
    # ... and the other way round.
    _wrong(rf"\b(?:new|lower|reduced|present|today's) (?:price|tag|label){_LINK}", "was_price"),
    _wrong(r"\b(?:down|reduced|cut|fell|lowered) to ", "was_price"),
    _wrong(r"\b(?:yours for|pay|get it for) ", "was_price", r"(?! (?:before|no longer))"),
    _wrong("", "was_price", r" (?:now|today)\b"),
    # An amount of something else.
    _wrong(r"\b(?:saving|reduction|difference)\b[^.?!{]*[,:] ", "price"),
    _wrong(r"\b(?:price cut|discount|markdown)[,:] ", "size"),
    _wrong(r"\bstock of \{product\} is ", "price|was_price|size"),
    _wrong(r"(?<!run )(?<!running )(?<!nearly )(?<!almost )\bout of ", "product", r"(?![^.!:]*\?)"),
)
"""A slot beside words that announce another fact: "by {size}", "now {was_price}", "the old price: {price}"."""
_SENTENCE = re.compile(r"(?<=[.?!]) ")
_ANNOUNCED = re.compile(
    r"(?:^|(?<!see )(?<!for )(?<!check )(?<!read )(?<!at )(?<!with )(?<!on )(?<!write )\b(?:the|and|size,) )"
    r"(?P<label>size|price|brand)(?: on the (?:label|tag|shelf|list))?: "
    r"|what (?:you'll|you will|you) pay: ",
    re.IGNORECASE,
)
"""Words that promise a fact: "The price: ...", "Item and size: ..."."""
_BEFORE_IT = (
    r"\b(?:was|were|from|instead of|place of|no longer|not|forget|after|once|cost|used to (?:be|say)|through|out with"
    r"|cross(?:ed)? out|thinking of|remember|said|before|before the (?:markdown|price cut|discount)"
    r"|(?:old|earlier|former|previous) (?:price|tag|label|one))(?:[,:]? (?!the\b)[\w']+){0,2}[,:]? "
)
_BEHIND_IT = (
    r"(?:(?:,? [\w']+){0,3} (?:before|crossed|history|became|becomes|once|gone|old|earlier)\b"
    r"| no more\b| no longer\b| was the\b|[,:;]? now\b|,? then\b| (?:down )?to \{price\}|; it is\b)"
)
_EARLIER = re.compile(
    rf"{_BEFORE_IT}\{{was_price\}}|\{{was_price\}}{_BEHIND_IT}|write \{{price\}} over \{{was_price\}}", re.IGNORECASE
)
"""The earlier price beside words that say so: a bare one reads as today's."""
_PAIR = re.compile(
    r"\{was_price\}[,:;] \{price\}(?! (?:now|today))|\{price\}[,:;] \{was_price\}(?! (?:before|then|no))"
)


def slot_reasons(text: str) -> list[str]:
    """`no_product` (no `{product}` in it), `repeated_slot:NAME`, `mislabelled:NAME` ("Size: {price}"), `promised:NAME`
    ("The size: {product}."), `unmarked:was_price` (an earlier price that does not say so).
    """
    missing = [] if "{product}" in text else ["no_product"]
    twice = [f"repeated_slot:{s}" for s in slots(text) if text.count(f"{{{s}}}") > 1]
    labelled = [m for pattern in _LABELLED for m in pattern.finditer(text)]
    wrong = [m["slot"] for m in labelled if m["slot"] not in _LABELS[m["label"].lower()]]
    wrong += [m["slot"] for pattern in _MISPLACED for m in pattern.finditer(text)]
    found = [f"mislabelled:{slot}" for slot in dict.fromkeys(wrong)]
    return missing + twice + found + [r for sentence in _SENTENCE.split(text) for r in _sentence_reasons(sentence)]


def _sentence_reasons(sentence: str) -> list[str]:
    labels = [(m["label"] or "price").lower() for m in _ANNOUNCED.finditer(sentence)]
    found = [f"promised:{x}" for x in labels if not any(f"{{{slot}}}" in sentence for slot in _LABELS[x])]
    shown = "{was_price}" in sentence
    if shown and (not _EARLIER.search(sentence) or _PAIR.search(sentence)):
        found.append("unmarked:was_price")
    old = shown or "old price" in sentence.lower()
    return found + ["mislabelled:price"] * ("crossed out" in sentence.lower() and "{price}" in sentence and not old)
