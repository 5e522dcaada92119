"""How do decisions become rows? Inserts and updates as single statements, with refused rows isolated by halving."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import errors as pg
from psycopg import sql

from legacy_sync.erp.shape import Shape

_ROW_IS_TO_BLAME = (pg.IntegrityError, pg.DataError, pg.RaiseException, pg.ProgramLimitExceeded)


def insert_rows(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> int:
    """Inserts every `new` row and its binding; returns how many the database took."""
    connection.execute(
        sql.SQL(
            "create temp table ls_new on commit drop as"
            " select row_number() over (order by _row) as _n, _row, _key, {} as erp_id"
            " from ls_plan where decision = 'new'"
        ).format(_new_key(connection, shape))
    )
    count = _count(connection, "ls_new")
    rows = _insert_statement(shape)
    bindings = _insert_bindings(shape, "insert", "ls_new")

    def write(first: int, last: int) -> None:
        span = {"first": first, "last": last}
        connection.execute(rows, span)
        connection.execute(bindings, span | {"run": run_id, "fetched": fetched})

    return count - _write_halving(connection, "ls_new", count, write)


def update_rows(connection: psycopg.Connection, shape: Shape, run_id: int) -> tuple[int, dict[str, int]]:
    """Writes every taken cell with its before and after image.

    Returns how many bound rows were updated (adopted ones are counted elsewhere), and the rows by column.
    """
    connection.execute(
        "create temp table ls_update on commit drop as"
        " select row_number() over (order by _row) as _n, _row, _key, erp_id, array_agg(column_name) as columns,"
        "  array_agg(erp) as before, array_agg(staged) as after"
        " from ls_cell where outcome = 'take' group by _row, _key, erp_id"
    )
    count = _count(connection, "ls_update")
    taken = {
        str(name): int(rows)
        for name, rows in connection.execute(
            "select c, count(*) from ls_update, unnest(columns) c group by c order by 2 desc, 1"
        )
    }
    if count:
        rows = _update_statement(shape, list(taken))
        changes = _insert_changes(shape)

        def write(first: int, last: int) -> None:
            span = {"first": first, "last": last}
            connection.execute(rows, span)
            connection.execute(changes, span | {"run": run_id})

        _write_halving(connection, "ls_update", count, write)
    row = connection.execute(
        "select count(*) from ls_update u join ls_plan p using (_row) where p.decision = 'differs'"
        " and not exists (select 1 from ls_parked k where k._row = u._row)"
    ).fetchone()
    return int(row[0]) if row else 0, taken


def bind_adopted(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> int:
    """Remembers which ERP rows the adopted records are; returns how many."""
    connection.execute(
        "create temp table ls_adopted on commit drop as select row_number() over (order by _row) as _n, _row,"
        " _key, erp_id"
        " from ls_plan p where decision = 'adopt' and not exists (select 1 from ls_parked k where k._row = p._row)"
    )
    span = {"first": 1, "last": _count(connection, "ls_adopted")}
    parameters = span | {"run": run_id, "fetched": fetched}
    return connection.execute(_insert_bindings(shape, "adopt", "ls_adopted"), parameters).rowcount


def rebase_bindings(connection: psycopg.Connection, shape: Shape, run_id: int, fetched: list[int]) -> None:
    """Moves the base of bound rows to what was taken in; columns that wait for a person stay where they were."""
    base, erp_base = [], []
    for column in shape.columns:
        old = shape.base_of(column)
        old_erp = sql.SQL("case when b.erp_base is null then {} else {} end").format(
            old, shape.base_of(column, "erp_base")
        )
        name = sql.Literal(column)
        new = sql.SQL("{}::text").format(shape.staged(column))
        base.append(
            sql.SQL("case when {} = any(g.waits) or {} then {} else {} end").format(
                name, shape.is_kept(column), old, new
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
            " from (select p._row, p._key, {base} as base, {erp_base} as erp_base"
            "  from ls_plan p join ls_stage s using (_row)"
            "  join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = p._key"
            "  left join (select _row, array_agg(column_name) filter (where outcome = 'wait') as waits,"
            "    array_agg(column_name) filter (where outcome = 'keep') as keeps from ls_cell group by _row) g"
            "   on g._row = p._row"
            "  where p.decision = 'differs' and not exists (select 1 from ls_parked k where k._row = p._row)) x"
            " where t.entity_id = {entity} and t.legacy_key = x._key"
            "  and (t.base is distinct from x.base or t.missing_since is not null or t.column_set_id <> {column_set}"
            "   or t.erp_base is distinct from case when x.erp_base is distinct from x.base then x.erp_base end)"
        ).format(
            column_set=sql.Literal(shape.column_set_id),
            base=shape.base_array(base),
            erp_base=shape.base_array(erp_base),
            entity=sql.Literal(shape.entity_id),
        ),
        {"run": run_id, "fetched": fetched},
    )


def backfill_parents(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Fills blank columns of referenced rows from their children; of several children the first by key counts."""
    written = 0
    for word in shape.mapping.backfill:
        reference = shape.mapping.fields[word.through].reference
        assert reference is not None  # the loader refuses a backfill through anything else
        column = sql.Identifier(word.into)
        written += connection.execute(
            sql.SQL(
                "with filled as (update {to} t set {into} = x.value from"
                "  (select distinct on (s.{through}) s.{through} as id, s.{column} as value, s._key from ls_stage s"
                "    where s.{through} is not null and coalesce(s.{column}::text, '') <> '' order by 1, s._key) x"
                "  where t.id = x.id and coalesce(t.{into}::text, '') = '' returning t.id, x._key, x.value)"
                " insert into legacy_sync.change (run_id, entity_id, erp_table, legacy_key, erp_key, kind,"
                " columns, before, after)"
                " select %(run)s, {entity}, {to_name}, _key, id::text, 'backfill', array[{into_name}],"
                " array[''], array[value::text]"
                " from filled"
            ).format(
                to=sql.Identifier(reference.to),
                into=column,
                through=sql.Identifier(word.through),
                column=sql.Identifier(word.column),
                entity=sql.Literal(shape.entity_id),
                to_name=sql.Literal(reference.to),
                into_name=sql.Literal(word.into),
            ),
            {"run": run_id},
        ).rowcount
    return written


def _new_key(connection: psycopg.Connection, shape: Shape) -> sql.Composed:
    """An expression that yields a new primary key; sequences stay ahead because it asks them."""
    if shape.key.type == "uuid":
        return sql.SQL("gen_random_uuid()").format()
    row = connection.execute(
        "select pg_get_serial_sequence(%s, %s)", [shape.erp.as_string(connection), shape.key.name]
    ).fetchone()
    return sql.SQL("nextval({})").format(sql.Literal(row[0] if row else None))


def _insert_statement(shape: Shape) -> sql.Composed:
    target = shape.mapping.target
    values = {c: shape.effective(c, shape.constant(c)) for c in shape.columns}
    values |= {c: shape.constant(c) for c in target.on_insert if c not in values}
    values |= {c: sql.SQL("now()").format() for c in (target.created_at, target.updated_at) if c}
    names = [shape.key.name, *values]
    override = sql.SQL(" overriding system value") if shape.key.is_identity else sql.SQL("")
    return sql.SQL(
        "insert into {erp} ({names}){override} select n.erp_id, {values} from ls_new n join ls_stage s using (_row)"
        " where n._n between %(first)s and %(last)s and not exists (select 1 from ls_parked k where k._row = n._row)"
        " order by n._n"
    ).format(
        erp=shape.erp,
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        override=override,
        values=sql.SQL(", ").join(values.values()),
    )


def _insert_bindings(shape: Shape, origin: str, table: str) -> sql.Composed:
    """Bindings of new or adopted rows; what was not delivered is agreed on as the ERP has it."""
    if origin == "insert":
        agreed = [shape.effective(c, shape.constant(c)) for c in shape.columns]
        join = sql.SQL("").format()
    else:
        agreed = [_agreed_on_adoption(shape, c) for c in shape.columns]
        join = sql.SQL(" join {} e on e.{} = n.erp_id").format(shape.erp, shape.pk)
    return sql.SQL(
        "insert into legacy_sync.binding"
        " (entity_id, legacy_key, erp_key, column_set_id, base, origin, fetched, created_run, changed_run)"
        " select {entity}, n._key, n.erp_id::text, {column_set}, {base}, {origin},"
        "  (%(fetched)s::bigint[])[(n._row >> 32) + 1], %(run)s, %(run)s"
        " from {table} n join ls_stage s using (_row){join}"
        " where n._n between %(first)s and %(last)s and not exists (select 1 from ls_parked k where k._row = n._row)"
    ).format(
        entity=sql.Literal(shape.entity_id),
        column_set=sql.Literal(shape.column_set_id),
        base=shape.base_array(agreed),
        origin=sql.Literal(origin),
        table=sql.Identifier(table),
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
        " where e.{pk} = u.erp_id and u._n between %(first)s and %(last)s"
        "  and not exists (select 1 from ls_parked k where k._row = u._row)"
    ).format(erp=shape.erp, assignments=sql.SQL(", ").join(assignments), pk=shape.pk)


def _insert_changes(shape: Shape) -> sql.Composed:
    return sql.SQL(
        "insert into legacy_sync.change (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns,"
        " before, after)"
        " select %(run)s, {}, {}, u._key, u.erp_id::text, case p.decision when 'adopt' then 'adopt' else 'update' end,"
        "  u.columns, u.before, u.after from ls_update u join ls_plan p using (_row)"
        " where u._n between %(first)s and %(last)s and not exists (select 1 from ls_parked k where k._row = u._row)"
    ).format(sql.Literal(shape.entity_id), sql.Literal(shape.table.name))


def _write_halving(connection: psycopg.Connection, table: str, count: int, write: Callable[[int, int], None]) -> int:
    """Runs `write` over rows 1..count; what the database refuses is halved until one row is to blame and parked."""
    parked = 0
    spans = [(1, count)] if count else []
    while spans:
        first, last = spans.pop()
        try:
            with connection.transaction():
                connection.execute("set constraints all immediate")
                write(first, last)
        except _ROW_IS_TO_BLAME as error:
            if first < last:
                middle = (first + last) // 2
                spans += [(middle + 1, last), (first, middle)]
                continue
            _park_refused(connection, table, first, error)
            parked += 1
    return parked


def _park_refused(connection: psycopg.Connection, table: str, number: int, error: psycopg.Error) -> None:
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    connection.execute(
        sql.SQL(
            "insert into ls_parked select _row, _key, 'refused_by_database', %s, null, %s from {} where _n = %s"
        ).format(sql.Identifier(table)),
        [error.diag.column_name, f"{error.diag.message_primary or error}{detail}", number],
    )


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
    return int(row[0]) if row else 0
