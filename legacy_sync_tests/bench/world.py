"""Where does a round take place? A served table, a database for each contender, and a look at what arrived.

Between the timed runs, and for everybody alike: CHECKPOINT, and VACUUM ANALYZE in place of autovacuum, which is
off so that it does not wake up in the middle of somebody's run. fsync and synchronous_commit are on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync_tests.bench.contenders import ROOT, Contender, Place, environment_of
from legacy_sync_tests.bench.measure import Ended, measured, wait_for_quiet
from legacy_sync_tests.bench.reading import path_of, read_pages
from legacy_sync_tests.bench.table import create_statements, mapping_text

_START_SECONDS = 300


class BenchFailed(Exception):
    """A contender ended badly or brought wrong rows."""


@contextmanager
def running_postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A durable PostgreSQL without autovacuum."""
    with EmbeddedPostgres(folder, durable=True) as postgres:
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute("alter system set autovacuum = off")
            connection.execute("select pg_reload_conf()")
        yield postgres


@contextmanager
def running_server(rows: int, changed: int = 0) -> Iterator[str]:
    """The address of a stand-in 4D server with so many rows; `changed` of them change a day (0: 1 %)."""
    command = [sys.executable, "-m", "legacy_sync_tests.bench.stand_in", str(rows), str(changed)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url:
            raise BenchFailed("the stand-in 4D server did not start")
        yield url
    finally:
        process.kill()
        process.wait()


@dataclass
class World:
    """One size of the table, and the contenders' places in it."""

    postgres: EmbeddedPostgres
    server: str
    folder: Path
    page_size: int
    patience: float
    _day: int = 0
    _places: dict[str, Place] = field(default_factory=dict)

    def change(self) -> None:
        """A day later: 1 % of the rows are different, or as many as the server was told."""
        self._day += 1
        self._order("change", self._day)

    def pass_quiet_days(self) -> None:
        """So that the changes of the round before lie behind everybody's watermark."""
        self._order("quiet", -self._day)

    def warm(self) -> dict[str, Any]:
        """Lets the server prepare every page that will be asked for; returns what everybody must end up with."""
        truth = self._order("truth", 0)
        for _page in read_pages(self.server, self.page_size, None):
            pass
        newest = date.fromisoformat(truth["max(modified_date)"])
        for back in range(4):  # the watermark of each contender, with and without lookback
            path = path_of(self.page_size, newest - timedelta(days=back), None)
            urllib.request.urlopen(self.server + path, timeout=60).close()
        return truth

    def prepare(self, contender: Contender) -> None:
        """A new database with the empty target, and an empty folder."""
        name = f"bench_{contender.name.replace('-', '_')}"
        with self._admin() as connection:
            connection.execute(f"drop database if exists {name} with (force)")
            connection.execute(f"create database {name}")
        folder = self.folder / f"{name}_{self._day}"
        (folder / "mappings").mkdir(parents=True)
        (folder / "mappings" / "bench.yaml").write_text(mapping_text(self.page_size), "utf-8")
        self._places[contender.name] = place = Place(self.server, self.postgres.url(name), folder, self.page_size)
        with psycopg.connect(place.database) as connection:
            for statement in create_statements():
                connection.execute(statement)

    def run(self, contender: Contender, truth: dict[str, Any], arguments: Sequence[str] = ()) -> Ended:
        """One timed run, checked."""
        place = self._places[contender.name]
        with self._admin() as connection:
            connection.execute("checkpoint")
        wait_for_quiet(self.patience)
        command = [*contender.command(place), *arguments]
        ended = measured(command, environment_of(place), place.folder, self._postmaster())
        if ended.exit_code:
            last_words = (ended.stderr or ended.stdout)[-3000:]
            raise BenchFailed(f"{contender.name} ended with {ended.exit_code}: {last_words}")
        with psycopg.connect(place.database, autocommit=True) as connection:
            found = _arrived(connection, contender.schema)
            if found != truth:
                raise BenchFailed(f"{contender.name} brought wrong rows: {found} where 4D has {truth}")
            connection.execute("vacuum analyze")
        return ended

    def postgres_version(self) -> str:
        """The server's own words."""
        with self._admin() as connection:
            row = connection.execute("show server_version").fetchone()
        return str(row[0]) if row else ""

    def _admin(self) -> psycopg.Connection:
        return psycopg.connect(self.postgres.url("postgres"), autocommit=True)

    def _postmaster(self) -> int:
        return int((self.postgres.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def _order(self, action: str, seed: int) -> dict[str, Any]:
        body = json.dumps({"seed": seed}).encode()
        request = urllib.request.Request(f"{self.server}/__admin/actions/{action}", body, method="POST")
        with urllib.request.urlopen(request, timeout=_START_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def _arrived(connection: psycopg.Connection, schema: str) -> dict[str, Any]:
    row = connection.execute(
        "select count(distinct uid), sum(preis), sum(menge), max(modified_date),"
        " count(*) filter (where modified_date = (select max(modified_date) from {0})),"
        " count(*) from {0}".format(f"{schema}.bench")
    ).fetchone()
    if row is None or row[0] != row[5]:
        return {"rows": "double"}
    return {
        "rows": row[0],
        "sum(preis)": str(Decimal(row[1]).quantize(Decimal("0.01"))),
        "sum(menge)": int(row[2]),
        "max(modified_date)": row[3].isoformat(),
        "rows of that day": row[4],
    }
