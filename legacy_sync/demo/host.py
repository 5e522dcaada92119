"""How do the demo's servers die with the command that started them? They live in this process, which watches it.

`python -m legacy_sync.demo.host --folder .legacy_sync` runs the embedded PostgreSQL and stand-ins for the 4D server
and the other systems, prints one line of JSON when they are ready, and stops them when its standard input ends (the
starter died or let go) or a signal asks for it. With `--detached` only a signal does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from legacy_sync.demo.erp_tables import create_erp_tables
from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.past import Past
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.state import DAGSTER_DATABASE, ERP_DATABASE, DemoFolder, Servers
from legacy_sync.demo.web_services import Beside
from legacy_sync.errors import LegacySyncError

_WAIT_FOR_DYING_HOST_SECONDS = 20


def main(arguments: list[str] | None = None) -> int:
    """Serve until the starter goes; 0 after a clean end, 1 if the servers cannot start."""
    options = _parser().parse_args(arguments)
    folder = DemoFolder(options.folder.resolve())
    folder.make()
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    if not options.detached:
        threading.Thread(target=_wait_for_end_of_input, args=(end,), daemon=True).start()
    lock = _take_over(folder)
    if lock is None:
        servers = folder.noted_servers()
        _say({"busy": (servers.ui_url if servers else None) or ""})
        return 1
    try:
        with lock, ExitStack() as stack:
            _serve(folder, options, stack)
            end.wait()
            folder.forget_servers()
    except LegacySyncError as error:
        _say({"error": {"what": error.what, "where": error.where, "next_step": error.next_step}})
        return 1
    return 0


def _serve(folder: DemoFolder, options: argparse.Namespace, stack: ExitStack) -> None:
    postgres = stack.enter_context(EmbeddedPostgres(folder.postgres))
    if options.fresh:
        _forget_everything(folder, postgres)
    for name in (ERP_DATABASE, DAGSTER_DATABASE):
        postgres.ensure_database(name)
        _do_not_wait_for_the_disk(postgres, name)
    with psycopg.connect(postgres.url(ERP_DATABASE)) as connection:
        create_erp_tables(connection)
    api_url, services = _start_legacy(folder, options, stack) if options.four_d else (None, {})
    servers = Servers(
        host=os.getpid(),
        erp_url=postgres.url(ERP_DATABASE),
        dagster_url=postgres.url(DAGSTER_DATABASE),
        api_url=api_url,
        starter=None if options.detached else os.getppid(),
        services=services,
    )
    folder.note_servers(servers)
    _say(vars(servers))


def _start_legacy(folder: DemoFolder, options: argparse.Namespace, stack: ExitStack) -> tuple[str, dict[str, str]]:
    """The stand-ins with the rows of earlier days, on the ports they had then if those are free.

    Returns the address of 4D and the variables that point to the other systems.
    """
    past = None if options.fresh else Past.find(folder)
    if past is None:
        past = Past(options.seed, options.families, options.variants, datetime.now(UTC).date())
    store = past.begin()
    beside = Beside(store, folder.others, past.seed, past.today)
    past.catch_up(store)
    server = FourDServer(store, past.port, actions=past.actions())
    try:
        stack.enter_context(server)
    except OSError:  # somebody else listens there now
        server.port = 0
        stack.enter_context(server)
    past.port = server.port
    past.save(folder)
    return server.url, _start_others(folder, beside, options, stack)


def _start_others(folder: DemoFolder, beside: Beside, options: argparse.Namespace, stack: ExitStack) -> dict[str, str]:
    before = {} if options.fresh else folder.noted_services()
    port = urlsplit(before.get("FRANKFURTER_URL", "")).port or 0
    systems = stack.enter_context(beside.started(port, fresh=options.fresh))
    folder.note_services(systems.variables)
    return systems.variables


def _do_not_wait_for_the_disk(postgres: EmbeddedPostgres, name: str) -> None:
    """A power cut may then take the last half second of a demo, but never breaks the database."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} set synchronous_commit = off").format(sql.Identifier(name)))


def _forget_everything(folder: DemoFolder, postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        for name in (ERP_DATABASE, DAGSTER_DATABASE):
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    for place in (folder.landing, folder.dagster):
        shutil.rmtree(place, ignore_errors=True)
    folder.make()


def _take_over(folder: DemoFolder) -> IO[bytes] | None:
    """The lock of the folder; waits while the host of a killed starter is still stopping."""
    deadline = time.monotonic() + _WAIT_FOR_DYING_HOST_SECONDS
    while (lock := folder.lock()) is None:
        servers = folder.noted_servers()
        in_use = servers is not None and (servers.starter is None or psutil.pid_exists(servers.starter))
        if in_use or time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return lock


def _wait_for_end_of_input(end: threading.Event) -> None:
    sys.stdin.buffer.read()
    end.set()


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m legacy_sync.demo.host", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--four-d", action="store_true", help="also run the stand-ins for 4D and the other systems")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier demos left")
    parser.add_argument("--detached", action="store_true", help="go on when the starter ends")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", type=int, default=1600)
    parser.add_argument("--variants", type=int, default=4300)
    return parser


if __name__ == "__main__":
    sys.exit(main())
