"""Which runs can be undone, which were, and how long are the images kept that this takes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from legacy_sync.errors import RowNotFound, UndoRefused


@dataclass(frozen=True)
class PastRun:
    """A run in the ledger; `undone_by` is the newest run that took it back and was not taken back itself."""

    id: int
    entity_id: int
    entity: str
    mode: str
    outcome: str
    started_at: datetime
    started_by: str
    images_removed_at: datetime | None
    undoes: list[int] | None
    undone_by: int | None
    is_undone_whole: bool


_RUNS = """
select r.id, r.entity_id, e.name as entity, r.mode, r.outcome, r.started_at, r.started_by, r.images_removed_at,
  r.undoes, u.id as undone_by, coalesce((u.report ->> 'skipped')::int, 0) = 0 as is_undone_whole
from legacy_sync.run r join legacy_sync.entity e on e.id = r.entity_id
left join lateral (select x.id, x.report from legacy_sync.run x where x.undoes @> array[r.id]
  and not exists (select from legacy_sync.run y where y.undoes @> array[x.id]
    and not exists (select from legacy_sync.run z where z.undoes @> array[y.id])) order by x.id desc limit 1) u on true
where r.id = any(%s) order by r.id
"""


def get_runs(connection: psycopg.Connection, run_ids: Sequence[int]) -> list[PastRun]:
    """The runs with these numbers, oldest first; raises RowNotFound for one that is not in the ledger."""
    with connection.cursor(row_factory=class_row(PastRun)) as cursor:
        found = cursor.execute(_RUNS, [list(run_ids)]).fetchall()
    missing = sorted(set(run_ids) - {run.id for run in found})
    if missing:
        raise RowNotFound(
            f"there is no run {missing[0]}",
            where="ledger",
            next_step="`legacy-sync export runs` lists all runs with their numbers, `legacy-sync status` the last ones",
        )
    return found


def refuse_impossible(runs: Sequence[PastRun]) -> None:
    """Raises UndoRefused for runs whose images are gone, and for those that were undone already by another run."""
    ids = {run.id for run in runs}
    for run in runs:
        where = f"run {run.id} of {run.entity}"
        if run.images_removed_at:
            raise UndoRefused(
                f"run {run.id} cannot be undone: what it changed is not kept since {run.images_removed_at:%Y-%m-%d}",
                where=where,
                next_step="correct the rows in the ERP; `changes_keep_days` in mappings/environments says how long"
                " changes are kept",
            )
        if run.undone_by and run.is_undone_whole and run.undone_by not in ids:
            raise UndoRefused(
                f"run {run.id} was undone already, by run {run.undone_by}; nothing was written",
                where=where,
                next_step=f"nothing; `legacy-sync undo {run.undone_by}` would take that back",
            )


def note_undoes(connection: psycopg.Connection, undo_run: int, run_ids: Sequence[int]) -> None:
    """Says which runs a run takes back."""
    connection.execute("update legacy_sync.run set undoes = %s where id = %s", [list(run_ids), undo_run])


def note_skipped(connection: psycopg.Connection, undo_run: int, rows: int) -> None:
    """Says how many rows an undo left out, so that the rest may be undone later."""
    connection.execute(
        "update legacy_sync.run set report = report || jsonb_build_object('skipped', %s::int) where id = %s",
        [rows, undo_run],
    )


def remove_old_images(connection: psycopg.Connection, entity_id: int, keep_days: int) -> int:
    """Forgets what runs changed that ended longer ago; returns how many changes that were.

    Kept are rows that were made for others, and what a deletion changed as long as the record is gone: later runs
    ask for these. Such runs cannot be undone any more.
    """
    with connection.transaction():
        old = connection.execute(
            "update legacy_sync.run set images_removed_at = now() where entity_id = %s and images_removed_at is null"
            " and finished_at < now() - make_interval(days => %s) returning id",
            [entity_id, keep_days],
        ).fetchall()
        if not old:
            return 0
        return connection.execute(
            "delete from legacy_sync.change c where c.run_id = any(%s) and c.kind <> 'create'"
            " and not (c.kind = 'delete' and exists (select from legacy_sync.binding b where b.entity_id = c.entity_id"
            "  and b.legacy_key = c.legacy_key and b.missing_since is not null))",
            [[int(run_id) for (run_id,) in old]],
        ).rowcount
