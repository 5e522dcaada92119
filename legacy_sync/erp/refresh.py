"""Which texts in other tables are made of the rows just written, and have to follow them?

A customer is named after its address: when the address changes, so does the name, although nothing of the customer
changed. Only texts that nobody edited in the ERP since both sides agreed are written.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from legacy_sync.erp.late_values import compositions
from legacy_sync.erp.shape import Shape
from legacy_sync.mapping.model import ComposePart


def note_touched(connection: psycopg.Connection, shape: Shape) -> None:
    """Fills `ls_touched` with the ERP rows the present chunk inserted or updated."""
    connection.execute("drop table if exists ls_touched")
    connection.execute(
        sql.SQL("create temp table ls_touched as select p.erp_id::{} as id from ls_plan p").format(shape.pk_type)
    )
    connection.execute("analyze ls_touched")


def refresh_compositions(connection: psycopg.Connection, source: Shape, shape: Shape, run_id: int) -> int:
    """Writes the texts of `shape` that are made of touched rows of `source`; returns how many rows changed."""
    written = 0
    for name, field in shape.mapping.fields.items():
        parts = [part for composition in field.compose for part in composition.parts]
        wheres = list(_affected(source, shape, parts))
        if wheres and not field.origins:
            written += _refresh(connection, shape, name, sql.SQL(" or ").join(wheres), run_id)
    return written


def _affected(source: Shape, shape: Shape, parts: list[ComposePart]) -> Iterator[sql.Composed]:
    """SQL conditions over e: the row is composed of a touched row, as that is now or was before."""
    table = source.mapping.target.table
    for part in parts:
        reference = shape.mapping.fields[part.through].reference if part.through else None
        if reference and reference.to == table:
            yield sql.SQL("e.{} in (select id from ls_touched)").format(sql.Identifier(str(part.through)))
        if part.to == table:
            there, here = next(iter(part.where.items()))
            yield sql.SQL(
                "e.{here}::text in (select t.{there}::text from {table} t join ls_touched x on x.id = t.{key}"
                " union select c.erp from ls_cell c where c.column_name = {name})"
            ).format(
                here=sql.Identifier(here),
                there=sql.Identifier(there),
                table=source.erp,
                key=source.pk,
                name=sql.Literal(there),
            )


def _refresh(connection: psycopg.Connection, shape: Shape, name: str, affected: sql.Composed, run_id: int) -> int:
    connection.execute("drop table if exists ls_affected")
    connection.execute(
        sql.SQL("create temp table ls_affected as select e.{} as id from {} e where {}").format(
            shape.pk, shape.erp, affected
        )
    )
    connection.execute("analyze ls_affected")
    rows = sql.SQL("{} e join ls_affected a on a.id = e.{}").format(shape.erp, shape.pk)
    joins, texts = compositions(shape, shape.mapping.fields[name].compose, _own, rows)
    places = {i: names.index(name) + 1 for i, names in shape.column_sets.items() if name in names}
    base = sql.SQL(" ").join(
        sql.SQL("when {} then {}").format(sql.Literal(i), sql.Literal(place)) for i, place in places.items()
    )
    updated_at = shape.mapping.target.updated_at
    stamp = sql.SQL(", {} = now()").format(sql.Identifier(updated_at)) if updated_at else sql.SQL("")
    return connection.execute(
        sql.SQL(
            "with v as (select e.{pk} as id, e.{name}::text as before, coalesce({texts}) as value from {rows}{joins}),"
            " due as (select v.*, b.legacy_key, case b.column_set_id {base} end as place from v"
            "  join legacy_sync.binding b on b.entity_id = {entity} and b.erp_key = v.id::text"
            "  where v.value is distinct from v.before and v.value is not null and b.erp_base is null"
            "   and b.base[case b.column_set_id {base} end] is not distinct from v.before),"
            " written as (update {erp} e set {name} = due.value{stamp} from due where e.{pk} = due.id),"
            " agreed as (update legacy_sync.binding b set base[due.place] = due.value, changed_run = %(run)s from due"
            "  where b.entity_id = {entity} and b.legacy_key = due.legacy_key)"
            " insert into legacy_sync.change"
            "  (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
            " select %(run)s, {entity}, {table}, legacy_key, id::text, 'refresh', array[{label}], array[before],"
            "  array[value] from due"
        ).format(
            pk=shape.pk,
            name=sql.Identifier(name),
            label=sql.Literal(name),
            texts=sql.SQL(", ").join(texts),
            rows=rows,
            joins=joins,
            base=base,
            entity=sql.Literal(shape.entity_id),
            erp=shape.erp,
            stamp=stamp,
            table=sql.Literal(shape.table.name),
        ),
        {"run": run_id},
    ).rowcount


def _own(column: str) -> sql.Composed:
    return sql.SQL("e.{}").format(sql.Identifier(column))
