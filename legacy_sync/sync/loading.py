"""How do the entities that belong together get into the ERP, slice by slice?

Most entities are loaded alone. Those of a unit share one transaction per slice: what a document consists of appears
and changes together, or waits together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any

import psycopg
import pyarrow as pa

from legacy_sync.errors import LegacySyncError
from legacy_sync.ledger import quarantine, runs, undone, units
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sources.landing import FULL, LandedFetch, since_last_full
from legacy_sync.sync.bound import bind
from legacy_sync.sync.chunks import Batches
from legacy_sync.sync.compact import tidy
from legacy_sync.sync.evidence import read_gone
from legacy_sync.sync.gone import settle_gone, vouches
from legacy_sync.sync.load import Loader, Slice
from legacy_sync.sync.pace import Pace
from legacy_sync.sync.report import Counts, Progress, RunReport
from legacy_sync.sync.session import Session
from legacy_sync.sync.windows import NOTES, list_loads, list_windows, today_of
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

OnCommit = Callable[[str, str, Counts], None]
"""hears of entity, partition and counts as soon as they are safe"""


class _Incomplete(Exception):
    """Some documents were loaded only in part."""

    def __init__(self, keys: set[str]) -> None:
        super().__init__(f"{len(keys)} incomplete units")
        self.keys = keys


@contextmanager
def loading(
    workspace: Workspace,
    mappings: Sequence[Mapping],
    *,
    full: bool,
    dry_run: bool,
    dagster_run_id: str | None = None,
    within: psycopg.Connection | None = None,
    accept: bool = False,
    accepted_by: str | None = None,
    mode: str | None = None,
) -> Iterator[list[Loader]]:
    """Loaders over one connection that nobody else has, each with a run in the ledger that ends as this block does.

    A dry run is the same in a transaction that is rolled back, its own or one the caller is `within`. The ledger keeps
    who lets changes pass that the guards would stop: `accepted_by`, or the user of this process.
    """
    with ExitStack() as stack:
        session = Session(workspace, stack, mappings[0].retry, is_plan=dry_run, within=within)
        connection, loaders = session.connection, []
        for mapping in mappings:
            bound = bind(connection, mapping, workspace.project.mappings.values())
            for one in (bound, *bound.dependents):  # their texts follow this entity's rows
                session.lock(one.entity_id, one.mapping.entity)
            mode = mode or ("full" if full else "incremental")
            run_id = runs.start_run(
                connection,
                bound.entity_id,
                mode=mode,
                mapping_version=mapping.version,
                dagster_run_id=dagster_run_id,
                accepted_by=(accepted_by or runs.who()) if accept else None,
            )
            landing = workspace.landing_of(mapping)
            loader = Loader(session, landing, bound, run_id, is_plan=dry_run, accepts=accept)
            loader.report.mode = mode
            loader.report.accepted = accept
            if not dry_run:
                stack.enter_context(_Noted(workspace, loader.report))
            loaders.append(loader)
        session.reporters += loaders
        yield loaders


# --- slices ------------------------------------------------------------------------------------


def find_slices(loader: Loader, partitions: Sequence[str] | None, *, full: bool) -> list[Slice]:
    """The partitions with something to load, in order.

    Where the mapping says something else than when a partition was loaded last, what is landed is loaded again.
    """
    table, mapping = loader.mapping.source.table, loader.mapping
    known = runs.read_loaded(loader.connection, loader.entity_id)
    wanted = list_loads(mapping, partitions, loader.landing.partitions(table), today_of(mapping, datetime.now(UTC)))
    is_named = partitions is not None and not set(NOTES) & set(wanted)
    slices = []
    for partition in wanted:
        landed = loader.landing.fetches(table, partition)
        loaded = runs.loaded_fetches(loader.connection, loader.entity_id, partition)
        again = full or (partition in known and known[partition].is_stale(mapping.version))
        fetches = [f for f in since_last_full(landed) if again or f.fetch_id not in loaded]
        if fetches or is_named:
            slices.append(Slice(partition, fetches, []))
    loader.gone = read_gone(loader.landing, table, [f for s in slices for f in s.fetches if f.rows])
    return slices


def load_slices(
    loaders: Sequence[Loader], slices: Sequence[list[Slice]], progress: Progress | None, on_commit: OnCommit
) -> None:
    """Loads the slices of each loader; those with the same partition together if the loaders are a unit."""
    if loaders[0].mapping.unit:
        _load_together(loaders, slices, progress, on_commit)
    else:
        _load_alone(loaders[0], slices[0], progress, on_commit)


def _load_alone(loader: Loader, slices: list[Slice], progress: Progress | None, on_commit: OnCommit) -> None:
    entity = loader.mapping.entity
    total = sum(f.rows for s in slices for f in s.fetches)
    done = 0
    pace = Pace(f"erp/{entity}: load", "load", progress)
    for slice_ in slices:
        counts = loader.load(slice_, partial(_pace_on, pace, done, total))
        done += sum(f.rows for f in slice_.fetches)
        on_commit(entity, slice_.partition, counts)
    replay(loader)
    pace(done, total, last=True)


def _load_together(
    loaders: Sequence[Loader], slices: Sequence[list[Slice]], progress: Progress | None, on_commit: OnCommit
) -> None:
    names = " and ".join(loader.mapping.entity for loader in loaders)
    total = sum(f.rows for own in slices for s in own for f in s.fetches)
    done = 0
    pace = Pace(f"erp/{names}: load", "load", progress)
    partitions = list(dict.fromkeys(s.partition for own in slices for s in own))
    order = [p for p in partitions if p not in NOTES] + [p for p in partitions if p in NOTES]
    for partition in order or [open_partition(loaders[0].mapping)]:
        parts = [next((s for s in own if s.partition == partition), Slice(partition, [], [])) for own in slices]
        where = f"load of {names}, partition {partition}"
        counts = loaders[0].session.whole(where, partial(_load_whole_units, loaders, parts))
        done += sum(f.rows for s in parts for f in s.fetches)
        pace(done, total)
        for loader, slice_, own in zip(loaders, parts, counts, strict=True):
            if slice_.fetches:
                on_commit(loader.mapping.entity, partition, own)
    pace(done, total, last=True)


def _load_whole_units(loaders: Sequence[Loader], parts: Sequence[Slice]) -> list[Counts]:
    """One slice of all members in one transaction; documents of which a part cannot be used wait as a whole.

    Such documents show only after everything was tried. Then the slice is rolled back and loaded again without them.
    """
    connection = loaders[0].connection
    states = [loader.state() for loader in loaders]
    incomplete: set[str] = set()
    while True:
        for loader, state in zip(loaders, states, strict=True):
            loader.go_back(state)
            loader.incomplete = incomplete
        try:
            with connection.transaction():
                return _try_whole_units(loaders, parts, incomplete)
        except _Incomplete as found:
            incomplete = incomplete | found.keys


def _try_whole_units(loaders: Sequence[Loader], parts: Sequence[Slice], incomplete: set[str]) -> list[Counts]:
    connection = loaders[0].connection
    units.begin_units(connection)
    counts = [loader.load(slice_) for loader, slice_ in zip(loaders, parts, strict=True)]
    for loader in loaders:
        replay(loader, unit=_unit_keys(loaders))
    found = units.find_incomplete(connection, _unit_keys(loaders)) - incomplete
    if found:
        raise _Incomplete(found)
    return counts


def _unit_keys(loaders: Sequence[Loader]) -> dict[int, str]:
    """By entity the attribute that names the document in its records."""
    return {loader.entity_id: loader.mapping.unit.key for loader in loaders if loader.mapping.unit}


def _pace_on(pace: Pace, before: int, total: int, rows: int) -> None:
    pace(before + rows, total)


def replay(loader: Loader, *, again: bool = False, unit: dict[int, str] | None = None) -> None:
    """Tries the rows that wait, until none can be loaded any more.

    Rows this run parked itself are tried `again` only if something happened since that may help them. Rows that
    wait for the rest of their document (`unit`: its key by entity) are tried when nothing else of it stands in the way.
    """
    progress = again or bool(loader.report.counts.backfilled)
    while True:
        waiting = loader.session.ask(loader.where("rows tried again"), partial(_find_waiting, loader, unit))
        earlier = [w for w in waiting if w.legacy_key not in loader.waiting]
        chosen = waiting if progress else earlier
        if not chosen:
            return
        retried = 0 if loader.report.counts.retried else sum(w.status == "open" for w in earlier)
        counts = loader.load(Slice(open_partition(loader.mapping), [], batches_of(chosen), retried))
        progress = bool(counts.backfilled or counts.replayed)
        if not progress:
            return


def _find_waiting(loader: Loader, unit: dict[int, str] | None) -> list[quarantine.Replay]:
    return quarantine.replayable(loader.connection, loader.entity_id, loader.mapping.version, unit)


def open_partition(mapping: Mapping) -> str:
    """The partition in which new rows appear."""
    return list_windows(mapping, today_of(mapping, datetime.now(UTC)))[-1].partition


def batches_of(replays: Sequence[quarantine.Replay]) -> list[Batches]:
    """Parked records as rows to stage, grouped by the time they were fetched."""
    by_fetch: dict[int, list[dict[str, Any]]] = {}
    for replay in replays:
        by_fetch.setdefault(replay.fetched, []).append(replay.row)
    return [Batches(fetched, partial(_as_batches, rows)) for fetched, rows in sorted(by_fetch.items())]


def _as_batches(rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    yield to_batch(rows)


def finish(workspace: Workspace, loader: Loader, slices: list[Slice]) -> None:
    """Ends the run: parents that came late, records that are gone, the report, old landed rows."""
    loader.relink()
    whole = _whole_table(loader.mapping, slices)
    if vouches(whole):
        loader.note_unfilled()
    if settle_gone(loader, whole):
        replay(loader, again=True)
    end_run(workspace, loader, slices)


def end_run(workspace: Workspace, loader: Loader, slices: Sequence[Slice]) -> None:
    """Writes how the run ended, unless it was a plan, and tidies what it loaded."""
    report = loader.report
    report.partitions = tuple(s.partition for s in slices)
    report.outcome = "succeeded_with_parked" if report.counts.parked else "succeeded"
    if loader.is_plan:
        report.outcome, report.run_id = "planned", None
        return
    fetched = [slice_.partition for slice_ in slices if slice_.fetches]
    loader.session.ask(loader.where("end of the run"), lambda: runs.finish_run(loader.connection, report))
    keep_days = workspace.project.changes_keep_days
    loader.session.ask(
        loader.where("old changes"),
        lambda: undone.remove_old_images(loader.connection, loader.entity_id, keep_days),
    )
    loader.session.ask(loader.where("old landed rows"), lambda: tidy(workspace, loader, fetched))
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
    """The loaded fetches, if together they read the whole table in one go; else nothing."""
    windows = {w.partition for w in list_windows(mapping, today_of(mapping, datetime.now(UTC)))}
    firsts = [s.fetches[0] for s in slices if s.fetches and s.partition in windows]
    firsts = [f for f in firsts if f.mode == FULL]
    if {f.partition for f in firsts} != windows or len({f.server_time for f in firsts}) != 1:
        return []
    return [f for s in slices if s.partition in windows for f in s.fetches]


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
