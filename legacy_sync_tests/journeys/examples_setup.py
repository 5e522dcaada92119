"""How does a recorded example become a run? ERP rows that are there before, records in a 4D of their own, rows after.

The data files `examples_<area>.yaml` carry the facts over in these words:

    table           4D table; its mapping is the one under test
    record          a 4D record, or `records`; `runs` are lists of records, each saved days after the last run
                    without __KEY a record gets one, as a server always sends it
    before          records of other 4D tables that are loaded first: {table: [records]}
    afterwards      4D tables of `before` that are loaded once more at last
    given           ERP rows that are there before; what they may not leave out is filled in
    expect          columns of the one row, or a list of rows; without it no row may be written
    instead         columns in which we deviate on purpose: {column: [our value, number in docs/deviations.md]}
    instead_rows    [rows, number]: the rows that we write instead of what was recorded
    instead_parked  [reason, number]: why we park what was recorded as written
    parked          why the record waits; without it and without rows it is ignored
    after           other ERP rows afterwards: [{table: …, where: {…}, expect: {…}}]
    counts          counts of the last run; `instead_counts` as above

A group of `conversions` is about one `column`, or several, which the facts then name. Its values are
{id: [value of its `attributes`, what becomes of it]}, or [value, recorded, ours, number] where we deviate. Each value
has a record of its own, whose `numbered` attributes count up, and with `given_each` an ERP row of that number;
`exploded` makes them items of one record.

A mapping as value is the row a reference points to, by some of its columns. `~text` is a regular expression,
`now` a moment of this test.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg
import pytest
from journey_setup import Journey, key_of
from psycopg import sql
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.sample_data import ALL_TABLES
from legacy_sync.erp.catalog import Column, ErpTable, find_table
from legacy_sync.settings import PROJECT_ROOT
from legacy_sync.sync.report import RunReport

Facts = dict[str, Any]
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
DEFINITIONS = {definition.name: definition for definition in ALL_TABLES}
SIDE_TABLES = ("products_productcategory", "sales_paymentterms", "sales_paymentmethod", "sales_shippingmethod")
LEDGER = (
    "binding",
    "change",
    "conflict",
    "quarantine",
    "watermark",
    "loaded_fetch",
    "other_key",
    "suffix",
    "run",
    "column_set",
    "entity",
)
UNIT = ("Belege", "Belege_Pos")
"""tables that are loaded together"""


def read_facts(area: str) -> Facts:
    """The data file of one area."""
    facts: Facts = YAML(typ="safe").load(Path(__file__).with_name(f"examples_{area}.yaml"))
    return facts


def named(example: Facts) -> str:
    """The id of an example, for the names of its tests."""
    return str(example["id"])


@cache
def _mapping_words(entity: str) -> Facts:
    """A mapping of the project, without calendar windows and schedule, and without those it comes after."""
    words: Facts = YAML(typ="safe").load(PROJECT_ROOT / "mappings" / f"{entity}.yaml")
    cut = words.get("partitions", {})
    alone = {"schedule": None, "depends_on": None, "partitions": {"type": "none"} if cut["type"] == "window" else cut}
    return {**words, **alone}


@pytest.fixture(scope="module")
def examples_url(postgres: EmbeddedPostgres, erp_template: str) -> Iterator[str]:
    """One database for all examples of a module; every example leaves it empty."""
    name = f"examples_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{erp_template}"')
        yield postgres.url(name)
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def desk(examples_url: str, tmp_path: Path) -> Iterator["Desk"]:
    """Both ends without rows, and a 4D that has just the attributes of the records put in."""
    desk = Desk(examples_url, tmp_path)
    yield desk
    desk.clear()


class Desk:
    """Puts records into a 4D of their own, runs, and empties the ERP again."""

    def __init__(self, erp_url: str, folder: Path) -> None:
        self.erp_url = erp_url
        self.folder = folder
        self.journey: Journey | None = None
        self._given: dict[str, list[int]] = {}

    # --- before

    def give(self, rows: Iterable[Row]) -> None:
        """Inserts rows as an older import or a person would have."""
        with psycopg.connect(self.erp_url, autocommit=True) as connection:
            for row in _flat(rows):
                self._insert(connection, row["table"], {k: v for k, v in row.items() if k != "table"})

    def _insert(self, connection: psycopg.Connection, name: str, values: Row) -> int:
        table = _table(connection, name)
        for key in table.foreign_keys:
            if key.column in values and isinstance(values[key.column], dict):
                values[key.column] = _find_id(connection, key.to_table, values[key.column])
            elif key.column not in values and not table.columns[key.column].nullable:
                known = self._given.get(key.to_table) or [self._insert(connection, key.to_table, {})]
                values[key.column] = known[0]
        number = sum(map(len, self._given.values()))
        needed = (column for column in table.columns.values() if not (column.nullable or column.has_default))
        unique = {name for index in table.uniques for name in index.columns}
        full = {column.name: _harmless(column, number if column.name in unique else None) for column in needed}
        full |= values
        statement = sql.SQL("insert into {} ({}) values ({}) returning id").format(
            sql.Identifier(name),
            sql.SQL(", ").join(map(sql.Identifier, full)),
            sql.SQL(", ").join(map(sql.Placeholder, full)),
        )
        ((found,),) = connection.execute(statement, full).fetchall()
        self._given.setdefault(name, []).append(found)
        return int(found)

    # --- the run

    def run(
        self,
        table: str,
        runs: list[list[Row]],
        before: dict[str, list[Row]] | None = None,
        between: Iterable[str] = (),
        afterwards: Iterable[str] = (),
    ) -> RunReport:
        """Loads `before`, then saves and loads each list of records, with edits of the ERP between; the last counts.

        At last the tables named by `afterwards` are loaded once more.
        """
        tables = {**(before or {}), table: [record for records in runs for record in records]}
        tables |= {other: [] for other in UNIT if table in UNIT and other not in tables}
        store = Store()
        for number, (name, records) in enumerate(tables.items(), start=1):
            store.add_table(_definition(name, records, number))
        with FourDServer(store) as server:
            self.journey = Journey(server, self.erp_url, self.folder)
            self.journey.said = {ENTITIES[name]: deepcopy(_mapping_words(ENTITIES[name])) for name in tables}
            self.journey.overlay["defaults"] = {"max_parked_share": 1}
            for name, records in (before or {}).items():
                _save(store, name, records)
                self.journey.run(ENTITIES[name])
            for number, records in enumerate(runs):
                for edit in between if number else ():
                    self.journey.execute(edit)
                _save(store, table, records)
                report = self.journey.run(ENTITIES[table])
                store.clock.advance(days=3)
            for name in afterwards:
                self.journey.run(ENTITIES[name])
            self.journey.close()
        return report

    # --- after

    def written(self, entity: str) -> dict[str, Row]:
        """The rows that records have in the ERP now, by legacy key, with what their references point to."""
        assert self.journey is not None
        rows = self.journey.query(
            f"select b.legacy_key as _record, e.* from {entity} e"
            " join legacy_sync.binding b on b.erp_key = e.id::text"
            " join legacy_sync.entity n on n.id = b.entity_id and n.name = %s order by b.legacy_key",
            entity,
        )
        return {str(row.pop("_record")): self._with_references(entity, row) for row in rows}

    def rows(self, table: str, where: Row | None = None) -> list[Row]:
        """The rows of an ERP table that have these values, with what their references point to."""
        assert self.journey is not None
        rows = [self._with_references(table, row) for row in self.journey.query(f"select * from {table} order by id")]
        return [row for row in rows if shown(row, where or {}) == plain(where or {})]

    def _with_references(self, name: str, row: Row) -> Row:
        assert self.journey is not None
        with psycopg.connect(self.erp_url) as connection:
            keys = _table(connection, name).foreign_keys
        for key in (key for key in keys if row[key.column] is not None):
            (row[key.column],) = self.journey.query(f"select * from {key.to_table} where id = %s", row[key.column])
        return row

    def columns(self, table: str) -> list[str]:
        """The columns of an ERP table."""
        with psycopg.connect(self.erp_url) as connection:
            return list(_table(connection, table).columns)

    def clear(self) -> None:
        """Leaves the database as it was found."""
        tables = (*ENTITIES.values(), *SIDE_TABLES)
        with psycopg.connect(self.erp_url, autocommit=True) as connection:
            connection.execute("".join(f"delete from {table};" for table in tables))
            connection.execute("".join(f"delete from legacy_sync.{table};" for table in LEDGER))


def play(desk: Desk, example: Facts) -> tuple[Facts, Facts]:
    """Runs an example; returns what came of it and what had to, in one form."""
    desk.give(deepcopy(example.get("given", [])))
    runs = example.get("runs") or [example.get("records") or [example["record"]]]
    before, afterwards = example.get("before"), example.get("afterwards", ())
    report = desk.run(example["table"], runs, before, afterwards=afterwards)
    wanted = wanted_rows(example)
    rows = list(desk.written(ENTITIES[example["table"]]).values())
    counts = example.get("counts", {}) | {n: ours for n, (ours, _) in example.get("instead_counts", {}).items()}
    others = example.get("after", [])
    found = {
        "rows": [shown(row, want) for row, want in zip_longest(rows, wanted, fillvalue={})],
        "parked": dict(report.parked_by_reason),
        "counts": {name: getattr(report.counts, name) for name in counts},
        "after": [
            [shown(row, other["expect"]) for row in desk.rows(other["table"], other["where"])] for other in others
        ],
    }
    after = [[plain(other["expect"])] for other in others]
    return found, {"rows": plain(wanted), "parked": parked_by_reason(example), "counts": counts, "after": after}


def wanted_rows(example: Facts) -> list[Row]:
    """The rows that an example must leave."""
    if "instead_rows" in example:
        return list(example["instead_rows"][0])
    if "instead_parked" in example or example.get("expect") is None:
        return []
    rows = example["expect"] if isinstance(example["expect"], list) else [example["expect"]]
    ours = {column: value for column, (value, _) in example.get("instead", {}).items()}
    return [{**row, **ours} for row in rows]


def parked_by_reason(example: Facts) -> dict[str, int]:
    """Why how many records of an example wait."""
    parked = example.get("parked") or example.get("instead_parked", [None])[0]
    return {parked: 1} if isinstance(parked, str) else dict(parked or {})


def convert(desk: Desk, group: Facts) -> tuple[Facts, Facts]:
    """Loads one record for each value of a group; returns what became of each and what had to."""
    numbers = range(1, len(group["values"]) + 1)
    each = group.get("given_each")
    desk.give(deepcopy(group.get("given", [])))
    desk.give({"table": each["table"], each["column"]: str(n)} for n in numbers if each)
    records = [_record_of(group, n, fact[0]) for n, fact in zip(numbers, group["values"].values(), strict=True)]
    if "exploded" in group:
        word = group["exploded"]
        records = [{"id": 0, "scope": word["scope"], "data_": {word["list"]: records}}]
    desk.run(group["table"], [records])
    rows = desk.written(ENTITIES[group["table"]])
    key = str if "exploded" in group else key_of
    wanted = wanted_values(group)
    if "column" in group:
        wanted = {name: {group["column"]: want} for name, want in wanted.items()}
    found = {name: shown(rows.get(key(n), {}), want) for n, (name, want) in zip(numbers, wanted.items(), strict=True)}
    return found, plain(wanted)


def _record_of(group: Facts, number: int, value: Any) -> Row:
    said = dict.fromkeys(group["attributes"], value) if "attributes" in group else value
    key = {} if "exploded" in group else {"__KEY": key_of(number)}
    return {**key, **group.get("record", {}), **dict.fromkeys(group.get("numbered", ()), number), **said}


def wanted_values(group: Facts) -> dict[str, Any]:
    """What must become of each value: ours where we deviate, else what was recorded."""
    return {name: fact[2] if len(fact) > 2 else fact[1] for name, fact in group["values"].items()}


def shown(row: Row, wanted: Row) -> Row:
    """The wanted columns of a row, in the form of `plain`; of one that nobody wanted all, and `parked` for none."""
    if not row:
        return dict.fromkeys(wanted, "parked")
    wanted = wanted or row
    return {column: _shown(row[column], want) for column, want in wanted.items()}


def _shown(value: Any, want: Any) -> Any:
    if isinstance(want, dict) and isinstance(value, dict):
        return shown(value, want)
    if isinstance(want, str) and want.startswith("~") and re.fullmatch(want[1:], str(value)):
        return want
    if want == "now" and isinstance(value, datetime) and abs(datetime.now(UTC) - value) < timedelta(hours=1):
        return want
    return plain(value)


def plain(value: Any) -> Any:
    """Values of the ERP and of the facts in one form; a day is its midnight UTC."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat()
    return value


def _flat(rows: Iterable[Any]) -> Iterator[Row]:
    for row in rows:
        yield from _flat(row) if isinstance(row, list) else [row]


# --- details -----------------------------------------------------------------------------------


@cache
def _known_tables(database: str) -> dict[str, ErpTable]:
    return {}


def _table(connection: psycopg.Connection, name: str) -> ErpTable:
    tables = _known_tables(connection.info.dbname)
    if name not in tables:
        found = find_table(connection, name)
        assert found is not None, name
        tables[name] = found
    return tables[name]


def _find_id(connection: psycopg.Connection, table: str, columns: Row) -> int:
    where = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(c), sql.Literal(columns[c])) for c in columns
    )
    ((found,),) = connection.execute(
        sql.SQL("select id from {} where {}").format(sql.Identifier(table), where)
    ).fetchall()
    return int(found)


def _harmless(column: Column, number: int | None) -> Any:
    """A value that is in nobody's way; texts that must be unique have a number."""
    if column.type == "bool":
        return False
    if column.type in ("timestamptz", "date"):
        return date(2020, 1, 1)
    if column.type in ("varchar", "text"):
        return "" if number is None or len(f"given {number}") > (column.max_length or 20) else f"given {number}"
    return 0


def _definition(table: str, records: list[Row], number: int) -> TableDef:
    """The table with just the attributes of its records, and those that every table has; all without records."""
    names = dict.fromkeys(["UID", "modified_date", *(n for r in records for n in r if not n.startswith("__"))])
    known = DEFINITIONS[table]
    names = names if records else dict.fromkeys(["UID", *(attribute.name for attribute in known.attributes)])
    attributes = {
        name: known.attribute(name) or AttributeDef(name, "uuid" if name == "UID" else "string") for name in names
    }
    return TableDef(table, tuple(attributes.values()), number=number)


def _save(store: Store, table: str, records: list[Row]) -> None:
    for number, record in enumerate(records, start=1):
        store.insert(table, {"UID": record.get("__KEY", key_of(number)), **record})
