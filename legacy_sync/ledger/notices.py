"""What was each channel of the notifications told? Rows of the ledger, the same for every process and machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

_LOCK = 4_071_930_118  # any fixed number: one look at a time

Columns = dict[str, Any]


@contextmanager
def look_lock(connection: psycopg.Connection) -> Iterator[bool]:
    """Whether this process alone looks and tells; ends with the connection, however that dies."""
    row = connection.execute("select pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
    is_mine = bool(row and row[0])
    try:
        yield is_mine
    finally:
        if is_mine and not connection.closed:
            connection.execute("select pg_advisory_unlock(%s)", [_LOCK])


def read_channels(connection: psycopg.Connection) -> dict[str, tuple[Columns, list[Columns]]]:
    """By channel its own columns, and those of its notices."""
    with connection.cursor(row_factory=dict_row) as cursor:
        channels = cursor.execute("select * from legacy_sync.channel").fetchall()
        notices = cursor.execute("select * from legacy_sync.notice order by since, kind, about").fetchall()
    found: dict[str, tuple[Columns, list[Columns]]] = {row.pop("name"): (row, []) for row in channels}
    for notice in notices:
        found[notice.pop("channel")][1].append(notice)
    return found


def write_channel(
    connection: psycopg.Connection,
    name: str,
    *,
    sent_at: datetime | None,
    failed_since: datetime | None,
    failure: str | None,
    notices: Sequence[Columns],
) -> None:
    """The channel and all its notices are as this says from now on."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "insert into legacy_sync.channel (name, sent_at, failed_since, failure) values (%s, %s, %s, %s)"
            " on conflict (name) do update set sent_at = excluded.sent_at, failed_since = excluded.failed_since,"
            " failure = excluded.failure",
            [name, sent_at, failed_since, failure],
        )
        cursor.execute("delete from legacy_sync.notice where channel = %s", [name])
        cursor.executemany(
            "insert into legacy_sync.notice (channel, kind, about, headline, since, size, told_at, told_size, is_held,"
            " ended_at) values (%(channel)s, %(kind)s, %(about)s, %(headline)s, %(since)s, %(size)s, %(told_at)s,"
            " %(told_size)s, %(is_held)s, %(ended_at)s)",
            [{"channel": name, **notice} for notice in notices],
        )


def forget_channels(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """These channels are no longer there."""
    connection.execute("delete from legacy_sync.channel where name = any(%s)", [list(names)])
