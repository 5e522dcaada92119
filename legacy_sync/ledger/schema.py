"""Is the ledger there, and in the form this program knows? Numbered SQL files, applied once each."""

from __future__ import annotations

import hashlib
from importlib import resources

import psycopg
from psycopg import errors as pg

from legacy_sync.errors import LedgerUnusable

_LOCK = 4_071_930_117  # any fixed number: two starters at once take turns


def migrate(connection: psycopg.Connection) -> list[str]:
    """Brings the ledger up to date and returns the names of the migrations that were applied now.

    Raises LedgerUnusable when the rights are missing, a migration file was altered after it was applied,
    or the ledger belongs to a newer program.
    """
    known = _migrations()
    try:
        if _is_current(connection, known):
            return []
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
            # `if not exists` would ask for the right to create schemas even where an administrator made this one
            if not _is_true(connection.execute("select to_regnamespace('legacy_sync') is not null").fetchone()):
                connection.execute("create schema legacy_sync")
            connection.execute(
                "create table if not exists legacy_sync.migration"
                " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
            )
            return _apply(connection, known)
    except pg.InsufficientPrivilege as error:
        raise LedgerUnusable(
            "the schema legacy_sync cannot be created or changed: rights are missing",
            where="ERP database",
            next_step="let an administrator run `create schema legacy_sync authorization <user of ERP_DATABASE_URL>`,"
            " or all that `legacy-sync grants` prints",
        ) from error


def _apply(connection: psycopg.Connection, known: dict[str, str]) -> list[str]:
    applied: dict[str, str] = dict(connection.execute("select name, checksum from legacy_sync.migration").fetchall())
    if newer := sorted(set(applied) - set(known)):
        raise LedgerUnusable(
            f"the ledger was written by a newer program (migration {newer[-1]})",
            where="schema legacy_sync of the ERP database",
            next_step="update legacy-sync on this machine",
        )
    done = []
    for name, text in known.items():
        checksum = _checksum(text)
        if name not in applied:
            connection.execute(text)
            connection.execute("insert into legacy_sync.migration (name, checksum) values (%s, %s)", [name, checksum])
            done.append(name)
        elif applied[name] != checksum:
            raise LedgerUnusable(
                f"the migration {name} was altered after it had been applied",
                where="legacy_sync/ledger/migrations",
                next_step="restore the file as released and put the alteration into a new migration",
            )
    return done


def _is_current(connection: psycopg.Connection, known: dict[str, str]) -> bool:
    if not _is_true(connection.execute("select to_regclass('legacy_sync.migration') is not null").fetchone()):
        return False
    applied: dict[str, str] = dict(connection.execute("select name, checksum from legacy_sync.migration").fetchall())
    return applied == {name: _checksum(text) for name, text in known.items()}


def _is_true(row: tuple[bool] | None) -> bool:
    return bool(row and row[0])


def _migrations() -> dict[str, str]:
    folder = resources.files("legacy_sync.ledger") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return {f.name: f.read_text(encoding="utf-8") for f in files}


def _checksum(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
