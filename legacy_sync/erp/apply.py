"""How do decisions become rows? Inserts and updates as single statements, with refused rows isolated by halving."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import errors as pg
from psycopg import sql

from legacy_sync.erp.catalog import ErpTable
from legacy_sync.erp.chosen import has_chosen_values
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import CELL, PLAN, UPDATE, forget_parked

_INDEXES = """
create index if not exists ls_stage_row on ls_stage (_row);
create index if not exists ls_plan_row on ls_plan (_row);
create index if not exists ls_update_row on ls_update (_row);
analyze ls_stage (_row), ls_plan, ls_update
"""
_ROW_IS_TO_BLAME = (pg.IntegrityError, pg.DataError, pg.RaiseException, pg.ProgramLimitExceeded)


def insert_rows(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Inserts every `new` row and its binding; rows the database refuses leave the plan and are parked."""
    rows = _insert_statement(shape)
    bindings = _insert_bindings(shape, "new")

    def write(first: int, last: int) -> None:
        span = {"first": first, "last": last}
        connection.execute(rows, span)
        connection.execute(bindings, span | {"run": run_id, "fetched": fetched})

    _write_halving(connection, shape, sql.SQL("ls_plan where decision = 'new' and"), write)


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
        rows = _update_statement(shape, list(taken))
        changes = _insert_changes(shape)
        given_up = _given_up_values(shape, list(taken))

        def write(first: int, last: int) -> None:
            span = {"first": first, "last": last}
            for statement in given_up:
                connection.execute(statement, span)
            connection.execute(rows, span)
            connection.execute(changes, span | {"run": run_id})

        _write_halving(connection, shape, sql.SQL("ls_update where"), write)
    return _rows_by_column(connection)


def _rows_by_column(connection: psycopg.Connection) -> dict[str, int]:
    rows = connection.execute("select c, count(*) from ls_update, unnest(columns) c group by c order by 2 desc, 1")
    return {str(name): int(count) for name, count in rows.fetchall()}


def bind_adopted(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Remembers which ERP rows the adopted records are."""
    span = {"first": 0, "last": 2**63 - 1}
    connection.execute(_insert_bindings(shape, "adopt"), span | {"run": run_id, "fetched": fetched})


def rebase_bindings(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Moves the base of bound rows to what was taken in; columns that wait for a person stay where they were.

    Where a person chose a value of their own, that is agreed on as the ERP's, and the record's own as the legacy one.
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
            "update legacy_sync.binding t set base = x.base, column_set_id = {column_set}, changed_run = %(run)s,"
            "  erp_base = case when x.erp_base is distinct from x.base then x.erp_base end,"
            "  fetched = (%(fetched)s::bigint[])[(x._row >> 32) + 1], missing_since = null"
            " from (select p._row, p._key, g.is_stirred, {base} as base, {erp_base} as erp_base"
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
            "  and (t.base is distinct from x.base or x.is_stirred or t.missing_since is not null or"
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


def _insert_statement(shape: Shape) -> sql.Composed:
    target = shape.mapping.target
    values = {c: shape.fresh(c) for c in shape.columns}
    values |= {c: shape.constant(c) for c in target.on_insert if c not in values}
    values |= {c: sql.SQL("now()").format() for c in (target.created_at, target.updated_at) if c}
    names = [shape.key.name, *values]
    override = sql.SQL(" overriding system value") if shape.key.is_identity else sql.SQL("")
    return sql.SQL(
        "insert into {erp} ({names}){override} select p.erp_id, {values} from ls_plan p join ls_stage s using (_row)"
        " where p.decision = 'new' and p._row between %(first)s and %(last)s"
    ).format(
        erp=shape.erp,
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        override=override,
        values=sql.SQL(", ").join(values.values()),
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


def _write_halving(
    connection: psycopg.Connection, shape: Shape, source: sql.SQL, write: Callable[[int, int], None]
) -> None:
    """Runs `write` over all rows of the source; what the database refuses is halved until one row is to blame."""
    spans, has_index = [(0, 2**63 - 1)], False
    while spans:
        first, last = spans.pop()
        try:
            with connection.transaction():
                connection.execute("set constraints all immediate")
                write(first, last)
        except _ROW_IS_TO_BLAME as error:
            if not has_index:  # many small spans are about to be looked up
                connection.execute(_INDEXES)
                has_index = True
            rows, lowest, middle = _halve(connection, source, first, last)
            if rows > 1:
                spans += [(middle + 1, last), (first, middle)]
            else:
                _park_refused(connection, shape, lowest, error)


def _halve(connection: psycopg.Connection, source: sql.SQL, first: int, last: int) -> tuple[int, int, int]:
    """How many rows a span has, the first of them, and the last of its lower half."""
    row = connection.execute(
        sql.SQL(
            "select count(*), min(_row), percentile_disc(0.5) within group (order by _row)"
            " from {} _row between %s and %s"
        ).format(source),
        [first, last],
    ).fetchone()
    assert row is not None  # an aggregate always has a row
    return int(row[0]), int(row[1]), int(row[2])


def _park_refused(connection: psycopg.Connection, shape: Shape, number: int, error: psycopg.Error) -> None:
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    names = _columns_to_blame(connection, shape, error)
    values = sql.SQL(", ").join(shape.staged(name) for name in names if name in shape.columns)
    value = sql.SQL("nullif(concat_ws(' / ', {}), '')").format(values) if names else sql.SQL("null").format()
    connection.execute(
        sql.SQL(
            "insert into ls_parked select p._row, p._key, 'refused_by_database', %s, {}, %s"
            " from ls_plan p join ls_stage s using (_row) where p._row = %s"
        ).format(value),
        [", ".join(names) or None, f"{error.diag.message_primary or error}{detail}", number],
    )
    forget_parked(connection, PLAN, CELL, UPDATE)


def _columns_to_blame(connection: psycopg.Connection, shape: Shape, error: psycopg.Error) -> list[str]:
    """The column PostgreSQL names, or those of the constraint or index it names."""
    if error.diag.column_name:
        return [error.diag.column_name]
    rows = connection.execute(
        "select a.attname from (select conrelid as table, unnest(conkey) as number from pg_constraint"
        "   where conname = %(name)s union select indrelid, unnest(indkey) from pg_index"
        "   where indexrelid = to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(name)s))) x"
        " join pg_attribute a on a.attrelid = x.table and a.attnum = x.number"
        " where x.table = %(table)s::regclass order by a.attnum",
        {
            "name": error.diag.constraint_name,
            "schema": error.diag.schema_name,
            "table": shape.erp.as_string(connection),
        },
    )
    return [str(name) for (name,) in rows.fetchall()]
