"""Which rows were loaded without a parent that has come since? They are linked without reading them again.

What such a row looked for is kept in the ledger; every run of its entity looks once more, as a set.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from legacy_sync.erp.references import link_staged
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import StagedColumn, create_stage, lookup_column
from legacy_sync.mapping.model import Mapping, Reference


def late_references(mapping: Mapping) -> Iterator[tuple[str, Reference]]:
    """References that a row may be loaded without, and that need nothing but what the record said."""
    for name, field in mapping.fields.items():
        reference = field.reference
        if reference is None or reference.if_missing != "null":
            continue
        if not any(found.from_column for match in reference.match for found in match.values.values()):
            yield name, reference


def remember_unlinked(connection: psycopg.Connection, shape: Shape) -> None:
    """Keeps what the staged rows without a parent looked for, and forgets those that have one now."""
    for name, reference in late_references(shape.mapping):
        lookups = shape.base_array(shape.staged(column) for column in _lookup_columns(name, reference))
        names = {
            "entity": sql.Literal(shape.entity_id),
            "label": sql.Literal(name),
            "name": sql.Identifier(name),
            "lookups": lookups,
        }
        connection.execute(
            sql.SQL(
                "delete from legacy_sync.unlinked u using ls_stage s where u.entity_id = {entity}"
                " and u.column_name = {label} and u.legacy_key = s._key and s.{name} is not null"
            ).format(**names)
        )
        connection.execute(
            sql.SQL(
                "insert into legacy_sync.unlinked as u (entity_id, legacy_key, column_name, lookups)"
                " select {entity}, s._key, {label}, {lookups} from ls_stage s"
                " where s.{name} is null and array_to_string({lookups}, '') <> ''"
                " on conflict (entity_id, column_name, legacy_key) do update set lookups = excluded.lookups"
                "  where u.lookups <> excluded.lookups"
            ).format(**names)
        )


def relink(connection: psycopg.Connection, shape: Shape, run_id: int) -> int:
    """Links the rows whose parent is there now; returns how many. Links that a person made meanwhile stay."""
    return sum(_relink(connection, shape, name, word, run_id) for name, word in late_references(shape.mapping))


def _relink(connection: psycopg.Connection, shape: Shape, name: str, reference: Reference, run_id: int) -> int:
    columns = [
        StagedColumn("_row", "bigint"),
        StagedColumn("_key", "text"),
        StagedColumn(name, shape.table.columns[name].full_type),
        *(
            StagedColumn(column, _type_of(shape, reference, number, path))
            for column, number, path in _paths(name, reference)
        ),
    ]
    create_stage(connection, columns)
    lookups = _lookup_columns(name, reference)
    values = [
        sql.SQL("u.lookups[{}]::{}").format(sql.Literal(n), sql.SQL(c.type)) for n, c in enumerate(columns[3:], start=1)
    ]
    waiting = connection.execute(
        sql.SQL(
            "insert into ls_stage (_row, _key, {names}) select row_number() over (), u.legacy_key, {values}"
            " from legacy_sync.unlinked u where u.entity_id = {entity} and u.column_name = {label}"
        ).format(
            names=sql.SQL(", ").join(map(sql.Identifier, lookups)),
            values=sql.SQL(", ").join(values),
            entity=sql.Literal(shape.entity_id),
            label=sql.Literal(name),
        )
    ).rowcount
    if not waiting:
        return 0
    connection.execute("analyze ls_stage")
    link_staged(connection, shape, name, reference)
    return connection.execute(_write(shape, name), {"run": run_id}).rowcount


def _write(shape: Shape, name: str) -> sql.Composed:
    updated_at = shape.mapping.target.updated_at
    places = {i: names.index(name) + 1 for i, names in shape.column_sets.items() if name in names}
    place = sql.SQL("case b.column_set_id {} end").format(
        sql.SQL(" ").join(sql.SQL("when {} then {}").format(sql.Literal(i), sql.Literal(n)) for i, n in places.items())
    )
    return sql.SQL(
        "with due as (select s._key, s.{name} as parent, e.{pk} as id, {place} as place from ls_stage s"
        "  join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = s._key"
        "  join {erp} e on e.{pk} = b.erp_key::{type}"
        "  where s.{name} is not null and e.{name} is null and b.erp_base is null"
        "   and b.base[{place}] is null order by e.{pk} for no key update of e),"
        " written as (update {erp} e set {name} = due.parent{stamp} from due where e.{pk} = due.id),"
        " agreed as (update legacy_sync.binding b set base[due.place] = due.parent::text, changed_run = %(run)s"
        "  from due where b.entity_id = {entity} and b.legacy_key = due._key),"
        " settled as (delete from legacy_sync.unlinked u using ls_stage s where u.entity_id = {entity}"
        "  and u.column_name = {label} and u.legacy_key = s._key and s.{name} is not null)"
        " insert into legacy_sync.change"
        "  (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
        " select %(run)s, {entity}, {table}, _key, id::text, 'relink', array[{label}], array[null::text],"
        "  array[parent::text] from due"
    ).format(
        name=sql.Identifier(name),
        label=sql.Literal(name),
        pk=shape.pk,
        type=shape.pk_type,
        place=place,
        entity=sql.Literal(shape.entity_id),
        erp=shape.erp,
        stamp=sql.SQL(", {} = now()").format(sql.Identifier(updated_at)) if updated_at else sql.SQL(""),
        table=sql.Literal(shape.table.name),
    )


def _paths(name: str, reference: Reference) -> Iterator[tuple[str, int, str]]:
    for number, match in enumerate(reference.match):
        for i, path in enumerate(match.values):
            yield lookup_column(name, number, i), number, path


def _lookup_columns(name: str, reference: Reference) -> list[str]:
    return [column for column, _, _ in _paths(name, reference)]


def _type_of(shape: Shape, reference: Reference, number: int, path: str) -> str:
    """The type the lookup is staged in: that of the column it is compared with, else text."""
    match = reference.match[number]
    column = None if match.key or match.compare != "equal" else shape.related.column(reference.to, path)
    return column.full_type if column and column.type not in ("varchar", "bpchar") else "text"
