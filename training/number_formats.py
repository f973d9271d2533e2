"""Finding how a column's texts write numbers: the unit, the separators between thousands and the decimal comma.

The whole column decides: the format that reads most texts, the plainest among equals.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl

from detector import cells
from detector.number_format import PLAIN, SPACES, NumberFormat

POINT = (("", "."), (",", "."), (" ", "."), ("'", "."), (".", ","))  # separators of thousands and decimals, plainest first
COMMA = ((".", ","), (" ", ","), ("'", ","))
CURRENCIES = {
    *("USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "BRL"),
    *("R$", "US$", "A$", "C$", "HK$", "Rs", "Rs.", "kr", "Fr", "Fr."),
}
LONGEST_UNIT = 12
DIGITS = rf"[0-9](?:[0-9.,'\u2019{SPACES}]*[0-9.,])?(?:[eE][+-]?[0-9]+)?"
BEFORE = r"(?<before>[^0-9\s+\-.,'()]{0,4}\.?)"
AFTER = r"(?<after>[^0-9\s.,+\-'()](?:[^0-9]*[^\s0-9(])?[0-9]?)?"
AROUND = rf"^[+-]?\s*{BEFORE}\s*[+-]?(?<digits>[.,]?{DIGITS})\s*{AFTER}$"


def infer_number_format(texts: pl.Series, *, decimal_comma: bool) -> NumberFormat:
    """Return the format that reads most texts, none of which is missing; decimals have a comma only if the user says so.

    Points between thousands, as in 1.234.567, prove a decimal comma; without such a text, 1.234 is a number with decimals.
    """
    separators = COMMA if decimal_comma else POINT
    if 2 * int(texts.str.contains("[0-9]").sum()) <= len(texts):
        return NumberFormat("", *separators[0])
    found = _best(texts, [NumberFormat("", thousands, decimal) for thousands, decimal in separators])
    if _readable(texts, found) == len(texts):
        return found
    unit = usual_unit(texts)
    if not unit:
        return found
    with_unit = _best(texts, [NumberFormat(unit, thousands, decimal) for thousands, decimal in separators])
    return with_unit if _readable(texts, with_unit) > _readable(texts, found) else found


def usual_unit(texts: pl.Series) -> str:
    """Return the most frequent unit beside the numbers; "" if there is none."""
    parts = texts.str.extract_groups(AROUND).struct
    before, after = parts.field("before").fill_null("").str.strip_chars(), parts.field("after").fill_null("").str.strip_chars()
    counts = pl.DataFrame({"before": before, "after": after}).group_by("before", "after").len().sort("len", "before", "after")
    for before_text, after_text, _ in reversed(counts.rows()):
        if not before_text and 0 < len(after_text) <= LONGEST_UNIT:
            return str(after_text)
        if before_text and not after_text and is_currency(before_text):
            return str(before_text)
    return ""


def is_currency(text: str) -> bool:
    """Return whether a text before a number is a currency, not the start of a name such as T-12."""
    return text in CURRENCIES or all(unicodedata.category(character) == "Sc" for character in text)


def numbers_with_symbols(texts: pl.Series) -> np.ndarray:
    """Return which texts are a number beside any symbol: a text after it, or a currency before it."""
    parts = texts.str.extract_groups(AROUND).struct
    has_symbol = parts.field("digits").is_not_null().to_numpy()
    named = [bool(text) and not is_currency(text) for text in parts.field("before").fill_null("").to_list()]
    found: np.ndarray = has_symbol & ~np.array(named, dtype=bool)
    return found


def _best(texts: pl.Series, formats: list[NumberFormat]) -> NumberFormat:
    """Return the first of the formats that read most texts; points between thousands need a text with two of them."""
    best, most = PLAIN, -1
    for each in formats:
        if not _is_guess(texts, each, formats) and (count := _readable(texts, each)) > most:
            best, most = each, count
            if count == len(texts):
                break
    return best


def _is_guess(texts: pl.Series, written: NumberFormat, formats: list[NumberFormat]) -> bool:
    """Return whether a decimal comma, which the user did not name, lacks a proof."""
    if written.decimal == "." or formats[0].decimal == ",":
        return False
    return bool(texts.str.contains(",", literal=True).any()) or not texts.str.contains(r"\.[0-9]{3}\.[0-9]{3}").any()


def _readable(texts: pl.Series, written: NumberFormat) -> int:
    return len(texts) - cells.numbers(texts, written=written).unread
