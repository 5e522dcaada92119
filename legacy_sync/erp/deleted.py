"""What if a row was deleted in the ERP? It stays so, and where its record changed since, somebody has to decide.

`ls_gone` has the staged rows of which that is true, with the verdict: `legacy` (inserted again), `erp` (stays deleted,
and both sides agree on that until the record changes once more) or `wait`; `ls_gone_cell` has what changed.
"""

from __future__ import annotations

from collections.abc import Collection

import psycopg
from psycopg import sql

from legacy_sync.erp.plan import new_key
from legacy_sync.erp.shape import Shape


def is_deleted(shape: Shape) -> sql.Composed:
    """SQL condition: the ERP row of the staged record `s` was deleted there. Such rows wait by themselves."""
    return sql.SQL(
        "exists (select from legacy_sync.binding b where b.entity_id = {} and b.legacy_key = s._key"
        " and not exists (select from {} e where e.{} = b.erp_key::{}))"
    ).format(sql.Literal(shape.entity_id), shape.erp, shape.pk, shape.pk_type)


def decide_deleted(
    connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int], waiting: Collection[str]
) -> None:
    """Settles the `gone` rows of the plan: those to be inserted again become `new`, the others leave it.

    Rows of the documents that are `waiting` as a whole wait with them, whatever was decided.
    """
    _find_changed(connection, shape)
    entity = sql.Literal(shape.entity_id)
    connection.execute(
        sql.SQL(_VERDICTS).format(
            entity=entity,
            verdict=sql.Literal(
                {"legacy_wins": "legacy", "erp_wins": "erp", "manual": "wait"}[shape.mapping.deletes.in_erp]
            ),
            by=sql.Literal(f"policy {shape.mapping.deletes.in_erp}"),
        )
    )
    if waiting:
        connection.execute(
            "update ls_gone g set verdict = 'wait' from ls_stage s where s._row = g._row and s._unit = any(%s)",
            [list(waiting)],
        )
    _agree(connection, shape, run_id, fetched)
    connection.execute(
        sql.SQL(
            "delete from legacy_sync.binding b using ls_gone g where b.entity_id = {} and b.legacy_key = g._key"
            " and g.verdict = 'legacy'"
        ).format(entity)
    )
    connection.execute(
        sql.SQL(
            "update ls_plan p set decision = 'new', erp_id = {}::{} from ls_gone g"
            " where g._row = p._row and g.verdict = 'legacy'"
        ).format(new_key(connection, shape), shape.pk_type)
    )
    connection.execute("delete from ls_plan where decision = 'gone'")


def _find_changed(connection: psycopg.Connection, shape: Shape) -> None:
    cells = sql.SQL(", ").join(
        sql.SQL("({}, {}, {}::text, {}, {})").format(
            sql.Literal(c), shape.base_of(c), shape.staged(c), shape.has_base(c), shape.is_kept(c)
        )
        for c in shape.columns
    )
    connection.execute(
        sql.SQL(
            "insert into ls_gone_cell select p._row, v.column_name, v.base, v.staged"
            " from ls_plan p join ls_stage s using (_row)"
            " join legacy_sync.binding b on b.entity_id = {} and b.legacy_key = p._key"
            " cross join lateral (values {}) v(column_name, base, staged, known, is_kept)"
            " where p.decision = 'gone' and v.known and not v.is_kept and v.staged is distinct from v.base"
        ).format(sql.Literal(shape.entity_id), cells)
    )


_VERDICTS = """
insert into ls_gone
select p._row, p._key, p.erp_id::text, k.id, coalesce(k.is_as_seen, false),
  case when k.choice is not null and k.is_as_seen then k.choice else {verdict} end,
  case when k.choice is not null and k.is_as_seen then k.chosen_by else {by} end
from ls_plan p left join lateral (
  select c.*, seen.cells is null or seen.cells is not distinct from here.cells as is_as_seen
  from legacy_sync.conflict c
  cross join lateral (select array_agg(row(x.column_name, x.legacy_value)::text order by x.column_name) as cells
    from legacy_sync.conflict_cell x where x.conflict_id = c.id) seen
  cross join lateral (select array_agg(row(x.column_name, x.staged)::text order by x.column_name) as cells
    from ls_gone_cell x where x._row = p._row) here
  where c.entity_id = {entity} and c.legacy_key = p._key and c.status = 'open' and c.sort = 'gone_in_erp') k on true
where p.decision = 'gone' and p._row in (select _row from ls_gone_cell)
"""


def _agree(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Rows that stay deleted: the record as it is now is no news any more. Those that wait count as read."""
    agreed = shape.base_array(
        sql.SQL("case when {} then {} else {}::text end").format(shape.is_kept(c), shape.base_of(c), shape.staged(c))
        for c in shape.columns
    )
    values = {"run": run_id, "fetched": fetched, "entity": shape.entity_id}
    connection.execute(
        sql.SQL(
            "update legacy_sync.binding t set base = x.agreed, erp_base = null, column_set_id = {column_set},"
            "  changed_run = %(run)s, fetched = (%(fetched)s::bigint[])[(x._row >> 32) + 1]"
            " from (select g._row, g._key, {agreed} as agreed from ls_gone g join ls_stage s using (_row)"
            "  join legacy_sync.binding b on b.entity_id = %(entity)s and b.legacy_key = g._key"
            "  where g.verdict = 'erp') x"
            " where t.entity_id = %(entity)s and t.legacy_key = x._key"
        ).format(column_set=sql.Literal(shape.column_set_id), agreed=agreed),
        values,
    )
    connection.execute(
        "update legacy_sync.binding b set fetched = (%(fetched)s::bigint[])[(g._row >> 32) + 1] from ls_gone g"
        " where g.verdict = 'wait' and not g.is_as_seen and b.entity_id = %(entity)s and b.legacy_key = g._key",
        values,
    )
