"""Channels: where a line will stand, and how long it may be there, rendered."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from recenv.core.errors import InputError

_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_TWO = frozenset("^{}\\[~]|€\f")
"""GSM 03.38, default alphabet and its extension table, whose signs take two places."""


@dataclass(frozen=True)
class Channel:
    """A place for copy.

    Attributes:
        name: on the command line. limit: longest line, in visible characters (graphemes). what: for whom it reads.
        unicode_limit: limit in UTF-16 units where a sign lies outside the GSM 7-bit alphabet; 0: no such rule. With
            such a rule `limit` counts places of the 7-bit alphabet.
    """

    name: str
    limit: int
    what: str
    unicode_limit: int = 0


CHANNELS: dict[str, Channel] = {
    c.name: c
    for c in (
        Channel("headline", 30, "search ad headline"),
        Channel("description", 90, "search ad description, product tile"),
        Channel("sms", 160, "text message, one part", unicode_limit=70),
        Channel("push", 120, "push notification (assumed: what most phones show of it)"),
        Channel("subject", 60, "e-mail subject (assumed: what most mail programs show of it)"),
        Channel("banner", 50, "banner (assumed)"),
    )
}
"""Name -> channel. The limits of headline, description and SMS are those of the media; the others are assumed."""


def channel_named(name: str) -> Channel:
    """The channel of that name.

    Raises:
        InputError: no channel has this name.
    """
    if name not in CHANNELS:
        raise InputError("channel", f"unknown name {name!r}", f"Choose one of {', '.join(CHANNELS)}")
    return CHANNELS[name]


def graphemes(text: str) -> int:
    """Visible characters: code points that are neither marks, joiners nor joined to the one before by U+200D.

    Skin tones and variation selectors belong to the sign before them, two regional indicators make one flag.
    """
    total, joined, flag = 0, False, False
    for c in unicodedata.normalize("NFC", text):
        indicator = "\U0001f1e6" <= c <= "\U0001f1ff"
        extends = unicodedata.category(c) in ("Mn", "Me", "Cf") or "\U0001f3fb" <= c <= "\U0001f3ff"
        total += not (extends or joined or (indicator and flag))
        joined, flag = c == "\u200d", indicator and not flag
    return total


def length_reason(rendered: str, channel: Channel) -> str:
    """`length:COUNT` where the rendered line is too long for the channel, else ""."""
    if not channel.unicode_limit:
        count, limit = graphemes(rendered), channel.limit
    elif all(c in _GSM7 or c in _GSM7_TWO for c in rendered):
        count, limit = len(rendered) + sum(c in _GSM7_TWO for c in rendered), channel.limit
    else:
        count, limit = len(rendered.encode("utf-16-le")) // 2, channel.unicode_limit
    return f"length:{count}" if count > limit else ""
