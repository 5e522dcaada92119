"""What do all casts need? Any scalar as text, JSON read without an error, and refusals by a mask."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.sync.cells import Cells, Refusal, map_unique

INTEGER_BITS = {"int2": 15, "int4": 31, "int8": 63}


def to_text(array: pa.Array) -> pa.Array:
    """Any scalar as text: 30.0 is "30", true is "true", large numbers have no exponent."""
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_large_string(array.type) or pa.types.is_null(array.type):
        return array.cast(pa.string())
    text = pc.cast(array, pa.string())
    if pa.types.is_floating(array.type) and pc.any(pc.match_substring(text, "e")).as_py():
        return map_unique(Cells(text), lambda t: format(Decimal(t), "f") if "e" in t else t, pa.string()).values
    return text


def scalar_text(value: Any) -> str | None:
    """A JSON value as the text people would write: 1.0 is "1", an object stays JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return format(Decimal(value), "f")
    return orjson.dumps(value).decode()


def loads(text: str) -> Any:
    """A JSON text as Python values; None for anything else."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def refuse(cells: Cells, where: pa.Array, reason: str, sentence: str) -> Cells:
    """Null and refused where the mask is true."""
    return cells.refuse(where, Refusal(reason, sentence))


def all_match(texts: pa.Array, pattern: str) -> bool:
    """Whether every text that is not null has the pattern in it."""
    return bool(pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py())


def count(mask: pa.Array) -> int:
    """How often the mask is true."""
    return int(pc.sum(mask).as_py() or 0)
