"""Which rows did one side delete and the other change? Conflicts about whole rows, with the columns that changed."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape
from legacy_sync.ledger.conflicts import ERP_CHANGED, LEGACY_CHANGED, forget_records

GONE = "the record is gone from the legacy table"
_WORDS = {"legacy": sql.Literal(LEGACY_CHANGED), "erp": sql.Literal(ERP_CHANGED)}


# --- deleted in the ERP, changed in the legacy system ------------------------------------------------


def record_deleted(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Writes down what `ls_gone` says of staged rows; returns how many conflicts are new.

    A record that is here again after it was gone closes the conflict about that.
    """
    values = {"entity": shape.entity_id, "run": run_id, "policy": shape.mapping.deletes.in_erp}
    there = sql.SQL(
        "exists (select from legacy_sync.binding b join {} e on e.{} = b.erp_key::{}"
        " where b.entity_id = %(entity)s and b.legacy_key = k.legacy_key)"
    ).format(shape.erp, shape.pk, shape.pk_type)
    connection.execute(sql.SQL(_CLOSE_DELETED).format(there=there, **_WORDS), values)
    return _count(connection, _INSERT_DELETED, values)


_CLOSE_DELETED = """
update legacy_sync.conflict c set closed_at = now(), last_run = %(run)s, winner = d.winner,
  status = case when d.winner is null then 'settled' else 'decided' end,
  decided_by = case when d.winner is not null then d.by when d.is_there and c.sort = 'gone_in_erp' then {erp}
    else {legacy} end
from (
  select k.id, {there} as is_there, g.by,
    case when g.is_as_seen and k.sort = 'gone_in_erp' then g.verdict end as winner
  from legacy_sync.conflict k join ls_stage s on s._key = k.legacy_key left join ls_gone g on g._row = s._row
  where k.entity_id = %(entity)s and k.status = 'open' and k.sort <> 'value'
    and not coalesce(k.sort = 'gone_in_erp' and g.verdict = 'wait' and g.is_as_seen, false)
) d where d.id = c.id
"""
_INSERT_DELETED = """
with made as (
  insert into legacy_sync.conflict (entity_id, sort, legacy_key, erp_key, column_name, policy, follows, first_run,
    last_run, detected_at, status, winner, decided_by, closed_at)
  select %(entity)s, 'gone_in_erp', g._key, g.erp_key, '', %(policy)s, f.id, coalesce(f.first_run, %(run)s), %(run)s,
    coalesce(f.detected_at, now()), case g.verdict when 'wait' then 'open' else 'decided' end,
    nullif(g.verdict, 'wait'), case when g.verdict <> 'wait' then g.by end,
    case when g.verdict <> 'wait' then now() end
  from ls_gone g join ls_stage s using (_row) left join legacy_sync.conflict f on f.id = g.conflict_id
  where not g.is_as_seen returning id, legacy_key
), cells as (
  insert into legacy_sync.conflict_cell (conflict_id, column_name, base_value, legacy_value)
  select m.id, x.column_name, x.base, x.staged from made m join ls_gone g on g._key = m.legacy_key
  join ls_gone_cell x on x._row = g._row
) select count(*) from made
"""


# --- gone in the legacy system, edited in the ERP -----------------------------------------------------


def record_edited(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Writes down what `ls_edited` says of the entity's rows whose record is gone; returns how many conflicts are new.

    A choice for the legacy side stays open until it is carried out.
    """
    values = {"entity": shape.entity_id, "run": run_id, "policy": shape.mapping.deletes.policy_of_edited}
    connection.execute(sql.SQL(_CLOSE_EDITED).format(**_WORDS), values)
    return _count(connection, _INSERT_EDITED, values)


_CLOSE_EDITED = """
update legacy_sync.conflict c set closed_at = now(), last_run = %(run)s, winner = d.winner,
  status = case when d.winner is null then 'settled' else 'decided' end,
  decided_by = case when d.winner is not null then d.by when d.is_back then {legacy} else {erp} end
from (
  select k.id, b.missing_since is null and x._key is null as is_back, x.by,
    case when x.is_as_seen and x.verdict in ('legacy', 'erp') then x.verdict end as winner
  from legacy_sync.conflict k
  left join legacy_sync.binding b on b.entity_id = k.entity_id and b.legacy_key = k.legacy_key
  left join ls_edited x on x._key = k.legacy_key
  where k.entity_id = %(entity)s and k.status = 'open' and k.sort = 'gone_in_legacy'
    and not coalesce(x.verdict = 'wait' and x.is_as_seen or x.verdict = 'legacy' and not x.is_done, false)
) d where d.id = c.id
"""
_INSERT_EDITED = """
with made as (
  insert into legacy_sync.conflict (entity_id, sort, legacy_key, erp_key, column_name, policy, follows, first_run,
    last_run, detected_at, status, winner, decided_by, closed_at)
  select %(entity)s, 'gone_in_legacy', x._key, x.erp_key, '', %(policy)s, f.id, coalesce(f.first_run, %(run)s),
    %(run)s, coalesce(f.detected_at, now()), case x.verdict when 'wait' then 'open' else 'decided' end,
    nullif(x.verdict, 'wait'), case when x.verdict <> 'wait' then x.by end,
    case when x.verdict <> 'wait' then now() end
  from ls_edited x left join legacy_sync.conflict f on f.id = x.conflict_id
  where not x.is_as_seen and (x.verdict in ('wait', 'erp') or x.verdict = 'legacy' and x.is_done)
  returning id, legacy_key
), cells as (
  insert into legacy_sync.conflict_cell (conflict_id, column_name, base_value, erp_value)
  select m.id, x.column_name, x.base, x.erp from made m join ls_edited_cell x on x._key = m.legacy_key
) select count(*) from made
"""


def has_open_gone(connection: psycopg.Connection, entity_id: int) -> bool:
    """Whether rows wait whose record is gone."""
    return (
        connection.execute(
            "select from legacy_sync.conflict where entity_id = %s and status = 'open' and sort = 'gone_in_legacy'"
            " limit 1",
            [entity_id],
        ).rowcount
        > 0
    )


def close_unmeant(connection: psycopg.Connection, entity_id: int, run_id: int) -> None:
    """The mapping does nothing any more with rows whose record is gone: there is nothing to decide."""
    connection.execute(
        "update legacy_sync.conflict set status = 'settled', closed_at = now(), last_run = %s,"
        " decided_by = 'a change of the mapping'"
        " where entity_id = %s and status = 'open' and sort = 'gone_in_legacy'",
        [run_id, entity_id],
    )


def close_gone(connection: psycopg.Connection, entity_id: int, run_id: int) -> None:
    """Conflicts about values of records that are gone (`ls_missing`) are none any more."""
    connection.execute(
        "update legacy_sync.conflict c set status = 'settled', closed_at = now(), last_run = %s, decided_by = %s"
        " from ls_missing m where c.entity_id = %s and c.legacy_key = m._key and c.status = 'open'"
        "  and c.sort <> 'gone_in_legacy'",
        [run_id, GONE, entity_id],
    )
    forget_records(connection, entity_id)


def _count(connection: psycopg.Connection, statement: str, values: Mapping[str, object]) -> int:
    row = connection.execute(statement, values).fetchone()
    return int(row[0]) if row else 0
