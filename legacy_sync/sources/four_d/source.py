"""How does a 4D REST server fulfil the source contract?

`FourDSource` puts the parts together: catalog, filter, paging, wire format. While the caller works on
one batch, a single background thread reads and parses the next ones.
"""

from __future__ import annotations

import difflib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from legacy_sync.errors import MarkUnusable, SourceRefused, SourceUntrustworthy
from legacy_sync.settings import Settings
from legacy_sync.sources.base import STAMP, FetchReport, Probe, Scope, TableInfo, Tombstone
from legacy_sync.sources.four_d.answers import TableUnknown
from legacy_sync.sources.four_d.catalog import NUMERIC_TYPES, paging_key, read_catalog
from legacy_sync.sources.four_d.client import Answer, ClientOptions, RestPath, SimpleAPIClient
from legacy_sync.sources.four_d.filters import Selection, selection_of, writable_name
from legacy_sync.sources.four_d.paging import EntitySetPages, KeysetPages, Pages, Progress, Request
from legacy_sync.sources.four_d.session import Credentials
from legacy_sync.sources.four_d.wire import Envelope, decode_date, read_envelope, to_batch

T = TypeVar("T")

_READ_AHEAD = 2
_DELETED_RECORDS = "__DeletedRecords"
_DELETED_STAMP = "__Stamp"  # not the same as the __STAMP of each row
_KEYS_PAGE_SIZE = 10_000
_KEYS_AT_ONCE = 40  # what an address may be long
_KEYS_ONE_BY_ONE = 4_000  # for more the list of all is cheaper
_ALWAYS = ("__KEY", "__TIMESTAMP", "__STAMP")


class FourDSource:
    """Tables of one 4D server; safe to share between threads."""

    name = "four_d"

    def __init__(self, client: SimpleAPIClient) -> None:
        self.client = client
        self._tables: dict[str, TableInfo] = {}
        self._has_all = False

    def __repr__(self) -> str:
        return f"FourDSource({self.client!r})"

    def describe(self) -> dict[str, TableInfo]:
        """All tables the server exposes to this user, by name; read once per source object."""
        if not self._has_all:
            self._tables = self.client.get(RestPath.catalog("$all"), check=read_catalog).value
            self._has_all = True
        return dict(self._tables)

    def probe(self, table: str, cursor: str | None, since: date | None) -> Probe:
        """One small request: how many rows have `cursor >= since`, and the newest of them."""
        selection = Selection(cursor=cursor, cursor_from=since) if cursor and since else Selection()
        parameters = {**selection.filter().parameters(), "$top": "1"}
        if cursor:
            parameters["$orderby"] = f'"{writable_name(cursor)} desc"'
        answer = self._get_of_table(table, parameters, partial(_checked_probe, selection))
        newest = _day_of(answer.value.rows[0].get(cursor)) if cursor and answer.value.rows else None
        return Probe(answer.value.count, newest, answer.server_time or datetime.now(UTC).replace(microsecond=0))

    def fetch(self, scope: Scope) -> FourDFetch:
        """A fetch of the scope's rows; nothing is requested before its first batch is asked for."""
        return FourDFetch(self, scope)

    def fetch_keys(self, table: str) -> Iterator[tuple[str, ...]]:
        """The primary keys of all rows as text, a page at a time; raises unless all keys came."""
        stop = threading.Event()
        pages, _ = self.open_pages(Scope(table, page_size=_KEYS_PAGE_SIZE), Progress(), stop, only_keys=True)
        with closing(read_ahead(iter(pages), stop)) as ahead:
            for page in ahead:
                yield tuple(str(row["__KEY"]) for row in page.rows)
        if not pages.progress.is_complete:
            raise SourceUntrustworthy(
                f'not all keys of "{table}" came', where=self.client.where, next_step="run the key sweep again"
            )

    def read_stamp(self, table: str) -> int:
        """Where the database's counter stands, by one request; raises MarkUnusable if that means nothing."""
        answer = self._get_of_table(table, {"$top": "1"}, read_envelope)
        is_tracked = any(STAMP in row for row in answer.value.rows) or STAMP in self._table(table).names
        if not is_tracked:
            raise MarkUnusable(
                f'4D does not track the changes of "{table}": the table has no {STAMP}',
                where=f'{self.client.where}, catalog of table "{table}"',
                next_step="enable data change tracking for the table in 4D's structure editor,"
                " or choose another strategy (`change_detection` of the mapping)",
            )
        if answer.value.stamp is None:
            raise SourceUntrustworthy(
                f"the answer does not say where the counter {STAMP} stands",
                where=f'{self.client.where}, table "{table}"',
                next_step="choose another strategy (`change_detection` of the mapping)",
            )
        return answer.value.stamp

    def count_stamped(self, table: str, stamp: int) -> int:
        """How many rows were saved at or after a place of the counter, by one request for one row."""
        selection = Selection(stamp_from=stamp)
        parameters = {**selection.filter().parameters(), "$top": "1"}
        return self._get_of_table(table, parameters, partial(_checked_probe, selection)).value.count

    def fetch_tombstones(self, stamp: int) -> Iterator[tuple[str, tuple[Tombstone, ...]]]:
        """What was deleted at or after a place of the counter: table, tombstones; a page at a time.

        Raises SourceRefused if the server does not show its deleted records.
        """
        stop = threading.Event()
        scope = Scope(_DELETED_RECORDS, number_attribute=_DELETED_STAMP, number_from=stamp, page_size=_KEYS_PAGE_SIZE)
        pages, _ = self.open_pages(scope, Progress(), stop)
        with closing(read_ahead(iter(pages), stop)) as ahead:
            for page in ahead:
                found: dict[str, list[Tombstone]] = {}
                for row in page.rows:
                    key, at, name = (row.get(word) for word in ("__PrimaryKey", _DELETED_STAMP, "__TableName"))
                    if not isinstance(at, int) or key is None or not isinstance(name, str):
                        raise _no_tombstone(self.client.where)
                    found.setdefault(name, []).append(Tombstone(str(key), at))
                yield from ((table, tuple(tombstones)) for table, tombstones in found.items())

    def find_living(self, table: str, keys: Sequence[str]) -> set[str]:
        """Those of the keys that the table has now: a request for some dozens each, or the list of all."""
        info = self._table(table)
        key = paging_key(info)
        if key is None or len(keys) > _KEYS_ONE_BY_ONE:
            return {known for batch in self.fetch_keys(table) for known in batch} & set(keys)
        usable = [k for k in keys if key.type not in NUMERIC_TYPES or k.lstrip("-").isdigit()]
        values = [int(k) if key.type in NUMERIC_TYPES else k for k in usable]
        found: set[str] = set()
        for start in range(0, len(values), _KEYS_AT_ONCE):
            selection = Selection(key=key.name, one_of=tuple(values[start : start + _KEYS_AT_ONCE]))
            parameters = {**selection.filter().parameters(), "$top": str(_KEYS_PAGE_SIZE)}
            page = self._get_of_table(table, parameters, partial(_checked_probe, selection)).value
            found |= {str(row["__KEY"]) for row in page.rows}
        return found & set(keys)

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()

    def open_pages(
        self, scope: Scope, progress: Progress, stop: threading.Event, *, only_keys: bool = False
    ) -> tuple[Pages, TableInfo]:
        """The way to page through a scope: by key where the table has a single stored one, else by entity set."""
        info = self._table(scope.table, stop)
        key = paging_key(info)
        for name in filter(None, (scope.cursor, scope.number_attribute)):
            if info.attributes and name not in info.names:
                raise _unknown_attribute(name, info, self.client.where)
        if scope.number_attribute:
            _check_is_number(scope.number_attribute, info, self.client.where)
        request = Request(
            client=self.client,
            info=info,
            selection=selection_of(scope, key.name if key else None, key.type if key else ""),
            page_size=scope.page_size,
            stop=stop,
            is_strict=only_keys,
        )
        stored = tuple(a.name for a in info.attributes if a.stored)
        named = _chosen(scope, info, key.name if key else "")
        if key is not None:
            request.attributes = (key.name,) if only_keys else named
            return KeysetPages(request, progress), info
        request.attributes = stored[:1] if only_keys else named
        request.order = tuple(name for name in info.key if name in stored)
        return EntitySetPages(request, progress), info

    def _table(self, name: str, stop: threading.Event | None = None) -> TableInfo:
        """The table's catalog entry; raises SourceRefused with the closest names if there is none."""
        if name not in self._tables and not self._has_all:
            try:
                found = self.client.get(RestPath.catalog(name), check=read_catalog, stop=stop).value
            except TableUnknown as unknown:
                raise self._unknown_table(name) from unknown
            self._tables = {**self._tables, **found}
        if name not in self._tables:
            raise self._unknown_table(name)
        return self._tables[name]

    def _get_of_table(
        self, table: str, parameters: Mapping[str, str], check: Callable[[object, str], Envelope]
    ) -> Answer[Envelope]:
        try:
            return self.client.get(RestPath.table(table), parameters, check=check, place="probe")
        except TableUnknown as unknown:
            raise self._unknown_table(table) from unknown

    def _unknown_table(self, name: str) -> SourceRefused:
        known = list(self._tables) if self._has_all else list(self._names())
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        names = ", ".join(f'"{other}"' for other in close)
        return SourceRefused(
            f'the 4D server shows no table "{name}"',
            where=f"{self.client.where}, catalog with {len(known)} tables",
            next_step=f"correct the name (close: {names})" if names else "expose the table as REST resource in 4D",
        )

    def _names(self) -> dict[str, TableInfo]:
        return self.client.get(RestPath.catalog(), check=read_catalog).value


class FourDFetch:
    """One running fetch; iterate once, then read `report`."""

    def __init__(self, source: FourDSource, scope: Scope) -> None:
        self._source, self._scope = source, scope
        self._progress = Progress()
        self._report: FetchReport | None = None
        self._is_begun = False

    @property
    def total(self) -> int | None:
        """Rows the server announced with its first page; None before."""
        return self._progress.total

    @property
    def report(self) -> FetchReport:
        """What was fetched; only after the iteration ended."""
        if self._report is None:
            raise RuntimeError("a fetch has its report only after all of its batches were read")
        return self._report

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches, one per page; closing the iterator early stops the reading thread."""
        if self._is_begun:
            raise RuntimeError("a fetch can be iterated only once")
        self._is_begun = True
        began = time.monotonic()
        stop = threading.Event()
        rows = 0
        with closing(read_ahead(self._batches(stop), stop)) as ahead:
            for batch in ahead:
                rows += batch.num_rows
                yield batch
        progress = self._progress
        self._report = FetchReport(
            rows=rows,
            requests=progress.tally.requests,
            bytes=progress.tally.bytes,
            seconds=time.monotonic() - began,
            complete=progress.is_complete,
            server_time=progress.server_time or datetime.now(UTC).replace(microsecond=0),
            notes=tuple(_notes(progress)),
        )

    def _batches(self, stop: threading.Event) -> Iterator[pa.RecordBatch]:
        pages, info = self._source.open_pages(self._scope, self._progress, stop)
        for page in pages:
            yield to_batch(page.rows, info)


def read_ahead(items: Iterator[T], stop: threading.Event, depth: int = _READ_AHEAD) -> Generator[T, None, None]:
    """The same items, up to `depth` of them made in a background thread while the caller is busy.

    An exception of the maker comes out at its place. When the caller stops early, `stop` is set, the
    thread ends after the request it is in, and only then is the iterator closed.
    """
    end = object()
    worker = ThreadPoolExecutor(1, thread_name_prefix="four_d_read_ahead")
    waiting = deque(worker.submit(next, items, end) for _ in range(depth))
    try:
        while (item := waiting.popleft().result()) is not end:
            waiting.append(worker.submit(next, items, end))
            yield item  # type: ignore[misc]  # `end` never gets here
    finally:
        stop.set()
        worker.shutdown(wait=True, cancel_futures=True)


def create(settings: Settings, options: Mapping[str, Any] | None = None) -> FourDSource:
    """The 4D server of the settings; `options` are checked fields of ClientOptions by name."""
    options = dict(options or {})
    url = str(options.pop("url", None) or settings.require_api_url())
    options.setdefault("ca_file", settings.api_ca)
    credentials = Credentials(settings.api_user, settings.api_password or "") if settings.api_user else None
    return FourDSource(SimpleAPIClient(url, credentials, ClientOptions(**options), settings.sessions))


def _chosen(scope: Scope, info: TableInfo, key: str) -> tuple[str, ...]:
    """The attributes to ask for, with those the rows are checked by; 4D sends __KEY, __STAMP and the like anyway."""
    if not scope.attributes or not info.attributes:
        return ()
    stamp = STAMP if STAMP in info.names else None
    wanted = {key, scope.cursor, scope.number_attribute, stamp, *scope.attributes}
    named = tuple(name for name in info.names if name in wanted and name not in _ALWAYS)
    return named or info.names[:1]


def _checked_probe(selection: Selection, parsed: object, where: str) -> Envelope:
    page = read_envelope(parsed, where)
    selection.check(page.rows, where)
    return page


def _day_of(value: object) -> date | None:
    """The day, or None for a value that is none."""
    try:
        return decode_date(value)
    except ValueError:
        return None


def _no_tombstone(where: str) -> SourceUntrustworthy:
    return SourceUntrustworthy(
        f"a row of {_DELETED_RECORDS} does not say which record was deleted",
        where=where,
        next_step="check the 4D server's version; choose another strategy (`change_detection` of the mapping)",
    )


def _notes(progress: Progress) -> Iterator[str]:
    yield from progress.notes
    if progress.holes:
        yield f"{progress.holes} rows were deleted while their page was read"
    if progress.tally.session_changes:
        yield f"the server replaced the session {progress.tally.session_changes} times"


def _unknown_attribute(name: str, info: TableInfo, where: str) -> SourceRefused:
    close = difflib.get_close_matches(name, info.names, n=3, cutoff=0.5)
    return SourceRefused(
        f'the table "{info.name}" has no attribute "{name}" to select by',
        where=f'{where}, catalog of table "{info.name}"',
        next_step=f"correct it in the mapping (close: {', '.join(close)})" if close else "choose another attribute",
    )


def _check_is_number(name: str, info: TableInfo, where: str) -> None:
    """4D compares a text by its letters: slices of a number would hold the wrong rows."""
    kind = next((attribute.type for attribute in info.attributes if attribute.name == name), None)
    if kind is not None and kind not in NUMERIC_TYPES:
        raise SourceRefused(
            f'the attribute "{name}" of "{info.name}" is no number but {kind}',
            where=f'{where}, catalog of table "{info.name}"',
            next_step="cut the table by another attribute, or in another way (`partitions` of the mapping)",
        )
