"""What do children write into the rows they refer to? Blank columns they know, and values that follow from them."""

from __future__ import annotations

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape
from legacy_sync.mapping.model import Derive
from legacy_sync.pyerp import DERIVED


def backfill_parents(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Fills blank columns of referenced rows from their children; of several children the first by key counts."""
    written = 0
    for word in shape.mapping.backfill:
        reference = shape.mapping.fields[word.through].reference
        assert reference is not None  # the loader refuses a backfill through anything else
        column = sql.Identifier(word.into)
        written += connection.execute(
            sql.SQL(
                "with x as (select distinct on (s.{through}) s.{through} as id, s.{column} as value, s._key"
                "   from ls_stage s where s.{through} is not null and coalesce(s.{column}::text, '') <> ''"
                "   order by 1, s._key),"
                " blank as (select t.id, t.{into}::text as before, x.value, x._key from {to} t join x on x.id = t.id"
                "  where coalesce(t.{into}::text, '') = '' and {free} order by t.id for no key update of t),"
                " filled as (update {to} t set {into} = b.value from blank b where t.id = b.id"
                "  returning t.id, b._key, b.value, b.before)"
                " insert into legacy_sync.change (run_id, entity_id, erp_table, legacy_key, erp_key, kind,"
                " columns, before, after)"
                " select %(run)s, {entity}, {to_name}, _key, id::text, 'backfill', array[{into_name}],"
                " array[before], array[value::text]"
                " from filled"
            ).format(
                to=sql.Identifier(reference.to),
                into=column,
                through=sql.Identifier(word.through),
                column=sql.Identifier(word.column),
                entity=sql.Literal(shape.entity_id),
                to_name=sql.Literal(reference.to),
                into_name=sql.Literal(word.into),
                free=_is_free(reference.to, sql.SQL("t.id"), word.into, sql.SQL("x.value")),
            ),
            {"run": run_id},
        ).rowcount
    return written


def _is_free(table: str, key: sql.Composable, column: str, value: sql.Composable) -> sql.Composed:
    """SQL condition: nobody took this value out of that row by an undo."""
    return sql.SQL(
        "not exists (select from legacy_sync.held h where h.erp_table = {} and h.erp_key = {}::text"
        " and h.column_name = {} and h.value is not distinct from {}::text)"
    ).format(sql.Literal(table.split(".")[-1]), key, sql.Literal(column), value)


def derive_parents(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Computes the derived columns of all rows whose children changed; returns how many rows changed by that."""
    return sum(_derive(connection, shape, word, run_id) for word in shape.mapping.derive)


def _derive(connection: psycopg.Connection, shape: Shape, word: Derive, run_id: int) -> int:
    reference = shape.mapping.fields[word.through].reference
    assert reference is not None  # the loader refuses a derivation through anything else
    parent, key = shape.related.tables[reference.to], shape.related.key_of(reference.to)
    connection.execute("drop table if exists ls_parent")
    connection.execute(
        sql.SQL(
            "create temp table ls_parent as select id, min(_key) as _key from ("
            " select s.{through} as id, s._key from ls_plan p join ls_stage s using (_row)"
            " union all select c.erp::{type}, c._key from ls_cell c where c.column_name = {name}) x"
            " where id is not null group by id"
        ).format(through=sql.Identifier(word.through), type=sql.SQL(key.full_type), name=sql.Literal(word.through))
    )
    rule = sql.SQL(DERIVED[word.rule]).format(children=shape.erp, through=sql.Identifier(word.through))
    return connection.execute(
        sql.SQL(
            "with x as ({rule}), old as (select t.{key} as id, t.{into}::text as before, x.value::{type} as value"
            "  from {parent} t join x on x.id = t.{key} where t.{into} is distinct from x.value::{type}"
            "  and {free} order by t.{key} for no key update of t),"
            " done as (update {parent} t set {into} = old.value from old where old.id = t.{key})"
            " insert into legacy_sync.change"
            "  (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
            " select %(run)s, {entity}, {label}, p._key, old.id::text, 'derive', array[{into_name}],"
            "  array[old.before], array[old.value::text] from old join ls_parent p using (id)"
        ).format(
            rule=rule,
            key=sql.Identifier(key.name),
            into=sql.Identifier(word.into),
            into_name=sql.Literal(word.into),
            type=sql.SQL(parent.columns[word.into].full_type),
            parent=shape.related.identifier(reference.to),
            entity=sql.Literal(shape.entity_id),
            label=sql.Literal(reference.to),
            free=_is_free(
                reference.to,
                sql.SQL("t.{}").format(sql.Identifier(key.name)),
                word.into,
                sql.SQL("x.value::{}").format(sql.SQL(parent.columns[word.into].full_type)),
            ),
        ),
        {"run": run_id},
    ).rowcount
