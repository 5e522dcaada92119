"""Which rows of a batch belong to a scope? For sources that cannot ask for less than everything."""

from __future__ import annotations

import re
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import SourceRefused
from legacy_sync.sources.base import KEY, Scope

_DAYS = (
    re.compile(r"!*(?P<y>\d{4})-?(?P<m>\d{1,2})-?(?P<d>\d{1,2})(?!\d)"),
    re.compile(r"(?P<d>\d{1,2})[!.](?P<m>\d{1,2})[!.](?P<y>\d{4})(?!\d)"),
)


def narrow(batch: pa.RecordBatch, scope: Scope, where: str) -> pa.RecordBatch:
    """The rows within the bounds; a row nobody can read belongs to every scope that takes rows without a cursor."""
    if scope.is_whole_table:
        return batch
    _check_attributes(batch, scope, where)
    wanted = pa.repeat(pa.scalar(True), batch.num_rows)
    if scope.cursor and (scope.cursor_from or scope.cursor_to):
        wanted = pc.and_(wanted, _in_days(batch.column(scope.cursor), scope))
    if scope.number_from is not None or scope.number_to is not None:
        wanted = pc.and_(wanted, _in_numbers(batch.column(scope.number_attribute or ""), scope))
    if scope.key_from or scope.key_to:
        wanted = pc.and_(wanted, _in_keys(batch.column(KEY), scope))
    return batch.filter(wanted)


def days_of(values: pa.Array) -> pa.Array:
    """The days in a column of ISO or German spellings; null where there is none."""
    encoded = pc.dictionary_encode(values.cast(pa.string()))
    days = [find_day(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(days, pa.date32()).take(encoded.indices)


def find_day(text: str) -> date | None:
    """The day a text begins with; None if it does not begin with a possible one."""
    for pattern in _DAYS:
        if found := pattern.match(text.strip()):
            try:
                return date(int(found["y"]), int(found["m"]), int(found["d"]))
            except ValueError:
                return None
    return None


def _check_attributes(batch: pa.RecordBatch, scope: Scope, where: str) -> None:
    needed = {
        "cursor": scope.cursor if scope.cursor_from or scope.cursor_to else None,
        "number": scope.number_attribute,
        "key": KEY if scope.key_from or scope.key_to else None,
    }
    for role, name in needed.items():
        if name and name not in batch.schema.names:
            raise SourceRefused(
                f'the rows of "{scope.table}" have no attribute "{name}" to select by ({role})',
                where=where,
                next_step="correct `source` or `partitions` of the mapping",
            )


def _in_days(values: pa.Array, scope: Scope) -> pa.Array:
    days = days_of(values)
    takes_blank = scope.with_blank_cursor or scope.cursor_from is None
    inside = pa.repeat(pa.scalar(True), len(values))
    if scope.cursor_from:
        inside = pc.and_(inside, pc.greater_equal(days, pa.scalar(scope.cursor_from, pa.date32())))
    if scope.cursor_to:
        inside = pc.and_(inside, pc.less(days, pa.scalar(scope.cursor_to, pa.date32())))
    return pc.if_else(pc.is_null(days), pa.scalar(takes_blank), pc.fill_null(inside, False))


def _in_numbers(values: pa.Array, scope: Scope) -> pa.Array:
    texts = pc.utf8_trim_whitespace(values.cast(pa.string()))
    numbers = pc.if_else(pc.match_substring_regex(texts, r"^-?\d{1,15}(\.0*)?$"), texts, pa.scalar(None, pa.string()))
    numbers = numbers.cast(pa.float64())
    inside = pa.repeat(pa.scalar(True), len(values))
    if scope.number_from is not None:
        inside = pc.and_(inside, pc.greater_equal(numbers, float(scope.number_from)))
    if scope.number_to is not None:
        inside = pc.and_(inside, pc.less(numbers, float(scope.number_to)))
    return pc.if_else(pc.is_null(numbers), pa.scalar(scope.number_from is None), pc.fill_null(inside, False))


def _in_keys(values: pa.Array, scope: Scope) -> pa.Array:
    inside = pa.repeat(pa.scalar(True), len(values))
    if scope.key_from:
        inside = pc.and_(inside, pc.greater_equal(values, scope.key_from))
    if scope.key_to:
        inside = pc.and_(inside, pc.less(values, scope.key_to))
    return pc.fill_null(inside, scope.key_from is None)
