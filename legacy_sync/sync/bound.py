"""What does a load need to know besides its rows? A mapping with the tables and the other mappings around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg

from legacy_sync.erp.catalog import ErpTable, find_table
from legacy_sync.erp.related import Related, find_related
from legacy_sync.erp.shape import Shape
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping as EntityMapping
from legacy_sync.sync.workspace import require_table

KeyOwners = Mapping[tuple[str, str], tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class Bound:
    """A mapping, the ERP table it fills, the tables it refers to, and its number in the ledger.

    `key_owners` has, by table and legacy attribute, the entities whose records have it as their key, and those
    that have it as another key. `dependents` are mappings with texts made of this one's rows.
    """

    mapping: EntityMapping
    table: ErpTable
    related: Related
    entity_id: int
    key_owners: KeyOwners
    dependents: tuple[Bound, ...] = ()

    def shape(self, connection: psycopg.Connection, kept: Iterable[str] = ()) -> Shape:
        """What the statements of a portion need; `kept` are columns with cells that keep their ERP value."""
        current, sets = runs.column_sets(connection, self.entity_id, self.mapping.columns)
        return Shape(
            self.mapping, self.table, self.entity_id, current, sets, self.related, self.key_owners, frozenset(kept)
        )


def bind(connection: psycopg.Connection, mapping: EntityMapping, mappings: Iterable[EntityMapping]) -> Bound:
    """The mapping among all mappings of the project; raises ErpRefused if its table is not there."""
    others = [m for m in mappings if m.entity != mapping.entity]
    followers = [m for m in others if any(mapping.target.table in tables for tables in m.composed.values())]
    dependents = [_bind(connection, m, mappings, ()) for m in followers if find_table(connection, m.target.table)]
    return _bind(connection, mapping, mappings, tuple(dependents))


def _bind(
    connection: psycopg.Connection,
    mapping: EntityMapping,
    mappings: Iterable[EntityMapping],
    dependents: tuple[Bound, ...],
) -> Bound:
    table = require_table(connection, mapping)
    return Bound(
        mapping,
        table,
        find_related(connection, mapping, table),
        runs.get_entity_id(connection, mapping.entity),
        _key_owners(connection, mapping, list(mappings)),
        dependents,
    )


def _key_owners(connection: psycopg.Connection, mapping: EntityMapping, mappings: list[EntityMapping]) -> KeyOwners:
    owners = {}
    for reference in (field.reference for field in mapping.fields.values() if field.reference):
        loading = [m for m in mappings if m.target.table == reference.to]
        for key in (match.key for match in reference.match if match.key):
            own = [m.entity for m in loading if m.source.key == (key,)]
            other = [m.entity for m in loading if key in m.source.other_keys]
            owners[reference.to, key] = (_ids(connection, own), _ids(connection, other))
    return owners


def _ids(connection: psycopg.Connection, entities: list[str]) -> tuple[int, ...]:
    return tuple(runs.get_entity_id(connection, entity) for entity in entities)
