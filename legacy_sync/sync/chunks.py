"""How do the rows of a slice become portions that fit into memory and can be staged? Converted ahead, in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.staging import encode
from legacy_sync.ledger.quarantine import Parked
from legacy_sync.sync.casts import cast_dates
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.merge import merged
from legacy_sync.sync.shaping import shape
from legacy_sync.sync.transform import Transform, nameless
from legacy_sync.sync.values import raw_row

_ROWS = 50_000
_ROWS_PER_SOURCE = 1 << 32


@dataclass(frozen=True)
class Batches:
    """Rows that were read from the source at one time (microseconds since 1970)."""

    fetched: int
    read: Callable[[], Iterator[pa.RecordBatch]]


@dataclass
class Chunk:
    """Some rows, ready for COPY, with what was noticed while they were converted.

    A staged row has the number `source * 2**32 + place in the source`; `fetched` has the times of all sources.
    """

    fetched: list[int]
    encoded: list[memoryview] = field(default_factory=list)
    batches: list[tuple[int, pa.RecordBatch]] = field(default_factory=list)
    rows: int = 0
    parked: list[Parked] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    notes: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    """records of the table that the mapping does not mean"""
    unmeant: dict[str, int] = field(default_factory=dict)
    """the keys of such records and when they were read, where the mapping wants to know"""
    newest_cursor: date | None = None
    empty: frozenset[str] | None = None
    """columns whose attribute is null in all rows of the chunk"""
    seconds: float = 0.0
    """what the conversion took, in the thread that works ahead"""

    def fetched_of(self, row: int) -> int:
        """When a staged row was read from the source."""
        return self.fetched[row // _ROWS_PER_SOURCE]

    def record_of(self, row: int) -> dict[str, Any]:
        """The raw record of a staged row."""
        first, batch = next((f, b) for f, b in self.batches if f <= row < f + b.num_rows)
        return raw_row(batch, row - first)


def chunks_of(transform: Transform, sources: list[Batches]) -> Iterator[Chunk]:
    """All rows of the sources in order, about 50,000 at a time."""
    chunk = Chunk([s.fetched for s in sources])
    for number, source in enumerate(sources):
        row = number * _ROWS_PER_SOURCE
        for batch in merged(source.read()):
            began = time.monotonic()
            row += _add(transform, chunk, batch, row)
            chunk.seconds += time.monotonic() - began
            if chunk.rows >= _ROWS:
                yield chunk
                chunk = Chunk(chunk.fetched)
    if chunk.rows or chunk.parked or chunk.ignored:
        yield chunk


def _add(transform: Transform, chunk: Chunk, landed: pa.RecordBatch, first_row: int) -> int:
    """Converts a landed batch into rows of the chunk; returns how many there are, usable or not."""
    shaped = shape(transform.mapping.source, landed)
    fetched = chunk.fetched_of(first_row)
    chunk.ignored += shaped.ignored
    if shaped.rejected is not None and transform.mapping.deletes.policy != "ignore":
        chunk.unmeant |= dict.fromkeys(transform.keys_of(shaped.rejected), fetched)
    for record, reason, sentence in shaped.unreadable:
        chunk.parked.append(Parked(_key_of(transform, record), reason, None, None, sentence, record, fetched))
    _note_cursor(transform, chunk, landed)
    rows: int = shaped.batch.num_rows
    if rows:
        _convert(transform, chunk, shaped.batch, first_row)
    return rows


def _convert(transform: Transform, chunk: Chunk, batch: pa.RecordBatch, first_row: int) -> None:
    result = transform.apply(batch, first_row)
    chunk.encoded.append(encode(result.staged))
    chunk.batches.append((first_row, batch))
    chunk.rows += batch.num_rows
    chunk.kept |= result.kept
    for target, found in ((chunk.notes, result.notes), (chunk.violations, result.violations)):
        for text, rows in found.items():
            target[text] = target.get(text, 0) + rows
    chunk.empty = result.empty if chunk.empty is None else chunk.empty & result.empty
    fetched = chunk.fetched_of(first_row)
    for p in result.parked:
        raw = raw_row(batch, p.position)
        chunk.parked.append(Parked(p.legacy_key, p.reason, p.column, p.value, p.message, raw, fetched))


def _note_cursor(transform: Transform, chunk: Chunk, landed: pa.RecordBatch) -> None:
    cursor = transform.mapping.source.cursor
    if cursor and (index := landed.schema.get_field_index(cursor)) >= 0:
        newest = pc.max(cast_dates(Cells(landed.column(index))).values).as_py()
        chunk.newest_cursor = max(filter(None, (chunk.newest_cursor, newest)), default=None)


def _key_of(transform: Transform, record: dict[str, Any]) -> str:
    """A name for a record whose own key cannot be known."""
    parts = [str(record[name]) for name in (*transform.mapping.source.key, "__KEY") if record.get(name) is not None]
    return "|".join(parts) or nameless(record)
