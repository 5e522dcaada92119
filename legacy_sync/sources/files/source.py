"""How does a folder with exports fulfil the source contract?"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import SourceRefused
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import FilesTable, FilesWords
from legacy_sync.sources.base import BROKEN, KEY, Attribute, FetchReport, Probe, Scope, TableInfo
from legacy_sync.sources.files.limits import counted, require_bearable
from legacy_sync.sources.files.listing import Choice, Folder, FoundFile
from legacy_sync.sources.files.reading import read_file
from legacy_sync.sources.narrowing import days_of, narrow


@dataclass
class Progress:
    """What is known of a fetch while it reads."""

    began_at: datetime
    files: int = 0
    bytes: int = 0
    broken: int = 0
    is_whole: bool = True
    notes: list[str] = field(default_factory=list)


class FilesSource:
    """The tables of one folder; safe to share between threads."""

    def __init__(self, spec: SourceSpec) -> None:
        self.name = spec.name
        self._words = cast(FilesWords, spec.options)
        self.folder = Folder(spec)
        self._counted: dict[tuple[FoundFile, ...], tuple[str | None, date | None, Probe]] = {}

    def __repr__(self) -> str:
        return f"FilesSource({self._words.address!r})"

    def describe(self) -> dict[str, TableInfo]:
        """The tables of the source file; of those without `columns` the beginning of a file is read."""
        return {name: self._describe(name, table) for name, table in self._words.tables.items()}

    def probe(self, table: str, cursor: str | None, since: date | None) -> Probe:
        """How many rows have `cursor >= since`, and the newest; files that have not changed are not read again."""
        choice = self.folder.choose(table, self.table(table))
        files = tuple(choice.files)
        known = self._counted.get(files)
        if known is None or known[:2] != (cursor, since):
            known = (cursor, since, self._count(table, cursor, since))
            self._counted = {files: known}
        return known[2]

    def fetch(self, scope: Scope) -> FilesFetch:
        """A fetch of the scope's rows; nothing is opened before its first batch is asked for."""
        return FilesFetch(self, scope)

    def fetch_keys(self, table: str) -> Iterator[tuple[str, ...]]:
        """The keys of all rows, in batches."""
        if not self.table(table).key:
            raise SourceRefused(
                f'the table "{table}" has no key to tell its rows apart',
                where=self.folder.where,
                next_step=f'declare it: "key: […]" below tables.{table} of the source file',
            )
        for batch in self.fetch(Scope(table)):
            yield tuple(key for key in batch.column(KEY).to_pylist() if key is not None)

    def close(self) -> None:
        """Nothing is kept open."""

    def table(self, name: str) -> FilesTable:
        """What the source file says of a table; raises SourceRefused with the closest name."""
        tables = self._words.tables
        if name in tables:
            return tables[name]
        close = ", ".join(f'"{other}"' for other in difflib.get_close_matches(name, tables, n=3, cutoff=0.5))
        raise SourceRefused(
            f'the source {self.name} has no table "{name}"',
            where=self.folder.where,
            next_step=f"correct the name (close: {close})" if close else "describe the table in the source file",
        )

    def read(self, scope: Scope, progress: Progress) -> Iterator[pa.RecordBatch]:
        """The rows of all files of the table that belong to the scope."""
        table = self.table(scope.table)
        choice = self.folder.choose(scope.table, table)
        progress.notes += choice.notes
        progress.is_whole = choice.is_whole
        for file in choice.files:
            progress.files += 1
            progress.bytes += file.size
            for batch in self._read_file(file, table):
                if BROKEN in batch.schema.names:
                    progress.broken += batch.num_rows - batch.column(BROKEN).null_count
                yield narrow(batch, scope, f"{self.folder.where}, {file.shown}")

    def _read_file(self, file: FoundFile, table: FilesTable) -> Iterator[pa.RecordBatch]:
        where = f"{self.folder.where}, {file.shown}"
        with self.folder.opened(file) as stream:
            require_bearable(stream, table, file.size, self._words, where)
            yield from counted(read_file(stream, table, file.shown, where), self._words, where)

    def _count(self, table: str, cursor: str | None, since: date | None) -> Probe:
        scope = Scope(table, cursor=cursor, cursor_from=since if cursor else None)
        progress, count, newest = Progress(datetime.now(UTC)), 0, None
        for batch in self.read(scope, progress):
            count += batch.num_rows
            if cursor and batch.num_rows:
                days = [newest, pc.max(days_of(batch.column(cursor))).as_py()]
                newest = max((day for day in days if day), default=None)
        return Probe(count, newest, progress.began_at)

    def _describe(self, name: str, table: FilesTable) -> TableInfo:
        attributes = [Attribute(column, kind) for column, kind in table.columns.items()]
        if not attributes:
            attributes = self._look_inside(self.folder.choose(name, table), table)
        if table.key and KEY not in {attribute.name for attribute in attributes}:
            attributes.append(Attribute(KEY, "string"))
        return TableInfo(name, tuple(attributes), table.key)

    def _look_inside(self, choice: Choice, table: FilesTable) -> list[Attribute]:
        """The names in the newest file; one without rows may only have a header."""
        with closing(self._read_file(choice.files[-1], table)) as batches:  # type: ignore[type-var]
            batch = next(batches, None)
        if batch is None:
            return []
        return [Attribute(f.name, str(f.type)) for f in batch.schema if f.name != BROKEN]


class FilesFetch:
    """One running fetch; iterate once, then read `report`."""

    total: int | None = None
    """files do not say how many rows they have"""

    def __init__(self, source: FilesSource, scope: Scope) -> None:
        self._source, self._scope = source, scope
        self._report: FetchReport | None = None

    @property
    def report(self) -> FetchReport:
        """What was fetched; only after the iteration ended."""
        if self._report is None:
            raise RuntimeError("a fetch has its report only after all of its batches were read")
        return self._report

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches; raises SourceUnavailable while no file is ready."""
        began, rows = time.monotonic(), 0
        progress = Progress(datetime.now(UTC))
        for batch in self._source.read(self._scope, progress):
            rows += batch.num_rows
            if batch.num_rows:
                yield batch
        if progress.broken:
            progress.notes.append(f"{progress.broken} rows could not be read")
        self._report = FetchReport(
            rows=rows,
            requests=progress.files,
            bytes=progress.bytes,
            seconds=time.monotonic() - began,
            # a row that could not be read may be any one, so nobody is missing for sure
            complete=progress.is_whole and not progress.broken,
            server_time=progress.began_at,
            notes=tuple(progress.notes),
        )
