"""Does a value fit the ERP column? What the database would refuse is refused here, a row at a time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.sync.casts.basics import INTEGER_BITS, loads, refuse, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique

_TEXTS = ("varchar", "bpchar", "text", "citext")
_JSON = ("json", "jsonb")
KNOWN_TYPES = frozenset(
    {*_TEXTS, *_JSON, *INTEGER_BITS, "numeric", "float4", "float8", "bool", "date", "timestamp", "timestamptz", "uuid"}
)
"""types of which it is known here what fits; of others only PostgreSQL knows"""


def fit(cells: Cells, column: Column) -> Cells:
    values = cells.values
    if column.type in _TEXTS or column.type not in KNOWN_TYPES:
        return _fit_text(cells.with_values(to_text(values)), column)
    if column.type in INTEGER_BITS and pa.types.is_integer(values.type) and column.type != "int8":
        limit = 2 ** INTEGER_BITS[column.type]
        outside = pc.or_(pc.less(values, -limit), pc.greater_equal(values, limit))
        return refuse(cells, outside, "out_of_range", f"does not fit into {column.full_type}")
    if column.type == "numeric" and column.precision is not None:
        limit = 10.0 ** (column.precision - int(column.scale or 0))
        size = pc.abs(values.cast(pa.float64(), safe=False))
        half = 0.5 * 10.0 ** -int(column.scale or 0)
        return refuse(
            cells, pc.greater_equal(size, limit - half), "out_of_range", f"does not fit into {column.full_type}"
        )
    if column.type == "uuid":
        texts = to_text(values)
        fits = pc.match_substring_regex(texts, r"^\s*\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?\s*$")
        return refuse(cells.with_values(texts), pc.invert(fits), "not_a_uuid", "is no UUID")
    if column.type in _JSON:
        return map_unique(cells.with_values(to_text(values)), _as_json, pa.string())
    return cells


def _fit_text(cells: Cells, column: Column) -> Cells:
    cells = refuse(cells, pc.match_substring(cells.values, "\x00"), "nul_byte", "contains a NUL byte")
    if column.max_length is None:
        return cells
    too_long = pc.greater(pc.utf8_length(cells.values), column.max_length)
    return refuse(cells, too_long, "too_long", f"is longer than {column.max_length} characters")


def _as_json(text: str) -> str | Refusal:
    return text if loads(text) is not None or text.strip() == "null" else Refusal("not_json", "is no JSON")
