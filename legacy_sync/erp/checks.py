"""Which rows would break a check of the ERP table? They are found in one go, before the database refuses them."""

from __future__ import annotations

import psycopg
from psycopg import errors as pg
from psycopg import sql

from legacy_sync.erp.catalog import Check, UniqueIndex
from legacy_sync.erp.plan import final_values
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import CELL, PLAN, forget_parked, park_staged


def park_checks(connection: psycopg.Connection, shape: Shape) -> int:
    """Parks the rows of the plan whose final values break a check, with its columns and values."""
    parked = 0
    for check in shape.table.checks:
        if any(c in shape.columns for c in check.columns) and shape.key.name not in check.columns:
            parked += _park_check(connection, shape, check)
    return parked


def _park_check(connection: psycopg.Connection, shape: Shape, check: Check) -> int:
    """A check that cannot be computed for some row is left to the database, which refuses that row alone."""
    names = ", ".join(check.columns)
    value = sql.SQL("nullif(concat_ws(' / ', {}), '')").format(
        sql.SQL(", ").join(sql.SQL("c.{}").format(sql.Identifier(c)) for c in check.columns)
    )
    select = sql.SQL(
        "select c._row, c._key, 'refused_by_database', {names}, {value},"
        " format('%s: the ERP refuses \"%s\" by its check %s', {names}::text, {value}, {check}::text)"
        " from (select * from ({candidates}) c where ({expression}) is false) c"
    ).format(
        names=sql.Literal(names),
        value=value,
        check=sql.Literal(check.name),
        candidates=final_values(shape, UniqueIndex(check.name, check.columns, check.expression)),
        expression=sql.SQL(check.expression),
    )
    try:
        with connection.transaction():
            parked = park_staged(connection, select)
    except pg.DataError:
        return 0
    if parked:
        forget_parked(connection, PLAN, CELL)
    return parked
