"""Where do converted rows wait until they are decided? A temporary table of one load, filled by COPY."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
from psycopg import sql

ROW, KEY, MODIFIED = "_row", "_key", "_modified"
STAGE, PLAN, CELL, UPDATE = map(sql.Identifier, ("ls_stage", "ls_plan", "ls_cell", "ls_update"))
_BITS = 62
_DROP = "drop table if exists ls_stage, ls_parked, ls_second_choice, ls_found, ls_plan, ls_known, ls_cell, ls_update"
_TABLES = """
create temp table ls_parked (_row bigint primary key, _key text not null, reason text not null, column_name text,
  value text, message text not null);
create temp table ls_second_choice (_row bigint, _key text, column_name text, value text);
create temp table ls_cell (_row bigint, _key text, erp_key text, column_name text, staged text, erp text, base text,
  erp_base text, policy text, outcome text, is_conflict boolean);
create temp table ls_update (_row bigint, _key text, erp_key text, columns text[], before text[], after text[])
"""
_CSV = pacsv.WriteOptions(include_header=False)


@dataclass(frozen=True)
class StagedColumn:
    """One column of the staging table; `copied` ones are in the batches, others are filled by SQL."""

    name: str
    type: str
    copied: bool = True


def keep_column(number: int) -> tuple[str, int]:
    """Mask column and bit that say, for the mapped column with this position, that the ERP value stays."""
    return f"_keep_{number // _BITS}", 1 << (number % _BITS)


def keep_columns(count: int) -> list[str]:
    """The mask columns for so many mapped columns."""
    return [f"_keep_{n}" for n in range(1 + (count - 1) // _BITS)]


def lookup_column(column: str, match: int) -> str:
    """The staged lookup text for one alternative of a reference."""
    return f"_ref_{match}_{column}"


def create_stage(connection: psycopg.Connection, columns: Sequence[StagedColumn]) -> None:
    """Creates the temporary tables of one load, empty; those of an earlier load of the session go."""
    defined = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type)) for c in columns)
    connection.execute(_DROP)
    connection.execute(sql.SQL("create temp table {} ({})").format(STAGE, defined))
    connection.execute(_TABLES)


def encode(batch: pa.RecordBatch) -> memoryview:
    """A batch as CSV in the form COPY reads: null is empty, an empty text is quoted."""
    sink = io.BytesIO()
    pacsv.write_csv(batch, sink, _CSV)
    return sink.getbuffer()


def copy_batch(connection: psycopg.Connection, names: Sequence[str], encoded: memoryview) -> None:
    """Appends one encoded batch to the staging table."""
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        STAGE, sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoded)


def drop_superseded(connection: psycopg.Connection) -> int:
    """Of several copies of one record the newest stays; returns how many went."""
    cursor = connection.execute(
        "delete from ls_stage s using (select _row, row_number() over (partition by _key order by _row desc) as n"
        " from ls_stage) d where d._row = s._row and d.n > 1"
    )
    return cursor.rowcount


def park_staged(connection: psycopg.Connection, select: sql.Composed, parameters: Sequence[object] = ()) -> int:
    """Moves rows out of the stage; `select` yields _row, _key, reason, column_name, value, message."""
    parked = connection.execute(
        sql.SQL("insert into ls_parked {} on conflict (_row) do nothing").format(select), parameters or None
    ).rowcount
    if parked:
        forget_parked(connection, STAGE)
    return parked


def forget_parked(connection: psycopg.Connection, *tables: sql.Identifier) -> None:
    """Takes parked rows out of other tables of the load."""
    for table in tables:
        connection.execute(sql.SQL("delete from {} t using ls_parked p where p._row = t._row").format(table))
