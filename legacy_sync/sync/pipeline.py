"""One record's way, top to bottom: fetch from the source into the landing, load from the landing into the ERP.

The starters (Dagster, the CLI) call `fetch_table`, `load_entity` or both as `run_entity`. Nothing here
depends on a table, a type or a policy; where it would, the mapping language is missing a word.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from types import TracebackType
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import ErpTable, find_table, list_tables
from legacy_sync.erp.database import connect, translated
from legacy_sync.errors import ErpRefused, GuardTripped, LegacySyncError, SchemaDrift
from legacy_sync.ledger import quarantine, runs
from legacy_sync.ledger.schema import migrate
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.preflight import check_mapping
from legacy_sync.settings import Settings, mask_url
from legacy_sync.sources.base import Fetch, FetchReport, Scope, Source
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sources.landing import LandedFetch, Landing, LandingWriter
from legacy_sync.sources.registry import open_source
from legacy_sync.sync.casts import cast_dates
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.load import Batches, Loader, Slice
from legacy_sync.sync.report import Counts, FetchSummary, Progress, RunReport
from legacy_sync.sync.scopes import FetchPlan, covers_whole_table, plan_fetches
from legacy_sync.sync.windows import list_windows, today_of

logger = logging.getLogger(__name__)

_BUFFERED_ROWS = 100_000
_LOG_EVERY_SECONDS = 5.0


@dataclass
class Workspace:
    """What every run needs: settings, mappings, the landing, and sources opened once each."""

    settings: Settings
    project: Project
    landing: Landing
    _sources: dict[str, Source] = field(default_factory=dict)

    def source(self, kind: str) -> Source:
        """The source of that kind, opened when first asked for."""
        if kind not in self._sources:
            self._sources[kind] = open_source(kind, self.settings, self.project.source_options.get(kind, {}))
        return self._sources[kind]

    @contextmanager
    def erp(self) -> Iterator[psycopg.Connection]:
        """A connection to the ERP database with an up-to-date ledger."""
        url = self.settings.require_erp_url()
        with connect(url) as connection, translated(f"ERP database {mask_url(url)}"):
            migrate(connection)
            yield connection

    def close(self) -> None:
        """Gives sessions of the sources back."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()


def open_workspace(settings: Settings, project: Project) -> Workspace:
    """A workspace for these settings and mappings; nothing is contacted yet."""
    return Workspace(settings, project, Landing(settings.landing))


# --- fetch -------------------------------------------------------------------------------------


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
    today = today_of(mapping, datetime.now(UTC))
    readers = [
        m
        for m in workspace.project.mappings.values()
        if (m.source, m.partitions) == (mapping.source, mapping.partitions)
    ]
    with workspace.erp() as connection:
        ids = [runs.get_entity_id(connection, m.entity) for m in readers]
        marks = [{p: w.value for p, w in runs.read_watermarks(connection, i).items()} for i in ids]
        bound = max(runs.count_bindings(connection, i) for i in ids)
    plans = plan_fetches(mapping, marks, partitions, full=full, today=today)
    whole = covers_whole_table(mapping, plans, today)
    summary = FetchSummary(mapping.source.table, mode="full" if whole else "incremental")
    source = workspace.source(mapping.source.type)
    began = time.monotonic()
    for plan in plans:
        with ExitStack() as stack:
            writers = _Writers(workspace.landing, mapping, plan, stack)
            fetch = source.fetch(_scope(mapping, plan))
            _drain(fetch, writers, mapping, Pace(f"legacy/{mapping.source.table}: fetch", "fetch", progress))
            if whole and bound and not summary.rows + fetch.report.rows:
                raise _empty_answer(mapping, bound)
            writers.commit(fetch.report, summary)
    summary.seconds = time.monotonic() - began
    logger.info(
        "legacy/%s: %s rows fetched in %.1f s, %s requests, partitions %s",
        summary.table,
        f"{summary.rows:,}",
        summary.seconds,
        summary.requests,
        _span(summary.partitions),
    )
    return summary


def _scope(mapping: Mapping, plan: FetchPlan) -> Scope:
    window = plan.windows[0]
    return Scope(
        table=mapping.source.table,
        cursor=mapping.source.cursor,
        cursor_from=plan.cursor_from,
        cursor_to=plan.cursor_to,
        key_from=window.key_from,
        key_to=window.key_to,
        page_size=mapping.source.page_size,
    )


def _drain(fetch: Fetch, writers: _Writers, mapping: Mapping, pace: Pace) -> None:
    done = 0
    for batch in fetch:
        writers.write(batch)
        done += batch.num_rows
        pace(done, fetch.total)
    pace(done, fetch.total or done, last=True)


class _Writers:
    """One landing writer per partition of a request stream; rows go where their cursor lies."""

    def __init__(self, landing: Landing, mapping: Mapping, plan: FetchPlan, stack: ExitStack) -> None:
        self.plan = plan
        self.cursor = mapping.source.cursor
        self.pivots = [w.cursor_from for w in plan.windows]
        self.writers: list[LandingWriter] = [
            stack.enter_context(landing.open_fetch(mapping.source.table, w.partition)) for w in plan.windows
        ]
        self.waiting: list[deque[pa.RecordBatch]] = [deque() for _ in plan.windows]
        self.waiting_rows = 0
        self.rows = [0] * len(plan.windows)

    def write(self, batch: pa.RecordBatch) -> None:
        """Sorts the rows of a batch into their partitions."""
        if len(self.writers) == 1:
            self._keep(0, batch)
        else:
            places = self._places(batch)
            for number in pc.unique(places).to_pylist():
                self._keep(number, batch.filter(pc.equal(places, number)))
        if self.waiting_rows > _BUFFERED_ROWS:
            self._flush()

    def commit(self, report: FetchReport, summary: FetchSummary) -> None:
        """Makes the fetch visible, all partitions of it."""
        self._flush()
        for window, writer, rows in zip(self.plan.windows, self.writers, self.rows, strict=True):
            landed = writer.commit(
                mode="full" if window.partition in self.plan.full else "incremental",
                server_time=report.server_time,
                rows=rows,
                complete=report.complete,
            )
            summary.files += (landed.fetch_id,)
            summary.rows_by_partition[window.partition] = rows
        summary.partitions += tuple(w.partition for w in self.plan.windows)
        summary.rows += sum(self.rows)
        summary.requests += report.requests
        summary.bytes += report.bytes
        summary.server_time = report.server_time

    def _places(self, batch: pa.RecordBatch) -> pa.Array:
        """The number of the window of each row; rows without a usable cursor belong to the first."""
        index = batch.schema.get_field_index(self.cursor or "")
        if index < 0:
            return pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        encoded = pc.dictionary_encode(cast_dates(Cells(batch.column(index))).values)
        numbers = [self._place_of(day) for day in encoded.dictionary.to_pylist()]
        return pc.fill_null(pa.array(numbers, pa.int32()).take(encoded.indices), 0)

    def _place_of(self, day: date) -> int:
        inside = [n for n, start in enumerate(self.pivots) if start is None or start <= day]
        return inside[-1] if inside else 0

    def _keep(self, number: int, batch: pa.RecordBatch) -> None:
        self.waiting[number].append(batch)
        self.waiting_rows += batch.num_rows
        self.rows[number] += batch.num_rows

    def _flush(self) -> None:
        for writer, batches in zip(self.writers, self.waiting, strict=True):
            while batches:
                writer.write(batches.popleft())
        self.waiting_rows = 0


# --- load --------------------------------------------------------------------------------------


def load_entity(
    workspace: Workspace,
    mapping: Mapping,
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    on_commit: Callable[[str, Counts], None] = lambda _partition, _counts: None,
    dagster_run_id: str | None = None,
) -> RunReport:
    """Brings what is landed and not yet loaded into the ERP, a transaction per partition.

    `full` takes everything since the newest full fetch again; `dry_run` computes all decisions and writes
    nothing. `on_commit` hears of each partition as soon as it is safe. Raises AbortRun or RetryLater errors;
    partitions committed before stay.
    """
    with workspace.erp() as connection:
        table = require_table(connection, mapping)
        entity_id = runs.get_entity_id(connection, mapping.entity)
        with runs.entity_lock(connection, entity_id, mapping.entity):
            slices = _slices(workspace, connection, mapping, entity_id, partitions, full)
            run_id = runs.start_run(
                connection,
                entity_id,
                mode="full" if full else "incremental",
                partitions=[s.partition for s in slices],
                mapping_version=mapping.version,
                dagster_run_id=dagster_run_id,
                dry_run=dry_run,
            )
            loader = Loader(connection, workspace.landing, mapping, table, entity_id, run_id)
            loader.report.mode = "full" if full else "incremental"
            with _Noted(workspace, loader.report, dry_run):
                _load_slices(loader, slices, dry_run, progress, on_commit)
            _finish(connection, loader, slices, dry_run)
            if not dry_run:
                _prune(workspace, mapping, slices)
            return loader.report


def _load_slices(
    loader: Loader,
    slices: list[Slice],
    dry_run: bool,
    progress: Progress | None,
    on_commit: Callable[[str, Counts], None],
) -> None:
    total = sum(f.rows for s in slices for f in s.fetches)
    done = 0
    pace = Pace(f"erp/{loader.mapping.entity}: load", "load", progress)
    for slice_ in slices:
        with translated(f"load of {loader.mapping.entity}, partition {slice_.partition}"):
            counts = loader.load(slice_, dry_run=dry_run, on_rows=partial(_pace_on, pace, done, total))
        done += sum(f.rows for f in slice_.fetches)
        if not dry_run:
            on_commit(slice_.partition, counts)
    with translated(f"load of {loader.mapping.entity}, rows tried again"):
        _replay_again(loader, dry_run)
    pace(done, total, last=True)


def _pace_on(pace: Pace, before: int, total: int, rows: int) -> None:
    pace(before + rows, total)


def _slices(
    workspace: Workspace,
    connection: psycopg.Connection,
    mapping: Mapping,
    entity_id: int,
    partitions: Sequence[str] | None,
    full: bool,
) -> list[Slice]:
    """The partitions with something to load, in order; parked rows worth another try ride with the first."""
    again = full or runs.last_mapping_version(connection, entity_id) not in (None, mapping.version)
    slices = []
    for partition in partitions or workspace.landing.partitions(mapping.source.table):
        landed = workspace.landing.fetches(mapping.source.table, partition)
        loaded = runs.loaded_fetches(connection, entity_id, partition)
        fetches = since_last_full(landed) if again else [f for f in landed if f.fetch_id not in loaded]
        if fetches or partitions is not None:
            slices.append(Slice(partition, fetches, []))
    replays = batches_of(quarantine.replayable(connection, entity_id, mapping.version))
    if replays and not slices:
        slices.append(Slice(_open_partition(mapping), [], []))
    if slices:
        slices[0].replays.extend(replays)
    return slices


def _replay_again(loader: Loader, dry_run: bool) -> None:
    """Tries waiting rows until none can be loaded any more: a load may have filled what others are found by."""
    progress = loader.report.counts.backfilled
    while progress and not dry_run:
        waiting = quarantine.replayable(loader.connection, loader.entity_id, loader.mapping.version)
        if not waiting:
            return
        counts = loader.load(Slice(_open_partition(loader.mapping), [], batches_of(waiting), once_more=True))
        progress = counts.backfilled or counts.replayed


def _open_partition(mapping: Mapping) -> str:
    return list_windows(mapping, today_of(mapping, datetime.now(UTC)))[-1].partition


def since_last_full(landed: Sequence[LandedFetch]) -> list[LandedFetch]:
    """The newest full fetch and everything after it: together the state of the partition."""
    full = [n for n, f in enumerate(landed) if f.mode == "full"]
    return list(landed[full[-1] :]) if full else list(landed)


def batches_of(replays: Sequence[quarantine.Replay]) -> list[Batches]:
    """Parked records as rows to stage, grouped by the time they were fetched."""
    by_fetch: dict[int, list[dict[str, Any]]] = {}
    for replay in replays:
        by_fetch.setdefault(replay.fetched, []).append(replay.row)
    return [Batches(fetched, partial(_as_batches, rows)) for fetched, rows in sorted(by_fetch.items())]


def _as_batches(rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    yield to_batch(rows)


def _finish(connection: psycopg.Connection, loader: Loader, slices: list[Slice], dry_run: bool) -> None:
    report = loader.report
    report.partitions = tuple(s.partition for s in slices)
    report.outcome = "succeeded_with_parked" if report.counts.parked else "succeeded"
    if dry_run:
        report.outcome = "planned"
        return
    runs.finish_run(connection, report)
    c = report.counts
    logger.info(
        "erp/%s: %s read, %s inserted, %s updated, %s unchanged, %s parked, %s conflicts, run %s",
        report.entity,
        f"{c.read:,}",
        f"{c.inserted:,}",
        f"{c.updated:,}",
        f"{c.unchanged:,}",
        c.parked,
        c.conflicts,
        report.run_id,
    )


class _Noted:
    """Whatever ends a run badly, the ledger says so; the failure goes on upwards.

    Over a new connection, since the old one may be gone; if that fails too, the next start closes the run.
    """

    def __init__(self, workspace: Workspace, report: RunReport, dry_run: bool) -> None:
        self.workspace = workspace
        self.report = report
        self.dry_run = dry_run

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Write the failure."""
        if error is None or self.dry_run:
            return
        self.report.outcome = "failed"
        try:
            with self.workspace.erp() as connection:
                runs.finish_run(connection, self.report, str(error) or type(error).__name__)
        except LegacySyncError as second:
            logger.warning("run %s failed and the ledger could not be told: %s", self.report.run_id, second.what)


def _prune(workspace: Workspace, mapping: Mapping, slices: list[Slice]) -> None:
    for slice_ in slices:
        if slice_.fetches:
            workspace.landing.prune(mapping.source.table, slice_.partition, workspace.project.landing_keep)


# --- both --------------------------------------------------------------------------------------


def run_entity(
    workspace: Workspace,
    mapping: Mapping,
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RunReport:
    """Fetches and loads one entity."""
    fetched = fetch_table(workspace, mapping, partitions, full=full, progress=progress)
    chosen = fetched.partitions if partitions is not None else None
    report = load_entity(workspace, mapping, chosen, full=False, dry_run=dry_run, progress=progress)
    report.fetch = fetched
    report.mode = fetched.mode
    report.seconds = {"fetch": fetched.seconds, **report.seconds}
    return report


def preflight(workspace: Workspace, mappings: Sequence[Mapping]) -> None:
    """Checks the mappings against both live catalogs; raises SchemaDrift with every problem."""
    with workspace.erp() as connection:
        problems = [
            problem
            for mapping in mappings
            for problem in check_mapping(
                mapping,
                workspace.source(mapping.source.type).describe(),
                lambda name: find_table(connection, name),
                lambda: list_tables(connection),
            )
        ]
    if problems:
        text = "\n".join(str(p) for p in problems[1:])
        raise SchemaDrift(
            problems[0].what, where=problems[0].where, next_step=problems[0].next_step + ("\n" + text if text else "")
        )


def require_table(connection: psycopg.Connection, mapping: Mapping) -> ErpTable:
    """The ERP table of a mapping; raises ErpRefused if it is not there."""
    table = find_table(connection, mapping.target.table)
    if table is None or len(table.primary_key) != 1:
        problem = "does not exist" if table is None else "has no primary key of one column"
        raise ErpRefused(
            f'the ERP table "{mapping.target.table}" {problem}',
            where=f"mapping {mapping.entity}, ERP database",
            next_step="run pyERP's migrations, or correct `target.table`",
        )
    return table


class Pace:
    """Says how far a stage is: at most one log line every few seconds, and every step to a progress bar."""

    def __init__(self, label: str, stage: str, progress: Progress | None) -> None:
        self.label = label
        self.stage = stage
        self.progress = progress
        self.began = self.logged = time.monotonic()

    def __call__(self, done: int, total: int | None, *, last: bool = False) -> None:
        """Report `done` of `total` rows."""
        if self.progress:
            self.progress(self.stage, done, total)
        now = time.monotonic()
        if now - self.logged >= _LOG_EVERY_SECONDS and not last:
            self.logged = now
            of = f" of {total:,}" if total else ""
            logger.info("%s %s%s rows (%s rows/s)", self.label, f"{done:,}", of, f"{done / (now - self.began):,.0f}")


def _empty_answer(mapping: Mapping, bound: int) -> GuardTripped:
    return GuardTripped(
        f'legacy table "{mapping.source.table}" answered no rows, but {bound:,} were loaded before',
        where=f"fetch of {mapping.source.table}; nothing was landed",
        next_step="look at the table in 4D and at the rights of the API user, then run again",
    )


def _span(partitions: Sequence[str]) -> str:
    return (
        "none" if not partitions else partitions[0] if len(partitions) == 1 else f"{partitions[0]} to {partitions[-1]}"
    )
