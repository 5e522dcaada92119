"""How do decisions become rows? Inserts and updates as single statements, with refused rows isolated by halving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql

from legacy_sync.erp.catalog import ErpTable
from legacy_sync.erp.chosen import has_chosen_values
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import CELL, PLAN, UPDATE, forget_parked

_EVERY_ROW: dict[str, Any] = {"first": 0, "last": 2**63 - 1}
_PORTION = 64
"""new rows are cut into portions of this size first; updated ones may change places with others, and stay together"""
# New rows are counted by a sequence, which no rollback sets back: it tells at which one PostgreSQL stopped. The last
# one need not be to blame (foreign keys are looked at in the end); then, and for updates, portions are halved.
_ACCEPTED = """
#variable_conflict use_column
declare
  ls_first bigint := ls_rows[1];
  ls_last bigint := ls_rows[cardinality(ls_rows)];
  ls_size integer := least((cardinality(ls_rows) + 1) / 2, {portion});
  ls_at integer := 1;
  ls_message text;
  ls_detail text;
  ls_column text;
  ls_constraint text;
  ls_schema text;
begin
  if cardinality(ls_rows) is null then
    return;
  end if;
  perform setval('pg_temp.ls_progress', 1, false);
  begin
    if cardinality(ls_rows) <= {portion} then
      {write};
      return;
    end if;
  exception when integrity_constraint_violation or data_exception or raise_exception or program_limit_exceeded then
    get stacked diagnostics ls_message = message_text, ls_detail = pg_exception_detail, ls_column = column_name,
      ls_constraint = constraint_name, ls_schema = schema_name;
    select last_value into ls_at from pg_temp.ls_progress where is_called or cardinality(ls_rows) = 1;
  end;
  if ls_message is null or (ls_at is null or ls_at = cardinality(ls_rows)) and cardinality(ls_rows) > 1 then
    for ls_begin in 1 .. cardinality(ls_rows) by ls_size loop
      perform pg_temp.ls_write(ls_rows[ls_begin : ls_begin + ls_size - 1]);
    end loop;
    return;
  end if;
  insert into ls_refused values (ls_rows[ls_at], ls_column, ls_schema, ls_constraint,
    ls_message || coalesce(' (' || nullif(ls_detail, '') || ')', ''));
  perform pg_temp.ls_write(ls_rows[: ls_at - 1]);
  perform pg_temp.ls_write(ls_rows[ls_at + 1 :]);
end
"""
_INDEXES = """
create index if not exists ls_stage_row on ls_stage (_row);
create index if not exists ls_plan_row on ls_plan (_row);
create index if not exists ls_update_row on ls_update (_row);
analyze ls_stage (_row), ls_plan, ls_update;
create temp sequence if not exists ls_progress;
create temp table ls_refused (_row bigint, "column" text, schema text, "constraint" text, message text)
"""
_ROW_IS_TO_BLAME = (pg.IntegrityError, pg.DataError, pg.RaiseException, pg.ProgramLimitExceeded)


def insert_rows(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Inserts every `new` row and its binding; rows the database refuses leave the plan and are parked."""
    rows, counted = [_insert_statement(shape)], [_insert_statement(shape, counted=True)]
    _write(connection, shape, "ls_plan where decision = 'new'", rows, (counted, _PORTION))
    connection.execute(_insert_bindings(shape, "new"), _EVERY_ROW | {"run": run_id, "fetched": fetched})


def update_rows(connection: psycopg.Connection, shape: Shape, run_id: int) -> dict[str, int]:
    """Writes every taken cell with its before and after image; returns the rows by column.

    Rows the database refuses leave the plan and are parked.
    """
    connection.execute(
        "insert into ls_update select _row, _key, erp_key, array_agg(column_name), array_agg(erp),"
        "  array_agg(case when choice = 'value' then chosen else staged end)"
        " from ls_cell where outcome = 'take' group by _row, _key, erp_key"
    )
    taken = _rows_by_column(connection)
    if taken:
        given_up = _given_up_values(shape, list(taken))
        statements = [*given_up, _update_statement(shape, list(taken))]
        _write(connection, shape, "ls_update", statements, (statements, 2**31 - 1))
        connection.execute(_insert_changes(shape), _EVERY_ROW | {"run": run_id})
    return _rows_by_column(connection)


def _rows_by_column(connection: psycopg.Connection) -> dict[str, int]:
    rows = connection.execute("select c, count(*) from ls_update, unnest(columns) c group by c order by 2 desc, 1")
    return {str(name): int(count) for name, count in rows.fetchall()}


def bind_adopted(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Remembers which ERP rows the adopted records are."""
    connection.execute(_insert_bindings(shape, "adopt"), _EVERY_ROW | {"run": run_id, "fetched": fetched})


def rebase_bindings(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Moves the base of bound rows to what was taken in; columns that wait for a person stay where they were.

    Where a person chose a value of their own, that is agreed on as the ERP's, and the record's own as the legacy one.
    The run stands in the binding only if it wrote the ERP row: what was written there later, a person wrote.
    """
    base, erp_base = [], []
    own = has_chosen_values(connection)
    for column in shape.columns:
        old = shape.base_of(column)
        old_erp = sql.SQL("case when b.erp_base is null then {} else {} end").format(
            old, shape.base_of(column, "erp_base")
        )
        name = sql.Literal(column)
        new = sql.SQL("{}::text").format(shape.staged(column))
        said = sql.SQL("case when {0} = any(g.own) then g.said[array_position(g.own, {0})] else {1} end")
        base.append(
            sql.SQL("case when {} = any(g.waits) or {} then {} else {} end").format(
                name, shape.is_kept(column), old, said.format(name, new) if own else new
            )
        )
        erp_base.append(
            sql.SQL("case when {0} = any(g.waits) or {0} = any(g.keeps) or {1} then {2} else {3} end").format(
                name, shape.is_kept(column), old_erp, new
            )
        )
    connection.execute(
        sql.SQL(
            "update legacy_sync.binding t set base = x.base, column_set_id = {column_set},"
            "  changed_run = case when x.is_written then %(run)s else t.changed_run end,"
            "  erp_base = case when x.erp_base is distinct from x.base then x.erp_base end,"
            "  fetched = (%(fetched)s::bigint[])[(x._row >> 32) + 1], missing_since = null"
            " from (select p._row, p._key, g.is_stirred, {base} as base, {erp_base} as erp_base,"
            "   exists (select from ls_update u where u._row = p._row) as is_written"
            "  from ls_plan p join ls_stage s using (_row)"
            "  join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = p._key"
            "  left join (select _row, array_agg(column_name) filter (where outcome = 'wait') as waits,"
            "    array_agg(column_name) filter (where outcome = 'keep') as keeps,"
            "    array_agg(column_name) filter (where choice = 'value') as own,"
            "    array_agg(staged) filter (where choice = 'value') as said,"
            "    bool_or(outcome = 'wait' and (conflict_id is null or staged is distinct from seen_legacy))"
            "     as is_stirred from ls_cell group by _row) g"
            "   on g._row = p._row"
            "  where p.decision = 'differs') x"
            " where t.entity_id = {entity} and t.legacy_key = x._key"
            "  and (t.base is distinct from x.base or x.is_stirred or x.is_written or t.missing_since is not null or"
            " t.column_set_id <> {column_set}"
            "   or t.erp_base is distinct from case when x.erp_base is distinct from x.base then x.erp_base end)"
        ).format(
            column_set=sql.Literal(shape.column_set_id),
            base=shape.base_array(base),
            erp_base=shape.base_array(erp_base),
            entity=sql.Literal(shape.entity_id),
        ),
        {"run": run_id, "fetched": fetched},
    )


def _insert_statement(shape: Shape, *, counted: bool = False) -> sql.Composed:
    """New rows; `counted` in the order of their numbers, each with a step of a sequence."""
    target = shape.mapping.target
    values = {c: shape.fresh(c) for c in shape.columns}
    values |= {c: shape.constant(c) for c in target.on_insert if c not in values}
    values |= {c: sql.SQL("now()").format() for c in (target.created_at, target.updated_at) if c}
    names = [shape.key.name, *values]
    override = sql.SQL(" overriding system value") if shape.key.is_identity else sql.SQL("")
    rows = sql.SQL(
        "select p.erp_id, {values} from ls_plan p join ls_stage s using (_row)"
        " where p.decision = 'new' and p._row between %(first)s and %(last)s"
    ).format(values=sql.SQL(", ").join(values.values()))
    if counted:
        rows = sql.SQL("select * from ({} order by p._row offset 0) q where nextval('pg_temp.ls_progress') > 0").format(
            rows
        )
    return sql.SQL("insert into {erp} ({names}){override} {rows}").format(
        erp=shape.erp, names=sql.SQL(", ").join(map(sql.Identifier, names)), override=override, rows=rows
    )


def _insert_bindings(shape: Shape, decision: str) -> sql.Composed:
    """Bindings of new or adopted rows; what was not delivered is agreed on as the ERP has it."""
    if decision == "new":
        agreed = [shape.fresh(c) for c in shape.columns]
        join = sql.SQL("").format()
    else:
        agreed = [_agreed_on_adoption(shape, c) for c in shape.columns]
        join = sql.SQL(" join {} e on e.{} = p.erp_id").format(shape.erp, shape.pk)
    return sql.SQL(
        "insert into legacy_sync.binding"
        " (entity_id, legacy_key, erp_key, column_set_id, base, origin, fetched, created_run, changed_run)"
        " select {entity}, p._key, p.erp_id::text, {column_set}, {base}, {origin},"
        "  (%(fetched)s::bigint[])[(p._row >> 32) + 1], %(run)s, %(run)s"
        " from ls_plan p join ls_stage s using (_row){join}"
        " where p.decision = {decision} and p._row between %(first)s and %(last)s"
    ).format(
        entity=sql.Literal(shape.entity_id),
        column_set=sql.Literal(shape.column_set_id),
        base=shape.base_array(agreed),
        origin=sql.Literal("insert" if decision == "new" else "adopt"),
        decision=sql.Literal(decision),
        join=join,
    )


def _agreed_on_adoption(shape: Shape, column: str) -> sql.Composed:
    """A cell that waits has no agreement yet (null), one that was not delivered is what the ERP has."""
    erp = sql.SQL("e.{}").format(sql.Identifier(column))
    if shape.mapping.adoption.policy != "manual":
        return shape.effective(column, erp)
    return sql.SQL("case when {0} is distinct from {1} then null else {0} end").format(
        shape.effective(column, erp), erp
    )


def _update_statement(shape: Shape, taken: list[str]) -> sql.Composed:
    assignments = [
        sql.SQL("{0} = case when {1} = any(u.columns) then s.{0} else e.{0} end").format(
            sql.Identifier(c), sql.Literal(c)
        )
        for c in taken
    ]
    if shape.mapping.target.updated_at:
        assignments.append(sql.SQL("{} = now()").format(sql.Identifier(shape.mapping.target.updated_at)))
    return sql.SQL(
        "update {erp} e set {assignments} from ls_update u join ls_stage s using (_row)"
        " where e.{pk} = u.erp_key::{type} and u._row between %(first)s and %(last)s"
    ).format(erp=shape.erp, assignments=sql.SQL(", ").join(assignments), pk=shape.pk, type=shape.pk_type)


def _given_up_values(shape: Shape, taken: list[str]) -> list[sql.Composed]:
    """Statements that free unique values which pass from one updated row to another.

    PostgreSQL checks a unique index row by row, so that 1 -> 2, 2 -> 3 and a swap would be refused although
    their end is fine. The rows get their real values by the update that follows.
    """
    statements = []
    for index in shape.table.uniques:
        movable = [c for c in index.columns if c in taken and placeholder(shape.table, c, shape.pk) is not None]
        if not movable:
            continue
        column = movable[0]
        statements.append(
            sql.SQL(
                "update {erp} e set {column} = {placeholder} from ls_update u"
                " where e.{pk} = u.erp_key::{type} and u._row between %(first)s and %(last)s"
                "  and {name} = any(u.columns) and exists (select 1 from ls_update o join ls_stage s using (_row)"
                "   where o._row between %(first)s and %(last)s and o._row <> u._row and s.{column} = e.{column})"
            ).format(
                erp=shape.erp,
                column=sql.Identifier(column),
                placeholder=placeholder(shape.table, column, shape.pk),
                pk=shape.pk,
                type=shape.pk_type,
                name=sql.Literal(column),
            )
        )
    return statements


def placeholder(table: ErpTable, name: str, pk: sql.Identifier) -> sql.Composed | None:
    """A value of a column that no other row has; None if there is none."""
    column = table.columns[name]
    if column.nullable:
        return sql.SQL("null").format()
    if column.type in ("varchar", "text") and (column.max_length is None or column.max_length >= 20):
        return sql.SQL("'~' || e.{}").format(pk)
    return None


def _insert_changes(shape: Shape) -> sql.Composed:
    return sql.SQL(
        "insert into legacy_sync.change (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns,"
        " before, after)"
        " select %(run)s, {}, {}, u._key, u.erp_key, case p.decision when 'adopt' then 'adopt' else 'update' end,"
        "  u.columns, u.before, u.after from ls_update u join ls_plan p using (_row)"
        " where u._row between %(first)s and %(last)s"
    ).format(sql.Literal(shape.entity_id), sql.Literal(shape.table.name))


def _write(
    connection: psycopg.Connection,
    shape: Shape,
    source: LiteralString,
    statements: Sequence[sql.Composed],
    in_portions: tuple[Sequence[sql.Composed], int],
) -> None:
    """Executes the statements over all rows of the source; rows that the database refuses are parked instead.

    These are found by other statements for the same, `in_portions` of at first so many rows.
    """
    try:
        with connection.transaction():
            connection.execute("set constraints all immediate")
            for statement in statements:
                connection.execute(statement, _EVERY_ROW)
    except _ROW_IS_TO_BLAME:
        _write_what_is_accepted(connection, source, *in_portions)
        _park_refused(connection, shape)


def _write_what_is_accepted(
    connection: psycopg.Connection, source: LiteralString, statements: Sequence[sql.Composed], portion: int
) -> None:
    """Cuts the rows into portions until each is accepted, or one row that is to blame.

    A function of the database does it, since thousands of small portions would be thousands of round trips.
    """
    texts = [statement.as_string(connection) % {"first": "ls_first", "last": "ls_last"} for statement in statements]
    body = _ACCEPTED.format(write=";\n      ".join(texts), portion=portion)
    with connection.transaction():
        connection.execute("set constraints all immediate")
        connection.execute(_INDEXES)
        connection.execute(
            sql.SQL(
                "create or replace function pg_temp.ls_write(ls_rows bigint[]) returns void language plpgsql as {}"
            ).format(sql.Literal(body))
        )
        connection.execute(
            sql.SQL("select pg_temp.ls_write(array(select _row from {} order by _row))").format(sql.SQL(source))
        )


def _park_refused(connection: psycopg.Connection, shape: Shape) -> None:
    """Parks the refused rows, with the column or the columns to blame and what the record says there."""
    reasons = connection.execute('select distinct "column", schema, "constraint" from ls_refused').fetchall()
    for column, schema, constraint in reasons:
        names = [column] if column else _columns_of(connection, shape, schema, constraint)
        values = sql.SQL(", ").join(shape.staged(name) for name in names if name in shape.columns)
        value = sql.SQL("nullif(concat_ws(' / ', {}), '')").format(values) if names else sql.SQL("null").format()
        connection.execute(
            sql.SQL(
                "insert into ls_parked select p._row, p._key, 'refused_by_database', %s, {}, r.message"
                " from ls_refused r join ls_plan p using (_row) join ls_stage s using (_row)"
                ' where (r."column", r.schema, r."constraint") is not distinct from (%s, %s, %s)'
            ).format(value),
            [", ".join(names) or None, column, schema, constraint],
        )
    connection.execute("drop table ls_refused")
    forget_parked(connection, PLAN, CELL, UPDATE)


def _columns_of(connection: psycopg.Connection, shape: Shape, schema: str, constraint: str) -> list[str]:
    """The columns of the constraint or index that PostgreSQL named."""
    rows = connection.execute(
        "select a.attname from (select conrelid as table, unnest(conkey) as number from pg_constraint"
        "   where conname = %(name)s union select indrelid, unnest(indkey) from pg_index"
        "   where indexrelid = to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(name)s))) x"
        " join pg_attribute a on a.attrelid = x.table and a.attnum = x.number"
        " where x.table = %(table)s::regclass order by a.attnum",
        {"name": constraint, "schema": schema, "table": shape.erp.as_string(connection)},
    )
    return [str(name) for (name,) in rows.fetchall()]
