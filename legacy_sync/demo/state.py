"""What does the demo keep in `.legacy_sync/`, and which of its servers run right now?

`postgres/` the embedded server, `landing/` rows as received, `dagster/` Dagster's home, `logs/`, `other_systems/`
files of the stand-ins beside 4D, `services.json` their addresses, `four_d.json` how its rows were made,
`servers.json` what runs, `host.lock` held while it runs.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from legacy_sync.settings import own_folder

ERP_DATABASE = "pyerp"
DAGSTER_DATABASE = "dagster"


@dataclass(frozen=True)
class Servers:
    """The servers of a demo; `starter` is the process that ends them, None if they were left running.

    `services` are the environment variables that point to the systems beside 4D, with their logins.
    """

    host: int
    erp_url: str
    dagster_url: str
    api_url: str | None = None
    ui_url: str | None = None
    starter: int | None = None
    services: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DemoFolder:
    """The places inside `.legacy_sync/`."""

    root: Path

    @classmethod
    def here(cls) -> DemoFolder:
        """The demo of the current directory."""
        return cls(own_folder())

    @property
    def postgres(self) -> Path:
        """The embedded server's folder."""
        return self.root / "postgres"

    @property
    def landing(self) -> Path:
        """Rows as received."""
        return self.root / "landing"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def others(self) -> Path:
        """Files of the stand-ins beside 4D."""
        return self.root / "other_systems"

    @property
    def logs(self) -> Path:
        """What the servers say."""
        return self.root / "logs"

    def make(self) -> None:
        """Create what is missing; only this user may look inside."""
        for folder in (self.root, self.dagster, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def lock(self) -> IO[bytes] | None:
        """The lock of the servers, to be kept open; None if another process has it."""
        file = open(self.root / "host.lock", "ab", opener=private)  # noqa: SIM115  # the caller closes it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def find_servers(self) -> Servers | None:
        """What runs now; None if nothing does."""
        if not (self.root / "host.lock").exists():
            return None
        unused = self.lock()
        if unused is not None:
            unused.close()
            return None
        return self.noted_servers()

    def noted_servers(self) -> Servers | None:
        """What was noted last, whether it still runs or not."""
        try:
            return Servers(**json.loads((self.root / "servers.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None

    def note_servers(self, servers: Servers) -> None:
        """Tell other commands in this folder what runs; the addresses hold passwords."""
        write_private(self.root / "servers.json", json.dumps(vars(servers), indent=2))

    def note_services(self, variables: Mapping[str, str]) -> None:
        """Remember where the systems beside 4D are, also when they have ended."""
        write_private(self.root / "services.json", json.dumps(dict(variables), indent=2))

    def noted_services(self) -> dict[str, str]:
        """Where they were last; empty before the first start."""
        try:
            return dict(json.loads((self.root / "services.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # there is none, or it is damaged
            return {}

    def note_ui(self, url: str) -> None:
        """Tell other commands where Dagster's UI is."""
        servers = self.noted_servers()
        if servers:
            self.note_servers(replace(servers, ui_url=url))

    def forget_servers(self) -> None:
        """Nothing runs any more."""
        (self.root / "servers.json").unlink(missing_ok=True)


def private(path: str, flags: int) -> int:
    """An opener for files that only this user can read."""
    return os.open(path, flags, 0o600)


def write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    aside = file.with_name(f"{file.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.touch(mode=0o600)
    aside.write_text(text, encoding="utf-8")
    aside.rename(file)


@contextmanager
def demo_environment() -> Iterator[tuple[dict[str, str], str]]:
    """The variables of this process, and a note if the demo in this folder fills in for what is not set.

    A database that is set is never combined with the demo's 4D server: sample rows must not get into a real ERP.
    After a demo has ended, its database alone is started for as long as the command needs it.
    """
    environ = dict(os.environ)
    folder = DemoFolder.here()
    if environ.get("ERP_DATABASE_URL"):
        yield environ, ""
    elif servers := folder.find_servers():
        filled = _filled(environ, servers.erp_url, servers.api_url, servers.services)
        yield filled, f"working on the demo in {folder.root}"
    elif not environ.get("LEGACY_API_URL") and (folder.postgres / "data").is_dir():
        away = folder.noted_services()  # their old addresses, so that no real system is asked
        with _database(folder) as url:
            yield _filled(environ, url, None, away), f"working on the database of the last demo in {folder.root}"
    else:
        yield environ, ""


def _filled(
    environ: Mapping[str, str], erp_url: str, api_url: str | None, services: Mapping[str, str]
) -> dict[str, str]:
    """The demo's addresses beside what is set; who has a 4D server of his own has the other systems too."""
    filled = {**environ, "ERP_DATABASE_URL": erp_url}
    if environ.get("LEGACY_API_URL"):
        return filled
    found = {**services, **({"LEGACY_API_URL": api_url} if api_url else {})}
    return filled | {name: environ.get(name) or value for name, value in found.items()}


@contextmanager
def _database(folder: DemoFolder) -> Iterator[str]:
    from legacy_sync.demo.postgres import EmbeddedPostgres

    with EmbeddedPostgres(folder.postgres) as postgres:
        postgres.ensure_database(ERP_DATABASE)
        yield postgres.url(ERP_DATABASE)
