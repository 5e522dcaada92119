"""How does an undo become rows? Rows that came go, values go back, rows that went come back, and the ledger says so.

In that order, because unique values are checked row by row; references are checked at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import dict_row

from legacy_sync.erp.apply import placeholder
from legacy_sync.erp.undo_find import Target

Problem = tuple[int, str, str]
"""number of the row in `ls_undo_row`, kind, text"""

_MAY_GO = " and u.problem is null and u.erp_table = %(table)s"
_CHANGE = (
    "insert into legacy_sync.change"
    " (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after, taken_back)"
)


def write(connection: psycopg.Connection, targets: Sequence[Target], undo_runs: Mapping[int, int]) -> list[Problem]:
    """Undoes everything that has no problem; returns the rows that the database or other rows stand against.

    `undo_runs` has the run of the undo for each run that is undone. If anything is returned, the caller rolls back.
    """
    connection.execute("drop table if exists ls_undo_run")
    connection.execute("create temp table ls_undo_run (run_id bigint, undo_run bigint)")
    with connection.cursor() as cursor:
        cursor.executemany("insert into ls_undo_run values (%s, %s)", list(undo_runs.items()))
    connection.execute("set constraints all deferred")
    problems: list[Problem] = []
    for target in targets:
        problems += _in_halves(connection, target, "remove", _remove(target))
    for target in targets:
        problems += _set_values(connection, target)
    for target in targets:
        problems += _return(connection, target)
    for target in targets:
        problems += _referred(connection, target)
        problems += _dangling(connection, target)
    if not problems:
        connection.execute("set constraints all immediate")
        for statement in (_LEDGER_OF_VALUES, _ERP_BASE, _KEPT, _RELEASE, _HOLD):
            connection.execute(statement)
    return problems


# --- ERP rows ------------------------------------------------------------------------------------


def _remove(target: Target) -> sql.Composed:
    names = list(target.table.columns)
    return sql.SQL(
        "with gone as (delete from {erp} e using ls_undo_row u where e.{pk} = u.erp_key::{type}"
        "  and u.effect = 'remove'" + _MAY_GO + " and u.n between %(first)s and %(last)s"
        "  returning u.n, {image} as image)"
        " {change} select x.undo_run, u.entity_id, u.erp_table, u.legacy_key, u.erp_key, 'remove', {names}, g.image,"
        "  array_fill(null::text, array[{count}]), u.kind"
        " from gone g join ls_undo_row u using (n) join ls_undo_run x using (run_id)"
    ).format(
        erp=target.erp,
        pk=target.pk,
        type=target.pk_type,
        image=_image(names),
        change=sql.SQL(_CHANGE),
        names=sql.Literal(names),
        count=sql.Literal(len(names)),
    )


def _image(names: Sequence[str]) -> sql.Composed:
    texts = sql.SQL(", ").join(sql.SQL("e.{}::text").format(sql.Identifier(name)) for name in names)
    return sql.SQL("array[{}]::text[]").format(texts)


def _set_values(connection: psycopg.Connection, target: Target) -> list[Problem]:
    rows = connection.execute(
        "select distinct c from ls_undo_row u, unnest(u.columns) c where u.effect = 'set'" + _MAY_GO + " order by 1",
        {"table": target.table.name},
    ).fetchall()
    columns = [str(name) for (name,) in rows]
    if not columns:
        return []
    for statement in _given_up_values(target, columns):
        connection.execute(statement, {"table": target.table.name})
    return _in_halves(connection, target, "set", _update(target, columns))


def _update(target: Target, columns: Sequence[str]) -> sql.Composed:
    assignments = [
        sql.SQL("{0} = case when {1} = any(u.columns) then {2} else e.{0} end").format(
            sql.Identifier(c), sql.Literal(c), _restored(target, c)
        )
        for c in columns
    ]
    if target.updated_at and target.updated_at not in columns:
        assignments.append(
            sql.SQL("{0} = case when u.is_save then now() else e.{0} end").format(sql.Identifier(target.updated_at))
        )
    return sql.SQL(
        "update {erp} e set {assignments} from ls_undo_row u where e.{pk} = u.erp_key::{type} and u.effect = 'set'"
        + _MAY_GO
        + " and u.n between %(first)s and %(last)s"
    ).format(erp=target.erp, pk=target.pk, type=target.pk_type, assignments=sql.SQL(", ").join(assignments))


def _restored(target: Target, name: str) -> sql.Composed:
    """The image of a column in its type; a blank that was kept as a text is null where no text may be."""
    column = target.table.columns[name]
    text = sql.SQL("u.before[array_position(u.columns, {})]").format(sql.Literal(name))
    if column.type not in ("varchar", "text", "bpchar"):
        text = sql.SQL("nullif({}, '')").format(text)
    return sql.SQL("({})::{}").format(text, sql.SQL(column.full_type))


def _given_up_values(target: Target, columns: Sequence[str]) -> Iterator[sql.Composed]:
    """Statements that free unique values which pass from one of the rows to another, as a load does."""
    for index in target.table.uniques:
        for name in (c for c in index.columns if c in columns):
            empty = placeholder(target.table, name, target.pk)
            if empty is None:
                continue
            yield sql.SQL(
                "update {erp} e set {column} = {empty} from ls_undo_row u where e.{pk} = u.erp_key::{type}"
                "  and u.effect = 'set' and {name} = any(u.columns)" + _MAY_GO + " and e.{column} in"
                "  (select {restored} from ls_undo_row u where u.effect = 'set' and {name} = any(u.columns)"
                + _MAY_GO
                + ")"
            ).format(
                erp=target.erp,
                column=sql.Identifier(name),
                empty=empty,
                pk=target.pk,
                type=target.pk_type,
                name=sql.Literal(name),
                restored=_restored(target, name),
            )
            break


def _return(connection: psycopg.Connection, target: Target) -> list[Problem]:
    """Inserts rows as they were, with their key; columns that are new since get their default."""
    generated = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attgenerated <> ''",
        [target.erp.as_string(connection)],
    ).fetchall()
    images = connection.execute(
        "select distinct u.columns from ls_undo_row u where u.effect = 'return'" + _MAY_GO,
        {"table": target.table.name},
    ).fetchall()
    without = {str(name) for (name,) in generated}
    problems = []
    for (columns,) in images:  # as the table was then
        problems += _in_halves(connection, target, "return", _insert(target, columns, without))
    _note_returned(connection, target)
    return problems


def _insert(target: Target, columns: Sequence[str], without: Set[str]) -> sql.Composed:
    names = [c for c in columns if c not in without]
    identity = target.table.columns[target.table.primary_key[0]].is_identity
    return sql.SQL(
        "insert into {erp} ({names}){override} select {values} from ls_undo_row u where u.effect = 'return'"
        + _MAY_GO
        + " and u.columns = {columns}::text[] and u.n between %(first)s and %(last)s"
    ).format(
        erp=target.erp,
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        override=sql.SQL(" overriding system value" if identity else ""),
        values=sql.SQL(", ").join(_restored(target, name) for name in names),
        columns=sql.Literal(list(columns)),
    )


def _note_returned(connection: psycopg.Connection, target: Target) -> None:
    images = list(target.table.columns)
    connection.execute(
        sql.SQL(
            "{change} select x.undo_run, u.entity_id, u.erp_table, u.legacy_key, u.erp_key, 'return', {names},"
            "  array_fill(null::text, array[{count}]), {image}, u.kind"
            " from ls_undo_row u join ls_undo_run x using (run_id) join {erp} e on e.{pk} = u.erp_key::{type}"
            " where u.effect = 'return'" + _MAY_GO
        ).format(
            change=sql.SQL(_CHANGE),
            names=sql.Literal(images),
            count=sql.Literal(len(images)),
            image=_image(images),
            erp=target.erp,
            pk=target.pk,
            type=target.pk_type,
        ),
        {"table": target.table.name},
    )


def _in_halves(connection: psycopg.Connection, target: Target, effect: str, statement: sql.Composed) -> list[Problem]:
    """Runs a statement over all rows; what the database refuses is halved until one row is to blame."""
    problems: list[Problem] = []
    spans = [(0, 2**62)]
    while spans:
        first, last = spans.pop()
        values = {"table": target.table.name, "first": first, "last": last, "effect": effect}
        try:
            with connection.transaction():
                connection.execute(statement, values)
        except (pg.IntegrityError, pg.DataError, pg.RaiseException) as error:
            row = connection.execute(
                "select count(*), min(u.n), percentile_disc(0.5) within group (order by u.n) from ls_undo_row u"
                " where u.effect = %(effect)s and u.n between %(first)s and %(last)s" + _MAY_GO,
                values,
            ).fetchone()
            assert row is not None  # an aggregate always has a row
            if row[0] > 1:
                spans += [(row[2] + 1, last), (first, row[2])]
            else:
                detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
                problems.append((int(row[1]), "refused_by_database", f"{error.diag.message_primary}{detail}"))
    return problems


# --- references ----------------------------------------------------------------------------------


def _referred(connection: psycopg.Connection, target: Target) -> list[Problem]:
    """Removed rows that others refer to still."""
    references = connection.execute(
        "select n.nspname, c.relname, a.attname from pg_constraint k join pg_class c on c.oid = k.conrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]"
        " join pg_attribute p on p.attrelid = k.confrelid and p.attnum = k.confkey[1]"
        " where k.contype = 'f' and k.confrelid = %s::regclass and p.attname = %s order by 1, 2, 3",
        [target.erp.as_string(connection), target.table.primary_key[0]],
    ).fetchall()
    problems: list[Problem] = []
    for schema, table, column in references:
        rows = connection.execute(
            sql.SQL(
                "select u.n, 'referred', format('%%s rows of %%s refer to it by %%s', count(*), {table}, {column})"
                " from ls_undo_row u join {other} r on r.{by} = u.erp_key::{type} where u.effect = 'remove'"
                + _MAY_GO
                + " group by u.n"
            ).format(
                table=sql.Literal(table),
                column=sql.Literal(column),
                other=sql.Identifier(schema, table),
                by=sql.Identifier(column),
                type=target.pk_type,
            ),
            {"table": target.table.name},
        ).fetchall()
        problems += [(int(n), str(kind), str(text)) for n, kind, text in rows]
    return problems


def _dangling(connection: psycopg.Connection, target: Target) -> list[Problem]:
    """Restored rows that refer to a row which is not there any more."""
    problems: list[Problem] = []
    for key in target.table.foreign_keys:
        rows = connection.execute(
            sql.SQL(
                "select u.n, 'parent_gone', format('%%s: row %%s of %%s is not in the ERP any more', {column},"
                "  e.{by}, {to}) from ls_undo_row u join {erp} e on e.{pk} = u.erp_key::{type}"
                " where u.effect in ('set', 'return') and {column} = any(u.columns)" + _MAY_GO + " and e.{by} is not"
                " null and not exists (select from {parent} p where p.{there} = e.{by})"
            ).format(
                column=sql.Literal(key.column),
                by=sql.Identifier(key.column),
                to=sql.Literal(key.to_table),
                erp=target.erp,
                pk=target.pk,
                type=target.pk_type,
                parent=sql.Identifier(key.to_table),
                there=sql.Identifier(key.to_column),
            ),
            {"table": target.table.name},
        ).fetchall()
        problems += [(int(n), str(kind), str(text)) for n, kind, text in rows]
    return problems


def mark_problems(connection: psycopg.Connection, problems: Sequence[Problem]) -> None:
    """Writes the problems to their rows; the first one of a row counts."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "update ls_undo_row set problem = %s, detail = %s where n = %s and problem is null",
            [(kind, text, n) for n, kind, text in problems],
        )


# --- ledger --------------------------------------------------------------------------------------

_LEDGER_OF_VALUES = (
    _CHANGE
    + """
select x.undo_run, c.entity_id, c.erp_table, c.legacy_key, c.erp_key,
  case c.kind when 'undo' then 'redo' else 'undo' end,
  array_agg(c.column_name order by c.column_name), array_agg(c.after order by c.column_name),
  array_agg(c.before order by c.column_name), c.taken_back
from ls_undo_cell c join ls_undo_row u on u.erp_table = c.erp_table and u.erp_key = c.erp_key
join ls_undo_run x on x.run_id = c.run_id
where u.effect = 'set' and u.problem is null
group by x.undo_run, c.entity_id, c.erp_table, c.legacy_key, c.erp_key, c.kind = 'undo', c.kind, c.taken_back
"""
)
# What 4D last said stays; what both sides agreed on in the ERP is the restored value. The next run keeps it, and takes
# the next change of 4D without calling it a conflict.
_ERP_BASE = """
with touched as (
  select c.entity_id, c.legacy_key, c.erp_table, c.erp_key, max(x.undo_run) as undo_run
  from ls_undo_row u join ls_undo_cell c on c.erp_table = u.erp_table and c.erp_key = u.erp_key
  join ls_undo_run x on x.run_id = c.run_id
  join ls_undo_own o on o.entity_id = c.entity_id and o.erp_table = c.erp_table
  where u.effect in ('set', 'return') and u.problem is null group by 1, 2, 3, 4),
agreed as (
  select b.entity_id, b.legacy_key, t.undo_run,
    array_agg(case when c.column_name is null then i.value else c.before end order by i.place) as values
  from touched t join legacy_sync.binding b on b.entity_id = t.entity_id and b.legacy_key = t.legacy_key
    and b.erp_key = t.erp_key
  join legacy_sync.column_set n on n.id = b.column_set_id
  cross join lateral unnest(n.names, coalesce(b.erp_base, b.base)) with ordinality i(name, value, place)
  left join ls_undo_cell c on c.erp_table = t.erp_table and c.erp_key = t.erp_key and c.column_name = i.name
    and c.entity_id = t.entity_id and c.legacy_key = t.legacy_key
  group by 1, 2, 3)
update legacy_sync.binding b set changed_run = a.undo_run,
  erp_base = case when a.values is distinct from b.base then a.values end
from agreed a where b.entity_id = a.entity_id and b.legacy_key = a.legacy_key
"""
_KEPT = """
update legacy_sync.binding b set kept_at = case when y.is_kept then now() end from (
  select u.entity_id, u.legacy_key, u.erp_key, true as is_kept from ls_undo_row u
  where u.effect = 'return' and u.problem is null
  union
  select c.entity_id, c.legacy_key, c.erp_key, bool_or(c.kind <> 'undo') from ls_undo_cell c
  join ls_undo_row u on u.erp_table = c.erp_table and u.erp_key = c.erp_key
  where u.effect = 'set' and u.problem is null and c.taken_back = 'delete' group by 1, 2, 3) y
where b.entity_id = y.entity_id and b.legacy_key = y.legacy_key and b.erp_key = y.erp_key
  and b.missing_since is not null
"""
_RELEASE = """
delete from legacy_sync.held h using ls_undo_cell c join ls_undo_row u on u.erp_table = c.erp_table
  and u.erp_key = c.erp_key
where u.effect = 'set' and u.problem is null and h.erp_table = c.erp_table and h.erp_key = c.erp_key
  and h.column_name = c.column_name
"""
_HOLD = """
insert into legacy_sync.held (erp_table, erp_key, column_name, value, run_id)
select c.erp_table, c.erp_key, c.column_name, c.after, x.undo_run from ls_undo_cell c
join ls_undo_row u on u.erp_table = c.erp_table and u.erp_key = c.erp_key join ls_undo_run x on x.run_id = c.run_id
where u.effect = 'set' and u.problem is null and c.kind <> 'undo' and c.taken_back in ('derive', 'backfill')
"""


# --- what happened -------------------------------------------------------------------------------


def count_effects(connection: psycopg.Connection) -> list[tuple[int, str, str, int]]:
    """Run that is undone, table, effect, rows; of the rows without a problem."""
    rows = connection.execute(
        "select run_id, erp_table, effect, count(*) from ls_undo_row where problem is null"
        " group by 1, 2, 3 order by 1, 2, 3"
    )
    return [(int(run), str(table), str(effect), int(count)) for run, table, effect, count in rows.fetchall()]


def list_problems(connection: psycopg.Connection, limit: int) -> tuple[int, list[dict[str, str]]]:
    """How many rows have a problem, and the first of them."""
    row = connection.execute("select count(*) from ls_undo_row where problem is not null").fetchone()
    return int(row[0]) if row else 0, _rows(connection, "problem is not null", limit)


def list_rows(connection: psycopg.Connection, limit: int) -> list[dict[str, str]]:
    """Some of the rows that are undone."""
    return _rows(connection, "problem is null and effect <> 'nothing'", limit)


def _rows(connection: psycopg.Connection, where: str, limit: int) -> list[dict[str, str]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            sql.SQL(
                "select u.run_id, e.name as entity, u.erp_table, u.legacy_key, u.erp_key, u.effect, u.columns,"
                "  case when u.effect = 'set' then u.after end as now, case when u.effect <> 'remove' then u.before end"
                "  as restored, u.problem, u.detail"
                " from ls_undo_row u join legacy_sync.entity e on e.id = u.entity_id where {}"
                " order by u.erp_table, u.n limit %s"
            ).format(sql.SQL(where)),
            [limit],
        ).fetchall()
