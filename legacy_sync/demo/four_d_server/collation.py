"""In which order does 4D sort values, and which ones are equal to it?

Every value becomes a text that sorts as 4D sorts: "0" for null, "1…" for numbers, dates and Booleans,
"2…" for texts, folded so that `Müller` and `MULLER` are equal.
"""

from __future__ import annotations

import re
import struct
import unicodedata

NULL = "0"
_DIGITS = re.compile(r"\d+")
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
NUMBERS = frozenset({"long", "long64", "word", "byte", "number", "float", "duration"})


def fold(text: str) -> str:
    """The text without case and accents, as the server language compares it."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def number_key(value: float) -> str:
    """A text that sorts like the number."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", value))
    return f"1{(bits ^ _ALL) if bits & _SIGN else (bits ^ _SIGN):016x}"


def date_parts(text: str) -> tuple[int, int, int] | None:
    """Year, month and day of `d!m!y`, `YYYY-MM-DD` or an ISO instant, digits taken in order; None if too few."""
    groups = _DIGITS.findall(text)
    if len(groups) < 3:
        return None
    first, second, third = (int(group) for group in groups[:3])
    return (first, second, third) if len(groups[0]) == 4 else (third, second, first)


def date_key(text: str) -> str | None:
    """A text that sorts like the date (a blank date first); None if the text is no date."""
    parts = date_parts(text)
    return None if parts is None else f"1{parts[0]:04d}{parts[1]:02d}{parts[2]:02d}"


def sort_key(kind: str, value: object) -> str:
    """The sortable text of a stored value of the given catalog type."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "11" if value else "10"
    if isinstance(value, (int, float)):
        return number_key(value)
    text = str(value)
    if kind == "date":
        return date_key(text) or "2" + fold(text)
    return "2" + fold(text)
