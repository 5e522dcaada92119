"""Which bound records did a complete fetch no longer contain, and what happens to their ERP rows?"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape


def find_missing(connection: psycopg.Connection, entity_id: int, keys: Iterable[str]) -> tuple[int, int]:
    """Compares all bindings with the keys of a complete fetch.

    Fills `ls_missing` with the bindings whose record is gone since; returns how many, of how many bindings.
    """
    connection.execute("drop table if exists ls_seen, ls_missing")
    connection.execute("create temp table ls_seen (_key text)")
    with connection.cursor() as cursor, cursor.copy("copy ls_seen from stdin") as copy:
        for key in keys:
            copy.write_row((key,))
    connection.execute("analyze ls_seen")
    connection.execute(
        "create temp table ls_missing as select b.legacy_key as _key, b.erp_key from legacy_sync.binding b"
        " where b.entity_id = %s and b.missing_since is null"
        " and not exists (select 1 from ls_seen s where s._key = b.legacy_key)",
        [entity_id],
    )
    row = connection.execute(
        "select (select count(*) from ls_missing),"
        " (select count(*) from legacy_sync.binding where entity_id = %s and missing_since is null)",
        [entity_id],
    ).fetchone()
    assert row is not None  # a select without from always has a row
    return int(row[0]), int(row[1])


def sample_missing(connection: psycopg.Connection, limit: int) -> list[str]:
    """Some of the missing legacy keys."""
    rows = connection.execute("select _key from ls_missing order by _key limit %s", [limit])
    return [str(key) for (key,) in rows.fetchall()]


def note_missing(connection: psycopg.Connection, entity_id: int, run_id: int) -> None:
    """Writes down since when the records are missing."""
    connection.execute(
        "update legacy_sync.binding b set missing_since = now(), changed_run = %s from ls_missing m"
        " where b.entity_id = %s and b.legacy_key = m._key",
        [run_id, entity_id],
    )


def mark_missing_rows(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Sets the declared columns of the ERP rows, with before images; all other values stay. Returns how many rows.

    The new values become the base of mapped columns, so that a record that comes back brings its own again.
    """
    values = {c: shape.literal(c, v) for c, v in shape.mapping.deletes.set.items()}
    connection.execute(
        sql.SQL("select 1 from {} e where e.{}::text in (select erp_key from ls_missing) order by 1 for update").format(
            shape.erp, shape.pk
        )
    )
    rows = connection.execute(_insert_changes(shape, values), {"run": run_id}).rowcount
    connection.execute(_update_rows(shape, values))
    mapped = {c: v for c, v in values.items() if c in shape.columns}
    if mapped:
        base = [sql.SQL("{}::text").format(mapped[c]) if c in mapped else shape.base_of(c) for c in shape.columns]
        connection.execute(
            sql.SQL(
                "update legacy_sync.binding b set base = {}, column_set_id = {} from ls_missing m"
                " where b.entity_id = {} and b.legacy_key = m._key"
            ).format(shape.base_array(base), sql.Literal(shape.column_set_id), sql.Literal(shape.entity_id))
        )
    return rows


def _insert_changes(shape: Shape, values: dict[str, sql.Composed]) -> sql.Composed:
    names = list(values)
    return sql.SQL(
        "insert into legacy_sync.change"
        " (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
        " select %(run)s, {entity}, {table}, m._key, m.erp_key, 'delete', {names}, {before}, {after}"
        " from ls_missing m join {erp} e on e.{pk}::text = m.erp_key where {differs}"
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
    return sql.SQL("update {} e set {} from ls_missing m where e.{}::text = m.erp_key and ({})").format(
        shape.erp, sql.SQL(", ").join(assignments), shape.pk, _differs(values)
    )


def _differs(values: dict[str, sql.Composed]) -> sql.Composed:
    return sql.SQL(" or ").join(
        sql.SQL("e.{} is distinct from {}").format(sql.Identifier(c), v) for c, v in values.items()
    )
