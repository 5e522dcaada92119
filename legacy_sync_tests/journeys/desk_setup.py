"""How do a few records of any 4D table become a run? A 4D of their own, the project's mappings, an ERP left empty.

One database and one connection serve all examples of a module, and the mappings are read once per set of tables:
an example takes a fraction of a second.
"""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from journey_setup import key_of
from psycopg import sql
from psycopg.rows import dict_row
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.sample_data import ALL_TABLES
from legacy_sync.erp.catalog import Column, ErpTable, find_table
from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.settings import PROJECT_ROOT, read_settings
from legacy_sync.sync.pipeline import open_workspace, run_entity
from legacy_sync.sync.report import RunReport

Row = dict[str, Any]

ENTITIES = {
    "Artikel_Familie": "products_parentproduct",
    "Artikel_Variante": "products_variantproduct",
    "Kunden": "sales_customer",
    "Adressen": "sales_address",
    "Personal": "business_employee",
    "Stamm_Lagerorte": "inventory_storagelocation",
    "parameter": "inventory_boxtype",
    "Stamm_Lager_Schuetten": "inventory_box",
    "Stamm_Lager_Schuetten_Slots": "inventory_boxslot",
    "Artikel_Lagerorte": "inventory_productstorage",
    "Lager_Schuetten": "inventory_boxstorage",
    "Formen": "production_mold",
    "Form_Artikel": "production_moldproduct",
    "Werksauftraege": "production_productionorder",
    "WerksauftrPos": "production_productionorderitem",
    "Belege": "sales_salesrecord",
    "Belege_Pos": "sales_salesrecorditem",
}
UNIT = ("Belege", "Belege_Pos")
"""tables that are loaded together"""
SIDE_TABLES = ("products_productcategory", "sales_paymentterms", "sales_paymentmethod", "sales_shippingmethod")
DEFINITIONS = {definition.name: definition for definition in ALL_TABLES}
_OVERLAY = {
    "sources": {"four_d": {"timeout_seconds": 5, "retry": {"attempts": 2, "first_pause": "10ms"}}},
    "defaults": {"max_parked_share": 1},
}


@pytest.fixture(scope="module")
def examples_erp(postgres: EmbeddedPostgres, erp_template: str) -> Iterator[tuple[str, psycopg.Connection]]:
    """One database for all examples of a module, and a connection to it; every example leaves it empty."""
    name = f"examples_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{erp_template}"')
        with psycopg.connect(postgres.url(name), autocommit=True) as erp:
            yield postgres.url(name), erp
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def desk(
    examples_erp: tuple[str, psycopg.Connection], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Desk"]:
    """Both ends without rows, and a 4D that has just the attributes of the records put in."""
    desk = Desk(*examples_erp, tmp_path, tmp_path_factory.getbasetemp())
    yield desk
    desk.clear()


class Desk:
    """Puts records into a 4D of their own, runs, and empties the ERP again."""

    def __init__(self, erp_url: str, connection: psycopg.Connection, folder: Path, shared_folder: Path) -> None:
        self.erp_url = erp_url
        self.connection = connection
        self.folder = folder
        self.shared_folder = shared_folder
        self._given: dict[str, list[int]] = {}

    # --- before

    def give(self, rows: Iterable[Row]) -> None:
        """Inserts rows as an older import or a person would have; what they may not leave out is filled in."""
        for row in rows:
            self._insert(row["table"], {k: v for k, v in row.items() if k != "table"})

    def _insert(self, name: str, values: Row) -> int:
        table = self.table(name)
        for key in table.foreign_keys:
            if isinstance(values.get(key.column), dict):
                values[key.column] = self._find(key.to_table, values[key.column])["id"]
            elif key.column not in values and not table.columns[key.column].nullable:
                known = self._given.get(key.to_table) or [self._insert(key.to_table, {})]
                values[key.column] = known[0]
        full = self._fill_in(table) | values
        statement = sql.SQL("insert into {} ({}) values ({}) returning id").format(
            sql.Identifier(name),
            sql.SQL(", ").join(map(sql.Identifier, full)),
            sql.SQL(", ").join(map(sql.Placeholder, full)),
        )
        ((found,),) = self.connection.execute(statement, full).fetchall()
        self._given.setdefault(name, []).append(found)
        return int(found)

    def _fill_in(self, table: ErpTable) -> Row:
        number = sum(map(len, self._given.values()))
        unique = {name for index in table.uniques for name in index.columns}
        needed = [column for column in table.columns.values() if not (column.nullable or column.has_default)]
        return {column.name: _harmless(column, number if column.name in unique else None) for column in needed}

    # --- the run

    def run(
        self,
        table: str,
        runs: list[list[Row]],
        before: dict[str, list[Row]] | None = None,
        between: Iterable[str] = (),
        afterwards: Iterable[str] = (),
        entity: str | None = None,
    ) -> RunReport:
        """Loads `before`, then saves and loads each list of records, with edits of the ERP between; the last counts.

        At last the tables named by `afterwards` are loaded once more. `entity` is another one of the same table.
        """
        tables = {**(before or {}), table: [record for records in runs for record in records]}
        tables |= {other: [] for other in UNIT if table in UNIT and other not in tables}
        entities = {name: ENTITIES[name] for name in tables} | ({table: entity} if entity else {})
        store = Store()
        for number, (name, records) in enumerate(tables.items(), start=1):
            store.add_table(_definition(name, records, number))
        with ExitStack() as stack:
            url = stack.enter_context(FourDServer(store)).url
            project, mappings = _read_project(tuple(entities.values()), self.shared_folder)
            workspace = open_workspace(read_settings(self._environ(mappings, url)), project)
            stack.callback(workspace.close)
            for name, records in (before or {}).items():
                _save(store, name, records)
                run_entity(workspace, project.get(entities[name]))
            for number, records in enumerate(runs):
                for edit in between if number else ():
                    self.connection.execute(edit)  # type: ignore[call-overload]
                _save(store, table, records)
                report = run_entity(workspace, project.get(entities[table]))
                store.clock.advance(days=3)
            for name in afterwards:
                run_entity(workspace, project.get(entities[name]))
        return report

    def _environ(self, mappings: Path, server_url: str) -> dict[str, str]:
        return {
            "LEGACY_SYNC_ENV": "examples",
            "LEGACY_SYNC_MAPPINGS": str(mappings),
            "LEGACY_SYNC_LANDING": str(self.folder / "landing"),
            "LEGACY_API_URL": server_url,
            "ERP_DATABASE_URL": self.erp_url,
        }

    # --- after

    def written(self, entity: str) -> dict[str, Row]:
        """The rows that records have in the ERP now, by legacy key, with what their references point to."""
        rows = self._query(
            f"select b.legacy_key as _record, e.* from {entity} e"
            " join legacy_sync.binding b on b.erp_key = e.id::text"
            " join legacy_sync.entity n on n.id = b.entity_id and n.name = %s order by b.legacy_key",
            entity,
        )
        return {str(row.pop("_record")): self._with_references(entity, row) for row in rows}

    def parked(self) -> dict[str, str]:
        """Why records wait, by legacy key."""
        rows = self._query("select legacy_key, reason from legacy_sync.quarantine where status = 'open'")
        return {row["legacy_key"]: row["reason"] for row in rows}

    def rows(self, table: str) -> list[Row]:
        """The rows of an ERP table, with what their references point to."""
        return [self._with_references(table, row) for row in self._query(f"select * from {table} order by id")]

    def table(self, name: str) -> ErpTable:
        """An ERP table as PostgreSQL describes it."""
        return _find_table(name, self.connection)

    def clear(self) -> None:
        """Leaves the database as it was found."""
        ledger = self._query(
            "select table_name as name from information_schema.tables"
            " where table_schema = 'legacy_sync' and table_name <> 'migration'"
        )
        tables = [*ENTITIES.values(), *SIDE_TABLES]
        with self.connection.transaction():
            self.connection.execute("".join(f"delete from {table};" for table in tables))  # type: ignore[call-overload]
            self.connection.execute("set local session_replication_role = replica")
            for row in ledger:
                self.connection.execute(f"delete from legacy_sync.{row['name']}")  # type: ignore[call-overload]

    def _with_references(self, name: str, row: Row) -> Row:
        for key in self.table(name).foreign_keys:
            if row[key.column] is not None:
                row[key.column] = self._find(key.to_table, {key.to_column: row[key.column]})
        return row

    def _find(self, table: str, values: Row) -> Row:
        where = " and ".join(f"{column} = %s" for column in values)
        (row,) = self._query(f"select * from {table} where {where}", *values.values())
        return row

    def _query(self, text: str, *parameters: Any) -> list[Row]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(text, parameters).fetchall()  # type: ignore[call-overload]


_tables: dict[str, ErpTable] = {}


def _find_table(name: str, connection: psycopg.Connection) -> ErpTable:
    if name not in _tables:
        found = find_table(connection, name)
        assert found is not None, name
        _tables[name] = found
    return _tables[name]


@cache
def _read_project(entities: tuple[str, ...], shared_folder: Path) -> tuple[Project, Path]:
    """These mappings as the project has them, in a folder of their own."""
    folder = shared_folder / f"mappings_{secrets.token_hex(4)}"
    (folder / "environments").mkdir(parents=True)
    (folder / "environments" / "examples.json").write_bytes(orjson.dumps(_OVERLAY))
    for entity in entities:
        (folder / f"{entity}.json").write_bytes(orjson.dumps(_mapping_words(entity)))
    settings = read_settings({"LEGACY_SYNC_ENV": "examples", "LEGACY_SYNC_MAPPINGS": str(folder)})
    return load_project(settings), folder


def _mapping_words(entity: str) -> Row:
    """A mapping of the project, without calendar windows and schedule, and without those it comes after."""
    words: Row = YAML(typ="safe").load(PROJECT_ROOT / "mappings" / f"{entity}.yaml")
    if words["partitions"]["type"] == "window":
        words["partitions"] = {"type": "none"}
    return {word: value for word, value in words.items() if word not in ("schedule", "depends_on")}


def _harmless(column: Column, number: int | None) -> Any:
    """A value that is in nobody's way; texts that must be unique have a number."""
    if column.type == "bool":
        return False
    if column.type in ("timestamptz", "date"):
        return "2020-01-01"
    if column.type in ("varchar", "text"):
        return "" if number is None or len(f"given {number}") > (column.max_length or 20) else f"given {number}"
    return 0


def _definition(table: str, records: list[Row], number: int) -> TableDef:
    """The table with just the attributes of its records, and those that every table has; all without records."""
    known = DEFINITIONS[table]
    names = [name for record in records for name in record if not name.startswith("__")]
    names = names or [attribute.name for attribute in known.attributes]
    attributes = {
        name: known.attribute(name) or AttributeDef(name, "uuid" if name == "UID" else "string")
        for name in ("UID", "modified_date", *names)
    }
    return TableDef(table, tuple(attributes.values()), number=number)


def _save(store: Store, table: str, records: list[Row]) -> None:
    for number, record in enumerate(records, start=1):
        store.insert(table, {"UID": record.get("__KEY", key_of(number)), **record})
