"""Which bound records are gone from the legacy table, and what happens to their ERP rows?

The evidence is a list of all keys, tombstones, or records that the mapping no longer means. Each of the three finders
fills `ls_missing` (bindings) and `ls_missing_parked` (parked rows); the rest of the module works on these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import psycopg
from psycopg import sql

from legacy_sync.erp.edited import decide_edited
from legacy_sync.erp.shape import Shape
from legacy_sync.ledger import conflicts

_WITHOUT_KEY = ("no_key", "key_too_long", "unreadable", "not_a_record", "not_a_list")
"""reasons of parked rows whose key is not that of a record"""


def find_unlisted(connection: psycopg.Connection, entity_id: int, keys: Iterable[str], at: int) -> tuple[int, int]:
    """What a complete list of keys that was read `at` (microseconds since 1970) does not contain.

    Rows that were read later are left alone. Returns how many bindings are missing, of how many.
    """
    _copy(connection, "ls_seen", sql.SQL("_key text"), ((key,) for key in keys))
    gone = sql.SQL("not exists (select from ls_seen x where x._key = {key})")
    return _fill(connection, entity_id, gone, at)


def find_deleted(connection: psycopg.Connection, entity_id: int, keys: Iterable[str], at: int) -> tuple[int, int]:
    """What was known to be deleted `at` (microseconds since 1970); rows that were read later are left alone.

    Returns how many bindings that are, of how many.
    """
    _copy(connection, "ls_deleted", sql.SQL("_key text"), ((key,) for key in keys))
    gone = sql.SQL("exists (select from ls_deleted x where x._key = {key})")
    return _fill(connection, entity_id, gone, at)


def find_unmeant(connection: psycopg.Connection, entity_id: int, keys: Iterable[tuple[str, int]]) -> tuple[int, int]:
    """Records that were read (key, when) and that the mapping does not mean, if they were taken in before.

    Returns how many bindings that are, of how many.
    """
    _copy(connection, "ls_unmeant", sql.SQL("_key text, fetched bigint"), keys)
    gone = sql.SQL("exists (select from ls_unmeant x where x._key = {key} and x.fetched > {fetched})")
    return _fill(connection, entity_id, gone, 2**62)


def _copy(connection: psycopg.Connection, name: str, columns: sql.SQL, rows: Iterable[tuple[object, ...]]) -> None:
    table = sql.Identifier(name)
    connection.execute(sql.SQL("drop table if exists {}").format(table))
    connection.execute(sql.SQL("create temp table {} ({})").format(table, columns))
    with connection.cursor() as cursor, cursor.copy(sql.SQL("copy {} from stdin").format(table)) as copy:
        for row in rows:
            copy.write_row(row)
    connection.execute(sql.SQL("create index on {} using hash (_key)").format(table))
    connection.execute(sql.SQL("analyze {}").format(table))


def _fill(connection: psycopg.Connection, entity_id: int, gone: sql.SQL, at: int) -> tuple[int, int]:
    """`gone` is a condition on the legacy key {key}, last read at {fetched}."""
    connection.execute("drop table if exists ls_missing, ls_missing_parked")
    values = {"entity": entity_id, "at": at, "reasons": list(_WITHOUT_KEY)}
    connection.execute(
        sql.SQL(
            "create temp table ls_missing as select b.legacy_key as _key, b.erp_key from legacy_sync.binding b"
            " where b.entity_id = %(entity)s and b.missing_since is null and b.fetched <= %(at)s and {}"
        ).format(gone.format(key=sql.Identifier("b", "legacy_key"), fetched=sql.Identifier("b", "fetched"))),
        values,
    )
    connection.execute(
        sql.SQL(
            "create temp table ls_missing_parked as select q.id from legacy_sync.quarantine q"
            " where q.entity_id = %(entity)s and q.status in ('open', 'watching') and q.fetched <= %(at)s"
            " and not q.reason = any(%(reasons)s) and {}"
        ).format(gone.format(key=sql.Identifier("q", "legacy_key"), fetched=sql.Identifier("q", "fetched"))),
        values,
    )
    row = connection.execute(
        "select (select count(*) from ls_missing),"
        " case when exists (select from ls_missing) then"
        "  (select count(*) from legacy_sync.binding where entity_id = %(entity)s and missing_since is null)"
        " else 0 end",
        values,
    ).fetchone()
    assert row is not None  # a select without from always has a row
    return int(row[0]), int(row[1])


def sample_missing(connection: psycopg.Connection, limit: int) -> list[str]:
    """Some of the missing legacy keys."""
    rows = connection.execute("select _key from ls_missing order by _key limit %s", [limit])
    return [str(key) for (key,) in rows.fetchall()]


def note_missing(connection: psycopg.Connection, entity_id: int, run_id: int, at: int) -> int:
    """Writes down since when the records are missing; copies that were read before `at` do not bring them back.

    Parked rows whose record is gone are closed; returns how many.
    """
    connection.execute(
        "update legacy_sync.binding b set missing_since = now(), changed_run = %s, fetched = greatest(b.fetched, %s)"
        " from ls_missing m where b.entity_id = %s and b.legacy_key = m._key",
        [run_id, at, entity_id],
    )
    return connection.execute(
        "update legacy_sync.quarantine q set status = 'discarded', closed_at = now(), closed_by = 'run ' || %s,"
        " last_run = %s, comment = 'the record is gone from the legacy table'"
        " from ls_missing_parked m where q.id = m.id",
        [run_id, run_id],
    ).rowcount


# --- policy: set ---------------------------------------------------------------------------------


def mark_missing_rows(connection: psycopg.Connection, shape: Shape, run_id: int) -> tuple[int, int]:
    """Sets the declared columns of the ERP rows, with before images; all other values stay.

    Rows are those in `ls_missing`, and those that waited since people had edited them. The new values become the base
    of mapped columns, so that a record that comes back brings its own again. Returns how many rows were set, and how
    many wait.
    """
    connection.execute("drop table if exists ls_doomed")
    connection.execute(
        sql.SQL(
            "create temp table ls_doomed as select _key, erp_key from ls_missing"
            " union select b.legacy_key, b.erp_key from legacy_sync.conflict c join legacy_sync.binding b"
            "  using (entity_id, legacy_key) where c.entity_id = {} and c.status = 'open'"
            "  and c.sort = 'gone_in_legacy' and b.missing_since is not null"
        ).format(sql.Literal(shape.entity_id))
    )
    waiting = decide_edited(connection, shape)
    connection.execute("update ls_edited set is_done = true where verdict = 'legacy'")
    values = {c: shape.literal(c, v) for c, v in shape.mapping.deletes.set.items()}
    connection.execute(
        sql.SQL(
            "select 1 from {} e where e.{}::text in (select erp_key from ls_doomed where not is_edited)"
            " order by 1 for update"
        ).format(shape.erp, shape.pk)
    )
    rows = connection.execute(_insert_changes(shape, values), {"run": run_id}).rowcount
    connection.execute(_update_rows(shape, values))
    mapped = {c: v for c, v in values.items() if c in shape.columns}
    if mapped:
        base = [sql.SQL("{}::text").format(mapped[c]) if c in mapped else shape.base_of(c) for c in shape.columns]
        connection.execute(
            sql.SQL(
                "update legacy_sync.binding b set base = {}, column_set_id = {} from ls_doomed m"
                " where b.entity_id = {} and b.legacy_key = m._key and not m.is_edited"
            ).format(shape.base_array(base), sql.Literal(shape.column_set_id), sql.Literal(shape.entity_id))
        )
    return rows, waiting


def restore_returned(connection: psycopg.Connection, shape: Shape, run_id: int) -> None:
    """Records that came back: columns of the soft delete that are not mapped get their values from before it.

    A value that somebody changed since stays.
    """
    names = [c for c in shape.mapping.deletes.set if c not in shape.columns]
    if shape.mapping.deletes.policy != "set" or not names:
        return
    connection.execute("drop table if exists ls_returned")
    connection.execute(
        sql.SQL(
            "create temp table ls_returned as select distinct on (c.legacy_key) c.legacy_key, c.erp_key, c.columns,"
            " c.before, c.after from ls_plan p"
            " join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = p._key"
            " join legacy_sync.change c on c.entity_id = {entity} and c.legacy_key = p._key and c.erp_key = b.erp_key"
            " where p.decision = 'differs' and b.missing_since is not null and c.kind = 'delete'"
            " order by c.legacy_key, c.id desc"
        ).format(entity=sql.Literal(shape.entity_id))
    )
    for name in names:
        connection.execute(_restore(shape, name), {"run": run_id})


def _restore(shape: Shape, name: str) -> sql.Composed:
    """One statement: the column gets its old value where it still has that of the soft delete; the change is kept."""
    place = sql.SQL("array_position(r.columns, {})").format(sql.Literal(name))
    return sql.SQL(
        "with restored as (update {erp} e set {column} = r.before[{place}]::{type} from ls_returned r"
        "  where e.{pk}::text = r.erp_key and e.{column}::text is not distinct from r.after[{place}]"
        "   and r.before[{place}] is distinct from r.after[{place}]"
        "  returning r.legacy_key, r.erp_key, r.after[{place}] as old, r.before[{place}] as new)"
        " insert into legacy_sync.change"
        "  (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
        " select %(run)s, {entity}, {table}, legacy_key, erp_key, 'update', {names}, array[old], array[new]"
        " from restored"
    ).format(
        erp=shape.erp,
        column=sql.Identifier(name),
        place=place,
        type=sql.SQL(shape.table.columns[name].full_type),
        pk=shape.pk,
        entity=sql.Literal(shape.entity_id),
        table=sql.Literal(shape.table.name),
        names=sql.Literal([name]),
    )


def _insert_changes(shape: Shape, values: dict[str, sql.Composed]) -> sql.Composed:
    names = list(values)
    return sql.SQL(
        "insert into legacy_sync.change"
        " (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
        " select %(run)s, {entity}, {table}, m._key, m.erp_key, 'delete', {names}, {before}, {after}"
        " from ls_doomed m join {erp} e on e.{pk}::text = m.erp_key where not m.is_edited and ({differs})"
    ).format(
        entity=sql.Literal(shape.entity_id),
        table=sql.Literal(shape.table.name),
        names=sql.Literal(names),
        before=shape.base_array(sql.SQL("e.{}").format(sql.Identifier(c)) for c in names),
        after=shape.base_array(values[c] for c in names),
        erp=shape.erp,
        pk=shape.pk,
        differs=_differs(values),
    )


def _update_rows(shape: Shape, values: dict[str, sql.Composed]) -> sql.Composed:
    assignments = [sql.SQL("{} = {}").format(sql.Identifier(c), v) for c, v in values.items()]
    if shape.mapping.target.updated_at:
        assignments.append(sql.SQL("{} = now()").format(sql.Identifier(shape.mapping.target.updated_at)))
    return sql.SQL(
        "update {} e set {} from ls_doomed m where e.{}::text = m.erp_key and not m.is_edited and ({})"
    ).format(shape.erp, sql.SQL(", ").join(assignments), shape.pk, _differs(values))


def _differs(values: dict[str, sql.Composed]) -> sql.Composed:
    return sql.SQL(" or ").join(
        sql.SQL("e.{} is distinct from {}").format(sql.Identifier(c), v) for c, v in values.items()
    )


# --- policy: delete ------------------------------------------------------------------------------


def has_missing(connection: psycopg.Connection, entity_id: int) -> bool:
    """Whether the ledger knows records that are gone; their rows may still be there."""
    row = connection.execute(
        "select exists (select from legacy_sync.binding where entity_id = %s and missing_since is not null)",
        [entity_id],
    ).fetchone()
    return bool(row and row[0])


def delete_missing_rows(connection: psycopg.Connection, shape: Shape, run_id: int) -> tuple[int, int, int]:
    """Deletes the ERP rows of all records known to be gone, with before images; the bindings stay as tombstones.

    Rows that people edited stay unless that was decided otherwise (`edited.py`), and those that other rows refer to,
    until they do so no more. Returns how many rows were deleted, wait since they are edited, are referred to.
    """
    connection.execute("drop table if exists ls_doomed")
    connection.execute(
        sql.SQL(
            "create temp table ls_doomed as select b.legacy_key as _key, b.erp_key"
            " from legacy_sync.binding b join {erp} e on e.{pk}::text = b.erp_key"
            " where b.entity_id = {entity} and b.missing_since is not null"
            "  and (b.kept_at is null or b.kept_at < b.missing_since)"  # nobody took its deletion back
        ).format(erp=shape.erp, pk=shape.pk, entity=sql.Literal(shape.entity_id))
    )
    waiting = decide_edited(connection, shape)
    referring = sql.SQL(" or ").join([*_referring(connection, shape), sql.SQL("false")])
    deleted = 0
    while keys := connection.execute(_delete_rows(shape, referring), {"run": run_id}).fetchall():
        deleted += len(keys)
        conflicts.settle(connection, shape.entity_id, [key for (key,) in keys])
    row = connection.execute(
        sql.SQL("select count(*) from ls_doomed d join {} e on e.{}::text = d.erp_key where not d.is_edited").format(
            shape.erp, shape.pk
        )
    ).fetchone()
    connection.execute(
        sql.SQL(
            "update ls_edited x set is_done = true where not exists (select from {} e where e.{}::text = x.erp_key)"
        ).format(shape.erp, shape.pk)
    )
    return deleted, waiting, int(row[0]) if row else 0


def forget_deleted(connection: psycopg.Connection, shape: Shape) -> None:
    """Staged records that came back after their row was deleted are new ones."""
    connection.execute(
        sql.SQL(
            "delete from legacy_sync.binding b using ls_stage s where b.entity_id = {} and b.legacy_key = s._key"
            " and b.missing_since is not null and not exists (select from {} e where e.{}::text = b.erp_key)"
        ).format(sql.Literal(shape.entity_id), shape.erp, shape.pk)
    )


def _referring(connection: psycopg.Connection, shape: Shape) -> Iterator[sql.Composed]:
    """SQL conditions: a row of another table, or another row of this one, refers to the ERP row `e`."""
    rows = connection.execute(
        "select n.nspname, c.relname, a.attname from pg_constraint k join pg_class c on c.oid = k.conrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]"
        " join pg_attribute p on p.attrelid = k.confrelid and p.attnum = k.confkey[1]"
        " where k.contype = 'f' and k.confrelid = %s::regclass and p.attname = %s order by 1, 2, 3",
        [shape.erp.as_string(connection), shape.key.name],
    ).fetchall()
    for schema, table, column in rows:
        another = (schema, table) != (shape.table.schema, shape.table.name)
        itself = sql.SQL("").format() if another else sql.SQL(" and r.{0} <> e.{0}").format(shape.pk)
        yield sql.SQL("exists (select from {} r where r.{} = e.{}{})").format(
            sql.Identifier(schema, table), sql.Identifier(column), shape.pk, itself
        )


def _delete_rows(shape: Shape, referring: sql.Composable) -> sql.Composed:
    """Other keys of the records stay: they lead nowhere while the row is away, and an undo may bring it back."""
    names = list(shape.table.columns)
    return sql.SQL(
        "with gone as (delete from {erp} e using ls_doomed d where e.{pk}::text = d.erp_key and not d.is_edited"
        "  and not ({referring}) returning d._key, d.erp_key, {before} as before)"
        " insert into legacy_sync.change"
        "  (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
        " select %(run)s, {entity}, {table}, _key, erp_key, 'delete', {names}, before,"
        "  array_fill(null::text, array[{count}]) from gone returning legacy_key"
    ).format(
        erp=shape.erp,
        pk=shape.pk,
        referring=referring,
        before=shape.base_array(sql.SQL("e.{}").format(sql.Identifier(c)) for c in names),
        entity=sql.Literal(shape.entity_id),
        table=sql.Literal(shape.table.name),
        names=sql.Literal(names),
        count=sql.Literal(len(names)),
    )
