"""What does the ledger hand out as a whole? Runs, changes, parked rows, conflicts and bindings, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

WHAT = {
    "runs": (
        "select r.id as run, e.name as entity, r.mode, r.outcome, r.started_at, r.finished_at, r.started_by,"
        " r.accepted_by, r.dagster_run_id, r.undoes, r.partitions, r.counts, r.message, r.mapping_version"
        " from legacy_sync.run r join legacy_sync.entity e on e.id = r.entity_id",
        "r.id",
        "r.started_at",
    ),
    "changes": (
        "select c.id, r.id as run, r.started_at, r.started_by, e.name as entity, c.legacy_key, c.erp_table, c.erp_key,"
        " c.kind, v.column_name, v.before, v.after from legacy_sync.change c join legacy_sync.run r on r.id = c.run_id"
        " join legacy_sync.entity e on e.id = c.entity_id"
        " cross join lateral unnest(c.columns, c.before, c.after) v(column_name, before, after)",
        "r.id",
        "r.started_at",
    ),
    "quarantine": (
        "select q.id, e.name as entity, q.legacy_key, q.status, q.reason, q.column_name, q.value, q.message,"
        " q.parked_at, q.closed_at, q.closed_by, q.comment, q.first_run, q.last_run, q.row"
        " from legacy_sync.quarantine q join legacy_sync.entity e on e.id = q.entity_id",
        "q.last_run",
        "q.parked_at",
    ),
    "conflicts": (
        "select k.id, e.name as entity, k.sort, k.legacy_key, k.erp_key, nullif(k.column_name, '') as column_name,"
        " k.base_value, k.legacy_value, k.erp_value, k.policy, k.status, k.winner, k.decided_by, k.comment,"
        " k.detected_at, k.closed_at, k.first_run, k.last_run"
        " from legacy_sync.conflict k join legacy_sync.entity e on e.id = k.entity_id",
        "k.last_run",
        "k.detected_at",
    ),
    "bindings": (
        "select e.name as entity, b.legacy_key, b.erp_key, b.origin, b.created_run, b.changed_run, b.missing_since"
        " from legacy_sync.binding b join legacy_sync.entity e on e.id = b.entity_id"
        " left join legacy_sync.run r on r.id = b.changed_run",
        "b.changed_run",
        "r.started_at",
    ),
}
"""what can be exported: the query, and the columns that a run and a period choose by"""


def read_export(
    connection: psycopg.Connection,
    what: str,
    *,
    entity: str | None = None,
    run_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    """The column names with portions of rows, at least one; in the order they were written."""
    query, run, at = WHAT[what]
    order = "1, 2" if what == "bindings" else query.removeprefix("select ").split(",")[0].split(" as ")[0]
    with connection.cursor(name="ls_export") as cursor:
        cursor.execute(
            sql.SQL(
                "{query} where (%(entity)s::text is null or e.name = %(entity)s)"
                " and (%(run)s::bigint is null or {run} = %(run)s)"
                " and (%(since)s::timestamptz is null or {at} >= %(since)s)"
                " and (%(until)s::timestamptz is null or {at} < %(until)s) order by {order}"
            ).format(query=sql.SQL(query), run=sql.SQL(run), at=sql.SQL(at), order=sql.SQL(order)),
            {"entity": entity, "run": run_id, "since": since, "until": until},
        )
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchmany(5_000)
        yield names, rows
        while rows := cursor.fetchmany(5_000):
            yield names, rows
