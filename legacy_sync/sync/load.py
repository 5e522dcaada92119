"""How does one partition get into the ERP? Stage, plan, apply and remember, in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from typing import Any

import psycopg
import pyarrow as pa

from legacy_sync.erp import apply, plan, sweep
from legacy_sync.erp.catalog import ErpTable
from legacy_sync.erp.references import resolve_references
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import STAGE, copy_batch, create_stage, drop_superseded, forget_parked
from legacy_sync.errors import GuardTripped
from legacy_sync.ledger import conflicts, quarantine, runs
from legacy_sync.mapping.model import Mapping, NumberRangePartitions
from legacy_sync.sources.landing import LandedFetch, Landing
from legacy_sync.sync.chunks import Batches, Chunk, chunks_of
from legacy_sync.sync.prefetch import prefetch
from legacy_sync.sync.report import Counts, ParkedSample, RunReport
from legacy_sync.sync.transform import Transform

_PARKED_AT_LEAST = 20
_EMPTIED_AT_LEAST = 10
_EMPTIED_ALL_OF = 3
_SAMPLE = 50


@dataclass
class Slice:
    """Everything one transaction loads: a partition with its landed fetches and the parked rows to try again.

    `retried` counts the replayed rows that wait since an earlier run; others were tried by this run already.
    """

    partition: str
    fetches: list[LandedFetch]
    replays: list[Batches]
    retried: int = 0


class Loader:
    """Loads slices of one entity over one connection; every slice commits whole or not at all.

    A plan is the same inside a transaction of the caller that is rolled back; it shows too much being parked
    instead of refusing it. `accepts`: a person says that a change is as large as it looks, and no guard trips.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        landing: Landing,
        mapping: Mapping,
        table: ErpTable,
        entity_id: int,
        run_id: int,
        *,
        is_plan: bool = False,
        accepts: bool = False,
    ) -> None:
        self.is_plan = is_plan
        self.accepts = accepts
        self.connection = connection
        self.landing = landing
        self.mapping = mapping
        self.table = table
        self.entity_id = entity_id
        self.run_id = run_id
        self.transform = Transform(mapping, table)
        self.report = RunReport(mapping.entity, run_id=run_id)
        self.waiting: dict[str, ParkedSample] = {}
        """rows parked by this run and not loaded by it since"""

    def load(self, slice_: Slice, on_rows: Callable[[int], None] = lambda _: None) -> Counts:
        """Brings one slice into the ERP."""
        landed = [Batches(fetched_at(f.fetch_id), partial(self.landing.read, f)) for f in slice_.fetches if f.rows]
        with self.connection.transaction():
            return self._load(slice_, [*slice_.replays, *landed], on_rows)

    def load_stream(self, partition: str, rows: Batches, commit: Callable[[], list[LandedFetch]]) -> Slice:
        """Brings rows into the ERP while they are being fetched; `commit` ends the fetch before anything is committed.

        ERP rows stay locked until then, so this is only for entities that have no row in the ERP yet.
        """
        with self.connection.transaction():
            slice_ = Slice(partition, [], [])
            self._load(slice_, [rows], lambda _: None, lambda: slice_.fetches.extend(commit()))
        return slice_

    def _load(
        self,
        slice_: Slice,
        sources: list[Batches],
        on_rows: Callable[[int], None],
        when_read: Callable[[], None] = lambda: None,
    ) -> Counts:
        total = Counts(retried=slice_.retried)
        done, newest = 0, None
        for chunk in prefetch(chunks_of(self.transform, sources), depth=1):
            total.add(self._load_chunk(slice_, chunk))
            done += chunk.rows
            pa.default_memory_pool().release_unused()
            newest = max(filter(None, (newest, chunk.newest_cursor)), default=None)
            on_rows(done)
        when_read()
        total.read = sum(f.rows for f in slice_.fetches)
        self._refuse_too_many_parked(total)
        self.report.counts.add(total)
        if slice_.fetches:
            self.report.counts_by_partition.setdefault(slice_.partition, Counts()).add(total)
        self._remember(slice_, newest)
        return total

    # --- one chunk: stage, plan, apply -----------------------------------------------------------

    def _load_chunk(self, slice_: Slice, chunk: Chunk) -> Counts:
        began = time.monotonic()
        self._stage(chunk)
        began = self._spend("stage", began)
        shape = self._shape(chunk.kept)
        older = plan.drop_older(self.connection, shape, chunk.fetched)
        self._refuse_emptied_columns(shape, chunk)
        links = resolve_references(self.connection, shape)
        if not slice_.replays:
            _add_links(self.report.links, links)
        decided = self._plan(shape)
        began = self._spend("plan", began)
        decided = self._write_rows(shape, chunk.fetched, decided)
        forget_parked(self.connection, STAGE)
        backfilled = apply.backfill_parents(self.connection, shape, self.run_id)
        found = conflicts.record_conflicts(self.connection, self.entity_id, self.run_id)
        replayed = quarantine.close_loaded(self.connection, self.entity_id, self.run_id)
        waiting_before = len(self.waiting)
        self._park(slice_.partition, chunk)
        usable, updated, kept = self._numbers()
        new, adopted = decided.get("new", 0), decided.get("adopt", 0)
        self._sum_up(chunk)
        self._spend("apply", began)
        return Counts(
            inserted=new,
            updated=updated,
            adopted=adopted,
            unchanged=0 if slice_.replays else usable + older - new - updated - adopted,
            conflicts=found,
            parked=len(self.waiting) - waiting_before,
            replayed=replayed,
            backfilled=backfilled,
            kept=kept,
        )

    def _refuse_emptied_columns(self, shape: Shape, chunk: Chunk) -> None:
        """Raises GuardTripped when an attribute that had values is null in every row: a right was taken away."""
        emptied = plan.find_emptied(self.connection, shape, [c for c in chunk.empty or () if c not in chunk.kept])
        for column, (changed, bound) in emptied.items():
            is_all = changed == bound >= _EMPTIED_ALL_OF
            if not self.accepts and (is_all or (changed >= _EMPTIED_AT_LEAST and changed > bound / 2)):
                raise _column_emptied(self.mapping, column, chunk.rows, changed)

    def _stage(self, chunk: Chunk) -> None:
        columns = self.transform.staged_columns
        create_stage(self.connection, columns)
        for part in chunk.encoded:
            copy_batch(self.connection, [c.name for c in columns if c.copied], part)
        if len(chunk.fetched) > 1:
            drop_superseded(self.connection)
            self._settle_parked(chunk)
        self.connection.execute("analyze ls_stage (_row, _key)")

    def _settle_parked(self, chunk: Chunk) -> None:
        """Of a refused and a usable copy of one record the newer one counts."""
        refused = {p.legacy_key: p.fetched for p in chunk.parked}
        rows = self.connection.execute(
            "select _key, _row from ls_stage where _key = any(%s)", [list(refused)]
        ).fetchall()
        usable = {key: (chunk.fetched_of(row), row) for key, row in rows}
        outdated = [row for key, (fetched, row) in usable.items() if fetched < refused[key]]
        self.connection.execute("delete from ls_stage where _row = any(%s)", [outdated])
        chunk.parked = [p for p in chunk.parked if usable.get(p.legacy_key, (0, 0))[0] <= p.fetched]

    def _plan(self, shape: Shape) -> dict[str, int]:
        """Decides every row; returns how many rows have which decision."""
        connection = self.connection
        plan.classify(connection, shape)
        decided = plan.count_decisions(connection)
        if "new" in decided:
            plan.adopt(connection, shape)
            plan.park_unfit_inserts(connection, shape)
        if "gone" in decided:
            plan.park_gone(connection, shape)
        if decided := plan.count_decisions(connection):
            if decided.keys() & {"differs", "adopt"}:
                plan.lock_rows(connection, shape)
                plan.compare_cells(connection, shape)
            plan.park_duplicates(connection, shape)
        return plan.count_decisions(connection)

    def _write_rows(self, shape: Shape, fetched: list[int], decided: dict[str, int]) -> dict[str, int]:
        """Updates first, since they may free a value that a new row wants; returns the decisions carried out."""
        if decided.keys() & {"differs", "adopt"}:
            taken = apply.update_rows(self.connection, shape, self.run_id)
            for name, rows in taken.items():
                self.report.columns_changed[name] = self.report.columns_changed.get(name, 0) + rows
        if "new" in decided:
            apply.insert_rows(self.connection, shape, self.run_id, fetched)
        if "adopt" in decided:
            apply.bind_adopted(self.connection, shape, self.run_id, fetched)
        if "differs" in decided:
            apply.rebase_bindings(self.connection, shape, self.run_id, fetched)
        return plan.count_decisions(self.connection)

    def _numbers(self) -> tuple[int, int, int]:
        """Usable staged rows, bound rows that were updated, rows of which only ERP edits were kept."""
        row = self.connection.execute(
            "select (select count(*) from ls_stage),"
            " (select count(*) from ls_update u join ls_plan p using (_row) where p.decision = 'differs'),"
            " (select count(distinct _row) from ls_cell c where outcome = 'keep'"
            "   and not exists (select 1 from ls_update u where u._row = c._row))"
        ).fetchone()
        assert row is not None  # a select without from always has a row
        return int(row[0]), int(row[1]), int(row[2])

    # --- parked rows ---------------------------------------------------------------------------

    def _park(self, partition: str, chunk: Chunk) -> None:
        """Parks what did not cast, what the plan or the database refused, and watches links by a second choice."""
        refused = self.connection.execute(
            "select _row, _key, reason, column_name, value, message from ls_parked order by _row"
        ).fetchall()
        watched = self.connection.execute(
            "select w._row, w._key, 'second_choice', w.column_name, w.value,"
            " format('%s: linked by another column, since no row for \"%s\" is there yet', w.column_name, w.value)"
            " from ls_second_choice w where exists (select 1 from ls_stage s where s._row = w._row) order by w._row"
        ).fetchall()
        parked = chunk.parked + [_with_record(chunk, row, "open") for row in refused]
        discarded: set[str] = set()
        if parked or watched:
            discarded = quarantine.park_rows(
                self.connection,
                self.entity_id,
                partition,
                parked + [_with_record(chunk, row, "watching") for row in watched],
                run_id=self.run_id,
                mapping_version=self.mapping.version,
            )
        self._note_waiting([p for p in parked if p.legacy_key not in discarded])

    def _note_waiting(self, parked: list[quarantine.Parked]) -> None:
        """Keeps the report true: a row parked by an earlier chunk may have been loaded by this one."""
        if self.waiting:
            rows = self.connection.execute("select _key from ls_stage where _key = any(%s)", [list(self.waiting)])
            for (key,) in rows.fetchall():
                del self.waiting[key]
        for p in parked:
            self.waiting[p.legacy_key] = ParkedSample(p.legacy_key, p.reason, p.column, p.value, p.message)
        self.report.parked_by_reason = dict(Counter(p.reason for p in self.waiting.values()).most_common())
        self.report.parked_sample = list(islice(self.waiting.values(), _SAMPLE))

    def _refuse_too_many_parked(self, counts: Counts) -> None:
        """Raises GuardTripped, so that the transaction rolls back, when too few of the rows read can be used."""
        if self.is_plan or self.accepts or not counts.read:
            return
        if counts.parked >= _PARKED_AT_LEAST and counts.parked > self.mapping.max_parked_share * counts.read:
            raise _too_many_parked(self.mapping, counts, self.waiting)

    # --- records that are gone -------------------------------------------------------------------

    def sweep(self, fetches: list[LandedFetch]) -> int:
        """Deals with bound records that a complete fetch of the whole table does not contain; returns how many.

        Raises GuardTripped when more are missing than the mapping believes possible; then nothing is marked.
        """
        deletes = self.mapping.deletes
        with self.connection.transaction():
            missing, bound = sweep.find_missing(self.connection, self.entity_id, self._keys(fetches))
            if missing > max(1, int(bound * deletes.max_share)) and not self.accepts:
                raise _too_many_missing(self.mapping, missing, bound, sweep.sample_missing(self.connection, 3))
            if missing and deletes.policy == "set":
                shape = self._shape(set())
                self.report.counts.deleted += sweep.mark_missing_rows(self.connection, shape, self.run_id)
            sweep.note_missing(self.connection, self.entity_id, self.run_id)
        if missing:
            self.report.warnings["records that are gone from the legacy table"] = missing
        return missing

    def _keys(self, fetches: list[LandedFetch]) -> Iterator[str]:
        for fetch in fetches:
            for batch in self.landing.read(fetch):
                yield from self.transform.keys(batch)

    # --- remember ------------------------------------------------------------------------------

    def _sum_up(self, chunk: Chunk) -> None:
        for target, found in (
            (self.report.warnings, chunk.notes),
            (self.report.rule_violations, chunk.violations),
        ):
            for text, rows in found.items():
                target[text] = target.get(text, 0) + rows

    def _remember(self, slice_: Slice, newest_cursor: date | None) -> None:
        if not slice_.fetches:
            return
        fetch_ids = [f.fetch_id for f in slice_.fetches]
        runs.note_newest(self.connection, self.entity_id, max(map(fetched_at, fetch_ids)))
        runs.remember_fetches(self.connection, self.entity_id, slice_.partition, fetch_ids, self.run_id)
        value, fetched_on = newest_cursor, max(f.server_time for f in slice_.fetches).date()
        if isinstance(self.mapping.partitions, NumberRangePartitions):
            value = fetched_on  # old slices change at any time, and rows of the last day are always read again
        elif value:  # a cursor ahead of the server's own clock must not hide later changes
            value = min(value, fetched_on)
        mark = value.isoformat() if value else None
        runs.move_watermark(self.connection, self.entity_id, slice_.partition, mark, self.run_id)
        self.report.watermark = max(filter(None, (self.report.watermark, mark)), default=None)

    def _shape(self, kept: set[str]) -> Shape:
        current, sets = runs.column_sets(self.connection, self.entity_id, self.mapping.columns)
        return Shape(self.mapping, self.table, self.entity_id, current, sets, frozenset(kept))

    def _spend(self, stage: str, began: float) -> float:
        now = time.monotonic()
        self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + now - began
        return now


def _with_record(chunk: Chunk, row: tuple[Any, ...], status: str) -> quarantine.Parked:
    number, key, reason, column, value, message = row
    record, fetched = chunk.record_of(number), chunk.fetched_of(number)
    return quarantine.Parked(key, reason, column, value, message, record, fetched, status)


def fetched_at(fetch_id: str) -> int:
    """The time in a fetch id, as microseconds since 1970."""
    instant = datetime.strptime(fetch_id.split("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    return int(instant.timestamp() * 1_000_000)


def _add_links(total: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> None:
    for column, numbers in more.items():
        mine = total.setdefault(column, {})
        for name, rows in numbers.items():
            mine[name] = mine.get(name, 0) + rows


def _column_emptied(mapping: Mapping, column: str, rows: int, changed: int) -> GuardTripped:
    attributes = " and ".join(mapping.fields[column].attributes)
    return GuardTripped(
        f"{attributes} is null in all {rows:,} rows read, which would empty {column} in {changed:,} rows of the ERP",
        where=f"load of {mapping.entity}; nothing was written",
        next_step=f"give the API user the right to read {attributes} of {mapping.source.table} in 4D;"
        " if the values are really gone, run once with --accept-shrink",
    )


def _too_many_missing(mapping: Mapping, missing: int, bound: int, sample: list[str]) -> GuardTripped:
    return GuardTripped(
        f"{missing:,} of {bound:,} known records are gone from the legacy table, for example {', '.join(sample)}",
        where=f"load of {mapping.entity}; its rows were loaded, none was marked as deleted",
        next_step=f"look at the table {mapping.source.table} in 4D; if this is right, run once with"
        f" --full --accept-shrink, or raise deletes.max_share (now {mapping.deletes.max_share}) in the mapping",
    )


def _too_many_parked(mapping: Mapping, counts: Counts, waiting: dict[str, ParkedSample]) -> GuardTripped:
    reasons = sorted({p.reason for p in waiting.values()})
    example = next(iter(waiting.values())).message
    return GuardTripped(
        f"{counts.parked} of {counts.read} rows cannot be used ({', '.join(reasons)}), for example {example}",
        where=f"load of {mapping.entity}; nothing was written",
        next_step=f"look at the mapping and at the legacy table {mapping.source.table};"
        f" if this is right, run once with --accept-shrink, or raise max_parked_share"
        f" (now {mapping.max_parked_share}) in the mapping",
    )
