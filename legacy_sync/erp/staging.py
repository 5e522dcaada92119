"""Where do converted rows wait until they are decided? A temporary table of one load, filled by COPY."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
from psycopg import sql

ROW, KEY, MODIFIED, UNIT = "_row", "_key", "_modified", "_unit"
STAGE, PLAN, CELL, UPDATE = map(sql.Identifier, ("ls_stage", "ls_plan", "ls_cell", "ls_update"))
_BITS = 62
_DROP = "drop table if exists ls_stage, ls_parked, ls_second_choice, ls_found, ls_plan, ls_known, ls_cell, ls_update,"
_DROP += " ls_left_empty, ls_parent, ls_gone, ls_gone_cell"
_TABLES = """
create temp table ls_parked (_row bigint primary key, _key text not null, reason text not null, column_name text,
  value text, message text not null);
create temp table ls_left_empty (_row bigint, column_name text);
create temp table ls_second_choice (_row bigint, _key text, column_name text, value text);
create temp table ls_cell (_row bigint, _key text, erp_key text, column_name text, staged text, erp text, base text,
  erp_base text, policy text, outcome text, is_conflict boolean, is_first boolean, conflict_id bigint,
  seen_legacy text, seen_erp text, choice text, chosen text, chosen_by text);
create temp table ls_gone (_row bigint, _key text, erp_key text, conflict_id bigint, is_as_seen boolean,
  verdict text, by text);
create temp table ls_gone_cell (_row bigint, column_name text, base text, staged text);
create temp table ls_update (_row bigint, _key text, erp_key text, columns text[], before text[], after text[])
"""
_FITS = """
create or replace function pg_temp.ls_fits(value text, type text) returns boolean language plpgsql as $$ begin
  execute format('select %L::%s', value, type);
  return true;
exception when data_exception or integrity_constraint_violation then return false; end $$
"""
_CSV = pacsv.WriteOptions(include_header=False)


@dataclass(frozen=True)
class StagedColumn:
    """One column of the staging table; `copied` ones are in the batches, others are filled by SQL."""

    name: str
    type: str
    copied: bool = True
    becomes: str | None = None
    """the type it gets once its texts were tried: one of which only PostgreSQL knows what fits, such as an enum"""


def keep_column(number: int) -> tuple[str, int]:
    """Mask column and bit that say, for the mapped column with this position, that the ERP value stays."""
    return f"_keep_{number // _BITS}", 1 << (number % _BITS)


def keep_columns(count: int) -> list[str]:
    """The mask columns for so many mapped columns."""
    return [f"_keep_{n}" for n in range(1 + (count - 1) // _BITS)]


def lookup_column(column: str, match: int, value: int) -> str:
    """The staged value that one alternative of a reference looks for; several if it compares several columns."""
    return f"_ref_{match}_{value}_{column}"


def create_column(column: str, value: int) -> str:
    """The staged value of one column of a row that a reference may have to create."""
    return f"_new_{value}_{column}"


def other_key_column(number: int) -> str:
    """The staged value of one further attribute that names a record."""
    return f"_other_{number}"


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


def settle_types(connection: psycopg.Connection, columns: Sequence[StagedColumn]) -> int:
    """Gives columns that were copied as text their own types; rows whose text does not fit are parked."""
    parked = 0
    for column in (c for c in columns if c.becomes):
        name, kind = sql.Identifier(column.name), sql.SQL(column.becomes or "")
        connection.execute(_FITS)
        connection.execute(
            sql.SQL(
                "create temp table ls_unfit as select distinct {0} as value from ls_stage where {0} is not null"
            ).format(name)
        )
        connection.execute(
            sql.SQL("delete from ls_unfit where pg_temp.ls_fits(value, {})").format(sql.Literal(column.becomes))
        )
        parked += park_staged(
            connection,
            sql.SQL(
                "select s._row, s._key, 'not_valid', {0}, u.value, format('%s \"%s\" is no %s', {0}, u.value, {1})"
                " from ls_stage s join ls_unfit u on u.value = s.{2}"
            ).format(sql.Literal(column.name), sql.Literal(column.becomes), name),
        )
        connection.execute("drop table ls_unfit")
        connection.execute(sql.SQL("alter table ls_stage alter column {0} type {1} using {0}::{1}").format(name, kind))
    return parked


def drop_superseded(connection: psycopg.Connection, *, keep: Literal["newest", "oldest"] = "newest") -> int:
    """Of several copies of one record one stays; returns how many went."""
    order = sql.SQL("_row desc" if keep == "newest" else "_row")
    cursor = connection.execute(
        sql.SQL(
            "delete from ls_stage s using (select _row, row_number() over (partition by _key order by {}) as n"
            " from ls_stage) d where d._row = s._row and d.n > 1"
        ).format(order)
    )
    return cursor.rowcount


def has_doubles(connection: psycopg.Connection) -> bool:
    """Whether any key is staged twice."""
    row = connection.execute("select count(*) <> count(distinct _key) from ls_stage").fetchone()
    return bool(row and row[0])


def drop_known(connection: psycopg.Connection, entity_id: int, run_id: int) -> int:
    """Forgets staged records whose key an earlier portion of the same run has inserted; returns how many."""
    return connection.execute(
        "delete from ls_stage s using legacy_sync.binding b where b.entity_id = %s and b.legacy_key = s._key"
        " and b.created_run = %s",
        [entity_id, run_id],
    ).rowcount


def park_doubles(connection: psycopg.Connection, entity_id: int, run_id: int) -> int:
    """Parks records whose key came before, in this portion or in an earlier one of the same run."""
    select = sql.SQL(
        "select d._row, d._key, 'duplicate_key', null, d._key, format('the key \"%s\" came twice in one fetch', d._key)"
        " from (select _row, _key, row_number() over (partition by _key order by _row) as n from ls_stage) d"
        " where d.n > 1 or exists (select from legacy_sync.binding b where b.entity_id = {} and b.legacy_key = d._key"
        "  and b.created_run = {})"
    ).format(sql.Literal(entity_id), sql.Literal(run_id))
    return park_staged(connection, select)


def park_units(connection: psycopg.Connection, units: Sequence[str], label: str, spared: sql.Composed) -> int:
    """Parks all rows of these units, since a part of them cannot be used; not those `spared` by this condition."""
    select = sql.SQL(
        "select s._row, s._key, 'unit_incomplete', {label}, s._unit,"
        " format('%s %s: another row of it cannot be used, so the whole of it waits', {label}::text, s._unit)"
        " from ls_stage s where s._unit = any({units}) and not ({spared})"
    ).format(label=sql.Literal(label), units=sql.Literal(list(units)), spared=spared)
    return park_staged(connection, select)


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
