"""Which tables stand around an ERP table, and which column does a path such as `box_id.code` mean?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from legacy_sync.erp.catalog import Column, ErpTable, find_table
from legacy_sync.mapping.model import Mapping


@dataclass(frozen=True)
class Related:
    """The tables a mapping names, by the name it uses."""

    tables: dict[str, ErpTable]

    def column(self, table: str, path: str) -> Column | None:
        """The column at the end of a path; None if there is none."""
        *through, name = path.split(".")
        found = self.tables.get(table)
        for reference in through:
            found = self.tables.get(_target_of(found, reference)) if found else None
        return found.columns.get(name) if found else None

    def joined(self, table: str, paths: list[str]) -> tuple[sql.Composed, dict[str, sql.Composed]]:
        """The FROM clause that reaches all paths from `table` (alias t), and each path as an expression."""
        source = sql.SQL("{} t").format(self.identifier(table))
        expressions: dict[str, sql.Composed] = {}
        aliases: dict[str, str] = {}
        for path in paths:
            *through, name = path.split(".")
            alias, at, walked = "t", table, ""
            for reference in through:
                walked = f"{walked}.{reference}"
                to = _target_of(self.tables[at], reference)
                if walked not in aliases:
                    aliases[walked] = f"t{len(aliases) + 1}"
                    source += sql.SQL(" join {to} {new} on {new}.{key} = {old}.{reference}").format(
                        to=self.identifier(to),
                        new=sql.Identifier(aliases[walked]),
                        key=sql.Identifier(self.tables[to].primary_key[0]),
                        old=sql.Identifier(alias),
                        reference=sql.Identifier(reference),
                    )
                alias, at = aliases[walked], to
            expressions[path] = sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name))
        return source, expressions

    def identifier(self, table: str) -> sql.Identifier:
        """The table with its schema."""
        found = self.tables[table]
        return sql.Identifier(found.schema, found.name)

    def key_of(self, table: str) -> Column:
        """The primary key column of a table."""
        found = self.tables[table]
        return found.columns[found.primary_key[0]]


def find_related(connection: psycopg.Connection, mapping: Mapping, table: ErpTable) -> Related:
    """The tables that the references and compositions of a mapping need, as far as they exist."""
    return collect_related(lambda name: find_table(connection, name), mapping, table)


def collect_related(find: Callable[[str], ErpTable | None], mapping: Mapping, table: ErpTable) -> Related:
    """The same from any catalog."""
    tables = {mapping.target.table: table, table.name: table}

    def add(name: str) -> ErpTable | None:
        if name not in tables and (found := find(name)):
            tables[name] = found
        return tables.get(name)

    for field in mapping.fields.values():
        if field.reference:
            paths = [path for match in field.reference.match for path in match.values if not match.key]
            for path in [*paths, ""]:
                at = add(field.reference.to)
                for reference in path.split(".")[:-1]:
                    at = add(_target_of(at, reference)) if at else None
        for part in (part for composition in field.compose for part in composition.parts):
            if part.to:
                add(part.to)
    return Related(tables)


def _target_of(table: ErpTable | None, reference: str) -> str:
    """The table a foreign key column points to; blank if it is none."""
    keys = table.foreign_keys if table else ()
    return next((key.to_table for key in keys if key.column == reference), "")
