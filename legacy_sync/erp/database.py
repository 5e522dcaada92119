"""How do we talk to pyERP's PostgreSQL? Connections with fixed session settings, and errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from legacy_sync.erp.holders import locked_out
from legacy_sync.erp.interrupts import NOTICE_OF_DEATH, InterruptibleConnection
from legacy_sync.erp.transport import find_refusal
from legacy_sync.errors import ErpRefused, ErpUnavailable, SettingsInvalid
from legacy_sync.mapping.model import Erp
from legacy_sync.settings import mask_url

APPLICATION = "legacy_sync"
"""what PostgreSQL shows of our sessions"""

# Texts of values (::text) are compared between runs, so everything that shapes them is fixed here.
_SESSION = (
    "set timezone = 'UTC'",
    "set datestyle = 'ISO, YMD'",
    "set intervalstyle = 'iso_8601'",
    "set bytea_output = 'hex'",
    "set extra_float_digits = 1",
    "set jit = off",
    "set client_min_messages = warning",
    "set idle_in_transaction_session_timeout = '10min'",
    "set work_mem = '128MB'",
    "set random_page_cost = 1.1",  # portions of a large table are looked up, not scanned
    "set default_statistics_target = 10",  # for our temporary tables only
    "set temp_buffers = '32MB'",
    NOTICE_OF_DEATH,
)
_ALIVE: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""a network that swallows everything is noticed within a minute or two"""
_BUSY: tuple[type[psycopg.Error], ...] = (
    pg.DeadlockDetected,
    pg.SerializationFailure,
    pg.InsufficientResources,
    pg.DiskFull,
    pg.OutOfMemory,
)
_BUSY += (pg.TooManyConnections, pg.ConfigurationLimitExceeded)
_GONE = (
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.ConnectionException,
    pg.IdleInTransactionSessionTimeout,
)
_REFUSED = (pg.InsufficientPrivilege, pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidCatalogName, pg.InvalidPassword)


_PATIENCE = Erp()


class _Cursor(psycopg.Cursor[Any]):
    """Lets composed names and constants hold a percent sign, which the driver would take for a placeholder."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """As always; only the parts of a composed query that stand for names and constants are guarded."""
        if params is not None and isinstance(query, sql.Composed):
            query = self._guarded(query)
        return super().execute(query, params, **options)

    def _guarded(self, query: sql.Composed) -> sql.Composed:
        return sql.Composed([self._guarded_part(part) for part in query])

    def _guarded_part(self, part: sql.Composable) -> sql.Composable:
        if isinstance(part, sql.Composed):
            return self._guarded(part)
        if isinstance(part, sql.Identifier | sql.Literal) and "%" in (text := part.as_string(self)):
            return sql.SQL(text.replace("%", "%%"))
        return part


@contextmanager
def connect(url: str, patience: Erp = _PATIENCE) -> Iterator[psycopg.Connection]:
    """A connection with the session settings every statement here relies on; closed at the end.

    Autocommit outside `connection.transaction()`. Raises ErpUnavailable or ErpRefused.
    """
    with translated(f"ERP database {mask_url(url)}"):
        connection = InterruptibleConnection.connect(
            _readable(url),
            autocommit=True,
            application_name=APPLICATION,
            connect_timeout=10,
            prepare_threshold=None,
            cursor_factory=_Cursor,
            **_ALIVE,
        )
        with connection:
            for statement in _SESSION:
                connection.execute(statement)
            for name, longest in (
                ("lock_timeout", patience.lock_timeout),
                ("statement_timeout", patience.statement_timeout),
            ):
                milliseconds = max(1, round(longest.total_seconds() * 1000))  # 0 would be no limit
                connection.execute("select set_config(%s, %s, false)", [name, str(milliseconds)])
            yield connection


def may_pass(error: BaseException) -> bool:
    """Whether the same statements may succeed in a moment: after a deadlock, a lock or a lost connection.

    A statement that took too long, or that an administrator cancelled, is not simply sent again.
    """
    return isinstance(error, ErpUnavailable) and not isinstance(error.__cause__, pg.QueryCanceled)


def is_lost(error: BaseException | None) -> bool:
    """Whether there is no connection any more."""
    if isinstance(error, ErpUnavailable):
        return is_lost(error.__cause__)
    if isinstance(error, (*_GONE, psycopg.InterfaceError)):
        return True
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] in ("08", "57")


@contextmanager
def translated(where: str, connection: psycopg.Connection | None = None) -> Iterator[None]:
    """Turns errors of the driver into ErpUnavailable (try again) or ErpRefused (a person has to act).

    With the connection, outside its transaction, a lock that was not granted is told with who holds it.
    """
    try:
        yield
    except pg.LockNotAvailable as error:
        raise locked_out(connection, error, where) from error
    except pg.QueryCanceled as error:
        raise ErpUnavailable(
            f"the ERP database ended a statement: {_first_line(error)}",
            where=where,
            next_step="nothing was written. If it took too long: see what PostgreSQL was busy with, or raise"
            " `erp.statement_timeout` of the environment; then run it again",
        ) from error
    except _BUSY as error:
        raise ErpUnavailable(
            f"the ERP database could not go on: {_first_line(error)}",
            where=where,
            next_step="run it again; nothing was written",
        ) from error
    except _REFUSED as error:
        raise ErpRefused(
            f"the ERP database refuses: {_first_line(error)}",
            where=where,
            next_step="check the name of the database, the rights of its user and that pyERP's migrations have run",
        ) from error
    except _GONE as error:
        raise _lost(error, where) from error
    except psycopg.OperationalError as error:
        if is_lost(error):
            raise _lost(error, where) from error
        raise
    except psycopg.InterfaceError as error:
        raise _lost(error, where) from error


def _lost(error: psycopg.Error, where: str) -> ErpUnavailable | ErpRefused:
    text = _first_line(error)
    if refusal := find_refusal(str(error), where):
        return refusal
    if "password authentication failed" in text or "does not exist" in text:
        return ErpRefused(
            f"the ERP database refuses: {text}",
            where=where,
            next_step="check user, password and database name in ERP_DATABASE_URL",
        )
    return ErpUnavailable(
        f"the connection to the ERP database was lost: {text}",
        where=where,
        next_step="check that PostgreSQL runs, then run it again; an open transaction was rolled back",
    )


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error) or type(error).__name__
    return text.strip().splitlines()[0]


def _readable(url: str) -> str:
    """The URL as the driver takes it; its own words for one it cannot read would repeat the password."""
    plain = re.sub(r"^postgres(?:ql)?(\+\w+)?://", "postgresql://", url)
    try:
        conninfo_to_dict(plain)
    except psycopg.ProgrammingError:
        raise SettingsInvalid(
            "the address of the ERP database cannot be read",
            where="environment variable ERP_DATABASE_URL",
            next_step="write it as postgresql://user:password@host:port/database; signs such as @ / # % are %40 %2F %23"
            " %25 in a password, and behind ? only options of PostgreSQL are known",
        ) from None
    return plain
