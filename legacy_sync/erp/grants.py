"""What has an administrator to run, so that the user of the sync may do what the mappings need, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import psycopg
from psycopg import sql

from legacy_sync.erp.rights import Rights, grants_of
from legacy_sync.errors import SettingsInvalid
from legacy_sync.mapping.model import Mapping

LEDGER = "legacy_sync"
_NOT_A_USER = ("public", "none", "")
_LONGEST_NAME = 63


def list_grants(
    connection: psycopg.Connection, mappings: Iterable[Mapping], role: str, *, undo: bool = False
) -> list[str]:
    """The statements in their order, without semicolons; what the role has beside them in these schemas goes.

    They are made of the mappings and of the catalog as it is now; `undo` adds what taking runs back
    needs. Raises SettingsInvalid for a name that is no role's.
    """
    _refuse_wrong_name(role)
    rights = Rights(connection, undo=undo)
    for mapping in mappings:
        rights.add(mapping)
    user = sql.Identifier(role)
    statements = [*_prepare(connection, role, user), *_own_ledger(connection, role, user)]
    for schema in sorted({table.schema for table in rights.tables}):
        name = sql.Identifier(schema)
        statements.append(sql.SQL("grant usage on schema {} to {}").format(name, user))
        statements.append(sql.SQL("revoke all on all tables in schema {} from {}").format(name, user))
        statements.append(sql.SQL("revoke all on all sequences in schema {} from {}").format(name, user))
    for table in rights.tables:
        statements += grants_of(table, user)
    return [statement.as_string(connection) for statement in statements]


def _refuse_wrong_name(role: str) -> None:
    if role.lower() in _NOT_A_USER or role.startswith("pg_") or len(role.encode()) > _LONGEST_NAME or "\x00" in role:
        raise SettingsInvalid(
            f'"{role}" cannot be the name of a database user of its own',
            where="option --role",
            next_step="choose another name, such as legacy_sync",
        )


def _prepare(connection: psycopg.Connection, role: str, user: sql.Identifier) -> Iterator[sql.Composed]:
    if connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone() is None:
        yield sql.SQL("create role {} login").format(user)
    database = sql.Identifier(connection.info.dbname)
    yield sql.SQL("grant connect, temporary on database {} to {}").format(database, user)


def _own_ledger(connection: psycopg.Connection, role: str, user: sql.Identifier) -> Iterator[sql.Composed]:
    """The schema of the ledger and everything in it belong to the role, since it keeps them up to date itself."""
    schema = sql.Identifier(LEDGER)
    owner = connection.execute(
        "select pg_get_userbyid(nspowner) from pg_namespace where nspname = %s", [LEDGER]
    ).fetchone()
    if owner is None:
        yield sql.SQL("create schema {} authorization {}").format(schema, user)
        return
    if owner[0] != role:
        yield sql.SQL("alter schema {} owner to {}").format(schema, user)
    tables = connection.execute(
        "select relname from pg_class where relnamespace = %s::regnamespace and relkind in ('r', 'p')"
        " and pg_get_userbyid(relowner) <> %s order by 1",
        [LEDGER, role],
    )
    for (name,) in tables:
        yield sql.SQL("alter table {} owner to {}").format(sql.Identifier(LEDGER, name), user)
