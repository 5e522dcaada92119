"""What if a person settles a conflict with a value of their own? It takes the place of the staged one."""

from __future__ import annotations

import psycopg
from psycopg import errors as pg
from psycopg import sql

from legacy_sync.erp.catalog import Column
from legacy_sync.erp.shape import Shape


def stage_chosen_values(connection: psycopg.Connection, shape: Shape) -> bool:
    """Puts chosen values into the stage, so that they are checked and written like all others; False without any."""
    rows = connection.execute("select distinct column_name from ls_cell where outcome = 'set'").fetchall()
    for (column,) in rows:
        connection.execute(
            sql.SQL(
                "update ls_stage s set {} = c.chosen::{} from ls_cell c"
                " where c._row = s._row and c.column_name = {} and c.outcome = 'set'"
            ).format(
                sql.Identifier(column), sql.SQL(shape.table.columns[column].full_type), sql.Literal(column)
            )
        )  # fmt: skip
    return bool(rows)


def has_chosen_values(connection: psycopg.Connection) -> bool:
    """Whether any staged row has a chosen value."""
    return connection.execute("select from ls_cell where choice = 'value' limit 1").rowcount > 0


def as_stored(connection: psycopg.Connection, column: Column, value: str | None) -> tuple[str | None, str | None]:
    """How the column would hold this value, as text, and why it cannot, if so. Nothing is rounded or cut.

    An empty text means null in all columns but those of texts.
    """
    is_text = column.type in ("varchar", "text", "bpchar")
    if value is None or (value == "" and not is_text):
        return None, None if column.nullable else "the column must have a value"
    if "\x00" in value:
        return None, "a text of the database has no NUL"
    if is_text and column.max_length is not None and len(value) > column.max_length:
        return None, f"{len(value)} characters, and the column holds {column.max_length}"
    type_ = sql.SQL(column.full_type)
    try:
        with connection.transaction():
            row = connection.execute(
                sql.SQL("select %(value)s::{}::text, {}").format(type_, _is_whole(column)), {"value": value}
            ).fetchone()
    except pg.DataError as error:
        return None, error.diag.message_primary or str(error)
    assert row is not None  # a select without from always has a row
    return (str(row[0]), None) if row[1] else (None, f"the column holds {column.full_type}, which would round it")


def _is_whole(column: Column) -> sql.Composed:
    if column.type != "numeric":
        return sql.SQL("true").format()
    return sql.SQL("%(value)s::numeric = %(value)s::{}").format(sql.SQL(column.full_type))
