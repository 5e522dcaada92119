"""What does the ledger know of one record: its row, every run that touched it, what waits, and its landed values?"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

_BINDING = """
select b.legacy_key, b.erp_key, b.origin, b.created_run, b.changed_run, b.missing_since, b.kept_at,
  to_timestamp(b.fetched / 1e6) as fetched_at, s.names as columns, b.base, b.erp_base
from legacy_sync.binding b join legacy_sync.column_set s on s.id = b.column_set_id
where b.entity_id = %(entity)s and b.legacy_key = %(key)s
"""
_CHANGES = """
select c.run_id, r.mode, r.started_at, r.started_by, r.undoes, n.name as entity, c.kind, c.erp_table, c.columns,
  c.before, c.after
from legacy_sync.change c join legacy_sync.run r on r.id = c.run_id join legacy_sync.entity n on n.id = c.entity_id
where c.entity_id = %(entity)s and c.legacy_key = %(key)s
   or c.erp_key = %(row)s and c.erp_table = %(table)s
order by c.id
"""
_INSERT = """
select r.id as run_id, r.mode, r.started_at, r.started_by, b.origin
from legacy_sync.binding b join legacy_sync.run r on r.id = b.created_run
where b.entity_id = %(entity)s and b.legacy_key = %(key)s
"""
_QUARANTINE = """
select id, status, reason, column_name, value, message, parked_at, closed_at, closed_by, comment
from legacy_sync.quarantine where entity_id = %(entity)s and legacy_key = %(key)s order by id
"""
_CONFLICTS = """
select id, sort, status, nullif(column_name, '') as column_name, base_value, legacy_value, erp_value, policy, winner,
  decided_by, comment, detected_at, closed_at
from legacy_sync.conflict where entity_id = %(entity)s and legacy_key = %(key)s order by id
"""


def find_binding(connection: psycopg.Connection, entity_id: int, key: str) -> dict[str, Any] | None:
    """Which row the record is, and what both sides last agreed on; None if it was never loaded."""
    found = _read(connection, _BINDING, {"entity": entity_id, "key": key})
    return found[0] if found else None


def find_key(connection: psycopg.Connection, entity_id: int, erp_key: str) -> str | None:
    """The legacy key of an ERP row; None if no record of the entity is that row."""
    row = connection.execute(
        "select legacy_key from legacy_sync.binding where entity_id = %s and erp_key = %s order by missing_since nulls"
        " first limit 1",
        [entity_id, erp_key],
    ).fetchone()
    return str(row[0]) if row else None


def list_events(
    connection: psycopg.Connection, entity_id: int, key: str, table: str, erp_key: str | None
) -> list[dict[str, Any]]:
    """Every run that touched the row, oldest first: who, when, kind, columns with old and new values."""
    values = {"entity": entity_id, "key": key, "table": table, "row": erp_key}
    inserts = _read(connection, _INSERT, values)
    events = [{**row, "kind": row.pop("origin"), "values": []} for row in inserts]
    adopted = {event["run_id"] for event in events if event["kind"] == "adopt"}
    for row in _read(connection, _CHANGES, values):
        if row["kind"] == "adopt" and row["run_id"] in adopted:
            events = [event for event in events if event["run_id"] != row["run_id"]]
        changed = zip(row.pop("columns"), row.pop("before"), row.pop("after"), strict=True)
        events.append({**row, "values": [{"column": c, "old": old, "new": new} for c, old, new in changed]})
    return events


def list_parked(connection: psycopg.Connection, entity_id: int, key: str) -> list[dict[str, Any]]:
    """The quarantine entries of the record, oldest first."""
    return _read(connection, _QUARANTINE, {"entity": entity_id, "key": key})


def list_conflicts(connection: psycopg.Connection, entity_id: int, key: str) -> list[dict[str, Any]]:
    """The conflicts of the record, oldest first."""
    return _read(connection, _CONFLICTS, {"entity": entity_id, "key": key})


def find_near(connection: psycopg.Connection, entity_id: int, key: str, limit: int) -> list[str]:
    """Known keys that begin, end or go on like this one."""
    rows = connection.execute(
        "select distinct legacy_key from (select legacy_key from legacy_sync.binding where entity_id = %(entity)s"
        " union all select legacy_key from legacy_sync.quarantine where entity_id = %(entity)s) k"
        " where position(lower(%(key)s) in lower(legacy_key)) > 0"
        " order by 1 limit %(limit)s",
        {"entity": entity_id, "key": key, "limit": limit},
    )
    return [str(found) for (found,) in rows.fetchall()]


def _read(connection: psycopg.Connection, query: LiteralString, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()
