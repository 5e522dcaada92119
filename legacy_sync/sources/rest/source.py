"""How does a web service that is only described in YAML fulfil the source contract?"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import SourceRefused
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import DayPaging, NoPaging, RestTable, RestWords
from legacy_sync.sources.base import KEY, FetchReport, Probe, Scope, TableInfo
from legacy_sync.sources.narrowing import days_of, narrow
from legacy_sync.sources.rest.client import Question, RestClient
from legacy_sync.sources.rest.pages import Pages, Progress
from legacy_sync.sources.rest.rows import Row, describe_table, filled_in, find_missing, to_rows_batch

logger = logging.getLogger(__name__)

_SAMPLE_ROWS = 20


class RestSource:
    """The tables of one source file; safe to share between threads."""

    def __init__(self, spec: SourceSpec) -> None:
        self.name = spec.name
        self._words = cast(RestWords, spec.options)
        self.client = RestClient(spec)
        self._tables: dict[str, TableInfo] = {}

    def __repr__(self) -> str:
        return f"RestSource({self.client!r})"

    def describe(self) -> dict[str, TableInfo]:
        """The tables of the source file; of those without `columns` a few rows are asked for, once."""
        for name, table in self._words.tables.items():
            if name not in self._tables:
                sample = [] if table.columns else next(self._pages(Scope(name), Progress(), _SAMPLE_ROWS), [])
                self._tables[name] = describe_table(name, table, sample)
        return dict(self._tables)

    def probe(self, table: str, cursor: str | None, since: date | None) -> Probe:
        """One request. Of a list in pages it is the number of all rows, or of the first page if nobody tells."""
        scope = Scope(table, cursor=cursor, cursor_from=since if cursor else None)
        progress = Progress()
        is_paged = not isinstance(self.table(table).paging, NoPaging)
        rows = next(self._pages(scope, progress, 1 if is_paged else scope.page_size), [])
        server_time = progress.server_time or datetime.now(UTC)
        if is_paged or not rows:
            return Probe(progress.total if progress.total is not None else len(rows), None, server_time)
        batch = narrow(to_rows_batch(rows, self.table(table)), scope, self.client.where)
        newest = pc.max(days_of(batch.column(cursor))).as_py() if cursor and batch.num_rows else None
        return Probe(batch.num_rows, newest, server_time)

    def fetch(self, scope: Scope) -> RestFetch:
        """A fetch of the scope's rows; nothing is asked before its first batch is."""
        return RestFetch(self, scope)

    def fetch_keys(self, table: str) -> Iterator[tuple[str, ...]]:
        """The keys of all rows, a page at a time."""
        if not self.table(table).key:
            raise SourceRefused(
                f'the table "{table}" has no key to tell its rows apart',
                where=self.client.where,
                next_step=f'declare it: "key: […]" below tables.{table} of the source file',
            )
        for batch in self.fetch(Scope(table, page_size=self.table(table).page_size)):
            yield tuple(key for key in batch.column(KEY).to_pylist() if key is not None)

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()

    def table(self, name: str) -> RestTable:
        """What the source file says of a table; raises SourceRefused with the closest name."""
        tables = self._words.tables
        if name in tables:
            return tables[name]
        close = ", ".join(f'"{other}"' for other in difflib.get_close_matches(name, tables, n=3, cutoff=0.5))
        raise SourceRefused(
            f'the source {self.name} has no table "{name}"',
            where=self.client.where,
            next_step=f"correct the name (close: {close})" if close else "describe the table in the source file",
        )

    def read_pages(self, scope: Scope, progress: Progress) -> Iterator[pa.RecordBatch]:
        """The rows of each page that belong to the scope."""
        table = self.table(scope.table)
        seen: set[str] = set()
        for rows in self._pages(scope, progress, scope.page_size):
            seen.update(*rows)
            yield narrow(to_rows_batch(rows, table), scope, self.client.where)
        missing = find_missing(table, seen) if progress.received else []
        if missing:
            logger.warning("%s: no row of %s carried %s", self.client.where, scope.table, ", ".join(missing))

    def _pages(self, scope: Scope, progress: Progress, page_size: int) -> Iterator[list[Row]]:
        table, today = self.table(scope.table), datetime.now(UTC).date()
        progress.is_shifting = not isinstance(table.paging, DayPaging)
        for part in _parts(scope, table, today):
            first = Question(
                name=scope.table,
                table=table,
                path=filled_in(table.path, part, table.cursor_from, today),
                params=filled_in(table.params, part, table.cursor_from, today),
                body=filled_in(table.body, part, table.cursor_from, today),
            )
            yield from Pages(self.client, first, page_size, progress)


def _parts(scope: Scope, table: RestTable, today: date) -> Iterator[Scope]:
    """The scope, or spans of days in it that are asked for one after the other."""
    begin = scope.cursor_from or table.cursor_from
    if not isinstance(table.paging, DayPaging) or begin is None:
        yield scope
        return
    end = min(scope.cursor_to or date.max, today + timedelta(days=1))
    while begin < end:
        following = min(begin + timedelta(days=table.paging.size), end)
        yield replace(scope, cursor_from=begin, cursor_to=following)
        begin = following


class RestFetch:
    """One running fetch; iterate once, then read `report`."""

    def __init__(self, source: RestSource, scope: Scope) -> None:
        self._source, self._scope = source, scope
        self._progress = Progress()
        self._report: FetchReport | None = None

    @property
    def total(self) -> int | None:
        """Rows the service announced with its first page; None if it tells none or only some are wanted."""
        return self._progress.total if self._scope.is_whole_table else None

    @property
    def report(self) -> FetchReport:
        """What was fetched; only after the iteration ended."""
        if self._report is None:
            raise RuntimeError("a fetch has its report only after all of its batches were read")
        return self._report

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches, one per page."""
        began = time.monotonic()
        progress, rows = self._progress, 0
        for batch in self._source.read_pages(self._scope, progress):
            rows += batch.num_rows
            if batch.num_rows:
                yield batch
        doubt = () if progress.is_complete else ("the service does not say how many rows there are",)
        self._report = FetchReport(
            rows=rows,
            requests=progress.tally.requests,
            bytes=progress.tally.bytes,
            seconds=time.monotonic() - began,
            complete=progress.is_complete,
            server_time=progress.server_time or datetime.now(UTC),
            notes=doubt,
        )
