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
from legacy_sync.mapping.model import Mapping, NumberRangePartitions
from legacy_sync.sources.base import Scope
from legacy_sync.sources.landing import LandedFetch, LandingWriter
from legacy_sync.sync.casts import cast_dates, to_text
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.merge import merged
from legacy_sync.sync.pace import Pace
from legacy_sync.sync.report import FetchSummary, Progress
from legacy_sync.sync.scopes import FetchPlan, covers_whole_table, plan_fetches
from legacy_sync.sync.windows import ALL_SLICES, today_of
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

_BUFFERED_ROWS = 100_000
_JOINED_ROWS = 20_000
_JOINED_SECONDS = 1.0
_NUMBER = r"^[+-]?\d{1,18}(\.\d*)?$"


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
    """One running request stream into the landing; rows go to the partition their cursor or number lies in.

    Nothing becomes visible before `commit`, and nothing ever does if that is not reached.
    """

    def __init__(
        self, workspace: Workspace, work: FetchWork, plan: FetchPlan, summary: FetchSummary, progress: Progress | None
    ) -> None:
        self.work = work
        self.plan = plan
        self.summary = summary
        self.workspace = workspace
        self.landing = workspace.landing_of(work.mapping)
        self.fetch = workspace.source(work.mapping.source.server).fetch(_scope(work.mapping, plan))
        self.pace = Pace(f"legacy/{work.mapping.source.table}: fetch", "fetch", progress)
        self.waiting: list[deque[pa.RecordBatch]] = [deque() for _ in plan.windows]
        self.rows = [0] * len(plan.windows)
        self.writers: dict[int, LandingWriter] = {}
        self.stack = ExitStack()
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        if not self.plan.across:
            for number in range(len(self.plan.windows)):
                self._writer(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    @property
    def fetch_ids(self) -> list[str]:
        """The ids under which the partitions will be landed."""
        return [writer.fetch_id for writer in self.writers.values()]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they come, each batch written to the landing first; once."""
        waiting = done = 0
        for batch in joined(self.fetch):
            self._sort(batch)
            done += batch.num_rows
            waiting += batch.num_rows
            if len(self.plan.windows) == 1 or waiting > _BUFFERED_ROWS:
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
                mode="full" if self.plan.windows[number].partition in self.plan.full else "incremental",
                server_time=report.server_time,
                rows=self.rows[number],
                complete=report.complete,
            )
            for number, writer in sorted(self.writers.items())
        ]
        if self.plan.across:
            landed.append(self._note_end())
        self._sum_up(landed)
        return landed

    def _note_end(self) -> LandedFetch:
        """Says, behind the rows of all slices, that these were all changes; the newest such note says it all."""
        writer = self.stack.enter_context(self.landing.open_fetch(self.work.mapping.source.table, ALL_SLICES))
        return writer.commit(mode="full", server_time=self.fetch.report.server_time, rows=0, complete=False)

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

    def _writer(self, number: int) -> LandingWriter:
        if number not in self.writers:
            table, partition = self.work.mapping.source.table, self.plan.windows[number].partition
            self.writers[number] = self.stack.enter_context(self.landing.open_fetch(table, partition))
        return self.writers[number]

    def _sort(self, batch: pa.RecordBatch) -> None:
        if len(self.plan.windows) == 1 and not self.plan.across:
            self._keep(0, batch)
            return
        places = self._places(batch)
        for number in pc.unique(places).drop_null().to_pylist():
            self._keep(number, batch.filter(pc.equal(places, number)))

    def _places(self, batch: pa.RecordBatch) -> pa.Array:
        """The place in the plan of the window of each row; rows without a usable value belong to the first."""
        partitions = self.work.mapping.partitions
        if isinstance(partitions, NumberRangePartitions):
            return self._places_by_number(batch, partitions)
        index = batch.schema.get_field_index(self.work.mapping.source.cursor or "")
        if index < 0:
            return pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        encoded = pc.dictionary_encode(cast_dates(Cells(batch.column(index))).values)
        numbers = [self._place_of(day) for day in encoded.dictionary.to_pylist()]
        return pc.fill_null(pa.array(numbers, pa.int32()).take(encoded.indices), 0)

    def _places_by_number(self, batch: pa.RecordBatch, partitions: NumberRangePartitions) -> pa.Array:
        """The same for slices; null for a slice that is not in the plan, whose rows are fetched with all of it."""
        mine = [(w.number_from or 0) // partitions.size for w in self.plan.windows]
        first, last = (0, partitions.count - 1) if self.plan.across else (mine[0], mine[-1])
        index = batch.schema.get_field_index(partitions.attribute)
        numbers = _whole_numbers(batch.column(index)) if index >= 0 else pa.nulls(batch.num_rows, pa.int64())
        slices = pc.fill_null(pc.divide(numbers, partitions.size), 0)
        clipped = pc.min_element_wise(pc.max_element_wise(slices, first), last)
        return pc.index_in(clipped, value_set=pa.array(mine, pa.int64()))

    def _place_of(self, day: date) -> int:
        starts = [w.cursor_from for w in self.plan.windows]
        inside = [n for n, start in enumerate(starts) if start is None or start <= day]
        return inside[-1] if inside else 0

    def _keep(self, number: int, batch: pa.RecordBatch) -> None:
        self.waiting[number].append(batch)
        self.rows[number] += batch.num_rows

    def _flush(self) -> None:
        for number, batches in enumerate(self.waiting):
            for batch in merged(iter(batches)):
                self._writer(number).write(batch)
            batches.clear()


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


def _whole_numbers(values: pa.Array) -> pa.Array:
    """Numbers in any spelling as int64, fractions cut off; null for what is none."""
    if pa.types.is_integer(values.type):
        return values.cast(pa.int64())
    text = pc.utf8_trim(to_text(values), ' "')
    is_number = pc.match_substring_regex(text, _NUMBER)
    whole = pc.replace_substring_regex(pc.if_else(is_number, text, None), r"^\+|\..*$", "")
    return whole.cast(pa.int64())


def _scope(mapping: Mapping, plan: FetchPlan) -> Scope:
    window = plan.windows[0]
    partitions = mapping.partitions
    return Scope(
        table=mapping.source.table,
        cursor=mapping.source.cursor,
        cursor_from=plan.cursor_from,
        cursor_to=plan.cursor_to,
        key_from=window.key_from,
        key_to=window.key_to,
        number_attribute=partitions.attribute if isinstance(partitions, NumberRangePartitions) else None,
        number_from=plan.number_from,
        number_to=plan.number_to,
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
