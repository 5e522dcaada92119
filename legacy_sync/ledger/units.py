"""Which documents were loaded only in part? Rows that belong together appear and change together, or wait together."""

from __future__ import annotations

import psycopg
from psycopg import sql

from legacy_sync.ledger.quarantine import attribute_of


def begin_units(connection: psycopg.Connection) -> None:
    """Forgets what was loaded; belongs to the beginning of a slice."""
    connection.execute("create temp table if not exists ls_unit (unit text)")
    connection.execute("truncate ls_unit")


def note_loaded(connection: psycopg.Connection) -> None:
    """Remembers the units of the staged rows that are new or differ."""
    connection.execute(
        "insert into ls_unit select distinct s._unit from ls_plan p join ls_stage s using (_row)"
        " where s._unit is not null"
    )


def find_incomplete(connection: psycopg.Connection, keys: dict[int, str]) -> set[str]:
    """Units of which rows were loaded in this slice while others are parked, or were deleted in the ERP and wait.

    `keys` has, by entity, the attribute that names the unit in its raw records.
    """
    found: set[str] = set()
    for entity_id, attribute in keys.items():
        rows = connection.execute(
            sql.SQL(
                "select distinct {key} from (select q.row from legacy_sync.quarantine q"
                "  where q.entity_id = {entity} and q.status = 'open' union all select r.row from"
                "  legacy_sync.conflict_record r join legacy_sync.conflict c using (entity_id, legacy_key)"
                "  where r.entity_id = {entity} and c.status = 'open' and c.sort = 'gone_in_erp') w"
                " where {key} in (select unit from ls_unit)"
            ).format(key=attribute_of("w.row", attribute), entity=sql.Literal(entity_id))
        )
        found |= {str(unit) for (unit,) in rows.fetchall()}
    return found
