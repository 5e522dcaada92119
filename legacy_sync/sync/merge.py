"""How do many small batches become few? Converting costs by the batch, and slices of a table come in small pieces."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pyarrow as pa

from legacy_sync.sources.base import ABSENT, JSON_TEXT, is_json_text
from legacy_sync.sync.cells import Cells, map_unique

_ROWS = 10_000


def merged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order; a column whose type changes from page to page becomes JSON texts."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if waiting and (rows >= _ROWS or _names(batch) != _names(waiting[0])):
            yield _joined(waiting)
            waiting, rows = [], 0
        waiting.append(batch)
        rows += batch.num_rows
    if waiting:
        yield _joined(waiting)


def _names(batch: pa.RecordBatch) -> set[str]:
    return set(batch.schema.names) - {ABSENT}


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if all(batch.schema.equals(batches[0].schema, check_metadata=True) for batch in batches[1:]):
        return pa.concat_batches(batches)
    names = [name for name in batches[0].schema.names if name != ABSENT]
    columns = [_column(name, batches) for name in names]
    if any(ABSENT in batch.schema.names for batch in batches):
        columns.append((pa.field(ABSENT, pa.string()), pa.concat_arrays([_absent(batch) for batch in batches])))
    return pa.RecordBatch.from_arrays([array for _, array in columns], schema=pa.schema([f for f, _ in columns]))


def _column(name: str, batches: list[pa.RecordBatch]) -> tuple[pa.Field, pa.Array]:
    fields = [batch.schema.field(name) for batch in batches]
    arrays = [batch.column(name) for batch in batches]
    if len({(field.type, is_json_text(field)) for field in fields}) == 1:
        return fields[0], pa.concat_arrays(arrays)
    texts = [_as_json(array, field) for array, field in zip(arrays, fields, strict=True)]
    return pa.field(name, pa.string(), metadata=JSON_TEXT), pa.concat_arrays(texts)


def _as_json(array: pa.Array, field: pa.Field) -> pa.Array:
    if is_json_text(field):
        return array
    return map_unique(Cells(array), lambda value: orjson.dumps(value, default=str).decode(), pa.string()).values


def _absent(batch: pa.RecordBatch) -> pa.Array:
    if ABSENT in batch.schema.names:
        return batch.column(ABSENT)
    return pa.nulls(batch.num_rows, pa.string())
