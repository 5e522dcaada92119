"""Which rights in the ERP database does a mapping need, and which of them does a user lack?

Column by column: what is read, what is written, nothing beside. The ledger is not part of it, its schema belongs to
the user of the sync.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from legacy_sync.erp.catalog import ErpTable, find_table
from legacy_sync.erp.related import Related, collect_related
from legacy_sync.errors import Problem
from legacy_sync.mapping.model import Create, Mapping, Reference
from legacy_sync.pyerp import DERIVED, ERP_RULES

SELECT, INSERT, UPDATE, DELETE = "select", "insert", "update", "delete"
_BY_COLUMN = (SELECT, INSERT, UPDATE)
_USAGE = "usage"
_WORDS = {SELECT: sql.SQL("select"), INSERT: sql.SQL("insert"), UPDATE: sql.SQL("update")}
_SHOWN = 8


@dataclass
class TableRights:
    """What is needed of one table; `sequences` are the ones that number its rows, as (schema, name)."""

    schema: str
    name: str
    columns: dict[str, set[str]] = field(default_factory=lambda: {right: set() for right in _BY_COLUMN})
    delete: bool = False
    sequences: set[tuple[str, str]] = field(default_factory=set)

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified table."""
        return sql.Identifier(self.schema, self.name)

    def add(self, right: str, names: Iterable[str | None]) -> None:
        """One more right on these columns; None is no column."""
        self.columns[right] |= {name for name in names if name}


class Rights:
    """The rights that mappings need, table by table; with `undo` also those to take runs back."""

    def __init__(self, connection: psycopg.Connection, *, undo: bool = False) -> None:
        self._connection = connection
        self._undo = undo
        self._known: dict[str, ErpTable | None] = {}
        self._tables: dict[tuple[str, str], TableRights] = {}

    @property
    def tables(self) -> list[TableRights]:
        """Sorted by schema and name."""
        return [self._tables[name] for name in sorted(self._tables)]

    def add(self, mapping: Mapping) -> None:
        """What a mapping needs in its own table and in those around it; tables that do not exist are left out."""
        table = self._find(mapping.target.table)
        if table is None or len(table.primary_key) != 1:
            return
        related = collect_related(self._find, mapping, table)
        self._add_target(mapping, table)
        for column, rule in mapping.fields.items():
            if rule.reference and rule.reference.to in related.tables:
                self._add_reference(related, table, column, rule.reference)
            for part in (part for composition in rule.compose for part in composition.parts):
                reference = mapping.fields[part.through].reference if part.through else None
                to = related.tables.get(part.to or (reference.to if reference else ""))
                if to is not None:
                    self._of(to).add(SELECT, [part.column, *part.where, *to.primary_key])
        written = [(word.through, word.into) for word in mapping.backfill]
        for through, into in [*written, *((word.through, word.into) for word in mapping.derive)]:
            reference = mapping.fields[through].reference
            if reference and (parent := related.tables.get(reference.to)):
                self._of(parent).add(SELECT, [into, *parent.primary_key])
                self._of(parent).add(UPDATE, [into])

    def _add_target(self, mapping: Mapping, table: ErpTable) -> None:
        target, deletes = mapping.target, mapping.deletes
        needed = self._of(table)
        needed.add(SELECT, [*table.primary_key, *mapping.columns, *target.natural_key, target.updated_at, *deletes.set])
        for index in table.uniques:
            if set(index.columns) & set(mapping.columns):
                needed.add(SELECT, index.looked_at)
        for check in table.checks:
            if set(check.columns) & set(mapping.columns):
                needed.add(SELECT, check.columns)
        needed.add(SELECT, (name for name in _named_in_rules(mapping) if name in table.columns))
        needed.add(UPDATE, [*mapping.columns, target.updated_at, *deletes.set])
        if target.rows == "all":
            written = [*table.primary_key, *mapping.columns, *target.on_insert, target.created_at, target.updated_at]
            needed.add(INSERT, written)
            self._add_sequence(table)
        if deletes.policy == "delete" or (self._undo and target.rows == "all"):
            self._add_removal(table)
        if deletes.policy == "delete" and self._undo:
            needed.add(INSERT, table.columns)
        for key in table.foreign_keys if self._undo else ():  # a row that comes back must find what it refers to
            needed.add(SELECT, [key.column])
            if to := self._find(key.to_table):
                self._of(to).add(SELECT, [key.to_column])

    def _add_removal(self, table: ErpTable) -> None:
        self._of(table).delete = True
        self._of(table).add(SELECT, table.columns)  # for the image of the row that goes
        self._add_referring(table)

    def _add_reference(self, related: Related, table: ErpTable, column: str, reference: Reference) -> None:
        to = related.tables[reference.to]
        pointed_at = next((key.to_column for key in table.foreign_keys if key.column == column), "id")
        self._of(to).add(SELECT, [pointed_at, *to.primary_key])
        for match in reference.match:
            paths = [path for path in match.values if not match.key] + ([match.pick] if match.pick else [])
            for path in paths:
                self._add_path(related, to, path)
        if reference.create:
            self._add_created(to, reference.create)

    def _add_path(self, related: Related, table: ErpTable, path: str) -> None:
        """A path such as `box_id.code` is read through every table on its way."""
        *through, name = path.split(".")
        for reference in through:
            self._of(table).add(SELECT, [reference])
            to = next((key.to_table for key in table.foreign_keys if key.column == reference), "")
            if to not in related.tables:
                return
            table = related.tables[to]
            self._of(table).add(SELECT, table.primary_key)
        self._of(table).add(SELECT, [name])

    def _add_created(self, table: ErpTable, word: Create) -> None:
        self._of(table).add(SELECT, [*word.by, *word.values, *table.primary_key])
        self._of(table).add(INSERT, [*word.values, word.created_at, word.updated_at, *table.primary_key])
        self._add_sequence(table)
        if self._undo:
            self._add_removal(table)

    def _add_sequence(self, table: ErpTable) -> None:
        row = self._connection.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.oid = pg_get_serial_sequence(%s, %s)::regclass",
            [sql.Identifier(table.schema, table.name).as_string(self._connection), table.primary_key[0]],
        ).fetchone()
        if row:
            self._of(table).sequences.add((str(row[0]), str(row[1])))

    def _add_referring(self, table: ErpTable) -> None:
        """A row that others refer to is not deleted; that is looked up before."""
        rows = self._connection.execute(
            "select n.nspname, c.relname, a.attname from pg_constraint k join pg_class c on c.oid = k.conrelid"
            " join pg_namespace n on n.oid = c.relnamespace"
            " join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]"
            " where k.contype = 'f' and k.confrelid = %s::regclass",
            [sql.Identifier(table.schema, table.name).as_string(self._connection)],
        ).fetchall()
        for schema, name, column in rows:
            self._of_name(str(schema), str(name)).add(SELECT, [str(column)])

    def _find(self, name: str) -> ErpTable | None:
        if name not in self._known:
            self._known[name] = find_table(self._connection, name)
        return self._known[name]

    def _of(self, table: ErpTable) -> TableRights:
        return self._of_name(table.schema, table.name)

    def _of_name(self, schema: str, name: str) -> TableRights:
        return self._tables.setdefault((schema, name), TableRights(schema, name))


def _named_in_rules(mapping: Mapping) -> Iterator[str]:
    """Columns that pyERP's own rules read: of the ERP row `e`, and of the children `i` of a parent."""
    for rule in mapping.fields.values():
        if rule.erp_rule in ERP_RULES:
            yield from re.findall(r"\be\.(\w+)", ERP_RULES[rule.erp_rule])
    for word in mapping.derive:
        if word.rule in DERIVED:
            yield from re.findall(r"\bi\.(\w+)", DERIVED[word.rule])


# --- what is there -------------------------------------------------------------------------------

_MISSING = """
select w.n, w.privilege, array_agg(w.name order by w.name)
from unnest(%(n)s::int[], %(schemas)s::text[], %(tables)s::text[], %(privileges)s::text[], %(columns)s::text[])
  as w(n, schema, tab, privilege, name)
join pg_namespace s on s.nspname = w.schema
join pg_class c on c.relnamespace = s.oid and c.relname = w.tab
left join pg_attribute a on a.attrelid = c.oid and a.attname = w.name and not a.attisdropped
where case
  when w.privilege = 'usage' then not has_sequence_privilege(c.oid, 'usage')
  when w.privilege = 'delete' then not has_table_privilege(c.oid, 'delete')
  when a.attnum is null then false
  else not has_column_privilege(c.oid, a.attnum, w.privilege) end
group by 1, 2 order by 1, 2
"""


def find_missing_rights(connection: psycopg.Connection, mapping: Mapping) -> list[Problem]:
    """What the user of this connection lacks to load the mapping: table, right, and the statement to run."""
    rights = Rights(connection)
    rights.add(mapping)
    wanted = [row for number, table in enumerate(rights.tables) for row in _rows(number, table)]
    names = ("n", "schemas", "tables", "privileges", "columns")
    values = dict(zip(names, map(list, zip(*wanted, strict=True)), strict=True)) if wanted else {}
    found = connection.execute(_MISSING, values).fetchall() if wanted else []
    return [_problem(connection, mapping, rights.tables[n], str(right), columns) for n, right, columns in found]


def _rows(number: int, table: TableRights) -> Iterator[tuple[int, str, str, str, str]]:
    for right, columns in table.columns.items():
        yield from ((number, table.schema, table.name, right, column) for column in columns)
    if table.delete:
        yield number, table.schema, table.name, DELETE, ""
    for schema, name in table.sequences:
        yield number, schema, name, _USAGE, name


def _problem(
    connection: psycopg.Connection, mapping: Mapping, table: TableRights, right: str, names: list[str]
) -> Problem:
    lacking = TableRights(table.schema, table.name, delete=right == DELETE)
    if right in _BY_COLUMN:
        lacking.add(right, names)
    elif right == _USAGE:
        lacking.sequences = table.sequences
    statements = grants_of(lacking, sql.Identifier(connection.info.user))
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    of_what = f" of {shown}" if right in _BY_COLUMN else ""
    return Problem(
        f'the user "{connection.info.user}" lacks the right to {_said(right)} the ERP table "{table.name}"{of_what}',
        f"mapping {mapping.entity}, ERP database",
        "let the owner of pyERP's tables run what `legacy-sync grants` prints; for this: "
        + "; ".join(statement.as_string(connection) for statement in statements),
    )


def _said(right: str) -> str:
    said = {SELECT: "read", INSERT: "insert into", DELETE: "delete from", _USAGE: "use the sequence of"}
    return said.get(right, right)


def grants_of(table: TableRights, user: sql.Identifier) -> Iterator[sql.Composed]:
    """The statements that give a user these rights on a table."""
    wanted = [
        sql.SQL("{} ({})").format(_WORDS[right], sql.SQL(", ").join(map(sql.Identifier, sorted(columns))))
        for right, columns in table.columns.items()
        if columns
    ]
    if table.delete:
        wanted.append(sql.SQL("delete").format())
    if wanted:
        yield sql.SQL("grant {} on {} to {}").format(sql.SQL(", ").join(wanted), table.identifier, user)
    for schema, name in sorted(table.sequences):
        yield sql.SQL("grant usage on sequence {} to {}").format(sql.Identifier(schema, name), user)
