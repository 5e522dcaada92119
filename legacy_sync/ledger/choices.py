"""What did people choose for the conflicts that wait? It is kept with its conflict until a load carries it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg.rows import class_row

from legacy_sync.ledger.quarantine import Replay


def record_choices(
    connection: psycopg.Connection,
    ids: Sequence[int],
    *,
    keep: str,
    value: str | None = None,
    by: str,
    comment: str | None = None,
) -> int:
    """Writes a choice (legacy, erp or value) into open conflicts, over an earlier one; returns how many.

    A value that one of the sides has is the choice of that side.
    """
    return connection.execute(
        "update legacy_sync.conflict set chosen_by = %(by)s, chosen_at = now(), comment = %(comment)s, refusal = null,"
        " choice = case when %(keep)s <> 'value' then %(keep)s when %(value)s::text is not distinct from legacy_value"
        "  then 'legacy' when %(value)s::text is not distinct from erp_value then 'erp' else 'value' end,"
        " chosen_value = case when %(keep)s = 'value' then %(value)s::text end"
        " where id = any(%(ids)s) and status = 'open'",
        {"ids": list(ids), "keep": keep, "value": value, "by": by, "comment": comment},
    ).rowcount


def find_chosen(connection: psycopg.Connection, entity_id: int) -> list[Replay]:
    """The records with choices that no load has carried out yet."""
    with connection.cursor(row_factory=class_row(Replay)) as cursor:
        return cursor.execute(
            "select r.legacy_key, 'open' as status, 'conflict' as reason, r.row, r.fetched"
            " from legacy_sync.conflict_record r where r.entity_id = %(entity)s and r.legacy_key in"
            "  (select c.legacy_key from legacy_sync.conflict c where c.entity_id = %(entity)s and c.status = 'open'"
            "   and c.choice is not null and c.sort <> 'gone_in_legacy') order by r.fetched, r.legacy_key",
            {"entity": entity_id},
        ).fetchall()


def refuse_choices(connection: psycopg.Connection, entity_id: int, why: Mapping[str, str]) -> int:
    """Takes choices back that could not be carried out, by legacy key with the reason; their conflicts stay open.

    Returns how many.
    """
    return connection.execute(
        "update legacy_sync.conflict c set refusal = w.why, choice = null, chosen_value = null"
        " from unnest(%(keys)s::text[], %(whys)s::text[]) w(legacy_key, why)"
        " where c.entity_id = %(entity)s and c.legacy_key = w.legacy_key and c.status = 'open'"
        "  and c.choice is not null",
        {"entity": entity_id, "keys": list(why), "whys": list(why.values())},
    ).rowcount
