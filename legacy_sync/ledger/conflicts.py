"""Where did both sides change the same value, and who won?

A conflict keeps the three values it was found with. When a side changes while it waits, it is closed and another one
follows it: whoever chooses by its number means what they saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Json

from legacy_sync.erp.shape import Shape
from legacy_sync.errors import RowNotFound
from legacy_sync.ledger.quarantine import storable

LEGACY_CHANGED = "a later change in the legacy system"
ERP_CHANGED = "a later change in the ERP"
BOTH_CHANGED = "later changes on both sides"


def has_conflicts(connection: psycopg.Connection, entity_id: int) -> bool:
    """Whether any conflict is open, or was found in the staged rows: a cheap first look."""
    row = connection.execute(
        "select exists (select from legacy_sync.conflict where entity_id = %s and status = 'open')"
        " or exists (select from ls_cell where outcome = 'wait' or is_conflict) or exists (select from ls_gone)",
        [entity_id],
    ).fetchone()
    return bool(row and row[0])


def record_conflicts(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Writes the conflicts of `ls_cell`: decided ones as history, waiting ones once; returns how many are new.

    Open ones of staged rows are closed when they were decided, when a side changed, or when the sides agree.
    """
    values = {"entity": shape.entity_id, "run": run_id}
    connection.execute(sql.SQL(_CLOSE).format(staged=_staged(shape), **_SIDES), values)
    return connection.execute(_INSERT, values).rowcount


_SIDES = {"legacy": sql.Literal(LEGACY_CHANGED), "erp": sql.Literal(ERP_CHANGED), "both": sql.Literal(BOTH_CHANGED)}
_CLOSE = """
update legacy_sync.conflict c set closed_at = now(), last_run = %(run)s, winner = d.winner,
  status = case when d.winner is null then 'settled' else 'decided' end,
  decided_by = case when d.choice is not null then c.chosen_by
    when d.winner is not null then case when d.is_first then 'adoption policy ' else 'policy ' end || d.policy
    when d.legacy_now is distinct from c.legacy_value and d.erp_now is distinct from c.erp_value then {both}
    when d.legacy_now is distinct from c.legacy_value then {legacy}
    when d.erp_now is distinct from c.erp_value then {erp} else 'a change of the mapping' end
from (
  select k.id, x.choice, x.policy, x.is_first, n.legacy_now, n.erp_now,
    case when x.choice is not null then x.choice
      when x.outcome <> 'wait' and (x.is_conflict or x.is_first) and n.is_as_seen
      then case x.outcome when 'take' then 'legacy' else 'erp' end end as winner
  from legacy_sync.conflict k join ls_stage s on s._key = k.legacy_key
  left join ls_cell x on x._row = s._row and x.column_name = k.column_name
  cross join lateral (select case when x._row is null then {staged} else x.staged end as legacy_now,
    case when x._row is null then {staged} else x.erp end as erp_now,
    (x.staged, x.erp) is not distinct from (k.legacy_value, k.erp_value) as is_as_seen) n
  where k.entity_id = %(entity)s and k.status = 'open' and k.sort = 'value'
    and not (x._row is not null and x.outcome = 'wait' and n.is_as_seen)
) d where d.id = c.id
"""
_INSERT = """
insert into legacy_sync.conflict (entity_id, legacy_key, erp_key, column_name, base_value, legacy_value, erp_value,
  policy, is_first, follows, first_run, last_run, detected_at, status, winner, decided_by, closed_at)
select %(entity)s, x._key, x.erp_key, x.column_name, x.base, x.staged, x.erp, x.policy, x.is_first, f.id,
  coalesce(f.first_run, %(run)s), %(run)s, coalesce(f.detected_at, now()),
  case x.outcome when 'wait' then 'open' else 'decided' end,
  case x.outcome when 'take' then 'legacy' when 'keep' then 'erp' end,
  case when x.outcome <> 'wait' then 'policy ' || x.policy end, case when x.outcome <> 'wait' then now() end
from ls_cell x left join legacy_sync.conflict f on f.id = x.conflict_id
where (x.outcome = 'wait' or (x.is_conflict and x.choice is null))
  and (x.conflict_id is null or (x.staged, x.erp) is distinct from (x.seen_legacy, x.seen_erp))
"""


def _staged(shape: Shape) -> sql.Composed:
    """The staged value, as text, of the column that the conflict `k` is about."""
    cases = [sql.SQL("when {} then {}::text").format(sql.Literal(c), shape.staged(c)) for c in shape.columns]
    return sql.SQL("case k.column_name {} end").format(sql.SQL(" ").join(cases))


def settle(
    connection: psycopg.Connection, entity_id: int, keys: Sequence[str], sorts: Sequence[str] = ("value",)
) -> None:
    """Closes what waits of these records: they have no row any more in which anybody could decide."""
    if keys:
        connection.execute(
            "update legacy_sync.conflict set status = 'settled', closed_at = now(), decided_by = 'the row is gone'"
            " where entity_id = %s and status = 'open' and sort = any(%s) and legacy_key = any(%s)",
            [entity_id, list(sorts), list(keys)],
        )


# --- records -------------------------------------------------------------------------------------


def find_without_record(connection: psycopg.Connection, entity_id: int) -> list[tuple[int, str]]:
    """Staged rows (number, key) with an open conflict whose record is not kept, or not as new as what is loaded."""
    rows = connection.execute(
        "select s._row, s._key from ls_stage s where exists (select from legacy_sync.conflict c"
        "  where c.entity_id = %(entity)s and c.legacy_key = s._key and c.status = 'open')"
        " and not exists (select from legacy_sync.conflict_record r join legacy_sync.binding b"
        "  on b.entity_id = r.entity_id and b.legacy_key = r.legacy_key where r.entity_id = %(entity)s"
        "  and r.legacy_key = s._key and r.fetched >= b.fetched)",
        {"entity": entity_id},
    )
    return [(int(number), str(key)) for number, key in rows.fetchall()]


def keep_records(
    connection: psycopg.Connection, entity_id: int, records: Iterable[tuple[str, dict[str, Any], int]]
) -> None:
    """Keeps the records (key, record, when it was read) of open conflicts, and forgets those that need none."""
    connection.execute("create temp table if not exists ls_record (legacy_key text, row json, fetched bigint)")
    with connection.cursor() as cursor, cursor.copy("copy ls_record from stdin") as copy:
        copy.set_types(["text", "json", "int8"])
        for key, row, fetched in records:
            copy.write_row((key, Json(storable(row)), fetched))
    connection.execute(
        "insert into legacy_sync.conflict_record (entity_id, legacy_key, row, fetched)"
        " select %s, legacy_key, row, fetched from ls_record on conflict (entity_id, legacy_key)"
        " do update set row = excluded.row, fetched = excluded.fetched",
        [entity_id],
    )
    connection.execute("truncate ls_record")


def forget_records(connection: psycopg.Connection, entity_id: int) -> None:
    """Forgets the records of which no conflict is open any more."""
    connection.execute(
        "delete from legacy_sync.conflict_record r where r.entity_id = %s and not exists (select from"
        " legacy_sync.conflict c where c.entity_id = r.entity_id and c.legacy_key = r.legacy_key"
        "  and c.status = 'open')",
        [entity_id],
    )


# --- look ----------------------------------------------------------------------------------------


def list_conflicts(
    connection: psycopg.Connection,
    *,
    ids: Sequence[int] | None = None,
    entity: str | None = None,
    column: str | None = None,
    status: str | None = "open",
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Conflicts with all three values, newest first. Those about whole rows have no column, and say which changed."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            _LOOK + " where (%(ids)s::bigint[] is null or c.id = any(%(ids)s))"
            " and (%(entity)s::text is null or e.name = %(entity)s)"
            " and (%(column)s::text is null or c.column_name = %(column)s)"
            " and (%(status)s::text is null or c.status = %(status)s) order by c.id desc limit %(limit)s",
            {"ids": ids, "entity": entity, "column": column, "status": status, "limit": limit},
        ).fetchall()


def get_conflict(connection: psycopg.Connection, number: int) -> dict[str, Any]:
    """One conflict, with the record if it is kept; raises RowNotFound."""
    found = list_conflicts(connection, ids=[number], status=None)
    if not found:
        raise RowNotFound(
            f"there is no conflict {number}",
            where="conflicts",
            next_step="see `legacy-sync conflicts list --status all` for the numbers",
        )
    with connection.cursor(row_factory=dict_row) as cursor:
        cells = cursor.execute(
            "select column_name, base_value, legacy_value, erp_value from legacy_sync.conflict_cell"
            " where conflict_id = %s order by 1",
            [number],
        ).fetchall()
        record = cursor.execute(
            "select r.row, r.fetched from legacy_sync.conflict c join legacy_sync.conflict_record r"
            " using (entity_id, legacy_key) where c.id = %s and c.status = 'open'",
            [number],
        ).fetchone()
    return {**found[0], "cells": cells, "record": record["row"] if record else None}


_LOOK = """
select c.id, e.name as entity, c.sort, c.legacy_key, c.erp_key, nullif(c.column_name, '') as column_name,
  case c.sort when 'value' then c.base_value else w.base end as base_value,
  case c.sort when 'value' then c.legacy_value when 'gone_in_legacy' then 'deleted' else w.legacy end as legacy_value,
  case c.sort when 'value' then c.erp_value when 'gone_in_erp' then 'deleted' else w.erp end as erp_value,
  c.policy, c.status, c.winner, c.decided_by, c.choice, c.chosen_value, c.chosen_by, c.chosen_at, c.comment, c.refusal,
  c.detected_at, c.closed_at, c.first_run, c.last_run, c.follows,
  (select n.id from legacy_sync.conflict n where n.follows = c.id and n.entity_id = c.entity_id
    and n.legacy_key = c.legacy_key order by n.id desc limit 1) as followed_by,
  exists (select from legacy_sync.conflict_record r where r.entity_id = c.entity_id
    and r.legacy_key = c.legacy_key) as has_record
from legacy_sync.conflict c join legacy_sync.entity e on e.id = c.entity_id
left join lateral (select
  string_agg(x.column_name || '=' || coalesce(x.base_value, '-'), ', ' order by x.column_name) as base,
  string_agg(x.column_name || '=' || coalesce(x.legacy_value, '-'), ', ' order by x.column_name) as legacy,
  string_agg(x.column_name || '=' || coalesce(x.erp_value, '-'), ', ' order by x.column_name) as erp
  from legacy_sync.conflict_cell x where x.conflict_id = c.id and c.sort <> 'value') w on true
"""
