"""How does one landed partition get into the ERP? Stage, plan, apply and remember, in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp import apply, plan, sweep
from legacy_sync.erp.catalog import ErpTable
from legacy_sync.erp.references import resolve_references
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import STAGE, copy_batch, create_stage, drop_superseded, encode, forget_parked
from legacy_sync.errors import GuardTripped
from legacy_sync.ledger import conflicts, quarantine, runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.landing import LandedFetch, Landing
from legacy_sync.sync.casts import cast_dates
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.prefetch import prefetch
from legacy_sync.sync.report import Counts, ParkedSample, RunReport
from legacy_sync.sync.transform import Transform, Transformed, raw_row

_ROWS_PER_FETCH = 1 << 32
_PARKED_AT_LEAST = 20
_SAMPLE = 50


@dataclass(frozen=True)
class Batches:
    """Rows that were read from the source at one time (microseconds since 1970)."""

    fetched: int
    read: Callable[[], Iterator[pa.RecordBatch]]


@dataclass
class Slice:
    """Everything one transaction loads: a partition with its landed fetches and the parked rows to try again.

    `retried` counts the replayed rows that wait since an earlier run; others were tried by this run already.
    """

    partition: str
    fetches: list[LandedFetch]
    replays: list[Batches]
    retried: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no row to load."""
        return not self.replays and not any(f.rows for f in self.fetches)


@dataclass
class Staged:
    """What was seen while the rows were converted."""

    rows: int = 0
    parked: list[quarantine.Parked] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    notes: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    newest_cursor: date | None = None


class Loader:
    """Loads slices of one entity over one connection; every slice commits whole or not at all.

    A plan is the same inside a transaction of the caller that is rolled back; it shows too much being parked
    instead of refusing it.
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
    ) -> None:
        self.is_plan = is_plan
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
        sources = [*slice_.replays, *(self.landed(f) for f in slice_.fetches)]
        staged = Staged() if slice_.is_empty else self.stage(sources, on_rows)
        return self.write(slice_, sources, staged)

    def landed(self, fetch: LandedFetch) -> Batches:
        """The rows of a committed fetch."""
        return Batches(fetched_at(fetch.fetch_id), lambda: self.landing.read(fetch))

    # --- stage ---------------------------------------------------------------------------------

    def stage(self, sources: list[Batches], on_rows: Callable[[int], None] = lambda _: None) -> Staged:
        """Converts rows and copies them into temporary tables; touches nothing of the ERP and holds no lock in it."""
        began = time.monotonic()
        columns = self.transform.staged_columns
        names = [c.name for c in columns if c.copied]
        create_stage(self.connection, columns)
        staged = Staged()
        for part in prefetch(self._convert(sources, staged)):
            copy_batch(self.connection, names, part)
            on_rows(staged.rows)
        if len(sources) > 1:
            drop_superseded(self.connection)
            self._settle_parked(sources, staged)
        self.connection.execute("analyze ls_stage (_row, _key)")
        self._spend("stage", began)
        return staged

    def _settle_parked(self, sources: list[Batches], staged: Staged) -> None:
        """Of a refused and a usable copy of one record the newer one counts."""
        refused = {p.legacy_key: p.fetched for p in staged.parked}
        rows = self.connection.execute(
            "select _key, _row from ls_stage where _key = any(%s)", [list(refused)]
        ).fetchall()
        usable = {key: (sources[row // _ROWS_PER_FETCH].fetched, row) for key, row in rows}
        outdated = [row for key, (fetched, row) in usable.items() if fetched < refused[key]]
        self.connection.execute("delete from ls_stage where _row = any(%s)", [outdated])
        staged.parked = [p for p in staged.parked if usable.get(p.legacy_key, (0, 0))[0] <= p.fetched]

    def _convert(self, sources: list[Batches], staged: Staged) -> Iterator[memoryview]:
        for number, source in enumerate(sources):
            row = number * _ROWS_PER_FETCH
            for batch in source.read():
                result = self.transform.apply(batch, row)
                self._collect(batch, result, staged, source.fetched)
                row += batch.num_rows
                yield encode(result.staged)

    def _collect(self, batch: pa.RecordBatch, result: Transformed, staged: Staged, fetched: int) -> None:
        staged.rows += batch.num_rows
        staged.kept |= result.kept
        for target, found in ((staged.notes, result.notes), (staged.violations, result.violations)):
            for text, rows in found.items():
                target[text] = target.get(text, 0) + rows
        for p in result.parked:
            raw = raw_row(batch, p.position)
            staged.parked.append(quarantine.Parked(p.legacy_key, p.reason, p.column, p.value, p.message, raw, fetched))
        cursor = self.mapping.source.cursor
        if cursor and (index := batch.schema.get_field_index(cursor)) >= 0:
            newest = pc.max(cast_dates(Cells(batch.column(index))).values).as_py()
            staged.newest_cursor = max(filter(None, (staged.newest_cursor, newest)), default=None)

    # --- records that are gone -------------------------------------------------------------------

    def sweep(self, fetches: list[LandedFetch]) -> None:
        """Deals with bound records that a complete fetch of the whole table does not contain, as declared.

        Raises GuardTripped when more are missing than the mapping believes possible; then nothing is marked.
        """
        deletes = self.mapping.deletes
        with self.connection.transaction():
            missing, bound = sweep.find_missing(self.connection, self.entity_id, self._keys(fetches))
            if missing > max(1, int(bound * deletes.max_share)):
                raise _too_many_missing(self.mapping, missing, bound, sweep.sample_missing(self.connection, 3))
            if missing and deletes.policy == "set":
                self.report.counts.deleted += sweep.mark_missing_rows(
                    self.connection, self._shape(Staged()), self.run_id
                )
            sweep.note_missing(self.connection, self.entity_id, self.run_id)
        if missing:
            self.report.warnings["records that are gone from the legacy table"] = missing

    def _keys(self, fetches: list[LandedFetch]) -> Iterator[str]:
        for fetch in fetches:
            for batch in self.landing.read(fetch):
                yield from self.transform.keys(batch)

    # --- decide and write ----------------------------------------------------------------------

    def write(self, slice_: Slice, sources: list[Batches], staged: Staged) -> Counts:
        """Decides and writes what is staged, with everything the ledger has to say of it, in one transaction."""
        with self.connection.transaction():
            counts = Counts() if slice_.is_empty else self._decide_and_write(slice_, sources, staged)
            self.report.counts.add(counts)
            self.report.counts_by_partition.setdefault(slice_.partition, Counts()).add(counts)
            self._remember(slice_, staged)
        return counts

    def _decide_and_write(self, slice_: Slice, sources: list[Batches], staged: Staged) -> Counts:
        began = time.monotonic()
        shape = self._shape(staged)
        fetched = [s.fetched for s in sources]
        older = plan.drop_older(self.connection, shape, fetched)
        _add_links(self.report.links, resolve_references(self.connection, shape))
        decided = self._plan(shape)
        began = self._spend("plan", began)
        decided = self._write_rows(shape, fetched, decided)
        forget_parked(self.connection, STAGE)
        backfilled = apply.backfill_parents(self.connection, shape, self.run_id)
        found = conflicts.record_conflicts(self.connection, self.entity_id, self.run_id)
        parked = staged.parked + self._parked_in_sql(sources)
        replayed = quarantine.close_loaded(self.connection, self.entity_id, self.run_id)
        waiting_before = len(self.waiting)
        self._park(slice_, parked, self._second_choices(sources))
        usable, updated, kept = self._numbers()
        new, adopted = decided.get("new", 0), decided.get("adopt", 0)
        self._spend("apply", began)
        return Counts(
            read=sum(f.rows for f in slice_.fetches),
            retried=slice_.retried,
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

    def _parked_in_sql(self, sources: list[Batches]) -> list[quarantine.Parked]:
        """The rows the plan or the database refused, with their raw records."""
        rows = self.connection.execute(
            "select _row, _key, reason, column_name, value, message from ls_parked order by _row"
        ).fetchall()
        return self._with_records(sources, rows, "open")

    def _second_choices(self, sources: list[Batches]) -> list[quarantine.Parked]:
        """The rows that were linked although a better alternative of the reference may still arrive."""
        rows = self.connection.execute(
            "select w._row, w._key, 'second_choice', w.column_name, w.value,"
            " format('%s: linked by another column, since no row for \"%s\" is there yet', w.column_name, w.value)"
            " from ls_second_choice w where exists (select 1 from ls_stage s where s._row = w._row) order by w._row"
        ).fetchall()
        return self._with_records(sources, rows, "watching")

    def _with_records(
        self, sources: list[Batches], rows: list[tuple[Any, ...]], status: str
    ) -> list[quarantine.Parked]:
        """Adds the raw records, read again from where they came."""
        wanted: dict[int, dict[int, tuple[Any, ...]]] = {}
        for row, *rest in rows:
            wanted.setdefault(row // _ROWS_PER_FETCH, {})[row % _ROWS_PER_FETCH] = tuple(rest)
        found: list[quarantine.Parked] = []
        for number, places in wanted.items():
            first = 0
            for batch in sources[number].read():
                for place in [p for p in places if first <= p < first + batch.num_rows]:
                    key, reason, column, value, message = places[place]
                    raw = raw_row(batch, place - first)
                    fetched = sources[number].fetched
                    found.append(quarantine.Parked(key, reason, column, value, message, raw, fetched, status))
                first += batch.num_rows
        return found

    def _park(self, slice_: Slice, parked: list[quarantine.Parked], watched: list[quarantine.Parked]) -> None:
        fetches = {fetched_at(f.fetch_id) for f in slice_.fetches}
        fresh = sum(p.fetched in fetches for p in parked)
        too_many = self.mapping.max_parked_share * sum(f.rows for f in slice_.fetches)
        if fresh >= _PARKED_AT_LEAST and fresh > too_many and not self.is_plan:
            raise _too_many_parked(self.mapping, parked, sum(f.rows for f in slice_.fetches))
        discarded: set[str] = set()
        if parked or watched:
            discarded = quarantine.park_rows(
                self.connection,
                self.entity_id,
                slice_.partition,
                parked + watched,
                run_id=self.run_id,
                mapping_version=self.mapping.version,
            )
        self._note_waiting([p for p in parked if p.legacy_key not in discarded])

    def _note_waiting(self, parked: list[quarantine.Parked]) -> None:
        """Keeps the report true: a row parked by an earlier slice may have been loaded by this one."""
        rows = self.connection.execute("select _key from ls_stage where _key = any(%s)", [list(self.waiting)])
        for (key,) in rows.fetchall():
            del self.waiting[key]
        for p in parked:
            self.waiting[p.legacy_key] = ParkedSample(p.legacy_key, p.reason, p.column, p.value, p.message)
        self.report.parked_by_reason = dict(Counter(p.reason for p in self.waiting.values()).most_common())
        self.report.parked_sample = list(islice(self.waiting.values(), _SAMPLE))

    # --- remember ------------------------------------------------------------------------------

    def _remember(self, slice_: Slice, staged: Staged) -> None:
        for target, found in ((self.report.warnings, staged.notes), (self.report.rule_violations, staged.violations)):
            for text, rows in found.items():
                target[text] = target.get(text, 0) + rows
        if not slice_.fetches:
            return
        fetch_ids = [f.fetch_id for f in slice_.fetches]
        runs.remember_fetches(self.connection, self.entity_id, slice_.partition, fetch_ids, self.run_id)
        value = staged.newest_cursor
        if value:  # a cursor ahead of the server's own clock must not hide later changes
            value = min(value, max(f.server_time for f in slice_.fetches).date())
        mark = value.isoformat() if value else None
        runs.move_watermark(self.connection, self.entity_id, slice_.partition, mark, self.run_id)
        self.report.watermark = max(filter(None, (self.report.watermark, mark)), default=None)

    def _shape(self, staged: Staged) -> Shape:
        current, sets = runs.column_sets(self.connection, self.entity_id, self.mapping.columns)
        return Shape(self.mapping, self.table, self.entity_id, current, sets, frozenset(staged.kept))

    def _spend(self, stage: str, began: float) -> float:
        now = time.monotonic()
        self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + now - began
        return now


def fetched_at(fetch_id: str) -> int:
    """The time in a fetch id, as microseconds since 1970."""
    instant = datetime.strptime(fetch_id.split("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    return int(instant.timestamp() * 1_000_000)


def _add_links(total: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> None:
    for column, numbers in more.items():
        mine = total.setdefault(column, {})
        for name, rows in numbers.items():
            mine[name] = mine.get(name, 0) + rows


def _too_many_missing(mapping: Mapping, missing: int, bound: int, sample: list[str]) -> GuardTripped:
    return GuardTripped(
        f"{missing:,} of {bound:,} known records are gone from the legacy table, for example {', '.join(sample)}",
        where=f"load of {mapping.entity}; its rows were loaded, none was marked as deleted",
        next_step=f"look at the table {mapping.source.table} in 4D; if this is right, raise deletes.max_share"
        f" (now {mapping.deletes.max_share}) in the mapping and run again with --full",
    )


def _too_many_parked(mapping: Mapping, parked: list[quarantine.Parked], rows: int) -> GuardTripped:
    reasons = sorted({p.reason for p in parked})
    return GuardTripped(
        f"{len(parked)} of {rows} rows cannot be used ({', '.join(reasons)}), for example {parked[0].message}",
        where=f"load of {mapping.entity}; nothing was written",
        next_step=f"look at the mapping and at the legacy table {mapping.source.table};"
        f" if this is right, raise max_parked_share (now {mapping.max_parked_share}) in the mapping",
    )
