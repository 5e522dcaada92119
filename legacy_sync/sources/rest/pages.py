"""How do we get from the first page of a list to the last, and know that none is missing?

A list ends where the service says so (total, no next address), else with the first empty page: a short one may
only mean that the service gives less than was asked. A page that came before means that paging does not work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson

from legacy_sync.errors import SourceUnavailable, SourceUntrustworthy
from legacy_sync.mapping.source_words import (
    DayPaging,
    LinkPaging,
    NoPaging,
    OffsetPaging,
    PagePaging,
    RestTable,
    TokenPaging,
)
from legacy_sync.sources.plain import read_path
from legacy_sync.sources.rest.client import Parsed, Question, RestClient, Tally
from legacy_sync.sources.rest.rows import Row, read_rows


@dataclass(frozen=True)
class Page:
    """The rows of one answer, and where the next one is."""

    rows: list[Row]
    total: int | None
    next_mark: str | None
    digest: bytes


@dataclass
class Progress:
    """What is known of a list while it is read."""

    total: int | None = None
    received: int = 0
    pages: int = 0
    server_time: datetime | None = None
    is_shifting: bool = True
    """whether a row that goes away while the pages are read moves others to a page that was read before"""
    tally: Tally = field(default_factory=Tally)

    @property
    def is_complete(self) -> bool:
        """Whether it is sure that no row is missing: counted by the service, read in one go, or never moving."""
        if self.total is not None:
            return self.received == self.total
        return self.pages <= 1 or not self.is_shifting


class Pages:
    """The pages of one list, in order; iterate once."""

    def __init__(self, client: RestClient, first: Question, page_size: int, progress: Progress) -> None:
        self._client = client
        self._first = first
        self._table: RestTable = first.table
        self._size = min(page_size, first.table.page_size)
        self._progress = progress
        self._seen: set[bytes] = set()

    def __iter__(self) -> Iterator[list[Row]]:
        """The rows of each page; raises SourceUntrustworthy for a list that contradicts itself."""
        progress = self._progress
        mark: str | None = None
        while True:
            page = self._read(mark)
            progress.received += len(page.rows)
            progress.pages += bool(page.rows)
            if page.rows:
                yield page.rows
            mark = page.next_mark
            if self._is_last(page):
                break
        self._check_total()

    def _read(self, mark: str | None) -> Page:
        place = f"after {self._progress.received:,} rows" if self._progress.received else ""
        answer = self._client.ask(self._question(mark), self._checked, self._progress.tally, place)
        page, progress = answer.value, self._progress
        progress.server_time = progress.server_time or answer.server_time
        if progress.total is not None and page.total is not None and page.total != progress.total:
            raise SourceUnavailable(
                f"the list grew or shrank from {progress.total:,} to {page.total:,} rows while it was read",
                where=self._client.where,
                next_step="run again; nothing was taken from this try",
            )
        progress.total = page.total if page.total is not None else progress.total
        self._seen.add(page.digest)
        return page

    def _checked(self, parsed: Parsed, where: str) -> Page:
        rows = read_rows(parsed.data, self._table, where)
        digest = blake2b(orjson.dumps(rows, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
        if rows and digest in self._seen:
            raise SourceUntrustworthy(
                "the service sent a page a second time instead of the next one",
                where=where,
                next_step="compare `paging` with the service's manual",
            )
        return Page(rows, self._total_of(parsed.data, where), self._next_mark(parsed), digest)

    def _total_of(self, data: Any, where: str) -> int | None:
        if self._table.total is None:
            return None
        total = read_path(data, self._table.total)
        if isinstance(total, str) and total.isdecimal():
            total = int(total)
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise SourceUntrustworthy(
                f'the answer has no number of all rows at "{self._table.total}"',
                where=where,
                next_step="compare `total` of the source file with an answer of the service",
            )
        return total

    def _next_mark(self, parsed: Parsed) -> str | None:
        match self._table.paging:
            case LinkPaging(path=None):
                return parsed.next_url
            case LinkPaging(path=str(path)) | TokenPaging(path=path):
                mark = read_path(parsed.data, path)
                return str(mark) if mark not in (None, "", False) else None
            case _:
                return None

    def _question(self, mark: str | None) -> Question:
        added: dict[str, Any] = {}
        match self._table.paging:
            case PagePaging() as paging:
                added = {paging.page: paging.first + self._progress.pages, paging.size: self._size}
            case OffsetPaging() as paging:
                added = {paging.offset: self._progress.received, paging.limit: self._size}
            case LinkPaging() if mark is not None:
                return replace(self._first, url=mark, params={})
            case LinkPaging(size=str(size)):
                added = {size: self._size}
            case TokenPaging() as paging:
                added = {paging.size: self._size} if paging.size else {}
                added |= {paging.parameter: mark} if mark is not None else {}
        if self._table.method == "POST":
            return replace(self._first, body={**self._first.body, **added})
        return replace(self._first, params={**self._first.params, **added})

    def _is_last(self, page: Page) -> bool:
        match self._table.paging:
            case NoPaging() | DayPaging():
                return True
            case LinkPaging() | TokenPaging():
                return page.next_mark is None
            case _ if self._progress.total is not None:
                return not page.rows or self._progress.received >= self._progress.total
            case _:
                return not page.rows

    def _check_total(self) -> None:
        progress = self._progress
        if progress.total is None or progress.received == progress.total:
            return
        raise SourceUntrustworthy(
            f"the service announced {progress.total:,} rows, but sent {progress.received:,}",
            where=f'{self._client.where}, table "{self._first.name}"',
            next_step="run again; if it stays so, compare `paging` and `total` with the service's manual",
        )
