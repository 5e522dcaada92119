"""How does one partition get into the ERP? Stage, plan, apply and remember, in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import islice
from typing import Any

import psycopg
import pyarrow as pa

from legacy_sync.erp import apply, checks, deleted, parents, plan, refresh, relink, staging, sweep
from legacy_sync.erp.late_values import fill_late_values
from legacy_sync.erp.references import resolve_references
from legacy_sync.erp.shape import Shape
from legacy_sync.ledger import conflicts, quarantine, row_conflicts, runs, units
from legacy_sync.ledger.other_keys import remember_other_keys
from legacy_sync.mapping.model import NumberRangePartitions, Source
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.sources.cost import NOTHING
from legacy_sync.sources.landing import FULL, LandedFetch, Landing
from legacy_sync.sync.bound import Bound
from legacy_sync.sync.chunks import Batches, Chunk, chunks_of
from legacy_sync.sync.evidence import Gone
from legacy_sync.sync.guards import column_emptied, too_many_parked
from legacy_sync.sync.prefetch import prefetch
from legacy_sync.sync.report import Counts, ParkedSample, RunReport
from legacy_sync.sync.scopes import as_mark
from legacy_sync.sync.session import Session
from legacy_sync.sync.transform import Transform
from legacy_sync.sync.windows import BY_STAMP

_PARKED_AT_LEAST = 20
_EMPTIED_AT_LEAST = 10
_EMPTIED_ALL_OF = 3
_UNFILLED_AT_LEAST = 20
_SAMPLE = 50
_UNIQUE_KEY = ("__KEY",)

State = tuple[RunReport, dict[str, ParkedSample], dict[str, int]]


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
        session: Session,
        landing: Landing,
        bound: Bound,
        run_id: int,
        *,
        is_plan: bool = False,
        accepts: bool = False,
    ) -> None:
        self.is_plan = is_plan
        self.accepts = accepts
        self.session = session
        self.landing = landing
        self.bound = bound
        self.mapping = bound.mapping
        self.entity_id = bound.entity_id
        self.run_id = run_id
        self.transform = Transform(bound.mapping, bound.table, bound.related)
        self.report = RunReport(bound.mapping.entity, run_id=run_id)
        self.waiting: dict[str, ParkedSample] = {}
        """rows parked by this run and not loaded by it since"""
        self.gone: Gone | None = None
        """what is known to be gone since the rows to be loaded were read; set by whoever chooses them"""
        self.unmeant: dict[str, int] = {}
        """records taken in earlier that `where` does not mean any more, and when that was read"""
        self.incomplete: set[str] = set()
        """documents of the mapping's unit that wait as a whole"""

    @property
    def connection(self) -> psycopg.Connection:
        """The connection of now; it is another one after a loss."""
        return self.session.connection

    def state(self) -> State:
        """What was reported so far, to be given to `go_back` when a transaction is rolled back."""
        return deepcopy(self.report), dict(self.waiting), dict(self.unmeant)

    def go_back(self, state: State) -> None:
        """Forgets what was reported since; the report stays the same object."""
        report, waiting, unmeant = state
        vars(self.report).update(vars(deepcopy(report)))
        self.waiting, self.unmeant = dict(waiting), dict(unmeant)

    def load(self, slice_: Slice, on_rows: Callable[[int], None] = lambda _: None) -> Counts:
        """Brings one slice into the ERP, again as a whole if need be."""
        landed = [Batches(f.fetched_at, partial(self._read, f)) for f in slice_.fetches if f.rows]
        work = partial(self._load, slice_, [*slice_.replays, *landed], on_rows)
        return self.session.whole(self.where(f"partition {slice_.partition}"), work)

    def where(self, part: str) -> str:
        """A part of the load, for messages."""
        return f"load of {self.mapping.entity}, {part}"

    def _read(self, fetch: LandedFetch) -> Iterator[pa.RecordBatch]:
        return self.gone.read(self.landing, fetch) if self.gone else self.landing.read(fetch)

    def load_stream(self, partition: str, rows: Batches, commit: Callable[[], list[LandedFetch]]) -> Slice:
        """Brings rows into the ERP while they are being fetched; `commit` ends the fetch before anything is committed.

        ERP rows stay locked until then, so this is only for entities that have no row in the ERP yet.
        """
        with self.session.once(self.where(f"partition {partition}")):
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

    def note_unfilled(self) -> None:
        """Reports the columns that had nothing but their default, although every row of the table was read."""
        for column in self.transform.unfilled if self.report.counts.read >= _UNFILLED_AT_LEAST else ():
            self.report.warnings[f"{column}: the default in every row"] = self.report.counts.read

    def relink(self) -> None:
        """Links rows that were loaded without a parent which is there now."""
        self.session.whole(self.where("parents that came late"), self._relink)

    def _relink(self) -> None:
        shape = self.bound.shape(self.connection)
        self.report.counts.relinked += relink.relink(self.connection, shape, self.run_id)

    def stage(self, chunk: Chunk) -> Shape:
        """Stages the rows of a portion as they would be loaded, with their references found; nothing is decided."""
        self._stage(Slice("", [], []), chunk)
        shape = self.bound.shape(self.connection, chunk.kept)
        resolve_references(self.connection, shape, self.run_id)
        fill_late_values(self.connection, shape)
        return shape

    @property
    def may_have_doubles(self) -> bool:
        """Whether two records of the source can have one key."""
        return not _has_unique_keys(self.mapping.source)

    # --- one chunk: stage, plan, apply -----------------------------------------------------------

    def _load_chunk(self, slice_: Slice, chunk: Chunk) -> Counts:
        began = time.monotonic()
        self.report.seconds["transform"] = self.report.seconds.get("transform", 0.0) + chunk.seconds
        self._stage(slice_, chunk)
        began = self._spend("stage", began)
        shape = self.bound.shape(self.connection, chunk.kept)
        older = plan.drop_older(self.connection, shape, chunk.fetched)
        self._refuse_emptied_columns(shape, chunk)
        self._note_unmeant(chunk)
        links = resolve_references(self.connection, shape, self.run_id)
        if not slice_.replays:
            _add_links(self.report.links, links)
        fill_late_values(self.connection, shape)
        decided = self._plan(shape, chunk.fetched)
        began = self._spend("plan", began)
        decided = self._write_rows(shape, chunk.fetched, decided)
        staging.forget_parked(self.connection, staging.STAGE)
        counts = self._write_around(shape, decided)
        counts.conflicts = self._record_conflicts(shape, chunk)
        counts.replayed = quarantine.close_loaded(self.connection, self.entity_id, self.run_id)
        waiting_before = len(self.waiting)
        self._park(slice_.partition, chunk)
        usable, counts.updated, counts.kept = self._numbers()
        counts.inserted, counts.adopted = decided.get("new", 0), decided.get("adopt", 0)
        written = counts.inserted + counts.updated + counts.adopted
        counts.unchanged = 0 if slice_.replays else usable + older - written
        counts.parked = len(self.waiting) - waiting_before
        counts.ignored = chunk.ignored
        counts.created = sum(numbers.get("created", 0) for numbers in links.values())
        self._sum_up(chunk)
        self._spend("apply", began)
        return counts

    def _write_around(self, shape: Shape, decided: dict[str, int]) -> Counts:
        """What follows from the written rows in other tables and in the ledger."""
        counts = Counts()
        if self.mapping.source.other_keys:
            remember_other_keys(self.connection, self.entity_id, self.mapping.source.other_keys)
        relink.remember_unlinked(self.connection, shape)
        counts.backfilled = parents.backfill_parents(self.connection, shape, self.run_id)
        if not decided:
            return counts
        counts.derived = parents.derive_parents(self.connection, shape, self.run_id)
        if self.bound.dependents:
            refresh.note_touched(self.connection, shape)
        for dependent in self.bound.dependents:
            there = dependent.shape(self.connection)
            counts.derived += refresh.refresh_compositions(self.connection, shape, there, self.run_id)
        if self.mapping.unit:
            units.note_loaded(self.connection)
        return counts

    def _record_conflicts(self, shape: Shape, chunk: Chunk) -> int:
        """Keeps the waiting conflicts and their records up to date; returns how many are new."""
        if not conflicts.has_conflicts(self.connection, self.entity_id):
            return 0
        found = conflicts.record_conflicts(self.connection, shape, self.run_id)
        found += row_conflicts.record_deleted(self.connection, shape, self.run_id)
        if rows := conflicts.find_without_record(self.connection, self.entity_id):
            records = ((key, chunk.record_of(row), chunk.fetched_of(row)) for row, key in rows)
            conflicts.keep_records(self.connection, self.entity_id, records)
        conflicts.forget_records(self.connection, self.entity_id)
        return found

    def _note_unmeant(self, chunk: Chunk) -> None:
        """Keeps the newest word on each record: meant by the mapping, or no longer."""
        if chunk.unmeant:
            known = runs.find_known(self.connection, self.entity_id, list(chunk.unmeant))
            self.unmeant |= {key: chunk.unmeant[key] for key in known}
        if self.unmeant:
            rows = self.connection.execute(
                "select _key, _row from ls_stage where _key = any(%s)", [list(self.unmeant)]
            ).fetchall()
            for key, row in rows:
                if chunk.fetched_of(row) > self.unmeant[key]:
                    del self.unmeant[key]

    def _refuse_emptied_columns(self, shape: Shape, chunk: Chunk) -> None:
        """Raises GuardTripped when an attribute that had values is null in every row: a right was taken away."""
        emptied = plan.find_emptied(self.connection, shape, [c for c in chunk.empty or () if c not in chunk.kept])
        for column, (changed, bound) in emptied.items():
            is_all = changed == bound >= _EMPTIED_ALL_OF
            if not self.accepts and (is_all or (changed >= _EMPTIED_AT_LEAST and changed > bound / 2)):
                raise column_emptied(self.mapping, column, chunk.rows, changed)

    def _stage(self, slice_: Slice, chunk: Chunk) -> None:
        columns = self.transform.staged_columns
        staging.create_stage(self.connection, columns)
        for part in chunk.encoded:
            staging.copy_batch(self.connection, [c.name for c in columns if c.copied], part)
        staging.settle_types(self.connection, columns)
        if len(chunk.fetched) > 1:
            staging.drop_superseded(self.connection)
            self._settle_parked(chunk)
        if not slice_.replays and not _has_unique_keys(self.mapping.source):
            self._settle_doubles()
        if self.mapping.unit and self.incomplete:
            spared = deleted.is_deleted(self.bound.shape(self.connection))
            staging.park_units(self.connection, sorted(self.incomplete), self.mapping.unit.key, spared)
        self.connection.execute("analyze ls_stage (_row, _key)")

    def _settle_doubles(self) -> None:
        """Of several records with one key one counts, as declared; 4D's own keys are never double."""
        policy = self.mapping.source.duplicates
        if policy == "park":
            staging.park_doubles(self.connection, self.entity_id, self.run_id)
            return
        if policy == "first_wins":
            staging.drop_known(self.connection, self.entity_id, self.run_id)
        if staging.has_doubles(self.connection):
            staging.drop_superseded(self.connection, keep="oldest" if policy == "first_wins" else "newest")

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

    def _plan(self, shape: Shape, fetched: list[int]) -> dict[str, int]:
        """Decides every row; returns how many rows have which decision."""
        connection = self.connection
        if self.mapping.deletes.policy == "delete":
            sweep.forget_deleted(connection, shape)
        plan.classify(connection, shape)
        decided = plan.count_decisions(connection)
        if "gone" in decided:
            deleted.decide_deleted(connection, shape, self.run_id, fetched, self.incomplete)
            decided = plan.count_decisions(connection)
        if "new" in decided:
            plan.adopt(connection, shape)
            plan.park_unfit_inserts(connection, shape)
        if decided := plan.count_decisions(connection):
            if decided.keys() & {"differs", "adopt"}:
                plan.lock_rows(connection, shape)
                plan.compare_cells(connection, shape)
            checks.park_checks(connection, shape)
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
            sweep.restore_returned(self.connection, shape, self.run_id)
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
            raise too_many_parked(self.mapping, counts, self.waiting)

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
        runs.note_newest(self.connection, self.entity_id, max(f.fetched_at for f in slice_.fetches))
        self._count_cost(slice_)
        runs.remember_fetches(self.connection, self.entity_id, slice_.partition, fetch_ids, self.run_id)
        value, fetched_on = newest_cursor, max(f.server_time for f in slice_.fetches).date()
        if slice_.partition == BY_STAMP:
            stamp = as_mark(slice_.fetches[-1].stamp or 0)
            runs.set_mark(self.connection, self.entity_id, BY_STAMP, stamp, self.run_id)
            return
        if isinstance(self.mapping.partitions, NumberRangePartitions):
            value = fetched_on  # old slices change at any time, and rows of the last day are always read again
        elif value:  # a cursor ahead of the server's own clock must not hide later changes
            value = min(value, fetched_on)
        mark = value.isoformat() if value else None
        move = runs.set_mark if slice_.fetches[0].mode == FULL else runs.move_watermark
        move(self.connection, self.entity_id, slice_.partition, mark, self.run_id)
        self.report.watermark = max(filter(None, (self.report.watermark, mark)), default=None)

    def _count_cost(self, slice_: Slice) -> None:
        """Adds what the fetches cost; not again for those that were taken in before."""
        known = runs.find_takers(self.connection, slice_.partition, [f.fetch_id for f in slice_.fetches])
        for fetch in slice_.fetches:
            takers = known.get(fetch.fetch_id, set())
            if self.entity_id not in takers:
                cost = NOTHING if takers else fetch.cost
                self.report.taken.add(fetch.rows, cost, fetch.all_rows_because, fetch.changes_up_to)

    def _spend(self, stage: str, began: float) -> float:
        now = time.monotonic()
        self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + now - began
        return now


def _has_unique_keys(source: Source) -> bool:
    """Whether two records can never have one key: 4D gives each of its rows one of its own."""
    return source.server == FOUR_D and source.key == _UNIQUE_KEY and not source.key_cast


def _with_record(chunk: Chunk, row: tuple[Any, ...], status: str) -> quarantine.Parked:
    number, key, reason, column, value, message = row
    record, fetched = chunk.record_of(number), chunk.fetched_of(number)
    return quarantine.Parked(key, reason, column, value, message, record, fetched, status)


def _add_links(total: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> None:
    for column, numbers in more.items():
        mine = total.setdefault(column, {})
        for name, rows in numbers.items():
            mine[name] = mine.get(name, 0) + rows
