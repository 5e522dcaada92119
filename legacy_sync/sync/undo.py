"""How is what a run did to the ERP taken back? In one transaction, under the locks of all entities it touched.

Rows that changed since stop the whole undo, or are left out if that is wanted. The undo is a run of its own in the
ledger, and can be undone in its turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
from psycopg import errors as pg

from legacy_sync.erp import undo_find, undo_write
from legacy_sync.erp.catalog import find_table
from legacy_sync.erp.database import translated
from legacy_sync.erp.undo_find import Target
from legacy_sync.errors import UndoRefused
from legacy_sync.ledger import runs, undone
from legacy_sync.ledger.undone import PastRun
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

SAMPLE = 20
_AT_MOST = 10_000
_WILL = {
    "set": "restored values count as edits made in the ERP: they stay, also in a full run, until 4D changes them again",
    "remove": "removed rows stay away, as if deleted in the ERP: a later change of their record waits for a person",
    "return": "rows that came back stay, although their record is gone from 4D; should it return, they take its values",
    "leave": "rows that were made for references stay as long as a record of 4D names them",
}


@dataclass
class UndoReport:
    """What an undo did, or would do."""

    runs: list[dict[str, Any]]
    written: bool = False
    """false for a dry run, and if rows that changed since stopped it"""
    undo_runs: dict[str, int] = field(default_factory=dict)
    """the undo's own run of each entity"""
    restored: int = 0
    removed: int = 0
    returned: int = 0
    left: int = 0
    refused: int = 0
    """rows that changed since; skipped if that was wanted"""
    by_table: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """some of the rows, as they are and as they were"""
    will: list[str] = field(default_factory=list)
    """what the next sync will do with them"""
    again: list[str] = field(default_factory=list)
    """how to take the values of 4D on purpose"""
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take back."""
        return not (self.restored or self.removed or self.returned)

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


def undo_runs(
    workspace: Workspace,
    run_ids: Sequence[int],
    *,
    skip_changed: bool = False,
    dry_run: bool = False,
    rows: int = SAMPLE,
    dagster_run_id: str | None = None,
) -> UndoReport:
    """Takes runs back, all in one transaction; returns what was done, with the rows that stand against it.

    Raises RowNotFound for an unknown run, UndoRefused for one that cannot be undone, EntityBusy while one of the
    entities is being loaded. With rows that changed since nothing is written, unless `skip_changed` leaves them out.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        connection = stack.enter_context(workspace.erp())
        stack.enter_context(translated(f"undo of {_names(run_ids)}"))
        entities = undo_find.list_entities(connection, run_ids)
        for entity_id, name in sorted((entities | _writers(workspace, connection, run_ids)).items()):
            stack.enter_context(runs.entity_lock(connection, entity_id, name))
        past = undone.get_runs(connection, list(dict.fromkeys(run_ids)))
        undone.refuse_impossible(past)
        with connection.transaction() as transaction:
            report = _Undo(workspace, connection, past, entities, dagster_run_id).run(skip_changed, rows)
            report.written = not dry_run and not report.is_empty and (skip_changed or not report.refused)
            if not report.written:
                report.undo_runs = {}
                raise psycopg.Rollback(transaction)
    report.seconds = time.monotonic() - began
    logger.info(
        "undo of %s: %s rows restored, %s removed, %s returned, %s changed since%s",
        _names(run_ids),
        *(f"{n:,}" for n in (report.restored, report.removed, report.returned, report.refused)),
        "" if report.written else "; nothing was written",
    )
    return report


def _writers(workspace: Workspace, connection: psycopg.Connection, run_ids: Sequence[int]) -> dict[int, str]:
    """The entities that write the tables these runs changed: they must not bind a row that goes."""
    tables = undo_find.list_tables(connection, run_ids)
    mappings = [m for m in workspace.project.mappings.values() if m.target.table in tables or _bare(m) in tables]
    return {runs.get_entity_id(connection, m.entity): m.entity for m in mappings}


def _names(run_ids: Sequence[int]) -> str:
    return f"run{'s' if len(run_ids) > 1 else ''} {', '.join(map(str, run_ids))}"


class _Undo:
    """One undo in an open transaction."""

    def __init__(
        self,
        workspace: Workspace,
        connection: psycopg.Connection,
        past: Sequence[PastRun],
        entities: Dict[int, str],
        dagster_run_id: str | None,
    ) -> None:
        self.project = workspace.project
        self.connection = connection
        self.past = past
        self.entities = entities
        self.dagster_run_id = dagster_run_id
        self.ids = [run.id for run in past]

    def run(self, skip_changed: bool, rows: int) -> UndoReport:
        """Collects, checks and writes; the caller commits or rolls back."""
        targets = self._begin()
        undo_find.collect(self.connection, self.ids)
        for target in targets:
            undo_find.lock_rows(self.connection, target)
            undo_find.find_problems(self.connection, target, self.ids)
        mine = {name: self._start(name) for name in dict.fromkeys(run.entity for run in self.past)}
        of_run = {run.id: mine[run.entity] for run in self.past}
        self._write(targets, of_run, until_it_works=skip_changed)
        report = self._report(mine, rows)
        self._finish(report, mine, of_run)
        return report

    def _write(self, targets: Sequence[Target], of_run: Dict[int, int], *, until_it_works: bool) -> None:
        """Writes; rows that the database or others stand against are marked, and left out of the next attempt."""
        while True:
            try:
                with self.connection.transaction() as attempt:
                    problems = undo_write.write(self.connection, targets, of_run)
                    if problems:
                        raise psycopg.Rollback(attempt)
            except pg.IntegrityError as error:  # of all rows together, so that no row can be named
                raise UndoRefused(
                    f"the ERP database refuses the undo: {error.diag.message_primary}",
                    where=f"{_names(self.ids)}, table {error.diag.table_name}",
                    next_step="undo fewer runs, or correct the rows by hand; nothing was written",
                ) from error
            undo_write.mark_problems(self.connection, problems)
            if not problems or not until_it_works:
                return

    def _begin(self) -> list[Target]:
        """The temporary tables; returns the ERP tables that are touched."""
        own = {entity_id: self._target(self._table_of(name)) for entity_id, name in self.entities.items()}
        names = {name: self._target(name) for name in undo_find.list_tables(self.connection, self.ids)}
        links = [
            (target.table.name, column, field.reference.to.split(".")[-1])
            for entity_id, target in own.items()
            if (mapping := self.project.mappings.get(self.entities[entity_id]))
            for column, field in mapping.fields.items()
            if field.reference
        ]
        undo_find.begin(self.connection, names, own, links)
        return list({target.table.name: target for target in (*names.values(), *own.values())}.values())

    def _table_of(self, entity: str) -> str:
        mapping = self.project.mappings.get(entity)
        return mapping.target.table if mapping else entity.split(".")[0]

    def _target(self, name: str) -> Target:
        """The table the ledger calls by that name; it leaves the schema out."""
        mappings = [m for m in self.project.mappings.values() if name in (m.target.table, _bare(m))]
        table = find_table(self.connection, mappings[0].target.table if mappings else name)
        if table is None or len(table.primary_key) != 1:
            raise UndoRefused(
                f'the ERP table "{name}" is not there any more',
                where=_names(self.ids),
                next_step="bring the table back, or correct the rows by hand",
            )
        updated_at = next((m.target.updated_at for m in mappings if m.target.updated_at in table.columns), None)
        return Target(table, updated_at)

    def _start(self, entity: str) -> int:
        run = next(run for run in self.past if run.entity == entity)
        mapping = self.project.mappings.get(entity)
        undo_run = runs.start_run(
            self.connection,
            run.entity_id,
            mode="undo",
            mapping_version=mapping.version if mapping else "",
            dagster_run_id=self.dagster_run_id,
        )
        undone.note_undoes(self.connection, undo_run, [r.id for r in self.past if r.entity == entity])
        return undo_run

    def _report(self, mine: dict[str, int], rows: int) -> UndoReport:
        report = UndoReport([_summary(run) for run in self.past], undo_runs=mine)
        for _run, table, effect, count in undo_write.count_effects(self.connection):
            numbers = report.by_table.setdefault(table, {})
            numbers[effect] = numbers.get(effect, 0) + count
        totals = {effect: sum(n.get(effect, 0) for n in report.by_table.values()) for effect in _WILL}
        report.restored, report.removed, report.returned, report.left = totals.values()
        report.refused, report.problems = undo_write.list_problems(self.connection, _AT_MOST)
        report.rows = undo_write.list_rows(self.connection, rows)
        report.will = [text for effect, text in _WILL.items() if totals[effect]]
        report.again = _ways_back(mine, totals, sorted(mine))
        return report

    def _finish(self, report: UndoReport, mine: Dict[str, int], of_run: Dict[int, int]) -> None:
        effects = undo_write.count_effects(self.connection)
        for entity, undo_run in mine.items():
            numbers = RunReport(entity, mode="undo", run_id=undo_run)
            for run_id, _table, effect, count in effects:
                if of_run[run_id] == undo_run:
                    numbers.counts.updated += count if effect == "set" else 0
                    numbers.counts.deleted += count if effect == "remove" else 0
                    numbers.counts.inserted += count if effect == "return" else 0
            runs.finish_run(self.connection, numbers)
            undone.note_skipped(self.connection, undo_run, report.refused)


def _bare(mapping: Mapping) -> str:
    return mapping.target.table.split(".")[-1]


def _summary(run: PastRun) -> dict[str, Any]:
    return {
        "run": run.id,
        "entity": run.entity,
        "mode": run.mode,
        "outcome": run.outcome,
        "started_at": run.started_at.isoformat(),
        "started_by": run.started_by,
    }


def _ways_back(mine: Dict[str, int], totals: Dict[str, int], entities: Sequence[str]) -> list[str]:
    """How a person takes the values of 4D all the same."""
    ways = [f"`legacy-sync undo {' '.join(str(n) for n in mine.values())}` does again what was undone, as it was"]
    if totals["set"]:
        ways.append("save the record in 4D with another value: the next run takes that")
    if totals["remove"]:
        ways.append(f"`legacy-sync reconcile {' '.join(entities)} --repair` loads removed rows anew")
    return ways
