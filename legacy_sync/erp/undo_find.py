"""What would it take to undo these runs, and which rows changed since? One set-based pass over ledger and ERP.

The result is two temporary tables. `ls_undo_row` has each ERP row with what is to be done: `set` values back, `remove`
a row that came, `return` one that went, or `leave` it; and why not, if something stands against it. `ls_undo_cell` has
the values: what they were before the first of these runs, and what they were after the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from legacy_sync.erp.catalog import ErpTable

VALUES = ("update", "adopt", "backfill", "derive", "refresh", "relink", "undo", "redo")
"""kinds of changes that are values of a row that was there before and after; `delete` may be one"""
_OF_CHILDREN = ("derive", "backfill")
_DROP = "drop table if exists ls_undo_table, ls_undo_own, ls_undo_event, ls_undo_cell, ls_undo_row, ls_undo_link"
_TABLES = """
create temp table ls_undo_table (name text primary key, erp_table text not null, pk text not null);
create temp table ls_undo_own (entity_id integer primary key, erp_table text not null);
create temp table ls_undo_link (erp_table text, column_name text, to_table text);
create temp table ls_undo_event (erp_table text, erp_key text, id bigint, effect text, kind text, entity_id integer,
  legacy_key text, run_id bigint, columns text[], before text[], after text[]);
create temp table ls_undo_cell (erp_table text, erp_key text, column_name text, before text, after text,
  first_id bigint, entity_id integer, legacy_key text, run_id bigint, kind text, taken_back text);
create temp table ls_undo_row (n bigint generated always as identity, erp_table text, erp_key text, effect text,
  kind text, entity_id integer, legacy_key text, run_id bigint, first_id bigint, columns text[], before text[],
  after text[], is_save boolean, problem text, detail text)
"""


@dataclass(frozen=True)
class Target:
    """An ERP table that an undo may touch, and its column with the time of the last save, if it has one."""

    table: ErpTable
    updated_at: str | None

    @property
    def erp(self) -> sql.Identifier:
        """The table with its schema."""
        return sql.Identifier(self.table.schema, self.table.name)

    @property
    def pk(self) -> sql.Identifier:
        """Its key column."""
        return sql.Identifier(self.table.primary_key[0])

    @property
    def pk_type(self) -> sql.SQL:
        """The type of the key."""
        return sql.SQL(self.table.columns[self.table.primary_key[0]].full_type)


def list_tables(connection: psycopg.Connection, run_ids: Sequence[int]) -> list[str]:
    """The ERP tables that these runs wrote changes to, as the ledger names them."""
    rows = connection.execute(
        "select distinct erp_table from legacy_sync.change where run_id = any(%s) order by 1", [list(run_ids)]
    )
    return [str(name) for (name,) in rows.fetchall()]


def list_entities(connection: psycopg.Connection, run_ids: Sequence[int]) -> dict[int, str]:
    """The entities these runs are of, and those whose rows they changed beside their own."""
    rows = connection.execute(
        "select id, name from legacy_sync.entity where id in (select entity_id from legacy_sync.run where id = any(%s)"
        " union select entity_id from legacy_sync.change where run_id = any(%s)) order by id",
        [list(run_ids), list(run_ids)],
    )
    return {int(id_): str(name) for id_, name in rows.fetchall()}


def begin(
    connection: psycopg.Connection,
    names: Mapping[str, Target],
    own: Mapping[int, Target],
    links: Sequence[tuple[str, str, str]],
) -> None:
    """Creates the temporary tables.

    `names` has the tables as the ledger names them, `own` those of the entities, `links` (table, column, table
    referred to) the references of their mappings.
    """
    connection.execute(_DROP)
    connection.execute(_TABLES)
    with connection.cursor() as cursor:
        for name, target in names.items():
            place = [name, target.table.name, target.table.primary_key[0]]
            cursor.execute("insert into ls_undo_table values (%s, %s, %s)", place)
        for entity_id, target in own.items():
            cursor.execute("insert into ls_undo_own values (%s, %s)", [entity_id, target.table.name])
        for link in links:
            cursor.execute("insert into ls_undo_link values (%s, %s, %s)", link)


def collect(connection: psycopg.Connection, run_ids: Sequence[int]) -> None:
    """Fills both tables with everything these runs did, as one step from before the first to after the last."""
    values = {"runs": list(run_ids), "kinds": list(VALUES), "children": list(_OF_CHILDREN)}
    for statement in (_EVENTS, _CELLS, _ROWS, _IMAGES, _ROWS_OF_VALUES, _EXPECTED, _LEAVE_NAMED):
        connection.execute(statement, values)
    connection.execute("analyze ls_undo_row")
    connection.execute("analyze ls_undo_cell")


# Whether a row came or went. An insert has no change row of its own: the binding knows the run.
_EVENTS = """
insert into ls_undo_event
select o.erp_table, b.erp_key, 0, 'added', 'insert', b.entity_id, b.legacy_key, b.created_run, s.names, null,
  case when b.erp_base is null then b.base else b.erp_base end
from legacy_sync.run r join legacy_sync.binding b on b.entity_id = r.entity_id and b.created_run = r.id
join ls_undo_own o on o.entity_id = b.entity_id join legacy_sync.column_set s on s.id = b.column_set_id
where r.id = any(%(runs)s) and b.origin = 'insert'
union all
select t.erp_table, c.erp_key, c.id, case when c.kind in ('create', 'return') then 'added' else 'removed' end, c.kind,
  c.entity_id, c.legacy_key, c.run_id, c.columns, c.before, c.after
from legacy_sync.change c join ls_undo_table t on t.name = c.erp_table
where c.run_id = any(%(runs)s) and (c.kind in ('create', 'return', 'remove')
  or c.kind = 'delete' and t.pk = any(c.columns))
"""
_CELLS = """
insert into ls_undo_cell
select erp_table, erp_key, name, before[1], after[1], first_id, entity_id[1], legacy_key[1], run_id[1], kind[1],
  taken_back[1]
from (
  select t.erp_table, c.erp_key, x.name, array_agg(x.before order by c.id) as before,
    array_agg(x.after order by c.id desc) as after, min(c.id) as first_id,
    array_agg(c.entity_id order by c.kind = any(%(children)s), c.id desc) as entity_id,
    array_agg(c.legacy_key order by c.kind = any(%(children)s), c.id desc) as legacy_key,
    array_agg(c.run_id order by c.kind = any(%(children)s), c.id desc) as run_id,
    array_agg(c.kind order by c.kind = any(%(children)s), c.id desc) as kind,
    array_agg(coalesce(c.taken_back, c.kind) order by c.kind = any(%(children)s), c.id desc) as taken_back
  from legacy_sync.change c join ls_undo_table t on t.name = c.erp_table
  cross join lateral unnest(c.columns, c.before, c.after) x(name, before, after)
  where c.run_id = any(%(runs)s) and (c.kind = any(%(kinds)s) or c.kind = 'delete' and t.pk <> all(c.columns))
  group by 1, 2, 3) f
where before[1] is distinct from after[1]
"""
# The first event says whether the row was there before, the last whether it is there now.
_ROWS = """
insert into ls_undo_row (erp_table, erp_key, effect, kind, entity_id, legacy_key, run_id, first_id, columns, before,
  after)
select erp_table, erp_key, case when effects[1] = 'removed' then 'return' else 'remove' end,
  kinds[1], entity_ids[1], legacy_keys[1], run_ids[1], first_id, null, null, null
from (
  select e.erp_table, e.erp_key, array_agg(e.effect order by e.id) as effects, array_agg(e.kind order by e.id) as kinds,
    array_agg(e.entity_id order by e.id) as entity_ids, array_agg(e.legacy_key order by e.id) as legacy_keys,
    array_agg(e.run_id order by e.id desc) as run_ids, min(e.id) as first_id
  from ls_undo_event e group by 1, 2) f
where effects[1] = effects[cardinality(effects)]
"""
_IMAGES = """
update ls_undo_row u set columns = x.columns, before = x.before, after = x.after from (
  select distinct on (r.n) r.n, e.columns, e.before, e.after from ls_undo_row r
  join ls_undo_event e on e.erp_table = r.erp_table and e.erp_key = r.erp_key
    and e.effect = case r.effect when 'return' then 'removed' else 'added' end
  order by r.n, case r.effect when 'return' then e.id else -e.id end) x
where x.n = u.n
"""
# Values of a row that came in these runs go with it; those of one that went belong to its image.
_ROWS_OF_VALUES = """
with first as (select distinct on (erp_table, erp_key) erp_table, erp_key, effect from ls_undo_event
  order by erp_table, erp_key, id)
insert into ls_undo_row (erp_table, erp_key, effect, kind, entity_id, legacy_key, run_id, first_id, columns, before,
  after, is_save)
select c.erp_table, c.erp_key, 'set', min(c.kind), min(c.entity_id), min(c.legacy_key), max(c.run_id), min(c.first_id),
  array_agg(c.column_name order by c.column_name), array_agg(c.before order by c.column_name),
  array_agg(c.after order by c.column_name), bool_or(c.taken_back <> all(%(children)s))
from ls_undo_cell c left join first f on f.erp_table = c.erp_table and f.erp_key = c.erp_key
where f.effect is distinct from 'added'
  and not exists (select from ls_undo_row u where u.erp_table = c.erp_table and u.erp_key = c.erp_key)
group by 1, 2
"""
_EXPECTED = """
update ls_undo_row u set before = x.before, after = x.after from (
  select r.n, array_agg(case when c.column_name is null then i.before else c.before end order by i.place) as before,
    array_agg(case when c.column_name is null then i.after else c.after end order by i.place) as after
  from ls_undo_row r
  cross join lateral unnest(r.columns, r.before, r.after) with ordinality i(name, before, after, place)
  left join ls_undo_cell c on c.erp_table = r.erp_table and c.erp_key = r.erp_key and c.column_name = i.name
  where r.effect <> 'set' and exists (
    select from ls_undo_cell k where k.erp_table = r.erp_table and k.erp_key = r.erp_key)
  group by r.n) x
where x.n = u.n
"""
# A row that was made for a reference stays as long as a record that stays names it.
_LEAVE_NAMED = """
update ls_undo_row u set effect = 'leave', detail = 'a record of 4D still names it' where u.effect = 'remove'
and u.kind = 'create' and exists (select from ls_undo_cell c join ls_undo_link l on l.erp_table = c.erp_table
    and l.column_name = c.column_name
  join ls_undo_row r on r.erp_table = c.erp_table and r.erp_key = c.erp_key and r.effect = 'set'
  where l.to_table = u.erp_table and c.after = u.erp_key)
"""


# --- what changed since --------------------------------------------------------------------------


def lock_rows(connection: psycopg.Connection, target: Target) -> None:
    """Nobody else writes the rows meanwhile; in key order, as loads lock them."""
    connection.execute(
        sql.SQL(
            "select 1 from {erp} e where e.{pk} in (select erp_key::{type} from ls_undo_row where erp_table = {name}"
            " and effect in ('set', 'remove')) order by e.{pk} for update"
        ).format(erp=target.erp, pk=target.pk, type=target.pk_type, name=sql.Literal(target.table.name))
    )


def find_problems(connection: psycopg.Connection, target: Target, run_ids: Sequence[int]) -> None:
    """Marks the rows of one table that changed since, each with what happened; the first thing found counts."""
    values = {"runs": list(run_ids), "table": target.table.name, "columns": list(target.table.columns)}
    connection.execute(_COLUMN_GONE, values)
    for statement in (_ROW_GONE, _ROW_THERE):
        connection.execute(statement.format(**_place(target)), values)
    connection.execute(_RECORD_CAME_BACK, values)
    connection.execute(_TOUCHED, values)
    connection.execute(_BOUND_SINCE, values)
    connection.execute(_values_differ(target), values)
    if target.updated_at:
        connection.execute(_saved_since(target, target.updated_at), values)


def _place(target: Target) -> dict[str, sql.Composable]:
    return {"erp": target.erp, "pk": target.pk, "type": target.pk_type}


_COLUMN_GONE = """
update ls_undo_row u set problem = 'column_gone', detail = format('the column %%s is not there any more',
  (select min(c) from unnest(u.columns) c where c <> all(%(columns)s)))
where u.erp_table = %(table)s and u.problem is null and not u.columns <@ %(columns)s::text[]
"""
# A row that came and that a person deleted since is gone already: nothing is left to do.
_ROW_GONE = sql.SQL("""
update ls_undo_row u set problem = case u.effect when 'set' then 'row_deleted' end,
  effect = case u.effect when 'set' then 'set' else 'nothing' end, detail = 'the row was deleted in the ERP since'
where u.erp_table = %(table)s and u.problem is null and u.effect in ('set', 'remove')
  and not exists (select from {erp} e where e.{pk} = u.erp_key::{type})
""")
_ROW_THERE = sql.SQL("""
update ls_undo_row u set problem = 'row_there', detail = 'a row with this key is in the ERP again'
from {erp} e where u.erp_table = %(table)s and u.problem is null and u.effect = 'return' and e.{pk} = u.erp_key::{type}
""")
_RECORD_CAME_BACK = """
update ls_undo_row u set problem = 'record_returned', detail = format('the record came back as row %%s', b.erp_key)
from legacy_sync.binding b join ls_undo_own o on o.entity_id = b.entity_id
where u.erp_table = %(table)s and u.problem is null and u.effect = 'return' and b.entity_id = u.entity_id
  and b.legacy_key = u.legacy_key and b.erp_key <> u.erp_key and o.erp_table = u.erp_table
"""
_TOUCHED = """
update ls_undo_row u set problem = 'later_run', detail = format('%%s wrote it since', x.runs) from (
  select r.n, case when count(distinct c.run_id) > 1 then 'runs ' else 'run ' end
    || string_agg(distinct c.run_id::text, ', ') as runs
  from legacy_sync.change c join ls_undo_table t on t.name = c.erp_table
  join ls_undo_row r on r.erp_table = t.erp_table and r.erp_key = c.erp_key and c.id > r.first_id
    and (r.effect <> 'set' or r.columns && c.columns)
  where r.erp_table = %(table)s and c.run_id >= (select min(v) from unnest(%(runs)s::bigint[]) v)
    and c.run_id <> all(%(runs)s) group by r.n) x
where x.n = u.n and u.problem is null and u.effect in ('set', 'remove', 'return')
"""
_BOUND_SINCE = """
update ls_undo_row u set problem = 'bound', detail = format('it is the row of record %%s of %%s since run %%s',
  b.legacy_key, n.name, b.created_run)
from legacy_sync.binding b join legacy_sync.entity n on n.id = b.entity_id
where u.erp_table = %(table)s and u.problem is null and u.effect = 'remove' and b.erp_key = u.erp_key
  and split_part(n.name, '.', 1) = u.erp_table and b.created_run <> all(%(runs)s)
  and (b.entity_id, b.legacy_key) is distinct from (u.entity_id, u.legacy_key)
"""


def _saved_since(target: Target, updated_at: str) -> sql.Composed:
    """A row that came may have been saved in the ERP since, in columns the ledger knows nothing of."""
    return sql.SQL(
        "update ls_undo_row u set problem = 'saved_since', detail = format('it was saved in the ERP at %%s UTC',"
        "  to_char(e.{updated}, 'YYYY-MM-DD HH24:MI'))"
        " from {erp} e where u.erp_table = %(table)s and u.problem is null"
        "  and u.effect = 'remove' and u.kind = 'insert' and e.{pk} = u.erp_key::{type}"
        "  and e.{updated} > (select max(coalesce(r.finished_at, r.started_at)) from legacy_sync.run r"
        "   where r.id = any(%(runs)s))"
    ).format(updated=sql.Identifier(updated_at), **_place(target))


def _values_differ(target: Target) -> sql.Composed:
    """Marks the rows of which a value is not as the runs left it."""
    cells = sql.SQL(", ").join(
        sql.SQL("({}, e.{}::text)").format(sql.Literal(name), sql.Identifier(name)) for name in target.table.columns
    )
    return sql.SQL(
        "update ls_undo_row u set problem = 'edited', detail = format('%%s is %%s in the ERP, not %%s', x.name,"
        "  coalesce('\"' || x.value || '\"', 'empty'), coalesce('\"' || x.expected || '\"', 'empty')) from ("
        " select distinct on (r.n) r.n, v.name, v.value, i.expected from ls_undo_row r"
        " join {erp} e on e.{pk} = r.erp_key::{type} cross join lateral unnest(r.columns, r.after) i(name, expected)"
        " join lateral (values {cells}) v(name, value) on v.name = i.name"
        " where r.erp_table = %(table)s and r.problem is null and r.effect in ('set', 'remove')"
        "  and v.value is distinct from i.expected order by r.n, v.name) x where x.n = u.n"
    ).format(erp=target.erp, pk=target.pk, type=target.pk_type, cells=cells)
