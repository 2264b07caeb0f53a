"""Fill a copy's slots from the catalogue: the one place where facts enter a text.

A template is plain text with slots such as `{product}`. It is filled in a single pass, never by `str.format`, so that
braces or slot names inside a product's name stay what they are: text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from numbers import Real
from typing import Any

from recenv.core.errors import InputError

SLOT_COLUMNS: dict[str, str] = {
    "product": "text",
    "brand": "brand",
    "size": "size",
    "price": "price",
    "was_price": "was_price",
    "category": "category",
}
"""Slot name -> column of `items.parquet` that fills it."""

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
_WHOLE_UNITS = frozenset({"JPY", "¥", "KRW", "₩"})
_TOKEN = re.compile(r"\{([^{}]*)\}|[{}]")
_MEASURE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+(?: [A-Za-z]+)?)")
_UNITS = {
    "oz": "mass-ounce", "lb": "mass-pound", "lbs": "mass-pound", "g": "mass-gram", "kg": "mass-kilogram",
    "mg": "mass-milligram", "ml": "volume-milliliter", "cl": "volume-centiliter", "l": "volume-liter",
    "liter": "volume-liter", "fl oz": "volume-fluid-ounce", "gal": "volume-gallon", "qt": "volume-quart",
    "pt": "volume-pint", "cm": "length-centimeter", "mm": "length-millimeter", "m": "length-meter", "in": "length-inch",
    "ft": "length-foot",
}  # fmt: skip
_JOINERS = frozenset("\u200c\u200d")


def slots(template: str) -> tuple[str, ...]:
    """Names of the slots in a template in order of first use; unknown names and lone braces ("{") included."""
    found = (match.group(1) if match.group(1) is not None else match.group(0) for match in _TOKEN.finditer(template))
    return tuple(dict.fromkeys(found))


def clean(value: object) -> str:
    """Text as shown: NFC, control and direction marks removed, runs of white space made one space; "" for no value.

    None and NaN are no value. Joiners (U+200C, U+200D) stay, since emoji and several scripts need them.
    """
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return ""
    spaced = re.sub(r"\s+", " ", unicodedata.normalize("NFC", str(value)))
    kept = (c for c in spaced if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return re.sub(r" +", " ", "".join(kept)).strip()


def money(amount: object, currency: str, locale: str = "") -> str:
    """An amount as shown: `money(3.49, "USD") == "$3.49"`, `money(3.49, "SEK") == "3.49 SEK"`.

    Rounded half up from the decimal digits of the number; two decimals unless the currency has none. `currency` is an
    ISO code or a symbol; an empty one gives the bare number. With a locale ("de_DE") it is written as people there do,
    by CLDR (package `babel`, extra `copy`): `money(3.49, "EUR", "de_DE") == "3,49 €"` with a no-break space.

    Raises:
        InputError: the amount is no finite number >= 0, or has more than 28 digits with those after the point; with a
            locale: an unknown one, or a currency that is no code.
    """
    try:
        number = Decimal(str(amount))
    except (ArithmeticError, ValueError):  # ValueError: a whole number of more digits than Python writes
        raise _no_amount(amount) from None
    if isinstance(amount, bool) or not number.is_finite() or number < 0:
        raise _no_amount(amount)
    if locale:
        return _local_money(number, currency, locale)
    unit = Decimal(1) if currency in _WHOLE_UNITS else Decimal("0.01")
    digits = f"{_rounded(number, unit):,}"
    symbol = _SYMBOLS.get(currency, currency)
    return f"{digits} {symbol}" if symbol.isalpha() else f"{symbol}{digits}"


def _rounded(number: Decimal, unit: Decimal) -> Decimal:
    try:
        return number.quantize(unit, ROUND_HALF_UP)
    except ArithmeticError:  # more digits than the decimal context holds
        raise _no_amount(number) from None


def _no_amount(amount: object) -> InputError:
    try:
        found = repr(amount) if not isinstance(amount, Decimal) else str(amount)
    except ValueError:
        found = f"a {type(amount).__name__}"
    found = found if len(found) <= 60 else f"{found[:60]}…"
    return InputError(
        "price", f"{found} is not an amount of money", "Give a finite number of 0 or more, of at most 28 digits"
    )


def measure(size: str, locale: str) -> str:
    """A size as written in a locale: `measure("1.5 L", "de_DE") == "1,5 l"`; other texts stay as they are.

    Only the writing changes, never the unit: what is sold by the ounce is not converted.

    Raises:
        InputError: an unknown locale.
    """
    found = _MEASURE.fullmatch(size)
    unit = _UNITS.get(found.group(2).casefold()) if found else None
    if found is None or unit is None:
        return size
    from babel.units import format_unit

    return str(format_unit(Decimal(found.group(1)), unit, length="short", locale=_locale(locale)))


def _local_money(number: Decimal, currency: str, locale: str) -> str:
    from babel.numbers import UnknownCurrencyError, format_currency, get_currency_precision, validate_currency

    known = _locale(locale)
    code = next((iso for iso, symbol in _SYMBOLS.items() if symbol == currency), currency).upper()
    try:
        validate_currency(code)
    except UnknownCurrencyError:
        mend = "Give an ISO 4217 code in meta.json, such as EUR"
        raise InputError("currency", f"{currency!r} is no currency code", mend) from None
    rounded = _rounded(number, Decimal(1).scaleb(-get_currency_precision(code)))
    return str(format_currency(rounded, code, locale=known))


def _locale(name: str) -> Any:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(name, sep="-" if "-" in name else "_")
    except (ValueError, TypeError, UnknownLocaleError):
        raise InputError("locale", f"unknown locale {name!r}", "Give one such as en_US or de_DE") from None


def slot_value(slot: str, item: Mapping[str, Any], currency: str, locale: str = "") -> str:
    """What a slot shows for an item; "" where the item lacks it. A locale writes money and measures its way.

    Raises:
        InputError: unknown slot, unknown locale, a price that is no amount of money, or an earlier price that is not
            above the present one: what came down cannot be said of a product whose price has risen since.
    """
    column = SLOT_COLUMNS.get(slot)
    if column is None:
        raise InputError("copy template", f"unknown slot {slot!r}", f"Use only {sorted(SLOT_COLUMNS)}, each in braces")
    text = clean(item.get(column))
    if slot == "was_price" and text:
        _check_earlier(item)
    if slot in ("price", "was_price") and text:
        return money(item[column], currency, locale)
    return measure(text, locale) if slot == "size" and locale else text


def _check_earlier(item: Mapping[str, Any]) -> None:
    was, price = item["was_price"], item.get("price")
    for amount in (was, price):
        money(amount, "")
    if not Decimal(str(was)) > Decimal(str(price)):
        where = f"item {item.get('item_id')!r}, column 'was_price'"
        raise InputError(where, f"{was!r} is not above the price {price!r}", "Retire the line or mend the prices")


def render(template_text: str, item: Mapping[str, Any], currency: str, locale: str = "") -> str:
    """Fill every slot of a template from one catalogue row.

    Args:
        template_text: text with slots, e.g. "For the weekend: {product}, {price}."
        item: row of `items.parquet` by column name (SLOT_COLUMNS says which column fills which slot).
        currency: ISO code or symbol, `currency` in a data set's `meta.json`.
        locale: such as "de_DE" (needs `babel`); "" writes money as `money` does by default and sizes as they stand.

    Raises:
        InputError: unknown slot, unknown locale, lone brace, an item without the value that a slot asks for, or
            one whose `was_price` is not above its `price`.
    """

    def fill(match: re.Match[str]) -> str:
        slot = match.group(1) if match.group(1) is not None else match.group(0)
        value = slot_value(slot, item, currency, locale)
        if not value:
            raise InputError(
                f"item {item.get('item_id')!r}",
                f"no value for slot {{{slot}}}",
                f"Fill the column {SLOT_COLUMNS[slot]!r} or take another template",
            )
        return value

    return _TOKEN.sub(fill, template_text)
