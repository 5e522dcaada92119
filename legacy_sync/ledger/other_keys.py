"""By which further attributes is a legacy record known? References of other tables are found by them."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from legacy_sync.erp.staging import other_key_column


def remember_other_keys(connection: psycopg.Connection, entity_id: int, names: Sequence[str]) -> None:
    """Keeps the other keys of all staged records as they are now."""
    for number, name in enumerate(names):
        values = {
            "entity": sql.Literal(entity_id),
            "name": sql.Literal(name),
            "value": sql.SQL("s.{}").format(sql.Identifier(other_key_column(number))),
        }
        connection.execute(
            sql.SQL(
                "delete from legacy_sync.other_key o using ls_stage s where o.entity_id = {entity} and o.name = {name}"
                " and o.legacy_key = s._key and o.value is distinct from {value}"
            ).format(**values)
        )
        connection.execute(
            sql.SQL(
                "insert into legacy_sync.other_key (entity_id, name, value, legacy_key)"
                " select {entity}, {name}, {value}, s._key from ls_stage s where {value} is not null"
                " and not exists (select from legacy_sync.other_key o where o.entity_id = {entity} and o.name = {name}"
                "  and o.value = {value} and o.legacy_key = s._key)"
            ).format(**values)
        )
