"""How do rows get from a source into the landing? One request stream for neighbouring partitions, all or nothing."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import GuardTripped
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.base import Scope
from legacy_sync.sources.landing import LandedFetch
from legacy_sync.sync.casts import cast_dates
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.pace import Pace
from legacy_sync.sync.report import FetchSummary, Progress
from legacy_sync.sync.scopes import FetchPlan, covers_whole_table, plan_fetches
from legacy_sync.sync.windows import today_of
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

_BUFFERED_ROWS = 100_000
_JOINED_ROWS = 20_000
_JOINED_SECONDS = 1.0


@dataclass(frozen=True)
class FetchWork:
    """What has to be fetched for one legacy table."""

    mapping: Mapping
    plans: tuple[FetchPlan, ...]
    is_whole_table: bool
    is_first: bool
    """nothing was ever taken in from this table"""
    accept: bool = False
    """a person says that an empty table is empty"""

    @property
    def mode(self) -> str:
        """`full` if every row of the table is read."""
        return "full" if self.is_whole_table else "incremental"

    @property
    def only_partition(self) -> str | None:
        """The partition, if there is just one."""
        windows = [w.partition for plan in self.plans for w in plan.windows]
        return windows[0] if len(windows) == 1 else None


def plan_work(
    workspace: Workspace, mapping: Mapping, partitions: Sequence[str] | None, *, full: bool, accept: bool = False
) -> FetchWork:
    """What to fetch for the named partitions, or for all that may have changes; `full` ignores the watermark.

    The mapping furthest behind decides where several read the same table.
    """
    today = today_of(mapping, datetime.now(UTC))
    readers = _readers(workspace, mapping)
    with workspace.erp() as connection:
        ids = [runs.get_entity_id(connection, m.entity) for m in readers]
        marks = [{p: w.value for p, w in runs.read_watermarks(connection, i).items()} for i in ids]
        is_first = not any(marks) and not any(runs.has_bindings(connection, i) for i in ids)
    plans = plan_fetches(mapping, marks, partitions, full=full, today=today)
    return FetchWork(mapping, tuple(plans), covers_whole_table(mapping, plans, today), is_first, accept)


def _readers(workspace: Workspace, mapping: Mapping) -> list[Mapping]:
    """All mappings that share the landed rows of this one."""
    return [
        m
        for m in workspace.project.mappings.values()
        if (m.source.feed, m.partitions) == (mapping.source.feed, mapping.partitions)
    ]


def fetch_table(
    workspace: Workspace,
    mapping: Mapping,
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
) -> FetchSummary:
    """Lands the rows of the named partitions, or of all that may have changes; `full` ignores the watermark.

    A fetch that fails leaves nothing in the landing.
    """
    return land(workspace, plan_work(workspace, mapping, partitions, full=full), progress)


def land(workspace: Workspace, work: FetchWork, progress: Progress | None) -> FetchSummary:
    """Carries out planned fetches."""
    summary = FetchSummary(work.mapping.source.table, mode=work.mode)
    for plan in work.plans:
        with Stream(workspace, work, plan, summary, progress) as stream:
            deque(stream.batches(), maxlen=0)
            stream.commit()
    say_fetched(summary)
    return summary


def say_fetched(summary: FetchSummary) -> None:
    """One line for the log."""
    logger.info(
        "legacy/%s: %s rows fetched in %.1f s, %s requests, partitions %s",
        summary.table,
        f"{summary.rows:,}",
        summary.seconds,
        summary.requests,
        _span(summary.partitions),
    )


class Stream:
    """One running request stream into the landing; rows go to the partition their cursor lies in.

    Nothing becomes visible before `commit`, and nothing ever does if that is not reached.
    """

    def __init__(
        self, workspace: Workspace, work: FetchWork, plan: FetchPlan, summary: FetchSummary, progress: Progress | None
    ) -> None:
        self.work = work
        self.plan = plan
        self.summary = summary
        self.workspace = workspace
        self.landing = workspace.landing
        self.fetch = workspace.source(work.mapping.source.server).fetch(_scope(work.mapping, plan))
        self.pace = Pace(f"legacy/{work.mapping.source.table}: fetch", "fetch", progress)
        self.waiting: list[deque[pa.RecordBatch]] = [deque() for _ in plan.windows]
        self.rows = [0] * len(plan.windows)
        self.stack = ExitStack()
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        table = self.work.mapping.source.table
        self.writers = [
            self.stack.enter_context(self.landing.open_fetch(table, w.partition)) for w in self.plan.windows
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    @property
    def fetch_ids(self) -> list[str]:
        """The ids under which the partitions will be landed."""
        return [writer.fetch_id for writer in self.writers]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they come, each batch written to the landing first; once."""
        waiting = done = 0
        for batch in joined(self.fetch):
            self._sort(batch)
            done += batch.num_rows
            waiting += batch.num_rows
            if len(self.writers) == 1 or waiting > _BUFFERED_ROWS:
                self._flush()
                waiting = 0
            self.pace(done, self.fetch.total)
            yield batch
        self.pace(done, self.fetch.total or done, last=True)

    def commit(self) -> list[LandedFetch]:
        """Makes the fetch visible, all partitions of it; raises GuardTripped for an answer that cannot be true."""
        report = self.fetch.report
        is_doubtful = not (self.work.is_first or self.work.accept or self.summary.rows + report.rows)
        if is_doubtful and self._is_empty_table():
            _refuse_empty_answer(self.workspace, self.work.mapping)
        self._flush()
        landed = [
            writer.commit(
                mode="full" if window.partition in self.plan.full else "incremental",
                server_time=report.server_time,
                rows=rows,
                complete=report.complete,
            )
            for window, writer, rows in zip(self.plan.windows, self.writers, self.rows, strict=True)
        ]
        self._sum_up(landed)
        return landed

    def _is_empty_table(self) -> bool:
        """Whether the table has no rows; an incremental fetch normally reads those of the last day again."""
        if self.work.is_whole_table:
            return True
        source = self.work.mapping.source
        return self.workspace.source(source.server).probe(source.table, None, None).count == 0

    def _sum_up(self, landed: list[LandedFetch]) -> None:
        report, summary = self.fetch.report, self.summary
        summary.files += tuple(f.fetch_id for f in landed)
        summary.partitions += tuple(f.partition for f in landed)
        summary.rows += report.rows
        summary.requests += report.requests
        summary.bytes += report.bytes
        summary.server_time = report.server_time
        summary.seconds += time.monotonic() - self.began

    def _sort(self, batch: pa.RecordBatch) -> None:
        if len(self.writers) == 1:
            self._keep(0, batch)
            return
        places = self._places(batch)
        for number in pc.unique(places).to_pylist():
            self._keep(number, batch.filter(pc.equal(places, number)))

    def _places(self, batch: pa.RecordBatch) -> pa.Array:
        """The number of the window of each row; rows without a usable cursor belong to the first."""
        index = batch.schema.get_field_index(self.work.mapping.source.cursor or "")
        if index < 0:
            return pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        encoded = pc.dictionary_encode(cast_dates(Cells(batch.column(index))).values)
        numbers = [self._place_of(day) for day in encoded.dictionary.to_pylist()]
        return pc.fill_null(pa.array(numbers, pa.int32()).take(encoded.indices), 0)

    def _place_of(self, day: date) -> int:
        starts = [w.cursor_from for w in self.plan.windows]
        inside = [n for n, start in enumerate(starts) if start is None or start <= day]
        return inside[-1] if inside else 0

    def _keep(self, number: int, batch: pa.RecordBatch) -> None:
        self.waiting[number].append(batch)
        self.rows[number] += batch.num_rows

    def _flush(self) -> None:
        for writer, batches in zip(self.writers, self.waiting, strict=True):
            while batches:
                writer.write(batches.popleft())


def joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches worth the cost per batch; slow sources are not waited for long."""
    waiting: list[pa.RecordBatch] = []
    began = time.monotonic()
    for batch in batches:
        if waiting and batch.schema != waiting[0].schema:
            yield pa.concat_batches(waiting)
            waiting = []
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= _JOINED_ROWS or time.monotonic() - began > _JOINED_SECONDS:
            yield pa.concat_batches(waiting)
            waiting = []
            began = time.monotonic()
    if waiting:
        yield pa.concat_batches(waiting)


def _scope(mapping: Mapping, plan: FetchPlan) -> Scope:
    window = plan.windows[0]
    return Scope(
        table=mapping.source.table,
        cursor=mapping.source.cursor,
        cursor_from=plan.cursor_from,
        cursor_to=plan.cursor_to,
        key_from=window.key_from,
        key_to=window.key_to,
        with_blank_cursor=window.partition not in plan.full,
        page_size=mapping.source.page_size,
    )


def _refuse_empty_answer(workspace: Workspace, mapping: Mapping) -> None:
    """An empty table is believed only if it was always empty."""
    with workspace.erp() as connection:
        ids = [runs.get_entity_id(connection, m.entity) for m in _readers(workspace, mapping)]
        bound = max(runs.count_bindings(connection, i) for i in ids)
    if bound:
        raise GuardTripped(
            f'legacy table "{mapping.source.table}" answered no rows, but {bound:,} were loaded before',
            where=f"fetch of {mapping.source.table}; nothing was landed",
            next_step="look at the table in 4D and at the rights of the API user, then run again;"
            " if it is really empty, run once with --accept-shrink",
        )


def _span(partitions: Sequence[str]) -> str:
    if len(partitions) < 2:
        return "".join(partitions) or "none"
    return f"{partitions[0]} to {partitions[-1]}"
