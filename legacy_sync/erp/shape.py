"""What do the statements of one load need to know? A mapping bound to its ERP table and its place in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

from psycopg import sql

from legacy_sync.erp.catalog import Column, ErpTable
from legacy_sync.erp.related import Related
from legacy_sync.erp.staging import keep_column
from legacy_sync.mapping.model import Mapping


@dataclass(frozen=True)
class Shape:
    """Names and types for composing SQL; aliases are always s (stage), e (ERP row), b (binding), p (plan).

    `column_sets` maps the ids of all column orders the entity's bindings use to their column names;
    `kept` are the columns that have at least one cell with a keep bit in this stage. `key_owners` has, by table
    and legacy attribute, the entities whose records have it as their key, and those that have it as another key.
    """

    mapping: Mapping
    table: ErpTable
    entity_id: int
    column_set_id: int
    column_sets: Dict[int, tuple[str, ...]]
    related: Related
    key_owners: Dict[tuple[str, str], tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    kept: frozenset[str] = field(default_factory=frozenset)

    @property
    def erp(self) -> sql.Identifier:
        """The qualified ERP table."""
        return sql.Identifier(self.table.schema, self.table.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """The mapped columns."""
        return self.mapping.columns

    @property
    def key(self) -> Column:
        """The primary key column of the ERP table."""
        return self.table.columns[self.table.primary_key[0]]

    @property
    def pk(self) -> sql.Identifier:
        """Its name, to be used behind an alias."""
        return sql.Identifier(self.key.name)

    @property
    def pk_type(self) -> sql.SQL:
        """Its type, for casts of binding.erp_key."""
        return sql.SQL(self.key.full_type)

    def staged(self, column: str) -> sql.Composed:
        """The staged value of a column."""
        return sql.SQL("s.{}").format(sql.Identifier(column))

    def is_kept(self, column: str) -> sql.Composed:
        """SQL condition: this cell keeps its ERP value."""
        if column not in self.kept:
            return sql.SQL("false").format()
        mask, bit = keep_column(self.columns.index(column))
        return sql.SQL("s.{} & {} <> 0").format(sql.Identifier(mask), sql.Literal(bit))

    def effective(self, column: str, otherwise: sql.Composable) -> sql.Composed:
        """The staged value, or `otherwise` where the cell keeps the ERP value."""
        if column not in self.kept:
            return self.staged(column)
        return sql.SQL("case when {} then {} else {} end").format(self.is_kept(column), otherwise, self.staged(column))

    def fresh(self, column: str) -> sql.Composed:
        """The value of a new row; a reference that was not delivered may have been found by other means."""
        if column in self.mapping.fields and self.mapping.fields[column].reference:
            return self.staged(column)
        return self.effective(column, self.constant(column))

    def comparable(self, expression: sql.Composable, column: str) -> sql.Composed:
        """The expression in a form that has equality (json has none)."""
        if self.table.columns[column].type in ("json", "xml"):
            return sql.SQL("{}::text").format(expression)
        return sql.SQL("{}").format(expression)

    def base_of(self, column: str, array: str = "base") -> sql.Composed:
        """The text last agreed on for a column, whatever column order the binding was written with."""
        places = {i: n.index(column) + 1 for i, n in self.column_sets.items() if column in n}
        if not places:
            return sql.SQL("null::text").format()
        if set(self.column_sets) == set(places) and len(set(places.values())) == 1:
            return sql.SQL("b.{}[{}]").format(sql.Identifier(array), sql.Literal(next(iter(places.values()))))
        cases = sql.SQL(" ").join(
            sql.SQL("when {} then b.{}[{}]").format(sql.Literal(i), sql.Identifier(array), sql.Literal(place))
            for i, place in places.items()
        )
        return sql.SQL("case b.column_set_id {} end").format(cases)

    def has_base(self, column: str) -> sql.Composed:
        """SQL condition: the binding knows this column (it was mapped when the binding was written)."""
        ids = [i for i, names in self.column_sets.items() if column in names]
        if len(ids) == len(self.column_sets):
            return sql.SQL("true").format()
        return sql.SQL("b.column_set_id = any({})").format(sql.Literal(ids))

    def base_array(self, expressions: Iterable[sql.Composable]) -> sql.Composed:
        """A text array of values in this mapping's column order."""
        texts = sql.SQL(", ").join(sql.SQL("({})::text").format(e) for e in expressions)
        return sql.SQL("array[{}]::text[]").format(texts)

    def constant(self, column: str) -> sql.Composed:
        """What a new row gets for a column that is not mapped or not delivered."""
        value = self.mapping.target.on_insert.get(column)
        if value is None and column in self.mapping.fields:
            value = self.mapping.fields[column].default
        return self.literal(column, value)

    def literal(self, column: str, value: object) -> sql.Composed:
        """A value of the mapping file in the type of the column."""
        type_ = sql.SQL(self.table.columns[column].full_type)
        if value is None:
            return sql.SQL("null::{}").format(type_)
        parts = sql.SQL(" || chr(37) || ").join(map(sql.Literal, _text(value).split("%")))  # % is for parameters
        return sql.SQL("({})::{}").format(parts, type_)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
