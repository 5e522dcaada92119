"""Does the embedded PostgreSQL start, share, survive and end as promised?"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import sqlalchemy

from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.errors import ErpRefused, ErpUnavailable

START_AND_WAIT = """
import sys, pathlib
from legacy_sync.demo.postgres import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)
server.start()
print("started", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "server"
    EmbeddedPostgres(tmp_path / "server").stop()


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("select 1").fetchone() == (1,)


def server_process(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))


def other_process(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START_AND_WAIT, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_url_works_for_psycopg_and_for_sqlalchemy_with_psycopg2(postgres: EmbeddedPostgres) -> None:
    url = postgres.url("postgres")
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("show timezone").scalar() == "UTC"
    engine.dispose()
    assert answers(url)


def test_only_loopback_listens_and_a_password_is_needed(postgres: EmbeddedPostgres) -> None:
    url = urlsplit(postgres.url("postgres"))
    listening = {c.laddr.ip for c in server_process(postgres.folder).net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=url.port, user=url.username, password="guess", dbname="postgres")


def test_nothing_in_the_folder_is_open_to_others(postgres: EmbeddedPostgres) -> None:
    paths = [postgres.folder, *postgres.folder.iterdir()]
    assert [path.name for path in paths if path.stat().st_mode & 0o077] == []


def test_durable_server_syncs_to_disk(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server, psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
        assert connection.execute("show synchronous_commit").fetchone() == ("on",)


def test_ensure_database_twice_at_once_creates_one(postgres: EmbeddedPostgres) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(postgres.ensure_database, ["twice"] * 4))
    assert answers(postgres.url("twice"))


def test_two_starters_at_once_share_one_server(folder: Path) -> None:
    servers = [EmbeddedPostgres(folder, durable=False) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(EmbeddedPostgres.start, servers))
    assert len({server.url("postgres") for server in servers}) == 1
    for server in servers:
        assert answers(server.url("postgres"))
        server.stop()
    with pytest.raises(ErpUnavailable, match="not running"):
        servers[0].url("postgres")


def test_server_stays_while_another_process_uses_it(folder: Path) -> None:
    with other_process(folder) as other:
        server = EmbeddedPostgres(folder)
        server.start()
        server.stop()
        assert answers(server.url("postgres"))
        other.communicate()
    assert other.returncode == 0
    with pytest.raises(ErpUnavailable, match="not running"):
        server.url("postgres")


def test_start_joins_the_server_of_a_killed_starter(folder: Path) -> None:
    with other_process(folder) as other:
        before = server_process(folder)
        other.kill()
    with EmbeddedPostgres(folder) as server:
        assert server_process(folder) == before
        assert answers(server.url("postgres"))
    with pytest.raises(ErpUnavailable, match="not running"):
        server.url("postgres")


def test_committed_rows_survive_a_killed_server(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        connection = psycopg.connect(server.url("postgres"), autocommit=True)
        connection.execute("create table kept as select 42 as value")
        server_process(folder).send_signal(signal.SIGKILL)
    with EmbeddedPostgres(folder) as server, psycopg.connect(server.url("postgres")) as again:
        assert again.execute("select value from kept").fetchone() == (42,)
    connection.close()


def test_a_process_number_reused_after_a_crash_is_no_server(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        lines = (folder / "data" / "postmaster.pid").read_text().split("\n")
    (folder / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with EmbeddedPostgres(folder, durable=False) as server:
        assert answers(server.url("postgres"))


def test_an_interrupted_creation_is_made_again(folder: Path) -> None:
    (folder / "data.new" / "half").mkdir(parents=True)
    with EmbeddedPostgres(folder, durable=False) as server:
        assert answers(server.url("postgres"))


def test_restart_keeps_the_url(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        first = server.url()
    with EmbeddedPostgres(folder, durable=False) as server:
        assert server.url() == first


def test_data_of_another_postgresql_version_is_refused(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ErpRefused, match="made by PostgreSQL 16"):
        EmbeddedPostgres(folder).start()
