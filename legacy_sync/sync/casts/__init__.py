"""How does a legacy value become a value of an ERP column? Pure, a column at a time.

Every cast takes the Cells of one column and gives Cells back. A value that cannot be converted becomes
null and refused, with the end of a sentence about it ("is no number"); nothing raises for a value. The
spellings of 4D (dates as d!m!yyyy, 0!0!0, numbers as texts) are handled here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import BooleanCast, Cast, DateCast, DecimalCast, IntegerCast, TimestampCast
from legacy_sync.sync.casts.basics import INTEGER_BITS, scalar_text, to_text
from legacy_sync.sync.casts.codes import cast_boolean, cast_email, cast_map
from legacy_sync.sync.casts.column import fit
from legacy_sync.sync.casts.days import cast_date, cast_dates, cast_timestamp, parse_date
from legacy_sync.sync.casts.json_values import cast_json_pick
from legacy_sync.sync.casts.numbers import cast_decimal, cast_integer
from legacy_sync.sync.casts.text import cast_hash, cast_replace, cast_slug, cast_split_last, cast_text
from legacy_sync.sync.cells import Cells

__all__ = ["apply_casts", "cast_dates", "parse_date", "run_chain", "scalar_text", "to_text"]

_CASTS: dict[str, Callable[[Cells, Any, Column], Cells]] = {
    "text": cast_text,
    "integer": cast_integer,
    "decimal": cast_decimal,
    "boolean": cast_boolean,
    "date": cast_date,
    "timestamp": cast_timestamp,
    "split_last": cast_split_last,
    "json_pick": cast_json_pick,
    "map": cast_map,
    "replace": cast_replace,
    "email": cast_email,
    "slug": cast_slug,
    "hash": cast_hash,
}
_EXPECTED: dict[str, Cast] = {
    **dict.fromkeys(INTEGER_BITS, IntegerCast()),
    **dict.fromkeys(("numeric", "float4", "float8"), DecimalCast()),
    "bool": BooleanCast(),
    "date": DateCast(),
    **dict.fromkeys(("timestamp", "timestamptz"), TimestampCast()),
}
"""what reads a text for a column of another type"""


def apply_casts(cells: Cells, steps: tuple[Cast, ...], column: Column) -> Cells:
    """Runs a chain of casts, then makes sure that the result fits the ERP column."""
    cells = run_chain(cells, steps, column)
    last = _EXPECTED.get(column.type)
    if last and pa.types.is_string(cells.values.type) and not (steps and steps[-1].type == last.type):
        cells = _CASTS[last.type](cells, last, column)  # texts that the database would have to read are read here
    return fit(cells, column)


def run_chain(cells: Cells, steps: tuple[Cast, ...], column: Column) -> Cells:
    """Runs the casts alone; the result need not fit the column yet."""
    for step in steps:
        cells = _CASTS[step.type](cells, step, column)
    return cells
