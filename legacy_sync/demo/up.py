"""`legacy-sync up`: how does everything run at once, and end at once?"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psycopg
from psycopg import sql

from legacy_sync.demo.dagster_home import CODE_LOCATION, environment_of, write_dagster_yaml, write_workspace
from legacy_sync.demo.servers import Sample, Tied, find_port, hosted
from legacy_sync.demo.state import DemoFolder
from legacy_sync.errors import ErpUnavailable, SettingsInvalid
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import Settings, mask_url, read_settings

Say = Callable[[str], None]

_START_SECONDS = 120
_CODE_PORT = 4266
_LOOK_EVERY_SECONDS = 0.5


def run_up(say: Say, *, port: int, sample: Sample, with_sample_data: bool) -> None:
    """Run everything until Ctrl-C or SIGTERM, which come as KeyboardInterrupt; one during the start is passed on."""
    folder = DemoFolder.here()
    own_api, own_erp = os.environ.get("LEGACY_API_URL"), os.environ.get("ERP_DATABASE_URL")
    settings = read_settings()
    if own_erp and not own_api and not with_sample_data:
        _refuse_to_mix(settings)
    with _interruptible(), hosted(folder, sample, four_d=not own_api) as servers:
        say(f"ERP       {mask_url(own_erp or servers.erp_url)}")
        say(f"4D        {mask_url(own_api) if own_api else f'{servers.api_url} (stand-in with sample rows)'}")
        write_dagster_yaml(folder, servers)
        environment = environment_of(folder, servers, closed=False)
        chosen = find_port(port)
        if chosen != port:
            say(f"port {port} is taken, so the UI gets {chosen}")
        url = f"http://127.0.0.1:{chosen}"
        with _dagster(folder, chosen, environment) as programs:
            folder.note_ui(url)
            say(f"Dagster   {url}")
            say(f"logs in {folder.logs}; other commands, such as `legacy-sync status`, work from this folder meanwhile")
            say("Ctrl-C ends everything")
            with suppress(KeyboardInterrupt):  # the ordinary end
                _watch(programs)
    say("everything has ended")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C works even if whoever started us, such as a script with `&`, has switched it off."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _dagster(folder: DemoFolder, port: int, environment: dict[str, str]) -> Iterator[list[Tied]]:
    """The web server and the daemon, and the code server they share: what one sees the other sees too."""
    code_port = find_port(_CODE_PORT if port != _CODE_PORT else _CODE_PORT + 1)
    workspace = ["-w", str(write_workspace(folder, code_port))]
    code = ["code-server", "start", "-h", "127.0.0.1", "-p", str(code_port), "-m", CODE_LOCATION]
    programs: list[Tied] = []

    def start(name: str, *arguments: str, log: str) -> None:
        programs.append(Tied(name, [_program(name), *arguments], environment, folder.logs / log))

    try:
        start("dagster", *code, log="code_server.log")
        _wait_for("the code server", lambda: _listens(code_port), programs)
        start("dagster-webserver", "-h", "127.0.0.1", "-p", str(port), *workspace, log="webserver.log")
        start("dagster-daemon", "run", *workspace, log="daemon.log")
        _wait_for("Dagster's UI", lambda: _answers(f"http://127.0.0.1:{port}"), programs)
        yield programs
    finally:
        with _deaf():
            for program in programs:
                program.ask_to_end()
            for program in programs:
                program.end()


@contextmanager
def _deaf() -> Iterator[None]:
    """A second Ctrl-C does not interrupt the orderly end."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SettingsInvalid(f'"{name}" is not installed', where=str(beside.parent), next_step="run `make setup`")
    return found


def _wait_for(what: str, is_there: Callable[[], bool], programs: Sequence[Tied]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_there():
        for program in programs:
            program.check()
        if time.monotonic() > deadline:
            raise ErpUnavailable(
                f"{what} does not answer within {_START_SECONDS} s",
                where="legacy-sync up",
                next_step=f"read {programs[-1].log} and try again",
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _listens(port: int) -> bool:
    """A code server does so only when it has loaded the definitions."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _watch(programs: Sequence[Tied]) -> None:
    never = threading.Event()
    while not never.wait(_LOOK_EVERY_SECONDS):
        for program in programs:
            program.check()


def _refuse_to_mix(settings: Settings) -> None:
    """Sample rows must not get into a database that holds somebody's work."""
    tables = {mapping.target.table for mapping in load_project(settings).mappings.values()}
    from legacy_sync.erp.catalog import find_table
    from legacy_sync.erp.database import connect

    with connect(settings.require_erp_url()) as connection:
        for name in sorted(tables):
            if find_table(connection, name) and _has_rows(connection, name):
                raise SettingsInvalid(
                    f'the ERP table "{name}" has rows, and the demo\'s 4D would bring sample rows into it',
                    where="environment variable ERP_DATABASE_URL, with LEGACY_API_URL not set",
                    next_step="set LEGACY_API_URL as well, unset ERP_DATABASE_URL, or say --with-sample-data",
                )


def _has_rows(connection: psycopg.Connection, table: str) -> bool:
    query = sql.SQL("select exists (select 1 from {})").format(sql.Identifier(table))
    row = connection.execute(query).fetchone()
    return bool(row and row[0])
