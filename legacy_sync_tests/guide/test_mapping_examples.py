"""Do the examples of docs/mappings.md come out as written? Each is run with a 4D server and a PostgreSQL.

An example is a heading with blocks, which are played in their order:

    mapping   one ERP table; what the ERP demands and the example leaves out gets something harmless
    records   4D records by table; one with the same first attribute as an earlier one is a change of it
    deleted   4D records that somebody deletes, by table and first attribute
    erp       ERP rows that somebody makes or edits, told apart by their first column
    rows      every mapping is run; then these are all rows of these tables, as far as columns are named, in any order

A mapping as the value of a column is the row that a reference points to, by some of its columns.
"""

import re
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef
from legacy_sync.demo.sample_data import ALL_TABLES
from legacy_sync.erp.catalog import Column, ErpTable, find_table
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import PROJECT_ROOT, read_settings
from legacy_sync.sync.pipeline import open_workspace, run_entity

Row = dict[str, Any]
Steps = list[tuple[str, Any]]

TEXT = (PROJECT_ROOT / "docs" / "mappings.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##)", TEXT, flags=re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"^```yaml (\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
STEPS = {
    title: [(kind, YAML(typ="safe").load(said)) for kind, said in BLOCK.findall(text)]
    for title, text in SECTIONS.items()
}
PLAYED = {title: steps for title, steps in STEPS.items() if any(kind == "rows" for kind, _ in steps)}
KNOWN = {definition.name: definition for definition in ALL_TABLES}
OVERLAY = {
    "sources": {"four_d": {"timeout_seconds": 5, "retry": {"attempts": 2, "first_pause": "10ms"}}},
    "defaults": {"max_parked_share": 1},
}


@pytest.mark.parametrize("title", PLAYED)
def test_example_comes_out_as_written(title: str, erp_url: str, tmp_path: Path) -> None:
    with psycopg.connect(erp_url, autocommit=True) as connection:
        stage = Stage(connection, erp_url, tmp_path, PLAYED[title])
        for number, (kind, said) in enumerate(PLAYED[title], start=1):
            if kind == "rows":
                stage.run()
                assert {table: stage.rows(table, wanted) for table, wanted in said.items()} == said, f"step {number}"
            elif kind != "mapping":
                getattr(stage, kind)(said)


def test_examples_without_rows_are_few() -> None:
    without = {title for title, steps in STEPS.items() if steps and title not in PLAYED}
    loaded = {"Partitions of a table", "Changes", "Environments", "What is tried again"}  # by test_mapping_guide
    assert without == loaded


class Stage:
    """Both ends of one example, and everything between."""

    def __init__(self, connection: psycopg.Connection, url: str, folder: Path, steps: Steps) -> None:
        self.connection = connection
        self.folder = folder
        self.mappings = {said.get("entity", said["target"]["table"]): said for kind, said in steps if kind == "mapping"}
        self.keys: dict[tuple[str, str], str] = {}
        self.filled_in: dict[str, int] = {}
        """rows that are there only because others have to refer to one"""
        self._numbers = count(1)
        self.store = Store()
        tables = dict.fromkeys(said["source"]["table"] for said in self.mappings.values())
        for number, table in enumerate(tables, start=1):
            self.store.add_table(_definition(table, steps, number))
        self.environ = {
            "LEGACY_SYNC_ENV": "example",
            "LEGACY_SYNC_MAPPINGS": str(folder / "mappings"),
            "LEGACY_SYNC_LANDING": str(folder / "landing"),
            "ERP_DATABASE_URL": url,
        }
        self._write_mappings()

    # --- steps

    def records(self, said: dict[str, list[Row]]) -> None:
        for table, record in ((table, record) for table, records in said.items() for record in records):
            identity = (table, str(next(iter(record.values()))))
            if identity in self.keys:
                self.store.update(table, self.keys[identity], record)
            else:
                self.keys[identity] = self.store.insert(table, {"UID": f"{next(self._numbers):032X}", **record})

    def deleted(self, said: dict[str, list[Row]]) -> None:
        for table, record in ((table, record) for table, records in said.items() for record in records):
            self.store.delete(table, self.keys[table, str(next(iter(record.values())))])

    def erp(self, said: dict[str, list[Row]]) -> None:
        for table, row in ((table, row) for table, rows in said.items() for row in rows):
            (name, value), *_ = row.items()
            known = self._query(f"select id from {table} where {name}::text = %s", str(value))
            if known:
                self._edit(table, known[0]["id"], row)
            else:
                self._insert(table, row)

    def run(self) -> None:
        with FourDServer(self.store) as server:
            settings = read_settings(self.environ | {"LEGACY_API_URL": server.url})
            workspace = open_workspace(settings, load_project(settings))
            done: set[str] = set()
            for mapping in workspace.project.ordered():
                if mapping.entity not in done:
                    run_entity(workspace, mapping)
                    done |= {member.entity for member in workspace.project.unit_of(mapping)}
            workspace.close()
        self.store.clock.advance(days=3)

    def rows(self, table: str, wanted: list[Row]) -> list[Row]:
        """The rows of a table in the words of the example; all of one that it does not expect."""
        still = "and status = 'open'" if table == "legacy_sync.quarantine" else ""
        found = self._query(f"select * from {table} where id <> %s {still} order by id", self.filled_in.get(table, -1))
        name = next((name for row in wanted for name in row), "id")
        places = {str(row.get(name)): place for place, row in enumerate(wanted)}
        found.sort(key=lambda row: places.get(str(row[name]), len(places)))
        wants = [*wanted, *({} for _ in found)]
        return [self._in_words(table, row, want) for row, want in zip(found, wants, strict=False)]

    # --- the ERP

    def _in_words(self, table: str, row: Row, wanted: Row) -> Row:
        return {name: self._value(table, name, row[name], want) for name, want in wanted.items()} or row

    def _value(self, table: str, name: str, value: Any, want: Any) -> Any:
        if isinstance(want, dict) and value is not None:
            to = next(key.to_table for key in self._table(table).foreign_keys if key.column == name)
            (there,) = self._query(f"select * from {to} where id = %s", value)
            return self._in_words(to, there, want)
        if isinstance(value, Decimal) and isinstance(want, int | float):
            return want if value == Decimal(str(want)) else value
        return value.date() if isinstance(value, datetime) and isinstance(want, date) else value

    def _insert(self, table: str, row: Row) -> int:
        shape = self._table(table)
        values = {**self._harmless(shape, set(row)), **self._referred(shape, row)}
        names, marks = ", ".join(f'"{name}"' for name in values), ", ".join(f"%({name})s" for name in values)
        (made,) = self._query(f"insert into {table} ({names}) values ({marks}) returning id", **values)
        return int(made["id"])

    def _edit(self, table: str, key: int, row: Row) -> None:
        shape = self._table(table)
        values = self._referred(shape, row)
        stamps = [name for name in ("updated_at", "modified_at") if name in shape.columns]
        said = [*(f'"{name}" = %({name})s' for name in values), *(f"{name} = clock_timestamp()" for name in stamps)]
        self._query(f"update {table} set {', '.join(said)} where id = {key} returning id", **values)

    def _referred(self, table: ErpTable, row: Row) -> Row:
        """The row with ids instead of the rows it refers to."""
        values = dict(row)
        for key in table.foreign_keys:
            if isinstance(values.get(key.column), dict):
                (name, value), *_ = values[key.column].items()
                (there,) = self._query(f"select id from {key.to_table} where {name} = %s", value)
                values[key.column] = there["id"]
        return values

    def _harmless(self, table: ErpTable, said: set[str | None]) -> Row:
        """Values for what a row of the table may not leave out; texts that must be unique are numbered."""
        referred = {key.column: key.to_table for key in table.foreign_keys}
        unique = {name for index in table.uniques for name in index.columns}
        values: Row = {}
        for column in table.columns.values():
            if column.nullable or column.has_default or column.is_identity or column.name in said:
                continue
            if column.name in referred:
                to = referred[column.name]
                if to not in self.filled_in:
                    self.filled_in[to] = self._insert(to, {})
                values[column.name] = self.filled_in[to]
            else:
                values[column.name] = _harmless(column, next(self._numbers) if column.name in unique else None)
        return values

    def _table(self, name: str) -> ErpTable:
        found = find_table(self.connection, name)
        assert found, name
        return found

    def _query(self, text: str, *places: Any, **names: Any) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql.SQL(text), places or names).fetchall()  # type: ignore[arg-type]

    # --- the mappings

    def _write_mappings(self) -> None:
        folder = self.folder / "mappings"
        (folder / "environments").mkdir(parents=True)
        (folder / "environments" / "example.json").write_bytes(orjson.dumps(OVERLAY))
        for entity, said in self.mappings.items():
            (folder / f"{entity}.json").write_bytes(orjson.dumps(self._completed(said)))

    def _completed(self, said: Row) -> Row:
        """The mapping, with harmless values for what the ERP demands of new rows and of rows made for references."""
        target, fields = said["target"], {name: self._with_created(field) for name, field in said["fields"].items()}
        on_insert = target.get("on_insert", {})
        filled = {*fields, *on_insert, target.get("created_at"), target.get("updated_at")}
        table = self._table(target["table"])
        more = {} if target.get("rows") == "existing" else self._harmless(table, filled)
        unique = {name for index in table.uniques if len(index.columns) == 1 for name in index.columns}
        keys = {name: {"from": "__KEY"} for name, value in more.items() if name in unique and isinstance(value, str)}
        more = {name: value for name, value in more.items() if name not in keys}
        return {**said, "target": {**target, "on_insert": {**more, **on_insert}}, "fields": {**fields, **keys}}

    def _with_created(self, field: Row) -> Row:
        create = field.get("reference", {}).get("create")
        if not create:
            return field
        said = {*create["values"], create.get("created_at"), create.get("updated_at")}
        more = self._harmless(self._table(field["reference"]["to"]), said)
        values = {**{name: {"value": value} for name, value in more.items()}, **create["values"]}
        return {**field, "reference": {**field["reference"], "create": {**create, "values": values}}}


def _harmless(column: Column, number: int | None) -> Any:
    if column.type == "bool":
        return False
    if column.type in ("timestamptz", "date"):
        return "2020-01-01"
    if column.type in ("json", "jsonb"):
        return "{}"
    if column.type in ("varchar", "text"):
        return "" if number is None else f"filled in {number}"[: column.max_length]
    return 0


def _definition(table: str, steps: Steps, number: int) -> TableDef:
    """The table with the attributes that its records have in the example."""
    attributes = {"UID": AttributeDef("UID", "uuid"), "modified_date": AttributeDef("modified_date", "date")}
    known = KNOWN.get(table)
    for record in (r for kind, said in steps if kind == "records" for r in said.get(table, [])):
        for name, value in record.items():
            kind = "object" if isinstance(value, dict | list) else "string"
            attributes.setdefault(name, (known and known.attribute(name)) or AttributeDef(name, kind))
    return TableDef(table, tuple(attributes.values()), number=number)
