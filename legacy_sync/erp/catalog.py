"""What do pyERP's tables look like? Columns, keys, uniques and references, read from PostgreSQL's catalog."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row


@dataclass(frozen=True)
class Column:
    """One column; `type` is PostgreSQL's base name (int8, varchar, timestamptz, …), `full_type` as declared."""

    name: str
    type: str
    full_type: str
    nullable: bool
    has_default: bool
    is_identity: bool
    max_length: int | None
    precision: int | None
    scale: int | None


@dataclass(frozen=True)
class UniqueIndex:
    """One unique index; `predicate` is the SQL condition of a partial one, about the columns `condition_columns`."""

    name: str
    columns: tuple[str, ...]
    predicate: str | None
    condition_columns: tuple[str, ...] = ()

    @property
    def looked_at(self) -> tuple[str, ...]:
        """All columns that decide whether a row fits."""
        return tuple(dict.fromkeys((*self.columns, *self.condition_columns)))


@dataclass(frozen=True)
class Check:
    """One check of a row; `expression` is its SQL condition."""

    name: str
    columns: tuple[str, ...]
    expression: str


@dataclass(frozen=True)
class ForeignKey:
    """One reference of a single column to a single column."""

    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True)
class ErpTable:
    """One table of the ERP."""

    schema: str
    name: str
    columns: dict[str, Column]
    primary_key: tuple[str, ...]
    uniques: tuple[UniqueIndex, ...]
    foreign_keys: tuple[ForeignKey, ...]
    checks: tuple[Check, ...] = ()


_COLUMNS = """
select a.attname as name, t.typname as type, format_type(a.atttypid, a.atttypmod) as full_type,
       not a.attnotnull as nullable, a.atthasdef or a.attidentity <> '' as has_default,
       a.attidentity <> '' as is_identity, a.atttypmod as modifier
from pg_attribute a
join pg_type t on t.oid = a.atttypid
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
_INDEXES = """
select c.relname as name, i.indisprimary as is_primary,
       array(select a.attname from unnest(i.indkey::int2[]) with ordinality k(attnum, n)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by k.n) as columns,
       0 = any(i.indkey::int2[]) as has_expression,
       pg_get_expr(i.indpred, i.indrelid) as predicate,
       array(select a.attname from pg_depend d
             join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
             where i.indpred is not null and d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
               and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid > 0
             order by a.attnum) as condition_columns
from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = %s and i.indisunique and i.indisvalid
order by c.relname
"""
_FOREIGN_KEYS = """
select a.attname as column, f.relname as to_table, fa.attname as to_column
from pg_constraint k
join pg_class f on f.oid = k.confrelid
join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
join pg_attribute fa on fa.attrelid = k.confrelid and fa.attnum = k.confkey[1]
where k.conrelid = %s and k.contype = 'f' and cardinality(k.conkey) = 1
"""
_CHECKS = """
select k.conname as name, pg_get_expr(k.conbin, k.conrelid) as expression,
       array(select a.attname from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any(k.conkey)
             order by a.attnum) as columns
from pg_constraint k
where k.conrelid = %s and k.contype = 'c'
order by k.conname
"""


def find_table(connection: psycopg.Connection, name: str) -> ErpTable | None:
    """The table `name` (or `schema.name`) on the search path, or None if there is none."""
    parts = name.split(".")
    if len(parts) > 2 or "" in parts or "\x00" in name:  # PostgreSQL would not take it as a name
        return None
    row = connection.execute(
        "select c.oid, n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = to_regclass(%s) and c.relkind in ('r', 'p')",
        [_quoted(name)],
    ).fetchone()
    if row is None:
        return None
    oid, schema, table = row
    with connection.cursor(row_factory=dict_row) as cursor:
        columns = {r["name"]: _column(r) for r in cursor.execute(_COLUMNS, [oid])}
        indexes = cursor.execute(_INDEXES, [oid]).fetchall()
        foreign_keys = tuple(ForeignKey(**r) for r in cursor.execute(_FOREIGN_KEYS, [oid]))
        checks = tuple(Check(r["name"], tuple(r["columns"]), r["expression"]) for r in cursor.execute(_CHECKS, [oid]))
    primary = next((tuple(r["columns"]) for r in indexes if r["is_primary"]), ())
    uniques = tuple(
        UniqueIndex(r["name"], tuple(r["columns"]), r["predicate"], tuple(r["condition_columns"]))
        for r in indexes
        if not r["is_primary"] and not r["has_expression"]
    )
    return ErpTable(schema, table, columns, primary, uniques, foreign_keys, checks)


def list_tables(connection: psycopg.Connection) -> list[str]:
    """Names of all tables on the search path, for suggestions."""
    rows = connection.execute(
        "select c.relname from pg_class c where c.relkind in ('r', 'p') and pg_table_is_visible(c.oid)"
        " and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) order by 1"
    )
    return [r[0] for r in rows]


def _quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _column(row: dict[str, object]) -> Column:
    modifier = int(str(row["modifier"]))
    kind = str(row["type"])
    is_text = kind in ("varchar", "bpchar") and modifier > 4
    is_numeric = kind == "numeric" and modifier > 4
    return Column(
        name=str(row["name"]),
        type=kind,
        full_type=str(row["full_type"]),
        nullable=bool(row["nullable"]),
        has_default=bool(row["has_default"]),
        is_identity=bool(row["is_identity"]),
        max_length=modifier - 4 if is_text else None,
        precision=(modifier - 4) >> 16 if is_numeric else None,
        scale=(modifier - 4) & 0x7FF if is_numeric else None,
    )
