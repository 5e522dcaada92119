"""What does the sample shop look like after its first import? Imported once, copied for every test that wants it."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import orjson
import psycopg
import pytest
from shop_setup import Shop

from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.sample_data import build_store
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.pipeline import run_unit
from legacy_sync.sync.report import RunReport

FAMILIES, VARIANTS = 100, 270  # large enough that the few spoilt rows of each table stay few

Places = dict[str, list[tuple[Any, ...]]]


class WholeShop(Shop):
    """The sample rows of all 4D tables and the ERP, with words that speak of all mappings."""

    @property
    def mappings(self) -> list[Mapping]:
        """All mappings, parents first."""
        return self.workspace.project.ordered()

    def import_all(self, **how: Any) -> dict[str, RunReport]:
        """Fetches and loads everything, each table and each unit once, as one run of the command line does."""
        reports: dict[str, RunReport] = {}
        fetched: dict[Any, Any] = {}
        for mapping in self.mappings:
            if mapping.entity not in reports:
                unit = self.workspace.project.unit_of(mapping)
                reports |= run_unit(self.workspace, unit, fetched=fetched, **how)
        return reports

    def rows_of(self, entity: str) -> dict[str, dict[str, Any]]:
        """The ERP rows that records of an entity belong to, by the key of the record."""
        rows = self.query(
            f"select b.legacy_key as _record, e.* from {entity} e join legacy_sync.binding b on b.erp_key = e.id::text"
            " join legacy_sync.entity n on n.id = b.entity_id and n.name = %s order by e.id",
            entity,
        )
        return {row.pop("_record"): row for row in rows}

    def erp_places(self) -> Places:
        """Where every row of every ERP table lies and who wrote it last."""
        tables = self.query("select table_name as name from information_schema.tables where table_schema = 'public'")
        return {name: rows for name, rows in self.places(*sorted(t["name"] for t in tables)).items() if rows}

    def respell(self, table: str, key: str, values: dict[str, Any]) -> None:
        """Other spellings of the same values, without the record being saved anew."""
        row = self.store.get(table, key)
        self.store.tables[table].put(key, {**row, **values})


@dataclass
class Imported:
    """What is copied: the running server, the database to copy, the landing, the rows of 4D and the reports."""

    shop: WholeShop
    database: str
    records: dict[str, dict[str, bytes]]
    reports: dict[str, RunReport]
    requests: Counter[str]


@pytest.fixture(scope="session")
def imported(
    postgres: EmbeddedPostgres, erp_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Imported]:
    """The sample shop after its first import; nobody may change it."""
    name = f"imported_{token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{erp_template}"')
    with FourDServer(build_store(families=FAMILIES, variants=VARIANTS)) as server:
        shop = WholeShop(server, postgres.url(name), tmp_path_factory.mktemp("imported"))
        reports = shop.import_all()
        shop.close()
        requests = Counter(seen.resource for seen in server.log)
        yield Imported(shop, name, _records(server.store), reports, requests)


@pytest.fixture
def whole_shop(imported: Imported, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[WholeShop]:
    """The sample shop after its first import; every test has a copy."""
    name = f"shop_{token_hex(4)}"
    server = imported.shop.server
    _restore(server.store, imported.records)
    shutil.copytree(imported.shop.landing_root, tmp_path / "landing")
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{imported.database}"')
        shop = WholeShop(server, postgres.url(name), tmp_path)
        yield shop
        shop.close()
        server.sessions.expire_all()  # each test has a session of its own, which would keep its licence for an hour
        connection.execute(f'drop database "{name}" with (force)')


def _records(store: Store) -> dict[str, dict[str, bytes]]:
    return {
        name: {key: table.payloads[slot] or b"" for key, slot in table.position.items()}
        for name, table in store.tables.items()
    }


def _restore(store: Store, records: dict[str, dict[str, bytes]]) -> None:
    """The records as they were, and the clock as it is."""
    store.clock.set(datetime.now(UTC))
    for name, kept in records.items():
        table = store.tables[name]
        for key in [key for key in table.position if key not in kept]:
            table.drop(key)
        for key, payload in kept.items():
            slot = table.position.get(key)
            if slot is None or table.payloads[slot] != payload:
                table.put(key, orjson.loads(payload))
