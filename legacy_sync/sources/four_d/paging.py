"""How is a table read page by page while people work in it, so that no row is lost or doubled?

`KeysetPages` asks for the rows whose key is greater than the last one read; a row that is changed,
inserted or deleted meanwhile cannot shift the others. `EntitySetPages` is for tables without a single
stored key: the server freezes the selection once, and pages are places in it. Both check every page
and vouch for completeness only if all checks held.
"""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from legacy_sync.errors import LegacySyncError, SourceUnavailable, SourceUntrustworthy
from legacy_sync.sources.base import TableInfo
from legacy_sync.sources.four_d.answers import EntitySetLost, is_only_ok
from legacy_sync.sources.four_d.client import RestPath, SimpleAPIClient, Tally
from legacy_sync.sources.four_d.filters import KeyValue, Selection, in_server_order, writable_name
from legacy_sync.sources.four_d.wire import Envelope, read_envelope

logger = logging.getLogger(__name__)

_REBUILDS = 3
_EXPLAINABLE_SHARE = 0.01
_EXPLAINABLE_ROWS = 3


@dataclass
class Progress:
    """What a reader knows so far; `total` is what the server announced first, holes are deleted rows."""

    total: int | None = None
    rows: int = 0
    holes: int = 0
    is_complete: bool = False
    server_time: datetime | None = None
    tally: Tally = field(default_factory=Tally)
    notes: list[str] = field(default_factory=list)

    def began(self, server_time: datetime | None) -> None:
        """Keep the server's clock of the first answer, or ours if it told none."""
        if self.server_time is not None:
            return
        if server_time is None:
            self.notes.append("the server told no time; the mark was taken from this machine's clock")
        self.server_time = server_time or datetime.now(UTC).replace(microsecond=0)


class Pages(Protocol):
    """Pages of checked rows; `progress` is up to date after every page."""

    progress: Progress

    @abstractmethod
    def __iter__(self) -> Iterator[Envelope]:
        """The pages, once."""


@dataclass
class Request:
    """What both ways of reading need to know."""

    client: SimpleAPIClient
    info: TableInfo
    selection: Selection
    page_size: int
    stop: threading.Event
    attributes: tuple[str, ...] = ()
    is_strict: bool = False
    order: tuple[str, ...] = ()


class KeysetPages:
    """Pages in the order of the table's key, each asked for by the last key of the one before."""

    def __init__(self, request: Request, progress: Progress) -> None:
        self._request, self.progress = request, progress
        self._key = request.selection.key or ""
        self._known: tuple[set[Any], set[Any]] = (set(), set())  # keys of the first and of the last page
        self._remaining = 0  # rows the last page left over, by its own count

    def __iter__(self) -> Iterator[Envelope]:
        after: KeyValue | None = None
        while True:
            page = self._read_page(after)
            self.progress.rows += len(page.rows)
            self.progress.holes += page.holes
            self._remaining = page.count - page.received
            if page.rows:
                after = page.rows[-1][self._key]
                self._remember(page)
                yield page
            # a full page that claims to be the last is believed only when nothing follows it
            if page.received < self._request.page_size and page.received == page.count:
                break
        self._settle()

    def _read_page(self, after: KeyValue | None) -> Envelope:
        request = self._request
        selection = replace(request.selection, after=after)
        parameters = {
            **selection.filter().parameters(),
            "$orderby": f'"{writable_name(self._key)}"',
            "$top": str(request.page_size),
        }
        answer = request.client.get(
            RestPath.table(request.info.name, request.attributes),
            parameters,
            check=lambda parsed, where: self._checked(parsed, selection, where),
            tally=self.progress.tally,
            stop=request.stop,
            place="first page" if after is None else f"page after key {after}",
        )
        self.progress.began(answer.server_time)
        if self.progress.total is None:
            self.progress.total = answer.value.count
        return answer.value

    def _checked(self, parsed: object, selection: Selection, where: str) -> Envelope:
        page = read_envelope(parsed, where)
        check_size(page, min(self._request.page_size, page.count), where)
        if self._remaining - page.count > self._explainable():
            raise _doubt(f"only {page.count} rows are left where {self._remaining} were just announced", where)
        selection.check(page.rows, where)
        keys = [row[self._key] for row in page.rows]
        if len(set(keys)) != len(keys) or not all(known.isdisjoint(keys) for known in self._known):
            raise _doubt("a row came twice: the server repeated a page", where)
        ordered = in_server_order(keys)
        if ordered and ordered != sorted(set(ordered)):
            raise _doubt(f'the rows are not in the order of "{self._key}" that was asked for', where)
        if page.holes and not page.rows and page.received == self._request.page_size:
            raise _doubt("a page held only rows that were deleted meanwhile", where)
        return page

    def _explainable(self) -> int:
        """How many rows may vanish because people work on while the table is read."""
        return max(_EXPLAINABLE_ROWS, int((self.progress.total or 0) * _EXPLAINABLE_SHARE))

    def _remember(self, page: Envelope) -> None:
        keys = {row[self._key] for row in page.rows}
        self._known = (self._known[0] or keys, keys)

    def _settle(self) -> None:
        """Compare what came with what was announced; a difference must be small enough for work going on meanwhile."""
        progress = self.progress
        received, announced = progress.rows + progress.holes, progress.total or 0
        if received >= announced and (received or not self._request.selection.is_everything):
            progress.is_complete = True
            return
        now = self._count_again()
        fact = f"{received} rows came where {announced} were announced and {now} are there now"
        is_behind = received < min(announced, now) or received == 0 < now
        if announced - received > self._explainable() or (is_behind and (self._request.is_strict or received == 0)):
            raise _doubt(fact, f'{self._request.client.where}, table "{self._request.info.name}"')
        progress.is_complete = not is_behind
        if announced > received:
            progress.notes.append(fact)

    def _count_again(self) -> int:
        request = self._request
        return request.client.get(
            RestPath.table(request.info.name, request.attributes),
            {**request.selection.filter().parameters(), "$top": "1"},
            check=lambda parsed, where: read_envelope(parsed, where).count,
            tally=self.progress.tally,
            stop=request.stop,
            place="count at the end",
        ).value


class EntitySetPages:
    """Pages of a selection the server froze; a lost set is built again and rows already read are left out.

    Remembers the key of every row (some 100 bytes each), since a new set may order them differently.
    """

    def __init__(self, request: Request, progress: Progress) -> None:
        self._request, self.progress = request, progress
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Envelope]:
        for rebuilt in range(_REBUILDS + 1):
            try:
                yield from self._one_set()
            except EntitySetLost as lost:
                logger.warning("%s; the entity set is built again (%s)", lost.what, lost.where)
                self.progress.notes.append("the server lost the entity set; it was built again")
                if rebuilt == _REBUILDS:
                    raise SourceUnavailable(
                        f"the 4D server lost the entity set {_REBUILDS + 1} times: {lost.what}",
                        where=lost.where,
                        next_step="run again; raise the page size if it happens every time",
                    ) from lost
            else:
                return

    def _one_set(self) -> Iterator[Envelope]:
        page = self._build()
        set_id = _set_id(page.entity_set)
        total, place, holes = page.count, 0, 0
        self.progress.total = total
        met: set[str] = set()
        while True:
            self._remember(page, met)
            holes += page.holes
            place += page.received
            fresh = [row for row in page.rows if str(row["__KEY"]) not in self._seen]
            self._seen.update(str(row["__KEY"]) for row in fresh)
            self.progress.rows += len(fresh)
            if fresh:
                yield replace(page, rows=fresh)
            if place >= total:
                break
            page = self._read_page(set_id, place, total, met)
        self.progress.holes = holes
        self.progress.is_complete = True
        self._release(set_id)

    def _build(self) -> Envelope:
        request = self._request
        parameters = {**request.selection.filter().parameters(), "$top": str(request.page_size)}
        if request.order:
            parameters["$orderby"] = '"' + ", ".join(map(writable_name, request.order)) + '"'
        answer = request.client.get(
            RestPath.table(request.info.name, request.attributes),
            {**parameters, "$method": "entityset"},
            check=lambda parsed, where: self._checked(parsed, 0, None, set(), where),
            tally=self.progress.tally,
            stop=request.stop,
            place="first page",
        )
        self.progress.began(answer.server_time)
        return answer.value

    def _read_page(self, set_id: str, place: int, total: int, met: set[str]) -> Envelope:
        request = self._request
        return request.client.get(
            RestPath.entity_set(request.info.name, set_id, request.attributes),
            {"$skip": str(place), "$top": str(request.page_size)},
            check=lambda parsed, where: self._checked(parsed, place, total, met, where),
            tally=self.progress.tally,
            stop=request.stop,
            place=f"row {place} of {total}",
        ).value

    def _checked(self, parsed: object, place: int, total: int | None, met: set[str], where: str) -> Envelope:
        page = read_envelope(parsed, where)
        if total is None and not _set_id(page.entity_set):
            raise _doubt("the server built no entity set", where)
        if total is not None and page.count != total:
            raise _doubt(f"the entity set held {total} rows and now claims {page.count}", where)
        check_size(page, min(self._request.page_size, page.count - place), where)
        if total is None:  # later pages may show rows that were changed out of the selection meanwhile
            self._request.selection.check(page.rows, where)
        keys = {str(row["__KEY"]) for row in page.rows}
        if len(keys) != len(page.rows) or not met.isdisjoint(keys):
            raise _doubt("a row came twice: the server repeated a page", where)
        return page

    @staticmethod
    def _remember(page: Envelope, met: set[str]) -> None:
        met.update(str(row["__KEY"]) for row in page.rows)

    def _release(self, set_id: str) -> None:
        """Give the set's memory back to the server; it would expire by itself, so a failure is only logged."""
        request = self._request
        try:
            request.client.get(
                RestPath.entity_set(request.info.name, set_id),
                {"$method": "release"},
                check=lambda parsed, _: is_only_ok(parsed),
                tally=self.progress.tally,
                stop=request.stop,
            )
        except LegacySyncError as error:
            logger.info("the entity set was not released: %s", error.what)


def check_size(page: Envelope, expected: int, where: str) -> None:
    """Raise SourceUntrustworthy unless the page is as long as its own count says."""
    if page.received == expected:
        return
    cap = f"if the server caps its pages, set the page size to {page.received} or less; " if page.received else ""
    raise SourceUntrustworthy(
        f"a page held {page.received} rows where {expected} of {page.count} were due",
        where=where,
        next_step=(cap if page.received < expected else "") + "check the 4D server's log, then run again",
    )


def _set_id(uri: str | None) -> str:
    return (uri or "").rstrip("/").rsplit("/", 1)[-1]


def _doubt(what: str, where: str) -> SourceUntrustworthy:
    return SourceUntrustworthy(what, where=where, next_step="check the 4D server's log, then run again")
