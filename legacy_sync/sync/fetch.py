"""How do rows get from a source into the landing? One request stream for neighbouring partitions, all or nothing."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import GuardTripped, MarkUnusable
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import KeyRangePartitions, Mapping, NumberRangePartitions
from legacy_sync.sources.base import KEY, FetchReport, Scope
from legacy_sync.sources.landing import LandedFetch, LandingWriter, new_fetch_id
from legacy_sync.sync.beside_rows import land_keys, land_stamp, land_tombstones, read_stamp
from legacy_sync.sync.casts import cast_dates, to_text
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.guards import clock_went_back, collapsed, stamp_went_back
from legacy_sync.sync.merge import merged
from legacy_sync.sync.pace import Pace
from legacy_sync.sync.report import FetchSummary, Progress
from legacy_sync.sync.scopes import FetchPlan, Marks, covers_whole_table, is_due, plan_fetches
from legacy_sync.sync.windows import ALL_SLICES, KEYS, WHOLE, names_some, today_of
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

_BUFFERED_ROWS = 100_000
_COLLAPSE_AT_LEAST = 20
_COLLAPSE_SHARE = 0.5
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
    reason: str = ""
    """why all rows are read although only changes were asked for"""
    takes_deletes: bool = False
    """a mapping that reads the table wants to know what was deleted"""
    sweeps: bool = False
    """the list of all keys is due"""
    has_all_changes: bool = False
    """no partition that may have changes is left out"""

    @property
    def stamp_from(self) -> int | None:
        """From which place of the source's counter on changes are fetched; None if they are not."""
        return next((plan.stamp_from for plan in self.plans if plan.stamp_from is not None), None)

    def whole(self, because: str) -> FetchWork:
        """The same for all rows of the table."""
        today = today_of(self.mapping, datetime.now(UTC))
        plans = plan_fetches(self.mapping, [], None, full=True, today=today)
        return replace(
            self, plans=tuple(plans), is_whole_table=True, reason=because, sweeps=False, has_all_changes=True
        )

    def begin(self) -> FetchSummary:
        """The summary of fetches that begin now."""
        table = self.mapping.source.table
        return FetchSummary(table, mode=self.mode, reason=self.reason, has_all_changes=self.has_all_changes)

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
    readers = readers_of(workspace, mapping)
    marks = read_marks(workspace, readers)
    is_first = not any(marks) and not _has_bindings(workspace, readers)
    plans = plan_fetches(mapping, marks, partitions, full=full, today=today)
    work = FetchWork(
        mapping,
        tuple(plans),
        covers_whole_table(mapping, plans, today),
        is_first,
        accept,
        takes_deletes=any(m.deletes.policy != "ignore" for m in readers),
        has_all_changes=_partitions_of(plans)
        >= _partitions_of(plan_fetches(mapping, marks, None, full=False, today=today)),
    )
    if work.is_whole_table or is_first or names_some(mapping, partitions, today):
        return work
    return _with_intervals(work, readers, marks)


def read_marks(workspace: Workspace, readers: Sequence[Mapping]) -> list[Marks]:
    """The watermarks of each of the mappings."""
    with workspace.erp() as connection:
        ids = [runs.get_entity_id(connection, m.entity) for m in readers]
        return [{p: w.value for p, w in runs.read_watermarks(connection, i).items()} for i in ids]


def _has_bindings(workspace: Workspace, readers: Sequence[Mapping]) -> bool:
    with workspace.erp() as connection:
        return any(runs.has_bindings(connection, runs.get_entity_id(connection, m.entity)) for m in readers)


def _partitions_of(plans: Sequence[FetchPlan]) -> set[str]:
    return {window.partition for plan in plans for window in plan.windows}


def _with_intervals(work: FetchWork, readers: Sequence[Mapping], marks: Sequence[Marks]) -> FetchWork:
    """What is due by its own interval: all rows, or the list of all keys."""
    now = datetime.now(UTC)
    for reader in readers:
        if is_due(reader.full_every, marks, WHOLE, now):
            return work.whole(f"all rows are read again every {reader.full_every}")
    return replace(work, sweeps=any(is_due(m.deletes.sweep, marks, KEYS, now) for m in readers))


def readers_of(workspace: Workspace, mapping: Mapping) -> list[Mapping]:
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
    accept: bool = False,
) -> FetchSummary:
    """Lands the rows of the named partitions, or of all that may have changes; `full` ignores the watermark.

    A fetch that fails leaves nothing in the landing. `accept`: a person says that an empty table is empty.
    """
    return land(workspace, plan_work(workspace, mapping, partitions, full=full, accept=accept), progress)


def land(workspace: Workspace, work: FetchWork, progress: Progress | None) -> FetchSummary:
    """Carries out planned fetches; where the watermark cannot be used, all rows are read if the mapping allows it."""
    try:
        summary = _land(workspace, work, progress)
    except MarkUnusable as error:
        if not work.mapping.may_fall_back or work.is_whole_table:
            raise
        logger.warning("legacy/%s: all rows are read, since %s", work.mapping.source.table, error.what)
        summary = _land(workspace, work.whole(error.what), progress)
    say_fetched(summary)
    return summary


def _land(workspace: Workspace, work: FetchWork, progress: Progress | None) -> FetchSummary:
    summary = work.begin()
    stamp = take_mark(workspace, work, summary)
    is_unchanged = stamp is not None and stamp == work.stamp_from
    for plan in work.plans:
        if is_unchanged and plan.across:
            continue
        with Stream(workspace, work, plan, summary, progress, stamp) as stream:
            deque(stream.batches(), maxlen=0)
            stream.commit()
    if work.sweeps:
        land_keys(workspace, work.mapping, summary, partial(_refuse_empty_answer, workspace, work))
    if stamp is not None and not is_unchanged:
        leave_mark(workspace, work, summary, stamp)
    return summary


def take_mark(workspace: Workspace, work: FetchWork, summary: FetchSummary) -> int | None:
    """Where the source's counter stands before the first row is read; None where that does not matter.

    Raises MarkUnusable if it stands behind what is loaded, or if there is none and the mapping forbids to go on.
    """
    mapping = work.mapping
    if mapping.strategy != "global_stamp" or not (work.is_whole_table or work.stamp_from is not None):
        return None
    try:
        stamp = read_stamp(workspace, mapping)
    except MarkUnusable as error:
        if not work.is_whole_table or not mapping.may_fall_back:
            raise
        summary.reason = error.what
        logger.warning("legacy/%s: all rows are read, since %s", mapping.source.table, error.what)
        return None
    summary.requests += 1
    if work.stamp_from is not None and stamp < work.stamp_from:
        raise stamp_went_back(mapping, stamp, work.stamp_from)
    return stamp


def leave_mark(workspace: Workspace, work: FetchWork, summary: FetchSummary, stamp: int) -> None:
    """Behind the rows: what was deleted, and up to where these are all changes."""
    if work.stamp_from is not None and work.takes_deletes:
        land_tombstones(workspace, work.mapping, work.stamp_from, summary)
    land_stamp(workspace, work.mapping, stamp, summary)


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
        self,
        workspace: Workspace,
        work: FetchWork,
        plan: FetchPlan,
        summary: FetchSummary,
        progress: Progress | None,
        stamp: int | None = None,
    ) -> None:
        """`stamp` is where the source's counter stood before."""
        self.stamp = stamp
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
        self.started = new_fetch_id()
        """no row was read before; a partition that gets its first row late is no newer"""

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
        if self.plan.mark and report.server_time.date() < self.plan.mark:
            raise clock_went_back(self.work.mapping, report.server_time, self.plan.mark)
        self._refuse_doubtful(report.rows)
        self._flush()
        self._sum_up(report)
        numbers = sorted(self.writers)
        parts = self.summary.take_unsaid().split([self.rows[n] for n in numbers]) if numbers else []
        landed = [
            writer.commit(
                mode="full" if self.plan.windows[number].partition in self.plan.full else "incremental",
                server_time=report.server_time,
                rows=self.rows[number],
                complete=report.complete,
                stamp=self.stamp,
                cost=part,
                all_rows_because=self.summary.reason,
                changes_up_to=self.summary.changes_up_to if self._ends_with(number) else None,
            )
            for (number, writer), part in zip(sorted(self.writers.items()), parts, strict=True)
        ]
        if self.plan.across and self.plan.stamp_from is None:
            landed.append(self._note_end())
        self.summary.files += tuple(f.fetch_id for f in landed)
        self.summary.partitions += tuple(f.partition for f in landed)
        return landed

    def _ends_with(self, number: int) -> bool:
        """Whether this window is the last that is landed in this run; where notes follow, they are."""
        is_last = self.plan is self.work.plans[-1] and number == len(self.plan.windows) - 1
        return is_last and self.stamp is None and not self.plan.across

    def _note_end(self) -> LandedFetch:
        """Says, behind the rows of all slices, that these were all changes; the newest such note says it all."""
        writer = self.stack.enter_context(self.landing.open_fetch(self.work.mapping.source.table, ALL_SLICES))
        return writer.commit(
            mode="full",
            server_time=self.fetch.report.server_time,
            rows=0,
            complete=False,
            cost=self.summary.take_unsaid(),
            changes_up_to=self.summary.changes_up_to,
        )

    def _refuse_doubtful(self, rows: int) -> None:
        """Raises GuardTripped for an empty table that was not, or one of which most rows are missing."""
        work = self.work
        if work.is_first or work.accept or self.plan.stamp_from is not None:
            return
        if not self.summary.rows + rows and self._is_empty_table():
            _refuse_empty_answer(self.workspace, work)
        if work.is_whole_table and len(work.plans) == 1 and not work.mapping.source.explode:
            bound = _count_bound(self.workspace, work.mapping)
            if bound - rows > _COLLAPSE_AT_LEAST and rows < bound * _COLLAPSE_SHARE:
                raise collapsed(work.mapping, rows, bound)

    def _is_empty_table(self) -> bool:
        """Whether the table has no rows; an incremental fetch normally reads those of the last day again."""
        if self.work.is_whole_table:
            return True
        source = self.work.mapping.source
        return self.workspace.source(source.server).probe(source.table, None, None).count == 0

    def _sum_up(self, report: FetchReport) -> None:
        summary = self.summary
        summary.rows += report.rows
        summary.requests += report.requests
        summary.bytes += report.bytes
        summary.server_time = report.server_time
        summary.seconds += time.monotonic() - self.began

    def _writer(self, number: int) -> LandingWriter:
        if number not in self.writers:
            table, partition = self.work.mapping.source.table, self.plan.windows[number].partition
            writer = self.landing.open_fetch(table, partition, same_time_as=self.started)
            self.writers[number] = self.stack.enter_context(writer)
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
        if isinstance(partitions, KeyRangePartitions):
            return self._places_by_key(batch)
        index = batch.schema.get_field_index(self.work.mapping.source.cursor or "")
        if index < 0:
            return pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        encoded = pc.dictionary_encode(cast_dates(Cells(batch.column(index))).values)
        numbers = [self._place_of(day) for day in encoded.dictionary.to_pylist()]
        return pc.fill_null(pa.array(numbers, pa.int32()).take(encoded.indices), 0)

    def _places_by_key(self, batch: pa.RecordBatch) -> pa.Array:
        """The same for key ranges; null for a range that is not in the plan, whose rows are fetched with all of it."""
        key = pc.utf8_upper(batch.column(KEY))  # 4D compares without regard to case
        places = pa.nulls(batch.num_rows, pa.int32())
        for number, window in enumerate(self.plan.windows):
            inside = pc.greater_equal(key, window.key_from or "")
            if window.key_to is not None:
                inside = pc.and_(inside, pc.less(key, window.key_to))
            places = pc.if_else(inside, pa.scalar(number, pa.int32()), places)
        return places if self.plan.across else pc.fill_null(places, len(self.plan.windows) - 1)

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
        key_from=None if plan.across else window.key_from,
        key_to=None if plan.across else plan.windows[-1].key_to,
        number_attribute=partitions.attribute if isinstance(partitions, NumberRangePartitions) else None,
        number_from=plan.number_from,
        number_to=plan.number_to,
        stamp_from=plan.stamp_from,
        with_blank_cursor=window.partition not in plan.full,
        page_size=mapping.source.page_size,
    )


def _refuse_empty_answer(workspace: Workspace, work: FetchWork) -> None:
    """An empty table is believed only if it was always empty, or if a person says so."""
    mapping = work.mapping
    bound = 0 if work.accept else _count_bound(workspace, mapping)
    if bound:
        raise GuardTripped(
            f'legacy table "{mapping.source.table}" answered no rows, but {bound:,} were loaded before',
            where=f"fetch of {mapping.source.table}; nothing was landed",
            next_step="look at the table in 4D and at the rights of the API user, then run again;"
            " if it is really empty, run once with --accept-shrink",
        )


def _count_bound(workspace: Workspace, mapping: Mapping) -> int:
    """How many records were taken in from the table, by the entity that has most."""
    with workspace.erp() as connection:
        ids = [runs.get_entity_id(connection, m.entity) for m in readers_of(workspace, mapping) if not m.source.explode]
        return max((runs.count_bindings(connection, i) for i in ids), default=0)


def _span(partitions: Sequence[str]) -> str:
    if len(partitions) < 2:
        return "".join(partitions) or "none"
    return f"{partitions[0]} to {partitions[-1]}"
