"""Where did both sides change the same value, and who won?"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row


def record_conflicts(connection: psycopg.Connection, entity_id: int, run_id: int) -> int:
    """Writes the conflicts of `ls_cell`: decided ones as history, waiting ones once; returns how many are new."""
    values = {"entity": entity_id, "run": run_id}
    connection.execute(
        "update legacy_sync.conflict c set status = 'settled', closed_at = now(), last_run = %(run)s"
        " from ls_stage s where c.entity_id = %(entity)s and c.status = 'open' and c.legacy_key = s._key"
        " and not exists (select 1 from ls_cell x where x._row = s._row and x.column_name = c.column_name and"
        " x.outcome = 'wait')",
        values,
    )
    row = connection.execute(
        "with waiting as (insert into legacy_sync.conflict as c (entity_id, legacy_key, erp_key, column_name,"
        " base_value,"
        "  legacy_value, erp_value, policy, status, first_run, last_run)"
        " select %(entity)s, _key, erp_key, column_name, base, staged, erp, policy, 'open', %(run)s, %(run)s"
        " from ls_cell where outcome = 'wait'"
        " on conflict (entity_id, legacy_key, column_name) where status = 'open' do update"
        "  set legacy_value = excluded.legacy_value, erp_value = excluded.erp_value, last_run = excluded.last_run"
        "  where (c.legacy_value, c.erp_value) is distinct from (excluded.legacy_value, excluded.erp_value)"
        " returning 1), decided as (insert into legacy_sync.conflict (entity_id, legacy_key, erp_key,"
        " column_name, base_value,"
        "  legacy_value, erp_value, policy, status, winner, first_run, last_run, closed_at)"
        " select %(entity)s, _key, erp_key, column_name, base, staged, erp, policy, 'decided',"
        "  case outcome when 'take' then 'legacy' else 'erp' end, %(run)s, %(run)s, now()"
        " from ls_cell where is_conflict and outcome <> 'wait' returning 1)"
        " select (select count(*) from waiting) + (select count(*) from decided)",
        values,
    ).fetchone()
    return int(row[0]) if row else 0


def list_conflicts(
    connection: psycopg.Connection, *, entity: str | None = None, status: str | None = "open", limit: int = 100
) -> list[dict[str, Any]]:
    """Conflicts with all three values, newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select c.id, e.name as entity, c.legacy_key, c.erp_key, c.column_name, c.base_value,"
            " c.legacy_value, c.erp_value,"
            " c.policy, c.status, c.winner, c.detected_at, c.first_run, c.last_run"
            " from legacy_sync.conflict c join legacy_sync.entity e on e.id = c.entity_id"
            " where (%(entity)s::text is null or e.name = %(entity)s) and (%(status)s::text is null or c.status"
            " = %(status)s)"
            " order by c.id desc limit %(limit)s",
            {"entity": entity, "status": status, "limit": limit},
        ).fetchall()
