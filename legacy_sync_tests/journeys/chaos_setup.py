"""What does a world look like in which everything may be killed? Processes for both ends and the runs, and people.

People save records in 4D and rows in the ERP all the time, each their own columns, so that it is known what both
sides must look like when everything has come to rest.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import orjson
import psutil
import psycopg
from four_d_to_be_killed import edit, new_store
from journey_setup import MONTHS, PARENTS, SOURCES, VARIANTS, Journey, key_of

from legacy_sync.demo.erp_tables import create_erp_tables
from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.postgres import EmbeddedPostgres

HERE = Path(__file__).parent
FAMILIES_AT_FIRST, VARIANTS_AT_FIRST = 60, 120
WINDOWS = {**MONTHS, "start": (datetime.now(UTC).date() - timedelta(days=60)).isoformat()}


class FourD:
    """The old database; what was saved outlives it."""

    def __init__(self, folder: Path) -> None:
        self.store = new_store()
        """what it has, known here too"""
        self._file = (folder / "saved").open("ab")
        self._saving = threading.Lock()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def save(self, table: str, key: str, **values: Any) -> None:
        """Somebody saves a record."""
        line = orjson.dumps({"at": datetime.now(UTC).isoformat(), "table": table, "key": key, "values": values}) + b"\n"
        with self._saving:
            edit(self.store, orjson.loads(line))
            self._file.write(line)
            self._file.flush()
            if self.process and self.process.stdin:
                try:
                    self.process.stdin.write(line)
                    self.process.stdin.flush()
                except BrokenPipeError:
                    return  # it was killed, and reads the file when it is started again

    def start(self) -> None:
        """It serves what was saved."""
        with self._saving:
            self.process = _program("four_d_to_be_killed.py", str(self.port), self._file.name)

    def kill(self) -> None:
        """At once."""
        if self.process:
            _kill(self.process)

    def close(self) -> None:
        """It is not needed any more."""
        self.kill()
        self._file.close()


class Runs:
    """The runs of all entities, one after the other, for ever."""

    def __init__(self, journey: Journey) -> None:
        self._log = (journey.folder / "runs.log").open("ab")
        self._maker = _program("runs_to_be_killed.py", environ=journey.environ, log=self._log)
        self.pid = 0

    def start(self) -> None:
        """A new process begins."""
        assert self._maker.stdin
        assert self._maker.stdout
        self._maker.stdin.write(b"\n")
        self._maker.stdin.flush()
        self.pid = int(self._maker.stdout.readline())

    def kill(self) -> None:
        """At once."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.pid = 0

    def close(self) -> None:
        """No more of them."""
        self.kill()
        _kill(self._maker)
        self._log.close()


def _program(name: str, *arguments: str, environ: dict[str, str] | None = None, log: Any = None) -> Any:
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *arguments],
        env=os.environ | (environ or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was written last was not read any more


class People:
    """Somebody works in 4D and somebody in the ERP, until they are sent home."""

    def __init__(self, world: "World", seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.families, self.variants = 0, 0
        self.names: dict[str, str] = {}
        """number of a family → the name somebody gave it in the ERP"""
        self.edits = 0
        self._home = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """They work meanwhile."""
        self._home.clear()
        self._threads = [threading.Thread(target=self._work, args=(job,)) for job in (self.in_four_d, self.in_the_erp)]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._home.set()
            for thread in self._threads:
                thread.join()

    def _work(self, job: Any) -> None:
        dice = random.Random(self.dice.random())
        while not self._home.wait(dice.random() * 0.06):
            job(dice)

    def in_four_d(self, dice: random.Random) -> None:
        """A record is saved, or made; a variant may come before its family."""
        four_d, kind = self.world.four_d, dice.random()
        if kind < 0.15:
            self.new_family()
        elif kind < 0.3:
            self.new_variant(dice.randrange(self.families + 3))
        elif kind < 0.65:
            number = dice.randrange(self.families)
            four_d.save("Artikel_Familie", key_of(number), Gewicht=dice.randrange(10_000))
        else:
            number = dice.randrange(self.variants)
            four_d.save("Artikel_Variante", key_of(number), Farbe=f"Farbe {dice.randrange(10_000)}")

    def new_family(self) -> None:
        """The next number."""
        number, self.families = self.families, self.families + 1
        said = {"Nummer": number, "Bezeichnung": f"Familie {number}", "aktiv": True}
        self.world.four_d.save("Artikel_Familie", key_of(number), **said)

    def new_variant(self, family: int) -> None:
        """The next number, of that family."""
        number, self.variants = self.variants, self.variants + 1
        said = {"Nummer": number, "Bezeichnung": f"Variante {number}", "Familie_": key_of(family), "Aktiv": True}
        self.world.four_d.save("Artikel_Variante", key_of(number), **said, alteNummer=f"{number}-BE", fk_ArtNr=None)

    def in_the_erp(self, dice: random.Random) -> None:
        """Two rows get names in one transaction, in any order, so that loads and people stand in each other's way."""
        numbers = [str(dice.randrange(self.families)) for _ in range(2)]
        self.edits += 1
        names = {number: f"Name {self.edits} {number}" for number in numbers}
        try:
            with psycopg.connect(self.world.url, application_name="pyERP", connect_timeout=5) as connection:
                done = [n for n in names if self._rename(connection, n, names[n])]
                self._home.wait(dice.random() * 0.03)
        except psycopg.OperationalError:
            self._see_what_became_of(names)
        else:
            self.names |= {number: names[number] for number in done}

    def _rename(self, connection: psycopg.Connection, number: str, name: str) -> bool:
        statement = "update products_parentproduct set name = %s, updated_at = clock_timestamp() where sku = %s"
        return connection.execute(statement, [name, number]).rowcount == 1

    def _see_what_became_of(self, names: dict[str, str]) -> None:
        """A connection was lost, perhaps while committing; all of it is there, or nothing."""
        for _ in range(1000):
            try:
                with psycopg.connect(self.world.url, application_name="pyERP", connect_timeout=5) as connection:
                    query = "select sku, name from products_parentproduct where sku = any(%s)"
                    there = dict(connection.execute(query, [list(names)]).fetchall())
            except psycopg.OperationalError:
                threading.Event().wait(0.05)
                continue
            self.names |= {number: name for number, name in names.items() if there.get(number) == name}
            return


class World:
    """Both ends, the runs and the people."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.four_d = FourD(folder)
        self.people = People(self, seed)

    def __enter__(self) -> Self:
        self.postgres.start()
        self.postgres.ensure_database("erp")
        self.url = self.postgres.url("erp")
        with psycopg.connect(self.url) as connection:
            create_erp_tables(connection)
        for _ in range(FAMILIES_AT_FIRST):
            self.people.new_family()
        for number in range(VARIANTS_AT_FIRST):
            self.people.new_variant(number % (FAMILIES_AT_FIRST + 5))
        self.four_d.start()
        server = cast("FourDServer", SimpleNamespace(store=self.four_d.store, url=self.four_d.url))
        self.journey = Journey(server, self.url, self.folder)
        quick = {"first_pause": "50ms", "longest_pause": "500ms", "attempts": 8}
        self.journey.overlay["sources"]["four_d"]["retry"] = quick
        self.journey.overlay["defaults"] = {"retry": quick}
        self.journey.overlay["erp"] = {"lock_timeout": "500ms"}
        for entity in SOURCES:
            self.journey.remap(entity, partitions=WINDOWS, source={"page_size": 50})
        _ = self.journey.workspace  # writes the mappings for the other processes
        self.runs = Runs(self.journey)
        return self

    def __exit__(self, *_: object) -> None:
        self.runs.close()
        self.journey.close()
        self.four_d.close()
        self.postgres.stop()

    def start_runs(self, *, is_loading: bool) -> None:
        """They have begun: one has a session in the ERP database, or has even begun to load."""
        before = self._newest_run()
        self.runs.start()
        while not self.journey.query("select from pg_stat_activity where application_name = 'legacy_sync'"):
            threading.Event().wait(0.02)
        while is_loading and self._newest_run() == before:
            threading.Event().wait(0.02)

    def _newest_run(self) -> int:
        if not self.journey.query("select from pg_tables where schemaname = 'legacy_sync' and tablename = 'run'"):
            return 0
        return int(self.journey.query("select coalesce(max(id), 0) as newest from legacy_sync.run")[0]["newest"])

    # --- what may happen

    def kill_run(self) -> None:
        """The process of the run."""
        self.runs.kill()

    def kill_four_d(self) -> None:
        """The old database, which is started again."""
        self.four_d.kill()
        self.four_d.start()

    def kill_backend(self) -> None:
        """A session of a run, by the system: PostgreSQL then ends all sessions and recovers."""
        self._each_session(lambda pid: os.kill(pid, signal.SIGKILL))

    def end_session(self) -> None:
        """A session of a run, by an administrator."""
        self._each_session(lambda pid: self.journey.execute("select pg_terminate_backend(%s)", pid))

    def kill_postgres(self) -> None:
        """The whole server, which is started again."""
        pid = int((self.postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
        sessions = psutil.Process(pid).children()
        os.kill(pid, signal.SIGKILL)
        for session in sessions:  # one that computes notices late that it is alone
            with suppress(psutil.NoSuchProcess):
                session.kill()
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            threading.Event().wait(0.01)
        self.postgres.stop()  # leaves it; there is nothing to stop any more
        self.postgres.start()
        assert self.postgres.url("erp") == self.url

    def _each_session(self, act: Any) -> None:
        try:
            for row in self.journey.query("select pid from pg_stat_activity where application_name = 'legacy_sync'"):
                act(row["pid"])
        except (psycopg.OperationalError, ProcessLookupError):
            return  # it ended meanwhile

    # --- what must hold

    def come_to_rest(self) -> None:
        """No session of a killed run is left."""
        self.runs.kill()
        while True:
            try:
                if not self.journey.query("select from pg_stat_activity where application_name = 'legacy_sync'"):
                    return
            except psycopg.OperationalError:
                threading.Event().wait(0.05)  # it recovers

    def outcomes(self) -> dict[str, int]:
        """How the runs ended, and how many had to do a part again."""
        return {
            str(row["outcome"]): int(row["runs"])
            for row in self.journey.query(
                "select case when message like 'the process ended%%' then 'killed' when report ->> 'repeated' <> '{}'"
                " then 'succeeded after another try' else outcome end as outcome, count(*) as runs"
                " from legacy_sync.run group by 1 order by 1"
            )
        }

    def check_what_always_holds(self) -> None:
        """No duplicate, no orphan, no watermark ahead of its rows, and the ledger counts what is in the tables."""
        self.come_to_rest()
        if not self._newest_run():
            return
        for entity in SOURCES:
            self._check_rows(entity)
            self._check_watermark(entity)
        (lost,) = self.journey.query(
            "select count(*) from products_variantproduct v left join products_parentproduct p on p.id = v.parent_id"
            " where p.id is null and v.parent_id is not null"
        )
        assert lost["count"] == 0, "orphans"

    def _check_rows(self, entity: str) -> None:
        (found,) = self.journey.query(
            f"select (select count(*) from {entity}) as rows, (select count(distinct sku) from {entity}) as numbers,"
            f"  (select count(*) from {entity} t join legacy_sync.binding b on b.erp_key = t.id::text"
            "    and b.entity_id = e.id) as bound,"
            "  (select count(*) from legacy_sync.binding b where b.entity_id = e.id) as bindings,"
            "  (select coalesce(sum((r.counts ->> 'inserted')::int), 0) from legacy_sync.run r"
            "    where r.entity_id = e.id) as inserted,"
            "  (select count(*) from legacy_sync.change c where c.entity_id = e.id and kind = 'update') as changes,"
            "  (select coalesce(sum((r.counts ->> 'updated')::int), 0) from legacy_sync.run r"
            "    where r.entity_id = e.id) as updated"
            " from (select coalesce((select id from legacy_sync.entity where name = %s), 0) as id) e",
            entity,
        )
        rows, changes = found["rows"], found["changes"]
        same = dict.fromkeys(("rows", "numbers", "bound", "bindings", "inserted"), rows)
        assert found == {**same, "changes": changes, "updated": changes}, f"{entity}: {found}"

    def _check_watermark(self, entity: str) -> None:
        """Every record of a fetch that was taken in is bound or waits."""
        landing, table = self.journey.workspace.landing, SOURCES[entity]
        known = {
            row["legacy_key"]
            for row in self.journey.query(
                "select legacy_key from legacy_sync.binding b join legacy_sync.entity e on e.id = entity_id"
                " where e.name = %(entity)s union select legacy_key from legacy_sync.quarantine"
                " join legacy_sync.entity e on e.id = entity_id where e.name = %(entity)s".replace("%(entity)s", "%s"),
                entity,
                entity,
            )
        }
        taken = {
            (row["partition"], row["fetch_id"])
            for row in self.journey.query(
                "select partition, fetch_id from legacy_sync.loaded_fetch join legacy_sync.entity e on e.id = entity_id"
                " where e.name = %s",
                entity,
            )
        }
        for partition in landing.partitions(table):
            for fetch in landing.fetches(table, partition):
                if (partition, fetch.fetch_id) in taken:
                    keys = {key for batch in landing.read(fetch) for key in batch.column("__KEY").to_pylist()}
                    assert keys <= known, f"{entity}, {partition}: the watermark is ahead of the rows"

    def check_what_holds_at_rest(self) -> None:
        """After an undisturbed run both sides are as people left them; another one writes nothing."""
        self.journey.run_all()
        self.journey.run_all()
        self.check_what_always_holds()
        assert self.journey.query("select from legacy_sync.run where outcome = 'running'") == []
        assert self.journey.query("select from legacy_sync.conflict") == []
        families = {str(r["Nummer"]): r for r in self.four_d.store.rows("Artikel_Familie")}
        rows = self.journey.query("select sku, name, weight from products_parentproduct")
        assert_same(
            {r["sku"]: (r["name"], r["weight"]) for r in rows},
            {n: (self.people.names.get(n, r["Bezeichnung"]), r.get("Gewicht")) for n, r in families.items()},
        )
        variants = {
            str(r["Nummer"]): (r.get("Farbe") or "", str(int(str(r["Familie_"]), 16)))
            for r in self.four_d.store.rows("Artikel_Variante")
        }
        rows = self.journey.query(
            "select v.sku, v.color, p.sku as family from products_variantproduct v"
            " join products_parentproduct p on p.id = v.parent_id"
        )
        there = {r["sku"]: (r["color"] or "", r["family"]) for r in rows}
        assert_same(there, {number: said for number, said in variants.items() if said[1] in families})
        assert len(self.journey.parked()) == len(variants) - len(there)
        places = self.journey.places()
        self.journey.run_all()
        assert_same(self.journey.places(), places)


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Says what differs."""
    differs = {key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)}
    assert not differs, {key: {"found": found.get(key), "wanted": wanted.get(key)} for key in sorted(differs)[:5]}


__all__ = ["PARENTS", "VARIANTS", "World"]
