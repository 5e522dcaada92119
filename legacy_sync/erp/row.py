"""What does one ERP row look like now, and which rows does it refer to?"""

from __future__ import annotations

import psycopg
from psycopg import sql

from legacy_sync.erp.catalog import ErpTable


def find_row(connection: psycopg.Connection, table: ErpTable, key: str) -> dict[str, str | None] | None:
    """All columns of a row as texts, as the ledger keeps them; None if it is not there."""
    names = list(table.columns)
    texts = sql.SQL(", ").join(sql.SQL("e.{}::text").format(sql.Identifier(name)) for name in names)
    row = connection.execute(
        sql.SQL("select {} from {} e where e.{}::text = %s").format(
            texts, sql.Identifier(table.schema, table.name), sql.Identifier(table.primary_key[0])
        ),
        [key],
    ).fetchone()
    return dict(zip(names, row, strict=True)) if row else None


def find_keys(connection: psycopg.Connection, table: ErpTable, columns: tuple[str, ...], value: str) -> list[str]:
    """The keys of rows of which one of the columns has the value; of many the first ten."""
    if not columns:
        return []
    same = sql.SQL(" or ").join(sql.SQL("e.{}::text = %(value)s").format(sql.Identifier(c)) for c in columns)
    rows = connection.execute(
        sql.SQL("select e.{0}::text from {1} e where {2} order by e.{0} limit 10").format(
            sql.Identifier(table.primary_key[0]), sql.Identifier(table.schema, table.name), same
        ),
        {"value": value},
    )
    return [str(key) for (key,) in rows.fetchall()]
