"""How did the legacy table of an entity look when its mapping last fitted it?"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from datetime import UTC

import psycopg
from psycopg.types.json import Jsonb

from legacy_sync.mapping.drift import SeenTable


def find_seen(connection: psycopg.Connection, entity_id: int, table: str) -> SeenTable | None:
    """The table as the entity saw it last; None if it never did."""
    row = connection.execute(
        "select types, seen_at from legacy_sync.seen_table where entity_id = %s and name = %s", [entity_id, table]
    ).fetchone()
    return SeenTable(row[0], row[1].astimezone(UTC)) if row else None


def note_seen(connection: psycopg.Connection, entity_id: int, table: str, types: Dict[str, str]) -> None:
    """Remembers how the table looks; one that looks as before is noted once a day."""
    connection.execute(
        "insert into legacy_sync.seen_table as t (entity_id, name, types) values (%s, %s, %s)"
        " on conflict (entity_id) do update set name = excluded.name, types = excluded.types,"
        "  seen_at = excluded.seen_at"
        " where t.types <> excluded.types or t.name <> excluded.name or t.seen_at < now() - interval '1 day'",
        [entity_id, table, Jsonb(dict(types))],
    )
