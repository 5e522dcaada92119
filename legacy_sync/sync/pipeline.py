"""One record's way, top to bottom: fetch from the source into the landing, load from the landing into the ERP.

The starters (Dagster, the CLI) call `fetch_table`, `load_entity` or both as `run_entity`. Nothing here
depends on a table, a type or a policy; where it would, the mapping language is missing a word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import psycopg
import pyarrow as pa

from legacy_sync.erp.database import translated
from legacy_sync.errors import LegacySyncError
from legacy_sync.ledger import quarantine, runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sources.landing import LandedFetch, Landing
from legacy_sync.sync.chunks import Batches
from legacy_sync.sync.fetch import FetchWork, Stream, fetch_table, land, plan_work, say_fetched
from legacy_sync.sync.load import Loader, Slice, fetched_at
from legacy_sync.sync.pace import Pace
from legacy_sync.sync.prefetch import prefetch
from legacy_sync.sync.report import Counts, FetchSummary, Progress, RunReport
from legacy_sync.sync.windows import ALL_SLICES, list_loads, list_windows, today_of
from legacy_sync.sync.workspace import Workspace, open_workspace, preflight, require_table

__all__ = [
    "Workspace",
    "fetch_table",
    "load_entity",
    "open_workspace",
    "plan_entities",
    "preflight",
    "require_table",
    "run_entity",
    "since_last_full",
]

logger = logging.getLogger(__name__)


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
    accept: bool = False,
) -> RunReport:
    """Brings what is landed and not yet loaded into the ERP, a transaction per partition.

    `full` takes everything since the newest full fetch again; `dry_run` computes all decisions and writes
    nothing; `accept` lets a change pass that the guards would stop. `on_commit` hears of each partition as
    soon as it is safe. Raises AbortRun or RetryLater errors; partitions committed before stay.
    """
    with _loading(
        workspace, mapping, full=full, dry_run=dry_run, dagster_run_id=dagster_run_id, accept=accept
    ) as loader:
        slices = _slices(workspace, loader, partitions, full=full)
        _load_slices(loader, slices, progress, on_commit)
        _finish(workspace, loader, slices)
        return loader.report


@contextmanager
def _loading(
    workspace: Workspace,
    mapping: Mapping,
    *,
    full: bool,
    dry_run: bool,
    dagster_run_id: str | None = None,
    within: psycopg.Connection | None = None,
    accept: bool = False,
) -> Iterator[Loader]:
    """A loader that nobody else has, with a run in the ledger that ends as this block does.

    A dry run is the same in a transaction that is rolled back, its own or one the caller is `within`.
    """
    with ExitStack() as stack:
        connection = within or stack.enter_context(workspace.erp())
        if dry_run and within is None:
            stack.enter_context(connection.transaction(force_rollback=True))
        table = require_table(connection, mapping)
        entity_id = runs.get_entity_id(connection, mapping.entity)
        stack.enter_context(runs.entity_lock(connection, entity_id, mapping.entity))
        mode = "full" if full else "incremental"
        run_id = runs.start_run(
            connection, entity_id, mode=mode, mapping_version=mapping.version, dagster_run_id=dagster_run_id
        )
        loader = Loader(
            connection, workspace.landing, mapping, table, entity_id, run_id, is_plan=dry_run, accepts=accept
        )
        loader.report.mode = mode
        loader.report.accepted = accept
        if not dry_run:
            stack.enter_context(_Noted(workspace, loader.report))
        yield loader


def _load_slices(
    loader: Loader,
    slices: list[Slice],
    progress: Progress | None,
    on_commit: Callable[[str, Counts], None],
) -> None:
    total = sum(f.rows for s in slices for f in s.fetches)
    done = 0
    pace = Pace(f"erp/{loader.mapping.entity}: load", "load", progress)
    for slice_ in slices:
        with translated(f"load of {loader.mapping.entity}, partition {slice_.partition}"):
            counts = loader.load(slice_, partial(_pace_on, pace, done, total))
        done += sum(f.rows for f in slice_.fetches)
        on_commit(slice_.partition, counts)
    with translated(f"load of {loader.mapping.entity}, rows tried again"):
        _replay(loader)
    pace(done, total, last=True)


def _pace_on(pace: Pace, before: int, total: int, rows: int) -> None:
    pace(before + rows, total)


def _slices(workspace: Workspace, loader: Loader, partitions: Sequence[str] | None, *, full: bool) -> list[Slice]:
    """The partitions with something to load, in order."""
    table, mapping = loader.mapping.source.table, loader.mapping
    again = full or _is_new_meaning(loader)
    wanted = list_loads(mapping, partitions, workspace.landing.partitions(table), today_of(mapping, datetime.now(UTC)))
    is_named = partitions is not None and ALL_SLICES not in wanted
    slices = []
    for partition in wanted:
        landed = workspace.landing.fetches(table, partition)
        loaded = runs.loaded_fetches(loader.connection, loader.entity_id, partition)
        fetches = [f for f in since_last_full(landed) if again or f.fetch_id not in loaded]
        if fetches or is_named:
            slices.append(Slice(partition, fetches, []))
    return slices


def _is_new_meaning(loader: Loader) -> bool:
    """Whether the mapping says something else than when it was last loaded; what is landed is then loaded again."""
    return runs.last_mapping_version(loader.connection, loader.entity_id) not in (None, loader.mapping.version)


def _replay(loader: Loader, *, again: bool = False) -> None:
    """Tries the rows that wait, until none can be loaded any more.

    Rows this run parked itself are tried `again` only if something happened since that may help them.
    """
    progress = again or bool(loader.report.counts.backfilled)
    while True:
        waiting = quarantine.replayable(loader.connection, loader.entity_id, loader.mapping.version)
        earlier = [w for w in waiting if w.legacy_key not in loader.waiting]
        chosen = waiting if progress else earlier
        if not chosen:
            return
        retried = 0 if loader.report.counts.retried else sum(w.status == "open" for w in earlier)
        counts = loader.load(Slice(_open_partition(loader.mapping), [], batches_of(chosen), retried))
        progress = bool(counts.backfilled or counts.replayed)
        if not progress:
            return


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


def _finish(workspace: Workspace, loader: Loader, slices: list[Slice]) -> None:
    whole = _whole_table(loader.mapping, slices)
    if whole and loader.mapping.deletes.policy != "ignore":
        with translated(f"load of {loader.mapping.entity}, records that are gone"):
            if loader.sweep(whole):
                _replay(loader, again=True)
    report = loader.report
    report.partitions = tuple(s.partition for s in slices)
    report.outcome = "succeeded_with_parked" if report.counts.parked else "succeeded"
    if loader.is_plan:
        report.outcome, report.run_id = "planned", None
        return
    runs.finish_run(loader.connection, report)
    for slice_ in slices:
        if slice_.fetches:
            workspace.landing.prune(loader.mapping.source.table, slice_.partition, workspace.project.landing_keep)
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


def _whole_table(mapping: Mapping, slices: list[Slice]) -> list[LandedFetch]:
    """The loaded fetches, if together they claim to have read every row of the table in one go; else nothing.

    Only such a claim makes the absence of a record evidence that it is gone.
    """
    windows = {w.partition for w in list_windows(mapping, today_of(mapping, datetime.now(UTC)))}
    firsts = [s.fetches[0] for s in slices if s.fetches and s.partition in windows]
    firsts = [f for f in firsts if f.mode == "full" and f.complete]
    if {f.partition for f in firsts} != windows or len({f.server_time for f in firsts}) != 1:
        return []
    return [f for s in slices for f in s.fetches]


class _Noted:
    """Whatever ends a run badly, the ledger says so; the failure goes on upwards.

    Over a new connection, since the old one may be gone; if that fails too, the next start closes the run.
    """

    def __init__(self, workspace: Workspace, report: RunReport) -> None:
        self.workspace = workspace
        self.report = report

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Write the failure."""
        if error is None:
            return
        self.report.outcome = "failed"
        try:
            with self.workspace.erp() as connection:
                runs.finish_run(connection, self.report, str(error) or type(error).__name__)
        except LegacySyncError as second:
            logger.warning("run %s failed and the ledger could not be told: %s", self.report.run_id, second.what)


# --- both --------------------------------------------------------------------------------------


def run_entity(
    workspace: Workspace,
    mapping: Mapping,
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    accept: bool = False,
) -> RunReport:
    """Fetches and loads one entity; `accept` lets a change pass that the guards would stop."""
    if dry_run:
        return next(plan_entities(workspace, [mapping], partitions, full=full, progress=progress))
    work = plan_work(workspace, mapping, partitions, full=full, accept=accept)
    if work.only_partition is not None and work.is_first:
        return _run_first(workspace, work, work.only_partition, full=full, progress=progress)
    fetched = land(workspace, work, progress)
    chosen = fetched.partitions if partitions is not None else None
    return _with_fetch(load_entity(workspace, mapping, chosen, progress=progress, accept=accept), fetched)


def plan_entities(
    workspace: Workspace,
    mappings: Sequence[Mapping],
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
) -> Iterator[RunReport]:
    """What a run of these mappings, in this order, would do; nothing is written to the ERP or the ledger.

    Rows are fetched into a landing of their own, which is thrown away. All plans share one transaction, so
    that children see the parents that would have been written; it is rolled back when the last report was taken.
    """
    with (
        TemporaryDirectory(prefix="legacy_sync_plan_") as folder,
        workspace.erp() as connection,
        connection.transaction(force_rollback=True),
    ):
        workspace = replace(workspace, landing=Landing(folder))
        for mapping in mappings:
            fetched = fetch_table(workspace, mapping, partitions, full=full, progress=progress)
            with _loading(workspace, mapping, full=full, dry_run=True, within=connection) as loader:
                slices = _slices(workspace, loader, fetched.partitions if partitions else None, full=False)
                _load_slices(loader, slices, progress, _nothing)
                _finish(workspace, loader, slices)
            yield _with_fetch(loader.report, fetched)


def _nothing(_partition: str, _counts: Counts) -> None:
    """Nobody waits for the commits of a plan."""


def _run_first(
    workspace: Workspace, work: FetchWork, partition: str, *, full: bool, progress: Progress | None
) -> RunReport:
    """The first import of an entity with one partition: rows go into an open transaction while they are fetched.

    It commits when the fetch has proved complete, or not at all.
    """
    fetched = FetchSummary(work.mapping.source.table, mode=work.mode)
    with _loading(workspace, work.mapping, full=full, dry_run=False) as loader:
        with (
            translated(f"load of {work.mapping.entity}, partition {partition}"),
            Stream(workspace, work, work.plans[0], fetched, progress) as stream,
        ):
            rows = Batches(fetched_at(stream.fetch_ids[0]), partial(prefetch, stream.batches()))
            slice_ = loader.load_stream(partition, rows, stream.commit)
            say_fetched(fetched)
            _replay(loader)
        _finish(workspace, loader, [slice_])
    return _with_fetch(loader.report, fetched)


def _with_fetch(report: RunReport, fetched: FetchSummary) -> RunReport:
    report.fetch = fetched
    report.mode = fetched.mode
    report.seconds = {"fetch": fetched.seconds, **report.seconds}
    return report
