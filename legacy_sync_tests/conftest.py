"""What every test may use: a real PostgreSQL with pyERP's tables, a stand-in 4D server, a landing folder."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from legacy_sync.demo.erp_tables import create_erp_tables
from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.sample_data import build_store

TEMPLATE = "erp_template"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole session; nothing in it survives."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def erp_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with empty ERP tables, to be copied."""
    postgres.ensure_database(TEMPLATE)
    with psycopg.connect(postgres.url(TEMPLATE)) as connection:
        create_erp_tables(connection)
    return TEMPLATE


@pytest.fixture
def erp_url(postgres: EmbeddedPostgres, erp_template: str) -> Iterator[str]:
    """The URL of a fresh database with empty ERP tables, dropped afterwards."""
    name = f"erp_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{erp_template}"')
        yield postgres.url(name)
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def erp(erp_url: str) -> Iterator[psycopg.Connection]:
    """A connection to a fresh database with empty ERP tables; nothing is committed for you."""
    with psycopg.connect(erp_url) as connection:
        yield connection


@pytest.fixture
def landing_root(tmp_path: Path) -> str:
    """An empty folder for landed rows."""
    return str(tmp_path / "landing")


@pytest.fixture
def store() -> Store:
    """A small legacy database: 40 families and 110 variants, some of them as spoilt as in real life."""
    return build_store(seed=1, families=40, variants=110)


@pytest.fixture
def four_d(store: Store) -> Iterator[FourDServer]:
    """A running stand-in 4D server with the rows of `store`; its URL is `four_d.url`."""
    with FourDServer(store) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first, so that no worker is left with one when the others have ended."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
