"""Who holds the row or the table that a load waited for in vain?

PostgreSQL names the table, and often the row, but not the session. What it has locked it still has when our own
transaction is rolled back, so we ask then.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row

from legacy_sync.errors import ErpUnavailable

_PLACE = re.compile(r'tuple \((\d+),(\d+)\) in relation "([^"]+)"')
_MOST = 3
_END_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.05
_HOLDERS = """
select distinct a.pid, a.usename as "user", a.application_name as application, a.xact_start as since,
    case when a.state = 'active' then a.query_start end as busy_since, a.state
from pg_locks l join pg_stat_activity a using (pid)
where l.granted and l.pid <> pg_backend_pid()
"""
_OF_XID = " and l.locktype = 'transactionid' and l.transactionid = %s::xid order by since limit %s"
_OF_TABLE = (
    " and l.locktype = 'relation' and l.database = (select oid from pg_database where datname = current_database())"
    " and l.mode <> 'AccessShareLock' and l.relation = any(%s::regclass[]) order by since limit %s"
)
_TABLES = """
select array_agg(c.oid::regclass) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
"""


@dataclass(frozen=True)
class Holder:
    """A session with an open transaction; times are None where the rights do not show them."""

    pid: int
    user: str | None
    application: str | None
    since: datetime | None
    busy_since: datetime | None
    state: str | None

    def __str__(self) -> str:
        who = f"database session {self.pid} of {self.user or 'unknown'}"
        who += f' with "{self.application}"' if self.application else ""
        who += f", open since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        if self.busy_since:
            return f"{who}, busy with a statement since {self.busy_since:%H:%M:%S} UTC"
        return f"{who}, {self.state}" if self.state else who


def locked_out(connection: psycopg.Connection | None, error: psycopg.Error, where: str) -> ErpUnavailable:
    """The error for a lock that was not granted in time, with who holds it as far as that can be known."""
    context = error.diag.context or ""
    place = _PLACE.search(context)
    waited = f'a row of "{place[3]}"' if place else "a lock"
    held: list[Holder] = []
    if connection is not None and connection.info.transaction_status == TransactionStatus.IDLE:
        held = find_holders(connection, context)
    by = f"; held by {' or '.join(map(str, held))}" if held else "; whoever held it is done"
    return ErpUnavailable(
        f"{waited} was not free in time{by if connection else ''}",
        where=where,
        next_step="nothing was written. Let that session end its transaction (in PostgreSQL:"
        f" select pg_terminate_backend({held[0].pid if held else 'pid'})), then run it again",
    )


def find_holders(connection: psycopg.Connection, context: str) -> list[Holder]:
    """The sessions that hold the row of PostgreSQL's message, else those that hold locks in its table, else in any."""
    place = _PLACE.search(context)
    with connection.cursor(row_factory=class_row(Holder)) as cursor:
        if place and (found := _holders_of_row(cursor, place)):
            return found
        tables = [place[3]] if place else (connection.execute(_TABLES).fetchone() or ([],))[0]
        return cursor.execute(_HOLDERS + _OF_TABLE, [tables, _MOST]).fetchall()


def _holders_of_row(cursor: psycopg.Cursor[Holder], place: re.Match[str]) -> list[Holder]:
    query = sql.SQL("select xmax::text from {} where ctid = %s::tid").format(sql.Identifier(place[3]))
    row = cursor.connection.execute(query, [f"({place[1]},{place[2]})"]).fetchone()
    if row is None:
        return []
    return cursor.execute(_HOLDERS + _OF_XID, [row[0], _MOST]).fetchall()


def read_birth(connection: psycopg.Connection) -> tuple[int, datetime | None]:
    """What names the session for ever: its number, which may be given again, and when it began."""
    row = connection.execute("select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()").fetchone()
    return (int(row[0]), row[1]) if row else (0, None)


def end_session(connection: psycopg.Connection, pid: int, began_at: datetime | None) -> None:
    """Ends a lost session of ours that the server may still have, and returns when it is gone.

    Its last transaction is then either committed or rolled back. Raises ErpUnavailable if it does not end.
    """
    query = "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and backend_start = %s"
    deadline = time.monotonic() + _END_SECONDS
    while connection.execute(query, [pid, began_at]).fetchall():
        if time.monotonic() > deadline:
            raise ErpUnavailable(
                f"the database session {pid}, whose connection was lost, does not end",
                where="ERP database",
                next_step="see what PostgreSQL is busy with; then run it again",
            )
        time.sleep(_LOOK_AGAIN_SECONDS)
