"""Which settings are in force? The only reader of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from legacy_sync.errors import SettingsInvalid

PROJECT_ROOT = Path(__file__).resolve().parent.parent
MASK = "***"
# All up to the last @: a password may hold an unescaped one, or a slash.
_PASSWORD = re.compile(r"^((?:[\w+.-]+://(?!/)|(?![\w+.-]+://))[^:@]*):.*@", re.DOTALL)
_KEY_IN_QUERY = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|token|secret|key|sig|auth|credential)[^=&;]*=)[^&;#\s]*", re.IGNORECASE
)


@dataclass(frozen=True)
class Settings:
    """Everything the environment says, checked and with defaults filled in.

    `api_url` and `erp_url` are None when nothing was set; ask `require_api_url` / `require_erp_url`
    where they are needed, so that commands that do not need them work without.
    """

    environment: str
    mappings: Path
    landing: str
    api_url: str | None = field(default=None, repr=False)
    api_user: str | None = None
    api_password: str | None = field(default=None, repr=False)
    api_ca: str | None = None
    erp_url: str | None = field(default=None, repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def server_name(self) -> str:
        """The legacy server without scheme, user and password; "none" while none is set."""
        parts = urlsplit(self.api_url or "")
        return parts.netloc.rsplit("@", 1)[-1] + parts.path.rstrip("/") or "none"

    @property
    def sessions(self) -> Path:
        """The private folder for sessions that processes of this machine share."""
        if "://" in self.landing and not self.landing.startswith("file://"):
            return Path.home() / ".local" / "state" / "legacy_sync" / "sessions"
        return Path(self.landing.removeprefix("file://")).absolute().parent / "sessions"

    @property
    def notify_urls(self) -> list[str]:
        """Addresses of channels for notifications, from LEGACY_SYNC_NOTIFY; blanks or new lines stand between them."""
        return (self.values.get("LEGACY_SYNC_NOTIFY") or "").split()

    @property
    def dagster_home(self) -> Path | None:
        """Dagster's own folder; None where nothing of it is meant to last."""
        home = self.values.get("DAGSTER_HOME")
        return Path(home) if home else None

    def require_api_url(self) -> str:
        """The base URL of the legacy server, or SettingsInvalid."""
        if self.api_url:
            return self.api_url
        raise SettingsInvalid(
            "no legacy server is set",
            where="environment variable LEGACY_API_URL",
            next_step="set LEGACY_API_URL=http://host:port, or start the demo with `legacy-sync up`",
        )

    def require_erp_url(self) -> str:
        """The URL of pyERP's database, or SettingsInvalid."""
        if self.erp_url:
            return self.erp_url
        raise SettingsInvalid(
            "no ERP database is set",
            where="environment variable ERP_DATABASE_URL",
            next_step="set ERP_DATABASE_URL=postgresql://user:password@host/database,"
            " or start the demo with `legacy-sync up`",
        )


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; raises SettingsInvalid for a value that cannot be used."""
    env = dict(os.environ if environ is None else environ)
    return Settings(
        environment=env.get("LEGACY_SYNC_ENV") or "dev",
        mappings=_folder(env.get("LEGACY_SYNC_MAPPINGS")),
        landing=env.get("LEGACY_SYNC_LANDING") or str(own_folder() / "landing"),
        api_url=_url(env, "LEGACY_API_URL", ("http", "https")),
        api_user=env.get("LEGACY_API_USER") or None,
        api_password=env.get("LEGACY_API_PASSWORD") or None,
        api_ca=env.get("LEGACY_API_CA") or None,
        erp_url=_url(env, "ERP_DATABASE_URL", ("postgresql", "postgres")),
        values=env,
    )


def own_folder() -> Path:
    """The folder below the working directory that holds what is not set elsewhere; raises SettingsInvalid."""
    try:
        return Path.cwd() / ".legacy_sync"
    except FileNotFoundError:
        raise SettingsInvalid(
            "the working directory no longer exists", where="current folder", next_step="change to one that does"
        ) from None


def mask_url(url: str) -> str:
    """The URL without its password and keys, fit for logs; of what is no URL rather too much is masked."""
    url = _PASSWORD.sub(rf"\1:{MASK}@", url)
    return _KEY_IN_QUERY.sub(rf"\1{MASK}", url)


def _folder(value: str | None) -> Path:
    folder = Path(value) if value else PROJECT_ROOT / "mappings"
    try:
        is_there = folder.is_dir()
    except (OSError, ValueError):  # a name too long for any file system, or with a sign none has
        is_there = False
    if not is_there:
        raise SettingsInvalid(
            f'the mappings folder "{str(folder)[:200]}" does not exist',
            where="environment variable LEGACY_SYNC_MAPPINGS",
            next_step="point LEGACY_SYNC_MAPPINGS at the folder with the mapping files",
        )
    return folder


def _url(env: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    value = env.get(name)
    if not value:
        return None
    try:
        parts = urlsplit(value)
        if parts.netloc.count("@") > 1 or "@" in parts.fragment:
            raise _no_url(name, "the login in the URL is ambiguous; @ is written %40 there, # is %23", schemes)
        is_usable = parts.scheme.split("+")[0] in schemes and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        raise _no_url(name, "the value cannot be read as a URL", schemes) from None
    if not is_usable:
        raise _no_url(name, f'"{mask_url(value)}" is no URL of the kind {schemes[0]}://…', schemes)
    return value


def _no_url(name: str, what: str, schemes: tuple[str, ...]) -> SettingsInvalid:
    return SettingsInvalid(
        what, where=f"environment variable {name}", next_step=f"write it as {schemes[0]}://host:port…"
    )
