"""What every test may use: a real PostgreSQL with pyERP's tables, a stand-in 4D server, a landing folder."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from legacy_sync.demo.erp_tables import create_erp_tables
from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.sample_data import build_store

TEMPLATE = "erp_template"
MEMORY = Path("/dev/shm")
NAME = "legacy_sync_tests_"
ROOM = 6 * 1024**3
"""bytes; a worker needs about one GB, most of it for a moment"""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL for the whole session, in memory where there is room; nothing in it survives."""
    with ExitStack() as stack:
        folder = stack.enter_context(_folder_in_memory()) if _has_room() else tmp_path_factory.mktemp("postgres")
        yield stack.enter_context(EmbeddedPostgres(folder, durable=False))


def _has_room() -> bool:
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM


@contextmanager
def _folder_in_memory() -> Iterator[Path]:
    """A folder named after this process; those of killed ones are removed."""
    for old in MEMORY.glob(f"{NAME}*"):
        if not psutil.pid_exists(int(old.name.removeprefix(NAME))):
            shutil.rmtree(old, ignore_errors=True)  # another process may be at it, too
    folder = MEMORY / f"{NAME}{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


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
        connection.execute(f'create database "{name}" template "{erp_template}" strategy file_copy')
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
