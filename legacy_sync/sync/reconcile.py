"""Do both sides hold the same records, and the same values? Compares in the ERP database; nothing is written.

By default only what names a record is fetched. With values, all mapped attributes come in a stream, go the way of a
load up to the staging table, and are compared there: by the hashes and sums of 64 slices of the keys first, then value
by value in the slices that differ. The plan of a load says why a value differs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg
import pyarrow as pa

from legacy_sync.erp import compare
from legacy_sync.erp.database import translated
from legacy_sync.erp.shape import Shape
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.sources.base import BROKEN, Fetch, Scope
from legacy_sync.sync.bound import bind
from legacy_sync.sync.chunks import Batches, Chunk, chunks_of
from legacy_sync.sync.differences import KINDS, Difference, Reconciliation, Sum
from legacy_sync.sync.due import Due
from legacy_sync.sync.fetch import joined, plan_work
from legacy_sync.sync.load import Loader
from legacy_sync.sync.loading import loading
from legacy_sync.sync.merge import merged
from legacy_sync.sync.pace import Pace
from legacy_sync.sync.prefetch import prefetch
from legacy_sync.sync.report import Progress
from legacy_sync.sync.shaping import shape as shape_records
from legacy_sync.sync.transform import Transform
from legacy_sync.sync.windows import BESIDE_ROWS
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

_KEYS_PAGE_SIZE = 10_000
_WITHOUT_KEY = ("not_a_record", "not_a_list")


@dataclass(frozen=True)
class Compared:
    """A finished comparison; the differences can be read as long as the block that made it is open."""

    result: Reconciliation
    connection: psycopg.Connection

    def differences(self, kinds: Sequence[str] | None = None, limit: int | None = None) -> Iterator[Difference]:
        """The differences of these kinds (all if None), the worst first; streamed, however many there are."""
        chosen = [kind for kind in KINDS if kinds is None or kind in kinds]
        return (
            Difference(str(kind), *rest) for kind, *rest in compare.read_differences(self.connection, chosen, limit)
        )


@contextmanager
def compared(
    workspace: Workspace, mapping: Mapping, *, values: bool = False, progress: Progress | None = None
) -> Iterator[Compared]:
    """Compares one entity, by keys or with all its values; writes neither to the ERP nor to the ledger.

    Rows that change while it runs may show up as differences; a second look settles that. To compare values excludes
    a load of the entity meanwhile: raises EntityBusy, besides the errors of the source and of the ERP.
    """
    began = time.monotonic()
    with (
        translated(f"reconciliation of {mapping.entity}"),
        workspace.erp() as connection,
        connection.transaction(force_rollback=True),
    ):
        comparison = _Comparison(workspace, mapping, connection, progress)
        result = comparison.by_value() if values else comparison.by_key()
        result.seconds = time.monotonic() - began
        logger.info("erp/%s: %s, in %.1f s", mapping.entity, result.in_words(), result.seconds)
        yield Compared(result, connection)


class _Comparison:
    """One entity that is being compared."""

    def __init__(
        self, workspace: Workspace, mapping: Mapping, connection: psycopg.Connection, progress: Progress | None
    ) -> None:
        self.workspace = workspace
        self.mapping = mapping
        self.connection = connection
        self.pace = Pace(f"legacy/{mapping.source.table}: compare", "compare", progress)
        self.due = _due(workspace, mapping, connection)
        self.is_readable = True
        """every record that was read has a key, as far as can be known"""

    def by_key(self) -> Reconciliation:
        """Who is missing where."""
        bound = bind(self.connection, self.mapping, self.workspace.project.mappings.values())
        shape = bound.shape(self.connection)
        compare.begin(self.connection, shape)
        transform = Transform(self.mapping, bound.table, bound.related)
        fetch = self._fetch(self.mapping.source.attributes, _KEYS_PAGE_SIZE)
        for batch in prefetch(merged(joined(fetch))):
            shaped = shape_records(self.mapping.source, batch)
            self.is_readable &= not shaped.unreadable
            self._take_keys(transform, shaped.batch)
        return self._finish(shape, fetch, values=False)

    def by_value(self) -> Reconciliation:
        """The same, and which values differ."""
        with ExitStack() as stack:
            (loader,) = stack.enter_context(
                loading(self.workspace, [self.mapping], full=True, dry_run=True, within=self.connection)
            )
            stack.enter_context(self.connection.transaction())  # what fails in it leaves the lock to be given back
            shape = loader.bound.shape(self.connection)
            compare.begin(self.connection, shape)
            fetch = self._fetch(self.mapping.attributes, self.mapping.source.page_size)
            rows = Batches(0, partial(joined, fetch))
            done = 0
            for chunk in prefetch(chunks_of(loader.transform, [rows]), depth=1):
                self._compare(loader, chunk)
                pa.default_memory_pool().release_unused()
                done += chunk.rows
                self.pace(done, fetch.total)
            return self._finish(shape, fetch, values=True)

    def _compare(self, loader: Loader, chunk: Chunk) -> None:
        for _, batch in chunk.batches:
            self._take_keys(loader.transform, batch)
        self.is_readable &= not any(p.reason in _WITHOUT_KEY for p in chunk.parked)
        shape = loader.stage(chunk)
        if loader.may_have_doubles:
            compare.leave_one_of_each(self.connection, newest=self.mapping.source.duplicates == "last_wins")
        compare.note_unusable(self.connection, shape, chunk.parked)
        compare.compare_stage(self.connection, shape)

    def _fetch(self, attributes: tuple[str, ...], page_size: int) -> Fetch:
        source = self.mapping.source
        size = max(page_size, source.page_size) if source.server == FOUR_D else source.page_size
        scope = Scope(source.table, cursor=source.cursor, page_size=size, attributes=attributes)
        return self.workspace.source(source.server).fetch(scope)

    def _take_keys(self, transform: Transform, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self.is_readable &= BROKEN not in batch.schema.names
            compare.copy_keys(self.connection, transform.key_column(batch), self.due.of(batch))

    def _finish(self, shape: Shape, fetch: Fetch, *, values: bool) -> Reconciliation:
        connection = self.connection
        is_complete = fetch.report.complete and self.is_readable
        compare.find_by_key(connection, shape, is_complete=is_complete)
        compare.settle(connection, shape)
        read, keys, bound, erp_rows = compare.read_numbers(connection, shape)
        result = Reconciliation(self.mapping.entity, values, read, keys, bound, erp_rows)
        for kind, (rows, cells) in compare.count_rows(connection).items():
            result.rows[kind] = rows
            if cells and kind not in ("parked", "waits_for_parent"):
                result.cells[kind] = cells
        if values:
            result.compared, result.buckets, result.buckets_differing = compare.read_buckets(connection)
            result.sums = [Sum(*found) for found in compare.read_sums(connection, shape)]
        result.notes = list(self._notes(result, fetch, is_complete))
        return result

    def _notes(self, result: Reconciliation, fetch: Fetch, is_complete: bool) -> Iterator[str]:
        if not is_complete:
            reason = "; ".join(fetch.report.notes) or "some of its records could not be read"
            yield f"what is gone from the source cannot be told, since it does not vouch for all records: {reason}"
        if result.read > result.keys:
            yield (
                f"{result.read - result.keys:,} records have the key of another, or none;"
                f" the mapping says duplicates: {self.mapping.source.duplicates}"
            )


def _due(workspace: Workspace, mapping: Mapping, connection: psycopg.Connection) -> Due:
    """What the next run of the entity will read, and load again."""
    work = plan_work(workspace, mapping, None, full=False)
    entity_id = runs.get_entity_id(connection, mapping.entity)
    known = runs.read_loaded(connection, entity_id)
    is_new_meaning = any(known[p].is_stale(mapping.version) for p in known.keys() - BESIDE_ROWS)
    return Due(mapping, work.plans, everything=work.is_whole_table or is_new_meaning)
