"""Is what travels between the machines safe from others? Said by `legacy-sync check`, for every connection once."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from legacy_sync.errors import Problem

if TYPE_CHECKING:
    import psycopg

    from legacy_sync.mapping.loader import Project
    from legacy_sync.settings import Settings


@dataclass(frozen=True)
class Transport:
    """One connection: to whom, how, and what is wrong with that (None if nothing is)."""

    name: str
    host: str
    is_encrypted: bool
    warning: Problem | None = None

    @property
    def in_words(self) -> str:
        """For people."""
        how = "encrypted" if self.is_encrypted else "not encrypted"
        return f"{self.name}: {how}" + (", does not leave this machine" if stays_here(self.host) else f", {self.host}")


def of_erp(connection: psycopg.Connection) -> Transport:
    """The connection to the ERP database as it is."""
    from legacy_sync.erp.transport import describe_transport

    host, is_encrypted, is_checked = describe_transport(connection)
    name, where = "ERP database", f"environment variable ERP_DATABASE_URL, host {host}"
    if is_checked or stays_here(host):
        return Transport(name, host, is_encrypted)
    what = "the connection to the ERP database is not encrypted"
    if is_encrypted:
        what = "the connection to the ERP database is encrypted, but nobody checks who the server is"
    next_step = "add ?sslmode=verify-full&sslrootcert=FILE to ERP_DATABASE_URL (docs/security.md)"
    return Transport(name, host, is_encrypted, Problem(what, where, next_step))


def of_sources(settings: Settings, project: Project, names: Iterable[str]) -> Iterator[Transport]:
    """The web services among these sources, by their addresses."""
    for name in names:
        options = project.sources[name].options
        url = str(getattr(options, "url", None) or (settings.api_url if options.type == "four_d" else "") or "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            continue
        is_encrypted = parts.scheme == "https"
        warning = None
        if not is_encrypted and not stays_here(parts.hostname):
            what = f"logins and rows of the source {name} travel unencrypted"
            where = f"source {name}, host {parts.hostname}"
            warning = Problem(what, where, "use https:// in its address (docs/security.md)")
        yield Transport(f"source {name}", parts.hostname, is_encrypted, warning)


def stays_here(host: str) -> bool:
    """Whether it is this machine: a loopback address, its name, or a Unix socket."""
    if host in ("", "localhost") or host.startswith(("/", "@")) or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
